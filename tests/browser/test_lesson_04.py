"""Lesson 4 in a real JupyterLab: it runs, its angles are true, every control answers, and it is fast enough.

The tests share one page and one kernel; each finds the widget reset.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator

import pytest

from . import lesson
from .conditions import Condition, pictures_change, text_matches
from .lab import LabServer
from .page import LabPage, Run
from .report import Report

pytestmark = pytest.mark.browser

NAME = "04_backward_weights.ipynb"
PANELS = ("weights", "turn", "angles", "backprop")
STATUS = ".metarules-status"
SLIDER = "metarules-step-slider"
SAID = r"^(?P<way>.+), step (?P<step>\d+) of (?P<last>\d+): V and W of layer (?P<layer>\d) are (?P<angle>\d+) degrees"

# The angle once more: a plain loop over the rule, no recording, no widget, the school formula.
RECOMPUTE = """
def _angle_again(step, layer):
    import math
    import torch
    from metarules.base_model import InitSettings, init_state
    from metarules.widgets.backward_weights_core import backward_rule

    shown = turning
    rule = backward_rule(shown.way, shown._rule, shown._task.n_classes)
    g = torch.Generator().manual_seed(shown.run.seed)
    settings = InitSettings(shown.run.weight_std, rule.recommended.bias_std)
    phi = rule.init_extra(init_state((64, 32, 32, 32), settings=settings, generator=g), g)
    with torch.no_grad():
        for _ in range(step):
            phi = rule(phi, shown._task.sample(rule.recommended.batch_size, g))
    W, V = (t.double().flatten() for t in (phi.layers[layer - 1].W, phi.layers[layer - 1].V))
    return math.degrees(math.acos(max(-1, min(1, float(W @ V / (W.norm() * V.norm()))))))
"""


class Turning:
    """The lesson's widget as a reader has it before her."""

    def __init__(self, lab: LabPage) -> None:
        self.lab = lab
        self._opened = self.pictures(), lab.text(STATUS)

    def reset(self) -> None:
        self.lab.click("metarules-reset")
        deadline = time.monotonic() + 10
        while (self.pictures(), self.lab.text(STATUS)) != self._opened:
            assert time.monotonic() < deadline, f"Reset left {self.lab.text(STATUS)!r}"
            self.lab.page.wait_for_timeout(50)
        self.lab.wait_for_quiet(STATUS)

    def shown(self) -> dict[str, str]:
        said = self.lab.text(STATUS).strip()
        found = re.match(SAID, said)
        assert found, f"the status line says {said!r}"
        return found.groupdict()

    def expected(self) -> float:
        shown = self.shown()
        return float(self.lab.kernel_value(f"_angle_again({shown['step']}, {shown['layer']})", setup=RECOMPUTE))

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
def lab_04(new_lab: Callable[[], LabPage], lab_server: LabServer) -> Iterator[LabPage]:
    """The lesson's page, its kernel just started."""
    if not (lab_server.notebooks / NAME).exists():
        pytest.skip(f"notebooks/{NAME} does not exist")
    lab = new_lab()
    lab.open_notebook(NAME)
    yield lab
    lab.close()


@pytest.fixture(scope="module")
def first_run(lab_04: LabPage) -> Run:
    """The first Run All of a fresh kernel."""
    run = lab_04.run_all()
    assert isinstance(run, Run)
    return run


@pytest.fixture(scope="module")
def opened(lab_04: LabPage, first_run: Run) -> Turning:
    """The lesson's main widget, as the run left it: at its last step."""
    return Turning(lab_04)


@pytest.fixture
def turning(opened: Turning) -> Turning:
    opened.reset()
    return opened


def test_runs_from_top_to_bottom(lab_04: LabPage, first_run: Run, report: Report) -> None:
    lesson.check_run(lab_04, first_run, report)


def test_untouched_it_tells_the_story(turning: Turning) -> None:
    shown = turning.shown()
    assert shown["step"] == shown["last"] == "50" and int(shown["angle"]) < 20
    assert int(shown["angle"]) == pytest.approx(turning.expected(), abs=0.51)
    for name in PANELS:
        picture = turning.lab.page.locator(turning.panel(name))
        assert picture.count() == 1 and (picture.get_attribute("alt") or "").strip(), name


