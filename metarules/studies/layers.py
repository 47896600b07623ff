"""What `LayersExplorer` shows, computed without any widget: every layer of one base model while a rule teaches it."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import torch
from torch import Tensor

from metarules._checks import check_number
from metarules.base_model import forward
from metarules.evaluation import probe_splits, split_accuracy
from metarules.studies.planes import each_turned_to_the_last, nearest_alike, project
from metarules.studies.trajectory import LABELS_PER_CLASS, N_SPLITS, Exploration, explore, fixed_sample
from metarules.tasks import Task
from metarules.update_rule import UpdateRule

MOST_CLOUDS = 6  # layers shown: more would be too small to look at
FRAMES = 20  # fewer than `InnerLoopExplorer`'s: here every layer of a frame is probed and drawn
DOTS = 400  # in each cloud: four clouds share the room of two pictures


@dataclass(frozen=True, eq=False)
class LayerExploration(Exploration):
    """An `Exploration` with `DOTS` dots, and what every layer makes of them. F frames, L layers.

    Attributes:
        batch_size: examples a step saw.
        layer_accuracies: few-shot accuracy of each layer from 0 (the inputs) to L, mean over splits, [F, L + 1].
        layer_activities: of the dots in each layer, [F, n_dots, n_l]; the inputs [1, n_dots, n_0].
        layer_points: the same in a plane of each layer's own, [F, n_dots, 2]; the inputs [1, n_dots, 2]. Each plane is
            turned to that of the layer below.
        images: the dots as images [n_dots, height, width]; None for data without a shape.
    """

    batch_size: int
    layer_accuracies: np.ndarray
    layer_activities: tuple[np.ndarray, ...]
    layer_points: tuple[np.ndarray, ...]
    images: np.ndarray | None


@torch.no_grad()
def explore_layers(rule: UpdateRule, task: Task, **settings: Any) -> LayerExploration:
    """Let a rule teach one base model, and work out what every layer makes of the data.

    Args:
        rule: any rule.
        task: a single task, on the CPU.
        settings: as in `explore`; 20 frames by default.

    Returns:
        The `LayerExploration`; top-layer accuracies are those of `explore`.

    Raises:
        Stopped, DivergenceError, ValueError, TypeError: as `explore`; also for more than 5 layers.
    """
    if settings.get("sizes") is not None:
        check_number("layers, len(sizes) - 1,", len(settings["sizes"]) - 1, low=1, high=MOST_CLOUDS - 1, integer=True)
    e = explore(rule, task, **{"frames": FRAMES, **settings})
    splits = probe_splits(task.y, LABELS_PER_CLASS, N_SPLITS)
    rows = torch.from_numpy(fixed_sample(task.n_examples, DOTS))
    every = [forward(phi, task.x).x for phi in e.states]
    layers = [task.x.unsqueeze(0)] + [torch.stack([x[l] for x in every]) for l in range(1, len(e.sizes))]
    hidden = [split_accuracy(features, task.y, splits).mean(1).numpy() for features in layers[1:-1]]
    accuracies = [np.full(len(e.steps), e.raw_accuracy), *hidden, e.accuracies.mean(1)]
    kept = {field.name: getattr(e, field.name) for field in fields(Exploration)}
    batch = settings.get("batch_size") or min(rule.recommended.batch_size, task.n_examples)
    return LayerExploration(
        **{**kept, "dots": rows.numpy(), "points": project(layers[-1].numpy())[:, rows.numpy()]},
        batch_size=batch,
        layer_accuracies=np.stack(accuracies, 1),
        layer_activities=tuple(features[:, rows].numpy() for features in layers),
        layer_points=each_turned_to_the_last([_plane(features)[:, rows.numpy()] for features in layers]),
        images=task.image(task.x[rows]).numpy() if task.shape else None,
    )


def _plane(features: Tensor) -> np.ndarray:
    """Where the examples lie in a layer's plane; inputs of two numbers are a plane already."""
    return features.numpy() if features.shape[-1] == 2 and len(features) == 1 else project(features.numpy())


def most_improved_dot(e: LayerExploration) -> int:
    """The dot that learning helps most: whose nearest in the top layer are of its class at the last step, but were not
    at the first, nor in the inputs; the first of equals."""
    labels = e.task.y.numpy()[e.dots]
    inputs, top = e.layer_activities[0][0], e.layer_activities[-1]
    after, before, pixels = (nearest_alike(x, labels) for x in (top[-1], top[0], inputs))
    return int((2 * after - before - pixels).argmax())
