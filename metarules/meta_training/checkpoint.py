"""Checkpoints of a meta-training run: all that changes, in one safetensors file, so that a run can be resumed.

The plan and the rows of the log are in it too, so that a run needs nothing else to go on.

Tasks and whatever else is random follow from the seed (`randomness`), and are recomputed. A SHA-256 digest detects
corruption that leaves the length unchanged; the checkpoint before is kept beside it, for that case and for a crash in
between.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch
from torch import Tensor

from metarules._files import naming, sync_folder, write_atomically
from metarules.base_model import BaseModelState
from metarules.meta_training.outer_loop import MetaTrainer
from metarules.meta_training.plan import Plan
from metarules.meta_training.unrolls import Group, Opposite
from metarules.pretrained import plain
from metarules.pretrained.storage import tensor_digest as _digest

CHECKPOINT = "checkpoint.safetensors"  # in a run's folder
FORMAT = 3  # raise when an older reader would misread the file
_KEY = "metarules"  # under which the header keeps a digest and everything that is no tensor


def previous(path: Path) -> Path:
    """Where the checkpoint before the one at `path` is kept."""
    return path.with_name(f"{path.stem}_previous{path.suffix}")


def checkpoints(out: Path) -> list[Path]:
    """Those that a run's folder holds, the newest first."""
    with naming("out", out):
        return [path for path in (out / CHECKPOINT, previous(out / CHECKPOINT)) if path.is_file()]


def save_checkpoint(trainer: MetaTrainer, path: Path, plan: Plan | None = None, log: Sequence[str] = ()) -> None:
    """Write the trainer's whole state to `path`, atomically, and keep the one that was there as `previous(path)`.

    With several processes all must call it; the first one writes. `plan` and `log` (`Log.kept`) are of its run, where
    it belongs to one.

    Raises:
        OSError: the file cannot be written, or the disk is full; the older ones are then untouched.
        RankError: another process of the run has ended.
    """
    tensors: dict[str, Tensor] = {}
    groups: dict[str, dict[str, int]] = {}
    own = {name: t for i, group in trainer.groups.items() for name, t in _group_tensors(i, group).items()}
    facts = {str(i): {"number": group.number, "step": group.step} for i, group in trainer.groups.items()}
    for content in trainer.ranks.gather(_packed(own, facts)):
        part, of = _unpacked(content)
        tensors |= part
        groups |= of
    if not trainer.ranks.first:
        return
    for name, parameter in trainer.rule.named_parameters():
        tensors[f"theta/{name}"] = parameter.detach()
        tensors[f"average/{name}"] = trainer.average[name]
        for key, value in trainer.optimiser.state[parameter].items():
            tensors[f"adam/{name}/{key}"] = value
    whole = {
        "format": FORMAT,
        "number": trainer.number,
        "skipped": trainer.skipped,
        "groups": groups,
        "settings": _settings(trainer),
    }
    if plan is not None:
        whole |= {"plan": plan.to_plain(), "log": list(log)}
    fresh = path.with_name(f"{path.stem}_fresh{path.suffix}")
    write_atomically(fresh, _packed(tensors, whole))
    if path.exists():
        os.replace(path, previous(path))
    os.replace(fresh, path)
    sync_folder(path.parent)


