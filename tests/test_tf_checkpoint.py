"""The reader of TensorFlow checkpoints: TensorFlow's own bytes, files of ours, and files damaged in every way."""

from __future__ import annotations

import io
import re
import shutil
import tracemalloc
import zipfile
from pathlib import Path
from typing import Any

import hypothesis.strategies as st
import numpy as np
import pytest
import tf_writer
from hypothesis import example, given, settings
from tf_writer import HEADER, block, entry, field, index_of, sealed, table, write, written

from metarules.pretrained import read_tf_checkpoint, tf_files
from metarules.pretrained.sstable import crc32c, masked, read_table, varint
from metarules.pretrained.tf_checkpoint import TFCheckpoint

REFERENCE = Path(__file__).parent / "reference"
INDEX, DATA = ".index", ".data-00000-of-00001"

SMALL: dict[str, np.ndarray] = {
    **{f"net/layer_{i}/w": np.arange(6, dtype=np.float32).reshape(2, 3) + i for i in range(8)},
    "net/scale": np.array([0.1, -0.0, np.inf]),
    "net/on": np.array([[True], [False]]),
    "net/half": np.arange(3, dtype=np.float16),
    "net/none": np.zeros((0, 4), np.int32),
    "step": np.array(2**40 + 1),
}


@pytest.fixture
def small(tmp_path: Path) -> Path:
    return write(tmp_path / "model.ckpt", SMALL)


def index(prefix: Path) -> Path:
    return prefix.with_name(prefix.name + INDEX)


def data(prefix: Path) -> Path:
    return prefix.with_name(prefix.name + DATA)


def same(a: dict[str, np.ndarray], b: dict[str, np.ndarray]) -> bool:
    return set(a) == set(b) and all(
        a[k].dtype == b[k].dtype and a[k].shape == b[k].shape and a[k].tobytes() == b[k].tobytes() for k in a
    )


def packed(prefix: Path, folder: str = "unpacks to/", method: int = zipfile.ZIP_DEFLATED) -> Path:
    path = prefix.with_name("any.zip")
    with zipfile.ZipFile(path, "w", method) as archive:
        for file in (index(prefix), data(prefix)):
            archive.write(file, folder + file.name)
        archive.writestr(f"__MACOSX/{folder}._{index(prefix).name}", b"what macOS adds")
    return path


# ---------------------------------------------------------------------------------------------- what is read


def test_checksums_are_those_published():
    """RFC 3720, B.4; the mask of leveldb's crc32c.h turns by 15 bits and adds 0xa282ead8."""
    assert crc32c(b"123456789") == 0xE3069283
    assert crc32c(bytes(32)) == 0x8A9136AA
    assert crc32c(b"\xff" * 32) == 0x62A8AB43
    assert crc32c(bytes(range(32))) == 0x46DD794E
    assert crc32c(b"") == 0 and masked(0) == 0xA282EAD8


@given(st.integers(0, 2**64 - 1), st.binary(max_size=3))
@example(2**64 - 1, b"")
def test_numbers_come_back(number: int, behind: bytes):
    written = tf_writer.varint(number)
    assert varint(written + behind, 0) == (number, len(written))
    with pytest.raises(ValueError, match="ends too early"):
        varint(written[:-1], 0)


@pytest.mark.parametrize("number", [2**64, 2**69, 2**70, 2**700])
def test_numbers_that_are_too_long_are_refused(number: int):
    with pytest.raises(ValueError, match="more than 64 bits"):
        varint(tf_writer.varint(number), 0)


def test_tensorflows_own_index_gives_the_papers_theta_bit_for_bit(tmp_path: Path):
    """The index was written by TensorFlow; the data are the numbers of default_theta, in the order of their names."""
    shutil.copy(REFERENCE / f"tf_graph_data.ckpt{INDEX}", tmp_path)
    with np.load(REFERENCE / "default_theta.npz") as file:
        theta = {name: file[name] for name in file.files}
    theta["global_step"] = np.array(0, np.int64)
    bytes_of_all = b"".join(theta[name].tobytes() for name in sorted(theta))
    (tmp_path / f"tf_graph_data.ckpt{DATA}").write_bytes(bytes_of_all)
    found = read_tf_checkpoint(tmp_path / "tf_graph_data.ckpt")
    assert len(found) == 97 and same(found, theta)
    assert all(array.flags.writeable for array in found.values())


