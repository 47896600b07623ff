"""What `InnerLoopExplorer` shows, computed without any widget: a rule learning a task, recorded step by step."""

from __future__ import annotations

import functools
import itertools
import math
import threading
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from metarules._checks import check_number
from metarules._work import Progress
from metarules.base_model import BaseModelState, forward
from metarules.evaluation import class_accuracy, probe_splits, split_accuracy, split_guesses
from metarules.inner_loop import check_steps, start, weight_alignment
from metarules.studies.planes import project
from metarules.studies.recording import Recorded, check_single_task, record
from metarules.tasks import Task
from metarules.update_rule import UpdateRule

FRAMES = 50  # recorded steps, besides step 0: of the usual 100, each of the first dozen
N_SPLITS = 5  # of the few-shot probe: a tenth of the protocol's, the same first five, for an answer within a second
LABELS_PER_CLASS = 10  # the protocol's
DOTS = 600  # examples in the embedding: more would hide each other
MAX_STEPS = 2000  # inner steps a widget may be asked for: about ten seconds of a learned rule


@dataclass(frozen=True, eq=False)
class Exploration(Recorded):
    """A trajectory and all that is shown of it. F recorded steps, L layers, N examples.

    Attributes:
        task: the data.
        seed: of initial weights and batches.
        steps: recorded inner steps, [F], from 0.
        states: phi at each of them.
        accuracies: few-shot accuracy in [0, 1], [F, n_splits].
        class_accuracies: the same for each class alone, over all splits, [F, n_classes].
        raw_accuracy: the same probe on the inputs themselves, mean over splits.
        dots: which examples the embedding shows, [n_dots].
        points: the embedding, [F, n_dots, 2], see `plots.project`.
        filters: first-layer filters in image order [F, n_1, height, width]; [F, 1, n_0, n_1] for data without a shape.
        cosines: cosine between W and V, [F, L].
        sees_labels: whether the rule was given the labels of all examples.
        changes_V: whether the rule changed V.
        beside: another rule's trajectory from the same seed, where two are compared.
    """

    task: Task
    seed: int
    steps: tuple[int, ...]
    states: tuple[BaseModelState, ...]
    accuracies: np.ndarray
    class_accuracies: np.ndarray
    raw_accuracy: float
    dots: np.ndarray
    points: np.ndarray
    filters: np.ndarray
    cosines: np.ndarray
    sees_labels: bool
    changes_V: bool
    beside: Exploration | None = field(default=None, kw_only=True)


def recording_steps(steps: int, frames: int = FRAMES) -> tuple[int, ...]:
    """At most frames + 1 inner steps to record, evenly spaced from 0, and the last one."""
    stride = max(1, math.ceil(steps / frames))
    return tuple(sorted({*range(0, steps + 1, stride), steps}))


