"""A process of its own that measures a case, today's version or the first: `python -m benchmarks.child CASE`.

The first version is an old revision's `metarules`, put on the child's path in place of today's; `benchmarks` is today's
in both. Each line of input is a JSON list, a request and its arguments; each line of output is its answer.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import runpy
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import torch

from benchmarks.cases import Case, Problem, build, from_json, truncation
from benchmarks.counting import flops, kept, replay
from benchmarks.timing import Timer, timer

ROOT = Path(__file__).resolve().parents[1]
MEMORY = runpy.run_path(str(ROOT / "metarules" / "_memory.py"))  # by path, for both versions alike
FIRST = "6346ab1"  # both rules as the equations stand, before anybody made them fast


def check_out(folder: Path) -> str:
    """Put the first version's `metarules` into a folder.

    Returns:
        "" or, where that cannot be done, why not.
    """
    command = ["git", "-C", str(ROOT), "archive", "--format=zip", FIRST, "metarules"]
    try:
        packed = subprocess.run(command, capture_output=True, check=True).stdout
    except FileNotFoundError:
        return "git is not installed"
    except subprocess.CalledProcessError as error:
        return error.stderr.decode(errors="replace").strip().splitlines()[-1].removeprefix("fatal: ")
    with zipfile.ZipFile(io.BytesIO(packed)) as archive:
        archive.extractall(folder)
    return ""


class Child:
    """A process that answers requests about one case; ends with the `with` block.

    Args:
        case: what it builds.
        threads: PyTorch's.
        device: where it runs.
        workers: meta-gradients computed side by side, for "rate".
        tree: folder whose `metarules` it takes; None for today's.
    """

    def __init__(
        self, case: Case, *, threads: int = 1, device: str = "cpu", workers: int = 1, tree: Path | None = None
    ) -> None:
        told = {"case": asdict(case), "threads": threads, "device": device, "workers": workers}
        path = os.pathsep.join(str(folder) for folder in (tree, ROOT) if folder is not None)
        self.process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.child", json.dumps(told)],
            cwd=tree or ROOT,
            env={**os.environ, "PYTHONPATH": path},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.process.communicate()  # the end of its input is the end of its work

    def say(self, *request: object) -> None:
        """Send a request, without waiting for its answer."""
        assert self.process.stdin is not None
        with contextlib.suppress(BrokenPipeError):  # it ended early: `hear` says so
            self.process.stdin.write(f"{json.dumps(request)}\n")
            self.process.stdin.flush()

    def hear(self) -> Any:
        """The next answer.

        Raises:
            RuntimeError: the child failed.
        """
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            raise RuntimeError("a process that measures ended early; its message is above")
        return json.loads(line)

    def ask(self, *request: object) -> Any:
        """Send a request and wait for its answer."""
        self.say(*request)
        return self.hear()

    def timer(self, name: str) -> Timer:
        """Times one of the child's functions, see `interleave`."""
        return lambda calls: float(self.ask("seconds", name, calls))


def peak_bytes(device: str = "cpu") -> int | None:
    """The largest memory this process has had so far; None where the system does not tell."""
    if device.startswith("cuda"):
        return int(torch.cuda.max_memory_allocated(device))
    peak: int | None = MEMORY["peak_bytes"]()
    return peak


def forget_peak(device: str) -> None:
    """Let the peak start again from what is held now, where that can be done."""
    if device.startswith("cuda"):
        torch.cuda.reset_peak_memory_stats(device)
    clear = Path("/proc/self/clear_refs")
    if clear.exists():
        with contextlib.suppress(OSError):  # a hardened container may forbid it: then the difference is a lower bound
            clear.write_text("5", encoding="ascii")


class _Answers:
    """What a child can be asked, by method name."""

    def __init__(self, case: Case, device: str, workers: int) -> None:
        self.case, self.device, self.workers = case, device, workers
        self._problem: Problem | None = None
        self.functions: dict[str, Callable[[], object]] = {}

    def problem(self) -> Problem:
        if self._problem is None:
            self._problem = build(self.case, self.device)
            self.functions |= self._problem.functions()
        return self._problem

    def seconds(self, name: str, calls: int) -> float:
        if name not in self.functions:
            self.problem()
        return timer(self.functions[name], self.device)(calls)

    def flops(self, name: str) -> float:
        """Counted for one task, which is quicker: they are linear in tasks."""
        return self.case.tasks * flops(build(replace(self.case, tasks=1), self.device).functions()[name])

    def products(self) -> float:
        """Makes the function "products" out of the meta-gradient's products; their floating-point operations."""
        self.functions["products"], count = replay(self.problem().meta_gradient)
        return count

    def truncation(self, settings: dict[str, Any]) -> None:
        """Makes the function "truncation"."""
        self.functions["truncation"] = truncation(self.case, settings)

    def peak(self) -> int | None:
        """What a meta-gradient adds to the peak of memory; a short one first, so that libraries are loaded."""
        build(replace(self.case, batch=4, tasks=1, unroll=1), self.device).meta_gradient()
        problem = self.problem()
        forget_peak(self.device)
        before = peak_bytes(self.device)
        problem.meta_gradient()
        after = peak_bytes(self.device)
        return None if before is None or after is None else after - before

    def kept(self) -> float:
        return kept(self.problem().loss)

    def rate(self, seconds: float) -> float:
        """Task-steps a second of meta-gradients for that long."""
        from metarules._workers import Workers  # the first version has none, and is not asked

        workers = Workers(self.workers)
        began, calls = time.perf_counter(), 0
        while not calls or time.perf_counter() - began < seconds:
            workers.map(lambda _: self.problem().meta_gradient(), range(workers.count))
            calls += workers.count
        return calls * self.case.tasks * self.case.unroll / (time.perf_counter() - began)


def main(words: list[str]) -> int:
    """Answer requests until the input ends."""
    told = json.loads(words[0])
    MEMORY["keep_memory"]()
    torch.set_flush_denormal(True)
    torch.set_num_threads(told["threads"])
    answers = _Answers(from_json(told["case"]), told["device"], told["workers"])
    for line in sys.stdin:
        name, *given = json.loads(line)
        print(json.dumps(getattr(answers, name)(*given)), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
