"""Lesson 4 in a real JupyterLab: it runs, its angles are true, every control answers, and it is fast enough.

The tests share one page and one kernel; each finds the widget reset.
"""

from __future__ import annotations

import re

import pytest

from . import lesson
from .conditions import pictures_change
from .lab import LabServer
from .report import Report
from .widget import Widget

pytestmark = pytest.mark.browser

NAME = "04_backward_weights.ipynb"

# The angle once more: a plain loop over the rule, no recording, no widget, the school formula.
RECOMPUTE = """
def _angle_again(step, layer):
    import math
    import torch
    from metarules.base_model import InitSettings, init_state
    from metarules.studies.backward_weights import backward_rule

    shown = turning
    rule = backward_rule(shown.way, shown._rule, shown.run.task.n_classes)
    g = torch.Generator().manual_seed(shown.run.seed)
    settings = InitSettings(shown.run.weight_std, rule.recommended.bias_std)
    phi = rule.init_extra(init_state((64, 32, 32, 32), settings=settings, generator=g), g)
    with torch.no_grad():
        for _ in range(step):
            phi = rule(phi, shown.run.task.sample(rule.recommended.batch_size, g))
    W, V = (t.double().flatten() for t in (phi.layers[layer - 1].W, phi.layers[layer - 1].V))
    return math.degrees(math.acos(max(-1, min(1, float(W @ V / (W.norm() * V.norm()))))))
"""


class Turning(Widget):
    """The one `BackwardWeights` of a page."""

    panels = ("weights", "turn", "angles", "backprop")
    words = (
        r"^(?P<way>.+), step (?P<step>\d+) of (?P<last>\d+): "
        r"V and W of layer (?P<layer>\d) are (?P<angle>\d+) degrees"
    )

    def check_angle(self) -> None:
        """The angle that is said is the one that an independent computation in the kernel gives."""
        said = self.said()
        again = float(self.lab.kernel_value(f"_angle_again({said['step']}, {said['layer']})", setup=RECOMPUTE))
        assert int(said["angle"]) == pytest.approx(again, abs=0.51), said["way"]


WIDGET = Turning


def test_untouched_it_tells_the_story(widget: Turning) -> None:
    shown = widget.said()
    assert shown["step"] == shown["last"] == "50" and int(shown["angle"]) < 20
    widget.check_angle()
    for name in widget.panels:
        picture = widget.lab.page.locator(widget.panel(name))
        assert picture.count() == 1 and (picture.get_attribute("alt") or "").strip(), name


def test_scrubbing_is_fast_and_the_number_true(widget: Turning, report: Report) -> None:
    lab, before = widget.lab, widget.pictures()
    lesson.measure_redraw(lab, widget.slider, widget.all_panels, "scrubbing the turning of V", report)
    assert widget.changed(before) == set(widget.panels)
    widget.check_angle()
    lab.timed(lambda: lab.press_slider(widget.slider, "Home"), widget.says(", step 0 of "))
    widget.check_angle()


def test_layer_play_and_reset(widget: Turning) -> None:
    lab = widget.lab
    lab.unfold("metarules-fold")
    lab.timed(lambda: lab.choose("metarules-layer", "layer 1"), widget.says("of layer 1 are"))
    widget.check_angle()
    lab.timed(lambda: lab.press_slider(widget.slider, "Home"), widget.says(", step 0 of "))
    play = lab.find("metarules-play").locator("button").first
    lab.timed(play.click, widget.says(r", step [1-9]\d* of "))
    play.click()  # pause
    lab.wait_for_quiet(widget.status)
    assert 0 < int(widget.said()["step"]) <= 50


def test_another_way_shows_busy_at_once_and_its_result_soon(widget: Turning, report: Report) -> None:
    lab = widget.lab
    here = widget.said()["way"]
    busy, result = [], []
    for label in [label for label in lab.choices("metarules-way") if label != here]:
        until = {
            "busy": widget.says("^Learning: "),
            "result": widget.says(f"^{re.escape(label)}, step "),
            "pictures": pictures_change(widget.all_panels),
        }
        times = lab.timed_all(lambda label=label: lab.choose("metarules-way", label), until)
        busy.append(times["busy"])
        result.append(max(times["result"], times["pictures"]))
        lab.wait_for_quiet(widget.status)
        shown = widget.said()
        assert shown["way"] == label and shown["step"] == shown["last"]
        widget.check_angle()
    assert report.add(lab.name, "busy sign after a change of way", busy, bound=lesson.BUSY_SIGN) < lesson.BUSY_SIGN
    assert report.add(lab.name, "result of a change of way", result, bound=lesson.RESULT) < lesson.RESULT


def test_a_bad_number_is_answered_with_a_sentence(widget: Turning) -> None:
    lab = widget.lab
    lab.unfold("metarules-fold")
    before = widget.pictures()
    for control in ("metarules-seed", "metarules-steps", "metarules-spread"):
        lab.timed(lambda control=control: lab.fill_number(control, -3), widget.says("did not work.*-3"))
        assert widget.changed(before) == set()
        assert "Traceback" not in lab.text(".jp-OutputArea")
        widget.reset()


def test_a_film_is_written(widget: Turning, lab_server: LabServer) -> None:
    lab = widget.lab
    lab.unfold("metarules-fold")
    lesson.check_gif(widget, lab_server, "v_turns_to_w.gif", frames=26)


class TestLesson(lesson.EveryLesson):
    """What every lesson must show."""
