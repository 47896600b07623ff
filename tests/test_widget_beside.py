"""Two rules side by side: each half is what one rule alone would be, every control moves what it should."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from widget_changes import changed, css_classes, setting

from metarules.base_model import forward
from metarules.classic_rules import get_rule
from metarules.evaluation import few_shot_accuracy, learned_state
from metarules.plots.beside import ClassesFilm, TwoAccuraciesFilm
from metarules.studies.layers import explore_layers
from metarules.studies.trajectory import explore, explore_beside
from metarules.tasks import Task, load_dataset, make_task
from metarules.update_rule import FunctionRule
from metarules.widgets import InnerLoopExplorer, LayersExplorer, RuleMixer

STEPS = 8
PANELS = {"embedding", "embedding-b", "filters", "filters-b", "accuracy", "classes"}


@pytest.fixture(scope="module")
def task() -> Task:
    return make_task(load_dataset("digits"), generator=torch.Generator().manual_seed(0))


@pytest.fixture
def pair(task: Task) -> Iterator[InnerLoopExplorer]:
    made = InnerLoopExplorer("hebb_decorrelation", task, beside="hebb", steps=STEPS)
    yield made
    made.stop_button.click()
    assert made.wait(300)


def test_each_half_is_what_the_rule_alone_would_be(task: Task):
    first, other = get_rule("hebb_decorrelation"), get_rule("oja")
    told: list[tuple[int, int]] = []
    both = explore_beside(
        first, other, task, steps=STEPS, seed=2, record_at=[4, 8], progress=lambda *how: told.append(how)
    )
    assert both.beside is not None and both.beside.steps == both.steps == (0, 4, 8)
    for half, rule in ((both, first), (both.beside, other)):
        alone = explore(rule, task, steps=STEPS, seed=2, record_at=[4, 8], batch_size=200)
        assert np.array_equal(half.accuracies, alone.accuracies) and np.array_equal(half.filters, alone.filters)
    for a, b in zip(both.states[0].tensors(), both.beside.states[0].tensors(), strict=True):
        assert torch.equal(a[1], b[1])  # the same first weights
    assert [done for done, _ in told] == [1, 2, 3, 4, 5, 6] and {all_ for _, all_ in told} == {6}


def test_the_numbers_it_says(pair: InnerLoopExplorer, task: Task):
    said = re.search(r"accuracy (\d\.\d\d) and (\d\.\d\d) ", pair.status.value)
    assert said and "A, Hebb + decorrelation, and B, Hebb, step 8 of 8" in pair.status.value
    for name, shown, text in (
        ("hebb_decorrelation", pair.accuracy, said[1]),
        ("hebb", pair.accuracy_beside, said[2]),
    ):
        phi = learned_state(get_rule(name), task, steps=STEPS)
        again = float(few_shot_accuracy(forward(phi, task.x).features, task.y, n_splits=5).mean())
        assert shown == pytest.approx(again, abs=1e-9) and text == f"{again:.2f}"


def test_every_control_moves_what_it_should(pair: InnerLoopExplorer):
    assert set(pair.panels) == PANELS and all(panel.alt for panel in pair.panels.values())
    assert {"metarules-rule", "metarules-beside", "metarules-panel-embedding-b"} <= css_classes(pair)
    assert changed(pair, setting(pair.slider, 4)) == PANELS
    assert changed(pair, pair.step_button.click) == PANELS
    assert changed(pair, setting(pair.classes_box, False)) == {"embedding", "embedding-b"}
    assert changed(pair, setting(pair.scale_box, True)) == {"filters", "filters-b"}
    assert changed(pair, setting(pair.seed_box, 3)) == PANELS
    pair.reset_button.click()
    assert changed(pair, setting(pair.beside_menu, "Oja")) == {"embedding-b", "filters-b", "accuracy", "classes"}
    assert pair.beside_name == "Oja" and pair.rule_name == "Hebb + decorrelation"
    assert changed(pair, setting(pair.rule_menu, "Oja")) >= {"embedding", "filters", "accuracy", "classes"}
    assert pair.accuracy == pair.accuracy_beside  # a rule beside itself: one seed, one result
    assert changed(pair, setting(pair.steps_box, -1)) == set() and "did not work" in pair.status.value
    assert "Still showing Oja and Oja" in pair.status.value
    pair.reset_button.click()
    assert pair.beside_name == "Hebb" and pair.step == STEPS


def test_b_is_chosen_in_the_fold_and_sent_away_again(task: Task, pair: InnerLoopExplorer):
    pair.reset()
    alone = InnerLoopExplorer("hebb_decorrelation", task, steps=STEPS)
    first, opened = alone.exploration, {name: panel.value for name, panel in alone.panels.items()}
    assert alone.beside_name is None and set(opened) == {"embedding", "filters", "alignment", "accuracy"}
    alone.beside_menu.value = "Hebb"
    assert alone.wait(300) and alone.beside_name == "Hebb"
    assert {name: panel.value for name, panel in alone.panels.items()} == {n: p.value for n, p in pair.panels.items()}
    assert list(alone.children[-1].children) == list(alone.panels.values()) and set(alone.panels) == PANELS
    assert alone.status.value == pair.status.value
    assert alone.exploration.states is first.states, "what is known is not computed again"
    assert changed(alone, setting(alone.slider, 4)) == PANELS
    alone.panels["accuracy"].clicked = [0.4, 0.5, 1.0]
    assert 0 < alone.step < STEPS
    alone.beside_menu.value = alone.beside_menu.options[0][1]
    assert alone.wait(300) and alone.beside_name is None and set(alone.panels) == set(opened)
    alone.reset()
    assert {name: panel.value for name, panel in alone.panels.items()} == opened


def test_two_rules_of_one_label_are_told_apart(task: Task):
    one, other = (FunctionRule(lambda phi, batch, c=c: phi.map(lambda t: t * c), "Mine") for c in (0.9, 0.8))
    pair = InnerLoopExplorer(one, task, beside=other, steps=2)
    assert pair.rule_name == "Mine" and pair.beside_name == "Mine (B)"


def test_one_rule_is_shown_as_ever(task: Task):
    alone = InnerLoopExplorer("hebb", task, steps=2)
    assert set(alone.panels) == {"embedding", "filters", "alignment", "accuracy"}
    assert alone.accuracy_beside is None and alone.beside_name is None and alone.exploration.beside is None
    with pytest.raises(ValueError, match="nobody"):
        InnerLoopExplorer("hebb", task, beside="nobody", steps=2)


def test_layers_of_two_rules_are_those_of_each_alone(task: Task):
    pair = LayersExplorer("hebb_decorrelation", task, steps=STEPS)
    before = set(pair.panels)
    pair.beside_menu.value = "Hebb"
    assert pair.wait(300) and set(pair.panels) == {"layers", "layers-b", "accuracy", "accuracy-b"}
    for name, shown in (("hebb_decorrelation", pair.tour), ("hebb", pair.tour.beside)):
        alone = explore_layers(get_rule(name), task, steps=STEPS, batch_size=200)
        assert np.array_equal(shown.layer_accuracies, alone.layer_accuracies)
    a, b = re.findall(r"accuracy (\d\.\d\d) and (\d\.\d\d) ", pair.status.value)[0]
    assert (a, b) == (f"{pair.tour.accuracies[-1].mean():.2f}", f"{pair.accuracy_beside:.2f}")
    shown = {name: picture.value for name, picture in pair.panels.items()}
    film: Any = pair.film(pair._view, "layers-b")
    dot = next(d for d in range(100) if task.y[pair.tour.dots[d]] != task.y[pair.example])
    x, y = film._at(3, pair._frame)[dot]
    across = (film._lefts[3] + (x + 1) / 2 * film._side) / 9.12
    down = 1 - (0.3 + (y + 1) / 2 * film._side) / film.figure.get_figheight()
    pair.panels["layers-b"].clicked = [across, down, 1.0]
    assert {name for name, png in shown.items() if pair.panels[name].value != png} == set(pair.panels)  # in all four
    assert f"example={pair.example}" in pair.as_code() and "beside='Hebb'" in pair.as_code()
    pair.reset_button.click()
    assert set(pair.panels) == before
    pair.close()


def test_a_line_of_python_brings_it_back(pair: InnerLoopExplorer, task: Task):
    pair.beside_menu.value = "Oja"
    assert pair.wait(300)
    pair.seed_box.value = 4
    assert pair.wait(300)
    pair.scale_box.value = True
    pair.step = 4
    line = pair.as_code("again")
    assert "\n" not in line and line.startswith("again.restore(rule=") and line.endswith("step=4)")
    again = InnerLoopExplorer("hebb_decorrelation", task, beside="hebb", steps=3)
    exec(line, {"again": again})
    assert again.status.value == pair.status.value and again.as_code() == pair.as_code()
    assert {name: p.value for name, p in again.panels.items()} == {name: p.value for name, p in pair.panels.items()}
    with pytest.raises(ValueError, match="colour"):
        again.restore(colour=True)
    again.restore(steps=-2)
    assert "did not work" in again.status.value
    alone: Any = InnerLoopExplorer("hebb", task, steps=4)
    alone.restore(steps=3, seed=1, step=2)
    assert alone.step == 2 and alone.exploration.seed == 1


def test_the_films_of_two():
    rng = np.random.default_rng(0)
    a, b = rng.uniform(0.5, 0.9, (2, 3, 5))
    film = TwoAccuraciesFilm(a, b, (0, 5, 10), {"raw pixels": 0.8})
    assert f"A has {a[1].mean():.2f} and B {b[1].mean():.2f}" in film.alt(1)
    classes = ClassesFilm(a[:, :4], b[:, :4], (0, 5, 10))
    assert f"A is better at {int((a[2, :4] > b[2, :4]).sum())}" in classes.alt(2)
    assert len({film.png(i) for i in range(3)}) == len({classes.png(i) for i in range(3)}) == 3


def test_the_mixer_still_has_its_films(task: Task):
    assert {"filters", "accuracy"} <= set(RuleMixer(task, steps=2).panels)
