"""Lesson 0 in a real JupyterLab: it runs, its explorer tells the truth, and everything is fast enough.

The tests share one page and one kernel; each finds the explorer reset.
"""

from __future__ import annotations

import pytest

from . import lesson
from .conditions import pictures_change
from .explorer import PANELS, Explorer
from .report import Report

pytestmark = pytest.mark.browser

NAME = "00_start_here.ipynb"
WIDGET = Explorer
RULE_CHANGES = 5  # how often the rule is changed for a median


def test_untouched_it_tells_the_story(widget: Explorer) -> None:
    shown = widget.shown()
    assert shown.step == shown.last > 0
    assert shown.accuracy == pytest.approx(widget.expected_accuracy(), abs=0.0051)  # two decimals are shown
    for name in PANELS:
        picture = widget.lab.page.locator(widget.panel(name))
        assert picture.count() == 1 and (picture.get_attribute("alt") or "").strip(), name


def test_scrubbing_is_fast_and_the_number_true(widget: Explorer, report: Report) -> None:
    lab = widget.lab
    start = widget.shown()
    before = widget.pictures()
    lesson.measure_redraw(lab, widget.slider, widget.all_panels, "scrubbing the explorer", report)
    shown = widget.shown()
    assert shown.rule == start.rule and 0 <= shown.step < start.step
    assert widget.changed(before) == set(PANELS)
    assert shown.accuracy == pytest.approx(widget.expected_accuracy(), abs=0.0051)
    lab.timed(lambda: lab.press_slider(widget.slider, "Home"), widget.at_step(0))
    assert widget.shown().accuracy == pytest.approx(widget.expected_accuracy(), abs=0.0051)


@pytest.mark.parametrize(("control", "panel"), [("classes", "embedding"), ("scale", "filters"), ("layer", "alignment")])
def test_an_option_redraws_its_own_panel_alone(widget: Explorer, control: str, panel: str) -> None:
    lab = widget.lab
    lab.unfold("metarules-fold")
    before, said, sent = widget.pictures(), widget.shown(), widget.sources()
    change = {"layer": lambda: lab.choose("metarules-layer", "layer 1")}
    action = change.get(control, lambda: lab.toggle(f"metarules-{control}"))
    lab.timed(action, pictures_change(widget.panel(panel)))
    assert widget.changed(before) == {panel}
    assert {name for name, was in sent.items() if widget.sources()[name] != was} == {
        panel
    }  # the others were not even sent
    assert widget.shown() == said


def test_step_play_and_reset(widget: Explorer) -> None:
    lab = widget.lab
    opened, start = widget.pictures(), widget.shown()
    lab.timed(lambda: lab.click("metarules-step"), widget.at_step(0))  # from the end to the start
    lab.timed(lambda: lab.click("metarules-step"), widget.says(r", step [1-9]\d* of "))
    first = widget.shown().step
    play = lab.find("metarules-play").locator("button").first
    lab.timed(play.click, widget.says(rf", step (?!{first} )\d+ of "))
    after = widget.shown().step
    lab.wait_for("([s, old]) => !document.querySelector(s).innerText.includes(old)", 20, [widget.status, f" {after} "])
    play.click()  # pause
    lab.wait_for_quiet(widget.status)
    paused = widget.shown().step
    assert first < after < paused <= start.last
    assert widget.changed(opened) or paused == start.last
    lab.click("metarules-reset")
    lab.wait_for_quiet(widget.status)
    assert widget.shown() == start and widget.changed(opened) == set()


def test_another_rule_shows_busy_at_once_and_its_result_soon(widget: Explorer, report: Report) -> None:
    lab = widget.lab
    lab.unfold("metarules-fold")
    opened = widget.shown().rule
    others = [label for label in lab.choices("metarules-rule") if label != opened]
    busy, result = [], []
    for label in (others * RULE_CHANGES)[:RULE_CHANGES]:
        until = {
            "busy": widget.says("^Learning with "),
            "result": widget.finished(label),
            "pictures": pictures_change(widget.all_panels),
        }
        times = lab.timed_all(lambda label=label: lab.choose("metarules-rule", label), until)
        busy.append(times["busy"])
        result.append(max(times["result"], times["pictures"]))
        lab.wait_for_quiet(widget.status)
        shown = widget.shown()
        assert shown.rule == label and shown.step == shown.last  # and it stays there
        assert shown.accuracy == pytest.approx(widget.expected_accuracy(), abs=0.0051), label
    assert report.add(lab.name, "busy sign after a change of rule", busy, bound=lesson.BUSY_SIGN) < lesson.BUSY_SIGN
    assert report.add(lab.name, "result of a change of rule", result, bound=lesson.RESULT) < lesson.RESULT


def test_a_bad_number_is_answered_with_a_sentence(widget: Explorer) -> None:
    lab = widget.lab
    lab.unfold("metarules-fold")
    before = widget.pictures()
    for control in ("metarules-seed", "metarules-steps"):
        lab.timed(lambda control=control: lab.fill_number(control, -3), widget.says("did not work.*-3"))
        assert widget.changed(before) == set()
        assert "Traceback" not in lab.text(".jp-OutputArea")
        widget.reset()


class TestLesson(lesson.RunAgain):
    """What every lesson must show."""