def early_steps(steps: int, frames: int = FRAMES) -> tuple[int, ...]:
    """About frames + 1 inner steps to record, from 0 to the last one, most of them early, where most happens.

    They lie evenly on a scale of square roots, as far as whole numbers can; where every second step can be had, no gap
    is wider, so that each key of a slider finds its step.
    """
    if steps <= check_number("frames", frames, low=1, integer=True):
        return tuple(range(steps + 1))
    if steps <= 2 * frames:
        each = max(2 * frames - steps, steps // 7)
        each += (steps - each) % 2
        return (*range(each), *range(each, steps + 1, 2))
    for parts in itertools.count(frames):
        found = {round(steps * (i / parts) ** 2) for i in range(parts + 1)}
        if len(found) > frames:
            return tuple(sorted(found))
    raise AssertionError


@torch.no_grad()
def explore(
    rule: UpdateRule,
    task: Task,
    *,
    sizes: Sequence[int] | None = None,
    steps: int | None = None,
    batch_size: int | None = None,
    seed: int = 0,
    record_at: Iterable[int] | None = None,
    frames: int = FRAMES,
    progress: Progress | None = None,
    stop: threading.Event | None = None,
) -> Exploration:
    """Let a rule teach one base model, and work out all that the explorer shows.

    The trajectory is that of `evaluation.learned_state` with the same arguments. The accuracy is that of
    `evaluation.few_shot_accuracy` on its first five splits, which is what the explorer has time for.

    Args:
        rule: any rule; one with `needs_labels` is given the task's.
        task: a single task, on the CPU.
        sizes: (n_0, .., n_L); None takes the task's inputs and layers of 32, 32, 32.
        steps, batch_size: None takes what the rule recommends, 2,000 steps at most.
        seed: of initial weights and batches, from 0.
        record_at: inner steps to record, which must hold 0; `early_steps` by default.
        frames: steps to record besides step 0, about.
        progress: called with (recorded, all) after every recorded step.
        stop: set it to stop at the next recorded step.

    Returns:
        The `Exploration`.

    Raises:
        Stopped: `stop` was set.
        DivergenceError: phi stopped being finite.
        ValueError: settings out of range, a task with leading dimensions, a class with too few examples.
    """
    check_single_task(task)
    begun = start(rule, task, sizes=sizes, steps=steps, batch_size=batch_size, seed=seed)
    if steps is None:
        begun = begun._replace(settings=replace(begun.settings, steps=min(begun.settings.steps, MAX_STEPS)))
    steps = check_number("steps", begun.settings.steps, low=1, high=MAX_STEPS, integer=True)
    at = early_steps(steps, frames) if record_at is None else tuple(sorted({0, *check_steps(record_at, steps)}))
    splits = probe_splits(task.y, LABELS_PER_CLASS, N_SPLITS)
    trajectory = record(rule, task, begun, at, progress=progress, stop=stop)
    states = trajectory.states
    features = torch.stack([forward(state, task.x).features for state in states])
    guesses = split_guesses(features, task.y, splits)
    dots = fixed_sample(task.n_examples, DOTS)
    first, last = states[0], states[-1]
    return Exploration(
        task=task,
        seed=seed,
        steps=trajectory.steps,
        states=tuple(states),
        accuracies=(guesses == task.y[splits.rest]).double().mean(-1).numpy(),
        class_accuracies=class_accuracy(guesses, task.y, splits).numpy(),
        raw_accuracy=float(split_accuracy(task.x, task.y, splits).mean()),
        dots=dots,
        points=project(features.numpy())[:, dots],
        filters=_filters(torch.stack([state.layers[0].W for state in states]), task),
        cosines=torch.stack([weight_alignment(state) for state in states]).numpy(),
        sees_labels=rule.needs_labels,
        changes_V=any(not torch.equal(a.V, b.V) for a, b in zip(first.layers, last.layers, strict=True)),
    )


def explore_beside(
    rule: UpdateRule,
    other: UpdateRule,
    task: Task,
    *,
    first: Exploration | None = None,
    progress: Progress | None = None,
    study: Callable[..., Exploration] | None = None,
    **settings: Any,
) -> Exploration:
    """`explore` with two rules: from one seed, for as many steps, on batches of the size that the first recommends.

    The base models and the batches are the same, unless the rules recommend another spread of the first weights or
    carry something random along.

    Args:
        rule, other: the two rules.
        task: as for `explore`.
        first: what `explore` gave for the first rule with these settings, if that is known.
        progress: as for `explore`, over both.
        study: what is called in place of `explore`, such as `studies.layers.explore_layers`.
        settings: as for `explore`.

    Returns:
        The first rule's `Exploration`, with the other's in `beside`.

    Raises:
        as `explore`.
    """

    def half(begun: int, done: int, all_: int) -> None:
        if progress is not None:
            progress(begun * all_ + done, 2 * all_)

    batch_size = settings.pop("batch_size", None) or min(rule.recommended.batch_size, task.n_examples)
    study = study or explore
    a = first or study(rule, task, batch_size=batch_size, progress=functools.partial(half, 0), **settings)
    settings |= {"steps": a.steps[-1], "record_at": a.steps}
    b = study(other, task, batch_size=batch_size, progress=functools.partial(half, 1), **settings)
    return replace(a, beside=b)


def fixed_sample(n: int, most: int) -> np.ndarray:
    """At most `most` of n row numbers, evenly mixed and always the same, in rising order."""
    order = torch.randperm(n, generator=torch.Generator().manual_seed(0))
    return np.sort(order[:most].numpy())


def _filters(W: Tensor, task: Task) -> np.ndarray:
    """First-layer weights [F, n_0, n_1] as images, or as one matrix for each frame."""
    if task.shape is None:
        return W.unsqueeze(1).numpy()
    return task.image(W.mT).numpy()
