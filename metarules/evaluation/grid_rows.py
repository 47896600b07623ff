"""The table of a grid: its rows, as CSV, as text, and one table put into another."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from metarules._files import csv_text, read_csv, text_table, write_atomically


@dataclass(frozen=True)
class GridRow:
    """One line of the table.

    Attributes:
        method: label of the rule, name of a rival, or `UNTAUGHT`.
        data, size, width, depth, nonlinearity, labels: see `Axes`.
        steps: inner steps; 0 for what takes none.
        models, splits, examples, seed: base models, draws of labels, examples asked for (0: all of a fixed set), and
            where chance starts.
        accuracy, stderr: mean, and standard error over splits of the means over models; NaN where it diverged.
        above, above_stderr: paired difference to the same base models untaught; NaN where that is itself or unknown.
        verdict: "above", "level" or "below" untaught by two of those errors, or why there is no number.
        seconds: of the processor for one model; NaN where unknown.
        megabytes: most memory that the process has held so far.
        mark: fingerprint of the rule, see `leaderboard.rule_mark`.
    """

    method: str
    data: str
    size: int
    width: int
    depth: int
    nonlinearity: str
    labels: int
    steps: int
    models: int
    splits: int
    examples: int
    seed: int
    accuracy: float
    stderr: float
    above: float
    above_stderr: float
    verdict: str
    seconds: float
    megabytes: int
    mark: str

    @property
    def key(self) -> tuple[Any, ...]:
        """What was asked, without what was found."""
        return (*(getattr(self, name) for name in _ASKED), self.mark)


_ASKED = tuple(f.name for f in fields(GridRow))[:12]
_DECIMALS = 4


def write_grid(path: Path, rows: Sequence[GridRow]) -> None:
    """Write rows as CSV, whole or not at all."""
    write_atomically(path, csv_text([_cells(row) for row in rows]).encode())


def read_grid(path: Path) -> list[GridRow]:
    """Read what `write_grid` wrote.

    Raises:
        ValueError: no such table.
        OSError: no such file.
    """
    kinds = {f.name: {"str": str, "int": int, "float": float}[str(f.type)] for f in fields(GridRow)}
    try:
        return [GridRow(**{name: _value(kinds[name], text) for name, text in line.items()}) for line in read_csv(path)]
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{path.name} cannot be read ({error}); allowed: a table written by write_grid") from None


def merged(known: Sequence[GridRow], new: Sequence[GridRow]) -> list[GridRow]:
    """Rows without doubles: a new one takes the place of one that was asked the same, and of one by an older theta."""
    rows = {row.key[:-1]: row for row in known} | {row.key[:-1]: row for row in new}
    return list(rows.values())


def grid_table(rows: Sequence[GridRow]) -> str:
    """Rows as aligned text: what differs from row to row, accuracy, standard error, and how far above untaught."""
    shown = [name for name in _ASKED if name == "method" or len({getattr(row, name) for row in rows}) > 1]
    lines = [[*shown, "accuracy", "stderr", "above untaught", "verdict", "seconds"]]
    for row in rows:
        numbers = [_number(row.accuracy), _number(row.stderr)]
        above = "" if math.isnan(row.above) else f"{row.above:+.3f} ± {row.above_stderr:.3f}"
        seconds = "" if math.isnan(row.seconds) else f"{row.seconds:.2f}"
        lines.append([*(str(getattr(row, name)) for name in shown), *numbers, above, row.verdict, seconds])
    return text_table(lines)


def _cells(row: GridRow) -> dict[str, str]:
    return {name: _number(value) if isinstance(value, float) else str(value) for name, value in asdict(row).items()}


def _number(value: float) -> str:
    return "" if math.isnan(value) else f"{value:.{_DECIMALS}f}"


def _value(kind: type, text: str) -> Any:
    return math.nan if kind is float and not text else kind(text)
