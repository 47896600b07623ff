"""Lesson 3 in a real JupyterLab: it runs, its microscope tells the truth, and everything is fast enough.

The tests share one page and one kernel; each finds the microscope reset.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

import pytest

from . import lesson
from .conditions import Condition, pictures_change, text_matches
from .lab import LabServer
from .page import LabPage, Run
from .report import Report

pytestmark = pytest.mark.browser

NAME = "03_update_networks.ipynb"
PANELS = ("inputs", "hidden", "terms")
STATUS = ".metarules-status"
SAYS = (
    r"^Step (?P<step>\d+) of \d+, layer (?P<layer>\d), neuron (?P<unit>\d+): (?P<term>\w+) does most "
    r"\(\+(?P<share>\d+) %\).* Few-shot accuracy (?P<accuracy>\d\.\d\d) at this step"
)
OFF = ("soft", "decorr_x", "lin_upper_psd")  # terms switched off for a median

# The numbers once more: the evaluation's own learning and probe, and shares from the trace, without any widget.
RECOMPUTE = """
def _microscope_again(step, layer, unit, off):
    from metarules.base_model import forward
    from metarules.evaluation import few_shot_accuracy, learned_state
    from metarules.update_rule.anatomy import contributions

    one = rule if off is None else rule.with_scales({off: 0.0})
    phi = learned_state(one, task, steps=step, seed=0)
    accuracy = float(few_shot_accuracy(forward(phi, task.x).features, task.y, n_splits=5).mean())
    trace = one.trace(phi, microscope.specimen.x)
    bounded = contributions(one, trace, layer).bounded
    change = trace.change_W[layer][:, unit]
    shares = {name: float(part[:, unit] @ change / (change @ change)) for name, part in bounded.items()}
    best = max(shares, key=shares.get)
    return [accuracy, best, shares[best]]
"""


class Microscope:
    """The one `NeuronMicroscope` of a page, just as it opened when this object is made."""

    slider = "metarules-step-slider"

    def __init__(self, lab: LabPage) -> None:
        self.lab = lab
        self._opened = lab.text(STATUS)

    def reset(self) -> None:
        """Press Reset, and wait until the status line is as it was when this object was made."""
        self.lab.unfold("metarules-fold")
        if self.lab.text(STATUS) != self._opened:
            self.lab.timed(lambda: self.lab.click("metarules-reset"), self.says(re.escape(self._opened.strip())))
        self.lab.click("metarules-reset")
        self.lab.wait_for_quiet(STATUS)

    def says(self, pattern: str) -> Condition:
        return text_matches(STATUS, pattern)

    def shown(self) -> dict[str, str]:
        """The status line, taken apart."""
        said = self.lab.text(STATUS).strip()
        found = re.match(SAYS, said)
        assert found, f"the status line says {said!r}"
        return found.groupdict()

    def check_numbers(self, off: str | None = None) -> None:
        """What the status line says is what an independent computation gives."""
        shown = self.shown()
        call = f"_microscope_again({shown['step']}, {shown['layer']}, {shown['unit']}, {off!r})"
        accuracy, best, share = self.lab.kernel_value(call, setup=RECOMPUTE)
        assert float(shown["accuracy"]) == pytest.approx(accuracy, abs=0.0051)
        assert shown["term"] == best and int(shown["share"]) == pytest.approx(100 * share, abs=1)

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


@pytest.fixture(scope="module")
def lab_03(new_lab: Callable[[], LabPage], lab_server: LabServer) -> Iterator[LabPage]:
    """The lesson's page, its kernel just started."""
    if not (lab_server.notebooks / NAME).exists():
        pytest.skip(f"notebooks/{NAME} does not exist")
    lab = new_lab()
    lab.open_notebook(NAME)
    yield lab
    lab.close()


@pytest.fixture(scope="module")
def first_run(lab_03: LabPage) -> Run:
    """The first Run All of a fresh kernel."""
    run = lab_03.run_all()
    assert isinstance(run, Run)
    return run


