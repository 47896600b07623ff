"""Lesson 7 in a real JupyterLab: the console opens recorded, trains, pauses, goes on, stops, and leaves nothing behind.

The tests share one page and one kernel; each finds the console reset.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Mapping
from typing import Any, ClassVar

import psutil
import pytest

from . import lesson
from .conditions import pictures_change
from .page import Run
from .report import Report
from .widget import Widget

pytestmark = pytest.mark.browser

NAME = "07_outer_loop.ipynb"
LOSS = ".metarules-panel-loss img"
FIRST_POINT = 5000.0  # milliseconds after Start
NEXT_POINT = 3.0  # seconds between two
ACTS = 1.0  # seconds until pause and stop have acted
POINTS = 8  # that are waited for
FRAMES = 6  # of the recorded run that are scrubbed in a round
STARTS = 3  # how often Start is pressed for its median
GONE = 30  # seconds until a run whose page was closed must be at rest
SAYS = "([s, pattern]) => new RegExp(pattern).test(document.querySelector(s).innerText.trim())"
STEPPED = r"^Meta-step (?!0 )\d+ of "

# The curve's picture tells in words how far it goes; whenever it goes elsewhere, the page notes a point and its time.
WATCH = f"""() => {{
  const image = document.querySelector('{LOSS}'), points = window.consolePoints = [];
  const look = () => {{
    const step = Number((image.alt.match(/ at (\\d+)\\.$/) ?? [0, 0])[1]);
    if (step !== points.at(-1)?.[0]) points.push([step, performance.now()]);
  }};
  new MutationObserver(look).observe(image, {{ attributes: true }});
  look();
}}"""

# How many points the curve has, how many threads are at work, and the accuracy once more, from the rule alone.
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

    def start(self, meta_steps: int = 120) -> dict[str, float]:
        """Press Start; milliseconds until it says that it is at work, and until the curve's first point is drawn."""
        self.lab.unfold("metarules-fold")
        self.lab.fill_number("metarules-meta-steps", meta_steps)
        until = {"busy": self.says(self.works), "point": pictures_change(LOSS)}
        return self.lab.timed_all(lambda: self.lab.click("metarules-start"), until, timeout=60)

    def press(self, button: str, pattern: str) -> float:
        """Press a button; seconds until the status line matches."""
        return self.lab.timed(lambda: self.lab.click(button), self.says(pattern), timeout=60) / 1000

    def check_nothing_runs(self) -> None:
        """No thread is at work; the last one may still be on its way out."""
        deadline = time.monotonic() + 2
        while (threads := int(self.value("_threads()"))) and time.monotonic() < deadline:
            self.lab.page.wait_for_timeout(100)
        assert threads == 0


WIDGET = Console


def test_untouched_it_tells_the_story(widget: Console) -> None:
    shown = widget.said()
    assert shown["which"] == "A recorded run" and shown["step"] == shown["last"]
    assert float(shown["after"]) > float(shown["before"]) + 0.1
    widget.lab.unfold("metarules-fold", False)
    widget.lab.screenshot("console", "metarules-widget")


def test_scrubbing_the_recorded_run_is_fast(widget: Console, report: Report) -> None:
    panel = widget.panel("particles")  # the record keeps few moments, two rounds of them
    lesson.measure_redraw(widget.lab, widget.slider, panel, "scrubbing the recorded run", report, FRAMES)


def test_start_pause_go_on_stop(widget: Console, report: Report) -> None:
    lab, processes = widget.lab, len(widget.lab.server.processes())
    widget.start()
    lab.page.evaluate(WATCH)
    lab.wait_for("n => window.consolePoints.length >= n", 120, POINTS)
    points = lab.page.evaluate("window.consolePoints")
    gaps = [(b[1] - a[1]) / 1000 for a, b in itertools.pairwise(points)]
    lab.screenshot("console-training", "metarules-widget")
    paused = widget.press("metarules-start", "^Paused")
    widget.check_nothing_runs()
    here = int(widget.value("_points()"))
    lab.page.wait_for_timeout(1500)
    assert widget.value("_points()") == here >= POINTS, "a paused run went on"
    widget.press("metarules-start", rf"^Meta-step (?!{here} )\d+ of ")
    lab.wait_for("n => window.consolePoints.at(-1)[0] > n", 60, here)  # the curve grows where it was
    stopped = widget.press("metarules-stop", "^Stopped")
    widget.check_nothing_runs()
    assert widget.value("_points()") > here and len(lab.server.processes()) == processes
    lab.screenshot("console-stopped", "metarules-widget")
    acted = report.add(lab.name, "pause or stop, the slower", [max(paused, stopped)], bound=ACTS, unit="s")
    waited = report.add(lab.name, "from point to point, the longest", [max(gaps)], bound=NEXT_POINT, unit="s")
    assert waited < NEXT_POINT and acted < ACTS  # at the pace of two quiet cores, as all other times


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


