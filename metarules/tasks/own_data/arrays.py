"""Arrays saved by NumPy, .npy and .npz: what the file says it holds is checked before anything is loaded."""

from __future__ import annotations

import io
import math
import zipfile
from typing import Any

import numpy as np

from metarules.tasks.own_data.finish import LARGEST, MAX_BYTES, Raw

_HOW = "numpy.savez('digits.npz', x=..., y=...)"
_MAX_HEADER = 10_000  # bytes; numpy's own limit


def read_npy(name: str, data: bytes, labels: tuple[str, bytes] | None) -> Raw:
    """Read examples [N, n] or [N, height, width], and their labels [N] from a second file.

    Args:
        name: of the file of examples, for messages.
        data: its bytes.
        labels: name and bytes of the file of labels.

    Raises:
        ValueError: what is wrong with either, or that there are no labels.
    """
    x = _array(name, data)
    if labels is None:
        stem = name.removesuffix(".npy")
        raise ValueError(
            f"{name} comes without labels; allowed: a second file {stem}_labels.npy beside it, one label per row, or "
            f"both in one file made by {_HOW}. The rule never sees them, but the probe that measures its features does"
        )
    return _raw(name, x, labels[0], _array(*labels))


def read_npz(name: str, data: bytes) -> Raw:
    """Read examples x [N, n] or [N, height, width] and labels y [N] from one file.

    Raises:
        ValueError: what is wrong with it.
    """
    try:
        archive = zipfile.ZipFile(io.BytesIO(data))
        sizes = {entry.filename.removesuffix(".npy"): entry.file_size for entry in archive.infolist()}
    except Exception as error:  # a damaged directory fails in as many ways as there are fields in it
        raise _unreadable(name, error) from None
    if not {"x", "y"} <= set(sizes):
        held = ", ".join(sorted(sizes)[:10]) or "nothing"
        raise ValueError(f"{name} holds {held}; allowed: arrays called x and y, as made by {_HOW}")
    if sizes["x"] + sizes["y"] > MAX_BYTES:
        raise ValueError(f"{name} unpacks to {sizes['x'] + sizes['y']} bytes; allowed: up to {MAX_BYTES}")
    try:
        contents = {key: archive.read(f"{key}.npy") for key in ("x", "y")}
    except Exception as error:
        raise _unreadable(name, error) from None
    x, y = (_array(f"{key} in {name}", content) for key, content in contents.items())
    return _raw(name, x, f"y in {name}", y)


def _unreadable(name: str, error: Exception) -> ValueError:
    return ValueError(f"{name} cannot be read as npz ({error}); allowed: a file made by {_HOW}")


def _raw(name: str, x: np.ndarray, labels_name: str, y: np.ndarray) -> Raw:
    if x.ndim not in (2, 3) or 0 in x.shape:
        raise ValueError(f"{name} has shape {list(x.shape)}; allowed: [N, n] or [N, height, width], none of them 0")
    if x.dtype.kind not in "biuf":
        raise ValueError(f"{name} has dtype {x.dtype}; allowed: whole or floating numbers")
    rows = x.reshape(len(x), -1).astype(np.float64)
    bad = np.argwhere(~(np.abs(rows) <= LARGEST))
    if len(bad):
        row, place = bad[0]
        raise ValueError(
            f"{name}, row {row + 1}, value {place + 1} is {rows[row, place]:g} ({len(bad)} such values in all); "
            f"allowed: finite numbers, up to {LARGEST:g} in size"
        )
    shape = (int(x.shape[1]), int(x.shape[2])) if x.ndim == 3 else None
    top = {"b": 1.0, "u": 255.0 if x.dtype == np.uint8 else None}.get(x.dtype.kind)
    return Raw(name, rows, _labels(labels_name, y, len(x)), shape, top, labels_name)


def _labels(name: str, y: np.ndarray, n: int) -> list[str]:
    if y.shape != (n,):
        raise ValueError(f"{name} has shape {list(y.shape)}; allowed: [{n}], one label for each example")
    if y.dtype.kind not in "biufUS":
        raise ValueError(f"{name} has dtype {y.dtype}; allowed: whole numbers or text")
    if y.dtype.kind == "f" and not np.isfinite(y).all():
        row = int(np.flatnonzero(~np.isfinite(y))[0])
        raise ValueError(f"{name}, row {row + 1} is {y[row]:g}; allowed: a label for each example")
    if y.dtype.kind == "S":
        return [bytes(label).decode("utf-8", "replace") for label in y]
    return [str(label) if y.dtype.kind == "U" else f"{float(label):.15g}" for label in y]


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
