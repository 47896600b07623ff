"""One format for every result: rows of a table, the accuracies behind them for paired comparison, text and JSON."""

from __future__ import annotations

import json
import math
import os
import platform
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

import metarules
from metarules._checks import check_choice, check_tensor
from metarules._files import csv_text, read_text, text_table, write_atomically

DIGITS = 6  # decimals of an accuracy in JSON; one example of 1700 is 0.0006
CLEAR = 2.0  # "above" and "below" mean by more than this many paired standard errors
PACKAGES = ("torch", "numpy", "scikit-learn")


@dataclass(frozen=True)
class Row:
    """One line of the table.

    Attributes:
        data: name of the data set.
        representation: name of the rule or baseline.
        dim: number of features.
        labels_per_class: labelled examples per class.
        accuracy: mean over splits and models, in [0, 1].
        stderr: standard error over splits of the means over models.
        n: number of accuracies averaged: splits times models.
        seconds: of the processor to learn one model's features, or to spread one split's labels; None where unknown.
    """

    data: str
    representation: str
    dim: int
    labels_per_class: int
    accuracy: float
    stderr: float
    n: int
    seconds: float | None = None


@dataclass(frozen=True, eq=False)
class Result:
    """A row and the accuracies it sums up, [models, splits]."""

    row: Row
    accuracies: Tensor


def make_result(
    data: str,
    representation: str,
    dim: int,
    labels_per_class: int,
    accuracies: Tensor,
    seconds: float | None = None,
) -> Result:
    """Sum accuracies up into a row.

    Args:
        data, representation, dim, labels_per_class, seconds: as in `Row`.
        accuracies: [models, splits], at least two splits; one model for a method without chance.

    Raises:
        TypeError: accuracies is not a floating tensor.
        ValueError: it is not [models, splits], holds fewer than two splits, NaN or infinity.
    """
    mean, stderr = mean_and_stderr(accuracies)
    row = Row(data, representation, dim, labels_per_class, mean, stderr, accuracies.numel(), seconds)
    return Result(row, accuracies.detach().cpu().double())


def mean_and_stderr(accuracies: Tensor) -> tuple[float, float]:
    """Mean of [models, splits], and the standard error over splits of the means over models."""
    per_split = _check_accuracies("accuracies", accuracies).mean(0)
    return float(per_split.mean()), float(per_split.std(correction=1) / math.sqrt(len(per_split)))


def paired_difference(a: Tensor, b: Tensor) -> tuple[float, float]:
    """How far a lies above b on the same splits.

    Args:
        a, b: accuracies [models, splits]; the numbers of models may differ, the splits must be the same ones.

    Returns:
        (mean, standard error over splits) of the difference between the means over models.

    Raises:
        TypeError: not floating tensors.
        ValueError: shapes other than [models, splits], different numbers of splits, NaN or infinity.
    """
    a, b = _check_accuracies("a", a), _check_accuracies("b", b)
    if a.shape[1] != b.shape[1]:
        raise ValueError(f"b has shape {list(b.shape)}; allowed: [models, {a.shape[1]}], the splits of a")
    return mean_and_stderr(a.mean(0, keepdim=True) - b.mean(0, keepdim=True))


def verdict(difference: float, stderr: float) -> str:
    """ "above", "below", or "level" where the difference is within two standard errors."""
    if abs(difference) <= CLEAR * stderr:
        return "level"
    return "above" if difference > 0 else "below"