def load_checkpoint(trainer: MetaTrainer, path: Path, plan: Plan | None = None) -> list[str] | None:
    """Put a trainer made with the same settings into the state that `path` holds.

    Args:
        trainer: of the same settings.
        path: of the checkpoint.
        plan: of the run, where it belongs to one; what is judged and kept must be the same too.

    Returns:
        The run's log up to there, as `save_checkpoint` got it; None where there is none, as in older files.

    Raises:
        FileNotFoundError: no such file.
        ValueError: truncated, damaged, foreign, of another format, or of a run with other settings; the trainer stays
            as it was.
    """
    tensors, facts = _read(path)
    theirs, ours = facts.get("settings"), _settings(trainer)
    if plan is not None and isinstance(facts.get("plan"), dict):
        parts = ("judge", "keep")
        theirs = {**(theirs if isinstance(theirs, dict) else {}), **{part: facts["plan"].get(part) for part in parts}}
        ours |= {part: plan.to_plain()[part] for part in parts}
    _check_same_settings(path.name, theirs, ours)
    try:  # read all of it before anything in the trainer changes
        theta = {name: _same_shape(tensors, f"theta/{name}", p) for name, p in trainer.rule.named_parameters()}
        average = {name: _same_shape(tensors, f"average/{name}", p) for name, p in trainer.rule.named_parameters()}
        moments = {name: _part(tensors, f"adam/{name}/") for name in theta}
        groups = {i: _group(trainer, tensors, facts["groups"][str(i)], i) for i in trainer.groups}
        number, skipped = int(facts["number"]), int(facts["skipped"])
    except (KeyError, IndexError, TypeError, ValueError, RuntimeError) as error:
        raise ValueError(
            f"{path.name} lacks a part or holds a wrong one ({error}); allowed: an unaltered file"
        ) from error
    with torch.no_grad():
        for name, parameter in trainer.rule.named_parameters():
            parameter.copy_(theta[name])
            # Adam keeps its count of steps on the CPU, its moments where theta is
            trainer.optimiser.state[parameter] = {
                key: value if key == "step" else value.to(parameter.device) for key, value in moments[name].items()
            }
    trainer.average = {name: value.to(trainer.average[name].device) for name, value in average.items()}
    trainer.groups, trainer.number, trainer.skipped = groups, number, skipped
    return facts.get("log")


def stored_plan(paths: Sequence[Path]) -> Plan | None:
    """The plan of a run: the one in the first of its checkpoints that can be read; None where none says it.

    Raises:
        ValueError: the plan is of a rule or of tasks that no module imported so far has registered.
    """
    for path in paths:
        with suppress(ValueError, FileNotFoundError):
            found = _read(path)[1].get("plan")
            break
    else:
        return None
    return Plan.from_plain(found, f"plan in {path.name}") if isinstance(found, dict) else None


def state_digest(trainer: MetaTrainer) -> str:
    """Of all that processes of one run share, for them to compare."""
    shared = {f"theta/{name}": p.detach().cpu() for name, p in trainer.rule.named_parameters()}
    shared |= {f"average/{name}": value.cpu() for name, value in trainer.average.items()}
    return _digest(shared, json.dumps([trainer.number, trainer.skipped, _settings(trainer)]))


