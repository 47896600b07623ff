"""Time several functions against each other on a machine that others use too: in turns, over and over.

What is slow for a second is slow for all of them, so that ratios within a round hold where seconds do not. Work on a
single thread of the processor is measured in the seconds that it really ran, which on a quiet machine are those on the
wall; with more threads, or on a GPU, only the wall's clock means anything.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch

SHORTEST = 0.02  # seconds: a shorter function is called several times in a row, so that the clock does not matter
LEAST_ROUNDS = 3  # a median of fewer says nothing about the spread


@dataclass(frozen=True)
class Timing:
    """Seconds a call, one number a round.

    Attributes:
        rounds: seconds a call of each round, in order.
    """

    rounds: tuple[float, ...]

    @property
    def median(self) -> float:
        """Median of the rounds, in seconds."""
        return statistics.median(self.rounds)

    @property
    def best(self) -> float:
        """The fastest round, in seconds: what the machine does when left alone."""
        return min(self.rounds)

    def quartiles(self) -> tuple[float, float]:
        """First and third quartile of the rounds, in seconds."""
        return quartiles(self.rounds)


def interleave(
    functions: Mapping[str, Callable[[], object]],
    seconds: float,
    device: str = "cpu",
    rounds: int = LEAST_ROUNDS,
    threads: int | None = None,
) -> dict[str, Timing]:
    """Time functions in turns (A B C A B C ...).

    Args:
        functions: name -> function without arguments; each is run before the clock starts.
        seconds: how long to go on.
        device: where they run; "cuda" waits for the device before each look at the clock.
        rounds: the least number of rounds, whatever time that takes.
        threads: PyTorch's while they run; with 1, on a CPU, the process's own seconds are counted. None takes what is
            set now.

    Returns:
        Name -> its times, equally many for all.

    Raises:
        ValueError: fewer than one round asked for.
    """
    if rounds < 1:
        raise ValueError(f"rounds is {rounds}; allowed: 1 or more")
    alone = (threads or torch.get_num_threads()) == 1 and device == "cpu"
    clock = time.process_time if alone else time.perf_counter
    calls = {name: _calls(function, device, clock) for name, function in functions.items()}
    found: dict[str, list[float]] = {name: [] for name in functions}
    end = time.perf_counter() + seconds
    while min(map(len, found.values())) < rounds or time.perf_counter() < end:
        for name, function in functions.items():
            found[name].append(_clock(function, calls[name], device, clock))
    return {name: Timing(tuple(times)) for name, times in found.items()}


def ratio(above: Timing, below: Timing) -> tuple[float, float, float]:
    """How many times longer `above` takes than `below`: median over rounds, first quartile, third quartile."""
    rounds = [a / b for a, b in zip(above.rounds, below.rounds, strict=True)]
    return (statistics.median(rounds), *quartiles(rounds))


def quartiles(values: tuple[float, ...] | list[float]) -> tuple[float, float]:
    """First and third quartile; of a single number, that number twice."""
    if len(values) == 1:
        return values[0], values[0]
    first, _, third = statistics.quantiles(values, n=4, method="inclusive")
    return first, third


def _calls(function: Callable[[], object], device: str, clock: Callable[[], float]) -> int:
    """How often to call a function in a row for the clock's sake; also its warm-up."""
    if _clock(function, 1, device, clock) > 10 * SHORTEST:
        return 1
    return max(1, round(SHORTEST / max(_clock(function, 1, device, clock), 1e-7)))


def _clock(function: Callable[[], object], calls: int, device: str, clock: Callable[[], float]) -> float:
    """Seconds a call."""
    wait(device)
    began = clock()
    for _ in range(calls):
        function()
    wait(device)
    return (clock() - began) / calls


def wait(device: str) -> None:
    """Let a GPU finish what it was told to do; nothing to wait for on a CPU."""
    if device.startswith("cuda"):
        torch.cuda.synchronize(device)
