"""Data of one's own: what is read comes out as it went in, and whatever is wrong is said by file, place and remedy."""

from __future__ import annotations

import csv
import io
import os
import pickle
import subprocess
import sys
import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from metarules.tasks import Dataset, load_dataset, read_bytes, read_dataset, read_files, some_examples
from metarules.tasks.own_data import LEAST_PER_CLASS, arrays, asked, images, numbers, tables
from metarules.tasks.own_data import names as file_names
from metarules.tasks.own_data.names import class_of

N = LEAST_PER_CLASS


def table(rows: list[list[Any]], header: list[str] | None = None, separator: str = ",", end: str = "\n") -> bytes:
    """A CSV written by Python's own writer."""
    buffer = io.StringIO(newline="")
    csv.writer(buffer, delimiter=separator, lineterminator=end).writerows(([header] if header else []) + rows)
    return buffer.getvalue().encode()


def npy(array: Any, allow_pickle: bool = False) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array, allow_pickle=allow_pickle)
    return buffer.getvalue()


def npz(**arrays: Any) -> bytes:
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)
    return buffer.getvalue()


def png(values: Any, mode: str | None = None, kind: str = "png") -> bytes:
    buffer = io.BytesIO()
    image = Image.fromarray(np.asarray(values, dtype=np.uint8))
    (image if mode is None else image.convert(mode)).save(buffer, kind)
    return buffer.getvalue()


# two classes, the first column between 10 and 20, the second between 0 and 1
ROWS = [[10 + i % 11, (i % 7) / 6, "ab"[i % 2]] for i in range(4 * N)]


def first_columns(rows: list[list[Any]], k: int = 2) -> np.ndarray:
    return np.array([row[:k] for row in rows], dtype=float)


def by_hand(columns: np.ndarray) -> np.ndarray:
    """Each column from its 1st to its 99th percentile, written out once more."""
    scaled = []
    for column in columns.T:
        ordered = np.sort(column)
        places = np.array([0.01, 0.99]) * (len(column) - 1)
        low, high = np.interp(places, np.arange(len(column)), ordered)
        if low == high:
            low, high = ordered[0], ordered[-1]
        scaled.append(np.zeros(len(column)) if low == high else np.clip((column - low) / (high - low), 0, 1))
    return np.stack(scaled, 1)


# ---- tables


def test_a_table_is_read_and_every_column_scaled_by_itself():
    data = read_bytes("flowers.csv", table(ROWS))
    scaled = "scaled: each column, its 1st to 99th percentile to 0 .. 1"
    assert repr(data) == f"Dataset(flowers: {4 * N} x 2, 2 classes; labels: column 3; {scaled})"
    assert data.class_names == ("a", "b")
    np.testing.assert_allclose(data.x.numpy(), by_hand(first_columns(ROWS)), atol=1e-6)
    assert data.y.tolist() == [i % 2 for i in range(4 * N)] and data.shape is None


@pytest.mark.parametrize("header", [None, ["size", "weight", "kind"], ["0", "1", "label"]])
@pytest.mark.parametrize("separator", [",", ";", "\t"])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"])
def test_all_kinds_of_tables(header: list[str] | None, separator: str, end: str, mark: bytes):
    data = read_bytes("t.csv", mark + table(ROWS, header, separator, end) + end.encode() * 3)
    expected = read_bytes("t.csv", table(ROWS))
    assert torch.equal(data.x, expected.x) and torch.equal(data.y, expected.y)
    assert data.class_names == expected.class_names


def test_decimal_commas_between_semicolons():
    text = table(ROWS, separator=";").decode().replace(".", ",")
    assert torch.equal(read_bytes("t.csv", text.encode()).x, read_bytes("t.csv", table(ROWS)).x)


@pytest.mark.parametrize("name", ["label", "Class", "TARGET", "y", " labels "])
def test_the_column_of_labels_is_found_by_its_name(name: str):
    rows = [[kind, size, weight] for size, weight, kind in ROWS]
    data = read_bytes("t.csv", table(rows, [name, "size", "weight"]))
    assert torch.equal(data.x, read_bytes("t.csv", table(ROWS)).x) and data.class_names == ("a", "b")


def test_y_beside_x_is_a_coordinate_and_a_label_wins_over_it():
    expected = read_bytes("t.csv", table(ROWS))
    for header in (["x", "y", "group"], ["x", "y", "label"], ["u", "y", "label"]):
        data = read_bytes("t.csv", table(ROWS, header))
        assert torch.equal(data.x, expected.x) and torch.equal(data.y, expected.y)


