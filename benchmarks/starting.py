"""What it costs to begin: importing torch, importing metarules on top, and the first inner step of a shipped rule."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
CHILD = """
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


def measure(children: int = 3) -> dict[str, float]:
    """Seconds of each of `PARTS` in a process of its own, median over several.

    Args:
        children: processes started, one after another; files are in the system's cache after the first.

    Raises:
        subprocess.CalledProcessError: a child failed.
    """
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}  # as lessons run
    rows = []
    for _ in range(children):
        command = [sys.executable, "-c", CHILD]
        answer = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=True)
        rows.append(json.loads(answer.stdout))
    return {part: statistics.median(column) for part, column in zip(PARTS, zip(*rows, strict=True), strict=True)}
