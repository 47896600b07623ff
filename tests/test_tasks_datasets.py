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
    with pytest.raises(ValueError, match="name is 'mnist'; allowed: blobs, digits, glyphs"):
        load_dataset("mnist")
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


def test_importing_the_room_loads_no_heavy_library() -> None:
    heavy = "('matplotlib', 'sklearn', 'PIL')"
    code = f"import sys, metarules.tasks; print([m for m in {heavy} if m in sys.modules])"
    assert _run(code) == "[]"


# Calls of a wrong type and what the message must say. Under test the package's annotations are enforced, which hides
# some of our own messages; these calls run in a plain interpreter, as a reader's do.
WRONG_TYPES = {
    "Dataset('d', [[1.0]], y, None, ('a',))": "x must be a torch.Tensor, got list",
    "Dataset('d', x, [0, 1], None, ('a',))": "y is list; allowed: a torch.int64 tensor",
    "load_dataset(3)": "name is 3; allowed: blobs, digits",
    "load_dataset('glyphs', size='8')": "size is '8'; allowed: a whole number in [8, 28]",
    "load_dataset('glyphs', settings={'scale': 1})": "settings is {'scale': 1}; allowed: None or GlyphSettings",
    "load_dataset('glyphs', fonts=3)": "fonts is 3; allowed: a list or tuple",
    "load_dataset('glyphs', fonts=[3])": "fonts names '3'; allowed: DejaVuSans",
    "load_dataset('glyphs', characters=3)": "characters holds 3; allowed: single characters",
    "load_dataset('random_decoder', family=3)": "family is 3; allowed: bumps",
    "GlyphSettings(scale=0.5)": "scale is 0.5; allowed: a pair (from, to) of numbers in [0.4, 1.0]",
    "make_task('digits', generator=g)": "dataset must be a Dataset, got str; see load_dataset",
    "make_task(data, generator=0)": "generator is 0; allowed: a torch.Generator",
    "make_task(data, generator=g, tasks=(2.5,))": "tasks[0] is 2.5; allowed: a whole number",
    "make_task(data, generator=g, dtype=torch.int64)": "dtype is torch.int64; allowed: torch.float32",
    "stack_tasks([data])": "tasks[0] must be a Task, got Dataset",
    "Task(data.x, data.y, 2, permutation=[1, 0])": "permutation is list; allowed: None or a torch.int64 tensor",
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
