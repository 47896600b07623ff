"""Lesson 1 in a real JupyterLab: it runs, its explorer tells the truth, and everything is fast enough."""

from __future__ import annotations

import pytest

from metarules.plots.idea import SIZE, legend_height
from metarules.plots.idea_arrows import ARROWS, arrows_of

from . import lesson
from .conditions import js, pictures_change
from .report import Report
from .widget import Widget

pytestmark = pytest.mark.browser

NAME = "01_base_model.ipynb"

# The number once more, by the evaluation's own path: no closed-form probe, no widget.
RECOMPUTE = """
def _accuracy_again():
    from metarules.base_model import forward
    from metarules.evaluation import few_shot_accuracy

    phi = explorer.net.phi
    return float(few_shot_accuracy(forward(phi, task.x).x[explorer.layer], task.y, n_splits=5).mean())
"""


class Layers(Widget):
    """The one `RandomNetExplorer` of a page."""

    panels = ("cloud", "norm", "spectrum", "depth")
    words = r"^(?P<sizes>[\d-]+), (?P<nonlinearity>\w+), (?P<layer>.+): few-shot accuracy (?P<accuracy>\d\.\d\d)\b"
    slider = "metarules-layer-slider"

    def check_number(self) -> None:
        """The accuracy that is said is the one that an independent computation in the kernel gives."""
        again = self.lab.kernel_value("_accuracy_again()", setup=RECOMPUTE)
        assert float(self.said()["accuracy"]) == pytest.approx(again, abs=0.0051)  # two decimals are shown


WIDGET = Layers


def test_untouched_it_tells_the_story(widget: Layers) -> None:
    said = widget.said()
    assert (said["sizes"], said["nonlinearity"], said["layer"]) == ("64-128-128-128-128-32", "relu", "layer 5 (top)")
    widget.check_number()


def test_walking_through_the_layers_is_fast_and_the_number_true(widget: Layers, report: Report) -> None:
    lab = widget.lab
    times = []
    for i in range(lesson.REPEATS):  # five layers: down to the input and up again
        key = "ArrowLeft" if i // 5 % 2 == 0 else "ArrowRight"
        times.append(
            lab.timed(lambda key=key: lab.press_slider(widget.slider, key), pictures_change(widget.all_panels))
        )
        if i in (2, 4):
            widget.check_number()
    assert report.add(lab.name, "redraw of a layer", times, bound=lesson.REDRAW) < lesson.REDRAW


def test_another_network_is_there_soon(widget: Layers, report: Report) -> None:
    lab = widget.lab
    result = []
    for name in ("tanh", "step", "identity", "relu", "silu"):
        done = {
            "text": widget.says(rf", {name}, layer 5 \(top\): few-shot"),
            "pictures": pictures_change(widget.all_panels),
        }
        times = lab.timed_all(lambda name=name: lab.choose("metarules-nonlinearity", name), done)
        result.append(max(times.values()))
        widget.check_number()
    assert report.add(lab.name, "result of another nonlinearity", result, bound=lesson.RESULT) < lesson.RESULT
    lab.timed(lambda: lab.click("metarules-new-weights"), pictures_change(widget.all_panels))
    lab.unfold("metarules-fold")
    lab.timed(lambda: lab.fill_number("metarules-depth", 0), widget.says("did not work.*depth is 0"))
    lab.timed(lambda: lab.click("metarules-reset"), widget.says(r"^64-128-128-128-128-32, relu, layer 5"))
    widget.check_number()


def test_a_click_or_a_key_on_an_arrow_of_the_idea_gives_its_line(widget: Layers) -> None:
    """The map of the idea is not this lesson's widget, but one of the page: every lesson up to the sixth has it."""
    lab, idea = widget.lab, ".metarules-idea img"
    image, names = lab.page.locator(idea), list(ARROWS)
    told = lambda name: js(f"() => document.querySelector({idea!r}).alt.includes({str(ARROWS[name])!r})")  # noqa: E731
    image.scroll_into_view_if_needed()
    opened = image.get_attribute("alt")
    assert opened is not None and all(str(ARROWS[name]) in opened for name in arrows_of(1))
    box, words = image.bounding_box(), ARROWS["gradient"].words[0]
    assert box is not None
    height = SIZE[1] + legend_height(len(arrows_of(1)))  # inches, of the picture as it opens
    place = {"x": words.x / SIZE[0] * box["width"], "y": (SIZE[1] - words.y) / height * box["height"]}
    lab.timed(lambda: image.click(position=place), told("gradient"))
    image.focus()
    lab.timed(lambda: lab.page.keyboard.press("ArrowLeft"), told(names[names.index("gradient") - 1]))
    lab.timed(lambda: lab.page.keyboard.press("ArrowRight"), told("gradient"))
    told_now = image.get_attribute("alt") or ""
    assert all(part in told_now for part in (ARROWS["gradient"].equation, ARROWS["gradient"].tensor))
    assert ARROWS["gradient"].shape in told_now
    assert image.evaluate("image => getComputedStyle(image).outlineStyle") == "solid", (
        "no ring around what has the focus"
    )
    lab.timed(lambda: lab.page.keyboard.press("Home"), told("forward"))
    assert image.get_attribute("alt") == opened
    assert lab.page.evaluate(f"document.activeElement === document.querySelector({idea!r})"), (
        "a key took the focus away"
    )


class TestLesson(lesson.EveryLesson):
    """What every lesson must show."""