def test_an_interrupt_pauses_a_run_which_goes_on(widget: Console) -> None:
    widget.start()
    widget.lab.interrupt()
    widget.wait("^Paused")
    widget.check_nothing_runs()
    here = widget.value("_points()")
    widget.press("metarules-start", rf"^Meta-step (?!{here} )\d+ of ")


def test_a_closed_page_pauses_a_run_and_run_all_in_the_middle_ends_it(widget: Console) -> None:
    lab = widget.lab
    widget.start()
    kernel = psutil.Process(int(lab.kernel_value("__import__('os').getpid()")))
    lab.page.goto("about:blank")
    deadline = time.monotonic() + GONE
    while _at_work(kernel):
        assert time.monotonic() < deadline, "nobody looks, and the run goes on"
    lab.open_notebook(lab.name + ".ipynb")
    widget.check_nothing_runs()
    assert widget.value("_console().start_button.description") == "Go on"
    here = int(widget.value("_points()"))
    widget.value("_console().start_button.click()")  # the page of before has no view of it
    deadline = time.monotonic() + GONE
    while int(widget.value("_points()")) == here:
        assert time.monotonic() < deadline, "it does not go on"
        lab.page.wait_for_timeout(100)
    run = lab.run_all()
    assert isinstance(run, Run) and not run.errors and not run.unanswered, run
    widget.check_nothing_runs()
    assert widget.said()["which"] == "A recorded run"


def _at_work(process: psutil.Process) -> bool:
    """Whether a process uses more than a fiftieth of a core over two seconds; a kernel at rest uses none."""
    before = sum(process.cpu_times()[:2])
    time.sleep(2)
    return sum(process.cpu_times()[:2]) - before > 0.04


def test_a_bad_number_is_answered_with_a_sentence(widget: Console) -> None:
    lab = widget.lab
    lab.unfold("metarules-fold")
    before = widget.pictures()
    lab.fill_number("metarules-seed", -3)
    lab.timed(lambda: lab.click("metarules-start"), widget.says("did not work.*-3"))
    assert widget.changed(before) == set() and "Traceback" not in lab.text(".jp-OutputArea")


class TestLesson(lesson.RunAgain):
    """What every lesson must show. A choice begins no work here: Start does, and its result is the first point."""

    at_least: ClassVar[Mapping[str, int]] = {"redraw": FRAMES, "busy sign": STARTS, "result": STARTS}

    def test_every_control_is_worked_by_keys(self, widget: Widget) -> None:
        widget.lab.fill_readout("metarules-step-slider", 3)  # the record is whole there: no key skips
        widget.wait(r"meta-step 3 of ")
        super().test_every_control_is_worked_by_keys(widget)

    def check_work(self, widget: Widget, report: Report) -> None:
        assert isinstance(widget, Console)
        lab, times = widget.lab, []
        for seed in range(STARTS):
            lab.unfold("metarules-fold")
            lab.fill_number("metarules-seed", seed)
            times.append(widget.start())
            widget.press("metarules-stop", "^Stopped")
            widget.reset()
        busy, point = ([one[name] for one in times] for name in ("busy", "point"))
        sign = report.add(lab.name, "busy sign after Start", busy, bound=lesson.BUSY_SIGN)
        report.add(lab.name, "result of Start: the first point", point, bound=FIRST_POINT)
        assert sign < lesson.BUSY_SIGN and max(point) < FIRST_POINT
