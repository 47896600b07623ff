"""The cost of an inner step: time against the yardstick and the machine's own limits, all in the same seconds."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch

from benchmarks import counting, machine
from benchmarks.cases import VERSIONS, Case, Problem, build
from benchmarks.timing import interleave, ratio
from metarules._threads import available_cores, threads_for

PASSES = ("forward", "forward + backward")


@dataclass(frozen=True)
class Options:
    """How a run of the benchmarks is done.

    Attributes:
        device: "cpu" or "cuda".
        threads: PyTorch's, for every case; None takes what the package would choose for each.
        seconds: spent on timing each row.
        rounds: the least number of turns of each row, whatever time they take.
        side: of the square matrices whose product's rate is the machine's limit.
    """

    device: str = "cpu"
    threads: int | None = None
    seconds: float = 2.0
    rounds: int = 5
    side: int = machine.MATMUL

    def threads_of(self, case: Case) -> int:
        """Threads for a case; the environment's wish is left aside, as the number is told with every result."""
        if self.threads is not None:
            return self.threads
        channels = dict(case.settings).get("channels", 16 if case.rule == "local" else 64)
        return threads_for(float(case.tasks * case.batch * max(case.widths) * channels**2), available_cores(), {})


def functions(problem: Problem) -> dict[str, Callable[[], object]]:
    """What is timed, by the names of `PASSES`."""
    return dict(zip(PASSES, (problem.forward, problem.meta_gradient), strict=True))


def measure(case: Case, which: str, options: Options, *, against: bool = True) -> dict[str, Any]:
    """One row of the table.

    Args:
        case: the sizes.
        which: one of `PASSES`.
        options: of the run.
        against: time the yardstick too; without it (it is slow, and large) its three entries are None.

    Returns:
        Plain values: seconds (median of the rounds) and best, task-steps per second, GFLOP (the yardstick's matrix
        products and convolutions, so that skipping work shows as speed) and GFLOP/s, bytes moved by today's rule
        (estimate, see `counting.traffic`) and GB/s; what share both are, at their best, of the best matrix-multiply
        rate and copy bandwidth of the same rounds (whatever else a machine does only ever slows it down); and the
        speed-up over the yardstick, median of the rounds' ratios and quartiles.
    """
    threads = options.threads_of(case)
    torch.set_num_threads(threads)
    now = functions(build(case, "now", options.device))[which]
    timed: dict[str, Callable[[], object]] = {"now": now}
    if against:
        timed["yardstick"] = functions(build(case, "yardstick", options.device))[which]
    multiply, multiply_flop = machine.matmul(options.device, options.side)
    copy, copied = machine.copy(options.device)
    single = functions(build(replace(case, tasks=1), "yardstick", options.device))[which]
    flop = counting.flops(single) * case.tasks  # linear in tasks, and quicker to count for one
    moved = counting.traffic(now)
    found = interleave({**timed, "matmul": multiply, "copy": copy}, options.seconds, options.device, options.rounds)
    task_steps = case.tasks * case.unroll
    speed_up = ratio(found["yardstick"], found["now"]) if against else None
    seconds, best = found["now"].median, found["now"].best
    multiply_rate, copy_rate = multiply_flop / found["matmul"].best, copied / found["copy"].best
    return {
        "rule": case.rule,
        "widths": list(case.widths),
        "batch": case.batch,
        "tasks": case.tasks,
        "unroll": case.unroll,
        "pass": which,
        "threads": threads,
        "rounds": len(found["now"].rounds),
        "seconds": seconds,
        "seconds_best": best,
        "seconds_quartiles": list(found["now"].quartiles()),
        "task_steps_per_second": task_steps / seconds,
        "gflop": flop / 1e9,
        "gflop_per_second": flop / seconds / 1e9,
        "of_matmul": flop / best / multiply_rate,
        "gbytes_moved": moved / 1e9,
        "gbytes_per_second": moved / seconds / 1e9,
        "of_copy": moved / best / copy_rate,
        "matmul_gflop_per_second": multiply_rate / 1e9,
        "copy_gbytes_per_second": copy_rate / 1e9,
        "yardstick_seconds": found["yardstick"].median if against else None,
        "yardstick_seconds_best": found["yardstick"].best if against else None,
        "speed_up": speed_up[0] if speed_up else None,
        "speed_up_quartiles": list(speed_up[1:]) if speed_up else None,
    }


def one_more_step(case: Case, options: Options, lengths: tuple[int, int] = (1, 3)) -> dict[str, Any]:
    """What one more unrolled step adds to a meta-gradient's time, for each of `VERSIONS`.

    Args:
        case: the sizes; its `unroll` is replaced by each of `lengths`.
        options: of the run.
        lengths: two numbers of unrolled steps.

    Returns:
        Plain values; `seconds`, by version, for each step more, best of the rounds.
    """
    threads = options.threads_of(case)
    torch.set_num_threads(threads)
    timed: dict[str, Callable[[], object]] = {}
    for version in VERSIONS:
        for unroll in lengths:
            timed[f"{version} {unroll}"] = build(replace(case, unroll=unroll), version, options.device).meta_gradient
    multiply, multiply_flop = machine.matmul(options.device, options.side)
    found = interleave({**timed, "matmul": multiply}, options.seconds, options.device, options.rounds)
    more = lengths[1] - lengths[0]
    added = {
        version: (found[f"{version} {lengths[1]}"].best - found[f"{version} {lengths[0]}"].best) / more
        for version in VERSIONS
    }
    return {
        "rule": case.rule,
        "widths": list(case.widths),
        "batch": case.batch,
        "tasks": case.tasks,
        "threads": threads,
        "seconds": added,
        "matmul_gflop_per_second": multiply_flop / found["matmul"].best / 1e9,
    }


def thread_counts(case: Case, options: Options) -> dict[str, Any]:
    """Forward + backward on one thread and on more, up to what was asked for or all cores, in turns."""
    problem = build(case, "now", options.device)

    def on(threads: int) -> Callable[[], object]:
        def run() -> object:
            torch.set_num_threads(threads)
            return problem.meta_gradient()

        return run

    # several counts take turns here, so the wall's clock serves all
    cores = options.threads or available_cores()
    counts = sorted({1, min(2, cores), cores})
    timed = interleave({str(n): on(n) for n in counts}, options.seconds, options.device, options.rounds, max(counts))
    return {
        "rule": case.rule,
        "widths": list(case.widths),
        "batch": case.batch,
        "tasks": case.tasks,
        "seconds": {name: timing.median for name, timing in timed.items()},
        "chosen": options.threads_of(case),
    }