@pytest.fixture(scope="module")
def opened(lab_03: LabPage, first_run: Run) -> Microscope:
    """The lesson's main widget, as it opened."""
    return Microscope(lab_03)


@pytest.fixture
def microscope(opened: Microscope) -> Microscope:
    """The lesson's main widget, reset."""
    opened.reset()
    return opened


def test_runs_from_top_to_bottom(lab_03: LabPage, first_run: Run, report: Report) -> None:
    lesson.check_run(lab_03, first_run, report)


def test_untouched_it_tells_the_story(microscope: Microscope) -> None:
    microscope.check_numbers()
    for name in PANELS:
        picture = microscope.lab.page.locator(microscope.panel(name))
        assert picture.count() == 1 and (picture.get_attribute("alt") or "").strip(), name


@pytest.mark.parametrize("theme", ["dark", "light"])
def test_can_be_read_in_both_themes(microscope: Microscope, theme: str) -> None:
    lab = microscope.lab
    lab.set_theme(theme)
    lab.screenshot(theme)
    lab.screenshot(f"microscope-{theme}", "metarules-widget")
    assert not lesson.faint(lab)


def test_scrubbing_is_fast_and_the_numbers_true(microscope: Microscope, report: Report) -> None:
    lab = microscope.lab
    before = microscope.pictures()
    lab.timed(lambda: lab.press_slider(microscope.slider, "End"), microscope.says("^Step 100 "))
    lesson.measure_redraw(lab, microscope.slider, microscope.all_panels, "scrubbing the microscope", report)
    assert microscope.changed(before) == set(PANELS)
    microscope.check_numbers()


def test_neuron_layer_and_scale(microscope: Microscope) -> None:
    lab = microscope.lab
    before = microscope.pictures()
    lab.timed(lambda: lab.press_slider("metarules-neuron", "ArrowRight"), microscope.says("neuron 5:"))
    microscope.check_numbers()
    lab.timed(lambda: lab.choose("metarules-layer", "3"), microscope.says("layer 3, neuron 5:"))
    microscope.check_numbers()
    assert microscope.changed(before) == set(PANELS)
    before, shown = microscope.pictures(), microscope.shown()
    lab.timed(lambda: lab.toggle("metarules-scale"), pictures_change(microscope.panel("terms")))
    assert microscope.changed(before) == {"terms"} and microscope.shown() == shown


def test_switching_a_term_off_shows_busy_at_once_and_its_result_soon(microscope: Microscope, report: Report) -> None:
    lab = microscope.lab
    busy, result = [], []
    for name in OFF:
        until = {
            "busy": microscope.says("^Learning without "),
            "result": microscope.says(f"taught without {name} "),
            "pictures": pictures_change(microscope.panel("terms")),
        }
        times = lab.timed_all(lambda name=name: lab.choose("metarules-off", name), until)
        busy.append(times["busy"])
        result.append(max(times["result"], times["pictures"]))
        microscope.check_numbers(off=name)
    assert report.add(lab.name, "busy sign after switching off", busy, bound=lesson.BUSY_SIGN) < lesson.BUSY_SIGN
    assert report.add(lab.name, "result of switching off", result, bound=lesson.RESULT) < lesson.RESULT


def test_a_bad_number_is_answered_with_a_sentence(microscope: Microscope) -> None:
    lab = microscope.lab
    before = microscope.pictures()
    lab.timed(lambda: lab.fill_number("metarules-seed", -3), microscope.says("did not work.*-3"))
    assert microscope.changed(before) == set()
    assert "Traceback" not in lab.text(".jp-OutputArea")


def test_run_all_again_is_survived(microscope: Microscope) -> None:
    lab = microscope.lab
    lesson.check_second_run(lab)
    assert lab.find("metarules-widget").count() == 1
    assert not lab.console_errors(), lab.console_errors()


def test_works_with_the_network_off(lab_03: LabPage, first_run: Run, lab_server: LabServer) -> None:
    assert not lab_03.outside and not lab_server.outside_attempts()
