"""CSV tables: which separator, whether line 1 holds names, which column holds labels; every bad cell by its place."""

from __future__ import annotations

import csv
import io
import math

import numpy as np

from metarules.tasks.own_data.finish import LARGEST, MAX_EXAMPLES, UNLABELLED, Raw

LABEL_NAMES = ("label", "labels", "class", "target", "y")  # in this order, if a table has several of them
_SEPARATORS = ",;\t"
MAX_TABLE_BYTES = 30_000_000  # as Python text and numbers it takes ten times that
_MISSING = {"", "na", "n/a", "nan", "null", "none", "?", "-"}

Line = tuple[int, list[str]]  # number of the line in the file, from 1, and its cells


def read_table(name: str, data: bytes, label: str | int | None = None) -> Raw:
    """Read a CSV table: one row per example, one column of labels, numbers everywhere else.

    Separated by commas, semicolons (numbers may then have decimal commas) or tabs; UTF-8 with or without byte-order
    mark; any line ends; blank lines are skipped. Line 1 is taken for names if none of its cells is a number, or if it
    names the column of labels. That column is the one called "label", "class", "target" or "y" (a "y" beside an "x" is
    a coordinate), else the last. A first column without a name, in which data frames save their index, is left out.

    Args:
        name: of the file, for messages.
        data: its bytes.
        label: the column of labels, by name or by number from 1; None finds it.

    Raises:
        ValueError: naming the line and column of what cannot be read.
    """
    if len(data) > MAX_TABLE_BYTES:
        raise ValueError(f"{name} holds {len(data)} bytes; allowed: up to {MAX_TABLE_BYTES} (an npz may be larger)")
    lines = _lines(name, _text(name, data))
    header = _header(lines)
    if header is not None:
        lines = lines[1:]
    if not lines:
        raise ValueError(f"{name} holds a line of names and no examples; allowed: one line per example below it")
    width = len(lines[0][1] if header is None else header)
    for number, cells in lines:
        if len(cells) != width:
            raise ValueError(
                f"{name}, line {number} has {len(cells)} cells; allowed: {width}, as many as the first line has"
            )
    if width < 2:
        raise ValueError(f"{name} has a single column; allowed: columns of numbers and one of labels. {UNLABELLED}")
    if len(lines) > MAX_EXAMPLES:
        raise ValueError(f"{name} holds {len(lines)} examples; allowed: up to {MAX_EXAMPLES}")
    column = _label_column(name, header, width, label)
    shown = _shown(header, column)
    labels = [_label(name, number, shown, cells[column]) for number, cells in lines]
    others = [j for j in range(width) if j != column and not (j == 0 and header and _is_index(header[0]))]
    if not others:
        raise ValueError(f"{name} has labels alone; allowed: columns of numbers besides")
    values = [[_number(name, number, header, j, cells[j]) for j in others] for number, cells in lines]
    found = "" if header or label is not None else ", taken as labels since it is the last,"
    return Raw(name, np.array(values), labels, None, None, f"{shown}{found}")


def _text(name: str, data: bytes) -> str:
    if data[:2] in (b"\xff\xfe", b"\xfe\xff"):
        raise ValueError(f"{name} is UTF-16 text; allowed: UTF-8. Save it as 'CSV UTF-8'")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise ValueError(
            f"{name}, line {line} holds the byte 0x{data[error.start]:02x}, which is no UTF-8 text; allowed: UTF-8. "
            "Save it as 'CSV UTF-8'"
        ) from None


def _lines(name: str, text: str) -> list[Line]:
    """The lines that are not blank, cut into cells."""
    first = next((line for line in text.splitlines() if line.strip()), "")
    separator = max(_SEPARATORS, key=first.count)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator, strict=True, skipinitialspace=True)
    try:
        rows = [(reader.line_num, [cell.strip() for cell in cells]) for cells in reader]
    except csv.Error as error:
        at = f"{name}, line {reader.line_num}"
        raise ValueError(f"{at} is no CSV ({error}); allowed: cells between {separator!r}") from None
    if separator == ";":  # where the semicolon separates, the comma is the decimal mark
        rows = [(number, [_decimal_point(cell) for cell in cells]) for number, cells in rows]
    lines = [(number, cells) for number, cells in rows if any(cells)]
    if not lines:
        raise ValueError(f"{name} is empty; allowed: a line per example, numbers and a label")
    return lines


def _decimal_point(cell: str) -> str:
    pointed = cell.replace(",", ".")
    return pointed if cell.count(",") == 1 and _parsed(pointed) is not None else cell


def _header(lines: list[Line]) -> list[str] | None:
    """The names in line 1, or None where it is an example."""
    first = lines[0][1]
    if any(first[1:]) and all(_parsed(cell) is None for cell in first):
        return first
    for j, cell in enumerate(first):
        if cell.lower() in LABEL_NAMES and not any(cell == cells[j] for _, cells in lines[1:] if j < len(cells)):
            return first
    return None


def _label_column(name: str, header: list[str] | None, width: int, wanted: str | int | None) -> int:
    names = [] if header is None else [cell.lower() for cell in header]
    if wanted is None:
        known = [called for called in LABEL_NAMES if called in names and not (called == "y" and "x" in names)]
        return names.index(known[0]) if known else width - 1
    if isinstance(wanted, str) and wanted.lower() in names:
        return names.index(wanted.lower())
    if isinstance(wanted, int) and not isinstance(wanted, bool) and 1 <= wanted <= width:
        return wanted - 1
    columns = f"a number from 1 to {width}" if header is None else f"{', '.join(header[:20])}, or 1 to {width}"
    raise ValueError(f"label is {wanted!r}, which is no column of {name}; allowed: {columns}")


def _is_index(name: str) -> bool:
    return name == "" or name.lower().startswith("unnamed:")


def _shown(header: list[str] | None, j: int) -> str:
    return f"column {j + 1}" if header is None else f"column {j + 1}, {header[j]!r}"


def _label(name: str, line: int, shown: str, cell: str) -> str:
    """A label as text; 3 and 3.0 are the same."""
    if cell.lower() in _MISSING - {"-", "none"}:
        raise ValueError(f"{name}, line {line}, {shown} has no label; allowed: a label in every row. {UNLABELLED}")
    value = _parsed(cell)
    return cell if value is None or not math.isfinite(value) else f"{value:.15g}"


def _number(name: str, line: int, header: list[str] | None, j: int, cell: str) -> float:
    value = _parsed(cell)
    if value is not None and abs(value) <= LARGEST:
        return value
    if cell.lower() in _MISSING:
        wrong = f"is {cell!r}, a missing value" if cell else "is empty"
        advice = "Fill such cells in, or leave their rows or columns out"
    elif value is not None:
        wrong, advice = f"is {cell!r}", f"Finite ones, up to {LARGEST:g} in size"
    else:
        wrong = f"is the text {cell[:40]!r}"
        advice = "Only labels may be text: name their column 'label', or put it last"
    raise ValueError(f"{name}, line {line}, {_shown(header, j)} {wrong}; allowed: a number. {advice}")


def _parsed(cell: str) -> float | None:
    if "_" in cell:  # Python reads 1_000 as a number, tables do not
        return None
    try:
        return float(cell)
    except ValueError:
        return None
