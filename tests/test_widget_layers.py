"""`LayersExplorer`: one example followed through every picture, every number computed a second way."""

from __future__ import annotations

import io
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.neighbors import NearestNeighbors
from widget_changes import changed, css_classes, pictures, setting

from metarules.base_model import BaseModelState, forward
from metarules.classic_rules import get_rule
from metarules.evaluation import few_shot_accuracy, learned_state
from metarules.plots.layer_accuracy import LayerAccuracyFilm
from metarules.plots.layer_clouds import LayerCloudsFilm
from metarules.plots.neighbours import NeighboursFilm
from metarules.studies.layers import DOTS, explore_layers
from metarules.studies.trajectory import explore, fixed_sample
from metarules.tasks import Task, load_dataset, make_task
from metarules.update_rule import LocalRule, UpdateRule
from metarules.widgets.layers import LayersExplorer
from metarules.widgets.layers_view import labels_of

STEPS = 6
PANELS = {"layers", "neighbours", "filters", "alignment", "accuracy"}
LINKED = PANELS - {"alignment"}  # what is drawn of the followed example


@pytest.fixture(scope="module")
def task() -> Task:
    return make_task(load_dataset("digits"), generator=torch.Generator().manual_seed(0))


@pytest.fixture(scope="module")
def rules() -> dict[str, UpdateRule]:
    return {"Oja": get_rule("oja"), "Local": LocalRule()}


@pytest.fixture
def explorer(task: Task, rules: dict[str, UpdateRule]) -> Iterator[LayersExplorer]:
    made = LayersExplorer("hebb_decorrelation", task, rules=rules, steps=STEPS)
    yield made
    made.stop_button.click()
    assert made.wait(300)


def learned(task: Task, step: int) -> BaseModelState:
    return learned_state(get_rule("hebb_decorrelation"), task, steps=step)


def alike_by_sklearn(x: torch.Tensor, labels: np.ndarray, dot: int) -> int:
    """How many of the five nearest by cosine, activities centred, share the dot's class, by scikit-learn."""
    x = x.double() - x.double().mean(0)
    found = NearestNeighbors(n_neighbors=6, metric="cosine").fit(x).kneighbors(x[[dot]])[1][0]
    others = [i for i in found if i != dot][:5]
    return int((labels[others] == labels[dot]).sum())


# ---- the core


def test_it_extends_the_exploration(task: Task):
    rule = LocalRule()
    e = explore_layers(rule, task, steps=4, batch_size=100, seed=2)
    plain = explore(rule, task, steps=4, batch_size=100, seed=2)
    assert e.steps == plain.steps == (0, 1, 2, 3, 4) and e.batch_size == 100
    assert np.array_equal(e.accuracies, plain.accuracies) and np.array_equal(e.cosines, plain.cosines)
    assert np.array_equal(e.layer_accuracies[:, -1], plain.accuracies.mean(1))
    assert e.images is not None
    assert np.allclose(e.images[0].reshape(-1), task.unpermute(task.x)[e.dots[0]].numpy())
    for frame, state in enumerate(e.states):
        acts = forward(state, task.x)
        for l in range(4):
            probe = few_shot_accuracy(acts.x[l], task.y, n_splits=5).mean()
            assert e.layer_accuracies[frame, l] == pytest.approx(float(probe), abs=1e-12)
            rows = e.layer_activities[l][min(frame, len(e.layer_activities[l]) - 1)]
            assert np.array_equal(rows, acts.x[l][e.dots].numpy())
    assert len(e.dots) == DOTS and np.array_equal(e.dots, fixed_sample(1797, DOTS))


def test_two_numbers_are_drawn_as_they_are():
    moons = make_task(load_dataset("two_moons", n=300), permute=False)
    e = explore_layers(get_rule("hebb"), moons, steps=3, sizes=(2, 8, 4))
    assert e.images is None and np.array_equal(e.layer_points[0][0], moons.x[e.dots].numpy())
    widget = LayersExplorer(get_rule("hebb"), moons, steps=3, sizes=(2, 8, 4))
    assert "Following example" in widget.status.value and "raw inputs" in widget.status.value


def test_too_many_layers_are_refused(task: Task):
    with pytest.raises(ValueError, match=r"layers, len\(sizes\) - 1, is 6; allowed: a whole number in \[1, 5\]"):
        explore_layers(get_rule("hebb"), task, sizes=(64, *[8] * 6), steps=2)
    with pytest.raises(ValueError, match="steps is 0"):
        explore_layers(get_rule("hebb"), task, steps=0)


# ---- the widget


