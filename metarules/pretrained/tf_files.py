"""The two files of a TensorFlow checkpoint, in a folder or in a zip archive."""

from __future__ import annotations

import io
import os
import zipfile
from collections.abc import Mapping
from io import BufferedIOBase
from pathlib import Path

INDEX, DATA = ".index", ".data-00000-of-00001"
ALLOWED = f"a checkpoint as TensorFlow wrote it, {INDEX} and {DATA}, in a folder or a zip archive"
LARGEST_PACKED = 2**28  # bytes of a file taken out of an archive; the authors' have 464,096


class TFFiles:
    """Finds the files and opens them.

    Args:
        path: the prefix that the files share, or one of them, or a folder or zip archive that holds one checkpoint.

    Attributes:
        prefix: what the files share, without folders.

    Raises:
        ValueError: something else, a damaged archive, or several checkpoints.
        FileNotFoundError: a path that leads nowhere.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        path = Path(path)
        self._archive = path if path.is_file() and (path.suffix == ".zip" or zipfile.is_zipfile(path)) else None
        self._packed: Mapping[str, zipfile.ZipInfo] = _contents(path) if self._archive else {}
        if self._archive or path.is_dir():
            names = self._packed if self._archive else os.listdir(path)
            found = [name for name in names if name.endswith(INDEX)]
            self._folder, self._name = path, _only_one(path.name or str(path), found)
        else:
            ending = next((ending for ending in (INDEX, DATA) if path.name.endswith(ending)), "")
            self._folder, self._name = path.parent, path.name.removesuffix(ending)
            if not (self._folder / f"{self._name}{INDEX}").is_file() and path.is_file() and ending != DATA:
                raise ValueError(f"{path.name} is neither an index nor a zip archive; allowed: {ALLOWED}")
        self.prefix = self._name.rpartition("/")[-1]

    def open(self, ending: str) -> BufferedIOBase:
        """The index or the data file, for reading and seeking.

        Raises:
            FileNotFoundError: it is not there.
            ValueError: it cannot be unpacked.
        """
        name = f"{self._name}{ending}"
        found = name in self._packed if self._archive else (self._folder / name).is_file()
        if not found:
            where = self._archive.name if self._archive else str(self._folder)
            raise FileNotFoundError(f"{name} is not in {where}; allowed: {ALLOWED}")
        return _unpacked(self._archive, self._packed[name]) if self._archive else (self._folder / name).open("rb")


def _only_one(where: str, indices: list[str]) -> str:
    """The prefix of the one checkpoint there; hidden files, as macOS packs them, do not count."""
    prefixes = sorted(name.removesuffix(INDEX) for name in indices if not name.rpartition("/")[-1].startswith("."))
    if len(prefixes) != 1:
        raise ValueError(f"{where} holds {', '.join(prefixes) or 'no checkpoint'}; allowed: {ALLOWED}, one of them")
    return prefixes[0]


def _contents(path: Path) -> dict[str, zipfile.ZipInfo]:
    try:
        with zipfile.ZipFile(path) as archive:
            return {info.filename: info for info in archive.infolist()}
    except Exception as error:  # damage makes zipfile raise errors of many classes
        raise ValueError(f"{path.name} is a damaged zip archive, or none ({error}); allowed: {ALLOWED}") from error


def _unpacked(path: Path, info: zipfile.ZipInfo) -> BufferedIOBase:
    if info.file_size > LARGEST_PACKED:
        size = f"{info.filename} in {path.name} has {info.file_size:,} bytes"
        raise ValueError(f"{size}; allowed: {LARGEST_PACKED:,}, or the archive unpacked")
    if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise ValueError(f"{info.filename} in {path.name} is packed by method {info.compress_type}; allowed: 0 or 8")
    try:
        with zipfile.ZipFile(path) as archive:
            return io.BytesIO(archive.read(info))
    except Exception as error:  # as above
        wrong = f"{info.filename} in {path.name} cannot be unpacked ({error})"
        raise ValueError(f"{wrong}; allowed: {ALLOWED}") from error
