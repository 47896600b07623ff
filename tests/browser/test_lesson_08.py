"""Lesson 8 in a real JupyterLab: it runs, its accuracies are true, both sliders answer, the film plays and is saved.

The tests share one page and one kernel; each finds the widget reset.
"""

from __future__ import annotations

from typing import ClassVar

import pytest

from . import lesson
from .conditions import pictures_change
from .lab import LabServer
from .report import Report
from .widget import Widget

pytestmark = pytest.mark.browser

NAME = "08_how_a_rule_evolves.ipynb"
NEW = 7  # a seed that no cell of the lesson uses

# Accuracy on digits once more: a plain loop over the snapshot's rule, no recording, no widget.
RECOMPUTE = """
def _accuracy_again():
    import torch
    from metarules.base_model import InitSettings, forward, init_state
    from metarules.meta_objective import MetaObjectiveSettings, one_hot, score_in_turn

    study = timeline.run
    rule = run.rules[run.number_of(timeline.meta_step)]
    g = torch.Generator().manual_seed(study.seed)
    settings = InitSettings(study.weight_std, rule.recommended.bias_std)
    phi = init_state((64, 32, 32, 32), tasks=study.task.tasks, settings=settings, generator=g)
    with torch.no_grad():
        for _ in range(timeline.step):
            phi = rule(phi, study.task.sample(100, g).x)
        x = torch.cat([batch.x for batch in study.labelled], -2)
        y = torch.cat([one_hot(batch.y, 10, torch.float32) for batch in study.labelled], -2)
        how = MetaObjectiveSettings(ridge=3.0, standardise_features=True)
        return float(score_in_turn(forward(phi, x).features, y, 6, how).accuracy_b.mean(0)[0])
"""


class Snapshots(Widget):
    """The one `RuleTimeline` of a page."""

    panels = ("embedding", "filters", "curves", "terms")
    words = (
        r"^The rule (?P<rule>.+) \(beside it: (?P<beside>.+?)\), inner step (?P<step>\d+) of (?P<last>\d+): "
        r"few-shot accuracy digits (?P<digits>\d\.\d\d)"
    )

    def prepare_work(self) -> None:
        """Another seed: nothing is taught with it yet, while cells below the widget teach with the first."""
        self.lab.unfold("metarules-fold")
        self.lab.timed(lambda: self.lab.fill_number("metarules-seed", NEW), pictures_change(self.panel("embedding")))
        self.lab.wait_for_quiet(self.status)

    def check_accuracy(self) -> None:
        """The accuracy that is said is the one that an independent computation in the kernel gives."""
        again = float(self.lab.kernel_value("_accuracy_again()", setup=RECOMPUTE))
        assert float(self.said()["digits"]) == pytest.approx(again, abs=0.0051)


WIDGET = Snapshots


class Learned(Snapshots):
    """What another seed always changes: for some pairs of seeds the terms weigh the same, to the pixel."""

    panels = ("embedding", "filters", "curves")


def test_untouched_it_tells_the_story(widget: Snapshots) -> None:
    shown = widget.said()
    assert shown["step"] == shown["last"] == "40" and shown["beside"] == "before meta-training"
    assert float(shown["digits"]) > 0.85
    widget.check_accuracy()


def test_scrubbing_is_fast_and_the_number_true(widget: Snapshots, report: Report) -> None:
    lab, before = widget.lab, widget.pictures()
    lesson.measure_redraw(lab, widget.slider, widget.all_panels, "scrubbing the inner steps", report)
    assert widget.changed(before) == set(widget.panels)
    widget.check_accuracy()


def test_another_snapshot_is_taught_once(widget: Snapshots, report: Report) -> None:
    lab, busy, result = widget.lab, [], []
    widget.prepare_work()
    here = widget.said()["rule"]
    for _ in range(4):
        until = {"busy": widget.says("^Learning "), "result": widget.says(rf"^The rule (?!{here} \()")}
        times = lab.timed_all(lambda: lab.press_slider("metarules-snapshot", "ArrowLeft"), until)
        busy.append(times["busy"])
        result.append(times["result"])
        lab.wait_for_quiet(widget.status)
        here = widget.said()["rule"]
        widget.check_accuracy()
    assert report.add(lab.name, "busy sign of a new snapshot", busy, bound=lesson.BUSY_SIGN) < lesson.BUSY_SIGN
    assert report.add(lab.name, "result of a new snapshot", result, bound=lesson.RESULT) < lesson.RESULT
    known = [
        lab.timed(
            lambda: lab.press_slider("metarules-snapshot", "ArrowRight"), widget.says(rf"^The rule (?!{here} \()")
        )
    ]
    assert report.add(lab.name, "redraw of a known snapshot", known, bound=lesson.REDRAW) < lesson.REDRAW


def test_play_teaches_all_and_shows_the_film(widget: Snapshots) -> None:
    lab = widget.lab
    play = lab.find("metarules-play").locator("button").first
    lab.timed(play.click, widget.says("^Learning with .* snapshots|^The rule before"))
    lab.wait_for("() => /^The rule after [1-9]/.test(document.querySelector('.metarules-status').innerText.trim())", 90)
    widget.reset()
    assert widget.said()["step"] == "40"


def test_a_bad_number_is_answered_with_a_sentence(widget: Snapshots) -> None:
    lab = widget.lab
    lab.unfold("metarules-fold")
    before = widget.pictures()
    for control in ("metarules-seed", "metarules-steps", "metarules-spread"):
        lab.timed(lambda control=control: lab.fill_number(control, -3), widget.says("did not work.*-3"))
        assert widget.changed(before) == set()
        assert "Traceback" not in lab.text(".jp-OutputArea")
        widget.reset()


def test_a_film_is_written(widget: Snapshots, lab_server: LabServer) -> None:
    lab = widget.lab
    lab.unfold("metarules-fold")
    lab.choose("metarules-gif-along", "the inner steps")
    lesson.check_gif(widget, lab_server, "rule_evolves.gif", frames=21)


class TestLesson(lesson.RunAgain):
    """What every lesson must show."""

    runs: ClassVar[int] = 2  # of the two snapshots side by side

    def check_work(self, widget: Widget, report: Report) -> None:
        super().check_work(Learned(widget.lab), report)
