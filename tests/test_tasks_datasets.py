"""Data sets as such: what `Dataset` refuses, the registry, digits, and messages without the test-time type checker."""

from __future__ import annotations

import json
import re
import subprocess
import sys

import pytest
import torch

from metarules.tasks import DATASETS, Dataset, load_dataset
from metarules.tasks.dataset import register

X, Y = torch.rand(6, 4, generator=torch.Generator().manual_seed(0)), torch.tensor([0, 1, 2, 0, 1, 2])
NAMES = ("a", "b", "c")


def test_dataset_holds_what_it_was_given() -> None:
    data = Dataset("mine", X, Y, (2, 2), NAMES)
    assert data.n_classes == 3
    assert len(data) == 6
    assert repr(data) == "Dataset(mine: 6 x 4 (2x2), 3 classes)"
    assert repr(Dataset("mine", X, Y, None, NAMES)) == "Dataset(mine: 6 x 4, 3 classes)"


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"x": X[:0], "y": Y[:0]}, ValueError, r"x has shape \[0, 4\] and holds no numbers"),
        ({"x": X * float("nan")}, ValueError, "x holds 24 NaN or infinite values"),
        ({"x": X / 0}, ValueError, "NaN or infinite"),
        ({"x": X.double()}, TypeError, "x has dtype torch.float64; allowed: torch.float32"),
        ({"x": Y[:, None]}, TypeError, "x has dtype torch.int64"),
        ({"x": X[0]}, ValueError, r"x has shape \[4\]; allowed: at least 2 dimensions"),
        ({"x": X[None]}, ValueError, r"x has shape \[1, 6, 4\]; allowed: \[N, n\]"),
        ({"y": Y[:5]}, ValueError, r"y has shape \[5\]; allowed: \[6\]"),
        ({"y": Y.float()}, TypeError, "y is torch.float32; allowed: a torch.int64 tensor"),
        ({"y": Y - 1}, ValueError, "y holds class numbers from -1 to 1; allowed: 0 to 2"),
        ({"class_names": ("a", "b")}, ValueError, "y holds class numbers from 0 to 2; allowed: 0 to 1"),
        ({"shape": (3, 2)}, ValueError, r"shape is \(3, 2\); allowed: .* = 4"),
    ],
)
def test_dataset_refuses(change: dict[str, object], error: type[Exception], message: str) -> None:
    fields = {"name": "mine", "x": X, "y": Y, "shape": None, "class_names": NAMES, **change}
    with pytest.raises(error, match=message):
        Dataset(**fields)


def test_registry_holds_the_embedded_sets() -> None:
    assert {"digits", "glyphs", "handwriting"} <= set(DATASETS)
    assert set(DATASETS) >= {"two_moons", "rings", "blobs", "spirals", "random_decoder"}
    with pytest.raises(ValueError, match=r"name is 'digits', which metarules\.tasks\.digits\.digits has already"):
        register("digits")(load_dataset)


def test_unknown_name_and_option_list_what_is_allowed() -> None:
    with pytest.raises(ValueError, match="name is 'omniglot'; allowed: blobs, breast_cancer, cifar10, digits, "):
        load_dataset("omniglot")
    with pytest.raises(ValueError, match=r"options of load_dataset\('rings'\) names 'classes'; allowed: .*n_classes"):
        load_dataset("rings", classes=3)
    with pytest.raises(ValueError, match=r"names 'seed'; allowed: \(none\)"):
        load_dataset("digits", seed=0)


def test_digits_are_scikit_learns() -> None:
    data = load_dataset("digits")
    assert data.x.shape == (1797, 64)
    assert data.shape == (8, 8)
    assert data.class_names == tuple("0123456789")
    assert data.x.dtype == torch.float32
    assert (data.x.min().item(), data.x.max().item()) == (0.0, 1.0)
    assert torch.bincount(data.y).tolist() == [178, 182, 177, 183, 181, 182, 181, 179, 174, 180]


