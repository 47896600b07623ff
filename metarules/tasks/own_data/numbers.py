"""Numbers as people write them: decimal points and commas, thousands, True and False, and what stands for nothing."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterable

MISSING = {"", "na", "n/a", "nan", "<na>", "null", "none", "?", "-"}  # and what spreadsheets begin with #: #N/A, #REF!
_WORDS = {"true": 1.0, "false": 0.0}
_MARKED = re.compile(r"[+-]?(\d*)((?:[.,]\d*)+)(e[+-]?\d+)?", re.IGNORECASE)
_GROUP = re.compile(r"([.,])(\d*)")
_OTHER = {".": ",", ",": "."}


def is_missing(cell: str) -> bool:
    """Whether a cell says that there is no value."""
    return cell.lower() in MISSING or cell.startswith("#")


def mark_of(cell: str) -> str | None:
    """The decimal mark that a cell shows: "." or ","; "?" where it could be either, as in 94.940; None: no such number.

    What separates groups of three digits is no decimal mark, where that can be told: 1.234.567 and 1.234,5 have commas.
    """
    found = _MARKED.fullmatch(cell)
    if not found or not any(map(str.isdigit, cell)):
        return None
    groups: list[tuple[str, str]] = _GROUP.findall(found[2])
    marks, (last, _) = [mark for mark, _ in groups], groups[-1]
    *before, (_, after) = groups
    leads = 1 <= len(found[1]) <= 3 and found[1][0] != "0"
    grouped = leads and all(len(digits) == 3 for _, digits in before)
    if len(groups) == 1:
        return "?" if leads and len(after) == 3 and not found[3] else last
    if len(set(marks)) == 1:
        return _OTHER[last] if grouped and len(after) == 3 else None
    return last if grouped and marks.count(last) == 1 else None


def number(cell: str, decimal: str) -> float:
    """The value of a cell whose decimal mark is `decimal`; True and False are 1 and 0, NaN is what is no number."""
    if "," in cell or ("." in cell and decimal == ","):
        if mark_of(cell) not in (decimal, "?"):
            return math.nan
        cell = cell.replace(_OTHER[decimal], "").replace(decimal, ".")
    try:
        return math.nan if "_" in cell else float(cell)  # Python reads 1_000 as a number, tables do not
    except ValueError:
        return _WORDS.get(cell.lower(), math.nan)


def is_number(cell: str) -> bool:
    """Whether a cell is a number, whichever mark it has."""
    return mark_of(cell) is not None or not math.isnan(number(cell, "."))


def find_decimal(name: str, cells: Iterable[str], separator: str) -> str:
    """The decimal mark of a file, by rule 3 of `read_dataset`.

    Raises:
        ValueError: all that could tell is numbers like 94.940.
    """
    marked = [cell for cell in cells if "." in cell or "," in cell]
    seen = Counter(map(mark_of, marked))
    if seen["."] or seen[","]:
        return max(".,", key=lambda mark: seen[mark])
    if seen["?"] and separator != ",":
        cell = next(cell for cell in marked if mark_of(cell) == "?")
        points, commas = number(cell, "."), number(cell, ",")
        raise ValueError(
            f"{name} holds {cell}, which can mean {points:.15g} or {commas:.15g}; allowed: numbers that show which, or "
            "decimal='.' or decimal=',', which says it"
        )
    return "."
