"""Checkpoints of a meta-training run: all that changes, in one safetensors file, so that a run can be resumed."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch
from torch import Tensor

from metarules._files import write_atomically
from metarules.base_model import BaseModelState
from metarules.meta_training.outer_loop import MetaTrainer
from metarules.meta_training.particles import Group, Twins
from metarules.pretrained import plain
from metarules.tasks import Dataset, Task

FORMAT = 1  # raise when an older reader would misread the file
_KEY = "metarules"  # under which the header keeps everything that is no tensor


def save_checkpoint(trainer: MetaTrainer, path: Path) -> None:
    """Write the trainer's whole state to `path`, atomically.

    Raises:
        OSError: the file cannot be written; an older one is then untouched.
    """
    tensors: dict[str, Tensor] = {"generator": trainer.generator.get_state()}
    for name, parameter in trainer.rule.named_parameters():
        tensors[f"theta/{name}"] = parameter.detach()
        tensors[f"average/{name}"] = trainer.average[name]
        for key, value in trainer.optimiser.state[parameter].items():
            tensors[f"adam/{name}/{key}"] = value
    groups = []
    for i, group in enumerate(trainer.groups):
        tensors |= {f"group{i}/phi/{name}": t for name, t in group.phi.tensors()}
        tensors |= _task_tensors(f"group{i}/task", group.task)
        if group.twins is not None:
            tensors |= {f"group{i}/other/{name}": t for name, t in group.twins.other.tensors()}
            tensors |= {f"group{i}/noise/{name}": t for name, t in group.twins.noise.items()}
        groups.append(
            {
                "task": _task_facts(group.task),
                "step": group.step,
                "horizon": group.horizon,
                "batch_size": group.batch_size,
            }
        )
    pool = []
    for i, data in enumerate(trainer.pool.datasets):
        tensors |= {f"pool{i}/x": data.x, f"pool{i}/y": data.y}
        pool.append({"name": data.name, "shape": data.shape, "class_names": list(data.class_names)})
    facts = {
        "format": FORMAT,
        "number": trainer.number,
        "skipped": trainer.skipped,
        "groups": groups,
        "pool": pool,
        "pool_next": trainer.pool.next,
        "settings": _settings(trainer),
    }
    tensors = {name: t.contiguous().clone() for name, t in tensors.items()}
    write_atomically(path, safetensors.torch.save(tensors, {_KEY: json.dumps(facts)}))


def load_checkpoint(trainer: MetaTrainer, path: Path) -> None:
    """Put a trainer made with the same settings into the state that `path` holds.

    Raises:
        FileNotFoundError: no such file.
        ValueError: truncated, foreign, of another format, or of a run with other settings; the trainer stays as it was.
    """
    if not path.is_file():
        raise FileNotFoundError(f"path is {path.name!r}, and there is no such checkpoint")
    try:
        with safetensors.safe_open(path, framework="pt") as file:
            facts = json.loads((file.metadata() or {})[_KEY])
            # clones: they will be written to, and must not be tied to the file
            tensors = {key: file.get_tensor(key).clone() for key in file.keys()}  # noqa: SIM118 (not a dict)
    except (safetensors.SafetensorError, KeyError, ValueError) as error:
        raise ValueError(f"{path.name} is truncated or no checkpoint of this package ({error})") from error
    found = facts.get("format") if isinstance(facts, dict) else None
    if found != FORMAT:
        raise ValueError(f"{path.name} has format {found!r}; allowed: {FORMAT}")
    _check_same_settings(path.name, facts.get("settings"), _settings(trainer))
    try:  # read all of it before anything in the trainer changes
        theta = {name: _same_shape(tensors, f"theta/{name}", p) for name, p in trainer.rule.named_parameters()}
        average = {name: _same_shape(tensors, f"average/{name}", p) for name, p in trainer.rule.named_parameters()}
        moments = {name: _part(tensors, f"adam/{name}/") for name in theta}
        groups = [_group(tensors, facts, i, old) for i, old in enumerate(trainer.groups)]
        pool = [_dataset(tensors, facts, i) for i in range(len(trainer.pool.datasets))]
        pool_next, number, skipped = (int(facts[name]) for name in ("pool_next", "number", "skipped"))
        generator = torch.Generator()
        generator.set_state(tensors["generator"])
    except (KeyError, IndexError, TypeError, ValueError, RuntimeError) as error:
        raise ValueError(
            f"{path.name} lacks a part or holds a wrong one ({error}); allowed: an unaltered file"
        ) from error
    with torch.no_grad():
        for name, parameter in trainer.rule.named_parameters():
            parameter.copy_(theta[name])
            trainer.optimiser.state[parameter] = moments[name]
    trainer.average, trainer.groups, trainer.generator = average, groups, generator
    trainer.pool.datasets, trainer.pool.next = pool, pool_next
    trainer.number, trainer.skipped = number, skipped


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


def _dataset(tensors: Mapping[str, Tensor], facts: Mapping[str, Any], i: int) -> Dataset:
    saved = facts["pool"][i]
    names, shape = tuple(saved["class_names"]), saved["shape"]
    return Dataset(saved["name"], tensors[f"pool{i}/x"], tensors[f"pool{i}/y"], tuple(shape) if shape else None, names)


def _task_tensors(prefix: str, task: Task) -> dict[str, Tensor]:
    tensors = {f"{prefix}/x": task.x, f"{prefix}/y": task.y}
    return tensors if task.permutation is None else {**tensors, f"{prefix}/permutation": task.permutation}


def _task_facts(task: Task) -> dict[str, Any]:
    return {"n_classes": task.n_classes, "name": task.name, "shape": task.shape}


def _group(tensors: Mapping[str, Tensor], facts: Mapping[str, Any], i: int, old: Group) -> Group:
    saved = facts["groups"][i]
    task = Task(
        tensors[f"group{i}/task/x"],
        tensors[f"group{i}/task/y"],
        saved["task"]["n_classes"],
        tensors.get(f"group{i}/task/permutation"),
        saved["task"]["name"],
        tuple(saved["task"]["shape"]) if saved["task"]["shape"] else None,
    )
    noise = _part(tensors, f"group{i}/noise/")
    return replace(
        old,
        phi=_phi(tensors, f"group{i}/phi", old.phi),
        task=task,
        step=saved["step"],
        horizon=saved["horizon"],
        batch_size=saved["batch_size"],
        twins=Twins(_phi(tensors, f"group{i}/other", old.phi), noise) if noise else None,
    )


def _phi(tensors: Mapping[str, Tensor], prefix: str, old: BaseModelState) -> BaseModelState:
    W, b, V = ([tensors[f"{prefix}/{kind}{l}"] for l in range(1, old.depth + 1)] for kind in "WbV")
    return BaseModelState.from_arrays(W, b, V, old.nonlinearity)
