"""A run's log: one row of plain CSV per meta-step, which any table reader, pandas or TensorBoard's CSV import opens."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import Tensor

from metarules._files import write_atomically
from metarules.meta_training.outer_loop import MetaStep

SNAPSHOTS, LOG = "snapshots", "log.csv"  # names in a run's folder
COLUMNS = ("meta_step", "minutes", "meta_loss", "gradient_norm", "learning_rate", "skipped")  # then the validation's


class Log:
    """The rows so far, and the file they are in. Rows past the checkpoint that a run resumes from are dropped.

    Args:
        path: of the CSV file, made anew or taken up.
        number: meta-steps of the checkpoint.
        cases: what the run is validated on (`Judge.cases`), a column each.

    Attributes:
        curve: the validations so far: meta_step, minutes and an accuracy for each of `cases`.
        minutes: of training so far.
    """

    def __init__(self, path: Path, number: int, cases: Sequence[str]) -> None:
        self.path, self.cases, self.columns = path, cases, (*COLUMNS, *cases)
        rows = [row for row in _read(path) if int(row["meta_step"]) <= number]
        text = io.StringIO(newline="")
        writer = csv.DictWriter(text, self.columns)
        writer.writeheader()
        writer.writerows(rows)
        write_atomically(path, text.getvalue().encode())
        self.curve = [self._point(row) for row in rows if row[cases[0]]]
        self.minutes = float(rows[-1]["minutes"]) if rows else 0.0

    def write(self, step: MetaStep, minutes: float, scores: Mapping[str, Tensor] | None) -> None:
        """Add a row; `scores` are accuracies [tasks] by case, where this step was validated."""
        self.minutes = minutes
        row = {
            "meta_step": step.number,
            "minutes": round(minutes, 3),
            "meta_loss": round(step.loss, 5),
            "gradient_norm": round(step.gradient_norm, 5),
            "learning_rate": step.learning_rate,
            "skipped": int(step.skipped),
            **{kind: round(float(found.mean()), 4) for kind, found in (scores or {}).items()},
        }
        with self.path.open("a", newline="") as file:
            csv.DictWriter(file, self.columns, restval="").writerow(row)
        if scores is not None:
            self.curve.append(self._point(row))

    @property
    def best_is_last(self) -> bool:
        """True when the newest validation is the best of the run after its start (mean of all cases)."""
        means = [sum(point[kind] for kind in self.cases) for point in self.curve if point["meta_step"] > 0]
        return bool(means) and means[-1] == max(means)

    def _point(self, row: Mapping[str, Any]) -> dict[str, float]:
        return {name: float(row[name]) for name in ("meta_step", "minutes", *self.cases)}


def _read(path: Path) -> list[dict[str, str]]:
    """The rows that are whole: a crash may have cut the last one short."""
    if not path.exists():
        return []
    with path.open(newline="") as file:
        lines = [line for line in file if line.endswith("\n")]
    return [row for row in csv.DictReader(lines) if None not in row.values() and None not in row]


def is_snapshot_step(meta_step: int) -> bool:
    """Whether a run keeps a snapshot at this meta-step: 0, 1, 2, 5, 10, 20, 50, 100, .. (the last one is kept too).

    Args:
        meta_step: from 0.
    """
    return meta_step == 0 or str(meta_step).rstrip("0") in ("1", "2", "5")
