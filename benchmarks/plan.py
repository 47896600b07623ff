"""What a run of the benchmarks measures, and the run itself."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

from benchmarks import machine, memory, outer, processes, products, scaling, starting, steps
from benchmarks.cases import VERSIONS, Case, laptop, paper
from benchmarks.scaling import Sweep, sweeps
from benchmarks.steps import PASSES, Options

FORMAT = 1  # raised when a reader of the JSON would misread it
AGAINST = 64  # tasks up to which the yardstick is timed too: beyond, it needs many gigabytes and most of the minutes


@dataclass(frozen=True)
class Plan:
    """Cases by what is measured about them.

    Attributes:
        steps: time, forward and forward + backward.
        memory: memory of an unrolled step, in processes of their own.
        more: time of one more unrolled step.
        threads: one thread against more.
        products: a step's matrix products alone, its ceiling.
        processes: three ways to use several cores, see `benchmarks.processes`.
        particles: meta-training's pace with so many tasks at once.
        sweeps: how cost grows.
        children: processes that measure the start.
    """

    steps: tuple[Case, ...] = ()
    memory: tuple[Case, ...] = ()
    more: tuple[Case, ...] = ()
    threads: tuple[Case, ...] = ()
    products: tuple[Case, ...] = ()
    processes: tuple[Case, ...] = ()
    particles: tuple[int, ...] = ()
    sweeps: tuple[Sweep, ...] = field(default=())
    children: int = 0


def full() -> Plan:
    """Everything, in five to ten minutes on two cores."""
    sizes = ((200, 1), (200, 8), (200, 64), (50, 1), (50, 8), (50, 64), (50, 256))
    return Plan(
        steps=(*(laptop(batch, tasks) for batch, tasks in sizes), paper()),
        memory=(laptop(), paper()),
        more=(paper(),),
        threads=(laptop(), laptop(tasks=64), paper()),
        products=(laptop(), laptop(50, 64), paper()),
        processes=(laptop(),),
        particles=(1, 4, 16, 64),
        sweeps=(*sweeps("local"), *sweeps("paper")),
        children=3,
    )


def quick() -> Plan:
    """The main numbers, in about two minutes."""
    return Plan(
        steps=(laptop(), laptop(50, 64), paper()),
        memory=(paper(),),
        more=(paper(),),
        products=(laptop(), laptop(50, 64), paper()),
        particles=(8,),
        sweeps=tuple(sweep for sweep in sweeps("local", quick=True) if sweep.axis in ("tasks", "batch")),
        children=1,
    )


def run(plan: Plan, options: Options, say: Callable[[str], None] = lambda text: None) -> dict[str, Any]:
    """Measure everything in a plan.

    Args:
        plan: what.
        options: how.
        say: gets a line before each part.

    Returns:
        Plain values for JSON: "format", "machine" and a list (or dictionary) for each part of the plan.
    """
    results: dict[str, Any] = {"format": FORMAT, "machine": machine.facts(options.device)}
    say("start")
    results["start"] = starting.measure(plan.children) if plan.children else {}
    results["steps"] = []
    for case in plan.steps:
        for which in PASSES:
            say(f"{case.name}, batch {case.batch}, tasks {case.tasks}: {which}")
            results["steps"].append(steps.measure(case, which, options, against=case.tasks <= AGAINST))
    results["more"] = []
    for case in plan.more:
        say(f"{case.name}: one more unrolled step")
        results["more"].append(steps.one_more_step(case, options))
    results["memory"] = []
    for case in plan.memory:
        for version in VERSIONS:
            say(f"{case.name}: memory, {version}")
            found = memory.per_step(case, version, options.threads_of(case), options.device)
            results["memory"].append({**_sizes(case), "version": version, **found})
    results["threads"] = []
    for case in plan.threads:
        say(f"{case.name}, tasks {case.tasks}: threads")
        results["threads"].append(steps.thread_counts(case, options))
    results["products"] = []
    for case in plan.products:
        say(f"{case.name}, tasks {case.tasks}: its matrix products alone")
        results["products"].append(products.measure(case, options))
    results["processes"] = []
    for case in plan.processes if options.device == "cpu" else ():
        say(f"{case.name}, tasks {case.tasks}: threads against processes")
        results["processes"].append(processes.measure(case, options))
    results["meta_training"] = []
    for particles in plan.particles:
        say(f"meta-training, {particles} at once")
        results["meta_training"].append(outer.measure(particles, options))
    results["scaling"] = []
    brief = replace(options, seconds=options.seconds / 2, rounds=2)  # the best of two at each of many sizes
    for sweep in plan.sweeps:
        say(f"{sweep.base.name}: cost against {sweep.axis}")
        results["scaling"].append(scaling.measure(sweep, brief))
    return results


def _sizes(case: Case) -> dict[str, Any]:
    return {"rule": case.rule, "widths": list(case.widths), "batch": case.batch, "tasks": case.tasks}