@pytest.mark.parametrize("how", ["prefix", "text", "index", "data", "folder", "zip", "stored zip", "zip by no name"])
def test_every_way_to_name_a_checkpoint(how: str, small: Path):
    path: Any = {"text": str(small), "index": index(small), "data": data(small), "folder": small.parent}.get(how, small)
    if "zip" in how:
        path = packed(small, method=zipfile.ZIP_STORED if how == "stored zip" else zipfile.ZIP_DEFLATED)
        path = path.rename(path.with_name("download")) if how == "zip by no name" else path
        index(small).unlink()
        data(small).unlink()
    assert same(read_tf_checkpoint(path), SMALL)


def test_a_path_with_spaces_and_letters_of_any_language(tmp_path: Path):
    assert same(read_tf_checkpoint(write(tmp_path / "mein Ordner/Gewichte für λ", SMALL)), SMALL)


names = st.text(min_size=1, max_size=12)
arrays = st.builds(
    lambda values, dtype: np.array(values).astype(dtype),
    st.lists(st.lists(st.integers(0, 200), min_size=2, max_size=2), max_size=4),
    st.sampled_from(sorted(tf_writer.NUMBERS)),
)


@settings(max_examples=50)
@given(st.dictionaries(names, arrays, max_size=20), st.integers(1, 8))
def test_any_names_and_arrays_come_back(variables: dict[str, np.ndarray], per_block: int):
    pairs, bytes_of_all = {b"": HEADER}, b""
    for name in sorted(variables, key=str.encode):
        pairs[name.encode()] = entry(variables[name], len(bytes_of_all))
        bytes_of_all += variables[name].tobytes()
    assert read_table(io.BytesIO(index_of(pairs, per_block))) == pairs
    assert same(read(index_of(pairs, per_block), bytes_of_all), variables)


# ---------------------------------------------------------------------------------------------- what is refused


class InMemory:
    """Stands in for the two files."""

    def __init__(self, files: dict[str, bytes]) -> None:
        self.prefix, self._files = "model.ckpt", files

    def open(self, ending: str) -> io.BytesIO:
        return io.BytesIO(self._files[ending])


def read(index_file: bytes, data_file: bytes) -> dict[str, np.ndarray]:
    with pytest.MonkeyPatch.context() as patched:
        files = InMemory({INDEX: index_file, DATA: data_file})
        patched.setattr("metarules.pretrained.tf_checkpoint.TFFiles", lambda path: files)
        checkpoint = TFCheckpoint(files.prefix)
    return checkpoint.read(checkpoint.variables)


WHOLE = written(SMALL)


@settings(max_examples=60)
@given(st.data())
def test_truncated_files_are_refused(draw: st.DataObject):
    which = draw.draw(st.integers(0, 1))
    files = list(WHOLE)
    files[which] = files[which][: draw.draw(st.integers(0, len(files[which]) - 1))]
    with pytest.raises(
        ValueError, match=rf"^model\.ckpt({INDEX}|{DATA}): .*; allowed: a checkpoint as TensorFlow wrote"
    ):
        read(*files)


@settings(max_examples=100)
@given(st.data())
def test_a_changed_byte_is_refused(draw: st.DataObject):
    """All bytes but those that fill up the footer, which nothing reads, are under a checksum or checked themselves."""
    which = draw.draw(st.integers(0, 1))
    files = [bytearray(file) for file in WHOLE]
    files[which][draw.draw(st.integers(0, len(files[which]) - 1))] ^= draw.draw(st.integers(1, 255))
    try:
        assert same(read(*map(bytes, files)), SMALL)
    except ValueError as error:
        assert re.match(rf"model\.ckpt({INDEX}|{DATA}): .*; allowed: a checkpoint as TensorFlow wrote it", str(error))


def test_bytes_all_over_the_files_matter():
    """As above, for one change of every third byte but those that fill up."""
    index_file, data_file = WHOLE
    padding = range(len(index_file) - 44, len(index_file) - 8)
    for at in (*range(0, padding.start, 3), *range(padding.stop, len(index_file))):
        with pytest.raises(ValueError, match=rf"^model\.ckpt{INDEX}: "):
            read(index_file[:at] + bytes([index_file[at] ^ 1]) + index_file[at + 1 :], data_file)
    for at in range(0, len(data_file), 3):
        with pytest.raises(ValueError, match=rf"^model\.ckpt{DATA}: \S+ does not fit its checksum"):
            read(index_file, data_file[:at] + bytes([data_file[at] ^ 1]) + data_file[at + 1 :])


