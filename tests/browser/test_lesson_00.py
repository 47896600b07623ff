"""Lesson 0 in a real JupyterLab: it runs, its explorer tells the truth, and everything is fast enough.

The tests share one page and one kernel; each finds the explorer reset.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from . import lesson
from .conditions import pictures_change
from .explorer import PANELS, Explorer
from .lab import LabServer
from .page import LabPage, Run
from .report import Report

pytestmark = pytest.mark.browser

NAME = "00_start_here.ipynb"
RULE_CHANGES = 5  # how often the rule is changed for a median


@pytest.fixture(scope="module")
def lab_00(new_lab: Callable[[], LabPage], lab_server: LabServer) -> Iterator[LabPage]:
    """The lesson's page, its kernel just started."""
    if not (lab_server.notebooks / NAME).exists():
        pytest.skip(f"notebooks/{NAME} does not exist")
    lab = new_lab()
    lab.open_notebook(NAME)
    yield lab
    lab.close()


@pytest.fixture(scope="module")
def first_run(lab_00: LabPage) -> Run:
    """The first Run All of a fresh kernel."""
    run = lab_00.run_all()
    assert isinstance(run, Run)
    return run


@pytest.fixture(scope="module")
def opened_explorer(lab_00: LabPage, first_run: Run) -> Explorer:
    """The lesson's main widget, as it opened."""
    return Explorer(lab_00)


@pytest.fixture
def explorer(opened_explorer: Explorer) -> Explorer:
    """The lesson's main widget, reset."""
    opened_explorer.reset()
    return opened_explorer


def test_runs_from_top_to_bottom(lab_00: LabPage, first_run: Run, report: Report) -> None:
    lesson.check_run(lab_00, first_run, report)


def test_untouched_it_tells_the_story(explorer: Explorer) -> None:
    shown = explorer.shown()
    assert shown.step == shown.last > 0
    assert shown.accuracy == pytest.approx(explorer.expected_accuracy(), abs=0.0051)  # two decimals are shown
    for name in PANELS:
        picture = explorer.lab.page.locator(explorer.panel(name))
        assert picture.count() == 1 and (picture.get_attribute("alt") or "").strip(), name


@pytest.mark.parametrize("theme", ["dark", "light"])
def test_can_be_read_in_both_themes(explorer: Explorer, theme: str) -> None:
    lab = explorer.lab
    lab.unfold("metarules-fold", False)
    lab.set_theme(theme)
    lab.screenshot(theme)
    faint = lesson.faint(lab)
    lab.unfold("metarules-fold")
    lab.screenshot(f"explorer-{theme}", "metarules-widget")
    faint += lesson.faint(lab)
    assert not faint


def test_scrubbing_is_fast_and_the_number_true(explorer: Explorer, report: Report) -> None:
    lab = explorer.lab
    start = explorer.shown()
    before = explorer.pictures()
    lesson.measure_redraw(lab, explorer.slider, explorer.all_panels, "scrubbing the explorer", report)
    shown = explorer.shown()
    assert shown.rule == start.rule and 0 <= shown.step < start.step
    assert explorer.changed(before) == set(PANELS)
    assert shown.accuracy == pytest.approx(explorer.expected_accuracy(), abs=0.0051)
    lab.timed(lambda: lab.press_slider(explorer.slider, "Home"), explorer.at_step(0))
    assert explorer.shown().accuracy == pytest.approx(explorer.expected_accuracy(), abs=0.0051)


@pytest.mark.parametrize(("control", "panel"), [("classes", "embedding"), ("scale", "filters"), ("layer", "alignment")])
def test_an_option_redraws_its_own_panel_alone(explorer: Explorer, control: str, panel: str) -> None:
    lab = explorer.lab
    lab.unfold("metarules-fold")
    before, said, sent = explorer.pictures(), explorer.shown(), {n: explorer.sources(n) for n in PANELS}
    change = {"layer": lambda: lab.choose("metarules-layer", "layer 1")}
    action = change.get(control, lambda: lab.toggle(f"metarules-{control}"))
    lab.timed(action, pictures_change(explorer.panel(panel)))
    assert explorer.changed(before) == {panel}
    assert {name for name in PANELS if explorer.sources(name) != sent[name]} == {panel}  # the others were not even sent
    assert explorer.shown() == said