def test_the_column_of_labels_can_be_named(tmp_path: Path):
    rows = [[kind, *rest] for *rest, kind in ROWS]
    (tmp_path / "t.csv").write_bytes(table(rows, ["kind", "size", "weight"]))
    expected = read_bytes("t.csv", table(ROWS))
    for label in ("kind", "KIND", 1):
        assert torch.equal(read_dataset(tmp_path / "t.csv", label=label).x, expected.x)
    for wrong in ("colour", 0, 4, True):
        with pytest.raises(ValueError, match=r"no column of t.csv; allowed: kind, size, weight, or 1 to 3"):
            read_dataset(tmp_path / "t.csv", label=wrong)


def test_a_label_that_is_a_column_name_elsewhere_is_no_header():
    rows = [[a, b, "yn"[i % 2]] for i, (a, b, _) in enumerate(ROWS)]
    assert read_bytes("t.csv", table(rows)).class_names == ("n", "y") and len(read_bytes("t.csv", table(rows))) == 4 * N


@pytest.mark.parametrize("name", ["", "Unnamed: 0"])
def test_an_index_saved_by_a_data_frame_is_left_out(name: str):
    rows = [[i, *row] for i, row in enumerate(ROWS)]
    data = read_bytes("t.csv", table(rows, [name, "size", "weight", "kind"]))
    assert torch.equal(data.x, read_bytes("t.csv", table(ROWS)).x)


def test_number_labels_are_ordered_as_numbers():
    rows = [[i / 2, i % 5, [9, 10, 11][i % 3]] for i in range(3 * N)]
    assert read_bytes("t.csv", table(rows)).class_names == ("9", "10", "11")


def test_digits_go_through_a_table_unchanged():
    digits = load_dataset("digits")
    rows = [[*(16 * x).int().tolist(), int(y)] for x, y in zip(digits.x, digits.y, strict=True)]
    data = read_bytes("digits.csv", table(rows))
    assert torch.equal(data.x, digits.x) and torch.equal(data.y, digits.y)
    assert (data.shape, data.class_names) == (digits.shape, digits.class_names)
    assert read_bytes("digits.csv", table(rows), shape=None).shape is None
    assert read_bytes("digits.csv", table(rows), shape=(4, 16)).shape == (4, 16)
    with pytest.raises(ValueError, match=r"shape is \(3, 3\); allowed: .* height \* width = 64"):
        read_bytes("digits.csv", table(rows), shape=(3, 3))


def test_square_tables_of_few_columns_or_negative_values_are_no_images():
    few = [[*range(2 * i, 2 * i + 16), i % 2] for i in range(3 * N)]
    below = [[*range(2 * i - 5, 2 * i + 59), i % 2] for i in range(3 * N)]
    assert read_bytes("t.csv", table(few)).shape is None and read_bytes("t.csv", table(below)).shape is None


def test_a_constant_column_is_zero_and_a_wild_value_flattens_nothing():
    rows = [[5, i % 10, "ab"[i % 2]] for i in range(500)]
    rows[7][1] = 1e9
    data = read_bytes("t.csv", table(rows))
    assert not data.x[:, 0].any() and data.x[7, 1] == 1 and data.x[9, 1] > 0.9
    rare = [[int(i == 3), 2 * i, "ab"[i % 2]] for i in range(500)]  # both percentiles are 0 here
    assert read_bytes("t.csv", table(rare)).x[:4, 0].tolist() == [0, 0, 0, 1]


