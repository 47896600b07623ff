"""Work side by side in the threads of one process, for groups and validations that do not depend on each other.

An inner step is many short operations, which a second thread inside each hardly helps; two groups at once, one thread
each, take 0.6 of the time of one after the other on two cores (`python -m benchmarks`). PyTorch lets go of the
interpreter's lock in every operation, so no further process is needed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import torch

from metarules._checks import check_number

Item = TypeVar("Item")
Result = TypeVar("Result")


class Workers:
    """A number of threads that share work out; results are the same, bit for bit, whatever their number.

    Args:
        count: threads; with 1 everything happens in the caller's own.

    Raises:
        TypeError, ValueError: count is no whole number from 1.
    """

    def __init__(self, count: int = 1) -> None:
        self.count = int(check_number("count", count, low=1, integer=True))
        self._pool: ThreadPoolExecutor | None = None

    def map(self, function: Callable[[Item], Result], items: Iterable[Item]) -> list[Result]:
        """`function` of every item, in their order; the first error is raised when all before it are done."""
        items = list(items)
        if self.count == 1 or len(items) < 2:
            return [function(item) for item in items]
        if self._pool is None:
            # flush-to-zero is set per thread, and shows in the results
            self._pool = ThreadPoolExecutor(self.count, "worker", torch.set_flush_denormal, (_flushes_denormals(),))
        return list(self._pool.map(function, items))


def _flushes_denormals() -> bool:
    return not bool(torch.full((1,), 2.0**-130) * 0.5)
