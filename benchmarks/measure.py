"""Each part of a run: time against the first version and the machine's own limits, all in the same seconds.

Every function returns a row of plain values for JSON, which begins with the sizes of its case.
"""

from __future__ import annotations

import json
import math
import os
import statistics
import subprocess
import sys
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from benchmarks import counting, machine
from benchmarks.cases import PASSES, TRUNCATION, Case, build, laptop, paper, practice, truncation
from benchmarks.child import ROOT, Child
from benchmarks.timing import interleave, ratio, timer
from metarules._threads import available_cores, threads_for
from metarules.update_rule import LOCAL_TERMS

VERSIONS = ("now", "now, checkpointed", "first version")
# Two lengths of unroll, each run in a fresh process: from 2 on all steps keep the same, and where they keep little the
# allocator's own ups and downs need more steps to drown in.
LENGTHS = {"now": (2, 8), "now, checkpointed": (2, 12), "first version": (2, 5)}
AXES = ("tasks", "width", "depth", "batch", "unroll")


@dataclass(frozen=True)
class Options:
    """How a run of the benchmarks is done."""

    device: str = "cpu"  # or "cuda"
    threads: int | None = None  # PyTorch's, for every case; None takes what the package would choose for each
    seconds: float = 2.0  # spent on timing each row
    rounds: int = 5  # the least number of turns of each row, whatever time they take
    side: int = machine.MATMUL  # of the square matrices whose product's rate is the machine's limit
    first: Path | None = None  # folder with the first version's `metarules`; None leaves it out

    def threads_of(self, case: Case) -> int:
        """Threads for a case; the environment's wish is left aside, as the number is told with every result."""
        if self.threads is not None:
            return self.threads
        channels = dict(case.settings).get("channels", 16 if case.rule == "local" else 64)
        return threads_for(float(case.tasks * case.batch * max(case.widths) * channels**2), available_cores(), {})

    def prepare(self, case: Case) -> int:
        """Set this process's threads for a case, and say how many they are."""
        threads = self.threads_of(case)
        torch.set_num_threads(threads)
        return threads

    def child(self, case: Case, version: str = "now", **more: Any) -> Child:
        """A process that measures one of `VERSIONS`."""
        case = replace(case, checkpointed=version == VERSIONS[1])
        tree = self.first if version == VERSIONS[2] else None
        return Child(case, **{"threads": self.threads_of(case), "device": self.device, "tree": tree, **more})


def step(case: Case, which: str, options: Options) -> dict[str, Any]:
    """The cost of an inner step, or of that and the way back.

    Returns:
        Seconds (median of the rounds) and best, task-steps per second, GFLOP (the first version's matrix products and
        convolutions, so that skipping work shows as speed; without it today's) and GFLOP/s; what share it is, at its
        best, of the best matrix-multiply rate of the same rounds (whatever else a machine does only ever slows it
        down); and the speed-up over the first version, median of the rounds' ratios and quartiles, or None.
    """
    threads = options.prepare(case)
    now = build(case, options.device).functions()[which]
    multiply, multiply_flop = machine.matmul(options.device, options.side)
    functions = {"now": now, "matmul": multiply}
    with ExitStack() as stack:
        timers = {name: timer(function, options.device) for name, function in functions.items()}
        if options.first:
            child = stack.enter_context(options.child(case, "first version"))
            timers["first"] = child.timer(which)
            flop = float(child.ask("flops", which))
        else:
            flop = case.tasks * counting.flops(build(replace(case, tasks=1), options.device).functions()[which])
        found = interleave(timers, options.seconds, options.rounds)
    seconds, best = found["now"].median, found["now"].best
    multiply_rate = multiply_flop / found["matmul"].best
    speed_up = ratio(found["first"], found["now"]) if options.first else None
    return {
        **case.sizes(),
        "unroll": case.unroll,
        "pass": which,
        "threads": threads,
        "seconds": seconds,
        "seconds_best": best,
        "task_steps_per_second": case.tasks * case.unroll / seconds,
        "gflop": flop / 1e9,
        "gflop_per_second": flop / seconds / 1e9,
        "of_matmul": flop / best / multiply_rate,
        "matmul_gflop_per_second": multiply_rate / 1e9,
        "speed_up": speed_up,
    }


