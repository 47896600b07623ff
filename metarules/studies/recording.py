"""What the studies of a trajectory share: the check of a task, a run that can be watched and stopped, its states."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch

from metarules._work import Progress, Stopped
from metarules.base_model import BaseModelState
from metarules.inner_loop import Start, Trajectory, learn
from metarules.tasks import Task
from metarules.update_rule import UpdateRule


def check_single_task(task: Task) -> None:
    """Refuse what is no task, or several tasks at once.

    Raises:
        ValueError: a task with leading dimensions.
    """
    if task.tasks:
        raise ValueError(f"task has leading dimensions {list(task.tasks)}; allowed: none (pick one with task.task(0))")


class Recorded:
    """Base of the studies that keep phi at some inner steps."""

    steps: tuple[int, ...]
    states: tuple[BaseModelState, ...]

    @property
    def sizes(self) -> tuple[int, ...]:
        """(n_0, .., n_L)."""
        return self.states[0].sizes

    def weights(self, layer: int) -> tuple[np.ndarray, np.ndarray]:
        """W and V of a layer, 1 .. L, at every recorded step: [F, n_in, n_out] each."""
        chosen = [phi.layers[layer - 1] for phi in self.states]
        return torch.stack([p.W for p in chosen]).numpy(), torch.stack([p.V for p in chosen]).numpy()

    def frame_of(self, step: int) -> int:
        """Number of the last frame recorded at or before an inner step; 0 for steps below 0."""
        return max(int(np.searchsorted(self.steps, step, side="right")) - 1, 0)


def record(
    rule: UpdateRule,
    task: Task,
    start: Start,
    at: Sequence[int],
    *,
    progress: Progress | None = None,
    stop: threading.Event | None = None,
    look: Callable[[BaseModelState], None] | None = None,
) -> Trajectory:
    """Let a rule teach base models, phi kept at some inner steps.

    Args:
        rule, task: as for `learn`.
        start: from `inner_loop.start` with the same two.
        at: the inner steps to record, in rising order.
        progress: called with (recorded, all) after every recorded step.
        stop: set it to stop at the next recorded step.
        look: called with every phi that is recorded.

    Raises:
        Stopped: `stop` was set.
        DivergenceError, ValueError, TypeError: as `learn`.
    """
    phi, how, generator = start
    done = 0

    def keep(phi: BaseModelState, task: Task) -> BaseModelState:
        nonlocal done
        if stop is not None and stop.is_set():
            raise Stopped(f"stopped after {at[done]} of {how.steps} steps")
        if look is not None:
            look(phi)
        done += 1
        if progress is not None:
            progress(done, len(at))
        return phi.detach()

    options: dict[str, Any] = {"steps": how.steps, "batch_size": how.batch_size, "generator": generator}
    return learn(rule, phi, task, **options, record={"state": keep}, record_at=at)