@pytest.mark.parametrize("theme", ["dark", "light"])
def test_can_be_read_in_both_themes(turning: Turning, theme: str) -> None:
    lab = turning.lab
    lab.unfold("metarules-fold", False)
    lab.set_theme(theme)
    lab.screenshot(theme)
    faint = lesson.faint(lab)
    lab.unfold("metarules-fold")
    lab.screenshot(f"turning-{theme}", "metarules-widget")
    faint += lesson.faint(lab)
    assert not faint


def test_scrubbing_is_fast_and_the_number_true(turning: Turning, report: Report) -> None:
    lab, before = turning.lab, turning.pictures()
    lesson.measure_redraw(lab, SLIDER, turning.all_panels, "scrubbing the turning of V", report)
    assert turning.changed(before) == set(PANELS)
    assert int(turning.shown()["angle"]) == pytest.approx(turning.expected(), abs=0.51)
    lab.timed(lambda: lab.press_slider(SLIDER, "Home"), turning.says(", step 0 of "))
    assert int(turning.shown()["angle"]) == pytest.approx(turning.expected(), abs=0.51)


def test_layer_play_and_reset(turning: Turning) -> None:
    lab = turning.lab
    lab.unfold("metarules-fold")
    lab.timed(lambda: lab.choose("metarules-layer", "layer 1"), turning.says("of layer 1 are"))
    assert int(turning.shown()["angle"]) == pytest.approx(turning.expected(), abs=0.51)
    lab.timed(lambda: lab.press_slider(SLIDER, "Home"), turning.says(", step 0 of "))
    play = lab.find("metarules-play").locator("button").first
    lab.timed(play.click, turning.says(r", step [1-9]\d* of "))
    play.click()  # pause
    lab.wait_for_quiet(STATUS)
    assert 0 < int(turning.shown()["step"]) <= 50


def test_another_way_shows_busy_at_once_and_its_result_soon(turning: Turning, report: Report) -> None:
    lab = turning.lab
    here = turning.shown()["way"]
    busy, result = [], []
    for label in [label for label in lab.choices("metarules-way") if label != here]:
        until = {
            "busy": turning.says("^Learning: "),
            "result": turning.says(f"^{re.escape(label)}, step "),
            "pictures": pictures_change(turning.all_panels),
        }
        times = lab.timed_all(lambda label=label: lab.choose("metarules-way", label), until)
        busy.append(times["busy"])
        result.append(max(times["result"], times["pictures"]))
        lab.wait_for_quiet(STATUS)
        shown = turning.shown()
        assert shown["way"] == label and shown["step"] == shown["last"]
        assert int(shown["angle"]) == pytest.approx(turning.expected(), abs=0.51), label
    assert report.add(lab.name, "busy sign after a change of way", busy, bound=lesson.BUSY_SIGN) < lesson.BUSY_SIGN
    assert report.add(lab.name, "result of a change of way", result, bound=lesson.RESULT) < lesson.RESULT


def test_a_bad_number_is_answered_with_a_sentence(turning: Turning) -> None:
    lab = turning.lab
    lab.unfold("metarules-fold")
    before = turning.pictures()
    for control in ("metarules-seed", "metarules-steps", "metarules-spread"):
        lab.timed(lambda control=control: lab.fill_number(control, -3), turning.says("did not work.*-3"))
        assert turning.changed(before) == set()
        assert "Traceback" not in lab.text(".jp-OutputArea")
        turning.reset()


def test_a_film_is_written(turning: Turning, lab_server: LabServer) -> None:
    lab = turning.lab
    lab.unfold("metarules-fold")
    lab.timed(lambda: lab.click("metarules-gif"), turning.says(r"^Wrote v_turns_to_w\.gif: 26 frames"))
    written = lab_server.notebooks / "v_turns_to_w.gif"
    assert written.read_bytes()[:6] == b"GIF89a"
    written.unlink()


def test_run_all_again_is_survived(turning: Turning) -> None:
    lab = turning.lab
    said = turning.shown()
    lesson.check_second_run(lab)
    assert turning.shown() == said and lab.find("metarules-widget").count() == 1
    lab.timed(lambda: lab.press_slider(SLIDER, "Home"), turning.says(", step 0 of "))
    assert not lab.console_errors(), lab.console_errors()


def test_works_with_the_network_off(lab_04: LabPage, first_run: Run, lab_server: LabServer) -> None:
    assert not lab_04.outside and not lab_server.outside_attempts()
