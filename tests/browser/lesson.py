"""What every lesson must show in the browser, whatever it is about: checks, and the tests made of them.

A lesson's module says which notebook and which widget it is about, has tests of its own, and ends with the common ones:

    NAME = "01_base_model.ipynb"
    WIDGET = Layers  # a class that extends `Widget`

    class TestLesson(lesson.EveryLesson): ...  # or RunAgain: an interrupt, then Run All in the same kernel

The fixtures `lesson_lab`, `first_run`, `opened_widget` and `widget` of conftest.py go by those two names.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

import pytest

from . import keyboard
from .conditions import pictures_change
from .lab import LabServer
from .page import LabPage, Run
from .report import Report
from .widget import Widget

TESTS = Path(__file__).parents[1]
FIRST_PICTURE = 10.0  # seconds after Run All
CELL = 30.0  # seconds
NOTEBOOK = 60.0  # seconds
REDRAW = 200.0  # milliseconds, of what is computed
BUSY_SIGN = 200.0  # milliseconds until what is not computed shows that work has begun
RESULT = 2000.0  # milliseconds until its result is there
REPEATS = 20  # measurements behind a median of redraws
WORK_REPEATS = 5  # of changes that are computed, which take seconds each
ROUNDS = 2  # of so many, at most
CONTRAST = 4.5  # WCAG 2, level AA
SEED = 1000  # the first of those that nothing has been computed with before
IN_SIGHT = 4  # controls of a widget
WORDS = 5  # of a picture's alternative text, at least: a name alone tells nothing
FIGURES = 3  # of a lesson, at least
INTERRUPTS = 6  # at most, until one has met a cell at work
# What a cell may end with when an interrupt meets it. Matplotlib's converters (3.11) drop whatever their argument's
# `__array__` raises, a KeyboardInterrupt too, and say that the argument is bad; a test of the harness shows it.
INTERRUPTED = ("KeyboardInterrupt", "Interrupted", "Invalid bounding box", "Invalid affine transformation matrix")
FAINT = f"""
def _faint_words():
    import sys

    sys.path.append({str(TESTS)!r})
    from faint import faint_words

    kept = next(finder.kept_figures for finder in sys.meta_path if hasattr(finder, "kept_figures"))
    drawn = [figure for figure in kept if figure.axes or figure.texts]
    return len(drawn), sorted({{words for figure in drawn for words in faint_words(figure)}})
"""


class EveryLesson:
    """The tests of every lesson; they come last in its module.

    Attributes:
        at_least: how many measurements of each kind must stand behind a median in the report.
        runs: how many runs a change of seed computes, one after the other; each has `RESULT`.
    """

    runs: ClassVar[int] = 1

    at_least: ClassVar[Mapping[str, int]] = {"redraw": REPEATS, "busy sign": WORK_REPEATS, "result": WORK_REPEATS}

    def test_runs_from_top_to_bottom(self, lesson_lab: LabPage, first_run: Run, report: Report) -> None:
        check_run(lesson_lab, first_run, report)

    @pytest.mark.parametrize("theme", ["dark", "light"])
    def test_can_be_read_in_both_themes(self, widget: Widget, theme: str) -> None:
        lab = widget.lab
        lab.unfold("metarules-fold", False)
        lab.set_theme(theme)
        lab.screenshot(theme)
        lab.screenshot(f"widget-{theme}", "metarules-widget")
        found = faint(lab)
        lab.unfold("metarules-fold")
        lab.screenshot(f"widget-open-{theme}", "metarules-widget")
        assert not found + faint(lab)

    def test_at_most_four_controls_are_in_sight(self, widget: Widget) -> None:
        widget.lab.unfold("metarules-fold", False)
        found = keyboard.controls(widget)
        in_sight = {control.widget for control in found if control.kind != "fold"}
        assert 1 <= len(in_sight) <= IN_SIGHT and any(control.kind == "fold" for control in found), found

    def test_every_picture_is_told_in_words(self, widget: Widget) -> None:
        words = widget.lab.page.evaluate("harness.words()")
        assert len(words) >= len(widget.panels)
        assert all(len(text.split()) >= WORDS for text in words), words

    def test_every_control_is_worked_by_keys(self, widget: Widget) -> None:
        lab = widget.lab
        lab.unfold("metarules-fold", False)
        lab.set_theme("dark")
        in_sight = keyboard.check_tab(widget)
        keyboard.check_fold(widget)
        lab.set_theme("light")
        lab.unfold("metarules-fold")
        assert len(keyboard.check_tab(widget)) > len(in_sight)
        keyboard.check_keys(widget)
        widget.reset()
        keyboard.check_stop(widget)
        widget.reset()
        keyboard.check_reset(widget)

    def test_work_shows_a_busy_sign_at_once_and_its_result_soon(self, widget: Widget, report: Report) -> None:
        self.check_work(widget, report)

    def check_work(self, widget: Widget, report: Report) -> None:
        """A change of seed; another lesson's work may begin otherwise."""
        lab = widget.lab
        lab.unfold("metarules-fold")
        widget.prepare_work()
        until = {"busy": widget.says(widget.works), "result": pictures_change(widget.all_panels)}
        for number in range(ROUNDS):  # as for a redraw: a second round if a neighbour on the machine spoilt the first
            times = []
            for seed in range(SEED + number * WORK_REPEATS, SEED + (number + 1) * WORK_REPEATS):
                times.append(lab.timed_all(lambda seed=seed: lab.fill_number("metarules-seed", seed), until))
                lab.wait_for_quiet(widget.status)
                assert widget.said()
            busy, result = ([one[name] for one in times] for name in ("busy", "result"))
            again = "" if number == 0 else f", round {number + 1}"
            sign = report.add(lab.name, "busy sign after a change of seed" + again, busy, bound=BUSY_SIGN)
            end = report.add(lab.name, "result of a change of seed" + again, result, bound=self.runs * RESULT)
            if sign < BUSY_SIGN and end < self.runs * RESULT:
                return
        raise AssertionError(f"two rounds of {WORK_REPEATS}, no medians in time: {sign:.0f} and {end:.0f} ms at last")

    def test_redraw_busy_sign_and_result_are_in_the_report(
        self, lesson_lab: LabPage, report: Report, request: pytest.FixtureRequest
    ) -> None:
        options = request.config.option
        if options.keyword or any("::" in name for name in request.config.args):
            pytest.skip("only some of the lesson's tests are run")
        own = [m for m in report.measurements if m.lesson == lesson_lab.name]
        for kind, least in self.at_least.items():
            assert any(m.kind == kind and len(m.values) >= least for m in own), report.table()

    def test_works_with_the_network_off(self, lesson_lab: LabPage, first_run: Run, lab_server: LabServer) -> None:
        assert not lesson_lab.outside and not lab_server.outside_attempts()

    def test_every_word_in_its_pictures_can_be_read(self, lesson_lab: LabPage, first_run: Run) -> None:
        """All its figures, and the panels of its widgets as they stand now."""
        figures, faint_words = lesson_lab.kernel_value("_faint_words()", setup=FAINT)
        assert figures >= FIGURES and not faint_words


