"""Lesson 2 in a real JupyterLab: it runs, its mixer tells the truth, and everything is fast enough.

The tests share one page and one kernel; each finds the mixer reset.
"""

from __future__ import annotations

import re

import pytest

from . import lesson
from .conditions import pictures_change
from .report import Report
from .widget import Widget

pytestmark = pytest.mark.browser

NAME = "02_local_rules.ipynb"
CHANGES = 6  # how often the mix is changed for a median

# The number once more, by the evaluation's own path: no recording, no closed-form probe, no widget.
RECOMPUTE = """
def _mixed_again(hebb, decorr, soft, step):
    from metarules.base_model import forward
    from metarules.classic_rules.mixed import MixedRule
    from metarules.evaluation import few_shot_accuracy, learned_state

    rule = MixedRule.with_settings(hebb=hebb, decorr=decorr, soft=soft)
    phi = learned_state(rule, task, steps=step)
    return float(few_shot_accuracy(forward(phi, task.x).features, task.y, n_splits=5).mean())
"""


class Mixer(Widget):
    """The one `RuleMixer` of a page."""

    panels = ("filters", "likeness", "dimension", "accuracy")
    words = r"^(?P<mix>.+), step (?P<step>\d+) of (?P<last>\d+): few-shot accuracy (?P<accuracy>\d\.\d\d)\b"

    def check_number(self, hebb: float, decorr: float, soft: float) -> None:
        """The accuracy that is said is the one that an independent computation in the kernel gives."""
        said = self.said()
        call = f"_mixed_again({hebb}, {decorr}, {soft}, {said['step']})"
        again = float(self.lab.kernel_value(call, setup=RECOMPUTE))
        assert float(said["accuracy"]) == pytest.approx(again, abs=0.0051), call  # two decimals are shown


WIDGET = Mixer


def test_untouched_it_tells_the_story(widget: Mixer) -> None:
    said = widget.said()
    assert said["mix"] == "Hebb" and said["step"] == said["last"]
    widget.check_number(1, 0, 0)
    for name in widget.panels:
        picture = widget.lab.page.locator(widget.panel(name))
        assert picture.count() == 1 and (picture.get_attribute("alt") or "").strip(), name


def test_scrubbing_is_fast_and_the_number_true(widget: Mixer, report: Report) -> None:
    lab = widget.lab
    lab.unfold("metarules-fold")
    before = widget.pictures()
    lesson.measure_redraw(lab, "metarules-step-slider", widget.all_panels, "scrubbing the mixer", report)
    assert widget.changed(before) == set(widget.panels)
    widget.check_number(1, 0, 0)


def test_moving_a_term_shows_busy_at_once_and_its_result_soon(widget: Mixer, report: Report) -> None:
    lab = widget.lab
    busy, result = [], []
    for number in range(1, CHANGES + 1):
        weight = 0.1 * number
        until = {
            "busy": widget.says("^Learning with Your own mix"),
            "result": widget.says("^Your own mix, step 100 of "),
            "pictures": pictures_change(widget.all_panels),
        }
        times = lab.timed_all(lambda: lab.press_slider("metarules-decorr", "ArrowRight"), until)
        busy.append(times["busy"])
        result.append(max(times["result"], times["pictures"]))
        lab.wait_for_quiet(widget.status)
        widget.check_number(1, weight, 0)
    assert report.add(lab.name, "busy sign after a term is moved", busy, bound=lesson.BUSY_SIGN) < lesson.BUSY_SIGN
    assert report.add(lab.name, "result of a term moved", result, bound=lesson.RESULT) < lesson.RESULT


def test_presets(widget: Mixer, report: Report) -> None:
    lab = widget.lab
    result = []
    for preset in ("Oja", "Hebb + decorrelation", "Soft competition", "Learned"):
        before = widget.pictures()
        done = widget.says(rf"^{re.escape(preset)}, step 100 of ")
        result.append(lab.timed(lambda preset=preset: lab.choose("metarules-preset", preset), done))
        lab.wait_for_quiet(widget.status)
        assert widget.changed(before) == set(widget.panels), preset
    assert report.add(lab.name, "result of a preset", result, bound=lesson.RESULT) < lesson.RESULT


def test_the_layer_redraws_its_own_panel_alone(widget: Mixer) -> None:
    lab = widget.lab
    lab.unfold("metarules-fold")
    before, said = widget.pictures(), widget.said()
    lab.timed(lambda: lab.choose("metarules-layer", "layer 3"), pictures_change(widget.panel("likeness")))
    assert widget.changed(before) == {"likeness"} and widget.said() == said


def test_a_bad_number_is_answered_with_a_sentence(widget: Mixer) -> None:
    lab = widget.lab
    lab.unfold("metarules-fold")
    before = widget.pictures()
    for control in ("metarules-seed", "metarules-steps"):
        lab.timed(lambda control=control: lab.fill_number(control, -3), widget.says("did not work.*-3"))
        assert widget.changed(before) == set()
        assert "Traceback" not in lab.text(".jp-OutputArea")
        widget.reset()


class TestLesson(lesson.EveryLesson):
    """What every lesson must show."""
