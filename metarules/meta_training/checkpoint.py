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
from metarules.meta_training.particles import Group
from metarules.tasks import Dataset, Task

FORMAT = 1


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
        "settings": repr((trainer.settings, trainer.distribution)),
    }
    tensors = {name: t.contiguous().clone() for name, t in tensors.items()}
    write_atomically(path, safetensors.torch.save(tensors, {"metarules": json.dumps(facts)}))


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
            facts = json.loads((file.metadata() or {})["metarules"])
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 (not a dict)
    except (safetensors.SafetensorError, KeyError, ValueError) as error:
        raise ValueError(f"{path.name} is truncated or no checkpoint of this package ({error})") from error
    if facts.get("format") != FORMAT:
        raise ValueError(f"{path.name} has format {facts.get('format')!r}; allowed: {FORMAT}")
    mine = repr((trainer.settings, trainer.distribution))
    if facts["settings"] != mine:
        raise ValueError(
            f"{path.name} belongs to a run with other settings:\n{facts['settings']}\nthis one has\n{mine}"
        )
    groups = [_group(tensors, facts, i, old) for i, old in enumerate(trainer.groups)]
    with torch.no_grad():
        for name, parameter in trainer.rule.named_parameters():
            parameter.copy_(tensors[f"theta/{name}"])
            trainer.average[name].copy_(tensors[f"average/{name}"])
            prefix = f"adam/{name}/"
            moments = {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}
            trainer.optimiser.state[parameter] = moments
    trainer.groups = groups
    trainer.pool.datasets = [
        Dataset(
            data["name"],
            tensors[f"pool{i}/x"],
            tensors[f"pool{i}/y"],
            tuple(data["shape"]) if data["shape"] else None,
            tuple(data["class_names"]),
        )
        for i, data in enumerate(facts["pool"])
    ]
    trainer.pool.next = facts["pool_next"]
    trainer.generator.set_state(tensors["generator"])
    trainer.number, trainer.skipped = facts["number"], facts["skipped"]


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
    depth = old.phi.depth
    W, b, V = ([tensors[f"group{i}/phi/{kind}{l}"] for l in range(1, depth + 1)] for kind in "WbV")
    phi = BaseModelState.from_arrays(W, b, V, old.phi.nonlinearity)
    return replace(
        old, phi=phi, task=task, step=saved["step"], horizon=saved["horizon"], batch_size=saved["batch_size"]
    )