def test_step_play_and_reset(explorer: Explorer) -> None:
    lab = explorer.lab
    opened, start = explorer.pictures(), explorer.shown()
    lab.timed(lambda: lab.click("metarules-step"), explorer.at_step(0))  # from the end to the start
    lab.timed(lambda: lab.click("metarules-step"), explorer.says(r", step [1-9]\d* of "))
    first = explorer.shown().step
    play = lab.find("metarules-play").locator("button").first
    lab.timed(play.click, explorer.says(rf", step (?!{first} )\d+ of "))
    after = explorer.shown().step
    lab.wait_for(
        "([s, old]) => !document.querySelector(s).innerText.includes(old)", 20, [explorer.status, f" {after} "]
    )
    play.click()  # pause
    lab.wait_for_quiet(explorer.status)
    paused = explorer.shown().step
    assert first < after < paused <= start.last
    assert explorer.changed(opened) or paused == start.last
    lab.click("metarules-reset")
    lab.wait_for_quiet(explorer.status)
    assert explorer.shown() == start and explorer.changed(opened) == set()


def test_another_rule_shows_busy_at_once_and_its_result_soon(explorer: Explorer, report: Report) -> None:
    lab = explorer.lab
    lab.unfold("metarules-fold")
    opened = explorer.shown().rule
    others = [label for label in lab.choices("metarules-rule") if label != opened]
    busy, result = [], []
    for label in (others * RULE_CHANGES)[:RULE_CHANGES]:
        until = {
            "busy": explorer.says("^Learning with "),
            "result": explorer.finished(label),
            "pictures": pictures_change(explorer.all_panels),
        }
        times = lab.timed_all(lambda label=label: lab.choose("metarules-rule", label), until)
        busy.append(times["busy"])
        result.append(max(times["result"], times["pictures"]))
        lab.wait_for_quiet(explorer.status)
        shown = explorer.shown()
        assert shown.rule == label and shown.step == shown.last  # and it stays there
        assert shown.accuracy == pytest.approx(explorer.expected_accuracy(), abs=0.0051), label
    assert report.add(lab.name, "busy sign after a change of rule", busy, bound=lesson.BUSY_SIGN) < lesson.BUSY_SIGN
    assert report.add(lab.name, "result of a change of rule", result, bound=lesson.RESULT) < lesson.RESULT


def test_a_bad_number_is_answered_with_a_sentence(explorer: Explorer) -> None:
    lab = explorer.lab
    lab.unfold("metarules-fold")
    before = explorer.pictures()
    for control in ("metarules-seed", "metarules-steps"):
        lab.timed(lambda control=control: lab.fill_number(control, -3), explorer.says("did not work.*-3"))
        assert explorer.changed(before) == set()
        assert "Traceback" not in lab.text(".jp-OutputArea")
        explorer.reset()


def test_run_all_again_is_survived(explorer: Explorer) -> None:
    lab = explorer.lab
    said = explorer.shown()
    lesson.check_second_run(lab)
    assert explorer.shown() == said  # one explorer, the same numbers
    assert lab.find("metarules-widget").count() == 1
    lab.interrupt()  # with nothing to interrupt
    lab.timed(lambda: lab.press_slider(explorer.slider, "Home"), explorer.at_step(0))
    assert not lab.console_errors(), lab.console_errors()


def test_works_with_the_network_off(lab_00: LabPage, first_run: Run, lab_server: LabServer) -> None:
    assert not lab_00.outside and not lab_server.outside_attempts()


@pytest.mark.xfail(strict=False, reason="now and then a Run All that was interrupted never ends: cause not yet found")
def test_an_interrupt_is_survived(opened_explorer: Explorer) -> None:
    """The last test of this page, since it may leave the kernel in whatever state."""
    lesson.check_interrupt(opened_explorer.lab)
