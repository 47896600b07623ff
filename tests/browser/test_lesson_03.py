"""Lesson 3 in a real JupyterLab: it runs, its microscope tells the truth, and everything is fast enough.

The tests share one page and one kernel; each finds the microscope reset.
"""

from __future__ import annotations

import pytest

from . import lesson
from .conditions import pictures_change
from .report import Report
from .widget import Widget

pytestmark = pytest.mark.browser

NAME = "03_update_networks.ipynb"
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


class Microscope(Widget):
    """The one `NeuronMicroscope` of a page."""

    panels = ("inputs", "hidden", "terms")
    words = (
        r"^Step (?P<step>\d+) of \d+, layer (?P<layer>\d), neuron (?P<unit>\d+): (?P<term>\w+) does most "
        r"\(\+(?P<share>\d+) %\).* Few-shot accuracy (?P<accuracy>\d\.\d\d) at this step"
    )
    away = "End"

    def check_numbers(self, off: str | None = None) -> None:
        """What the status line says is what an independent computation gives."""
        said = self.said()
        call = f"_microscope_again({said['step']}, {said['layer']}, {said['unit']}, {off!r})"
        accuracy, best, share = self.lab.kernel_value(call, setup=RECOMPUTE)
        assert float(said["accuracy"]) == pytest.approx(accuracy, abs=0.0051)
        assert said["term"] == best and int(said["share"]) == pytest.approx(100 * share, abs=1)


WIDGET = Microscope


def test_untouched_it_tells_the_story(widget: Microscope) -> None:
    widget.check_numbers()
    for name in widget.panels:
        picture = widget.lab.page.locator(widget.panel(name))
        assert picture.count() == 1 and (picture.get_attribute("alt") or "").strip(), name


def test_scrubbing_is_fast_and_the_numbers_true(widget: Microscope, report: Report) -> None:
    lab = widget.lab
    before = widget.pictures()
    lab.timed(lambda: lab.press_slider(widget.slider, "End"), widget.says("^Step 100 "))
    lesson.measure_redraw(lab, widget.slider, widget.all_panels, "scrubbing the microscope", report)
    assert widget.changed(before) == set(widget.panels)
    widget.check_numbers()


def test_neuron_layer_and_scale(widget: Microscope) -> None:
    lab = widget.lab
    before = widget.pictures()
    lab.timed(lambda: lab.press_slider("metarules-neuron", "ArrowRight"), widget.says("neuron 5:"))
    widget.check_numbers()
    lab.timed(lambda: lab.choose("metarules-layer", "3"), widget.says("layer 3, neuron 5:"))
    widget.check_numbers()
    assert widget.changed(before) == set(widget.panels)
    before, shown = widget.pictures(), widget.said()
    lab.timed(lambda: lab.toggle("metarules-scale"), pictures_change(widget.panel("terms")))
    assert widget.changed(before) == {"terms"} and widget.said() == shown


def test_switching_a_term_off_shows_busy_at_once_and_its_result_soon(widget: Microscope, report: Report) -> None:
    lab = widget.lab
    busy, result = [], []
    for name in OFF:
        until = {
            "busy": widget.says("^Learning without "),
            "result": widget.says(f"taught without {name} "),
            "pictures": pictures_change(widget.panel("terms")),
        }
        times = lab.timed_all(lambda name=name: lab.choose("metarules-off", name), until)
        busy.append(times["busy"])
        result.append(max(times["result"], times["pictures"]))
        widget.check_numbers(off=name)
    assert report.add(lab.name, "busy sign after switching off", busy, bound=lesson.BUSY_SIGN) < lesson.BUSY_SIGN
    assert report.add(lab.name, "result of switching off", result, bound=lesson.RESULT) < lesson.RESULT


def test_a_bad_number_is_answered_with_a_sentence(widget: Microscope) -> None:
    lab = widget.lab
    before = widget.pictures()
    lab.timed(lambda: lab.fill_number("metarules-seed", -3), widget.says("did not work.*-3"))
    assert widget.changed(before) == set()
    assert "Traceback" not in lab.text(".jp-OutputArea")


class TestLesson(lesson.EveryLesson):
    """What every lesson must show."""