def swap(line: int, column: int, cell: Any) -> bytes:
    rows = [list(row) for row in ROWS]
    rows[line - 1][column - 1] = cell
    return table(rows)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", r"t.csv is empty \(0 bytes\)"),
        (b" \n\r\n,,\n", "t.csv is empty; allowed: a line per example"),
        (b"\xef\xbb\xbf", "t.csv is empty; allowed: a line per example"),
        (b"size,weight,label\n", "t.csv holds a line of names and no examples"),
        (b"1\n2\n3\n", "t.csv has a single column; allowed: columns of numbers and one of labels"),
        (b",label\n1,a\n2,b\n", "t.csv has labels alone"),
        (swap(4, 2, ""), r"t.csv, line 4, column 2 is empty; allowed: a number. Fill such cells in"),
        (swap(4, 2, "NA"), r"t.csv, line 4, column 2 is 'NA', a missing value"),
        (swap(1, 1, "nan"), r"t.csv, line 1, column 1 is 'nan', a missing value"),
        (swap(9, 1, "inf"), r"t.csv, line 9, column 1 is 'inf'; allowed: a number. Finite ones"),
        (swap(9, 1, "-1e400"), r"t.csv, line 9, column 1 is '-1e400'; allowed: a number. Finite ones"),
        (swap(9, 1, "1e31"), r"t.csv, line 9, column 1 is '1e31'; allowed: a number. Finite ones, up to 1e\+30"),
        (swap(5, 1, "tall"), r"t.csv, line 5, column 1 is the text 'tall'; allowed: a number. Only labels may be text"),
        (swap(5, 1, "1_000"), r"column 1 is the text '1_000'"),
        (swap(5, 3, ""), r"t.csv, line 5, column 3 has no label; allowed: a label in every row"),
        (table([*ROWS, [1, 2]]), rf"t.csv, line {4 * N + 1} has 2 cells; allowed: 3, as many as the first line has"),
        (table([*ROWS, [1, 2, 3, "a"]]), rf"t.csv, line {4 * N + 1} has 4 cells; allowed: 3"),
        (table([[a, b, "a"] for a, b, _ in ROWS]), r"all 44 examples are of one class, 'a' \(column 3\)"),
        (table([*ROWS, [1, 2, "c"]]), r"class 'c' \(column 3\) has 1 example\(s\); allowed: at least 11 of every"),
        (table([[1, 2, kind] for *_, kind in ROWS]), "all 44 examples are alike"),
        (
            table([[i / 2, i * 0.37] for i in range(200)]),
            r"t.csv: no column is clearly that of the labels; allowed: label=2 or another column, or label=False if",
        ),
        ("größe,1,a\n".encode("latin1"), r"t.csv, line 1 holds the byte 0xf6, which is no UTF-8 text; .*'CSV UTF-8'"),
        ("1,2,a\n3,4,é\n".encode("cp1252"), r"t.csv, line 2 holds the byte 0xe9"),
        ("1,2,a\n".encode("utf-16"), "t.csv is UTF-16 text; allowed: UTF-8"),
        ("1,2,a\n".encode("utf-32"), "t.csv is UTF-32 text; allowed: UTF-8"),
        (b'1,2,"a\n', r"t.csv, line 1 is no CSV \(.*\); allowed: cells between ','"),
        (b"1," + b"9" * 200_000 + b",a\n", r"t.csv, line 1 is no CSV \(field larger than field limit"),
        (b"\x00\x01\x02,1,a\n", "t.csv: column 1 and column 3 could both hold the labels; allowed: label=1 or label=3"),
        (table([[*range(4097), "ab"[i % 2]] for i in range(30)]), "holds 30 examples of 4097 values; allowed: up to"),
    ],
)
def test_a_bad_table_is_refused_by_its_place(data: bytes, message: str):
    with pytest.raises(ValueError, match=message):
        read_bytes("t.csv", data)


def test_places_are_those_of_the_file_with_names_and_blank_lines():
    text = b"size,weight,kind\n\n1,2,a\n3,x,b\n"
    with pytest.raises(ValueError, match=r"t.csv, line 4, column 2, 'weight' is the text 'x'"):
        read_bytes("t.csv", text)
    quoted = b'size,weight,kind\n1,2,"two\nlines"\n3,?,b\n'  # a cell may hold a line end
    with pytest.raises(ValueError, match=r"line 4, column 2, 'weight' is '\?', a missing value"):
        read_bytes("t.csv", quoted)


