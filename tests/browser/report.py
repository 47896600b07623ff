"""What was measured in the browser: a table for the terminal, JSON for the record."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import median


@dataclass(frozen=True)
class Measurement:
    """Repeated measurements of one thing.

    Attributes:
        lesson: notebook name without its ending.
        what: a few words.
        values: all of them, in `unit`.
        bound: the median must stay under this.
        unit: "ms" or "s".
    """

    lesson: str
    what: str
    values: tuple[float, ...]
    bound: float | None
    unit: str

    @property
    def median(self) -> float:
        return median(self.values)

    def line(self) -> str:
        bound = "" if self.bound is None else f"  (bound {self.bound:g})"
        spread = f", {min(self.values):.4g} to {max(self.values):.4g}" if len(self.values) > 1 else ""
        return f"{self.lesson}  {self.what}: {self.median:.4g} {self.unit}, median of {len(self.values)}{spread}{bound}"


@dataclass
class Report:
    """All measurements of a session."""

    measurements: list[Measurement] = field(default_factory=list)

    def add(
        self, lesson: str, what: str, values: Sequence[float], *, bound: float | None = None, unit: str = "ms"
    ) -> float:
        """Note repeated measurements of one thing; returns their median, for the caller to assert on."""
        measurement = Measurement(lesson, what, tuple(round(value, 3) for value in values), bound, unit)
        self.measurements.append(measurement)
        return measurement.median

    def write(self, path: Path) -> None:
        """Store everything as JSON, with how busy the machine was."""
        rows = [asdict(m) | {"median": m.median, "n": len(m.values)} for m in self.measurements]
        load = os.getloadavg()[1] if hasattr(os, "getloadavg") else None
        content = {"processors": os.cpu_count(), "load_of_the_last_5_minutes": load, "measurements": rows}
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