@dataclass(frozen=True, eq=False)
class Results:
    """What one evaluation found.

    Attributes:
        results: rows with their accuracies, in the order of the table.
        settings: how they were made; plain values.
        skipped: name -> reason, for what could not be evaluated.
        versions: of Python and the packages that computed them.
    """

    results: tuple[Result, ...]
    settings: Mapping[str, Any] = field(default_factory=dict)
    skipped: Mapping[str, str] = field(default_factory=dict)
    versions: Mapping[str, str] = field(default_factory=lambda: package_versions())

    @property
    def rows(self) -> list[Row]:
        """The rows alone."""
        return [result.row for result in self.results]

    def __getitem__(self, representation: str) -> Result:
        """The first result of that name.

        Raises:
            ValueError: an unknown name.
        """
        check_choice("representation", representation, [row.representation for row in self.rows])
        return next(result for result in self.results if result.row.representation == representation)

    def table(self) -> str:
        """The rows as aligned text."""
        return text_table(self._cells(), left=2)

    def csv(self) -> str:
        """The rows as CSV."""
        head, *rows = self._cells()
        return csv_text([dict(zip(head, row, strict=True)) for row in rows])

    def markdown(self) -> str:
        """The rows as a Markdown table."""
        head, *rows = self._cells()
        marks = ["---" if i < 2 else "---:" for i in range(len(head))]
        return "\n".join(f"| {' | '.join(line)} |" for line in (head, marks, *rows))

    def _cells(self) -> list[list[str]]:
        head = [f.name for f in fields(Row)]
        return [head, *([_cell(name, value) for name, value in asdict(row).items()] for row in self.rows)]

    def comparison(self, representation: str) -> str:
        """One method against all others, paired, as aligned text; errors as `__getitem__`."""
        own = self[representation]
        lines = []
        for other in self.results:
            if other is not own:
                mean, stderr = paired_difference(own.accuracies, other.accuracies)
                cells = [f"{mean:+.4f}", f"{stderr:.4f}", verdict(mean, stderr)]
                lines.append([f"{representation} - {other.row.representation}", *cells])
        return text_table([["paired difference", "mean", "stderr", "verdict"], *lines], left=1)

    def to_dict(self) -> dict[str, Any]:
        """Plain values, ready for JSON; "accuracies" holds [models][splits] for each of "rows"."""
        return {
            "rows": [asdict(row) for row in self.rows],
            "accuracies": [_rounded(result.accuracies) for result in self.results],
            "settings": dict(self.settings),
            "skipped": dict(self.skipped),
            "versions": dict(self.versions),
        }

    def write_json(self, path: str | os.PathLike[str]) -> None:
        """Write `to_dict` as JSON, whole or not at all.

        Raises:
            OSError: the file cannot be written; what stood there before still does.
        """
        text = json.dumps(self.to_dict(), indent=1, allow_nan=False)
        write_atomically(path, (text + "\n").encode())

    @classmethod
    def read_json(cls, path: str | os.PathLike[str]) -> Results:
        """Read what `write_json` wrote; accuracies come back rounded to six decimals.

        Raises:
            OSError: no such file, or one that cannot be read.
            ValueError: truncated, or not a file of this kind.
        """
        name = Path(path).name
        try:
            found = json.loads(read_text(path))
            rows = [Row(**row) for row in found["rows"]]
            tables = [torch.tensor(table, dtype=torch.float64) for table in found["accuracies"]]
            results = tuple(Result(row, table) for row, table in zip(rows, tables, strict=True))
            return cls(results, found["settings"], found["skipped"], found["versions"])
        except (ValueError, KeyError, TypeError) as error:
            raise ValueError(
                f"{name} cannot be read ({error}); allowed: a file written by Results.write_json"
            ) from error


def package_versions() -> dict[str, str]:
    """Versions of Python and of the packages a result depends on."""
    found = {"python": platform.python_version(), "metarules": metarules.__version__}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "not installed"
    return found


def _check_accuracies(name: str, value: Any) -> Tensor:
    value = check_tensor(name, value, min_dims=2).detach().cpu().double()
    if value.ndim != 2 or value.shape[1] < 2:
        raise ValueError(f"{name} has shape {list(value.shape)}; allowed: [models, splits] with at least two splits")
    return value


def _cell(name: str, value: Any) -> str:
    if name == "seconds":
        return "" if value is None else f"{value:.2f}"
    return f"{value:.4f}" if isinstance(value, float) else str(value)


def mean_ranks(found: Sequence[Results]) -> dict[str, float]:
    """Place by accuracy, averaged over data sets, the best first; ties share the mean of their places.

    Args:
        found: results of one data set each. What one of them lacks has no rank.

    Returns:
        Representation -> mean rank from 1.

    Raises:
        ValueError: no results.
    """
    if not found:
        raise ValueError("found is empty; allowed: results of one data set or more")
    tables = [{row.representation: row.accuracy for row in results.rows} for results in found]
    shared = [name for name in tables[0] if all(name in table for table in tables)]
    ranks = dict.fromkeys(shared, 0.0)
    for table in tables:
        for name in shared:
            above = sum(table[other] > table[name] for other in shared)
            level = sum(table[other] == table[name] for other in shared)
            ranks[name] += (above + (level + 1) / 2) / len(tables)
    return dict(sorted(ranks.items(), key=lambda item: item[1]))


def rank_table(found: Sequence[Results]) -> str:
    """Mean ranks as aligned text, and the accuracy on each data set.

    Raises:
        ValueError: no results, none of one name in all of them, or one data set twice.
    """
    data = [next((row.data for row in results.rows), "") for results in found]
    if len(set(data)) < len(data):
        raise ValueError(f"found is of {', '.join(data)}; allowed: results of different data sets")
    if not (ranks := mean_ranks(found)):
        raise ValueError(f"found has no representation in common; allowed: the same for {', '.join(data)}")
    lines = [
        [name, f"{rank:.2f}", *(f"{results[name].row.accuracy:.4f}" for results in found)]
        for name, rank in ranks.items()
    ]
    return text_table([["representation", "mean rank", *data], *lines])


def _rounded(accuracies: Tensor) -> list[list[float]]:
    return [[round(a, DIGITS) for a in row] for row in accuracies.tolist()]