@settings(max_examples=150)
@given(st.data())
def test_a_forged_block_whose_checksum_fits_does_no_harm(draw: st.DataObject):
    """Checksums keep damage out; what is left is malice, which may be wrong but raises nothing else, and is cheap."""
    contents = bytearray(block([(b"", HEADER), *((n.encode(), entry(SMALL[n], 0)) for n in sorted(SMALL)[-4:])])[:-5])
    for _ in range(draw.draw(st.integers(1, 3))):
        contents[draw.draw(st.integers(0, len(contents) - 1))] = draw.draw(st.integers(0, 255))
    tracemalloc.start()
    try:
        read(table([sealed(bytes(contents))]), WHOLE[1])
    except ValueError:
        pass
    finally:
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert peak < 1_000_000


@settings(max_examples=100)
@given(st.binary(max_size=200), st.booleans())
def test_any_other_bytes_are_refused(noise: bytes, with_magic: bool):
    with pytest.raises(ValueError, match=rf"^model\.ckpt{INDEX}: "):
        read(noise + (tf_writer.MAGIC if with_magic else b""), b"")


def entry_of_step(**other: Any) -> bytes:
    """An index with one variable, `step`, of whose entry something is wrong."""
    return written({"step": SMALL["step"]}, step=other)[0]


STEP = entry(SMALL["step"], 0)
FORGED: dict[str, tuple[bytes, str]] = {
    "empty": (b"", "its 0 bytes do not end as a TensorFlow table does: it is truncated, or something else"),
    "text": (b"no table\n" * 100, "its 900 bytes do not end as"),
    "no header": (index_of({b"step": STEP}), "it has no header: it is a table of something else"),
    "nothing at all": (table([]), "it has no header"),
    "two data files": (index_of({b"": field(1, 2)}), "its data are in 2 files; one is what this reader knows"),
    "big endian": (index_of({b"": HEADER + field(2, 1)}), "its numbers have their high bytes first"),
    "a later format": (
        index_of({b"": field(1, 1) + field(3, field(2, 9))}),
        "it wants a reader of version 9; this one",
    ),
    "compressed": (table([block([(b"", HEADER)], kind=1)]), "the block at byte 0 is compressed"),
    "keys out of order": (index_of({b"": HEADER, b"b": STEP, b"a": STEP}), "the key b'a' comes after b'b'"),
    "one block twice": (table([block([(b"", HEADER)])] * 2), "the key b'' comes after b''"),
    "too many restarts": (table([sealed(b"\xff\0\0\0")]), "the block at byte 0 has 4 bytes and 255 restart points"),
    "block of no bytes": (table([sealed(b"")]), "the block at byte 0 has 0 bytes and 0 restart points"),
    "entry too long": (table([sealed(b"\0\x01\x09a" + bytes(4))]), "the entry after b'' does not fit into its block"),
    "shares too much": (table([sealed(b"\x05\0\0" + bytes(4))]), "the entry after b'' does not fit into its block"),
    "a key of 5,000 bytes": (index_of({b"": HEADER, b"a" * 5000: STEP}), "the entry after b'' does not fit"),
    "slices": (entry_of_step(more=field(7, b"")), "step: it is stored in slices"),
    "text variable": (entry_of_step(dtype=7), "step: it has TensorFlow's dtype 7; numbers and booleans are"),
    "no dtype": (entry_of_step(dtype=0), "step: it has TensorFlow's dtype 0"),
    "other data file": (entry_of_step(shard=3), "step: it lies in data file 3, and there is one, 0"),
    "wrong shape": (entry_of_step(shape=(2,)), "step: it has shape [2] and dtype int64, but 8 bytes"),
    "huge shape": (entry_of_step(shape=(2**30, 2**30)), "step: it has shape [1073741824, 1073741824] and dtype"),
    "huge shape of nothing": (entry_of_step(shape=(0, *[2**30] * 3), size=0), "step: it has shape [0, 1073741824, "),
    "unknown dimension": (entry_of_step(shape=(2**64 - 1,)), "step: one of its dimensions is unknown"),
    "no protocol buffer": (index_of({b"": HEADER, b"step": b"\x0b"}), "step: its entry is no protocol buffer"),
    "entry ends early": (index_of({b"": HEADER, b"step": STEP[:-2]}), "step: its entry is no protocol buffer"),
    "number ends early": (index_of({b"": HEADER, b"step": b"\x08\xff"}), "step: a number ends too early"),
    "beyond the data": (entry_of_step(offset=1), "step lies at bytes 1 to 9 of 8: the file is truncated"),
    "far beyond the data": (entry_of_step(offset=2**63), "step lies at bytes 9223372036854775808 to"),
    "other checksum": (entry_of_step(crc=1), "step does not fit its checksum: its bytes have changed, or belong to"),
}