@pytest.mark.parametrize(
    ("name", "n_inputs", "counts"),
    [("wine", 13, [59, 71, 48]), ("breast_cancer", 30, [212, 357]), ("iris", 4, [50, 50, 50])],
)
def test_tables_are_scikit_learns_each_column_from_0_to_1(name: str, n_inputs: int, counts: list[int]) -> None:
    data = load_dataset(name)
    assert data.x.shape == (sum(counts), n_inputs) and torch.bincount(data.y).tolist() == counts
    assert data.shape is None and len(data.class_names) == len(counts) and data.name == name
    assert (data.x.amin(0) == 0).all() and (data.x.amax(0) == 1).all() and "each column" in data.reading


def test_importing_the_room_loads_no_heavy_library() -> None:
    heavy = "('matplotlib', 'sklearn', 'PIL')"
    code = f"import sys, metarules.tasks; print([m for m in {heavy} if m in sys.modules])"
    assert _run(code) == "[]"


# Calls of a wrong type and what the message must say. Under test the package's annotations are enforced, which hides
# some of our own messages; these calls run in a plain interpreter, as a reader's do.
WRONG_TYPES = {
    "Dataset('d', [[1.0]], y, None, ('a',))": "x is [[1.0]]; allowed: a torch.Tensor",
    "Dataset('d', x, [0, 1], None, ('a',))": "y is [0, 1]; allowed: a torch.Tensor",
    "load_dataset(3)": "name is 3; allowed: text",
    "load_dataset('glyphs', size='8')": "size is '8'; allowed: a whole number",
    "load_dataset('glyphs', settings={'scale': 1})": "settings is {'scale': 1}; allowed: a GlyphSettings or None",
    "load_dataset('glyphs', fonts=3)": "fonts is 3; allowed: a list or tuple",
    "load_dataset('glyphs', fonts=[3])": "fonts is [3]; allowed: a list or tuple of text",
    "load_dataset('glyphs', characters=3)": "characters is 3; allowed: text or a list",
    "load_dataset('random_decoder', family=3)": "family is 3; allowed: ",
    "GlyphSettings(scale=0.5)": "scale is 0.5; allowed: a tuple of a number and a number",
    "make_task('digits', generator=g)": "dataset is 'digits'; allowed: a Dataset (see load_dataset)",
    "make_task(data, generator=0)": "generator is 0; allowed: a torch.Generator",
    "make_task(data, generator=g, tasks=(2.5,))": "tasks is (2.5,); allowed: a list or tuple of a whole number",
    "make_task(data, generator=g, dtype=torch.int64)": "dtype is torch.int64; allowed: a floating dtype",
    "stack_tasks([data])": "tasks is [Dataset(",
    "Task(data.x, data.y, 2, permutation=[1, 0])": "permutation is [1, 0]; allowed: a torch.Tensor",
    "make_task(data, generator=g).sample(4, None)": "generator is None; allowed: a torch.Generator",
    "make_task(data, generator=g).unpermute([0.0, 1.0])": "values must be a torch.Tensor, got list",
}


@pytest.fixture(scope="module")
def plain_messages() -> dict[str, str]:
    code = f"""
import json, torch
from metarules.tasks import *
from metarules.tasks import Dataset, GlyphSettings, Task, load_dataset, make_task, stack_tasks
g = torch.Generator().manual_seed(0)
x, y, data = torch.rand(2, 2, generator=g), torch.tensor([0, 1]), load_dataset('rings', n=10)
messages = {{}}
for call in {list(WRONG_TYPES)!r}:
    try:
        eval(call)
    except (TypeError, ValueError) as error:
        messages[call] = str(error)
print(json.dumps(messages))
"""
    return json.loads(_run(code))


@pytest.mark.parametrize("call", WRONG_TYPES)
def test_wrong_types_are_named(plain_messages: dict[str, str], call: str) -> None:
    assert re.match(re.escape(WRONG_TYPES[call]), plain_messages[call])


def _run(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()