def test_untouched_it_tells_the_story(explorer: LayersExplorer):
    assert explorer.step == STEPS and explorer.rule_name == "Hebb + decorrelation"
    assert explorer.alike[-1] > explorer._neighbours.alike(0)[-1], "it opens on an example that learning helped"
    assert f"step {STEPS} of {STEPS}: few-shot accuracy {explorer.accuracy:.2f} (layer 1" in explorer.status.value
    for name, panel in explorer.panels.items():
        wide = 912 if name == "layers" else 450
        assert panel.layout.flex == ("1 1 100%" if name == "layers" else "1 1 300px")  # a row of its own
        assert panel.width == wide and Image.open(io.BytesIO(panel.value)).width == wide * 1.5
        assert len(panel.alt) > 60 and "before" in panel.alt
    sheet = explorer._repr_mimebundle_()["image/png"]
    assert Image.open(io.BytesIO(sheet)).height > 800 and repr(explorer) == "LayersExplorer()"


def test_at_most_four_controls_are_in_sight_and_classes_are_documented(explorer: LayersExplorer):
    assert len(explorer.children[1].children) == 4
    found = css_classes(explorer)
    assert {"metarules-batch", "metarules-example", "metarules-only"} <= found
    assert not {"metarules-classes", "metarules-scale"} & found
    for name in ("batch", "example", "only", "panel-layers"):
        assert f"`metarules-{name}`" in (LayersExplorer.__doc__ or "")


@pytest.mark.parametrize("step", [0, 2, STEPS])
def test_the_slider_moves_all_panels_and_every_number_is_right(explorer: LayersExplorer, task: Task, step: int):
    explorer.slider.value = 3
    assert changed(explorer, setting(explorer.slider, step)) == PANELS
    acts = forward(learned(task, step), task.x)
    expected = [float(few_shot_accuracy(x, task.y, n_splits=5).mean()) for x in acts.x]
    assert explorer.layer_accuracies == pytest.approx(expected, abs=1e-12)
    e = explorer.exploration
    labels, dot = task.y.numpy()[e.dots], e.dots.tolist().index(explorer.example)
    alike = [alike_by_sklearn(x[e.dots], labels, dot) for x in acts.x]
    assert explorer.alike == alike
    words = (
        f"few-shot accuracy {expected[3]:.2f} (layer 1 {expected[1]:.2f}, layer 2 {expected[2]:.2f}, "
        f"raw pixels {expected[0]:.2f}). Following image {explorer.example} of class {labels[dot]}: in the top layer "
        f"{alike[-1]} of its 5 nearest are of class {labels[dot]}, in the inputs {alike[0]}."
    )
    assert words in explorer.status.value
    film: Any = explorer.film(explorer._view, "filters")
    answers = acts.x[1][explorer.example]
    assert film.strongest(e.frame_of(step)) == answers.argsort(descending=True, stable=True)[:3].tolist()


def test_a_click_on_a_dot_follows_it_everywhere(explorer: LayersExplorer, task: Task):
    film: Any = explorer.film(explorer._view, "layers")
    target = next(d for d in range(DOTS) if task.y[explorer.exploration.dots[d]] != explorer._class)
    x, y = film._at(3, explorer._frame)[target]
    across = (film._lefts[3] + (x + 1) / 2 * film._side) / 9.12
    down = 1 - (0.3 + (y + 1) / 2 * film._side) / film.figure.get_figheight()
    assert changed(explorer, lambda: setattr(explorer.panels["layers"], "clicked", [across, down, 1.0])) == LINKED
    number = int(explorer.exploration.dots[target])
    assert explorer.example == explorer.example_box.value == number
    assert f"Following image {number} of class {task.y[number]}" in explorer.status.value
    nowhere = lambda: setattr(explorer.panels["layers"], "clicked", [0.5, 0.01, 2.0])  # noqa: E731
    assert changed(explorer, nowhere) == set() and explorer.example == number


def test_a_click_on_a_neighbour_follows_it(explorer: LayersExplorer):
    nearest = explorer._neighbours.nearest(explorer._frame)
    left, bottom, wide, tall = explorer._neighbours._place
    for l, k in ((0, 4), (3, 0)):
        place = [(left + (k + 0.5) / 5 * wide) / 4.5, 1 - (bottom + tall * (1 - (l + 0.5) / 4)) / 3.3]
        explorer._follow(explorer._first_dot)
        explorer.panels["neighbours"].clicked = [*place, float(l)]
        assert explorer.example == explorer.exploration.dots[nearest[l, k]]
    assert changed(explorer, lambda: setattr(explorer.panels["neighbours"], "clicked", [0.01, 0.9, 9.0])) == set()


