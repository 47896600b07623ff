"""tools/notebooks.py: two runs give the same bytes, `--check` notices changes, a failing lesson stays as it was."""

from __future__ import annotations

import base64
import io
from pathlib import Path

import nbformat
import numpy as np
import pytest
from PIL import Image

from tools import notebooks

CELLS = [
    "import os\nimport ipywidgets\nfrom IPython.display import display\n"
    "print('threads', os.environ['OMP_NUM_THREADS'])",
    "slider = ipywidgets.IntSlider(3)\ndisplay(ipywidgets.VBox([slider, ipywidgets.Label('a')]))",
    "slider.value = 5\nslider.value",
]


def lesson(path: Path, cells: list[str]) -> Path:
    book = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(s, id=f"c{i}") for i, s in enumerate(cells)])
    nbformat.write(book, path)
    return path


def png(level: int, size: int = 8) -> str:
    stream = io.BytesIO()
    Image.fromarray(np.full((size, size), level, dtype=np.uint8)).save(stream, format="PNG")
    return base64.b64encode(stream.getvalue()).decode()


@pytest.fixture(scope="module")
def executed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A lesson with widgets, run once and stored."""
    path = lesson(tmp_path_factory.mktemp("lessons") / "small.ipynb", CELLS)
    assert notebooks.main([str(path)]) == 0
    return path


def test_two_runs_give_the_same_bytes(executed: Path, capsys: pytest.CaptureFixture[str]):
    before = executed.read_bytes()
    assert notebooks.main([str(executed)]) == 0
    assert executed.read_bytes() == before
    assert "unchanged" in capsys.readouterr().out


def test_what_is_stored(executed: Path):
    book = nbformat.read(executed, as_version=4)
    assert [cell.execution_count for cell in book.cells] == [1, 2, 3]
    assert book.cells[0].outputs[0].text == "threads 1\n"
    assert book.metadata.language_info == {"name": "python"}
    assert book.metadata.kernelspec.name == "python3"
    state = book.metadata.widgets[notebooks.WIDGET_STATE].state
    assert sorted(state) == [f"{number:032x}" for number in range(len(state))]
    assert set(notebooks.views(book.cells[1])) <= set(state)
    children = next(model.state.children for model in state.values() if model.model_name == "VBoxModel")
    assert all(child.removeprefix("IPY_MODEL_") in state for child in children)
    assert not list(executed.parent.glob(".*.tmp"))


def test_check_writes_nothing_and_notices_a_change(executed: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    stale = tmp_path / "stale.ipynb"
    stale.write_text(executed.read_text(encoding="utf-8").replace("threads 1\\n", "threads 2\\n"), encoding="utf-8")
    before = stale.read_bytes()
    assert notebooks.main(["--check", str(executed), str(stale)]) == 1
    assert stale.read_bytes() == before
    said = capsys.readouterr().out
    assert "small.ipynb: up to date" in said and "stale.ipynb: out of date" in said and "cell 1: outputs differ" in said


def test_a_failing_lesson_is_left_as_it_was(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    path = lesson(tmp_path / "bad.ipynb", ["raise ValueError('no such thing')"])
    before = path.read_bytes()
    assert notebooks.main([str(path)]) == 1
    assert path.read_bytes() == before
    assert "no such thing" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("old", "new", "loose", "agree"),
    [
        ("0.91", "0.91", False, True),
        ("0.91", "0.92", False, False),
        ("0.91", "0.92", True, True),
        (png(100), png(101), False, True),
        (png(100), png(140), False, False),
        (png(100), png(140), True, True),
        (png(100), png(100, size=9), True, False),
        (png(100), "text", True, False),
        ([{"data": png(1)}], [{"data": png(2)}], False, True),
        ([1, 2], [1, 2, 3], True, False),
        ({"a": 1}, {"b": 1}, True, False),
        (3, 4, True, False),
    ],
)
def test_same(old: object, new: object, loose: bool, agree: bool):
    assert notebooks.same(notebooks.as_values(old), notebooks.as_values(new), loose) is agree
