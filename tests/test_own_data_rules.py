"""The rules of `read_dataset`, one by one: files that people have, read as their owners mean them, or refused."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from metarules.base_model import forward, init_state
from metarules.evaluation import few_shot_accuracy
from metarules.inner_loop import learn
from metarules.pretrained import load_rule
from metarules.tasks import Dataset, load_dataset, make_task, read_bytes
from metarules.tasks.own_data.numbers import mark_of, number

KINDS = ["setosa", "versicolor", "virginica"]
N = 60
VALUES = np.random.default_rng(0).normal(5, 2, (N, 4)).round(1)
NUMBERS = [[float(v) for v in row] for row in VALUES]
LABELS = [KINDS[i // 20] for i in range(N)]
FLOWERS = [[*row, kind] for row, kind in zip(NUMBERS, LABELS, strict=True)]
FOUR = ["a", "b", "c", "d"]


def table(rows: Sequence[Sequence[Any]], header: Sequence[str] | None = None, separator: str = ",") -> bytes:
    buffer = io.StringIO(newline="")
    csv.writer(buffer, delimiter=separator, lineterminator="\n").writerows([*([header] if header else []), *rows])
    return buffer.getvalue().encode()


def commas(data: bytes) -> bytes:
    return data.replace(b".", b",")


def read(data: bytes, **options: Any) -> Dataset:
    return read_bytes("t.csv", data, **options)


PLAIN = read(table(FLOWERS, [*FOUR, "species"]))


def same(data: Dataset) -> bool:
    """Whether a file was read as the four numbers and three kinds."""
    return torch.equal(data.x, PLAIN.x) and torch.equal(data.y, PLAIN.y) and data.class_names == tuple(KINDS)


# ---- ids


@pytest.mark.parametrize(
    ("name", "ids"),
    [
        ("Id", range(1, N + 1)),
        ("index", range(N)),
        ("plant", range(1000, 1000 + N)),
        ("plant", [(7 * i) % N for i in range(N)]),
        ("patient_id", range(0, 7 * N, 7)),
        ("PassengerId", [f"P{i}" for i in range(N)]),
        ("Unnamed: 0.1", range(0, 2 * N, 2)),
        ("", range(0, 2 * N, 2)),
    ],
)
def test_ids_are_left_out_and_named(name: str, ids: Sequence[Any]):
    rows = [[i, *row] for i, row in zip(ids, FLOWERS, strict=True)]
    data = read(table(rows, [name, *FOUR, "Species"]))
    assert same(data) and f"left out: column 1{f', {name!r}' if name else ''} (" in repr(data)
    if isinstance(ids[0], int):
        assert read(table(rows, [name, *FOUR, "Species"]), keep=1).x.shape == (N, 5)
    if name:
        assert same(read(table([[0, *row] for row in rows], ["", name, *FOUR, "Species"])))


def test_ids_without_a_name_are_left_out_of_tables_and_arrays():
    assert same(read(table([[i, *row] for i, row in enumerate(FLOWERS)])))
    buffer = io.BytesIO()
    np.savez(buffer, x=np.c_[np.arange(N), VALUES], y=np.array(LABELS))
    data = read_bytes("t.npz", buffer.getvalue())
    assert same(data) and "left out: column 1 (it numbers the rows)" in data.reading


def test_a_measurement_called_id_and_one_with_gaps_are_kept():
    rows = [[i + 0.5, 3 * i, "ab"[i % 2]] for i in range(N)]
    assert read(table(rows, ["ID", "height", "kind"])).x.shape == (N, 2)


def test_a_column_that_grows_evenly_is_kept_and_named():
    rows = [[1000 + 60 * i, *row] for i, row in enumerate(FLOWERS)]
    data = read(table(rows, ["clock", *FOUR, "Species"]))
    said = "kept: column 1, 'clock', which grows evenly from row to row (drop='clock' leaves it out)"
    assert data.x.shape == (N, 5) and said in data.reading
    assert same(dropped := read(table(rows, ["clock", *FOUR, "Species"]), drop="clock"))
    assert "kept" not in dropped.reading and "kept" not in PLAIN.reading


# ---- labels


@pytest.mark.parametrize(
    "name", ["Species", "class", "TARGET", "#label", "diagnosis", "Survived", "Outcome", "variety", "quality"]
)
def test_a_well_known_name_is_the_label_wherever_it_stands(name: str):
    rows = [[kind, *row, i % 2] for i, (row, kind) in enumerate(zip(NUMBERS, LABELS, strict=True))]
    data = read(table(rows, [name, *FOUR, "smoker"]))
    assert data.class_names == tuple(KINDS) and torch.equal(data.y, PLAIN.y) and data.x.shape == (N, 5)
    assert f"labels: column 1, {name.lstrip('#')!r}" in repr(data)


REFUSED: list[tuple[bytes, str]] = [
    (
        table([[i % 2, i / 3, i % 3] for i in range(N)], ["Class", "a", "Target"]),
        r"column 1, 'Class' and column 3, 'Target' could both hold the labels; allowed: label='Class' or label='Tar",
    ),
    (
        table([[*row, i % 2, i % 3] for i, row in enumerate(NUMBERS)], [*FOUR, "smoker", "port"]),
        r"'smoker' and column 6, 'port' could both hold the labels; allowed: label='smoker' or label='port', or labe",
    ),
    (
        table([["mf"[i % 2], *row, i % 3] for i, row in enumerate(NUMBERS)], ["sex", *FOUR, "dead"]),
        r"'sex' and column 6, 'dead' could both hold the labels",
    ),
    (
        table(NUMBERS, FOUR),
        r"no column is clearly that of the labels; allowed: label='d' or another .*, or label=False",
    ),
    (
        table([["mf"[i % 2], *row, i % 3] for i, row in enumerate(NUMBERS)], ["sex", *FOUR, "Survived"]),
        r"line 2, column 1, 'sex' is the text 'm'; .*label='sex' says .*; drop='sex' leaves .* labels are in column 6",
    ),
]


@pytest.mark.parametrize(("data", "message"), REFUSED)
def test_two_readings_of_labels_are_refused(data: bytes, message: str):
    with pytest.raises(ValueError, match=message):
        read(data)


def test_the_one_column_that_can_be_it_is_the_label():
    numbers = [[kind, *row] for row, kind in zip(NUMBERS, [KINDS.index(kind) for kind in LABELS], strict=True)]
    for header in (None, ["grower", *FOUR]):
        data = read(table(numbers, header))
        assert torch.equal(data.x, PLAIN.x) and torch.equal(data.y, PLAIN.y) and data.class_names == ("0", "1", "2")
    assert same(read(table([[row[-1], *row[:-1]] for row in FLOWERS])))


@pytest.mark.parametrize(
    "labels", [["1.1", "1.10", "1.2"], ["007", "07", "7"], ["10000000000000001", "10000000000000002"]]
)
def test_labels_that_are_written_differently_are_different(labels: list[str]):
    rows = [[i / 3, labels[i % len(labels)]] for i in range(N)]
    data = read(table(rows, ["a", "label"]))
    assert [data.class_names[c] for c in data.y.tolist()] == [row[1] for row in rows]


def test_labels_of_arrays_keep_all_their_digits():
    def classes(y: Any) -> tuple[str, ...]:
        buffer = io.BytesIO()
        np.savez(buffer, x=VALUES, y=y)
        return read_bytes("t.npz", buffer.getvalue()).class_names

    assert classes(10**17 + np.arange(N) % 2) == ("100000000000000000", "100000000000000001")
    assert classes(np.arange(N) % 2 / np.float32(10)) == ("0", "0.1") and classes(np.arange(N) % 2 > 0) == ("0", "1")
    with pytest.raises(ValueError, match=r"y in t.npz holds the label b'\\xff'; allowed: UTF-8"):
        classes(np.array([b"\xff", b"\xfe"] * (N // 2)))


def test_an_array_of_labels_lacks_none():
    buffer = io.BytesIO()
    np.savez(buffer, x=VALUES, y=np.array(["", *LABELS[1:]]))
    with pytest.raises(ValueError, match=r"^y in t.npz, row 1 is ''; allowed: a label for each example$"):
        read_bytes("t.npz", buffer.getvalue())


def test_data_without_labels_are_learned_from_but_not_probed():
    data = read(table(NUMBERS, FOUR), label=False)
    assert torch.equal(data.x, PLAIN.x) and "no labels" in repr(data)
    rule, generator = load_rule("local"), torch.Generator().manual_seed(0)
    task = make_task(data, permute=False)
    phi = init_state((4, 6, 5), generator=generator)
    features = forward(learn(rule, phi, task, steps=2, batch_size=20, generator=generator).state, task.x).features
    assert features.isfinite().all()
    with pytest.raises(ValueError, match="without labels a rule can learn"):
        few_shot_accuracy(features, task.y)


# ---- images or a table


def pixels(names: Sequence[str] | None = None, scale: Any = 1) -> bytes:
    digits = load_dataset("digits")
    rows = [
        [i, *row, f"d{y}"] for i, (row, y) in enumerate(zip((16 * digits.x * scale).tolist(), digits.y, strict=True))
    ]
    return table(rows, None if names is None else ["id", *names, "label"])


@pytest.mark.parametrize("name", ["pixel{}", "pixel_{r}_{c}", "{r}x{c}", "{}", None])
def test_numbered_pixels_are_images(name: str | None):
    names = name and [name.format(i, r=i // 8, c=i % 8) for i in range(64)]
    data = read(pixels(names or None))
    assert data.shape == (8, 8) and torch.equal(data.x, load_dataset("digits").x)


def test_words_and_units_are_a_table_and_numbered_columns_are_asked_about():
    words = [f"{a}{b}" for a in "abcdefgh" for b in "ijklmnop"]
    assert read(pixels(words)).shape is None
    units = torch.ones(64)
    units[:40] = 1e-3
    for names in (None, [f"pixel{i}" for i in range(64)], [f"measure_{i}" for i in range(64)]):
        data = read(pixels(names, units))
        assert data.shape is None and data.x[:, 20].max() == 1
    named = pixels([f"V{i}" for i in range(64)])
    with pytest.raises(
        ValueError, match=r"'V0' to 'V63' can be .*; allowed: shape=\(8, 8\) for images, shape=None for a"
    ):
        read(named)
    assert read(named, shape=(8, 8)).shape == (8, 8) and read(named, shape=None).shape is None


# ---- separators, decimals, headers


@pytest.mark.parametrize(
    "data",
    [
        commas(table(FLOWERS, separator=";")),
        commas(table(FLOWERS, separator="\t")),
        table(FLOWERS, separator="|"),
        table(FLOWERS, separator=" "),
        '"Länge, cm";"Breite, cm";"Länge, Blatt, cm";"Breite, Blatt";Art\n'.encode()
        + commas(table(FLOWERS, separator=";")),
        '"Länge, Breite,\nHöhe";b;c;d;species\n'.encode() + table(FLOWERS, separator=";"),
        b"sep=;\r\n" + table(FLOWERS, [*FOUR, "species"], ";"),
        b"\xef\xbb\xbfsep=\t\n" + commas(table(FLOWERS, separator="\t")),
        table([[str(v).replace(".", ",") for v in row] for row in FLOWERS]),  # in quotes
        table([[*row, ""] for row in FLOWERS]),
        table([[*row, ""] for row in FLOWERS], [*FOUR, "species"]),
        table([[*row, ""] for row in FLOWERS], [*FOUR, "species", "empty"]),
        table([[i + 1, *row] for i, row in enumerate(FLOWERS)], [*FOUR, "species"]),  # by R
        table(FLOWERS, list("01234")),
        table(FLOWERS, list("12345")),
        table([[i, *row] for i, row in enumerate(FLOWERS)], ["", *"01234"]),
    ],
)
def test_however_it_is_cut_it_is_the_same_table(data: bytes):
    assert same(read(data))


def test_a_point_between_thousands_is_none():
    rows = [[f"{10 + i}.{7 * i:03}", f"{i},5", "ab"[i % 2]] for i in range(N)]
    plain = [[1000 * (10 + i) + 7 * i, i + 0.5, "ab"[i % 2]] for i in range(N)]
    data = read(table(rows, ["Einwohner", "Dichte", "Klasse"], ";"))
    assert torch.equal(data.x, read(table(plain)).x) and "decimal commas" in data.reading


def test_numbers_that_can_mean_two_things_are_refused():
    rows = [[f"{10 + i}.{7 * i:03}", "ab"[i % 2]] for i in range(N)]
    for separator in ";\t":
        with pytest.raises(ValueError, match=r"10.000, which can mean 10 or 10000; .* decimal='.' or decimal=','"):
            read(table(rows, separator=separator))
        few = torch.tensor([10 + i + 0.007 * i for i in range(N)])
        many = read(table(rows, separator=separator), decimal=",").x[:, 0]
        assert torch.equal(many, read(table(rows, separator=separator), decimal=".").x[:, 0]) and few.diff().min() > 0
    with pytest.raises(
        ValueError, match=r"column 2 is '3,5', where other numbers have the decimal mark '\.'.*decimal=','"
    ):
        read(table([[i + 0.25, "3,5" if i == 9 else i % 7 + 0.5, "ab"[i % 2]] for i in range(N)], separator=";"))


@pytest.mark.parametrize(
    ("cell", "mark", "point", "comma"),
    [
        ("94.940", "?", 94.94, 94940),
        ("-1,234", "?", -1234, -1.234),
        ("0.126", ".", 0.126, None),
        ("1234.567", ".", 1234.567, None),
        ("1.234e-05", ".", 1.234e-05, None),
        ("1.234.567", ",", None, 1234567),
        ("1.234,5", ",", None, 1234.5),
        ("1,234,567.8", ".", 1234567.8, None),
        ("3,5", ",", None, 3.5),
        ("5.", ".", 5, None),
        ("1.23,4", None, None, None),
        ("01.02.2024", None, None, None),
        ("1.2.3", None, None, None),
        ("1_000", None, None, None),
        ("TRUE", None, 1, 1),
        ("17", None, 17, 17),
        (".", None, None, None),
    ],
)
def test_numbers_as_people_write_them(cell: str, mark: str | None, point: float | None, comma: float | None):
    assert mark_of(cell) == mark
    for decimal, expected in ((".", point), (",", comma)):
        assert number(cell, decimal) == pytest.approx(np.nan if expected is None else expected, nan_ok=True)


def test_a_line_of_counting_numbers_is_a_header_unless_it_is_said_not_to_be():
    rows = [[i / 2 - 3, (i * 7) % 11 / 2, i % 3] for i in range(N)]
    data = read(table(rows, list("012")))
    assert len(data) == N and "line 1 taken for names of columns (0, 1, 2 ..)" in repr(data)
    assert len(read(table(rows, list("012")), header=False)) == N + 1
    with pytest.raises(ValueError, match=r"class 'kind' .* has 1 example.*header=True"):
        read(table([[*row[:2], "ab"[row[2] % 2]] for row in rows], ["400", "410", "kind"]))
    assert len(read(table([[*row[:2], "ab"[row[2] % 2]] for row in rows], ["400", "410", "kind"]), header=True)) == N


# ---- what spreadsheets leave


@pytest.mark.parametrize("cell", ["#N/A", "#DIV/0!", "#REF!", "", "NA"])
def test_missing_values_are_named(cell: str):
    rows = [list(row) for row in FLOWERS]
    rows[7][2] = cell
    with pytest.raises(
        ValueError, match=r"line 9, column 3, 'c' (is empty|is .*, a missing value); .* drop='c' leaves"
    ):
        read(table(rows, [*FOUR, "species"]))
    assert read(table(rows, [*FOUR, "species"]), drop="c").x.shape == (N, 3)


def test_true_and_false_are_one_and_zero():
    rows = [[*row[:4], ["True", "FALSE"][i % 2], row[4]] for i, row in enumerate(FLOWERS)]
    for header in (None, [*FOUR, "wet", "kind"]):
        data = read(table(rows, header))
        assert torch.equal(data.x[:, :4], PLAIN.x) and data.x[:4, 4].tolist() == [1, 0, 1, 0]
    assert read(table([row[:5] for row in rows])).class_names == ("FALSE", "True")


def test_columns_are_dropped_by_name_or_number():
    data = table(FLOWERS, [*FOUR, "species"])
    for drop in ("b", 2, ["B"], [2]):
        assert torch.equal(read(data, drop=drop).x, PLAIN.x[:, [0, 2, 3]])
    with pytest.raises(
        ValueError, match=r"drop is 'e', which is no column of t.csv; allowed: a, b, c, d, species, or 1 to 5"
    ):
        read(data, drop="e")
    with pytest.raises(ValueError, match=r"labels alone; left out: column 1, 'a' .as asked."):
        read(data, drop=FOUR)


# ---- scale


@pytest.mark.parametrize("top", [1, 4095, 255, 200])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
def test_the_largest_value_of_images_is_one(top: int, dtype: Any):
    if top > np.iinfo(np.uint8).max and dtype is np.uint8:
        return
    images = (load_dataset("digits").x.reshape(-1, 8, 8).numpy() * top).round().astype(dtype)
    for x in (images, images.reshape(-1, 64)):
        buffer = io.BytesIO()
        np.savez(buffer, x=x, y=load_dataset("digits").y.numpy())
        data = read_bytes("t.npz", buffer.getvalue())
        np.testing.assert_allclose(data.x.numpy(), images.reshape(-1, 64) / top, atol=1e-6)
        assert f"scaled: 0 .. {top}" in repr(data)
    assert read_bytes("t.npz", buffer.getvalue(), scale=2 * top).x.max() == 0.5
    with pytest.raises(ValueError, match=f"scale is 0.5, but t.npz holds {top}; allowed: {top} or more"):
        read_bytes("t.npz", buffer.getvalue(), scale=0.5)


def test_one_scale_for_a_table():
    data = read(table(FLOWERS), scale="one")
    low = min(0, VALUES.min())
    np.testing.assert_allclose(data.x.numpy(), (VALUES - low) / (VALUES.max() - low), atol=1e-6)


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ({"header": 3}, "header is 3; allowed: None, True, False"),
        ({"separator": ":"}, "separator is ':'; allowed"),
        ({"decimal": ";"}, "decimal is ';'; allowed"),
        ({"scale": "all"}, "scale is 'all'; allowed: 'auto', 'columns', 'one'"),
        ({"drop": 1.5}, "drop is 1.5; allowed: names or numbers of columns"),
        ({"label": True}, "label is True, which is no column"),
        ({"colour": 1}, "options names 'colour'; allowed"),
    ],
)
@pytest.mark.usefixtures("unchecked_types")
def test_options_that_mean_nothing(option: dict[str, Any], message: str):
    with pytest.raises(ValueError, match=message):
        read(table(FLOWERS), **option)


def arrays(**given: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    np.savez(buffer, **given)
    return buffer.getvalue()


def picture(values: np.ndarray, kind: str) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(values).save(buffer, kind)
    return buffer.getvalue()


FLAT, IMAGES = arrays(x=VALUES), arrays(x=VALUES.reshape(15, 4, 4))
FLOATS = picture(np.random.default_rng(0).random((8, 8)).astype(np.float32), "tiff")
GREY = picture(np.eye(8, dtype=np.uint8), "png")
PASSED_OVER = {  # what was once read without a word, or with a word about another line
    "a separator of arrays": ("t.npz", FLAT, {"separator": ";"}, "separator is ';'; allowed for arrays: nothing"),
    "columns of images": ("t.npz", IMAGES, {"drop": 1}, "drop is 1; allowed for arrays: nothing, it is for tables"),
    "columns of a picture": ("cat_1.png", GREY, {"keep": "a"}, "keep is 'a'; allowed for images: nothing"),
    "a label to drop": (
        "t.csv",
        table(FLOWERS, [*FOUR, "species"]),
        {"label": "species", "drop": 5},
        "label and drop both name column 5, 'species'; allowed: a column is one or the other",
    ),
    "a title": (
        "t.csv",
        b"# from the garden\n" + table(FLOWERS, [*FOUR, "species"]),
        {},
        r"t.csv begins with a line of 1 cell\(s\), where most have 5; allowed: no title or comment",
    ),
    "pixels of any scale": ("cat_1.tif", FLOATS, {}, "cat_1.tif has floating or 32-bit pixels, .*; allowed: 8 or 16"),
}


@pytest.mark.parametrize("what", PASSED_OVER)
def test_nothing_that_is_asked_or_held_is_passed_over(what: str):
    name, data, options, message = PASSED_OVER[what]
    with pytest.raises(ValueError, match=message):
        read_bytes(name, data, **options)
