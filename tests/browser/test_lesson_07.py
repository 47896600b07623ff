"""Lesson 7 in a real JupyterLab: the console opens recorded, trains, pauses, goes on, stops, and leaves nothing behind.

The tests share one page and one kernel; each finds the console reset.
"""

from __future__ import annotations

import time
from typing import Any

import pytest

from . import keyboard, lesson
from .conditions import text_matches
from .report import Report
from .widget import Widget

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skip(reason="its bounds were never measured with nothing else at work: to be done for issue 13"),
]

NAME = "07_outer_loop.ipynb"
FIRST_POINT = 5.0  # seconds after Start
NEXT_POINT = 3.0  # seconds between two
ACTS = 1.0  # seconds until pause and stop have acted
SAYS = "([s, pattern]) => new RegExp(pattern).test(document.querySelector(s).innerText.trim())"
STEPPED = r"^Meta-step (?!0 )\d+ of "

# How many points the curve has, how many threads are at work, and the held-out gain once more, from the rule alone.
LOOK = """
def _console():
    from metarules.widgets.meta_training_console import MetaTrainingConsole
    return next(value for value in globals().values() if isinstance(value, MetaTrainingConsole))

def _points():
    return len(_console().run.loss)

def _threads():
    import threading
    return sum(thread.name == "metarules-worker" for thread in threading.enumerate())

def _accuracy_again():
    from metarules.evaluation.held_out import held_out, validate
    from metarules.studies.live_training import JUDGE
    shown = _console()
    tasks = held_out(shown.live.settings.plan().data, JUDGE.tasks, JUDGE.seed)
    how = {name: getattr(JUDGE, name) for name in ("widths", "steps", "batch_size", "labels_per_class")}
    found = [float(validate(shown.rule, task, **how).mean()) for task in tasks.values()]
    return sum(found) / len(found)
"""


class Console(Widget):
    """The one `MetaTrainingConsole` of a page."""

    panels = ("loss", "held-out", "particles", "norm")
    words = (
        r"^(?P<which>A recorded run|Your run), meta-step (?P<step>\d+) of (?P<last>\d+): "
        r"held-out accuracy (?P<before>[\d.]+) at the start, (?P<after>[\d.]+) at the end"
    )
    works = r"^(Drawing|Meta-step)"

    def value(self, expression: str) -> Any:
        """Something of `LOOK`, in the kernel."""
        return self.lab.kernel_value(expression, setup=LOOK)

    def wait(self, pattern: str) -> None:
        """Wait until the status line matches."""
        self.lab.wait_for(SAYS, 60, [self.status, pattern])

    def start(self, meta_steps: int = 40) -> float:
        """Press Start; milliseconds until the first point."""
        self.lab.unfold("metarules-fold")
        self.lab.fill_number("metarules-meta-steps", meta_steps)
        until = text_matches(self.status, STEPPED)
        return self.lab.timed(lambda: self.lab.click("metarules-start"), until, timeout=60)


WIDGET = Console


def test_untouched_it_tells_the_story(widget: Console) -> None:
    shown = widget.said()
    assert shown["which"] == "A recorded run" and shown["step"] == shown["last"]
    assert float(shown["after"]) > float(shown["before"]) + 0.1
    widget.lab.screenshot("console", "metarules-widget")


def test_scrubbing_the_recorded_run_is_fast(widget: Console, report: Report) -> None:
    lesson.measure_redraw(widget.lab, widget.slider, widget.panel("particles"), "scrubbing the recorded run", report)


