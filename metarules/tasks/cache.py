"""Arrays that take a moment to make, kept on disk between sessions.

A cache may vanish, be damaged or be unwritable at any time; the answer is then the same, only slower, and a warning
says why.
"""

from __future__ import annotations

import hashlib
import io
import os
import sys
import warnings
import zipfile
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from metarules._files import write_atomically

VARIABLE = "METARULES_CACHE"  # environment variable naming the directory to use instead of the user's cache directory
_CHECKSUM = "sha256"  # name of the array that holds the checksum of the others


def cache_dir() -> Path:
    """The directory that holds our cache: METARULES_CACHE if set, else `metarules` in the user's cache directory."""
    named = os.environ.get(VARIABLE)
    if named:
        return Path(named).expanduser()
    if sys.platform == "win32":
        base = os.environ.get("LOCALAPPDATA") or "~/AppData/Local"
    elif sys.platform == "darwin":
        base = "~/Library/Caches"
    else:
        base = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(os.path.expanduser(base)) / "metarules"


def cached_arrays(name: str, make: Callable[[], dict[str, np.ndarray]]) -> dict[str, np.ndarray]:
    """Read arrays from the cache, or make them and store them there.

    Args:
        name: file name without ending; must change when what `make` returns changes.
        make: computes the arrays, by name.

    Returns:
        The arrays by name. A file that is truncated, altered or no archive is made again, with a warning; a directory
        that cannot be written to costs a warning as well.
    """
    path = cache_dir() / f"{name}.npz"
    try:
        return _read(path)
    except (FileNotFoundError, NotADirectoryError):
        pass
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        warnings.warn(f"the cache file {path} cannot be used ({error}); it is made again", RuntimeWarning, stacklevel=2)
    arrays = make()
    try:
        _write(path, arrays)
    except OSError as error:
        warnings.warn(
            f"cannot write the cache file {path} ({error}); set {VARIABLE} to a directory that can be written to",
            RuntimeWarning,
            stacklevel=2,
        )
    return arrays


def _read(path: Path) -> dict[str, np.ndarray]:
    with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
        arrays = {key: archive[key] for key in archive.files}
    if arrays.pop(_CHECKSUM).tobytes() != _checksum(arrays):
        raise ValueError("its checksum does not match")
    return arrays


def _write(path: Path, arrays: Mapping[str, np.ndarray]) -> None:
    """Write the arrays and their checksum in one piece: a reader or a second writer never meets half a file."""
    contents: dict[str, Any] = {**arrays, _CHECKSUM: np.frombuffer(_checksum(arrays), dtype=np.uint8)}
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **contents)
    write_atomically(path, buffer.getvalue())


def _checksum(arrays: Mapping[str, np.ndarray]) -> bytes:
    digest = hashlib.sha256()
    for key in sorted(arrays):
        array = np.ascontiguousarray(arrays[key])
        digest.update(f"{key} {array.dtype.str} {array.shape}".encode())
        digest.update(array.tobytes())
    return digest.digest()
