"""Which column is what: label, left out, or feature; and whether features are the pixels of images."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from metarules.tasks.own_data.asked import MAX_CLASSES, Asked, Columns, Shape
from metarules.tasks.own_data.cells import LABEL_NAMES

LEAST_SIDE = 8  # pixels: rows of a smaller square number of values are a table, not images (iris has 4)
_LEAST_ROWS = 10  # fewer rows that count may do so by chance
_PER_CLASS = 5  # examples a class has on average, at least, in a column of numbers that could be labels
_ALIKE = 0.25  # share of the largest value that three in four pixels, those that change at all, span at least
_WORDS = re.compile(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])|\d+")
_IDS = re.compile(r"(unnamed\b.*|index|idx|row|rowid|level_\d)?", re.IGNORECASE)  # whole names; "" is a data frame's
_PIXEL = re.compile(r"(pixel|pix|px|p)?[\W_]*\d+([\W_x]+\d+)?", re.IGNORECASE)  # pixel12, pixel_0_3, 3x4, 12


@dataclass(frozen=True)
class Column:
    """A column of a table or an array.

    Attributes:
        number: from 1.
        name: "" where it has none.
        values: [N], NaN where a cell is no number.
        text: whether most cells are no numbers.
        empty: whether all cells are.
    """

    number: int
    name: str
    values: np.ndarray
    text: bool = False
    empty: bool = False

    def __str__(self) -> str:
        return f"column {self.number}, {self.name!r}" if self.name else f"column {self.number}"

    @property
    def option(self) -> str | int:
        """How options call it."""
        return self.name or self.number


def pick(option: str, wanted: Columns, columns: Sequence[Column], name: str) -> list[Column]:
    """The columns that an option names, by name (in any case) or by number from 1.

    Raises:
        ValueError: an option that names none.
    """
    found = []
    for one in (wanted,) if isinstance(wanted, str | int) else wanted:
        these = [c for c in columns if (c.number == one if isinstance(one, int) else c.name == one)]
        these = these or [c for c in columns if isinstance(one, str) and c.name.lower() == one.strip().lower()]
        if isinstance(one, bool) or not these:
            names = ", ".join([c.name for c in columns if c.name][:20])
            allowed = f"{names}, or 1 to {len(columns)}" if names else f"a number from 1 to {len(columns)}"
            raise ValueError(f"{option} is {one!r}, which is no column of {name}; allowed: {allowed}")
        found += these
    return found


def left_out(columns: Sequence[Column], asked: Asked, name: str, label: Column | None = None) -> dict[int, str]:
    """Which columns are no features, by rule 4 of `read_dataset`: number of the column -> why.

    Raises:
        ValueError: `drop` or `keep` name no column.
    """
    why = {c.number: "empty" for c in columns if c.empty}
    kept = {c.number for c in pick("keep", asked.keep, columns, name)}
    named = any(c.name for c in columns)
    for c in columns:
        if c.number not in why and c.number not in kept and c is not label:
            if _counts_rows(c.values):
                why[c.number] = "it numbers the rows"
            elif named and _is_id(c):
                why[c.number] = "named like an id"
    dropped = {c.number: "as asked" for c in pick("drop", asked.drop, columns, name)}
    if label is not None and label.number in dropped and asked.label:
        raise ValueError(f"label and drop both name {label}; allowed: a column is one or the other")
    return why | dropped


def find_label(columns: Sequence[Column], asked: Asked, name: str, counted: bool) -> Column | None:
    """The column of labels, by rule 5 of `read_dataset`; None where there are none.

    Args:
        columns: all of them.
        asked: the options.
        name: of the file.
        counted: whether the names of columns are numbers alone.

    Raises:
        ValueError: several columns could be it, or none is clearly it.
    """
    if asked.label is False:
        return None
    if asked.label is not None:
        return pick("label", [asked.label], columns, name)[0]
    dropped = pick("drop", asked.drop, columns, name)
    known = [c for c in columns if _is_label_name(c.name) and not c.empty and c not in dropped]
    if found := [c for c in known if c.name.lower() != "y"] or (
        [] if any(c.name.lower() == "x" for c in columns) else known
    ):
        return _only(found, columns, name)
    out = left_out(columns, asked, name)
    rest = [c for c in columns if c.number not in out]
    text = [c for c in rest if c.text]
    if len(text) == 1 and text[0] is rest[-1]:
        return text[0]
    numbers = [c for c in rest if _could_be_classes(c.values)]
    stems = Counter(_stem(c.name) for c in rest)
    named = {c.number for c in rest if c.name and not counted and stems[_stem(c.name)] == 1}
    ends = {c.number for c in (rest[:1] + rest[-1:])}
    return _only(text + [c for c in numbers if c.number in (named or ends)], columns, name)


def _only(found: Sequence[Column], columns: Sequence[Column], name: str) -> Column:
    if len(found) == 1:
        return found[0]
    some = sorted(found, key=lambda c: c.number)[:6]
    if some:
        said = f"{name}: {' and '.join(map(str, some))} could {'both' if len(found) == 2 else 'all'} hold the labels"
    else:
        said = f"{name}: no column is clearly that of the labels"
    which = " or ".join(f"label={c.option!r}" for c in some) or f"label={columns[-1].option!r} or another column"
    raise ValueError(f"{said}; allowed: {which}, or label=False if there are no labels")


def image_shape(names: Sequence[str], values: np.ndarray, shape: Shape, name: str) -> tuple[int, int] | None:
    """(height, width) where rows are images, by rule 7 of `read_dataset`; None where they are a table.

    Raises:
        ValueError: a shape that does not fit, or names that leave it open.
    """
    n = values.shape[1]
    if shape is None:
        return None
    if shape != "auto":
        fits = isinstance(shape, tuple | list) and len(shape) == 2 and all(isinstance(s, int) for s in shape)
        if not fits or math.prod(shape) != n or min(shape) < 1:
            raise ValueError(f"shape is {shape!r}; allowed: 'auto', None, or (height, width) with height * width = {n}")
        return int(shape[0]), int(shape[1])
    side, spans = math.isqrt(n), np.ptp(values, axis=0)
    if side < LEAST_SIDE or side * side != n or values.min() < 0:
        return None
    if np.quantile(spans[spans > 0], 0.25) < _ALIKE * values.max():
        return None
    if all(not called or _PIXEL.fullmatch(called) for called in names):
        return side, side
    if len({_stem(called) for called in names}) > 1:
        return None
    raise ValueError(
        f"{name}: columns {names[0]!r} to {names[-1]!r} can be pixels of images or measurements in a table; allowed: "
        f"shape=({side}, {side}) for images, shape=None for a table"
    )


def _counts_rows(values: np.ndarray) -> bool:
    """Whether values are different whole numbers without a gap, one for each row."""
    n = len(values)
    whole = n >= _LEAST_ROWS and np.isfinite(values).all() and np.ptp(values) == n - 1
    return bool(whole and (np.diff(np.sort(values)) == 1).all() and float(values[0]).is_integer())


def _grows_evenly(values: np.ndarray) -> bool:
    steps = np.diff(values) if np.isfinite(values).all() and len(values) >= _LEAST_ROWS else np.zeros(1)
    return bool(steps[0] and (steps == steps[0]).all() and (values % 1 == 0).all())


def notes_on(columns: Sequence[Column], out: Mapping[int, str], label: Column | None = None) -> list[str]:
    """What the data set says about the columns that were left out, and about a kept one that may number the rows."""
    said = [f"left out: {', '.join(f'{columns[j - 1]} ({out[j]})' for j in sorted(out))}"] if out else []
    kept = [c for c in columns if c.number not in out and c is not label and not c.text]
    even = [c for c in kept if _grows_evenly(c.values)]
    return said + [f"kept: {c}, which grows evenly from row to row (drop={c.option!r} leaves it out)" for c in even[:3]]


def _is_id(column: Column) -> bool:
    with np.errstate(invalid="ignore"):  # infinity has no remainder
        if not column.text and (column.values % 1 > 0).any():
            return False  # a measurement, whatever it is called
    if _IDS.fullmatch(column.name):
        return column.name != "" or column.number == 1
    words = [word.lower() for word in _WORDS.findall(column.name)]
    return bool({"id", "ids", "uuid", "guid"} & {words[0], words[-1]}) if words else False


def _is_label_name(name: str) -> bool:
    """Class, #label, class_label, species_name, TargetClass: words for labels, and no others."""
    words = {word.lower() for word in _WORDS.findall(name)} - {"id", "name"}
    return name.lower() in LABEL_NAMES or bool(words and words <= LABEL_NAMES - {"y"})


def _could_be_classes(values: np.ndarray) -> bool:
    if not np.isfinite(values).all() or (values % 1 != 0).any():
        return False
    return 2 <= len(np.unique(values)) <= min(MAX_CLASSES, len(values) // _PER_CLASS)


def _stem(name: str) -> str:
    """A name without its numbers."""
    return re.sub(r"[\d\W_]+", " ", name).strip().lower()
