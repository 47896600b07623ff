"""Writes TensorFlow checkpoints as the format's description says, whole or with faults, for tests of the reader."""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from metarules.pretrained.sstable import MAGIC, crc32c, masked  # held to published vectors by test_tf_checkpoint

NUMBERS = {"float32": 1, "float64": 2, "int32": 3, "uint8": 4, "int64": 9, "bool": 10, "float16": 19}
HEADER = bytes.fromhex("08011a020801")  # one data file, little endian, version {producer: 1}
RESTART = 16  # entries


def varint(number: int) -> bytes:
    low, rest = number & 0x7F, number >> 7
    return bytes([low | 0x80]) + varint(rest) if rest else bytes([low])


def field(number: int, value: int | bytes) -> bytes:
    """One field of a protocol buffer: a whole number or bytes."""
    if isinstance(value, bytes):
        return varint(number << 3 | 2) + varint(len(value)) + value
    return varint(number << 3) + varint(value)


def entry(array: np.ndarray, at: int, /, **other: Any) -> bytes:
    """BundleEntryProto; `other` replaces dtype, shape, shard, offset, size or crc, or adds `more`."""
    data = array.tobytes()
    told = {"dtype": NUMBERS[array.dtype.name], "shape": array.shape, "shard": 0, "offset": at, "size": len(data)}
    told |= {"crc": masked(crc32c(data)), "more": b""} | other
    message = field(1, told["dtype"]) + field(2, b"".join(field(2, field(1, n)) for n in told["shape"]))
    message += field(3, told["shard"]) + field(4, told["offset"]) + field(5, told["size"])
    return message + varint(6 << 3 | 5) + struct.pack("<I", told["crc"]) + told["more"]


def block(entries: Sequence[tuple[bytes, bytes]], kind: int = 0) -> bytes:
    """A block with its trailer."""
    data, restarts, last = b"", [], b""
    for i, (key, value) in enumerate(entries):
        shared = 0
        if i % RESTART == 0:
            restarts.append(len(data))
        else:
            while shared < min(len(key), len(last)) and key[shared] == last[shared]:
                shared += 1
        data += varint(shared) + varint(len(key) - shared) + varint(len(value)) + key[shared:] + value
        last = key
    restarts = restarts or [0]
    return sealed(data + struct.pack(f"<{len(restarts) + 1}I", *restarts, len(restarts)), kind)


def sealed(contents: bytes, kind: int = 0) -> bytes:
    """A block's contents with their trailer."""
    contents += bytes([kind])
    return contents + struct.pack("<I", masked(crc32c(contents)))


def table(blocks: Sequence[bytes], last_keys: Sequence[bytes] | None = None) -> bytes:
    """A whole table out of sealed blocks."""
    data, handles = b"", []
    for one in [*blocks, block([])]:
        handles.append(varint(len(data)) + varint(len(one) - 5))
        data += one
    keys = last_keys or [bytes([i]) for i in range(len(blocks))]
    index = block(list(zip(keys, handles, strict=False)))
    handles.append(varint(len(data)) + varint(len(index) - 5))
    footer = handles[-2] + handles[-1]
    return data + index + footer.ljust(40, b"\0") + MAGIC


def index_of(entries: Mapping[bytes, bytes], per_block: int = 5) -> bytes:
    """The index file that holds these entries, in their order, a few to a block."""
    pairs = list(entries.items())
    return table([block(pairs[i : i + per_block]) for i in range(0, len(pairs), per_block)])


def written(arrays: Mapping[str, np.ndarray], *, header: bytes = HEADER, **other: Any) -> tuple[bytes, bytes]:
    """Both files; `other` maps names to what shall replace parts of their entries."""
    data, entries = b"", {b"": header}
    for name in sorted(arrays):
        entries[name.encode()] = entry(arrays[name], len(data), **other.get(name, {}))
        data += arrays[name].tobytes()
    return index_of(entries), data


def write(prefix: Path, arrays: Mapping[str, np.ndarray], **other: Any) -> Path:
    """Write both files."""
    prefix.parent.mkdir(parents=True, exist_ok=True)
    for ending, content in zip((".index", ".data-00000-of-00001"), written(arrays, **other), strict=True):
        prefix.with_name(prefix.name + ending).write_bytes(content)
    return prefix
