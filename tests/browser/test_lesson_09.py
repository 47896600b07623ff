"""Lesson 9 in a real JupyterLab: it runs, any net is taught while one watches, its numbers are the evaluation's own."""

from __future__ import annotations

from typing import ClassVar

import pytest

from . import lesson
from .conditions import pictures_change
from .report import Report
from .widget import Widget

pytestmark = pytest.mark.browser

NAME = "09_does_it_generalise.ipynb"

# The number once more, by the evaluation's protocol, without the widget and its study.
RECOMPUTE = """
def _accuracy_again():
    cell, data = grid.run, grid.study.dataset(grid.data_menu.value)
    protocol = Protocol(cell.net.hidden, cell.labels, 20, 1, grid.seed_box.value, cell.net.nonlinearity)
    return evaluate_rule(rule, "", data, protocol, steps=grid.step).row.accuracy
"""


class Grid(Widget):
    """The one `GeneralisationGrid` of a page."""

    panels = ("curve", "labels", "table")  # the map is the same for every seed
    words = (
        r"^(?P<data>\w+), (?P<sizes>[\d-]+), (?P<nonlinearity>\w+), (?P<labels>\d+) labels per class, "
        r"step (?P<step>\d+): accuracy (?P<accuracy>\d\.\d\d)"
    )

    def check_number(self) -> None:
        """The accuracy that is said is the one that an independent computation in the kernel gives."""
        again = self.lab.kernel_value("_accuracy_again()", setup=RECOMPUTE)
        assert float(self.said()["accuracy"]) == pytest.approx(again, abs=0.0051)  # two decimals are shown


WIDGET = Grid


def test_untouched_it_tells_the_story(widget: Grid) -> None:
    said = widget.said()
    assert (said["data"], said["sizes"], said["step"]) == ("Handwriting", "64-128-128-32", "30")
    assert "above untaught" in widget.lab.text(widget.status)
    widget.check_number()


def test_the_inner_step_is_scrubbed_fast_and_true(widget: Grid, report: Report) -> None:
    lab = widget.lab
    lab.unfold("metarules-fold")
    moving = f"{widget.panel('curve')}, {widget.panel('table')}"
    lesson.measure_redraw(lab, widget.slider, moving, "redraw of an inner step", report, repeats=20)
    widget.check_number()


def test_another_net_is_there_soon(widget: Grid, report: Report) -> None:
    lab, result = widget.lab, []
    for name in ("step", "tanh", "silu"):
        done = {"text": widget.says(rf", {name}, 10 labels"), "pictures": pictures_change(widget.all_panels)}
        times = lab.timed_all(lambda name=name: lab.choose("metarules-nonlinearity", name), done)
        result.append(max(times.values()))
        widget.check_number()
    assert report.add(lab.name, "result of another nonlinearity", result, bound=lesson.RESULT) < lesson.RESULT
    lab.unfold("metarules-fold")
    lab.timed(lambda: lab.fill_number("metarules-seed", -1), widget.says("did not work.*seed is -1"))


def test_a_click_on_the_map_teaches_that_net(widget: Grid) -> None:
    lab = widget.lab
    box = lab.page.locator(widget.panel("map")).bounding_box()
    assert box is not None
    done = widget.says(r"64-16-16-32, relu")
    lab.timed(lambda: lab.page.mouse.click(box["x"] + 0.2 * box["width"], box["y"] + 0.5 * box["height"]), done)
    widget.check_number()


class TestLesson(lesson.EveryLesson):
    """What every lesson must show."""

    runs: ClassVar[int] = 2  # the rule's, and the rival's fit
