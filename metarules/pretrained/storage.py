"""Save and load rules: one safetensors file holds theta and, in its header, the rule's card. Never a pickle.

A card says what the rule is and where it comes from: kind, settings, how to run it, seed, revision, minutes, curves.
"""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Callable, Mapping
from importlib import resources
from pathlib import Path
from types import MappingProxyType
from typing import Any

import safetensors
import safetensors.torch
import torch
from torch import Tensor

from metarules._checks import check_choice, check_names
from metarules._files import write_atomically
from metarules.update_rule import InnerSettings, LocalRule, LocalRuleSettings, PaperRule, PaperRuleSettings, UpdateRule

FORMAT = 1  # raise when an older reader would misread the file
_KINDS: dict[str, tuple[Callable[..., UpdateRule], Callable[..., Any]]] = {
    "local": (LocalRule, LocalRuleSettings),
    "paper": (PaperRule, PaperRuleSettings),
}


def shipped_rules() -> tuple[str, ...]:
    """Names of the rules that come with the package, for `load_rule`."""
    folder = resources.files("metarules.pretrained") / "rules"
    return tuple(
        sorted(p.name.removesuffix(".safetensors") for p in folder.iterdir() if p.name.endswith(".safetensors"))
    )


def load_rule(name_or_path: str | os.PathLike[str]) -> UpdateRule:
    """Load a learned rule.

    Args:
        name_or_path: a name out of `shipped_rules()`, or the path of a .safetensors file written by `save_rule`.

    Returns:
        The rule on the CPU, with `.card` and `.recommended`.

    Raises:
        ValueError: an unknown name; a file that is truncated, pickled, or not a rule of this package.
        FileNotFoundError: a path that leads nowhere.
    """
    path = _locate(name_or_path)
    try:
        with safetensors.safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 (not a dict)
    except safetensors.SafetensorError as error:
        raise ValueError(f"{path.name} cannot be read: {_diagnose(path)}; allowed: a file by save_rule") from error
    return _build(path.name, tensors, metadata)


def save_rule(rule: UpdateRule, path: str | os.PathLike[str], card: Mapping[str, Any] | None = None) -> Path:
    """Write a learned rule, and its card once more as JSON beside it; both atomically.

    Args:
        rule: a `LocalRule` or `PaperRule`.
        path: where to; must end in .safetensors.
        card: what to tell about the rule; merged over `rule.card`. "recommended" holds the fields of `InnerSettings`.

    Returns:
        The path written.

    Raises:
        TypeError: a rule with no theta to save.
        ValueError: another ending; a card that JSON cannot hold; theta that is not finite.
    """
    path = Path(path)
    if path.suffix != ".safetensors":
        raise ValueError(f"path is {path.name!r}; allowed: a name ending in .safetensors")
    kinds = {LocalRule: "local", PaperRule: "paper"}
    kind = next((name for cls, name in kinds.items() if isinstance(rule, cls)), None)
    if kind is None:
        raise TypeError(f"rule is a {type(rule).__name__}; allowed: {', '.join(c.__name__ for c in kinds)}")
    tensors = {name: p.detach().cpu().contiguous() for name, p in rule.named_parameters()}
    for name, tensor in tensors.items():
        if not torch.isfinite(tensor).all():
            raise ValueError(f"rule has NaN or infinite numbers in {name}; allowed: finite theta")
    full = dict(rule.card) | dict(card or {})
    full.setdefault("recommended", dataclasses.asdict(rule.recommended))
    InnerSettings(**full["recommended"])
    full |= {"format": FORMAT, "kind": kind, "settings": plain(rule.settings)}
    try:
        text = json.dumps(full, indent=1, sort_keys=True, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise ValueError(f"card cannot be written as JSON ({error}); allowed: plain finite values") from error
    write_atomically(path, safetensors.torch.save(tensors, {"metarules": text}))
    write_atomically(path.with_suffix(".json"), (text + "\n").encode())
    return path


def plain(settings: Any) -> dict[str, Any]:
    """A settings dataclass as plain values, ready for JSON."""
    values = {f.name: getattr(settings, f.name) for f in dataclasses.fields(settings)}
    return {k: dict(v) if isinstance(v, Mapping) else v for k, v in values.items()}


def _locate(name_or_path: str | os.PathLike[str]) -> Path:
    path = Path(name_or_path)
    if path.suffix == ".safetensors":
        if not path.is_file():
            raise FileNotFoundError(f"name_or_path is {str(name_or_path)!r}, and there is no such file")
        return path
    if path.suffix or len(path.parts) != 1:
        raise ValueError(
            f"name_or_path is {str(name_or_path)!r}; allowed: a shipped name ({', '.join(shipped_rules()) or 'none'}) "
            "or a file ending in .safetensors (pickled files are never loaded)"
        )
    check_choice("name_or_path", str(name_or_path), shipped_rules())
    return Path(str(resources.files("metarules.pretrained") / "rules" / f"{name_or_path}.safetensors"))


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
    if "metarules" not in metadata:
        raise ValueError(f"{name} has no rule card in its header; allowed: a file written by save_rule")
    card = json.loads(metadata["metarules"])
    if card.get("format") != FORMAT:
        raise ValueError(f"{name} has format {card.get('format')!r}; allowed: {FORMAT}")
    check_choice(f"kind in {name}", card.get("kind"), _KINDS)
    rule_type, settings_type = _KINDS[card["kind"]]
    try:
        settings = settings_type(**card["settings"])
    except TypeError as error:
        raise ValueError(f"{name} has settings this version does not know: {error}") from error
    dtype = next(iter(tensors.values())).dtype if tensors else torch.float32
    rule = rule_type(settings, dtype=dtype)
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
    rule.card = MappingProxyType(card)
    rule.recommended = InnerSettings(**card["recommended"])
    return rule