def one_more_step(case: Case, options: Options, lengths: tuple[int, int] = (1, 3)) -> dict[str, Any]:
    """What one more unrolled step adds to a meta-gradient's time: `seconds`, best of the rounds, by version."""
    threads = options.prepare(case)
    multiply, multiply_flop = machine.matmul(options.device, options.side)
    timers = {"matmul": timer(multiply, options.device)}
    versions = VERSIONS if options.first else VERSIONS[:2]
    with ExitStack() as stack:
        for unroll in lengths:
            for version in VERSIONS[:2]:
                problem = build(replace(case, unroll=unroll, checkpointed=version == VERSIONS[1]), options.device)
                timers[f"{version} {unroll}"] = timer(problem.meta_gradient, options.device)
            if options.first:
                child = stack.enter_context(options.child(replace(case, unroll=unroll), "first version"))
                timers[f"first version {unroll}"] = child.timer(PASSES[1])
        found = interleave(timers, options.seconds, options.rounds)
    short, long = lengths
    return {
        **case.sizes(),
        "threads": threads,
        "seconds": {
            version: (found[f"{version} {long}"].best - found[f"{version} {short}"].best) / (long - short)
            for version in versions
        },
        "matmul_gflop_per_second": multiply_flop / found["matmul"].best / 1e9,
    }


def another_term(case: Case, name: str, memory: int, options: Options) -> dict[str, Any]:
    """How many times longer a `LocalRule` takes with one more term, `ratio` by pass: median and quartiles of rounds.

    Neighbours are looked up in a memory of so many inputs, or in the batch alone.
    """
    threads = options.prepare(case)
    more = replace(case, settings=(*case.settings, ("terms", (*LOCAL_TERMS, name)), ("memory", memory)))
    with_it, without = build(more, options.device).functions(), build(case, options.device).functions()
    ratios = {}
    for which in PASSES:
        timers = {key: timer(made[which], options.device) for key, made in (("with", with_it), ("without", without))}
        found = interleave(timers, options.seconds, options.rounds)
        ratios[which] = list(ratio(found["with"], found["without"]))
    return {**case.sizes(), "threads": threads, "term": f"{name}, memory {memory}" if memory else name, "ratio": ratios}


def memory(case: Case, version: str, options: Options) -> dict[str, Any]:
    """Bytes that one more unrolled step adds to the peak of a meta-gradient, each in a process of its own.

    Returns:
        `peak_bytes` of the shorter and longer unroll above what the process held before, `bytes_per_step`, their
        difference for each step more (None where the system does not tell), and `kept_bytes_per_step`, the same for
        what autograd saves.
    """
    peaks, held = [], []
    for unroll in LENGTHS[version]:
        with options.child(replace(case, unroll=unroll), version) as child:
            peaks.append(child.ask("peak"))
            held.append(child.ask("kept"))
    more = LENGTHS[version][1] - LENGTHS[version][0]
    return {
        **case.sizes(),
        "version": version,
        "peak_bytes": peaks,
        "bytes_per_step": None if None in peaks else (peaks[1] - peaks[0]) / more,
        "kept_bytes_per_step": (held[1] - held[0]) / more,
    }


def thread_counts(case: Case, options: Options) -> dict[str, Any]:
    """Forward + backward on one thread and on more, up to what was asked for or all cores, in turns."""
    problem = build(case, options.device)

    def on(threads: int) -> Callable[[], object]:
        def run() -> object:
            torch.set_num_threads(threads)
            return problem.meta_gradient()

        return run

    cores = options.threads or available_cores()
    counts = sorted({1, min(2, cores), cores})
    # several counts take turns here, so the wall's clock serves all
    timers = {str(n): timer(on(n), options.device, max(counts)) for n in counts}
    found = interleave(timers, options.seconds, options.rounds)
    seconds = {name: timing.median for name, timing in found.items()}
    return {**case.sizes(), "seconds": seconds, "chosen": options.threads_of(case)}