def test_sizes_are_limited(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.setattr(tables, "MAX_TABLE_BYTES", 100)
    with pytest.raises(ValueError, match=r"t.csv holds \d+ bytes; allowed: up to 100 \(an npz may be larger\)"):
        read_bytes("t.csv", table(ROWS))
    monkeypatch.undo()
    monkeypatch.setattr(tables, "MAX_EXAMPLES", 10)
    with pytest.raises(ValueError, match=r"t.csv holds more than 10 examples; allowed: up to 10"):
        read_bytes("t.csv", table(ROWS))
    monkeypatch.setattr("metarules.tasks.own_data.reading.MAX_BYTES", 50)
    (tmp_path / "t.npy").write_bytes(npy(np.ones((9, 9))))
    for read in (lambda: read_dataset(tmp_path / "t.npy"), lambda: read_bytes("t.npy", npy(np.ones((9, 9))))):
        with pytest.raises(ValueError, match=r"t.npy holds 776 bytes; allowed: up to 50"):
            read()


values = st.floats(-asked.LARGEST, asked.LARGEST, allow_nan=False) | st.integers(-(10**20), 10**20)
names = st.text(st.characters(codec="utf-8", exclude_categories=["C", "Z"], exclude_characters='"'), min_size=1)


@given(st.data())
def test_any_table_comes_out_as_it_went_in(data: st.DataObject):
    width = data.draw(st.integers(1, 5))
    examples = data.draw(st.lists(st.lists(values, min_size=width, max_size=width), min_size=2, max_size=12))
    kinds = data.draw(st.lists(names, min_size=2, max_size=3, unique=True))
    if any(numbers.is_missing(kind) or numbers.is_number(kind) for kind in kinds):
        kinds = ["left", "right"]
    rows = [[*values, kinds[i % len(kinds)]] for i, values in enumerate(examples * 3)]
    columns = first_columns(rows, width)
    if np.ptp(columns, axis=0).max() == 0:
        return
    read = read_bytes("t.csv", table(rows, [f"column {j}" for j in range(width)] + ["kind"]), per_class=1)
    assert [read.class_names[c] for c in read.y.tolist()] == [row[-1] for row in rows]
    assert read.x.shape == columns.shape and read.x.isfinite().all() and 0 <= read.x.min() and read.x.max() <= 1
    for j in range(width):  # order is kept, ties where values were cut
        order = np.argsort(columns[:, j], kind="stable")
        assert (np.diff(read.x.numpy()[order, j]) >= 0).all()


@given(st.sampled_from(["t.csv", "t.npy", "t.npz", "a_1.png", "t_labels.npy", "x.gif"]), st.binary(max_size=300))
def test_no_bytes_do_worse_than_a_sentence(name: str, data: bytes):
    for start in (b"", b"\x93NUMPY\x01\x00", b"PK\x03\x04", b"\x89PNG\r\n\x1a\n", b"GIF89a"):
        with pytest.raises(ValueError, match="allowed"):
            read_bytes(name, start + data)


@given(st.integers(0, 10_000), st.integers(0, 255))
def test_no_damage_to_a_good_file_does_worse_than_a_sentence(place: int, value: int):
    x, y = np.arange(60.0).reshape(30, 2), np.arange(30) % 2
    pictures = {f"{'ab'[i % 2]}_{i}.png": png(np.full((9, 9), 8 * i)) for i in range(2)}
    good = {"t.npz": {"t.npz": npz(x=x, y=y)}, "t.npy": {"t.npy": npy(x), "t_labels.npy": npy(y)}, "images": pictures}
    for files in good.values():
        name = next(iter(files))
        hurt = bytearray(files[name])
        hurt[place % len(hurt)] = value
        try:
            data = read_files({**files, name: bytes(hurt)}, per_class=1)
        except ValueError as error:
            assert "allowed" in str(error)
        else:
            assert data.x.isfinite().all()


# ---- arrays


@pytest.mark.parametrize("dtype", [np.uint8, np.int64, np.float16, np.float32, np.float64, ">f4"])
@pytest.mark.parametrize("order", ["C", "F"])
def test_arrays_and_labels(dtype: Any, order: Any):
    x = np.array(np.arange(2 * N * 12).reshape(2 * N, 12) % 200, dtype=dtype, order=order)
    y = np.arange(2 * N) % 2
    one = read_files({"t.npy": npy(x), "t_labels.npy": npy(y)})
    two = read_bytes("t.npz", npz(x=x, y=y))
    assert torch.equal(one.x, two.x) and one.y.tolist() == two.y.tolist() == y.tolist() and one.shape is None
    np.testing.assert_allclose(one.x.numpy(), by_hand(x.astype(float)), atol=1e-6)


def test_arrays_of_images_keep_their_shape_and_their_largest_value_is_one():
    x = np.arange(2 * N * 12).reshape(2 * N, 3, 4) % 200
    y = np.array(["sun", "moon"] * N)
    data = read_bytes("t.npz", npz(x=x.astype(np.uint8), y=y))
    assert data.shape == (3, 4) and data.class_names == ("moon", "sun")
    np.testing.assert_allclose(data.x.numpy(), x.reshape(2 * N, 12) / 199, atol=1e-7)
    for same in (y.astype("S"), np.array([1, 0] * N, bool), np.array([1.0, 0.0] * N)):
        assert torch.equal(read_bytes("t.npz", npz(x=x, y=same)).y, data.y)
    negative = read_bytes("t.npz", npz(x=x - 100.0, y=y))
    np.testing.assert_allclose(negative.x.numpy(), x.reshape(2 * N, 12) / 199, atol=1e-6)
    assert torch.equal(read_bytes("t.npz", npz(x=x > 99, y=y)).x, torch.from_numpy(x.reshape(2 * N, 12) > 99).float())


GOOD_X, GOOD_Y = np.arange(4.0 * N).reshape(2 * N, 2), np.arange(2 * N) % 2


def with_value(value: float) -> np.ndarray:
    x = GOOD_X.copy()
    x[2, 1] = value
    return x


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({"t_labels.npy": npy(GOOD_Y)}, r"t_labels.npy has shape \[22\]; allowed: \[N, n\]"),
        ({"t.npy": npy(GOOD_X), "t_labels.npy": npy(GOOD_Y[1:])}, r"t_labels.npy has shape \[21\]; allowed: \[22\]"),
        ({"t.npy": npy(GOOD_X), "t_labels.npy": npy(GOOD_Y[:, None])}, r"t_labels.npy has shape \[22, 1\]"),
        ({"t.npy": npy(GOOD_X), "t_labels.npy": npy(GOOD_Y + 1j)}, "t_labels.npy has dtype complex128"),
        ({"t.npy": npy(GOOD_X), "t_labels.npy": npy(GOOD_X[:, 0] * np.nan)}, "t_labels.npy, row 1 is nan"),
        ({"t.npz": npz(y=GOOD_Y)}, "t.npz holds y.npy; allowed: x.npy and, for labels, y.npy"),
        ({"t.npz": npz()}, "t.npz holds nothing; allowed: x.npy"),
        (
            {"t.npz": npz(x=GOOD_X[0], y=GOOD_Y)},
            r"t.npz has shape \[2\]; allowed: \[N, n\] or \[N, height, width\]",
        ),
        ({"t.npz": npz(x=GOOD_X[:0], y=GOOD_Y)}, r"t.npz has shape \[0, 2\]"),
        ({"t.npz": npz(x=np.ones((2, 2, 2, 2)), y=GOOD_Y)}, r"t.npz has shape \[2, 2, 2, 2\]"),
        ({"t.npz": npz(x=GOOD_X.astype(complex), y=GOOD_Y)}, "t.npz has dtype complex128"),
        ({"t.npz": npz(x=GOOD_X.astype(str), y=GOOD_Y)}, "t.npz has dtype <U"),
        ({"t.npz": npz(x=with_value(np.nan), y=GOOD_Y)}, r"t.npz, row 3, value 2 is nan \(1 such values in all\)"),
        ({"t.npz": npz(x=with_value(-np.inf), y=GOOD_Y)}, "t.npz, row 3, value 2 is -inf"),
        ({"t.npz": npz(x=with_value(1e31), y=GOOD_Y)}, r"t.npz, row 3, value 2 is 1e\+31"),
        ({"t.npz": npz(x=GOOD_X, y=GOOD_Y * 0)}, "all 22 examples are of one class, '0'"),
        ({"t.npz": npz(x=GOOD_X, y=np.arange(2 * N) > 20)}, r"class '1' \(y in t.npz\) has 1 example\(s\)"),
        ({"t.npz": npz(x=GOOD_X * 0, y=GOOD_Y)}, "all 22 examples are alike"),
        ({"t.npz": b"PK\x03\x04 nothing"}, "t.npz cannot be read as npz"),
        ({"t.npy": b"no array at all"}, r"t.npy cannot be read as npy \(the magic string is not correct"),
        ({"t.npy": npy(GOOD_X)[:-8], "t_labels.npy": npy(GOOD_Y)}, r"t.npy should hold 352 bytes .* but holds 344"),
        ({"t.npy": npy(np.array([{"a": 1}]), allow_pickle=True)}, "t.npy holds Python objects; allowed: an array of"),
        ({"t.npy": b""}, r"t.npy is empty \(0 bytes\)"),
    ],
)
def test_bad_arrays_are_refused(files: dict[str, bytes], message: str):
    with pytest.raises(ValueError, match=message):
        read_files(files)


