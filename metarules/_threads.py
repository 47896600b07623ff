"""How many threads PyTorch should use: few for small models, and never more than there are cores to run them.

PyTorch takes all cores for whatever it is given. An inner step is some hundred short operations, each of which then
waits for the slowest thread: where another process (a second notebook, a test run) holds a core, a step on two threads
was measured at 10 to 30 times one thread's time; alone on two cores, two threads gain nothing for one task at the
laptop's sizes, and a factor of 1.8 for 64 tasks, 2.3 at the paper's sizes (`python -m benchmarks`).
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

import torch

from metarules._checks import check_number

PER_THREAD = 2e7  # multiply-adds of one update network's layer that keep a thread busy; ours, measured as above
MOST = 16  # ours: beyond it, run more processes; the operations of one step are too short for more
VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS")  # how users say it themselves


def available_cores() -> int:
    """Cores this process may use: its CPU affinity, and on Linux its container's CPU quota, rounded up."""
    from joblib import cpu_count  # here, since it takes 0.3 s and lessons do not ask

    return int(cpu_count())


def threads_for(work: float, cores: int, environment: Mapping[str, str] | None = None) -> int:
    """How many threads suit an amount of work.

    Args:
        work: multiply-adds in one dense layer of the update network, over all tasks, examples and units of a layer.
        cores: to be shared with nobody.
        environment: `os.environ` unless given; OMP_NUM_THREADS or MKL_NUM_THREADS in it decide alone.

    Returns:
        1 .. cores, at most 16; the environment's number where it holds one.
    """
    return told_threads(environment) or max(1, min(cores, MOST, int(work / PER_THREAD)))


def told_threads(environment: Mapping[str, str] | None = None) -> int | None:
    """The number in OMP_NUM_THREADS or MKL_NUM_THREADS of `os.environ`, unless given; None where neither holds one."""
    for name in VARIABLES:
        told = (os.environ if environment is None else environment).get(name, "").split(",")[0].strip()
        if told.isdecimal() and int(told):
            return int(told)
    return None


def inner_work(widths: Sequence[int], batch_size: int, tasks: int = 1, channels: int = 16) -> float:
    """The work of an inner step, as `threads_for` counts it; arguments as for `use_threads`."""
    return float(tasks * batch_size * max(widths) * channels**2)


def said_threads() -> bool:
    """Whether somebody said how many threads to use: the environment, or `torch.set_num_threads` with another number
    than PyTorch takes by itself, which is all cores, or half of what counts as one where two share a core."""
    cores = {os.cpu_count() or 1, len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 1}
    return told_threads() is not None or torch.get_num_threads() not in cores | {max(1, n // 2) for n in cores if n > 2}


@contextmanager
def few_threads(work: float = 0.0, threads: int | None = None) -> Iterator[None]:
    """As many threads as suit the work until the block ends, unless somebody said how many.

    Args:
        work: as for `threads_for`; one thread unless given.
        threads: the number itself, which decides alone.

    Raises:
        TypeError, ValueError: `threads` is not a whole number of at least 1.
    """
    before = torch.get_num_threads()
    if threads is None:
        small = work < 2 * PER_THREAD
        threads = before if said_threads() else 1 if small else threads_for(work, available_cores())
    if check_number("threads", threads, low=1, integer=True) == before:
        yield
        return
    torch.set_num_threads(threads)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def use_threads(
    widths: Sequence[int], batch_size: int, tasks: int = 1, channels: int = 16, threads: int | None = None
) -> int:
    """Tell PyTorch how many threads to use for inner steps of this size, in this whole process.

    Args:
        widths: of the base model.
        batch_size: examples of an inner step.
        tasks: base models taught at once.
        channels: width of the rule's update networks.
        threads: the number itself, if you know better.

    Returns:
        The number of threads set.

    Raises:
        TypeError, ValueError: `threads` is not a whole number of at least 1.
    """
    if threads is None:
        threads = threads_for(inner_work(widths, batch_size, tasks, channels), available_cores())
    torch.set_num_threads(check_number("threads", threads, low=1, integer=True))
    return int(threads)
