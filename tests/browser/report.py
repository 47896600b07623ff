"""What was measured in the browser: a table for the terminal, JSON for the record.

The bounds are for two quiet cores. A machine that is slower, or that others use at the same time, shows it in a fixed
piece of work done beside each measurement, and the medians are compared with the bounds at that pace.
"""

from __future__ import annotations

import json
import os
import time
import zlib
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import median

import numpy as np

PACE_WORK = 0.019  # seconds: what `pace` does takes on the two quiet cores that the bounds are for, median of 200
PACE_TRIES = 9


@dataclass(frozen=True)
class Measurement:
    """Repeated measurements of one thing.

    Attributes:
        lesson: notebook name without its ending.
        what: a few words; they begin with what they are about where that is a busy sign or a result.
        values: all of them, in `unit`.
        bound: the median must stay under this at pace 1.
        unit: "ms" or "s".
        pace: how many times as long as on two quiet cores things took at that moment; at least 1.
    """

    lesson: str
    what: str
    values: tuple[float, ...]
    bound: float | None
    unit: str
    pace: float

    @property
    def median(self) -> float:
        return median(self.values)

    @property
    def kind(self) -> str:
        """ "busy sign", "result", "redraw" or "run"."""
        named = (kind for kind in ("busy sign", "result") if self.what.startswith(kind))
        return next(named, "redraw" if self.unit == "ms" else "run")

    def line(self) -> str:
        bound = "" if self.bound is None else f"  (bound {self.bound:g}, pace {self.pace:.2f})"
        spread = f", {min(self.values):.4g} to {max(self.values):.4g}" if len(self.values) > 1 else ""
        return f"{self.lesson}  {self.what}: {self.median:.4g} {self.unit}, median of {len(self.values)}{spread}{bound}"


@dataclass
class Report:
    """All measurements of a session."""

    measurements: list[Measurement] = field(default_factory=list)

    def add(
        self, lesson: str, what: str, values: Sequence[float], *, bound: float | None = None, unit: str = "ms"
    ) -> float:
        """Note repeated measurements of one thing; returns their median at pace 1, for the caller to compare."""
        measurement = Measurement(lesson, what, tuple(round(value, 3) for value in values), bound, unit, pace())
        self.measurements.append(measurement)
        return measurement.median / measurement.pace

    def table(self) -> str:
        """One line a measurement, sorted by lesson: kind, median and bound, how many, and of what."""
        lines = [f"{'lesson':22}{'kind':11}{'median':>8}{'bound':>8}     {'n':>3}{'pace':>6}  what"]
        for m in sorted(self.measurements, key=lambda m: m.lesson):
            bound = "" if m.bound is None else f"{m.bound:g}"
            lines.append(
                f"{m.lesson:22}{m.kind:11}{m.median:8.4g}{bound:>8} {m.unit:3} {len(m.values):3}{m.pace:6.2f}  {m.what}"
            )
        return "\n".join(lines)

    def write(self, path: Path) -> None:
        """Store everything as JSON, with how busy the machine was, and beside it, ending in .txt, the table."""
        rows = [asdict(m) | {"kind": m.kind, "median": m.median, "n": len(m.values)} for m in self.measurements]
        load = os.getloadavg()[1] if hasattr(os, "getloadavg") else None
        content = {"processors": os.cpu_count(), "load_of_the_last_5_minutes": load, "measurements": rows}
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
        path.with_suffix(".txt").write_text(self.table() + "\n", encoding="utf-8")


def pace() -> float:
    """How many times as long as on two quiet cores a fixed piece of work takes now, at least 1."""
    times = []
    for _ in range(PACE_TRIES):
        begun = time.perf_counter()
        _work()
        times.append(time.perf_counter() - begun)
    return max(1.0, median(times) / PACE_WORK)


def _work() -> None:
    """Small arrays, objects and compression, like a redraw."""
    x = np.random.default_rng(0).standard_normal((200, 64))
    for _ in range(60):
        x = np.tanh(x) + np.sort(x, axis=1)
    content = json.dumps([{"place": i, "value": i / 7} for i in range(4000)])
    zlib.compress(json.dumps(json.loads(content)).encode(), 6)