class Trap:
    """Whoever unpickles this is caught."""

    def __reduce__(self) -> Any:
        return os.mkdir, ("caught",)


def test_nothing_is_ever_unpickled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    trap = np.array([Trap()], dtype=object)
    for files in ({"t.npy": npy(trap, True)}, {"t.npz": npz(x=trap, y=GOOD_Y)}, {"t.npy": pickle.dumps(Trap())}):
        with pytest.raises(ValueError, match="allowed"):
            read_files(files)
    assert not (tmp_path / "caught").exists()


def test_bombs_are_refused_before_they_are_unpacked(monkeypatch: pytest.MonkeyPatch):
    header = npy(np.zeros((1, 1))).replace(b"(1, 1), }       ", b"(9999999, 9999)}")
    assert len(header) == len(npy(np.zeros((1, 1))))
    with pytest.raises(ValueError, match=r"t.npy should hold 799919"):
        read_bytes("t.npy", header)
    monkeypatch.setattr(arrays, "MAX_BYTES", 1000)
    with pytest.raises(ValueError, match=r"t.npz unpacks to .* bytes; allowed: up to 1000"):
        read_bytes("t.npz", npz(x=np.zeros((1000, 1000)), y=GOOD_Y))
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("x", b"1")
        archive.writestr("y", b"1")
    with pytest.raises(ValueError, match=r"t.npz holds x, y; allowed: x.npy"):
        read_bytes("t.npz", buffer.getvalue())


