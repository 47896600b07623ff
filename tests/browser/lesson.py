"""What every lesson must show in the browser, whatever it is about."""

from __future__ import annotations

from .conditions import pictures_change
from .page import LabPage, Run
from .report import Report

FIRST_PICTURE = 10.0  # seconds after Run All
CELL = 30.0  # seconds
NOTEBOOK = 60.0  # seconds
REDRAW = 200.0  # milliseconds, of what is computed
BUSY_SIGN = 200.0  # milliseconds until what is not computed shows that work has begun
RESULT = 2000.0  # milliseconds until its result is there
REPEATS = 20  # measurements behind a median
ROUNDS = 2  # of so many, at most
CONTRAST = 4.5  # WCAG 2, level AA


def check_run(lab: LabPage, run: Run, report: Report) -> None:
    """A lesson ran from top to bottom, quietly and fast enough."""
    assert not run.errors, run.errors
    stderr = [f"code cell {cell.index}: {text}" for cell in run.cells for text in cell.stderr]
    assert not stderr, stderr
    assert not lab.console_errors(), lab.console_errors()
    assert run.first_picture is not None, "no picture in any output"
    report.add(lab.name, "first picture after Run All", [run.first_picture], bound=FIRST_PICTURE, unit="s")
    report.add(lab.name, "slowest cell", [run.slowest], bound=CELL, unit="s")
    report.add(lab.name, "the whole notebook", [run.seconds], bound=NOTEBOOK, unit="s")
    assert run.first_picture < FIRST_PICTURE and run.slowest < CELL and run.seconds < NOTEBOOK


def check_second_run(lab: LabPage) -> None:
    """Run All again in the same kernel raises nothing and numbers its cells on."""
    before = max(cell.count or 0 for cell in lab.cells())
    run = lab.run_all()
    assert isinstance(run, Run) and not run.errors, run
    counts = [cell.count for cell in run.cells if cell.source.strip()]
    assert counts == list(range(before + 1, before + 1 + len(counts)))


def check_interrupt(lab: LabPage) -> None:
    """An interrupt in the middle of Run All ends that run and nothing else; the next one is clean."""
    lab.run_all(wait=False)
    lab.wait_for("() => harness.cells().some(cell => cell.count !== null && cell.index > 0)")  # past the imports
    lab.interrupt()
    errors = lab.wait_for_run().errors
    assert all("KeyboardInterrupt" in error for error in errors), errors  # none: the run was faster than we are
    run = lab.run_all()
    assert isinstance(run, Run) and not run.errors, run.errors


def faint(lab: LabPage) -> list[tuple[str, float]]:
    """Text in the outputs, widgets among them, that cannot be read well in the theme of the moment."""
    return [(text, ratio) for text, ratio in lab.contrasts(".jp-OutputArea-output") if ratio < CONTRAST]


def measure_redraw(lab: LabPage, slider: str, pictures: str, what: str, report: Report) -> None:
    """Move a slider back from its end, one key for each redraw; the median of REPEATS is in time.

    A neighbour on the machine can spoil one round, so a second one, over frames not drawn before either, may save it;
    the report holds both.
    """
    for number in range(1, ROUNDS + 1):
        times = [
            lab.timed(lambda: lab.press_slider(slider, "ArrowLeft"), pictures_change(pictures)) for _ in range(REPEATS)
        ]
        again = "" if number == 1 else f", round {number}"
        if report.add(lab.name, what + again, times, bound=REDRAW) < REDRAW:
            return
    raise AssertionError(f"{what}: the median of {REPEATS} was never below {REDRAW:g} ms; the last: {times}")
