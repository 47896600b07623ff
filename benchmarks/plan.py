"""What a run of the benchmarks measures, and the run itself."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from benchmarks import machine, measure
from benchmarks.cases import PASSES, Case, laptop, paper, wide
from benchmarks.child import check_out
from benchmarks.measure import VERSIONS, Options, Sweep, sweeps
from benchmarks.script import plain_script

AGAINST = 64  # tasks up to which the first version is timed too: beyond, it needs gigabytes and most of the minutes
TERMS = (("slow", 0), ("slow", 500), ("covariance", 0))  # and inputs in memory; 500: preset neighbours


@dataclass(frozen=True)
class Plan:
    """Cases by what is measured about them."""

    steps: tuple[Case, ...] = ()  # time, forward and forward + backward
    memory: tuple[Case, ...] = ()  # of an unrolled step, in processes of their own
    more: tuple[Case, ...] = ()  # time of one more unrolled step
    # a step of `LocalRule` with one more term, by its name, and with a memory of so many inputs
    terms: tuple[tuple[Case, str, int], ...] = ()
    threads: tuple[Case, ...] = ()  # one thread against more
    products: tuple[Case, ...] = ()  # a step's matrix products alone, its ceiling
    processes: tuple[Case, ...] = ()  # three ways to use several cores
    particles: tuple[int, ...] = ()  # meta-training's pace with so many tasks at once
    sweeps: tuple[Sweep, ...] = ()  # how cost grows
    script: tuple[int, ...] = ()  # inner steps of a plain script, in which nobody said how many threads to use
    children: int = 0  # processes that measure the start


def full() -> Plan:
    """Everything, in five to ten minutes on two cores."""
    sizes = ((200, 1), (200, 8), (200, 64), (50, 1), (50, 8), (50, 64), (50, 256))
    return Plan(
        steps=(*(laptop(batch, tasks) for batch, tasks in sizes), paper()),
        memory=(laptop(), paper()),
        more=(paper(),),
        terms=tuple((case, name, memory) for case in (laptop(100), wide()) for name, memory in TERMS),
        threads=(laptop(), laptop(tasks=64), paper()),
        products=(laptop(), laptop(50, 64), paper()),
        processes=(laptop(),),
        particles=(1, 4, 16, 64),
        sweeps=(*sweeps("local"), *sweeps("paper")),
        script=(100,),
        children=3,
    )


def quick() -> Plan:
    """The main numbers, in about two minutes."""
    return Plan(
        steps=(laptop(), laptop(50, 64), paper()),
        memory=(paper(),),
        more=(paper(),),
        terms=((laptop(100), "slow", 500),),
        products=(laptop(), laptop(50, 64), paper()),
        particles=(8,),
        sweeps=tuple(sweep for sweep in sweeps("local", quick=True) if sweep.axis in ("tasks", "batch")),
        children=1,
    )


def run(plan: Plan, options: Options, say: Callable[[str], None] = lambda text: None) -> dict[str, Any]:
    """Measure everything in a plan.

    Args:
        plan: what.
        options: how; the first version is checked out here.
        say: gets a line before each part.

    Returns:
        Plain values for JSON: "machine", "no_first_version" ("" or why there is none) and a list of rows (or a
        dictionary) for each part of the plan.
    """
    with tempfile.TemporaryDirectory() as folder:
        why = check_out(Path(folder))
        alone = replace(options, first=None)
        against = alone if why else replace(options, first=Path(folder))
        versions = VERSIONS[:2] if why else VERSIONS
        brief = replace(options, seconds=options.seconds / 2, rounds=min(options.rounds, 2))  # each of many sizes

        def done(what: str, part: Callable[..., dict[str, Any]], case: Case, *given: Any) -> dict[str, Any]:
            say(f"{case.name}, batch {case.batch}, tasks {case.tasks}: {what}")
            return part(case, *given)

        say("start")
        start = measure.start(plan.children) if plan.children else {}
        several = plan.processes if options.device == "cpu" else ()
        return {
            "machine": machine.facts(options.device),
            "no_first_version": why,
            "start": start,
            "steps": [
                done(which, measure.step, case, which, against if case.tasks <= AGAINST else alone)
                for case in plan.steps
                for which in PASSES
            ],
            "more": [done("one more unrolled step", measure.one_more_step, case, against) for case in plan.more],
            "memory": [
                done(f"memory, {version}", measure.memory, case, version, against)
                for case in plan.memory
                for version in versions
            ],
            "terms": [
                done(f"{name}, one more term", measure.another_term, case, name, memory, options)
                for case, name, memory in plan.terms
            ],
            "threads": [done("threads", measure.thread_counts, case, options) for case in plan.threads],
            "script": [plain_script(steps, options.rounds) for steps in plan.script],
            "products": [done("its products alone", measure.products, case, against) for case in plan.products],
            "processes": [done("threads against processes", measure.processes, case, options) for case in several],
            "meta_training": [
                done("meta-training", measure.meta_training, laptop(tasks=n), against) for n in plan.particles
            ],
            "scaling": [
                done(f"cost against {s.axis}", measure.scaling, s.base, s.axis, s.values, brief) for s in plan.sweeps
            ],
        }
