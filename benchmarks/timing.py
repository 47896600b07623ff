"""Time several functions against each other on a machine that others use too: in turns, over and over.

What is slow for a second is slow for all of them, so that ratios within a round hold where seconds do not. Work on a
single thread of the processor is timed by the process's own CPU time; with more threads, or on a GPU, by the wall's
clock.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TypeAlias

import torch

SHORTEST = 0.02  # seconds: a shorter function is called several times in a row, so that the clock does not matter
LEAST_ROUNDS = 3  # a median of fewer says nothing about the spread

Timer: TypeAlias = Callable[[int], float]  # calls a function so many times in a row; seconds a call


@dataclass(frozen=True)
class Timing:
    """Seconds a call, one number a round, in order."""

    rounds: tuple[float, ...]

    @property
    def median(self) -> float:
        """Median of the rounds, in seconds."""
        return statistics.median(self.rounds)

    @property
    def best(self) -> float:
        """The fastest round, in seconds: what the machine does when left alone."""
        return min(self.rounds)


def timer(function: Callable[[], object], device: str = "cpu", threads: int | None = None) -> Timer:
    """Times a function in this process.

    Args:
        function: without arguments.
        device: where it runs; "cuda" waits for the device before each look at the clock.
        threads: PyTorch's while it runs; with 1, on a CPU, CPU time is counted. None takes what is set now.
    """
    alone = (threads or torch.get_num_threads()) == 1 and device == "cpu"
    clock = time.process_time if alone else time.perf_counter

    def seconds(calls: int) -> float:
        wait(device)
        began = clock()
        for _ in range(calls):
            function()
        wait(device)
        return (clock() - began) / calls

    return seconds


def interleave(timers: Mapping[str, Timer], seconds: float, rounds: int = LEAST_ROUNDS) -> dict[str, Timing]:
    """Time functions in turns (A B C A B C ...), each after a warm-up.

    Args:
        timers: by name.
        seconds: how long to go on.
        rounds: the least number of rounds, whatever time that takes.

    Returns:
        Name -> its times, equally many for all.

    Raises:
        ValueError: fewer than one round asked for.
    """
    if rounds < 1:
        raise ValueError(f"rounds is {rounds}; allowed: 1 or more")
    calls = {name: _calls(timed) for name, timed in timers.items()}
    found: dict[str, list[float]] = {name: [] for name in timers}
    end = time.perf_counter() + seconds
    while min(map(len, found.values())) < rounds or time.perf_counter() < end:
        for name, timed in timers.items():
            found[name].append(timed(calls[name]))
    return {name: Timing(tuple(times)) for name, times in found.items()}


def ratio(above: Timing, below: Timing) -> tuple[float, float, float]:
    """How many times longer `above` takes than `below`: median over rounds, first quartile, third quartile."""
    rounds = [a / b for a, b in zip(above.rounds, below.rounds, strict=True)]
    if len(rounds) == 1:
        return rounds[0], rounds[0], rounds[0]
    first, median, third = statistics.quantiles(rounds, n=4, method="inclusive")
    return median, first, third


def _calls(timed: Timer) -> int:
    """How often to call a function in a row for the clock's sake; also its warm-up."""
    if timed(1) > 10 * SHORTEST:
        return 1
    return max(1, round(SHORTEST / max(timed(1), 1e-7)))


def wait(device: str) -> None:
    """Let a GPU finish what it was told to do; nothing to wait for on a CPU."""
    if device.startswith("cuda"):
        torch.cuda.synchronize(device)
