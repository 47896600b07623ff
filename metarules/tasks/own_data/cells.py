"""From the bytes of a table to rows of cells: encoding, separator, line of names.

A file of 30 million bytes can hold 15 million cells, and each of them costs fifty bytes as Python text: so rows are
read one at a time, several times over where need be.
"""

from __future__ import annotations

import codecs
import csv
import io
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice

from metarules.tasks.own_data.asked import MAX_EXAMPLES, SEPARATORS, Asked
from metarules.tasks.own_data.numbers import find_decimal, is_number

LABEL_NAMES = {
    *("label", "labels", "class", "classes", "target", "species", "diagnosis", "survived", "outcome", "quality"),
    *("variety", "category", "y"),
}
SAMPLE = 200  # lines that separator, header and decimal mark are judged by
_MAX_LINE = 1_000_000  # characters
_SEP_LINE = re.compile(rb'(?:\xef\xbb\xbf)?"?sep=(.)"?[\r\n]', re.IGNORECASE)

Row = tuple[int, list[str]]  # number of the line in the file, from 1, and its cells


@dataclass(frozen=True)
class Cells:
    """A table that can be gone through: how it is cut into cells, and the names in its first line.

    Attributes:
        name: of the file.
        data: its bytes.
        separator: between cells.
        skip: lines before the first example that hold no example.
        names: of the columns, None where line 1 is an example.
        decimal: "." or ",".
        counted: whether the names are 0, 1, 2 ..
    """

    name: str
    data: bytes
    separator: str
    skip: int
    names: list[str] | None
    decimal: str
    counted: bool

    def rows(self) -> Iterator[Row]:
        """The examples."""
        return islice(_rows(self.name, self.data, self.separator), self.skip, None)


def find_cells(name: str, data: bytes, asked: Asked) -> Cells:
    """Decide how a table is cut, by rules 1 to 3 of `read_dataset`.

    Raises:
        ValueError: what is no text, no table, or can be read in two ways.
    """
    _check_text(name, data)
    said = _SEP_LINE.match(data)
    skip = int(said is not None)
    separator = asked.separator or (said and said[1].decode("latin1")) or _find_separator(name, data)
    if separator not in SEPARATORS:
        raise ValueError(f"{name} begins with sep={separator}; allowed: {', '.join(map(repr, SEPARATORS))}")
    sample = [cells for _, cells in islice(_rows(name, data, separator), skip, SAMPLE)]
    if not sample:
        raise ValueError(f"{name} is empty; allowed: a line per example, numbers and a label")
    first, rest = sample[0], sample[1:]
    counted = _counts(first)
    names = first if (_is_header(first, rest) if asked.header is None else asked.header) else None
    decimal = asked.decimal or find_decimal(name, (cell for cells in sample for cell in cells), separator)
    names = names and [cell.lstrip("#").strip() for cell in names]
    if names and rest and {len(cells) for cells in rest} == {len(names) + 1}:
        # lines end in a separator, or begin with row names, which R gives no name
        names = [*names, ""] if not any(cells[-1] for cells in rest) else ["", *names]
    return Cells(name, data, separator, skip + (names is not None), names, decimal, names is not None and counted)


_MARKS = {  # the mark of UTF-32 begins with that of UTF-16
    codecs.BOM_UTF32_LE: "UTF-32",
    codecs.BOM_UTF32_BE: "UTF-32",
    codecs.BOM_UTF16_LE: "UTF-16",
    codecs.BOM_UTF16_BE: "UTF-16",
}


def _check_text(name: str, data: bytes) -> None:
    if coding := next((coding for mark, coding in _MARKS.items() if data.startswith(mark)), None):
        raise ValueError(f"{name} is {coding} text; allowed: UTF-8. Save it as 'CSV UTF-8'")
    try:
        data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise ValueError(
            f"{name}, line {line} holds the byte 0x{data[error.start]:02x}, which is no UTF-8 text; allowed: UTF-8. "
            "Save it as 'CSV UTF-8'"
        ) from None
    if data.count(b"\n") + data.count(b"\r") > 10 * MAX_EXAMPLES:
        raise ValueError(f"{name} holds more than {10 * MAX_EXAMPLES} line ends; allowed: up to {MAX_EXAMPLES} lines")


def _lines(name: str, data: bytes) -> Iterator[str]:
    stream = io.TextIOWrapper(io.BytesIO(data), encoding="utf-8-sig", newline="")
    for i, line in enumerate(stream, start=1):
        if len(line) > _MAX_LINE:
            raise ValueError(f"{name}, line {i} holds {len(line)} characters; allowed: up to {_MAX_LINE}")
        yield line


def _rows(name: str, data: bytes, separator: str) -> Iterator[Row]:
    """The lines that are not blank, cut into cells."""
    reader = csv.reader(_lines(name, data), delimiter=separator, strict=True, skipinitialspace=True)
    padded = b" " in data or b"\t" in data
    try:
        for cells in reader:
            if padded:
                cells = [cell.strip() for cell in cells]
            if any(cells):
                yield reader.line_num, cells
    except csv.Error as error:
        at = f"{name}, line {reader.line_num}"
        raise ValueError(f"{at} is no CSV ({error}); allowed: cells between {separator!r}") from None


def _find_separator(name: str, data: bytes) -> str:
    """The separator by which most cells are numbers, in lines of equally many cells."""
    scores = dict.fromkeys(SEPARATORS, 0.0)
    for separator in SEPARATORS:
        try:
            sample = [cells for _, cells in islice(_rows(name, data, separator), SAMPLE)]
        except ValueError:
            continue
        width = Counter(map(len, sample)).most_common(1)[0][0] if sample else 1
        whole = [cells for cells in sample if len(cells) == width > 1]
        numbers = sum(is_number(cell) for cells in whole for cell in cells)
        scores[separator] = numbers / max(1, sum(map(len, sample))) * len(whole) / max(1, len(sample))
    if any(scores.values()):
        return max(SEPARATORS, key=lambda separator: scores[separator])
    start = data[:10_000].decode("utf-8-sig", "ignore").strip().splitlines() or [""]
    return max(SEPARATORS[:-1], key=start[0].count)


def _is_header(first: list[str], rest: list[list[str]]) -> bool:
    if _counts(first) or (any(first[1:]) and not any(map(is_number, first))):
        return True
    known = [j for j, cell in enumerate(first) if cell.lstrip("# ").lower() in LABEL_NAMES]
    return any(all(j >= len(cells) or cells[j] != first[j] for cells in rest) for j in known)


def _counts(cells: list[str]) -> bool:
    """Whether cells are 0, 1, 2 .. or 1, 2, 3 .., as data frames without names have them; the index may be nameless."""
    given = cells[1:] if cells[0] == "" else cells
    return len(given) > 1 and any(given == [str(i + start) for i in range(len(given))] for start in (0, 1))
