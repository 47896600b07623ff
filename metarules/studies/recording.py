"""What the explorers' cores share: the check of a task, and the recorder that tells progress and can be stopped."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Any

from metarules._work import Progress, Stopped
from metarules.base_model import BaseModelState
from metarules.tasks import Task


def check_single_task(task: Any) -> None:
    """Refuse what is no task, or several tasks at once.

    Raises:
        TypeError: not a `Task`.
        ValueError: a task with leading dimensions.
    """
    if not isinstance(task, Task):
        raise TypeError(f"task must be a metarules.tasks.Task, got {type(task).__name__}; see make_task")
    if task.tasks:
        raise ValueError(f"task has leading dimensions {list(task.tasks)}; allowed: none (pick one with task.task(0))")


def state_recorder(
    wanted: Sequence[int],
    steps: int,
    progress: Progress | None,
    stop: threading.Event | None,
    look: Callable[[BaseModelState], None] | None = None,
) -> Callable[[BaseModelState, Task], BaseModelState]:
    """A recorder for `inner_loop.learn` that keeps phi.

    Args:
        wanted: the inner steps that are recorded.
        steps: all inner steps, for the message of a stop.
        progress: called with (recorded, all) after every recorded step.
        stop: set it to stop at the next recorded step, by `Stopped`.
        look: called with every phi that is recorded.
    """
    seen = 0

    def record(phi: BaseModelState, task: Task) -> BaseModelState:
        nonlocal seen
        if stop is not None and stop.is_set():
            raise Stopped(f"stopped after {wanted[seen]} of {steps} steps")
        if look is not None:
            look(phi)
        seen += 1
        if progress is not None:
            progress(seen, len(wanted))
        return phi.detach()

    return record
