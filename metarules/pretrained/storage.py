"""Save and load rules: one safetensors file holds theta and, in its header, the rule's card. Never a pickle.

A card says what the rule is and where it comes from: kind, settings, how to run it, seed, revision, minutes, curves.
In the file it ends with a SHA-256 digest of itself and theta, by which damage is noticed.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch
from torch import Tensor

from metarules._checks import FLOATS, check_choice, check_kind, check_names
from metarules._files import check_source, write_atomically
from metarules.pretrained.folder import own_rules, rules_folder
from metarules.pretrained.kinds import KINDS, kind_of
from metarules.pretrained.plain import check_comes_back, from_plain, plain
from metarules.update_rule import InnerSettings, UpdateRule

FORMAT = 1  # raise when an older reader would misread the file
_KEY = "metarules"  # under which the header keeps the card
_DIGEST = "sha256"  # under which the card in the header, and there alone, keeps the digest


def shipped_rules() -> tuple[str, ...]:
    """Names of the rules that come with the package, for `load_rule`."""
    folder = _folder()
    if not folder.is_dir():
        return ()
    names = (entry.name for entry in folder.iterdir() if entry.name.endswith(".safetensors"))
    return tuple(sorted(name.removesuffix(".safetensors") for name in names))


def shipped_run(name: str) -> Path:
    """Folder of the meta-training run that made a shipped rule: its log and snapshots, for `studies.evolution`.

    Raises:
        ValueError: an unknown name.
        FileNotFoundError: a rule that comes without its run.
    """
    check_choice("name", name, shipped_rules())
    folder = _folder() / f"{name}_run"
    if not folder.is_dir():
        raise FileNotFoundError(f"name is {name!r}, whose run does not come with the package")
    return folder


def load_rule(name_or_path: str | os.PathLike[str]) -> UpdateRule:
    """Load a learned rule.

    Args:
        name_or_path: a name out of `shipped_rules()` or else of `own_rules()`, or the path of a .safetensors file
            written by `save_rule`.

    Returns:
        The rule on the CPU, with `.card` and `.recommended`.

    Raises:
        ValueError: an unknown name; a file that is truncated, damaged, pickled, not a rule of this package or of
            another version; a card or tensors that make no rule.
        OSError: a path that leads nowhere, or to what cannot be read.
    """
    path = _locate(name_or_path)
    try:
        with safetensors.safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 (not a dict)
    except safetensors.SafetensorError as error:
        raise ValueError(f"{path.name} cannot be read: {_diagnose(path)}; allowed: a file by save_rule") from error
    return _build(path.name, tensors, metadata)


def save_rule(
    rule: UpdateRule, path: str | os.PathLike[str], card: Mapping[str, Any] | None = None, *, twin: bool = True
) -> Path:
    """Write a learned rule, and its card once more as JSON beside it; both atomically.

    Args:
        rule: a rule of a registered kind, such as `LocalRule`, `PaperRule`, or your own after `register_kind`.
        path: where to; must end in .safetensors. Missing folders are made.
        card: what to tell about the rule; merged over `rule.card`. "recommended" holds fields of `InnerSettings` and
            is `rule.recommended` unless given. "format", "kind", "settings" and, where modules outside this package
            have registered the kind or a term, "modules" are filled in here.
        twin: write the JSON file.

    Returns:
        The path written.

    Raises:
        TypeError: a rule of no registered kind, which could not be found again; settings of another class.
        ValueError: another ending; settings that would not come back as they are; a card that JSON cannot hold; theta
            that is not finite.
        OSError: the file cannot be written; an older one is then untouched.
    """
    path = Path(os.path.expanduser(path))
    if path.suffix != ".safetensors":
        raise ValueError(f"path is {path.name!r}; allowed: a name ending in .safetensors")
    kind = kind_of(rule)
    settings = check_kind("rule.settings", getattr(rule, "settings", None), kind.settings)
    check_comes_back(settings, "rule.settings")
    tensors = {name: p.detach().cpu().contiguous() for name, p in rule.named_parameters()}
    for name, tensor in tensors.items():
        if not torch.isfinite(tensor).all():
            raise ValueError(f"rule has NaN or infinite numbers in {name}; allowed: finite theta")
    given = dict(card or {})
    recommended = given.get("recommended", plain(rule.recommended))
    full = {**rule.card, **given, "recommended": plain(from_plain(InnerSettings, recommended, "recommended in card"))}
    full |= {"format": FORMAT, "kind": kind.name, "settings": plain(settings), "modules": kind.modules(settings)}
    if not full["modules"]:
        del full["modules"]
    full.pop(_DIGEST, None)
    try:
        text = json.dumps(full, indent=1, sort_keys=True, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise ValueError(f"card cannot be written as JSON ({error}); allowed: plain finite values") from error
    # within the card, since the order of several entries is left to chance, and the same rule should be the same bytes
    whole = json.dumps({**full, _DIGEST: tensor_digest(tensors, _in_order(json.loads(text)))}, indent=1, sort_keys=True)
    write_atomically(path, safetensors.torch.save(tensors, {_KEY: whole}))
    if twin:
        write_atomically(path.with_suffix(".json"), (text + "\n").encode())
    return path


def tensor_digest(tensors: Mapping[str, Tensor], text: str) -> str:
    """SHA-256 of a text and of tensors on the CPU, their names, dtypes and shapes included, as hexadecimal digits."""
    found = hashlib.sha256(text.encode())
    for name in sorted(tensors):
        found.update(f"{name} {tensors[name].dtype} {list(tensors[name].shape)}".encode())
        found.update(tensors[name].contiguous().view(-1).view(torch.uint8).numpy().tobytes())
    return found.hexdigest()


def _in_order(card: Mapping[str, Any]) -> str:
    return json.dumps(card, sort_keys=True)


def _locate(name_or_path: str | os.PathLike[str]) -> Path:
    path = Path(os.path.expanduser(name_or_path))
    if path.suffix == ".safetensors":
        return check_source("name_or_path", path)
    shipped, own = shipped_rules(), own_rules()
    if str(name_or_path) not in (*shipped, *own):
        mine = f", one of your own ({', '.join(own)})" if own else ""
        raise ValueError(
            f"name_or_path is {str(name_or_path)!r}; allowed: a shipped name ({', '.join(shipped) or 'none'}){mine} "
            "or a file ending in .safetensors (pickled files are never loaded)"
        )
    return (_folder() if str(name_or_path) in shipped else rules_folder()) / f"{name_or_path}.safetensors"


def _folder() -> Path:
    return Path(str(resources.files("metarules.pretrained"))) / "rules"


def _diagnose(path: Path) -> str:
    with path.open("rb") as file:
        start = file.read(2)
    if not start:
        return "it is empty"
    if start == b"PK" or start[:1] == b"\x80":
        return "it is a pickle or torch.save archive, which is never loaded"
    return "it is truncated or not a safetensors file"


def _build(name: str, tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> UpdateRule:
    """Make the rule the card describes and give it the tensors."""
    card = _read_card(name, metadata)
    digest = card.pop(_DIGEST, None)  # older files have none
    if digest is not None and digest != tensor_digest(tensors, _in_order(card)):
        raise ValueError(f"{name} is damaged: its contents do not fit their digest; allowed: an unaltered file")
    try:
        kind = KINDS[check_choice(f"kind in {name}", card.get("kind"), [*KINDS])]
        card, tensors = _renamed(kind.rule, card, tensors)
        settings = from_plain(kind.settings, card.get("settings"), f"settings in {name}")
    except ValueError as error:
        raise ValueError(f"{error}{_hint(card)}") from error
    dtype = next(iter(tensors.values())).dtype if tensors else torch.float32
    if dtype not in FLOATS:
        raise ValueError(f"{name} holds tensors of dtype {dtype}; allowed: {', '.join(map(str, FLOATS))}")
    rule = kind.make(settings).to(dtype)
    wanted = dict(rule.named_parameters())
    check_names(f"{name}", tensors, wanted)
    for key, parameter in wanted.items():
        if key not in tensors:
            raise ValueError(f"{name} lacks the tensor {key}; allowed: all of {', '.join(sorted(wanted))}")
        if tensors[key].shape != parameter.shape or tensors[key].dtype != dtype:
            raise ValueError(
                f"{name}: {key} has shape {list(tensors[key].shape)} and dtype {tensors[key].dtype}; "
                f"allowed: {list(parameter.shape)} and {dtype}"
            )
        if not torch.isfinite(tensors[key]).all():
            raise ValueError(f"{name}: {key} holds NaN or infinite numbers; allowed: finite theta")
        with torch.no_grad():
            parameter.copy_(tensors[key])
    rule.recommended = from_plain(InnerSettings, card.get("recommended"), f"recommended in {name}")
    rule.card = card
    return rule


def _renamed(
    rule_type: type[UpdateRule], card: dict[str, Any], tensors: Mapping[str, Tensor]
) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Settings and tensors of an older file under today's names, see `UpdateRule.renamed`."""
    new = rule_type.renamed
    if isinstance(card.get("settings"), Mapping):
        card = {**card, "settings": {new.get(name, name): value for name, value in card["settings"].items()}}
    return card, {".".join(new.get(part, part) for part in name.split(".")): t for name, t in tensors.items()}


def _read_card(name: str, metadata: Mapping[str, str]) -> dict[str, Any]:
    """The card out of a file's header."""
    if _KEY not in metadata:
        raise ValueError(f"{name} has no rule card in its header; allowed: a file written by save_rule")
    try:
        card = json.loads(metadata[_KEY])
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{name} has a card that is no JSON ({error}); allowed: a file by save_rule") from error
    if not isinstance(card, dict):
        raise ValueError(f"{name} has a card that is a {type(card).__name__}; allowed: a file by save_rule")
    if card.get("format") != FORMAT:
        raise ValueError(f"{name} has format {card.get('format')!r}; allowed: {FORMAT}")
    return card


def _hint(card: Mapping[str, Any]) -> str:
    """Which modules of a card have not been imported: nothing is imported because a file says so."""
    modules = card.get("modules")
    missing = [name for name in map(str, modules if isinstance(modules, list) else ()) if name not in sys.modules]
    named = " and ".join(map(repr, missing))
    return f"; import {named} first, which the card says registers what is missing" if missing else ""
