"""A run's log: one row of plain CSV per meta-step, which any table reader, pandas or TensorBoard's CSV import opens."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from torch import Tensor

from metarules._files import naming, write_atomically
from metarules.meta_training.outer_loop import MetaStep

SNAPSHOTS, LOG = "snapshots", "log.csv"  # names in a run's folder
COLUMNS = ("meta_step", "minutes", "meta_loss", "gradient_norm", "learning_rate", "skipped")  # then the validation's


class Log:
    """The rows so far, and the file that shows them.

    Checkpoints keep the rows too. So a file that was lost, cut short or saved by a spreadsheet is made anew, and one
    that a spreadsheet holds gets its rows later.

    Args:
        path: of the CSV file, made anew or taken up.
        number: meta-steps of the checkpoint that a run resumes from; rows past it are dropped.
        cases: what the run is validated on (`Judge.cases`), a column each.
        kept: that checkpoint's rows, once `Log.kept`; None takes those that the file has.

    Attributes:
        curve: the validations so far: meta_step, minutes and an accuracy for each of `cases`.
        minutes: of training so far.
        behind: why the file lacks rows; None where it has them all.
    """

    def __init__(self, path: Path, number: int, cases: Sequence[str], kept: Sequence[str] | None = None) -> None:
        self.path, self.cases = path, cases
        self.minutes = 0.0
        self.curve: list[dict[str, float]] = []
        self.behind: OSError | None = None
        head = io.StringIO(newline="")
        csv.writer(head, lineterminator="").writerow((*COLUMNS, *cases))
        self._lines = [head.getvalue()]
        self._size = -1  # of the file as we left it
        self._skipped, self._means = 0, dict[int, float]()
        found = _read(path, len(COLUMNS) + len(cases))
        minutes = {row[0]: float(row[1]) for row in found}
        for cells in [[row[0], *row[2:]] for row in found] if kept is None else [row.split(",") for row in kept]:
            if int(cells[0]) <= number:
                self.minutes = max(self.minutes, minutes.get(cells[0], 0.0))  # where unknown, as in the row before
                self._add([cells[0], str(self.minutes), *cells[1:]])
        self.write_file()

    def write(self, step: MetaStep, minutes: float, scores: Mapping[str, Tensor] | None) -> None:
        """Add a row; `scores` are accuracies [tasks] by case, where this step was validated."""
        self.minutes = minutes
        numbers = (round(step.loss, 5), round(step.gradient_norm, 5), step.learning_rate, int(step.skipped))
        means = [round(float(scores[case].mean()), 4) if scores else "" for case in self.cases]
        self._add([str(cell) for cell in (step.number, round(minutes, 3), *numbers, *means)])
        self.write_file()

    def write_file(self) -> None:
        """Bring the file up to date: by its last row, or whole where others have changed it."""
        try:
            if self.behind is None and self.path.exists() and self.path.stat().st_size == self._size:
                with naming("out", self.path, "written"), self.path.open("a", newline="", encoding="utf-8") as file:
                    file.write(f"{self._lines[-1]}\r\n")
            else:
                write_atomically(self.path, "".join(f"{line}\r\n" for line in self._lines).encode(), "out")
            self._size, self.behind = self.path.stat().st_size, None
        except OSError as error:
            self.behind = error

    @property
    def kept(self) -> list[str]:
        """The rows without their minutes, which a run that was broken off need not share with one that was not."""
        return [",".join(cells[:1] + cells[2:]) for cells in (line.split(",") for line in self._lines[1:])]

    @property
    def best(self) -> int | None:
        """Meta-step of the best validation after the first update (mean of all cases), the later one of equals."""
        return max(self._means, key=lambda step: (self._means[step], step), default=None)

    def _add(self, cells: list[str]) -> None:
        self._lines.append(",".join(cells))
        step, self._skipped = int(cells[0]), self._skipped + int(cells[COLUMNS.index("skipped")])
        if cells[len(COLUMNS)]:
            numbers = map(float, (*cells[:2], *cells[len(COLUMNS) :]))
            self.curve.append(dict(zip(("meta_step", "minutes", *self.cases), numbers, strict=True)))
            if step > self._skipped:  # else no update has been taken yet
                self._means[step] = sum(self.curve[-1][case] for case in self.cases)


def _read(path: Path, columns: int) -> list[list[str]]:
    """The rows that are whole: a crash may have cut the last one short, a spreadsheet changed separators and points."""
    try:
        text = path.read_bytes().decode("utf-8-sig", "replace")
    except OSError:
        return []
    rows = []
    for line in text.rpartition("\n")[0].splitlines()[1:]:
        cells = line.split(",")
        for separator in ";\t":
            cells = line.replace(",", ".").split(separator) if separator in line else cells
        with suppress(ValueError):
            int(cells[0]), [float(cell) for cell in cells if cell]
            rows += [cells] if len(cells) == columns else []
    return rows


def is_snapshot_step(meta_step: int) -> bool:
    """Whether a run keeps a snapshot at this meta-step: 0, 1, 2, 5, 10, 20, 50, 100, .. (the last one is kept too).

    Args:
        meta_step: from 0.
    """
    return meta_step == 0 or str(meta_step).rstrip("0") in ("1", "2", "5")
