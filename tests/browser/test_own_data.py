"""Data of the reader's own in a real JupyterLab: files uploaded, bad paths typed, digits drawn with mouse and keys."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from . import lesson
from .conditions import pictures_change, text_matches
from .explorer import Explorer
from .page import LabPage, Run
from .report import Report

pytestmark = pytest.mark.browser

NAME = "own_data.ipynb"  # written here: an explorer and a pad, small enough to be quick
WIDGET = Explorer
PAD = ".metarules-pad-status"
CELLS = [
    "import torch\n"
    "from metarules import load_dataset, load_rule, make_task\n"
    "from metarules.widgets import DigitPad, InnerLoopExplorer\n"
    "torch.set_num_threads(1)\n"
    'task = make_task(load_dataset("digits"), generator=torch.Generator().manual_seed(0))\n'
    'explorer = InnerLoopExplorer(load_rule("local"), task, steps=40)\n'
    "explorer",
    "pad = DigitPad(explorer)\npad",
]
# What the pad should say, by the evaluation's own path: the drawing appended to the data, scikit-learn's read-out.
READ = """
def _read_again():
    import numpy as np
    from sklearn.linear_model import RidgeClassifierCV
    from metarules.base_model import freeze
    from metarules.evaluation import probe_splits
    from metarules.evaluation.probe import ALPHAS

    model = freeze(explorer.state, task.x)
    row = pad.row[task.permutation].unsqueeze(0)
    features, new = model(task.x).double().numpy(), model(row).double().numpy()
    middle, std = features.mean(0), features.std(0)
    std[std < 1e-7] = np.inf
    x, new = (features - middle) / std, (new - middle) / std
    votes = 0
    for labelled in probe_splits(task.y, 10, 5).labelled:
        fit = RidgeClassifierCV(alphas=ALPHAS).fit(x[labelled], task.y[labelled].numpy())
        votes = votes + fit.decision_function(new)[0]
    return int(votes.argmax())
"""


@pytest.fixture(scope="module")
def lesson_lab(new_lab, lab_server) -> Iterator[LabPage]:
    """A page of our own, in place of a lesson's."""
    lab_server.write_notebook(NAME, CELLS)
    (lab_server.notebooks / "wine.csv").write_bytes(wine_csv())
    (lab_server.notebooks / "empty.csv").write_bytes(b"")
    lab = new_lab()
    lab.open_notebook(NAME)
    yield lab
    lab.close()


@pytest.fixture
def widget(opened_widget: Explorer) -> Explorer:
    """The explorer reset, the first example drawing on the pad."""
    lab = opened_widget.lab
    lab.timed(lambda: lab.click("metarules-clear"), text_matches(PAD, "^An empty sheet"))
    lab.timed(lambda: lab.click("metarules-example"), text_matches(PAD, r"is read as \d"))
    opened_widget.reset()
    return opened_widget


def wine_csv() -> bytes:
    from sklearn.datasets import load_wine

    numbers, growers = load_wine(return_X_y=True)
    rows = [",".join(map(str, [*row, f"grower {c}"])) for row, c in zip(numbers, growers, strict=True)]
    return "\n".join(rows).encode()


def choose_file(lab: LabPage, *paths: Path) -> None:
    """Press the upload button and choose files in the browser's own dialogue."""
    with lab.page.expect_file_chooser() as chooser:
        lab.click("metarules-data-upload")
    chooser.value.set_files([str(path) for path in paths])


def type_path(lab: LabPage, path: str) -> None:
    box = lab.find("metarules-data-path").locator("input")
    box.fill(path)
    box.press("Enter")


def test_it_runs(lesson_lab: LabPage, first_run: Run) -> None:
    assert not first_run.errors and not lesson_lab.console_errors()


def test_a_file_is_uploaded_and_reset_brings_the_digits_back(
    widget: Explorer, report: Report, lab_server, tmp_path: Path
) -> None:
    lab = widget.lab
    lab.unfold("metarules-fold")
    before = widget.pictures()
    file = lab_server.notebooks / "wine.csv"
    until = {"busy": widget.says("^Learning with .* on wine.csv"), "result": widget.says(r"on wine \(178 examples, 3 ")}
    times = lab.timed_all(lambda: choose_file(lab, file), until)
    report.add("own data", "busy sign after an upload", [times["busy"]])
    report.add("own data", "result of an upload of 178 rows", [times["result"]])
    assert widget.shown().accuracy == pytest.approx(widget.expected_accuracy(), abs=0.0051)
    assert widget.changed(before) == set(widget.panels)
    bad = tmp_path / "bad.csv"
    bad.write_text("a,b,label\n1,2,x\n3,,y\n")
    good = widget.pictures()
    lab.timed(lambda: choose_file(lab, bad), widget.says("did not work.*bad.csv, line 3, column 2, 'b' is empty"))
    assert widget.changed(good) == set() and "Still showing" in lab.text(widget.status)
    assert "on wine" in lab.text(widget.status)
    widget.reset()  # all is as it was


