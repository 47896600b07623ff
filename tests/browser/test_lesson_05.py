"""Lesson 5 in a real JupyterLab: it runs, its explorer tells the truth, and everything is fast enough.

The tests share one page and one kernel; each finds the explorer reset.
"""

from __future__ import annotations

from typing import Any

import pytest

from . import lesson
from .conditions import pictures_change
from .report import Report
from .widget import Widget

pytestmark = pytest.mark.browser

NAME = "05_meta_objective.ipynb"
DATA_CHANGES = 4  # how often the data are changed for a median

# The loss once more, from the points alone: no path, no widget.
RECOMPUTE = """
def _loss_again():
    import torch
    from metarules.meta_objective import ridge_cosine_loss
    from metarules.widgets.meta_objective_explorer import MetaObjectiveExplorer

    shown = next(value for value in globals().values() if isinstance(value, MetaObjectiveExplorer))
    p, move = shown.pull, shown.move
    y_a, y_b = (torch.eye(3, dtype=torch.float64)[labels] for labels in (p.labels_a, p.labels_b))
    return float(ridge_cosine_loss(p.path_a[move], y_a, p.path_b[move], y_b, **vars(shown.settings)))
"""


class Plane(Widget):
    """The one `MetaObjectiveExplorer` of a page."""

    panels = ("plane", "answers", "ridge", "moves")
    words = (
        r"^Move (?P<move>\d+) of (?P<last>\d+), K = (?P<K>\d+), lambda = (?P<ridge>[\d.]+): loss (?P<loss>\d\.\d\d) ="
    )
    slider = "metarules-ridge"

    def prepare_work(self) -> None:
        """Choose digits: other clouds are there at once."""
        label = next(label for label in self.lab.choices("metarules-data") if label.startswith("Digits"))
        self.lab.timed(lambda: self.lab.choose("metarules-data", label), pictures_change(self.all_panels))
        self.lab.wait_for_quiet(self.status)

    def check_loss(self) -> None:
        """The loss that is said is the one that an independent computation in the kernel gives."""
        again = float(self.lab.kernel_value("_loss_again()", setup=RECOMPUTE))
        assert float(self.said()["loss"]) == pytest.approx(again, abs=0.0051)


WIDGET = Plane


def test_untouched_it_tells_the_story(widget: Plane) -> None:
    shown = widget.said()
    assert shown["move"] == "0" and shown["ridge"] == "0.1" and float(shown["loss"]) > 0.3
    widget.check_loss()
    for name in widget.panels:
        picture = widget.lab.page.locator(widget.panel(name))
        assert picture.count() == 1 and (picture.get_attribute("alt") or "").strip(), name


def test_following_the_arrows(widget: Plane, report: Report) -> None:
    lab, start = widget.lab, widget.said()
    last, before = int(start["last"]), widget.pictures()
    for number in range(1, lesson.ROUNDS + 1):  # a neighbour on the machine can spoil one round
        losses, times = [float(start["loss"])], []
        for move in range(1, last + 1):
            until = {"words": widget.says(rf"^Move {move} of "), "plane": pictures_change(widget.panel("plane"))}
            times.append(max(lab.timed_all(lambda: lab.click("metarules-follow"), until).values()))
            losses.append(float(widget.said()["loss"]))
        what = "one move along the arrows" + (f", round {number}" if number > 1 else "")
        median = report.add(lab.name, what, times, bound=lesson.REDRAW)
        if median < lesson.REDRAW or number == lesson.ROUNDS:
            break
        widget.reset()
    assert median < lesson.REDRAW
    assert losses == sorted(losses, reverse=True) and losses[-1] < 0.2 * losses[0]
    assert widget.changed(before) == set(widget.panels)
    widget.check_loss()
    lab.timed(lambda: lab.click("metarules-follow"), widget.says("^Move 0 of "))
    assert widget.changed(before) == set()


@pytest.mark.parametrize(("control", "says"), [("labels", "K = 6,"), ("ridge", "lambda = 0.1585:"), ("spread", "loss")])
def test_each_slider_changes_all_panels(widget: Plane, control: str, says: str) -> None:
    lab, before = widget.lab, widget.pictures()
    until = {"words": widget.says(says), "pictures": pictures_change(widget.all_panels)}
    lab.timed_all(lambda: lab.press_slider(f"metarules-{control}", "ArrowRight"), until)
    lab.wait_for_quiet(widget.status)
    assert widget.changed(before) == set(widget.panels)
    widget.check_loss()


def test_lambda_is_fast(widget: Plane, report: Report) -> None:
    lab = widget.lab
    lab.timed(lambda: lab.press_slider(widget.slider, "End"), widget.says("lambda = 1000:"))
    lab.wait_for_quiet(widget.status)
    lesson.measure_redraw(lab, widget.slider, widget.all_panels, "another lambda", report)
    lab.wait_for_quiet(widget.status)
    widget.check_loss()


def test_the_choice_of_arrows_redraws_the_plane_alone(widget: Plane) -> None:
    lab, before, said = widget.lab, widget.pictures(), widget.said()
    sent = widget.sources()
    lab.timed(lambda: lab.choose("metarules-arrows", "none"), pictures_change(widget.panel("plane")))
    assert widget.changed(before) == {"plane"} and widget.said() == said
    assert {name for name, was in sent.items() if widget.sources()[name] != was} == {"plane"}


def test_another_objective_is_another_number(widget: Plane) -> None:
    lab, before = widget.lab, widget.pictures()
    lab.timed(lambda: lab.choose("metarules-variant", "Cross-entropy, logit scale 5"), widget.says("cross-entropy"))
    lab.wait_for_quiet(widget.status)
    assert widget.changed(before) == set(widget.panels)
    widget.check_loss()


def test_digits_show_busy_at_once_and_their_points_soon(widget: Plane, report: Report) -> None:
    lab = widget.lab
    busy, result = [], []
    digits = [label for label in lab.choices("metarules-data") if label.startswith("Digits")]
    for seed, label in enumerate((digits * DATA_CHANGES)[:DATA_CHANGES], start=11):  # seeds not drawn before
        lab.timed(lambda seed=seed: lab.fill_number("metarules-seed", seed), pictures_change(widget.panel("plane")))
        lab.wait_for_quiet(widget.status)
        until: dict[str, Any] = {
            "busy": widget.says("^Drawing "),
            "result": widget.says("^Move 0 of "),
            "pictures": pictures_change(widget.all_panels),
        }
        lab.timed_all(lambda: lab.choose("metarules-data", "Three clouds in a row"), {"it": until["pictures"]})
        lab.wait_for_quiet(widget.status)
        times = lab.timed_all(lambda label=label: lab.choose("metarules-data", label), until)
        busy.append(times["busy"])
        result.append(times["pictures"])
        lab.wait_for_quiet(widget.status)
        widget.check_loss()
        widget.reset()
    assert report.add(lab.name, "busy sign after a change to digits", busy, bound=lesson.BUSY_SIGN) < lesson.BUSY_SIGN
    assert report.add(lab.name, "result of a change to digits", result, bound=lesson.RESULT) < lesson.RESULT


def test_a_bad_number_is_answered_with_a_sentence(widget: Plane) -> None:
    lab, before = widget.lab, widget.pictures()
    lab.timed(lambda: lab.fill_number("metarules-seed", -3), widget.says("did not work.*-3"))
    assert widget.changed(before) == set()
    assert "Traceback" not in lab.text(".jp-OutputArea")


class TestLesson(lesson.EveryLesson):
    """What every lesson must show."""