def _read(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Tensors and facts of a checkpoint; errors as `load_checkpoint`."""
    if not path.is_file():
        raise FileNotFoundError(f"path is {path.name!r}, and there is no such checkpoint")
    try:
        tensors, facts = _unpacked(path.read_bytes())
    except (safetensors.SafetensorError, KeyError, ValueError) as error:
        raise ValueError(f"{path.name} is truncated, damaged or no checkpoint of this package ({error})") from error
    found = facts.get("format") if isinstance(facts, dict) else None
    if found != FORMAT:
        raise ValueError(
            f"{path.name} has format {found!r}; allowed: {FORMAT}, since a run is resumed by the version that began it"
        )
    return tensors, facts


def _packed(tensors: Mapping[str, Tensor], facts: Mapping[str, Any]) -> bytes:
    """A safetensors file's bytes, with the facts and a digest of everything in its header."""
    plain_tensors = {name: t.detach().cpu().contiguous().clone() for name, t in tensors.items()}
    text = json.dumps(facts)
    # one entry for both, since the order of several is left to chance, and the same state should be the same bytes
    return safetensors.torch.save(plain_tensors, {_KEY: f"{_digest(plain_tensors, text)} {text}"})


def _unpacked(content: bytes) -> tuple[dict[str, Tensor], Any]:
    """The way back.

    Raises:
        ValueError, KeyError, SafetensorError: damaged or foreign.
    """
    tensors = safetensors.torch.load(content)
    length = int.from_bytes(content[:8], "little")
    header = json.loads(content[8 : 8 + length])["__metadata__"]
    digest, _, text = header[_KEY].partition(" ")
    if digest != _digest(tensors, text):
        raise ValueError("its contents do not fit their digest")
    return tensors, json.loads(text)


def _settings(trainer: MetaTrainer) -> dict[str, Any]:
    """All that must be the same for a run to go on as if it had never stopped."""
    rule = {"class": type(trainer.rule).__name__, **plain(getattr(trainer.rule, "settings", {}))}
    return {"rule": rule, "meta_training": plain(trainer.settings), "distribution": plain(trainer.distribution)}


def _check_same_settings(name: str, theirs: Any, ours: dict[str, Any]) -> None:
    """Refuse a checkpoint of another run, naming what differs."""
    theirs = theirs if isinstance(theirs, dict) else {}
    different = []
    for part, values in ours.items():
        other = theirs.get(part) if isinstance(theirs.get(part), dict) else {}
        for key in sorted({*values, *other}):
            if values.get(key) != other.get(key):
                different.append(f"{part}.{key} is {other.get(key)!r} there and {values.get(key)!r} here")
    if different:
        raise ValueError(f"{name} belongs to a run with other settings: {'; '.join(different)}; allowed: the same")


def _same_shape(tensors: Mapping[str, Tensor], name: str, like: Tensor) -> Tensor:
    value = tensors[name]
    if value.shape != like.shape or value.dtype != like.dtype:
        raise ValueError(f"{name} has shape {list(value.shape)} and dtype {value.dtype}")
    return value


def _part(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """All tensors under a prefix: Adam's state of a parameter is empty before its first update."""
    return {key.removeprefix(prefix): value for key, value in tensors.items() if key.startswith(prefix)}


def _group_tensors(i: int, group: Group) -> dict[str, Tensor]:
    found = _phi_tensors(f"group{i}/phi", group.phi)
    if group.opposite is not None:
        found |= _phi_tensors(f"group{i}/opposite", group.opposite.phi)
        found |= {f"group{i}/noise/{name}": t for name, t in group.opposite.noise.items()}
    return found


def _phi_tensors(prefix: str, phi: BaseModelState) -> dict[str, Tensor]:
    found = {f"{prefix}/{name}": t for name, t in replace(phi, extra={}).tensors()}
    return found | {f"{prefix}/extra/{name}": t for name, t in phi.extra.items()}  # whatever the rule calls them


def _group(trainer: MetaTrainer, tensors: Mapping[str, Tensor], facts: Mapping[str, Any], i: int) -> Group:
    """A group in the middle of its unroll: drawn again from its numbers, then given the phi it had."""
    start = trainer.new_group(i, int(facts["number"]))
    noise = {name: t.to(start.phi.device) for name, t in _part(tensors, f"group{i}/noise/").items()}
    opposite = Opposite(_phi(tensors, f"group{i}/opposite", start.phi), noise) if noise else None
    phi = _phi(tensors, f"group{i}/phi", start.phi)
    return replace(start, phi=phi, step=int(facts["step"]), opposite=opposite)


def _phi(tensors: Mapping[str, Tensor], prefix: str, like: BaseModelState) -> BaseModelState:
    W, b, V = ([tensors[f"{prefix}/{kind}{l}"] for l in range(1, like.depth + 1)] for kind in "WbV")
    phi = BaseModelState.from_arrays(W, b, V, like.nonlinearity).to(like.device)
    if phi.sizes != like.sizes or phi.tasks != like.tasks or phi.dtype != like.dtype:
        raise ValueError(f"{prefix} has sizes {list(phi.sizes)}, tasks {list(phi.tasks)} and dtype {phi.dtype}")
    for name, value in like.extra.items():
        _same_shape(tensors, f"{prefix}/extra/{name}", value)
    return replace(phi, extra={name: t.to(like.device) for name, t in _part(tensors, f"{prefix}/extra/").items()})
