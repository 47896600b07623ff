"""Long work on a thread of its own: it reports how far it is, can be stopped, and gives way to newer work."""

from __future__ import annotations

import functools
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from metarules._arguments import plain_torch
from metarules._threads import few_threads

Progress = Callable[[int, int], None]  # called with (done, all)
_TELL_EVERY = 0.1  # seconds between two reports: more would only fill the wire


class Stopped(Exception):
    """Long work was stopped on request."""


@dataclass(frozen=True)
class Report:
    """How far a piece of work is.

    Attributes:
        share: done, in [0, 1].
        seconds_left: estimated from the time it has taken so far.
    """

    share: float
    seconds_left: float


@dataclass(eq=False)
class _Job:
    """One piece of work."""

    finish: Callable[[Any, BaseException | None], None]
    report: Callable[[Report], None]
    stop: threading.Event = field(default_factory=threading.Event)
    started: float = field(default_factory=time.monotonic)
    told: float = 0.0
    thread: threading.Thread | None = None


def time_left(began: float, done: float, total: float) -> str:
    """For lines about long work: ", about 3 min left", from `time.monotonic()` at its beginning; nothing at first."""
    if not done:
        return ""
    seconds = (time.monotonic() - began) / done * (total - done)
    return f", about {f'{seconds:.0f} s' if seconds < 100 else f'{seconds / 60:.0f} min'} left"


@contextmanager
def usual() -> Iterator[None]:
    """As widgets compute: few threads, and PyTorch's own defaults, until the block ends."""
    with few_threads(), plain_torch():
        yield


class Worker:
    """Does one piece of work at a time; starting another stops the one before, whose result is dropped.

    Args:
        lock: held while a result or a report is handed over, so that neither meets a callback half-way.
    """

    def __init__(self, lock: Any) -> None:
        self._lock = lock
        self._job: _Job | None = None

    @property
    def busy(self) -> bool:
        """Whether work is under way."""
        return self._job is not None

    def start(
        self,
        work: Callable[[Progress, threading.Event], Any],
        finish: Callable[[Any, BaseException | None], None],
        report: Callable[[Report], None],
    ) -> None:
        """Begin.

        Args:
            work: called on the worker's thread with a function for progress and an event; once the event is set it
                should raise `Stopped`.
            finish: called there too, with (result, None) or (None, what was raised).
            report: called there too, ten times a second at most.
        """
        self.stop()
        job = self._job = _Job(finish, report)
        job.thread = threading.Thread(target=self._run, args=(job, work), daemon=True, name="metarules-worker")
        job.thread.start()

    def stop(self) -> None:
        """Ask the work to stop, if there is any."""
        if (job := self._job) is not None:
            job.stop.set()

    def drop(self) -> None:
        """Stop the work, if there is any, and forget it: it will report nothing more, and nothing waits for it."""
        with self._lock:
            self.stop()
            self._job = None

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until there is no work.

        Args:
            timeout: seconds, or None for as long as it takes.

        Returns:
            Whether there is none.
        """
        end = None if timeout is None else time.monotonic() + timeout
        while (job := self._job) is not None and job.thread is not None:
            job.thread.join(None if end is None else max(0.0, end - time.monotonic()))
            if end is not None and time.monotonic() >= end:
                break
        return self._job is None

    def _run(self, job: _Job, work: Callable[[Progress, threading.Event], Any]) -> None:
        result: Any = None
        problem: BaseException | None = None
        try:
            with usual():
                result = work(functools.partial(self._tell, job), job.stop)
        except BaseException as error:  # SystemExit too, which a rule of the reader's may raise: else all would wait
            problem = error
        with self._lock:
            if job is self._job:  # else newer work has taken over
                self._job = None
                job.finish(result, problem)

    def _tell(self, job: _Job, done: int, total: int) -> None:
        now = time.monotonic()
        if job is not self._job or job.stop.is_set() or now - job.told < _TELL_EVERY:
            return
        job.told = now
        left = (now - job.started) / max(done, 1) * (total - done)
        with self._lock:
            if job is self._job and not job.stop.is_set():  # else a callback has just said something newer
                job.report(Report(done / max(total, 1), left))
