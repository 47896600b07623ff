"""`RuleTimeline`: numbers computed a second way, both sliders, every other control, the film, errors as sentences."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from widget_changes import changed, pictures, setting

from metarules._work import Stopped
from metarules.base_model import InitSettings, forward, init_state
from metarules.meta_objective import MetaObjectiveSettings, one_hot, score_in_turn
from metarules.plots.timeline import EmbeddingPair, TermsFilm
from metarules.pretrained import save_rule
from metarules.studies.evolution import Evolution, evolution
from metarules.studies.planes import project, turned_to
from metarules.studies.runs import compare_rules, term_cosines, term_weights
from metarules.studies.timeline import Timeline, mean_gates
from metarules.tasks import Task, load_dataset, make_task
from metarules.update_rule import LocalRule, LocalRuleSettings
from metarules.widgets.rule_timeline import PANELS, RuleTimeline

STEPS = 4
HEADER = "meta_step,minutes,meta_loss,gradient_norm,learning_rate,skipped,glyphs,decoders,handwriting\n"


@pytest.fixture(scope="module")
def task() -> Task:
    return make_task(load_dataset("digits"), generator=torch.Generator().manual_seed(0))


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Evolution:
    """A run of four snapshots, validated on handwriting too."""
    folder = tmp_path_factory.mktemp("run")
    for step in (0, 1, 2, 3):
        rule = LocalRule(LocalRuleSettings(channels=4, signals=2, readouts=1))
        g = torch.Generator().manual_seed(step)
        with torch.no_grad():
            for p in rule.parameters():
                p.add_(0.1 * step * torch.randn(p.shape, generator=g))
        path = save_rule(rule, folder / "snapshots" / f"{step:06d}.safetensors", {"meta_steps": step})
        path.with_suffix(".json").unlink()
    (folder / "log.csv").write_text(HEADER + "0,0,nan,,,0,0.5,0.25,0.75\n3,1,1.5,1,1,0,0.6,0.3,0.8\n")
    return evolution(folder)


@pytest.fixture(scope="module")
def opened(run: Evolution, task: Task) -> RuleTimeline:
    return RuleTimeline(run, task, steps=STEPS)


@pytest.fixture
def widget(opened: RuleTimeline) -> Iterator[RuleTimeline]:
    yield opened
    opened.stop_button.click()
    assert opened.wait(300)
    opened.reset_button.click()


def accuracies_again(run: Evolution, shown: Timeline, number: int, steps: int) -> list[float]:
    """Once more, from the recipe: draw, teach in a plain loop, fit the read-out of each labelled batch in turn."""
    task, rule = shown.task, run.rules[number]
    g = torch.Generator().manual_seed(shown.seed)
    phi = init_state((64, 32, 32, 32), tasks=task.tasks, settings=InitSettings(shown.weight_std, 0.0), generator=g)
    with torch.no_grad():
        for _ in range(steps):
            phi = rule(phi, task.sample(100, g).x)
        x = torch.cat([batch.x for batch in shown.labelled], -2)
        y = torch.cat([one_hot(batch.y, 10, torch.float32) for batch in shown.labelled], -2)  # type: ignore[arg-type]
        how = MetaObjectiveSettings(ridge=3.0, standardise_features=True)
        return score_in_turn(forward(phi, x).features, y, 6, how).accuracy_b.mean(0).tolist()


def test_the_numbers_shown_are_those_of_an_independent_computation(widget: RuleTimeline, run: Evolution):
    assert list(widget.accuracies) == ["digits", "letters", "handwriting"], "what the log has, and digits"
    for snapshot, step in ((3, STEPS), (3, 2), (0, 2)):
        widget.meta_step = run.meta_steps[snapshot]
        assert widget.wait(300)
        widget.step = step
        again = accuracies_again(run, widget.run, snapshot, step)
        assert list(widget.accuracies.values()) == pytest.approx(again, abs=1e-6)
        said = [float(n) for n in re.findall(r"(\d\.\d\d) \(", widget.status.value)]
        assert said == pytest.approx(again, abs=0.0051)


def test_untouched_it_compares_the_end_with_the_start(widget: RuleTimeline):
    assert (widget.meta_step, widget.step) == (3, STEPS)
    assert "The rule after 3 meta-steps (beside it: before meta-training), inner step 4 of 4" in widget.status.value
    assert "before meta-training and after 3 meta-steps" in widget.panels["embedding"].alt
    assert set(widget.panels) == set(PANELS)


def test_a_snapshot_is_taught_once_off_the_main_thread_and_then_scrubbed(widget: RuleTimeline):
    widget.snapshot_slider.value = 1
    assert widget.busy, "the choice returns before the work is done"
    assert widget.wait(300) and widget.meta_step == 1 and 1 in widget.run
    kept = widget.run[1]
    assert changed(widget, setting(widget.snapshot_slider, 3)) == set(PANELS)
    assert changed(widget, setting(widget.slider, 0)) == set(PANELS)
    for snapshot, step in ((1, 0), (3, 2), (1, 4), (3, 4), (1, 2)):
        widget.snapshot_slider.value = snapshot
        widget.slider.value = step
        assert not widget.busy and (widget.meta_step, widget.step) == (snapshot, step)
    assert widget.run[1] is kept


def test_play_teaches_what_is_missing_and_then_shows_it(widget: RuleTimeline):
    widget.play.value = 1
    assert widget.wait(300)
    assert all(i in widget.run for i in range(4))
    assert widget.play.playing and widget.meta_step == 0, "the film begins at the start"
    for i in (1, 2, 3):
        widget.play.value = i
        assert widget.meta_step == i == widget.snapshot_slider.value and not widget.busy
    widget.reset_button.click()
    assert not widget.play.playing


def test_beside_data_and_reset(widget: RuleTimeline):
    opened, words = pictures(widget), widget.status.value
    assert changed(widget, setting(widget.beside_menu, 3)) == set(PANELS)
    assert "(beside it: after 3 meta-steps)" in widget.status.value
    letters = changed(widget, setting(widget.kind_menu, 1))
    assert letters >= {"embedding", "filters", "curves"} and "letters" in widget.panels["embedding"].alt
    widget.reset_button.click()
    assert pictures(widget) == opened and widget.status.value == words
    assert (widget.beside_menu.value, widget.kind_menu.value) == (0, 0)


def test_seed_steps_and_spread_teach_anew(widget: RuleTimeline):
    assert changed(widget, setting(widget.seed_box, 2)) == set(PANELS)
    assert changed(widget, setting(widget.spread_box, 0.1)) >= {"embedding", "filters", "curves"}
    assert changed(widget, setting(widget.steps_box, 3)) == set(PANELS)
    assert widget.step == widget.slider.max == 3 and widget.run.weight_std == 0.1 and widget.run.seed == 2


@pytest.mark.parametrize(
    ("control", "value", "words"),
    [
        ("seed_box", -1, "-1"),
        ("steps_box", 0, "steps is 0; allowed"),
        ("steps_box", 10**9, "steps is 1000000000; allowed"),
        ("spread_box", float("nan"), "weight_std is nan; allowed"),
    ],
)
def test_bad_input_is_a_sentence_and_the_last_good_state_stays(
    widget: RuleTimeline, control: str, value: Any, words: str
):
    before = getattr(widget, control).value
    assert changed(widget, setting(getattr(widget, control), value)) == set()
    assert words in widget.status.value and "Still showing the rule after 3 meta-steps" in widget.status.value
    assert getattr(widget, control).value == before
    widget.slider.value = 2
    assert "inner step 2" in widget.status.value


def test_an_unknown_meta_step_is_named(widget: RuleTimeline, run: Evolution, task: Task):
    with pytest.raises(ValueError, match="meta_step is 7; allowed: 0, 1, 2, 3"):
        widget.meta_step = 7
    with pytest.raises(ValueError, match="beside is 9"):
        RuleTimeline(run, task, beside=9, steps=2)


@pytest.mark.parametrize(("along", "frames"), [("meta", 4), ("inner", 5)])
def test_the_film_is_saved_along_either_slider(widget: RuleTimeline, tmp_path: Path, along: str, frames: int):
    before = pictures(widget)
    widget.gif_along.value, widget.save_name.value = along, str(tmp_path / "film.gif")
    widget.save_button.click()
    assert widget.wait(300)
    assert f"Wrote film.gif: {frames} frames" in widget.status.value and pictures(widget) == before
    with Image.open(tmp_path / "film.gif") as gif:
        assert gif.n_frames == frames  # type: ignore[attr-defined]
    widget.save_name.value = str(tmp_path / "film.mp4")
    widget.save_button.click()
    assert widget.wait(300) and "allowed: .gif, .png, .svg" in widget.status.value


def test_stopping_keeps_what_is_shown(run: Evolution, task: Task):
    import threading

    timeline, stop = Timeline(run, task, steps=STEPS), threading.Event()
    stop.set()
    with pytest.raises(Stopped):
        timeline.teach(2, stop=stop)
    assert 2 not in timeline


def test_films_show_the_snapshots_they_say(widget: RuleTimeline, run: Evolution):
    shown, frames = widget.run, len(widget.run.steps)
    clouds, terms = EmbeddingPair(shown, 0, 0), TermsFilm(shown, 0, 0)
    own = project(torch.stack([forward(s, shown.task.x).features[0] for s in shown[3].states]).numpy())[:, shown.dots]
    turned = clouds.points(3)
    assert np.allclose(np.linalg.norm(turned, axis=-1), np.linalg.norm(own, axis=-1), atol=1e-5), "turned, not bent"
    other = shown[0].points[:, 0]
    assert np.square(turned[-1] - other[-1]).sum() <= np.square(own[-1] - other[-1]).sum() + 1e-6
    theta = run.rules[3].forward_readout.coefficients.detach().numpy()
    gates = mean_gates(run.rules[3], shown[3].states[0].map(lambda t: t[0]), shown_batch(shown)).detach()
    assert np.allclose(terms.weights(3, 0), theta * gates.numpy(), atol=1e-6)
    assert "after 3 meta-steps" in terms.alt(3 * frames)


def shown_batch(shown: Timeline):
    from metarules.update_rule import Batch

    return Batch(shown.task.x[0, :100])


def test_turning_finds_a_turn():
    g = np.random.default_rng(0)
    points = g.normal(size=(3, 20, 2))
    mirror = np.array([[0.6, 0.8], [0.8, -0.6]])
    assert np.allclose(turned_to(points @ mirror, points), points)


def test_rules_side_by_side(run: Evolution, task: Task):
    rules = {str(n): rule for n, rule in zip(run.meta_steps, run.rules, strict=True)}
    found = compare_rules(rules, task)
    assert found.names == ("0", "1", "2", "3") and found.weights.shape == (4, 13)
    assert np.allclose(np.diag(found.cosines), 1, atol=1e-5) and np.allclose(found.cosines, found.cosines.T)
    assert np.all((found.r2 > 0) & (found.r2 <= 1)) and found.r2[0] > 0.8
    own = term_weights(run.rules[0], np.ones(13))
    assert np.allclose(found.weights[0], list(own.values()), atol=1e-6), "gates of the start are 1"
    more = LocalRule(LocalRuleSettings(channels=4, signals=2, readouts=1, terms=("hebb", "slow")))
    mixed = compare_rules({"whole": run.rules[0], "other": more}, task)
    assert mixed.terms[-1] == "slow" and np.isnan(mixed.weights[0, -1]) and mixed.weights[1, -1] == pytest.approx(0.1)
    assert term_cosines(rules, task, "hebb", "hebb") == pytest.approx(np.ones((4, 3)), abs=1e-5)
    with pytest.raises(ValueError, match="rules is empty"):
        compare_rules({}, task)