@pytest.mark.parametrize("how", FORGED)
def test_what_is_wrong_is_said(how: str):
    content, message = FORGED[how]
    ending = DATA if how in ("beyond the data", "far beyond the data", "other checksum") else INDEX
    with pytest.raises(ValueError, match="^" + re.escape(f"model.ckpt{ending}: {message}")):
        read(content, SMALL["step"].tobytes())


def test_paths_that_lead_nowhere(small: Path, tmp_path: Path):
    with pytest.raises(
        FileNotFoundError, match=r"^none\.index is not in .*; allowed: a checkpoint as TensorFlow wrote"
    ):
        read_tf_checkpoint(tmp_path / "none")
    data(small).unlink()
    with pytest.raises(FileNotFoundError, match=r"^model\.ckpt\.data-00000-of-00001 is not in "):
        read_tf_checkpoint(small)
    index(small).rename(tmp_path / "old.ckpt")
    with pytest.raises(ValueError, match=r"^old\.ckpt is neither an index nor a zip archive; allowed: a checkpoint as"):
        read_tf_checkpoint(tmp_path / "old.ckpt")
    with pytest.raises(ValueError, match="holds no checkpoint; allowed: a checkpoint as TensorFlow wrote it"):
        read_tf_checkpoint(tmp_path)


def test_several_checkpoints_in_one_place(small: Path):
    write(small.with_name("other.ckpt"), SMALL)
    with pytest.raises(ValueError, match=r"holds model\.ckpt, other\.ckpt; allowed: .*, one of them"):
        read_tf_checkpoint(small.parent)
    assert same(read_tf_checkpoint(small), SMALL)


# ---------------------------------------------------------------------------------------------- archives


def test_archives_that_cannot_be_read(small: Path, monkeypatch: pytest.MonkeyPatch):
    path = packed(small, method=zipfile.ZIP_BZIP2)
    with pytest.raises(ValueError, match=r"index in any\.zip is packed by method 12; allowed: 0 or 8"):
        read_tf_checkpoint(path)
    path.write_bytes(b"no archive")
    with pytest.raises(ValueError, match=r"^any\.zip is a damaged zip archive, or none \("):
        read_tf_checkpoint(path)
    path = packed(small)
    monkeypatch.setattr(tf_files, "LARGEST_PACKED", 500)
    with pytest.raises(ValueError, match=r"index in any\.zip has [\d,]+ bytes; allowed: 500, or the archive unp"):
        read_tf_checkpoint(path)
    with zipfile.ZipFile(path, "w") as archive:
        archive.write(index(small), index(small).name)
    monkeypatch.undo()
    with pytest.raises(FileNotFoundError, match=r"^model\.ckpt\.data-00000-of-00001 is not in any\.zip; allowed: "):
        read_tf_checkpoint(path)


@pytest.fixture(scope="session")
def archive(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, bytes]:
    path = packed(write(tmp_path_factory.mktemp("packed") / "model.ckpt", SMALL))
    return path, path.read_bytes()


@settings(max_examples=150)
@given(draw=st.data())
def test_a_damaged_archive_is_refused_or_means_the_same(draw: st.DataObject, archive: tuple[Path, bytes]):
    path, whole = archive
    if draw.draw(st.booleans()):
        damaged = whole[: draw.draw(st.integers(0, len(whole) - 1))]
    else:
        changed = bytearray(whole)
        changed[draw.draw(st.integers(0, len(whole) - 1))] ^= draw.draw(st.integers(1, 255))
        damaged = bytes(changed)
    path.write_bytes(damaged)
    try:
        assert same(read_tf_checkpoint(path), SMALL)
    except (ValueError, FileNotFoundError) as error:
        assert "; allowed: " in str(error)