def products(case: Case, options: Options) -> dict[str, Any]:
    """A step's forward + backward, today's and the first version's, and the products of each alone, all in turns.

    Returns:
        `seconds`, best of the rounds, of "now", "first version" and of the products of each; GFLOP/s of the products
        and of the square product; and `kinds`, what share of its operators' time each kind takes.
    """
    threads = options.prepare(case)
    multiply, multiply_flop = machine.matmul(options.device, options.side)
    now = build(case, options.device).meta_gradient
    alone, count = counting.replay(now)
    functions = {"now": now, "products of now": alone}
    timers = {name: timer(function, options.device) for name, function in functions.items()}
    flop = {"now": count}
    with ExitStack() as stack:
        if options.first:
            child = stack.enter_context(options.child(case, "first version"))
            flop["first version"] = float(child.ask("products"))
            timers |= {
                "first version": child.timer(PASSES[1]),
                "products of first version": child.timer("products"),
            }
        found = interleave({**timers, "matmul": timer(multiply, options.device)}, options.seconds, options.rounds)
    best = {name: timing.best for name, timing in found.items()}
    return {
        **case.sizes(),
        "threads": threads,
        "seconds": {name: best[name] for name in timers},
        "gflop_per_second": {version: count / best[f"products of {version}"] / 1e9 for version, count in flop.items()},
        "matmul_gflop_per_second": multiply_flop / best["matmul"] / 1e9,
        "kinds": counting.kinds(now),
    }


def processes(case: Case, options: Options) -> dict[str, Any]:
    """Meta-gradients with the same number of cores used in three ways, in turns, all children alive throughout.

    Returns:
        `task_steps_per_minute` of all together, best of the rounds, by "threads" (one process, several threads to an
        operation), "workers" (one process, several meta-gradients at once, as `meta_training` takes a step's groups)
        and "processes" (of one thread each); `count`, of any of them.
    """
    count = options.threads or available_cores()
    rates: dict[str, list[float]] = {}
    with ExitStack() as stack:

        def children(n: int, **more: Any) -> list[Child]:
            return [stack.enter_context(options.child(case, **{"threads": 1, **more})) for _ in range(n)]

        ways = {"threads": children(1, threads=count), "workers": children(1, workers=count)}
        ways["processes"] = children(count)
        for group in ways.values():
            for child in group:
                child.ask("rate", 0.0)  # it is ready, and warm
        for _ in range(options.rounds):
            for name, group in ways.items():
                for child in group:
                    child.say("rate", options.seconds / options.rounds)
                rates.setdefault(name, []).append(60 * sum(child.hear() for child in group))
    return {**case.sizes(), "count": count, "task_steps_per_minute": {name: max(all_) for name, all_ in rates.items()}}


def meta_training(case: Case, options: Options) -> dict[str, Any]:
    """Meta-training's pace on a laptop's case: task-steps forward and backward, the meta-objective at every step.

    Returns:
        Seconds of a truncation and task-steps (particles times inner steps); the first version has its own rule and
        its own look at the meta-objective.
    """
    threads = options.prepare(case)
    here = replace(options, device="cpu")  # tasks are drawn there
    with ExitStack() as stack:
        timers = {"now": timer(truncation(case, practice()))}
        if options.first:
            child = stack.enter_context(here.child(case, "first version", threads=threads))
            child.ask("truncation", practice())
            timers["first"] = child.timer("truncation")
        found = interleave(timers, options.seconds, options.rounds)
    pace = case.tasks * TRUNCATION / found["now"].median
    return {
        "particles": case.tasks,
        "threads": threads,
        "seconds": found["now"].median,
        "task_steps_per_second": pace,
        "task_steps_per_minute": 60 * pace,
        "speed_up": ratio(found["first"], found["now"]) if options.first else None,
    }