class RunAgain(EveryLesson):
    """For the lesson that opens the course and those that compute longest: other widgets work by the same code."""

    def test_an_interrupt_and_run_all_again_are_survived(self, widget: Widget) -> None:
        lab, said = widget.lab, widget.said()
        interrupt_a_cell(lab)
        check_second_run(lab)
        assert widget.said() == said and lab.find("metarules-widget").count() == 1  # one widget, the same numbers
        lab.interrupt()  # with nothing to interrupt
        widget.move()
        assert not lab.console_errors(), lab.console_errors()


def check_run(lab: LabPage, run: Run, report: Report) -> None:
    """A lesson ran from top to bottom, quietly and fast enough."""
    assert not run.errors, run.errors
    stderr = [f"code cell {cell.index}: {text}" for cell in run.cells for text in cell.stderr]
    assert not stderr, stderr
    assert not lab.console_errors(), lab.console_errors()
    assert run.first_picture is not None, "no picture in any output"
    first = report.add(lab.name, "first picture after Run All", [run.first_picture], bound=FIRST_PICTURE, unit="s")
    slowest = report.add(lab.name, "slowest cell", [run.slowest], bound=CELL, unit="s")
    whole = report.add(lab.name, "the whole notebook", [run.seconds], bound=NOTEBOOK, unit="s")
    assert first < FIRST_PICTURE and slowest < CELL and whole < NOTEBOOK  # at the machine's pace, as all times here


def check_second_run(lab: LabPage) -> None:
    """Run All again in the same kernel raises nothing and numbers its cells on."""
    before = max(cell.count or 0 for cell in lab.cells())
    run = lab.run_all()
    assert isinstance(run, Run) and not run.errors and not run.unanswered, run
    counts = [cell.count for cell in run.cells if cell.source.strip()]
    assert counts == list(range(before + 1, before + 1 + len(counts)))


def interrupt_a_cell(lab: LabPage) -> None:
    """An interrupt in the middle of Run All ends the cell that it meets and nothing else.

    It may also meet no cell: between two cells the kernel ignores it, and the run goes on; in the kernel's own code
    around a cell, the kernel forgets to answer for that cell, and runs the next (see `watch` in harness.js). So
    interrupts are sent until one has ended a cell.
    """
    for _ in range(INTERRUPTS):
        lab.run_all(wait=False)
        lab.wait_for("() => harness.cells().some(cell => cell.count !== null && cell.index > 0)")  # past the imports
        lab.interrupt()
        errors = lab.wait_for_run().errors
        assert all(any(word in error for word in INTERRUPTED) for error in errors), errors
        assert len(errors) <= 1, errors
        if errors:
            return
    raise AssertionError(f"none of {INTERRUPTS} interrupts met a cell at work")


def faint(lab: LabPage) -> list[tuple[str, float]]:
    """Text in the outputs, widgets among them, that cannot be read well in the theme of the moment."""
    return [(text, ratio) for text, ratio in lab.contrasts(".jp-OutputArea-output") if ratio < CONTRAST]


def check_gif(widget: Widget, server: LabServer, name: str, frames: int) -> None:
    """The button writes a film of so many frames, which is then removed."""
    widget.lab.timed(
        lambda: widget.lab.click("metarules-save-picture"), widget.says(rf"^Wrote {re.escape(name)}: {frames} frames")
    )
    written = server.notebooks / name
    assert written.read_bytes()[:6] == b"GIF89a"
    written.unlink()


def measure_redraw(lab: LabPage, slider: str, pictures: str, what: str, report: Report, repeats: int = REPEATS) -> None:
    """Move a slider back from its end, one key for each redraw; the median of `repeats` is in time.

    A neighbour on the machine can spoil one round, so a second one, over frames not drawn before either, may save it;
    the report holds both.
    """
    for number in range(1, ROUNDS + 1):
        times = [
            lab.timed(lambda: lab.press_slider(slider, "ArrowLeft"), pictures_change(pictures)) for _ in range(repeats)
        ]
        again = "" if number == 1 else f", round {number}"
        if report.add(lab.name, what + again, times, bound=REDRAW) < REDRAW:
            return
    raise AssertionError(f"{what}: the median of {repeats} was never below {REDRAW:g} ms; the last: {times}")