def test_a_path_is_typed_and_a_bad_one_answered_by_a_sentence(widget: Explorer) -> None:
    lab = widget.lab
    lab.unfold("metarules-fold")
    before = widget.pictures()
    lab.timed(lambda: type_path(lab, "nowhere.csv"), widget.says("did not work.*no file or folder 'nowhere.csv'"))
    lab.timed(lambda: type_path(lab, "empty.csv"), widget.says(r"did not work.*empty.csv is empty \(0 bytes\)"))
    assert widget.changed(before) == set() and "Traceback" not in lab.text(".jp-OutputArea")
    lab.timed(lambda: type_path(lab, "wine.csv"), widget.says(r"on wine \(178 examples, 3 classes\), step"))
    assert widget.changed(before) == set(widget.panels)
    lab.timed(lambda: type_path(lab, ""), widget.says(r"^The learned rule, step"))


def draw(lab: LabPage, points: list[tuple[float, float]]) -> None:
    """One stroke with the mouse, points in shares of the canvas."""
    box = lab.find("metarules-canvas").locator("canvas").bounding_box()
    assert box is not None
    mouse = lab.page.mouse
    at = [(box["x"] + x * box["width"], box["y"] + y * box["height"]) for x, y in points]
    mouse.move(*at[0])
    mouse.down()
    for place in at[1:]:
        mouse.move(*place, steps=8)
    mouse.up()


def read(lab: LabPage) -> int:
    found = re.search(r"is read as (\d);", lab.text(PAD))
    assert found, lab.text(PAD)
    return int(found[1])


def test_a_digit_is_drawn_with_the_mouse(widget: Explorer, report: Report) -> None:
    lab = widget.lab
    lab.find("metarules-canvas").scroll_into_view_if_needed()
    assert read(lab) == lab.kernel_value("_read_again()", setup=READ)  # the stored example
    lab.timed(lambda: lab.click("metarules-clear"), text_matches(PAD, "^An empty sheet"))
    empty = lab.pictures(widget.panel("embedding"))
    until = {
        "words": text_matches(PAD, r"your drawing \(the star\) is read as \d"),
        "seen": pictures_change(".metarules-pad-seen img"),
        "star": pictures_change(".metarules-pad-embedding img, .metarules-panel-embedding img"),
    }
    strokes = [[(0.38, 0.3), (0.52, 0.15), (0.5, 0.86)]]
    times = lab.timed_all(lambda: [draw(lab, stroke) for stroke in strokes], until)
    report.add("own data", "star and reading of a drawing", [max(times.values())], bound=lesson.RESULT)
    assert read(lab) == lab.kernel_value("_read_again()", setup=READ) == 1
    assert lab.pictures(widget.panel("embedding")) != empty
    assert lab.pictures(".metarules-pad-embedding img") == lab.pictures(widget.panel("embedding"))
    assert "your drawing: read as 1" in str(lab.page.locator(".metarules-pad-embedding img").get_attribute("alt"))
    lab.timed(lambda: lab.press_slider("metarules-pad-step", "Home"), text_matches(PAD, "^At step 0 "))
    assert read(lab) == lab.kernel_value("_read_again()", setup=READ)
    assert widget.shown().step == 0  # the explorer follows its pad


def test_a_digit_is_drawn_with_keys(widget: Explorer) -> None:
    lab = widget.lab
    lab.timed(lambda: lab.click("metarules-clear"), text_matches(PAD, "^An empty sheet"))
    lab.find("metarules-canvas").locator("canvas").focus()
    keys = lab.page.keyboard
    keys.press("Space")
    for key in ["ArrowDown"] * 15:
        keys.press(key)
    lab.timed(lambda: keys.press("Space"), text_matches(PAD, r"is read as \d"))
    strokes = lab.kernel_value("pad.canvas.strokes")
    assert len(strokes) == 1 and strokes[0][-1][1] == pytest.approx(strokes[0][0][1] + 0.6, abs=0.01)
    assert read(lab) == lab.kernel_value("_read_again()", setup=READ) == 1
    assert lab.page.locator(".jp-Notebook .jp-Cell.jp-mod-selected").count() <= 1  # the keys did nothing to the page


@pytest.mark.parametrize("theme", ["dark", "light"])
def test_can_be_read_in_both_themes(widget: Explorer, theme: str) -> None:
    lab = widget.lab
    lab.set_theme(theme)
    lab.unfold("metarules-fold")
    lab.unfold("metarules-pad-fold")
    lab.screenshot(f"explorer-{theme}", "metarules-widget")
    lab.screenshot(f"pad-{theme}", "metarules-pad")
    assert not lesson.faint(lab)
    label = lab.find("metarules-canvas").locator("canvas").get_attribute("aria-label") or ""
    assert "Draw a digit" in label and "Space" in label


def test_drawings_are_kept_and_learned_with(widget: Explorer) -> None:
    lab = widget.lab
    lab.unfold("metarules-pad-fold")
    lab.choose("metarules-meant", "7")
    lab.timed(lambda: lab.click("metarules-keep"), text_matches(PAD, r"^Kept 1 drawing\(s\): 7"))
    learned = widget.says(r"on digits and my 1 \(1798 examples, 10 classes\), step")
    lab.timed(lambda: lab.click("metarules-learn"), learned)
    assert lab.kernel_value("explorer.exploration.task.n_examples") == 1798


def test_nothing_went_wrong_and_nothing_left_the_machine(lesson_lab: LabPage, first_run: Run, lab_server) -> None:
    assert not lesson_lab.console_errors(), lesson_lab.console_errors()
    assert not lesson_lab.outside and not lab_server.outside_attempts()