@given(st.data())
def test_any_array_comes_out_as_it_went_in(data: st.DataObject):
    n, width = data.draw(st.integers(2, 20)), data.draw(st.integers(1, 6))
    values = data.draw(st.lists(st.floats(-1e30, 1e30), min_size=n * width, max_size=n * width))
    x, y = np.array(values).reshape(n, width), np.arange(n) % 2
    if np.ptp(x, axis=0).max() == 0:
        return
    read = read_bytes("t.npz", npz(x=x, y=y), per_class=1)
    np.testing.assert_allclose(read.x.numpy(), by_hand(x), atol=1e-5)
    assert read.y.tolist() == y.tolist()


# ---- images


def write_folder(folder: Path, side: int = 20, each: int = N) -> None:
    """Two classes: a bright left half, a bright upper half."""
    for name in ("left", "upper"):
        (folder / name).mkdir(parents=True)
        for i in range(each):
            values = np.zeros((side, side))
            values[:, : side // 2] = 100 + 5 * i
            (folder / name / f"{i}.png").write_bytes(png(values if name == "left" else values.T))


def test_a_folder_of_images(tmp_path: Path):
    write_folder(tmp_path / "halves")
    (tmp_path / "halves" / "left" / "readme.txt").write_text("no image")
    (tmp_path / "halves" / "left" / ".hidden.png").write_text("no image either")
    data = read_dataset(str(tmp_path / "halves"))
    assert repr(data).startswith(f"Dataset(halves: {2 * N} x 256 (16x16), 2 classes; labels: the folders; left out: ")
    assert "left out: files .txt (1); " in data.reading and data.class_names == ("left", "upper")
    first = data.x[0].reshape(16, 16)
    assert torch.allclose(first[:, :8], torch.tensor(100 / 150)) and not first[:, 8:].any()
    assert torch.equal(data.x[N].reshape(16, 16), first.T)
    assert read_dataset(tmp_path / "halves", side=4).shape == (4, 4)
    flat = {f"{p.parent.name}_{p.name}": p.read_bytes() for p in sorted((tmp_path / "halves").rglob("[0-9]*.png"))}
    again = read_files(flat)
    assert torch.equal(again.x, data.x) and again.class_names == data.class_names
    (tmp_path / "flat").mkdir()
    for name, content in flat.items():
        (tmp_path / "flat" / name).write_bytes(content)
    assert torch.equal(read_dataset(tmp_path / "flat").x, data.x)


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("cat_12.png", "cat"),
        ("7-003.PNG", "7"),
        ("new_york (2).jpg", "new_york"),
        ("dog12.gif", "dog"),
        ("a/b/1.png", "b"),
    ],
)
def test_classes_are_in_the_names(name: str, found: str):
    assert class_of(name) == found


def test_images_are_made_grey_upright_square_and_small():
    colour = np.zeros((8, 8, 3), np.uint8)
    colour[..., 0] = 255  # red: 0.299 of white, as ITU-R 601 has it
    wide = np.zeros((8, 16), np.uint8)
    wide[:, 4:12] = 255  # its middle square is white
    clear = np.zeros((8, 8, 4), np.uint8)  # transparent: white paper shows
    deep = Image.fromarray(np.full((8, 8), 32768, np.uint16))
    buffer = io.BytesIO()
    deep.save(buffer, "png")
    turned = io.BytesIO()
    upper = np.zeros((8, 8), np.uint8)
    upper[:4] = 255
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by a quarter, clockwise
    Image.fromarray(upper).save(turned, "png", exif=exif)
    files = {"a_1.png": png(colour), "a_2.png": png(wide), "b_1.png": png(clear), "b_2.png": buffer.getvalue()}
    x = read_files({**files, "b_3.png": turned.getvalue()}, per_class=1, side=4).x.reshape(5, 4, 4)
    assert x[0].unique().tolist() == pytest.approx([76 / 255]) and (x[1:3] == 1).all()
    assert x[3].unique().tolist() == pytest.approx([32768 / 65535])
    assert (x[4, :, 2:] == 1).all() and not x[4, :, :2].any()
    kinds = {
        f"a_{i}.{kind}": png(np.full((8, 8), 255), kind=kind) for i, kind in enumerate(["jpeg", "gif", "bmp", "webp"])
    }
    assert (read_files({**kinds, "b_1.png": png(np.zeros((8, 8)))}, per_class=1).x[:4] > 0.98).all()


