"""Read a TensorFlow checkpoint (its second format, "V2") without TensorFlow.

`prefix.index` is a table (see `sstable`) from the name of a variable to a protocol buffer, BundleEntryProto, which says
its dtype, its shape, where its bytes lie in `prefix.data-00000-of-00001`, and their masked CRC-32C. The empty name has
a BundleHeaderProto. Source: tensorflow/core/protobuf/tensor_bundle.proto and its neighbours.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from io import BufferedIOBase

import numpy as np

from metarules._files import naming
from metarules.pretrained.sstable import crc32c, masked, read_at, read_table, varint
from metarules.pretrained.tf_files import ALLOWED, DATA, INDEX, TFFiles

VERSION = 1  # of the format; tensor_bundle.cc
LARGEST = 2**48  # numbers; an empty array may have absurd dimensions
_CODES = {1: "f4", 2: "f8", 3: "i4", 4: "u1", 5: "i2", 6: "i1", 8: "c8", 9: "i8", 10: "b1"}
_CODES |= {17: "u2", 18: "c16", 19: "f2", 22: "u4", 23: "u8"}
DTYPES = {number: np.dtype(code) for number, code in _CODES.items()}  # TensorFlow's numbers; types.proto


@dataclass(frozen=True)
class TFVariable:
    """What the index says of a variable.

    Attributes:
        dtype, shape: of the array.
        offset, size: where its bytes lie in the data file, and how many there are.
        crc: their masked CRC-32C.
    """

    dtype: np.dtype
    shape: tuple[int, ...]
    offset: int
    size: int
    crc: int


class TFCheckpoint:
    """A checkpoint whose variables are known by its index; their values are read when asked for.

    Args:
        path: the prefix that its files share, or one of these, or a folder or zip archive that holds one checkpoint.

    Attributes:
        name: the prefix, without folders.
        variables: name -> what the index says of it, sorted by name.

    Raises:
        ValueError: truncated, changed, or no checkpoint; the message names the file and what is wrong with it.
        FileNotFoundError: a path that leads nowhere.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self._files = TFFiles(path)
        self.name = self._files.prefix
        with self._files.open(INDEX) as file:
            try:
                self.variables = _read_index(file)
            except ValueError as error:
                raise ValueError(f"{self.name}{INDEX}: {error}; allowed: {ALLOWED}") from error

    def read(self, names: Iterable[str]) -> dict[str, np.ndarray]:
        """Arrays by name, their checksums checked.

        Raises:
            ValueError: bytes that are missing or have changed, naming the variable.
        """
        arrays = {}
        with self._files.open(DATA) as file:
            length = file.seek(0, os.SEEK_END)
            for name in names:
                v = self.variables[name]
                if v.offset + v.size > length:
                    wrong = f"{name} lies at bytes {v.offset} to {v.offset + v.size} of {length}: the file is truncated"
                    raise ValueError(f"{self.name}{DATA}: {wrong}; allowed: {ALLOWED}")
                data = read_at(file, v.offset, v.size)
                if masked(crc32c(data)) != v.crc:
                    wrong = f"{name} does not fit its checksum: its bytes have changed, or belong to another index"
                    raise ValueError(f"{self.name}{DATA}: {wrong}; allowed: {ALLOWED}")
                arrays[name] = np.frombuffer(data, v.dtype.newbyteorder("<")).reshape(v.shape).astype(v.dtype)
        return arrays


def read_tf_checkpoint(prefix: str | os.PathLike[str]) -> dict[str, np.ndarray]:
    """All variables of a TensorFlow checkpoint, by name, without TensorFlow.

    Args:
        prefix: what its two files share (`model.ckpt` for `model.ckpt.index` and `model.ckpt.data-00000-of-00001`), or
            one of these, or a folder or zip archive that holds one checkpoint.

    Returns:
        TensorFlow name -> array, as stored: `PaperRule.from_tf_variables` makes a rule of the authors' theta.

    Raises:
        ValueError: truncated, changed, or no such checkpoint: the message names file, variable and what is wrong.
        OSError: a path that leads nowhere or to what cannot be read, or a missing data file.

    Example:
        rule = PaperRule.from_tf_variables(read_tf_checkpoint("200_tf_graph.zip"))
    """
    if not os.fspath(prefix):
        raise ValueError(f"prefix is {prefix!r}; allowed: {ALLOWED}")
    with naming("prefix", prefix):
        checkpoint = TFCheckpoint(prefix)
        return checkpoint.read(checkpoint.variables)


def _read_index(file: BufferedIOBase) -> dict[str, TFVariable]:
    """The header, which is checked and left out, and all variables."""
    table = read_table(file)
    if b"" not in table:
        raise ValueError("it has no header: it is a table of something else")
    header = dict(_fields(table.pop(b"")))
    if header.get(1, 0) != 1:
        raise ValueError(f"its data are in {header.get(1, 0)!r} files; one is what this reader knows")
    if header.get(2, 0) != 0:
        raise ValueError("its numbers have their high bytes first; the other order is what this reader knows")
    version = header.get(3, b"")
    needed = dict(_fields(version)).get(2, 0) if isinstance(version, bytes) else 0
    if needed not in (0, VERSION):
        raise ValueError(f"it wants a reader of version {needed!r}; this one is of version {VERSION}")
    found = {}
    for key, value in table.items():
        name = key.decode(errors="backslashreplace")
        try:
            found[name] = _variable(value)
        except ValueError as error:
            raise ValueError(f"{name}: {error}") from error
    return found


def _variable(message: bytes) -> TFVariable:
    """BundleEntryProto."""
    numbers = {1: 0, 3: 0, 4: 0, 5: 0, 6: 0}  # dtype, shard, offset, size, checksum
    shape: tuple[int, ...] = ()
    for field, value in _fields(message):
        if field == 7:
            raise ValueError("it is stored in slices; whole variables are what this reader knows")
        if field == 2 and isinstance(value, bytes):
            shape = tuple(_dimension(v) for f, v in _fields(value) if f == 2 and isinstance(v, bytes))
        elif field in numbers and isinstance(value, int):
            numbers[field] = value
    number, shard, offset, size, crc = numbers.values()
    if number not in DTYPES:
        raise ValueError(f"it has TensorFlow's dtype {number}; numbers and booleans are what this reader knows")
    dtype = DTYPES[number]
    if shard != 0:
        raise ValueError(f"it lies in data file {shard}, and there is one, 0")
    if math.prod(shape) * dtype.itemsize != size or math.prod(filter(None, shape)) > LARGEST or len(shape) > 32:
        raise ValueError(f"it has shape {list(shape)} and dtype {dtype}, but {size} bytes")
    return TFVariable(dtype, shape, offset, size, crc)


def _dimension(message: bytes) -> int:
    """TensorShapeProto.Dim."""
    size = dict(_fields(message)).get(1, 0)
    if not isinstance(size, int) or size >= 2**31:
        raise ValueError("one of its dimensions is unknown")
    return size


def _fields(message: bytes) -> Iterator[tuple[int, int | bytes]]:
    """The fields of a protocol buffer by their number: whole numbers, and bytes (of texts or of further buffers)."""
    at = 0
    while at < len(message):
        tag, at = varint(message, at)
        field, kind = tag >> 3, tag & 7
        if kind == 0:
            value, at = varint(message, at)
            yield field, value
            continue
        size = {1: 8, 5: 4}.get(kind)
        if kind == 2:
            size, at = varint(message, at)
        if size is None or at + size > len(message):
            raise ValueError("its entry is no protocol buffer")
        raw, at = message[at : at + size], at + size
        yield field, raw if kind == 2 else int.from_bytes(raw, "little")
