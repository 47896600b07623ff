"""Randomness without a state: every draw of a run follows from the run's seed and from where in the run it is made.

So nothing random needs to be kept in a checkpoint, a group can be drawn again from its numbers, and processes that
share the work draw exactly what one process would.
"""

from __future__ import annotations

import hashlib
import math

import torch


def generator_for(seed: int, *where: int | str) -> torch.Generator:
    """A CPU generator of its own for one place in a run, such as `generator_for(seed, "life", group, number)`.

    Args:
        seed: of the run.
        where: names and numbers; any difference gives unrelated draws.
    """
    words = hashlib.blake2b(repr((seed, *where)).encode(), digest_size=8).digest()
    return torch.Generator().manual_seed(int.from_bytes(words, "big") >> 1)


def draw_integer(low: int, high: int, generator: torch.Generator, *, log: bool = False) -> int:
    """A whole number in low .. high, uniform or log-uniform."""
    share = float(torch.rand((), generator=generator, dtype=torch.float64))
    if log:
        drawn = int(math.exp(math.log(low) + share * (math.log(high + 1) - math.log(low))))
        return min(high, max(low, drawn))  # exp(log(low)) may lie a rounding below low
    return min(high, low + int(share * (high - low + 1)))