def test_bad_images_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    whole = png(np.arange(400).reshape(20, 20) % 256)
    cases = {
        "a_1.png cannot be read as an image \\(no image\\)": {"a_1.png": b"zzzz"},
        "a_1.png cannot be read as an image \\(.*[Tt]runcated": {"a_1.png": whole[:-60]},
        "a_1.png is empty": {"a_1.png": b""},
        "12.png has no class in its name; allowed: class and number": {"12.png": whole},
        "all 1 examples are of one class, 'a'": {"a_1.png": whole},
    }
    for message, files in cases.items():
        with pytest.raises(ValueError, match=message):
            read_files(files)
    with pytest.raises(ValueError, match="side is 99"):
        read_files({"a_1.png": whole}, side=99)
    monkeypatch.setattr(images, "MAX_PIXELS", 399)
    with pytest.raises(ValueError, match=r"a_1.png has 20 x 20 pixels; allowed: up to 399"):
        read_files({"a_1.png": whole})
    monkeypatch.setattr(file_names, "MAX_IMAGES", 5)
    write_folder(tmp_path / "many")
    with pytest.raises(ValueError, match="many holds more than 5 images; allowed: up to 5"):
        read_dataset(tmp_path / "many")
    (tmp_path / "none").mkdir()
    (tmp_path / "none" / "notes.txt").write_text("no image")
    with pytest.raises(ValueError, match="none holds no images; allowed: one sub-folder per class"):
        read_dataset(tmp_path / "none")
    monkeypatch.setattr("metarules.tasks.own_data.reading.MAX_BYTES", 50)
    monkeypatch.setattr(file_names, "MAX_IMAGES", 500)
    with pytest.raises(ValueError, match="the images in many hold 0 MB; allowed: "):
        read_dataset(tmp_path / "many")


@pytest.mark.parametrize(
    ("side", "message"),
    [
        (8192, "a_1.png has 8192 x 8192 pixels; allowed: up to 25000000"),
        (65536, "a_1.png cannot be read .* exceeds limit"),
    ],
)
def test_a_huge_image_is_refused_by_its_header_alone(side: int, message: str):
    one, many = (1).to_bytes(4, "big"), side.to_bytes(4, "big")
    header = bytearray(png(np.zeros((1, 1))).replace(2 * one, 2 * many))
    header[29:33] = zlib.crc32(header[12:29]).to_bytes(4, "big")  # of the first chunk, which holds the size
    with pytest.raises(ValueError, match=message):
        read_bytes("a_1.png", bytes(header))


