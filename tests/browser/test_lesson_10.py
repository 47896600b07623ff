"""Lesson 10 in a real JupyterLab: it runs, both rules' numbers are true, every control answers, the board is kept.

The tests share one page and one kernel; each finds the widget reset.
"""

from __future__ import annotations

import json
import re
from typing import ClassVar

import pytest

from . import lesson
from .conditions import pictures_change, text_matches
from .lab import LabServer
from .report import Report
from .widget import Widget

pytestmark = pytest.mark.browser

NAME = "10_build_your_own_rule.ipynb"

# Both numbers once more: a plain loop over each rule, no recording, no film, no widget.
RECOMPUTE = """
def _both_again(step):
    import json
    import torch
    from metarules import forward, init_state
    from metarules.base_model import InitSettings
    from metarules.evaluation import few_shot_accuracy

    e, found = explorer.exploration, []
    for name in (explorer.rule_name, explorer.beside_name):
        rule = explorer._rules[name]
        g = torch.Generator().manual_seed(e.seed)
        how = rule.recommended
        phi = init_state(e.sizes, settings=InitSettings(how.weight_std, how.bias_std), generator=g)
        with torch.no_grad():
            for _ in range(step):
                phi = rule(phi, e.task.sample(200, g))
        found.append(float(few_shot_accuracy(forward(phi, e.task.x).features, e.task.y, n_splits=5).mean()))
    return json.dumps(found)
"""


class Pair(Widget):
    """The one explorer of the page, with two rules."""

    panels = ("embedding", "embedding-b", "filters", "filters-b", "accuracy", "classes")
    words = (
        r"^A, (?P<a>.+), and B, (?P<b>.+), step (?P<step>\d+) of (?P<last>\d+): "
        r"few-shot accuracy (?P<accuracy_a>\d\.\d\d) and (?P<accuracy_b>\d\.\d\d)\b"
    )

    def check_numbers(self) -> None:
        """What is said of both rules is what an independent computation in the kernel gives."""
        said = self.said()
        again = json.loads(self.lab.kernel_value(f"_both_again({said['step']})", setup=RECOMPUTE))
        assert [float(said["accuracy_a"]), float(said["accuracy_b"])] == pytest.approx(again, abs=0.0051), said


WIDGET = Pair


def test_untouched_it_tells_the_story(widget: Pair) -> None:
    shown = widget.said()
    assert shown["step"] == shown["last"] == "40" and shown["a"] == "Mine"
    assert float(shown["accuracy_b"]) > float(shown["accuracy_a"]) > 0.8
    widget.check_numbers()


def test_scrubbing_is_fast_and_both_numbers_true(widget: Pair, report: Report) -> None:
    lab, before = widget.lab, widget.pictures()
    lesson.measure_redraw(lab, widget.slider, widget.all_panels, "scrubbing two rules", report)
    assert widget.changed(before) == set(widget.panels)
    widget.check_numbers()
    lab.timed(lambda: lab.press_slider(widget.slider, "Home"), widget.says(", step 0 of "))
    widget.check_numbers()


def test_another_rule_b_changes_its_column_alone(widget: Pair) -> None:
    lab, before = widget.lab, widget.pictures()
    until = {"busy": widget.says("^Learning with Mine and Hebb"), "result": widget.says(r"and B, Hebb, step ")}
    lab.timed_all(lambda: lab.choose("metarules-beside", "Hebb"), until)
    lab.wait_for_quiet(widget.status)
    assert widget.changed(before) == {"embedding-b", "filters-b", "accuracy", "classes"}
    widget.check_numbers()


def test_another_rule_a_and_a_bad_number(widget: Pair) -> None:
    lab = widget.lab
    lab.timed(lambda: lab.choose("metarules-rule", "Oja"), widget.says(r"^A, Oja, and B, .+, step "))
    lab.wait_for_quiet(widget.status)
    before = widget.pictures()
    lab.unfold("metarules-fold")
    lab.timed(lambda: lab.fill_number("metarules-steps", -3), widget.says("did not work.*-3"))
    assert widget.changed(before) == set() and "Traceback" not in lab.text(".jp-OutputArea")


def test_play_and_two_columns_stand_side_by_side(widget: Pair) -> None:
    lab = widget.lab
    lab.timed(lambda: lab.press_slider(widget.slider, "Home"), widget.says(", step 0 of "))
    before = widget.pictures()
    play = lab.find("metarules-play").locator("button").first
    lab.timed(play.click, pictures_change(widget.all_panels))
    play.click()  # pause
    lab.wait_for_quiet(widget.status)
    assert widget.changed(before)
    boxes = [lab.page.locator(widget.panel(name)).bounding_box() for name in ("filters", "filters-b")]
    assert boxes[0] and boxes[1] and boxes[0]["y"] == boxes[1]["y"] and boxes[0]["x"] < boxes[1]["x"]


def test_the_board_is_a_whole_file(widget: Pair, lab_server: LabServer) -> None:
    content = json.loads((lab_server.notebooks / "my_leaderboard.json").read_text())
    own = {entry["name"] for entry in content["entries"] if entry["own"]}
    assert own == {"two numbers, start", "two numbers, trained"}
    said = widget.lab.kernel_value("repr(board.enter(in_place, 'again'))")
    assert re.search("Not ranked: the step overwrites W", said)


# Where a dot is drawn: across and down, in shares of the picture; its row, and its class.
LONELIEST = """
def _loneliest(panel):
    import numpy as np

    film, frame = explorer.film(explorer._view, panel), explorer.place_in_film()
    axes, points = film.clouds(frame)[-1]
    gaps = np.linalg.norm(points[:, None] - points[None], axis=-1) + 1e9 * np.eye(len(points))
    dot = int(gaps.min(1).argmax())
    (x0, y0), (x1, y1) = axes.get_position().get_points()
    (a0, a1), (b0, b1) = axes.get_xlim(), axes.get_ylim()
    x, y = points[dot]
    across, down = x0 + (x1 - x0) * (x - a0) / (a1 - a0), 1 - y0 - (y1 - y0) * (y - b0) / (b1 - b0)
    row = int(explorer.exploration.dots[dot])
    return [float(across), float(down), row, int(digits.y[row])]
"""


@pytest.mark.parametrize("panel", ["embedding", "embedding-b"])
def test_a_click_on_a_dot_shows_its_image_and_class(widget: Pair, panel: str) -> None:
    lab = widget.lab
    across, down, row, label = lab.kernel_value(f"_loneliest({panel!r})", setup=LONELIEST)
    picture = lab.page.locator(widget.panel(panel))
    box = picture.bounding_box()
    assert box is not None
    place = {"x": across * box["width"], "y": down * box["height"]}
    words = f"This dot is image {row}, class {label}\\."
    lab.timed(lambda: picture.click(position=place), text_matches(".metarules-peek-words", words))
    image = lab.page.locator(".metarules-peek-image img")
    assert image.is_visible() and f"image {row}, class {label}" in str(image.get_attribute("alt"))
    lab.screenshot(f"peek-{panel}", "metarules-widget")


class TestLesson(lesson.RunAgain):
    """What every lesson must show."""

    runs: ClassVar[int] = 2  # of the two rules side by side
