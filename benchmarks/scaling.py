"""How cost grows with each size on its own, as a power: cost ~ size ** exponent over the upper half of the range."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch

from benchmarks.cases import Case, build, laptop, paper
from benchmarks.steps import Options
from benchmarks.timing import interleave

AXES = ("tasks", "width", "depth", "batch", "unroll")


@dataclass(frozen=True)
class Sweep:
    """One size that grows while the others stay.

    Attributes:
        base: the other sizes.
        axis: one of `AXES`.
        values: its sizes, growing.
    """

    base: Case
    axis: str
    values: tuple[int, ...]

    def case(self, value: int) -> Case:
        """The case at one size. Width and depth are those of the layers between the input and the top.

        Raises:
            ValueError: an unknown axis.
        """
        n_in, *hidden, top = self.base.widths
        if self.axis == "width":
            return replace(self.base, widths=(n_in, *(value for _ in hidden), top))
        if self.axis == "depth":
            return replace(self.base, widths=(n_in, *(hidden[0] for _ in range(value)), top))
        sizes = {"tasks": self.base.tasks, "batch": self.base.batch, "unroll": self.base.unroll}
        if self.axis not in sizes:
            raise ValueError(f"axis is {self.axis!r}; allowed: {', '.join(AXES)}")
        sizes[self.axis] = value
        return Case(self.base.rule, self.base.widths, settings=self.base.settings, **sizes)


def sweeps(rule: str, quick: bool = False) -> list[Sweep]:
    """The sweeps of a rule, each to sizes where its own cost stands out from the fixed one.

    Args:
        rule: "local" or "paper".
        quick: fewer and smaller sizes.
    """
    wanted: dict[str, tuple[int, ...]]
    if rule == "local":
        base = laptop(batch=100)
        wanted = {
            "tasks": (1, 2, 4, 8, 16, 32, 64, 128, 256),
            "width": (16, 32, 64, 128, 256),
            "depth": (1, 2, 4, 8, 16),
            "batch": (50, 100, 200, 400, 800),
            "unroll": (1, 2, 4, 8, 16),
        }
    else:
        base = paper()
        wanted = {
            "tasks": (1, 2, 4),
            "width": (32, 64, 128, 256),
            "depth": (1, 2, 4, 8),
            "batch": (25, 50, 100, 200),
            "unroll": (1, 2, 4),
        }
    if quick:
        wanted = {axis: values[1:4] for axis, values in wanted.items()}
    return [Sweep(base, axis, values) for axis, values in wanted.items()]


def measure(sweep: Sweep, options: Options) -> dict[str, Any]:
    """Forward + backward seconds at each size, best of the rounds, and the fitted exponent.

    All sizes take turns, on the one number of threads that suits the middle one, so that neither a busy minute nor a
    change of threads bends the curve. The best round is taken since whatever disturbs a machine only ever adds.
    """
    middle = sweep.case(sweep.values[len(sweep.values) // 2])
    threads = options.threads_of(middle)
    torch.set_num_threads(threads)
    timed: dict[str, Callable[[], object]] = {
        str(value): build(sweep.case(value), "now", options.device).meta_gradient for value in sweep.values
    }
    found = interleave(timed, options.seconds, options.device, options.rounds)
    seconds = [found[str(value)].best for value in sweep.values]
    return {
        "rule": sweep.base.rule,
        "base": {"widths": list(sweep.base.widths), "batch": sweep.base.batch, "tasks": sweep.base.tasks},
        "axis": sweep.axis,
        "threads": threads,
        "values": list(sweep.values),
        "seconds": seconds,
        "exponent": exponent(sweep.values, seconds),
    }


def exponent(sizes: Sequence[float], costs: Sequence[float]) -> float:
    """Slope of log cost against log size by least squares, over the upper half of the sizes.

    Below, the fixed cost of starting operations hides the growth.

    Raises:
        ValueError: fewer than two sizes, or numbers that are not positive.
    """
    if len(sizes) != len(costs) or len(sizes) < 2 or min(*sizes, *costs) <= 0:
        raise ValueError(f"sizes, costs are {list(sizes)}, {list(costs)}; allowed: two or more of each, all positive")
    first = min(len(sizes) // 2, len(sizes) - 2)
    x = [math.log(size) for size in sizes[first:]]
    y = [math.log(cost) for cost in costs[first:]]
    mean_x, mean_y = sum(x) / len(x), sum(y) / len(y)
    over = sum((a - mean_x) * (b - mean_y) for a, b in zip(x, y, strict=True))
    return over / sum((a - mean_x) ** 2 for a in x)