def test_the_keyboard_follows_too(explorer: LayersExplorer, task: Task):
    number = int(explorer.exploration.dots[17])
    assert changed(explorer, setting(explorer.example_box, number)) == LINKED
    assert explorer.example == number
    missing = next(n for n in range(1797) if n not in set(explorer.exploration.dots.tolist()))
    assert changed(explorer, setting(explorer.example_box, missing)) == set()
    assert f"example is {missing}; allowed: one of the 400 that are drawn" in explorer.status.value
    assert explorer.example == explorer.example_box.value == number


def test_one_class_alone(explorer: LayersExplorer, task: Task):
    other = (explorer._class + 1) % 10
    assert changed(explorer, setting(explorer.only_menu, other)) == LINKED
    assert explorer._class == other and f"class {other} coloured" in explorer.panels["layers"].alt
    assert f"class {other} alone" in explorer.panels["accuracy"].alt
    third = int(explorer.exploration.dots[np.flatnonzero(labels_of(explorer.tour) == (other + 1) % 10)[0]])
    explorer.example = third
    assert explorer.only_menu.value == (other + 1) % 10, "the colour goes with the example"
    assert changed(explorer, setting(explorer.only_menu, -1)) == {"layers"} and explorer.example == third


def test_the_layer_of_W_and_V_changes_its_own_panel_alone(explorer: LayersExplorer):
    assert changed(explorer, setting(explorer.layer_menu, 1)) == {"alignment"}


def test_batch_size_seed_and_rule_learn_anew(explorer: LayersExplorer, task: Task):
    followed = explorer.example
    assert changed(explorer, setting(explorer.batch_box, 50)) == PANELS
    expected = explore(get_rule("hebb_decorrelation"), task, steps=STEPS, batch_size=50)
    assert explorer.accuracy == pytest.approx(expected.accuracies[-1].mean(), abs=1e-12)
    assert explorer.example == followed
    assert changed(explorer, setting(explorer.seed_box, 3)) == PANELS
    assert explorer.exploration.seed == 3 and explorer.tour.batch_size == 50
    assert changed(explorer, setting(explorer.batch_box, 1)) == set()
    assert "batch_size is 1" in explorer.status.value and explorer.batch_box.value == 50
    explorer.rule_menu.value = "Local"
    assert explorer.batch_box.value == LocalRule().recommended.batch_size, "a rule runs as it recommends"
    assert explorer.wait(300) and explorer.rule_name == "Local"


def test_reset_brings_back_the_first_bytes(explorer: LayersExplorer):
    first, words, followed = pictures(explorer), explorer.status.value, explorer.example
    explorer.slider.value = 1
    explorer.only_menu.value = 3
    explorer.layer_menu.value = 1
    explorer.batch_box.value = 60
    assert explorer.wait(300)
    explorer.reset_button.click()
    assert pictures(explorer) == first and explorer.status.value == words and explorer.example == followed
    assert (explorer.only_menu.value, explorer.layer_menu.value, explorer.batch_box.value) == (-1, 3, 200)


# ---- the films


def test_clouds_follow_and_forget_what_they_drew():
    points = [np.random.default_rng(0).normal(size=(f, 30, 2)) for f in (1, 3, 3)]
    film = LayerCloudsFilm(points, np.arange(30) % 3, (0, 1, 2), np.full((3, 3), 0.5))
    before = film.png(1)
    film.follow(4, None)
    assert film.png(1) != before
    film.follow(0, None)
    assert film.png(1) == before and film.png(2) != before
    assert np.abs(film._at(0, 2)).max() <= 0.9401
    with pytest.raises(ValueError, match="points has 7 clouds; allowed: 2 to 6"):
        LayerCloudsFilm([points[0]] * 7, np.arange(30) % 3, (0,), np.zeros((1, 7)))


def test_neighbours_never_include_the_one_followed():
    x = np.random.default_rng(1).normal(size=(2, 20, 5))
    film = NeighboursFilm([x[:1], x], np.arange(20) % 2, (0, 1))
    for dot in range(20):
        film.follow(dot)
        assert dot not in film.nearest(1)
    centred = x[1] - x[1].mean(0)
    cosines = centred @ centred[19] / np.linalg.norm(centred, axis=1)
    assert film.nearest(1)[1].tolist() == [i for i in np.argsort(-cosines) if i != 19][:5]


def test_labels_of_the_accuracies_keep_their_distance():
    film = LayerAccuracyFilm(np.full((1, 5), 0.97), np.full((1, 3), 1.0), (0,))
    film.set_frame(0)
    heights = sorted(label.get_position()[1] * 3.3 for label in film._labels)
    assert min(np.diff(heights)) > 0.15 and heights[-1] <= 2.51