def test_sixteen_bits_that_hold_twelve_become_one_at_the_largest():
    files = {}
    for i in range(2 * N):
        buffer = io.BytesIO()
        Image.fromarray(np.full((8, 8), 4095 * i // 21, np.uint16)).save(buffer, "png")
        files[f"{'ab'[i % 2]}_{i}.png"] = buffer.getvalue()
    assert read_files(files).x.max() == 1


@pytest.mark.parametrize(
    ("paths", "message"),
    [
        (["cat/1.png", "dog/more/2.png"], "halves holds 1 images in folders in it and 1 images in folders of folders"),
        (["cat/1.png", "2.png"], "halves holds 1 images in it and 1 images in folders in it"),
        (["data/cat/1.png", "data/dog/1.png"], "halves holds 2 images in folders of folders, such as data/dog/1.png"),
        (["cat/1.png", "dog/1.png", "x/y/z/dog/1.png"], "2 images in folders in it and 1 images in folders of folders"),
        (["01-02-2024_0.jpg", "02-02-2024_11.jpg"], "no class in its name"),
        (["01.02.2024.jpg"], "no class in its name"),
        (["24-01-31_0.jpg"], "no class in its name"),
        (["2024_Jan_01_000.jpg"], "no class in its name"),
        (["3 march 2024 1.jpg"], "no class in its name"),
        (["DJI_0001.jpg"], "no class in its name"),
        (["IMG_20240101_000001.jpg"], "IMG_20240101_000001.jpg has no class in its name; .*label=False"),
        (["IMG-20240101-WA0001.jpg"], "no class in its name"),
        (["Screenshot 2024-01-01 at 10.11.12.png"], "no class in its name"),
        (["20240101_101112.jpg"], "no class in its name"),
        (["DSC_0001.jpg"], "no class in its name"),
    ],
)
def test_images_whose_class_is_unclear_are_refused(paths: list[str], message: str, tmp_path: Path):
    for path in paths:
        (tmp_path / "halves" / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "halves" / path).write_bytes(png(np.arange(64).reshape(8, 8)))
    with pytest.raises(ValueError, match=message):
        read_dataset(tmp_path / "halves")


def test_images_that_cannot_be_read_are_counted_and_tif_is_read(tmp_path: Path):
    write_folder(tmp_path / "halves")
    for name in ("a.HEIC", "b.heic"):
        (tmp_path / "halves" / "left" / name).write_bytes(b"ftypheic")
    Image.fromarray(np.eye(9, dtype=np.uint8) * 255).save(tmp_path / "halves" / "upper" / "c.tif")
    data = read_dataset(tmp_path / "halves")
    assert len(data) == 2 * N + 1 and "left out: files .heic (2)" in repr(data)


def test_images_without_classes_have_no_labels():
    data = read_files({f"IMG_20240101_{i:06}.png": png(np.full((8, 8), i)) for i in range(20)}, label=False)
    assert "no labels" in repr(data) and data.n_classes == 1 and not data.y.any()


# ---- paths and files


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("", "path is ''; allowed: a table"),
        ("nowhere.csv", "path: there is no file or folder 'nowhere.csv'; allowed: a table"),
        ("nul\0l.csv", "path is .*; allowed: a table"),
        ("x" * 5000, "cannot be read"),
        ("notes.pdf", r"notes.pdf is of a kind that is not read \(.pdf\); allowed: .csv"),
        ("notes", r"notes is of a kind that is not read \(no suffix\)"),
        ("/dev/null", "'/dev/null' cannot be read"),
    ],
)
def test_bad_paths(path: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    for name in ("notes.pdf", "notes"):
        Path(name).write_text("words")
    with pytest.raises(ValueError, match=message):
        read_dataset(path)


def test_a_path_with_blanks_around_it_and_labels_beside_the_array(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    Path("t.npy").write_bytes(npy(GOOD_X))
    Path("t_labels.npy").write_bytes(npy(GOOD_Y))
    assert len(read_dataset(" t.npy ")) == len(read_dataset("~/t.npy")) == 2 * N
    assert read_dataset(Path("t.npy")).name == "t"


@pytest.mark.usefixtures("unchecked_types")
def test_files_that_do_not_belong_together():
    good = table(ROWS)
    with pytest.raises(ValueError, match=r"a.csv and b.csv do not belong together"):
        read_files({"a.csv": good, "b.csv": good})
    with pytest.raises(ValueError, match="files holds no file"):
        read_files({})
    with pytest.raises(TypeError, match=r"files is {'a.csv': 'text'}; allowed: a Mapping"):
        read_files({"a.csv": "text"})
    with pytest.raises(TypeError, match=r"files is \[b''\]; allowed: a Mapping"):
        read_files([b""])
    with pytest.raises(TypeError, match="path is 3; allowed: text or a Path"):
        read_dataset(3)
    with pytest.raises(ValueError, match="per_class is 0"):
        read_bytes("a.csv", good, per_class=0)


# ---- a part of a data set


def test_some_examples_keep_rare_classes():
    y = torch.tensor([0] * 1000 + [1] * 20 + [2] * 300)
    whole = Dataset("d", torch.rand(1320, 3, generator=torch.Generator().manual_seed(0)), y, None, ("a", "b", "c"))
    part = some_examples(whole, 120)
    assert part.y.bincount().tolist() == [50, 20, 50] and (part.y.diff() >= 0).all()
    rows = (whole.x.unsqueeze(0) == part.x.unsqueeze(1)).all(-1).float().argmax(1)
    assert torch.equal(whole.y[rows], part.y) and (rows.diff() > 0).all()
    assert torch.equal(part.x, some_examples(whole, 120).x) and not torch.equal(part.x, some_examples(whole, 120, 1).x)
    assert some_examples(whole, 5000) is whole
    with pytest.raises(ValueError, match="most is 2"):
        some_examples(whole, 2)


_LIMITS = """
import io, sys
import numpy as np
from metarules._memory import peak_bytes
from metarules.tasks import read_bytes
def npz(x):
    file = io.BytesIO()
    np.savez(file, x=x, y=np.arange(len(x)) % 10)
    return file.getvalue()
before, made = peak_bytes(), sys.argv[1]
name, data = {
    "images": lambda: ("t.npz", npz(np.random.default_rng(0).integers(0, 256, (31_000, 28, 28), np.uint8))),
    "columns": lambda: ("t.npz", npz(np.random.default_rng(0).random((6_000, 2_000), np.float32))),
    "table": lambda: ("t.csv", b"".join(b"%d.25,%d.5,%d\\n" % (i, i % 977, i % 7) for i in range(99_000))),
    "line ends": lambda: ("t.csv", b"\\n" * 29_000_000),
    "one line": lambda: ("t.csv", b"1," * 14_000_000),
    "quotes": lambda: ("t.csv", b'"' * 29_000_000),
}[made]()
try:
    print(read_bytes(name, data))
except ValueError as error:
    print(error)
print((peak_bytes() - before) / 1e9)
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="memory is counted as Linux does")
@pytest.mark.parametrize("what", ["images", "columns", "table", "line ends", "one line", "quotes"])
def test_any_file_within_the_limits_is_read_under_a_gigabyte(what: str):
    words = [sys.executable, "-c", _LIMITS, what]
    done = subprocess.run(words, capture_output=True, text=True, check=True, timeout=300)
    assert float(done.stdout.splitlines()[-1]) < 1, done.stdout
