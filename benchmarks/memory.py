"""Peak memory of a meta-gradient, measured in a process of its own: `python -m benchmarks.memory CASE` (JSON)."""

from __future__ import annotations

import contextlib
import json
import re
import subprocess
import sys
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch

from benchmarks.cases import Case, build, from_json
from benchmarks.counting import kept
from metarules._memory import keep_memory

# Two lengths of unroll, each run in a fresh process: from 2 on all steps keep the same, and where they keep little the
# allocator's own ups and downs need more steps to drown in.
LENGTHS = {"now": (2, 8), "now, checkpointed": (2, 12), "yardstick": (2, 5)}
ROOT = Path(__file__).resolve().parents[1]


def per_step(case: Case, version: str, threads: int, device: str = "cpu") -> dict[str, Any]:
    """Bytes that one more unrolled step adds to the peak of a meta-gradient.

    Args:
        case: the sizes; its `unroll` is replaced by each of `LENGTHS`.
        version: one of `cases.VERSIONS`.
        threads: PyTorch's, in the child.
        device: where it runs.

    Returns:
        `peak_bytes` of the shorter and longer unroll above what the process held before, `bytes_per_step`, their
        difference for each step more, and `kept_bytes_per_step`, the same for what autograd saves.

    Raises:
        RuntimeError: a child failed.
    """
    steps = LENGTHS[version]
    peaks: list[int | None] = []
    held = []
    for unroll in steps:
        longer = replace(case, unroll=unroll)
        peaks.append(_child(longer, version, threads, device))
        held.append(kept(build(longer, version, device).loss))
    more = steps[1] - steps[0]
    short, long = peaks
    return {
        "peak_bytes": peaks,
        "bytes_per_step": None if short is None or long is None else (long - short) / more,
        "kept_bytes_per_step": (held[1] - held[0]) / more,
    }


def peak_bytes(device: str = "cpu") -> int | None:
    """The largest memory this process has had so far; None where the system does not tell."""
    if device.startswith("cuda"):
        return int(torch.cuda.max_memory_allocated(device))
    status = Path("/proc/self/status")
    if status.is_file():  # Linux: getrusage would add the parent's peak, which a child inherits
        found = re.search(r"^VmHWM:\s+(\d+) kB", status.read_text(encoding="utf-8"), re.MULTILINE)
        return int(found[1]) * 1024 if found else None
    try:
        import resource
    except ImportError:  # Windows
        return None
    return int(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)  # bytes on macOS


def _child(case: Case, version: str, threads: int, device: str) -> int | None:
    told = json.dumps({"case": asdict(case), "version": version, "threads": threads, "device": device})
    command = [sys.executable, "-m", "benchmarks.memory", told]
    answer = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if answer.returncode:
        raise RuntimeError(f"measuring memory failed: {answer.stderr.strip().splitlines()[-1]}")
    return json.loads(answer.stdout)["peak_bytes"]


def _measure(case: Case, version: str, device: str) -> int | None:
    """What a meta-gradient adds to this process's peak; a short one first, so that libraries are loaded."""
    small = replace(case, batch=4, tasks=1, unroll=1)
    build(small, version, device).meta_gradient()
    problem = build(case, version, device)
    _forget_peak(device)
    before = peak_bytes(device)
    problem.meta_gradient()
    after = peak_bytes(device)
    return None if before is None or after is None else after - before


def _forget_peak(device: str) -> None:
    """Let the peak start again from what is held now, where that can be done."""
    if device.startswith("cuda"):
        torch.cuda.reset_peak_memory_stats(device)
    clear = Path("/proc/self/clear_refs")
    if clear.exists():
        with contextlib.suppress(OSError):  # a hardened container may forbid it: then the difference is a lower bound
            clear.write_text("5", encoding="ascii")


def main(words: list[str]) -> int:
    """Measure the case on the command line and print `{"peak_bytes": ...}`."""
    told = json.loads(words[0])
    keep_memory()
    torch.set_num_threads(told["threads"])
    case = from_json(told["case"])
    print(json.dumps({"peak_bytes": _measure(case, told["version"], told["device"])}))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
