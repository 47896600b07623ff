"""Two moons pulled apart: a small net taught by a rule, and what a read-out of its top layer says."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from metarules._checks import check_number, check_widths
from metarules._work import Progress
from metarules.base_model import freeze
from metarules.evaluation import Splits, probe_splits, split_accuracy, split_reader
from metarules.inner_loop import start
from metarules.studies.planes import main_directions, project
from metarules.studies.recording import record
from metarules.studies.trajectory import FRAMES, LABELS_PER_CLASS, recording_steps
from metarules.tasks import Task, load_dataset, make_task
from metarules.update_rule import UpdateRule

STEPS = 50  # after about ten the accuracy is at its best; the rest shows that it stays above a straight line
INPUTS = 16  # in 2 numbers a random net of this kind unrolls the moons as well as any rule
HIDDEN = (16, 16, 16)
N, N_SPLITS = 600, 10
_GRID = 70  # places along each side of the plane where the read-out is asked


@dataclass(frozen=True, eq=False)
class MoonsRun:
    """What the film shows. F recorded steps, N points.

    Attributes:
        task: moons in `INPUTS` numbers.
        steps: recorded inner steps, [F].
        labels: class numbers [N].
        labelled: row numbers of the points whose labels the drawn read-out is given.
        plane: the points in the plane of the inputs' two main directions, [N, 2].
        points: top-layer features on the two main directions of the last step, [F, N, 2].
        accuracies: few-shot accuracy [F, n_splits]; input_accuracy: the same on the inputs, mean over splits.
        regions: what the read-out of one split answers across that plane, [F, g, g], rows from the bottom up.
        input_regions: the same for a read-out of the inputs, [g, g].
        extent: (left, right, bottom, top) of the regions in the plane.
    """

    task: Task
    steps: tuple[int, ...]
    labels: np.ndarray
    labelled: np.ndarray
    plane: np.ndarray
    points: np.ndarray
    accuracies: np.ndarray
    input_accuracy: float
    regions: np.ndarray
    input_regions: np.ndarray
    extent: tuple[float, float, float, float]


@torch.no_grad()
def teach_moons(
    rule: UpdateRule,
    *,
    inputs: int = INPUTS,
    hidden: Sequence[int] = HIDDEN,
    steps: int = STEPS,
    frames: int = FRAMES,
    seed: int = 0,
    progress: Progress | None = None,
    stop: threading.Event | None = None,
) -> MoonsRun:
    """Let a rule teach a small net on two moons, without labels, and fit the read-out at every recorded step.

    Args:
        rule: any rule that needs no labels.
        inputs: dimensions that the plane of the moons is embedded in, with a little noise on each; 2 leaves it.
        hidden: widths of the layers above the inputs.
        steps: inner steps.
        frames: steps to record besides step 0, about.
        seed: of initial weights and batches; the data are the same.
        progress, stop: as for `explore`.

    Raises:
        Stopped: `stop` was set.
        ValueError, TypeError: numbers out of range, a rule that needs labels.
        DivergenceError: phi stopped being finite.
    """
    check_widths("hidden", tuple(hidden))
    check_number("inputs", inputs, low=2, high=256, integer=True)
    check_number("steps", steps, low=1, high=1000, integer=True)
    check_number("frames", frames, low=1, integer=True)
    if rule.needs_labels:
        raise ValueError(f"rule is {type(rule).__name__}, which needs labels; allowed: rules that learn without")
    task = make_task(load_dataset("two_moons", n=N, dimension=inputs), permute=False)
    begun = start(rule, task, sizes=(inputs, *hidden), steps=steps, seed=seed)
    run = record(rule, task, begun, recording_steps(steps, frames), progress=progress, stop=stop)
    splits = probe_splits(task.y, LABELS_PER_CLASS, N_SPLITS)
    first = Splits(splits.labelled[:1], splits.rest[:1])
    plane, places, extent = _input_plane(task)
    frozen = [freeze(state, task.x) for state in run.states]
    features = torch.stack([model(task.x) for model in frozen])
    of_places = torch.stack([model(places) for model in frozen])
    answers, input_answers = (
        split_reader(known, task.y, first)(new).argmax(-1).unflatten(-1, (_GRID, _GRID)).numpy()
        for known, new in ((features, of_places), (task.x, places))
    )
    return MoonsRun(
        task=task,
        steps=run.steps,
        labels=task.y.numpy(),
        labelled=first.labelled[0].numpy(),
        plane=plane,
        points=project(features.numpy()),
        accuracies=split_accuracy(features, task.y, splits).numpy(),
        input_accuracy=float(split_accuracy(task.x, task.y, splits).mean()),
        regions=answers,
        input_regions=input_answers,
        extent=extent,
    )


def _input_plane(task: Task) -> tuple[np.ndarray, torch.Tensor, tuple[float, float, float, float]]:
    """The points in the plane where they spread most [N, 2], a grid of it as inputs [g * g, n_0], its extent."""
    centre = task.x.mean(0)
    basis = torch.eye(2) if task.n_inputs == 2 else main_directions(task.x - centre)
    plane = (task.x - centre) @ basis.T
    (left, bottom), (right, top) = plane.amin(0).tolist(), plane.amax(0).tolist()
    room = 0.08 * max(right - left, top - bottom)
    extent = (left - room, right + room, bottom - room, top + room)
    across, up = (torch.linspace(extent[i], extent[i + 1], _GRID) for i in (0, 2))
    y, x = torch.meshgrid(up, across, indexing="ij")
    return plane.numpy(), centre + torch.stack([x, y], -1).flatten(0, 1) @ basis, extent
