"""Lesson 5 in a real JupyterLab: it runs, its explorer tells the truth, and everything is fast enough.

The tests share one page and one kernel; each finds the explorer reset.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from . import lesson
from .conditions import Condition, pictures_change, text_matches
from .lab import LabServer
from .page import LabPage, Run
from .report import Report

pytestmark = pytest.mark.browser

NAME = "05_meta_objective.ipynb"
PANELS = ("plane", "answers", "ridge", "moves")
STATUS = ".metarules-status"
SAYS = r"^Move (?P<move>\d+) of (?P<last>\d+), K = (?P<K>\d+), lambda = (?P<ridge>[\d.]+): loss (?P<loss>\d\.\d\d) ="
RESET_SECONDS = 10
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


class Explorer:
    """The one `MetaObjectiveExplorer` of the page, just as it opened when this object is made."""

    def __init__(self, lab: LabPage) -> None:
        self.lab = lab
        self._opened = self.pictures(), self.lab.text(STATUS)

    def reset(self) -> None:
        """Press Reset, and wait until everything is as it was."""
        self.lab.unfold("metarules-fold")
        self.lab.click("metarules-reset")
        deadline = time.monotonic() + RESET_SECONDS
        while (self.pictures(), self.lab.text(STATUS)) != self._opened:
            assert time.monotonic() < deadline, f"Reset left {self.lab.text(STATUS)!r}"
            self.lab.page.wait_for_timeout(50)
        self.lab.wait_for_quiet(STATUS)

    def shown(self) -> dict[str, str]:
        """What the status line says."""
        said = self.lab.text(STATUS).strip()
        found = re.match(SAYS, said)
        assert found, f"the status line says {said!r}"
        return found.groupdict()

    def check_loss(self) -> None:
        """The loss that is said is the one that an independent computation in the kernel gives."""
        again = float(self.lab.kernel_value("_loss_again()", setup=RECOMPUTE))
        assert float(self.shown()["loss"]) == pytest.approx(again, abs=0.0051)

    def panel(self, name: str) -> str:
        return f".metarules-panel-{name} img"

    @property
    def all_panels(self) -> str:
        return ", ".join(self.panel(name) for name in PANELS)

    def pictures(self) -> dict[str, bytes]:
        return {name: self.lab.pictures(self.panel(name))[0] for name in PANELS}

    def changed(self, before: dict[str, bytes]) -> set[str]:
        now = self.pictures()
        return {name for name in PANELS if now[name] != before[name]}

    def says(self, pattern: str) -> Condition:
        return text_matches(STATUS, pattern)


@pytest.fixture(scope="module")
def lab_05(new_lab: Callable[[], LabPage], lab_server: LabServer) -> Iterator[LabPage]:
    """The lesson's page, its kernel just started."""
    if not (lab_server.notebooks / NAME).exists():
        pytest.skip(f"notebooks/{NAME} does not exist")
    lab = new_lab()
    lab.open_notebook(NAME)
    yield lab
    lab.close()


@pytest.fixture(scope="module")
def first_run(lab_05: LabPage) -> Run:
    """The first Run All of a fresh kernel."""
    run = lab_05.run_all()
    assert isinstance(run, Run)
    return run


@pytest.fixture(scope="module")
def opened_explorer(lab_05: LabPage, first_run: Run) -> Explorer:
    """The widget, as it opened."""
    return Explorer(lab_05)


@pytest.fixture
def explorer(opened_explorer: Explorer) -> Explorer:
    """The widget, reset."""
    opened_explorer.reset()
    return opened_explorer


def test_runs_from_top_to_bottom(lab_05: LabPage, first_run: Run, report: Report) -> None:
    lesson.check_run(lab_05, first_run, report)


def test_untouched_it_tells_the_story(explorer: Explorer) -> None:
    shown = explorer.shown()
    assert shown["move"] == "0" and shown["ridge"] == "0.1" and float(shown["loss"]) > 0.3
    explorer.check_loss()
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


def test_following_the_arrows(explorer: Explorer, report: Report) -> None:
    lab, start = explorer.lab, explorer.shown()
    last, before = int(start["last"]), explorer.pictures()
    for number in range(1, lesson.ROUNDS + 1):  # a neighbour on the machine can spoil one round
        losses, times = [float(start["loss"])], []
        for move in range(1, last + 1):
            until = {"words": explorer.says(rf"^Move {move} of "), "plane": pictures_change(explorer.panel("plane"))}
            times.append(max(lab.timed_all(lambda: lab.click("metarules-follow"), until).values()))
            losses.append(float(explorer.shown()["loss"]))
        what = "one move along the arrows" + (f", round {number}" if number > 1 else "")
        median = report.add(lab.name, what, times, bound=lesson.REDRAW)
        if median < lesson.REDRAW or number == lesson.ROUNDS:
            break
        explorer.reset()
    assert median < lesson.REDRAW
    assert losses == sorted(losses, reverse=True) and losses[-1] < 0.2 * losses[0]
    assert explorer.changed(before) == set(PANELS)
    explorer.check_loss()
    lab.timed(lambda: lab.click("metarules-follow"), explorer.says("^Move 0 of "))
    assert explorer.changed(before) == set()


