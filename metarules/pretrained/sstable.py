"""TensorFlow's table files (LevelDB's format), read without TensorFlow: sorted keys and their values, with checksums.

A table is a row of blocks and a footer of 48 bytes, which says where two blocks lie (each as offset and size) and ends
in a magic number. The first of these, the meta index, is empty here; the second, the index, says where the others lie.
A block is entries, four bytes for each restart point, four for their number, then a trailer: one byte for the
compression and the masked CRC-32C of all before it. An entry is three numbers (bytes shared with the key before,
further bytes of the key, bytes of the value), these further bytes, and the value.

Source: LevelDB's doc/table_format.md; tensorflow/core/lib/io/format.cc and block.cc.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from io import BufferedIOBase

FOOTER, TRAILER = 48, 5  # bytes
MAGIC = bytes.fromhex("57fb808b247547db")
LONGEST_KEY = 4096  # bytes: names of variables are far shorter, and a forged table cannot multiply a long one


def crc32c(data: bytes) -> int:
    """CRC-32C (Castagnoli) of some bytes: one table look-up a byte, some 10 MB a second."""
    crc = 0xFFFFFFFF
    for byte in data:
        crc = _CRC_TABLE[(crc ^ byte) & 0xFF] ^ (crc >> 8)
    return crc ^ 0xFFFFFFFF


def masked(crc: int) -> int:
    """A checksum as it is stored: turned by 15 bits and shifted, lest checksums of checksums coincide."""
    return ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF


def varint(data: bytes, at: int) -> tuple[int, int]:
    """A whole number below 2^64, seven bits a byte, the lowest first; the top bit says that more follow.

    Returns:
        The number, and the place behind it.

    Raises:
        ValueError: the bytes end within the number, or it is too long.
    """
    value = 0
    for shift in range(0, 70, 7):
        if at >= len(data):
            raise ValueError("a number ends too early")
        value |= (data[at] & 0x7F) << shift
        at += 1
        if data[at - 1] < 0x80:
            if value >> 64:
                break
            return value, at
    raise ValueError("a number has more than 64 bits")


def read_table(file: BufferedIOBase) -> dict[bytes, bytes]:
    """All keys of a table, in order, with their values. Every block's checksum is checked.

    Args:
        file: open for reading, from which it can seek.

    Raises:
        ValueError: truncated, changed, compressed, or no table; the message says which, and where.
    """
    size = file.seek(0, os.SEEK_END)
    footer = read_at(file, size - FOOTER, FOOTER) if size >= FOOTER else b""
    if not footer.endswith(MAGIC):
        raise ValueError(f"its {size} bytes do not end as a TensorFlow table does: it is truncated, or something else")
    end = size - FOOTER
    meta, at = _handle(footer, 0)
    index, _ = _handle(footer, at)
    list(_entries(_block(file, meta, end)))
    table: dict[bytes, bytes] = {}
    last: bytes | None = None
    for _, handle in _entries(_block(file, index, end)):
        for key, value in _entries(_block(file, _handle(handle, 0)[0], end)):
            if last is not None and key <= last:  # which also keeps one block from being read for ever
                raise ValueError(f"the key {key!r} comes after {last!r}; its keys have to rise")
            table[key] = value
            last = key
    return table


def read_at(file: BufferedIOBase, offset: int, size: int) -> bytes:
    """`size` bytes from `offset` on; the caller has made sure that the file is that long."""
    file.seek(offset)
    return file.read(size)


def _handle(data: bytes, at: int) -> tuple[tuple[int, int], int]:
    """Where a block lies: (offset, size), and the place behind these two numbers."""
    offset, at = varint(data, at)
    size, at = varint(data, at)
    return (offset, size), at


def _block(file: BufferedIOBase, handle: tuple[int, int], end: int) -> bytes:
    """The entries of a block, without restart points and trailer."""
    offset, size = handle
    if offset + size + TRAILER > end:
        raise ValueError(f"it has a block of {size} bytes at {offset}, but blocks end at {end}: it is truncated")
    data = read_at(file, offset, size + TRAILER)
    if masked(crc32c(data[: size + 1])) != int.from_bytes(data[size + 1 :], "little"):
        raise ValueError(f"the block at byte {offset} does not fit its checksum: some of its bytes have changed")
    if data[size] != 0:
        raise ValueError(f"the block at byte {offset} is compressed, which TensorFlow does not do from 1.2 on")
    restarts = int.from_bytes(data[max(size - 4, 0) : size], "little")
    stop = size - 4 * (restarts + 1)
    if stop < 0:
        raise ValueError(f"the block at byte {offset} has {size} bytes and {restarts} restart points")
    return data[:stop]


def _entries(block: bytes) -> Iterator[tuple[bytes, bytes]]:
    at, key = 0, b""
    while at < len(block):
        shared, at = varint(block, at)
        further, at = varint(block, at)
        length, at = varint(block, at)
        if shared > len(key) or shared + further > LONGEST_KEY or at + further + length > len(block):
            raise ValueError(f"the entry after {key!r} does not fit into its block")
        key = key[:shared] + block[at : at + further]
        at += further + length
        yield key, block[at - length : at]


def _crc_of_byte(byte: int) -> int:
    for _ in range(8):
        byte = byte >> 1 ^ (0x82F63B78 if byte & 1 else 0)
    return byte


_CRC_TABLE = tuple(map(_crc_of_byte, range(256)))