# ---- how cost grows with each size on its own, as a power: cost ~ size ** exponent over the upper half of the range


@dataclass(frozen=True)
class Sweep:
    """One size that grows while the others stay."""

    base: Case  # the other sizes
    axis: str  # one of `AXES`
    values: tuple[int, ...]  # its sizes, growing

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
        if self.axis not in AXES:
            raise ValueError(f"axis is {self.axis!r}; allowed: {', '.join(AXES)}")
        return replace(self.base, **{self.axis: value})  # type: ignore[arg-type]  # the others are whole numbers


def sweeps(rule: str, quick: bool = False) -> list[Sweep]:
    """The sweeps of a rule, each to sizes where its own cost stands out from the fixed one; `quick`: fewer, smaller."""
    sizes: tuple[tuple[int, ...], ...]
    if rule == "local":
        base = laptop(batch=100)
        powers = tuple(2**i for i in range(9))
        sizes = (powers, powers[4:], powers[:5], (50, 100, 200, 400, 800), powers[:5])
    else:
        base = paper()
        sizes = ((1, 2, 4), (32, 64, 128, 256), (1, 2, 4, 8), (25, 50, 100, 200), (1, 2, 4))
    return [Sweep(base, axis, values[1:4] if quick else values) for axis, values in zip(AXES, sizes, strict=True)]


def scaling(base: Case, axis: str, values: tuple[int, ...], options: Options) -> dict[str, Any]:
    """Forward + backward seconds at each size, best of the rounds, and the fitted exponent.

    All sizes take turns, on the one number of threads that suits the middle one, so that neither a busy minute nor a
    change of threads bends the curve. The best round is taken since whatever disturbs a machine only ever adds.
    """
    sweep = Sweep(base, axis, values)
    threads = options.prepare(sweep.case(values[len(values) // 2]))
    timers = {str(v): timer(build(sweep.case(v), options.device).meta_gradient, options.device) for v in values}
    found = interleave(timers, options.seconds, options.rounds)
    seconds = [found[str(value)].best for value in values]
    return {
        **base.sizes(),
        "axis": axis,
        "threads": threads,
        "values": list(values),
        "seconds": seconds,
        "exponent": exponent(values, seconds),
    }


def exponent(sizes: Sequence[float], costs: Sequence[float]) -> float:
    """Slope of log cost against log size by least squares, over the upper half of the sizes.

    Below, the fixed cost of starting operations hides the growth.

    Raises:
        ValueError: fewer than two sizes, or numbers that are not positive.
    """
    if len(sizes) != len(costs) or len(sizes) < 2 or min(*sizes, *costs) <= 0:
        raise ValueError(f"sizes, costs are {list(sizes)}, {list(costs)}; allowed: two or more of each, all positive")
    upper = slice(min(len(sizes) // 2, len(sizes) - 2), None)
    return statistics.linear_regression(*([math.log(v) for v in row[upper]] for row in (sizes, costs))).slope


# ---- what it costs to begin

STARTS = """
import json, time
marks = [time.perf_counter()]
def mark(): marks.append(time.perf_counter())
import torch; mark()
import metarules; mark()
from metarules import Batch, init_state, load_rule
rule = load_rule("local"); mark()
generator = torch.Generator().manual_seed(0)
phi = init_state((64, 32, 32, 32), generator=generator)
with torch.no_grad():
    rule(phi, Batch(torch.rand(200, 64, generator=generator)))
mark()
print(json.dumps([b - a for a, b in zip(marks, marks[1:])]))
"""
PARTS = ("import torch", "import metarules", "load a rule", "first inner step")


def start(children: int) -> dict[str, float]:
    """Seconds of each of `PARTS` in a process of its own, median over several, one after another."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}  # as lessons run
    rows = []
    for _ in range(children):
        command = [sys.executable, "-c", STARTS]
        answer = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=True)
        rows.append(json.loads(answer.stdout))
    return {part: statistics.median(column) for part, column in zip(PARTS, zip(*rows, strict=True), strict=True)}
