"""Lesson 1 in a real JupyterLab: it runs, its explorer tells the truth, and everything is fast enough."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

import pytest

from . import lesson
from .conditions import pictures_change, text_matches
from .lab import LabServer
from .page import LabPage, Run
from .report import Report

pytestmark = pytest.mark.browser

NAME = "01_base_model.ipynb"
STATUS = ".metarules-status"
PICTURES = ".metarules-panels img"
SLIDER = "metarules-layer-slider"

# The number once more, by the evaluation's own path: no closed-form probe, no widget.
RECOMPUTE = """
def _accuracy_again():
    from metarules.base_model import forward
    from metarules.evaluation import few_shot_accuracy

    phi = explorer.net.phi
    return float(few_shot_accuracy(forward(phi, task.x).x[explorer.layer], task.y, n_splits=5).mean())
"""


@pytest.fixture(scope="module")
def lab_01(new_lab: Callable[[], LabPage], lab_server: LabServer) -> Iterator[LabPage]:
    """The lesson's page, its kernel just started."""
    if not (lab_server.notebooks / NAME).exists():
        pytest.skip(f"notebooks/{NAME} does not exist")
    lab = new_lab()
    lab.open_notebook(NAME)
    yield lab
    lab.close()


@pytest.fixture(scope="module")
def first_run(lab_01: LabPage) -> Run:
    """The first Run All of a fresh kernel."""
    run = lab_01.run_all()
    assert isinstance(run, Run)
    return run


def shown(lab: LabPage) -> float:
    """The accuracy in the status line."""
    said = lab.text(STATUS)
    found = re.search(r"few-shot accuracy (\d\.\d\d)", said)
    assert found, f"the status line says {said!r}"
    return float(found[1])


def check_number(lab: LabPage) -> None:
    again = lab.kernel_value("_accuracy_again()", setup=RECOMPUTE)
    assert shown(lab) == pytest.approx(again, abs=0.0051)  # two decimals are shown


def test_runs_from_top_to_bottom(lab_01: LabPage, first_run: Run, report: Report) -> None:
    lesson.check_run(lab_01, first_run, report)
    check_number(lab_01)
    assert all((image.get_attribute("alt") or "").strip() for image in lab_01.page.locator(PICTURES).all())


@pytest.mark.parametrize("theme", ["dark", "light"])
def test_can_be_read_in_both_themes(lab_01: LabPage, first_run: Run, theme: str) -> None:
    lab_01.set_theme(theme)
    lab_01.screenshot(theme)
    lab_01.unfold("metarules-fold")
    lab_01.screenshot(f"explorer-{theme}", "metarules-widget")
    assert not lesson.faint(lab_01)


def test_walking_through_the_layers_is_fast_and_the_number_true(
    lab_01: LabPage, first_run: Run, report: Report
) -> None:
    times = []
    for i in range(lesson.REPEATS):  # five layers: down to the input and up again
        key = "ArrowLeft" if i // 5 % 2 == 0 else "ArrowRight"
        times.append(lab_01.timed(lambda key=key: lab_01.press_slider(SLIDER, key), pictures_change(PICTURES)))
        if i in (2, 4):
            check_number(lab_01)
    assert report.add(lab_01.name, "redraw of a layer", times, bound=lesson.REDRAW) < lesson.REDRAW


def test_another_network_shows_busy_at_once_and_its_result_soon(
    lab_01: LabPage, first_run: Run, report: Report
) -> None:
    result = []
    for name in ("tanh", "step", "identity", "relu", "silu"):
        done = {
            "text": text_matches(STATUS, rf", {name}, layer 5 \(top\): few-shot"),
            "pictures": pictures_change(PICTURES),
        }
        times = lab_01.timed_all(lambda name=name: lab_01.choose("metarules-nonlinearity", name), done)
        result.append(max(times.values()))
        check_number(lab_01)
    assert report.add(lab_01.name, "another nonlinearity", result, bound=lesson.RESULT) < lesson.RESULT
    lab_01.timed(lambda: lab_01.click("metarules-new-weights"), pictures_change(PICTURES))
    lab_01.unfold("metarules-fold")
    lab_01.timed(lambda: lab_01.fill_number("metarules-depth", 0), text_matches(STATUS, "did not work.*depth is 0"))
    lab_01.timed(
        lambda: lab_01.click("metarules-reset"), text_matches(STATUS, r"^64-128-128-128-128-32, relu, layer 5")
    )
    check_number(lab_01)


def test_run_all_again_and_nothing_leaves_the_machine(lab_01: LabPage, first_run: Run, lab_server: LabServer) -> None:
    lesson.check_second_run(lab_01)
    assert not lab_01.console_errors(), lab_01.console_errors()
    assert not lab_01.outside and not lab_server.outside_attempts()