@pytest.mark.parametrize(("control", "says"), [("labels", "K = 6,"), ("ridge", "lambda = 0.1585:"), ("spread", "loss")])
def test_each_slider_changes_all_panels(explorer: Explorer, control: str, says: str) -> None:
    lab, before = explorer.lab, explorer.pictures()
    until = {"words": explorer.says(says), "pictures": pictures_change(explorer.all_panels)}
    lab.timed_all(lambda: lab.press_slider(f"metarules-{control}", "ArrowRight"), until)
    lab.wait_for_quiet(STATUS)
    assert explorer.changed(before) == set(PANELS)
    explorer.check_loss()


def test_lambda_is_fast(explorer: Explorer, report: Report) -> None:
    lab = explorer.lab
    lab.timed(lambda: lab.press_slider("metarules-ridge", "End"), explorer.says("lambda = 1000:"))
    lab.wait_for_quiet(STATUS)
    lesson.measure_redraw(lab, "metarules-ridge", explorer.all_panels, "another lambda", report)
    lab.wait_for_quiet(STATUS)
    explorer.check_loss()


def test_the_choice_of_arrows_redraws_the_plane_alone(explorer: Explorer) -> None:
    lab, before, said = explorer.lab, explorer.pictures(), explorer.shown()
    sent = {name: lab.image_sources(explorer.panel(name)) for name in PANELS}
    lab.timed(lambda: lab.choose("metarules-arrows", "none"), pictures_change(explorer.panel("plane")))
    assert explorer.changed(before) == {"plane"} and explorer.shown() == said
    assert {name for name in PANELS if lab.image_sources(explorer.panel(name)) != sent[name]} == {"plane"}


def test_another_objective_is_another_number(explorer: Explorer) -> None:
    lab, before = explorer.lab, explorer.pictures()
    lab.timed(lambda: lab.choose("metarules-variant", "Cross-entropy, logit scale 5"), explorer.says("cross-entropy"))
    lab.wait_for_quiet(STATUS)
    assert explorer.changed(before) == set(PANELS)
    explorer.check_loss()


def test_digits_show_busy_at_once_and_their_points_soon(explorer: Explorer, report: Report) -> None:
    lab = explorer.lab
    busy, result = [], []
    digits = [label for label in lab.choices("metarules-data") if label.startswith("Digits")]
    for seed, label in enumerate((digits * DATA_CHANGES)[:DATA_CHANGES], start=11):  # seeds not drawn before
        lab.timed(lambda seed=seed: lab.fill_number("metarules-seed", seed), pictures_change(explorer.panel("plane")))
        lab.wait_for_quiet(STATUS)
        until: dict[str, Any] = {
            "busy": explorer.says("^Drawing "),
            "result": explorer.says("^Move 0 of "),
            "pictures": pictures_change(explorer.all_panels),
        }
        lab.timed_all(lambda: lab.choose("metarules-data", "Three clouds in a row"), {"it": until["pictures"]})
        lab.wait_for_quiet(STATUS)
        times = lab.timed_all(lambda label=label: lab.choose("metarules-data", label), until)
        busy.append(times["busy"])
        result.append(times["pictures"])
        lab.wait_for_quiet(STATUS)
        explorer.check_loss()
        explorer.reset()
    assert report.add(lab.name, "busy sign after a change to digits", busy, bound=lesson.BUSY_SIGN) < lesson.BUSY_SIGN
    assert report.add(lab.name, "result of a change to digits", result, bound=lesson.RESULT) < lesson.RESULT


def test_a_bad_number_is_answered_with_a_sentence(explorer: Explorer) -> None:
    lab, before = explorer.lab, explorer.pictures()
    lab.timed(lambda: lab.fill_number("metarules-seed", -3), explorer.says("did not work.*-3"))
    assert explorer.changed(before) == set()
    assert "Traceback" not in lab.text(".jp-OutputArea")


def test_run_all_again_is_survived(explorer: Explorer) -> None:
    lab, said = explorer.lab, explorer.shown()
    lesson.check_second_run(lab)
    assert explorer.shown() == said
    assert lab.find("metarules-widget").count() == 1
    lab.timed(lambda: lab.click("metarules-follow"), explorer.says("^Move 1 of "))
    assert not lab.console_errors(), lab.console_errors()


def test_works_with_the_network_off(lab_05: LabPage, first_run: Run, lab_server: LabServer) -> None:
    assert not lab_05.outside and not lab_server.outside_attempts()