def test_start_pause_go_on_stop(widget: Console, report: Report) -> None:
    lab = widget.lab
    first = report.add(lab.name, "first point after Start", [widget.start() / 1000], bound=FIRST_POINT, unit="s")
    points = [(time.monotonic(), int(widget.value("_points()")))]
    while points[-1][1] < 4:
        lab.page.wait_for_timeout(200)
        now = int(widget.value("_points()"))
        if now > points[-1][1]:
            points.append((time.monotonic(), now))
    gaps = [b[0] - a[0] for a, b in zip(points[:-1], points[1:], strict=True)]
    gap = report.add(lab.name, "from point to point", gaps, bound=NEXT_POINT, unit="s")
    lab.screenshot("console-training", "metarules-widget")
    paused = lab.timed(lambda: lab.click("metarules-start"), widget.says("^Paused"), timeout=60) / 1000
    assert widget.value("_threads()") == 0
    here = widget.value("_points()")
    lab.page.wait_for_timeout(1500)
    assert widget.value("_points()") == here, "a paused run went on"
    lab.timed(lambda: lab.click("metarules-start"), widget.says(STEPPED), timeout=60)
    stopped = lab.timed(lambda: lab.click("metarules-stop"), widget.says("^Stopped"), timeout=60) / 1000
    assert widget.value("_threads()") == 0 and widget.value("_points()") >= here
    lab.screenshot("console-stopped", "metarules-widget")
    acted = report.add(lab.name, "pause and stop", [paused, stopped], bound=ACTS, unit="s")
    assert first < FIRST_POINT and gap < NEXT_POINT and acted < ACTS


def test_a_short_run_ends_with_the_number_that_its_rule_has(widget: Console) -> None:
    widget.start(meta_steps=2)
    widget.wait("^Your run")
    shown = widget.said()
    assert shown["step"] == "2" and float(shown["after"]) == pytest.approx(
        widget.value("_accuracy_again()"), abs=0.0051
    )


def test_the_rule_is_used_in_another_explorer(widget: Console) -> None:
    lab = widget.lab
    widget.start(meta_steps=1)
    widget.wait("^Your run")
    lab.timed(lambda: lab.click("metarules-use"), widget.says(r"^My rule \(meta-step 1\) stands in the rule menu"))
    setup = "from metarules.studies.menu import rules_beside\nfrom metarules import load_rule"
    assert "My rule (meta-step 1)" in lab.kernel_value("list(rules_beside(load_rule('local')))", setup=setup)


def test_an_interrupt_pauses_a_run(widget: Console) -> None:
    widget.start()
    widget.lab.interrupt()
    widget.wait("^Paused")
    assert widget.value("_threads()") == 0


def test_a_bad_number_is_answered_with_a_sentence(widget: Console) -> None:
    lab = widget.lab
    lab.unfold("metarules-fold")
    before = widget.pictures()
    lab.fill_number("metarules-seed", -3)
    lab.timed(lambda: lab.click("metarules-start"), widget.says("did not work.*-3"))
    assert widget.changed(before) == set() and "Traceback" not in lab.text(".jp-OutputArea")


class TestLesson(lesson.EveryLesson):
    """What every lesson must show. A choice here begins no work, so that of the busy sign is another test."""

    def test_every_control_is_worked_by_keys(self, widget: Widget) -> None:
        lab = widget.lab
        lab.unfold("metarules-fold", False)
        keyboard.check_tab(widget)
        keyboard.check_fold(widget)
        lab.unfold("metarules-fold")
        keyboard.check_tab(widget)
        keyboard.check_keys(widget)
        widget.reset()

    def test_work_shows_a_busy_sign_at_once_and_its_result_soon(self, widget: Widget, report: Report) -> None:
        lab = widget.lab
        lab.unfold("metarules-fold")
        lab.fill_number("metarules-meta-steps", 1)
        busy = lab.timed(lambda: lab.click("metarules-start"), widget.says(widget.works))
        assert report.add(lab.name, "busy sign after Start", [busy], bound=lesson.BUSY_SIGN) < lesson.BUSY_SIGN
        lab.wait_for(SAYS, 60, [widget.status, "^Your run"])

    def test_redraw_busy_sign_and_result_are_in_the_report(self) -> None:  # type: ignore[override]
        """Measured above: a run takes minutes, and its points are what has to be soon."""
