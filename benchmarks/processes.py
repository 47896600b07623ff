"""Three ways to use several cores: threads inside each operation, several meta-gradients side by side, processes.

`python -m benchmarks.processes CASE` is a child.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from benchmarks.cases import Case, build, from_json
from benchmarks.steps import Options
from metarules._memory import keep_memory
from metarules._threads import available_cores
from metarules._workers import Workers

ROOT = Path(__file__).resolve().parents[1]


def measure(case: Case, options: Options) -> dict[str, Any]:
    """Meta-gradients with the same number of cores used in each way, in turns, all children alive throughout.

    Returns:
        Plain values; `task_steps_per_minute` of all together, best of the rounds, by "threads" (one process, several
        threads to an operation), "workers" (one process, several meta-gradients at once, as `meta_training.workers`
        takes a step's groups) and "processes" (of one thread each); `count`, of any of them.

    Raises:
        RuntimeError: a child failed.
    """
    count = options.threads or available_cores()
    groups = {
        "threads": [_Child(case, threads=count)],
        "workers": [_Child(case, workers=count)],
        "processes": [_Child(case) for _ in range(count)],
    }
    rates: dict[str, list[float]] = {name: [] for name in groups}
    try:
        for child in (child for children in groups.values() for child in children):
            child.hear()  # it is ready
        for _ in range(options.rounds):
            for name, children in groups.items():
                for child in children:
                    child.say(options.seconds / options.rounds)
                rates[name].append(60 * sum(child.hear() for child in children))
    finally:
        for child in (child for children in groups.values() for child in children):
            child.end()
    return {
        "rule": case.rule,
        "widths": list(case.widths),
        "batch": case.batch,
        "tasks": case.tasks,
        "count": count,
        "task_steps_per_minute": {name: max(found) for name, found in rates.items()},
    }


class _Child:
    """A process that computes meta-gradients for as long as it is told, and answers with its task-steps a second."""

    def __init__(self, case: Case, threads: int = 1, workers: int = 1) -> None:
        told = json.dumps({"case": asdict(case), "threads": threads, "workers": workers})
        command = [sys.executable, "-m", "benchmarks.processes", told]
        self.process = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def say(self, seconds: float) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(f"{seconds}\n")
        self.process.stdin.flush()

    def hear(self) -> float:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            raise RuntimeError("a process that measures meta-gradients ended early; its message is above")
        return float(line)

    def end(self) -> None:
        self.process.communicate()  # the end of its input is the end of its work


def main(words: list[str]) -> int:
    """Be a child: a line with seconds in, a line with task-steps a second out, until the input ends."""
    told = json.loads(words[0])
    keep_memory()
    torch.set_flush_denormal(True)
    torch.set_num_threads(told["threads"])
    case = from_json(told["case"])
    problem = build(case)
    workers = Workers(told["workers"])

    def once() -> None:
        workers.map(lambda _: problem.meta_gradient(), range(workers.count))

    once()
    print(0, flush=True)
    for line in sys.stdin:
        began, calls = time.perf_counter(), 0
        while not calls or time.perf_counter() - began < float(line):
            once()
            calls += workers.count
        print(calls * case.tasks * case.unroll / (time.perf_counter() - began), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
