"""Arrays saved by NumPy, .npy and .npz: what the file says it holds is checked before anything is loaded."""

from __future__ import annotations

import io
import math
import zipfile
from typing import Any

import numpy as np

from metarules.tasks.own_data.asked import LARGEST, MAX_BYTES, Asked, Raw
from metarules.tasks.own_data.columns import Column, left_out, notes_on
from metarules.tasks.own_data.names import check_numbers

_HOW = "numpy.savez('digits.npz', x=..., y=...)"
_MAX_HEADER = 10_000  # bytes; numpy's own limit


def read_npy(name: str, data: bytes, labels: tuple[str, bytes] | None, asked: Asked) -> Raw:
    """Read examples [N, n] or [N, height, width], and their labels [N] from a second file, if there is one.

    Args:
        name: of the file of examples, for messages.
        data: its bytes.
        labels: name and bytes of the file of labels.
        asked: the options.

    Raises:
        ValueError: what is wrong with either.
    """
    y = None if labels is None else _array(*labels)
    return _raw(name, _array(name, data), "" if labels is None else labels[0], y, asked)


def read_npz(name: str, data: bytes, asked: Asked) -> Raw:
    """Read examples x [N, n] or [N, height, width] and labels y [N], if there are any, from one file.

    Raises:
        ValueError: what is wrong with it.
    """
    try:
        archive = zipfile.ZipFile(io.BytesIO(data))
        sizes = {entry.filename: entry.file_size for entry in archive.infolist()}
    except Exception as error:  # a damaged directory fails in as many ways as there are fields in it
        raise _unreadable(name, error) from None
    if "x.npy" not in sizes:
        held = ", ".join(sorted(sizes)[:10]) or "nothing"
        raise ValueError(f"{name} holds {held}; allowed: x.npy and, for labels, y.npy, as made by {_HOW}")
    wanted = [entry for entry in ("x.npy", "y.npy") if entry in sizes]
    if (size := sum(sizes[entry] for entry in wanted)) > MAX_BYTES:
        raise ValueError(f"{name} unpacks to {size} bytes; allowed: up to {MAX_BYTES}")
    try:
        contents = [archive.read(entry) for entry in wanted]
    except Exception as error:
        raise _unreadable(name, error) from None
    arrays = [_array(f"{entry[0]} in {name}", content) for entry, content in zip(wanted, contents, strict=True)]
    return _raw(name, arrays[0], f"y in {name}", arrays[1] if arrays[1:] else None, asked)


def _unreadable(name: str, error: Exception) -> ValueError:
    return ValueError(f"{name} cannot be read as npz ({error}); allowed: a file made by {_HOW}")


def _raw(name: str, x: np.ndarray, labels_name: str, y: np.ndarray | None, asked: Asked) -> Raw:
    if asked.label not in (None, False):
        raise ValueError(f"label is {asked.label!r}; allowed for arrays: None, or False to leave their labels aside")
    asked.refuse("arrays", "header", "separator", "decimal", *(("drop", "keep") if x.ndim == 3 else ()))
    if x.ndim not in (2, 3) or 0 in x.shape:
        raise ValueError(f"{name} has shape {list(x.shape)}; allowed: [N, n] or [N, height, width], none of them 0")
    if x.dtype.kind not in "biuf":
        raise ValueError(f"{name} has dtype {x.dtype}; allowed: whole or floating numbers")
    check_numbers(name, len(x), x[0].size)
    rows = x.reshape(len(x), -1).astype(np.float64)
    bad = np.argwhere(~(np.abs(rows) <= LARGEST))
    if len(bad):
        row, place = bad[0]
        raise ValueError(
            f"{name}, row {row + 1}, value {place + 1} is {rows[row, place]:g} ({len(bad)} such values in all); "
            f"allowed: finite numbers, up to {LARGEST:g} in size"
        )
    labels = None if y is None or asked.label is False else _labels(labels_name, y, len(x))
    if x.ndim == 3:
        return Raw(name, rows, labels, labels_name, (int(x.shape[1]), int(x.shape[2])))
    columns = [Column(j + 1, "", rows[:, j]) for j in range(rows.shape[1])]
    out = left_out(columns, asked, name)
    if len(out) == len(columns):
        raise ValueError(f"{name} holds no column that is not left out; allowed: columns of numbers (see keep=, drop=)")
    kept = [c.number - 1 for c in columns if c.number not in out]
    return Raw(name, rows[:, kept], labels, labels_name, None, ("",) * len(kept), tuple(notes_on(columns, out)))


def _labels(name: str, y: np.ndarray, n: int) -> list[str]:
    """Labels as text, different ones different: whole numbers as such, others with all their digits."""
    if y.shape != (n,):
        raise ValueError(f"{name} has shape {list(y.shape)}; allowed: [{n}], one label for each example")
    if y.dtype.kind not in "biufUS":
        raise ValueError(f"{name} has dtype {y.dtype}; allowed: whole numbers or text")
    if y.dtype.kind == "f" and not np.isfinite(y).all():
        row = int(np.flatnonzero(~np.isfinite(y))[0])
        raise ValueError(f"{name}, row {row + 1} is {y[row]:g}; allowed: a label for each example")
    if y.dtype.kind == "S":
        try:
            return [bytes(label).decode() for label in y]
        except UnicodeDecodeError as error:
            raise ValueError(f"{name} holds the label {error.object!r}; allowed: UTF-8 text") from None
    found = [str(int(v)) if y.dtype.kind in "biu" else str(v).removesuffix(".0") for v in y]
    if "" in found:
        raise ValueError(f"{name}, row {found.index('') + 1} is ''; allowed: a label for each example")
    return found


def _array(name: str, data: bytes) -> np.ndarray:
    """The array in the bytes of an npy file; pickled objects are refused, since loading them can run any program."""
    stream = io.BytesIO(data)
    try:
        version = np.lib.format.read_magic(stream)
        header: Any = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, _, dtype = header(stream, max_header_size=_MAX_HEADER)
    except Exception as error:  # a damaged header is parsed as Python, and fails in as many ways
        raise ValueError(f"{name} cannot be read as npy ({error}); allowed: a file made by numpy.save") from None
    if dtype.hasobject:
        raise ValueError(f"{name} holds Python objects; allowed: an array of numbers, or of text labels")
    wanted, there = math.prod(shape) * dtype.itemsize, len(data) - stream.tell()
    if wanted != there:
        raise ValueError(
            f"{name} should hold {wanted} bytes of numbers (shape {list(shape)}), but holds {there}; allowed: a "
            "whole file"
        )
    stream.seek(0)
    return np.asarray(np.load(stream, allow_pickle=False))
