"""CSV tables: the numbers of their features and the text of their labels; every bad cell is named by its place."""

from __future__ import annotations

import math
from array import array
from collections import Counter
from itertools import islice

import numpy as np

from metarules.tasks.own_data.asked import LARGEST, MAX_EXAMPLES, SEPARATORS, UNLABELLED, Asked, Raw
from metarules.tasks.own_data.cells import SAMPLE, Cells, find_cells
from metarules.tasks.own_data.columns import Column, find_label, left_out, notes_on
from metarules.tasks.own_data.numbers import is_missing, is_number, mark_of, number

MAX_TABLE_BYTES = 30_000_000  # what is read within ten seconds


def read_table(name: str, data: bytes, asked: Asked) -> Raw:
    """Read a CSV table: one row per example, by the rules of `read_dataset`.

    Args:
        name: of the file, for messages.
        data: its bytes.
        asked: the options.

    Raises:
        ValueError: naming the line and column of what cannot be read, or the option that says what is meant.
    """
    if len(data) > MAX_TABLE_BYTES:
        raise ValueError(f"{name} holds {len(data)} bytes; allowed: up to {MAX_TABLE_BYTES} (an npz may be larger)")
    cells = find_cells(name, data, asked)
    columns = _columns(cells)
    label = find_label(columns, asked, name, cells.counted)
    out = left_out(columns, asked, name, label)
    features = [c for c in columns if c.number not in out and c is not label]
    notes = notes_on(columns, out, label)
    if not features:
        found = "; ".join(["labels alone", *notes])
        raise ValueError(f"{name} has {found}; allowed: columns of numbers besides, see drop and keep")
    values = np.stack([c.values for c in features], 1)
    bad = np.argwhere(~(np.abs(values) <= LARGEST))
    if len(bad):
        raise _bad_cell(cells, int(bad[0, 0]), features[int(bad[0, 1])], label)
    if cells.counted:
        notes.insert(0, f"line 1 taken for names of columns ({', '.join((cells.names or [])[:3])} ..)")
    if cells.decimal == ",":
        notes.insert(0, "decimal commas")
    names = tuple(c.name for c in features)
    labels = None if label is None else _labels(cells, label)
    return Raw(name, values, labels, str(label), None, names, tuple(notes))


def _columns(cells: Cells) -> list[Column]:
    """All columns as numbers. A row is read at once, which is fast; cell by cell only where something is no number."""
    sample = [row for _, row in islice(cells.rows(), SAMPLE)]
    if not sample:
        raise ValueError(f"{cells.name} holds a line of names and no examples; allowed: one line per example below it")
    names = [""] * len(sample[0]) if cells.names is None else cells.names
    width = len(names)
    whole = [row for row in sample if len(row) == width]
    text = [j for j in range(width) if 2 * sum(is_number(row[j]) for row in whole) < len(whole)]
    usual = Counter(map(len, sample)).most_common(1)[0][0]
    if width < usual == len(sample[-1]):
        raise ValueError(
            f"{cells.name} begins with a line of {width} cell(s), where most have {usual}; allowed: no title or "
            "comment above the names of columns"
        )
    plain = b"_" not in cells.data
    numbers, empty, n = array("d"), set(range(width)), 0
    for n, (line, row) in enumerate(cells.rows(), start=1):
        if len(row) != width:
            raise ValueError(
                f"{cells.name}, line {line} has {len(row)} cells; allowed: {width}, as many as the first line has"
            )
        if n > MAX_EXAMPLES:
            raise ValueError(f"{cells.name} holds more than {MAX_EXAMPLES} examples; allowed: up to {MAX_EXAMPLES}")
        if empty:
            empty = {j for j in empty if not row[j]}
        for j in text:
            row[j] = "nan"
        numbers.extend(_values(row, cells.decimal, plain))
    if width < 2:
        raise ValueError(
            f"{cells.name} has a single column; allowed: columns of numbers and one of labels, between one of "
            f"{', '.join(map(repr, SEPARATORS))}. {UNLABELLED}"
        )
    values_of = np.frombuffer(numbers).reshape(n, width)
    return [Column(j + 1, names[j], values_of[:, j], j in text, j in empty) for j in range(width)]


def _values(row: list[str], decimal: str, plain: bool) -> list[float]:
    """The numbers of a row; `plain` says that there is no underscore, which Python takes for part of a number."""
    try:
        if plain and decimal == ".":
            return list(map(float, row))
        if plain and "." not in (together := "\n".join(row)):
            return list(map(float, together.replace(",", ".").split("\n", len(row) - 1)))
    except ValueError:
        pass  # a cell that is no number, or has commas between thousands
    return [number(cell, decimal) for cell in row]


def _labels(cells: Cells, label: Column) -> list[str]:
    """Labels as they are written."""
    labels = []
    for line, row in cells.rows():
        cell = row[label.number - 1]
        if is_missing(cell) and cell.lower() not in ("-", "none"):
            raise ValueError(f"{cells.name}, line {line}, {label} has no label; allowed: a label in every row")
        labels.append(cell)
    return labels


def _bad_cell(cells: Cells, row: int, column: Column, label: Column | None) -> ValueError:
    """What is wrong with a cell of a feature."""
    line, found = next(islice(cells.rows(), row, None))
    cell, drop = found[column.number - 1], f"drop={column.option!r} leaves the column out"
    value, at = number(cell, cells.decimal), f"{cells.name}, line {line}, {column}"
    if is_missing(cell):
        wrong = f"is {cell!r}, a missing value" if cell else "is empty"
        advice = f"Fill such cells in, or leave their rows out; {drop}"
    elif not math.isnan(value):
        wrong, advice = f"is {cell!r}", f"Finite ones, up to {LARGEST:g} in size; {drop}"
    elif mark_of(cell):
        other = "," if cells.decimal == "." else "."
        wrong = f"is {cell!r}, where other numbers have the decimal mark {cells.decimal!r}"
        advice = f"One mark throughout (decimal={other!r} takes the other); {drop}"
    else:
        wrong = f"is the text {cell[:40]!r}"
        advice = f"Only labels may be text: label={column.option!r} says that it is one; {drop}"
        if label is not None:
            advice += f" (the labels are in {label})"
    return ValueError(f"{at} {wrong}; allowed: a number. {advice}")
