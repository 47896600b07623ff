"""`MetaObjectiveExplorer`: every control moved, every number computed a second way, errors as sentences."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import ipywidgets
import numpy as np
import pytest
import torch
from torch import Tensor
from widget_changes import changed, css_classes, pictures, setting

from metarules.meta_objective import MetaObjectiveSettings, one_hot, ridge_cosine_loss, ridge_cosine_score
from metarules.plots.feature_plane import PlanePicture, plane_strip, reach_of
from metarules.plots.ridge_scores import CORNERS, CurvesPicture
from metarules.plots.style import figure_to_png
from metarules.studies.objective import (
    DATA,
    LONGEST,
    MOST_LABELS,
    RATE,
    RIDGES,
    SCORED,
    VARIANTS,
    Descent,
    _digit_features,
    explore_objective,
    make_clouds,
    objective,
    scene_of,
)
from metarules.widgets import Explorable
from metarules.widgets.meta_objective_explorer import PANELS, MetaObjectiveExplorer

ALL = set(PANELS)
PAPER, ENTROPY = "Cosine distance (the paper's)", "Cross-entropy, logit scale 5"


def by_hand(a: Tensor, b: Tensor, k: int, ridge: float = 0.1) -> float:
    """The paper's objective in NumPy, by lstsq on an augmented system rather than by Cholesky."""
    a, b = a.numpy(), b.numpy()
    y_a, y_b = (np.eye(3)[np.repeat(range(3), n)] for n in (k, SCORED))
    y_a, y_b = ((y - y.mean()) / np.sqrt(((y - y.mean()) ** 2).sum(1).mean()) for y in (y_a, y_b))
    rows = np.vstack([np.c_[a, np.ones(len(a))], np.sqrt(ridge) * np.eye(2, 3)])
    w = np.linalg.lstsq(rows, np.vstack([y_a, np.zeros((2, 3))]), rcond=None)[0]
    p = np.c_[b, np.ones(len(b))] @ w
    p /= np.linalg.norm(p, axis=1, keepdims=True)
    return float(((p - y_b) ** 2).sum(1).mean() + ridge * (w[:2] ** 2).sum() / len(a))


@pytest.fixture
def explorer() -> Iterator[MetaObjectiveExplorer]:
    made = MetaObjectiveExplorer()
    yield made
    assert made.wait(300)


# ---- the core


@pytest.mark.parametrize("name", ["Three clouds", "Three clouds in a row"])
def test_clouds_are_centred_scaled_and_seeded(name: str):
    clouds = make_clouds(name, 3)
    points = torch.cat([clouds.a, clouds.b], 1)
    assert clouds.a.shape == (3, MOST_LABELS, 2) and clouds.b.shape == (3, SCORED, 2)
    assert points.mean((0, 1)).abs().max() < 1e-12 and points.square().mean() == pytest.approx(1)
    assert not torch.equal(clouds.a, make_clouds(name, 4).a)


def test_digits_come_apart_when_taught():
    losses = [
        float(explore_objective(make_clouds(f"Digits 4, 7, 9, {state} net"), steps=0).score.loss)
        for state in ("untaught", "taught")  # drawn from one net each; the seed draws the images
    ]
    assert losses[0] > 0.6 > 0.4 > losses[1]


@pytest.mark.parametrize("variant", VARIANTS)
def test_scores_are_the_meta_objective_and_arrows_its_gradient(variant: str):
    s = objective(variant, 0.3)
    pull = explore_objective(make_clouds("Three clouds"), s, labels_per_class=4, steps=3)
    for move in range(4):
        a, b = (path[move].clone().requires_grad_() for path in (pull.path_a, pull.path_b))
        loss = ridge_cosine_loss(a, pull.targets_a, b, pull.targets_b, **vars(s))
        assert float(pull.score.loss[move]) == pytest.approx(float(loss.detach()), abs=1e-12)
        gradients = torch.autograd.grad(loss, (a, b))
        for moves, gradient in zip((pull.moves_a[move], pull.moves_b[move]), gradients, strict=True):
            wanted = -RATE * len(b) * gradient
            wanted = wanted * (LONGEST / wanted.norm(dim=-1, keepdim=True).clamp_min(1e-12)).clamp_max(1)
            halved = moves.abs().max() / wanted.abs().max()
            assert halved in [pytest.approx(2.0**-i) for i in range(9)]
            assert torch.allclose(moves, halved * wanted, atol=1e-12)
        if move < 3:
            assert torch.equal(pull.path_b[move + 1], pull.path_b[move] + pull.moves_b[move])
            assert torch.equal(pull.path_a[move + 1], pull.path_a[move] + pull.moves_a[move])
    assert (pull.score.loss.diff() < 0).all()


@pytest.mark.parametrize("variant", VARIANTS)
def test_the_sweep_is_the_objective_at_every_lambda(variant: str):
    pull = explore_objective(make_clouds("Three clouds in a row"), objective(variant, 7.0), steps=2)
    for i in (0, 10, 15, 30):
        s = objective(variant, RIDGES[i])
        here = ridge_cosine_score(pull.path_a[1], pull.targets_a, pull.path_b[1], pull.targets_b, s)
        for name in ("loss", "error_b", "penalty", "accuracy_b"):
            assert float(getattr(pull.sweep, name)[1, i]) == pytest.approx(float(getattr(here, name)), abs=1e-9)


def test_spread_and_k_do_what_they_say():
    clouds = make_clouds("Three clouds")
    one, half = (explore_objective(clouds, labels_per_class=2, spread=s, steps=0) for s in (1.0, 0.5))
    centres = torch.cat([clouds.a, clouds.b], 1).mean(1)
    assert torch.allclose(one.path_a[0], clouds.a[:, :2].flatten(0, 1), atol=1e-12)
    assert torch.allclose(half.path_b[0], (one.path_b[0] + centres.repeat_interleave(SCORED, 0)) / 2)
    assert half.score.loss < one.score.loss


def test_no_move_where_the_loss_cannot_fall():
    clouds = make_clouds("Three clouds")
    flat = explore_objective(clouds, MetaObjectiveSettings(ridge=1e15, hinge=True, normalise_predictions=False))
    assert torch.isfinite(flat.path_a).all() and (flat.score.loss.diff() <= 0).all()


def test_the_core_refuses_with_a_sentence():
    clouds = make_clouds("Three clouds")
    cases: list[tuple[Callable[[], Any], str]] = [
        (lambda: make_clouds("Squares"), "data is 'Squares'; allowed: "),
        (lambda: make_clouds("Three clouds", -1), "seed is -1"),
        (lambda: objective("Guess", 0.1), "variant is 'Guess'"),
        (lambda: objective(PAPER, 0.0), "ridge is 0.0"),
        (lambda: objective(PAPER, float("nan")), "ridge is nan"),
        (lambda: explore_objective(clouds, labels_per_class=0), "labels_per_class is 0"),
        (lambda: explore_objective(clouds, spread=float("nan")), "spread is nan"),
        (lambda: explore_objective(clouds, steps=-1), "steps is -1"),
        (lambda: explore_objective(clouds, MetaObjectiveSettings(standardise_features=True)), "rescale features"),
    ]
    for act, words in cases:
        with pytest.raises(ValueError, match=words):
            act()


# ---- the pictures


def test_the_strip_shows_what_it_is_given():
    pull = explore_objective(make_clouds("Three clouds"))
    scenes = [scene_of(pull, 0), scene_of(pull, 0), scene_of(pull, -1)]
    figure = plane_strip(scenes, ["before", "arrows", "after"], [False, True, False])
    words = [text.get_text() for text in figure.texts]
    assert words[0] == "before" and words[1] == f"loss {float(pull.score.loss[0]):.2f}"
    assert words[-4] == f"loss {float(pull.score.loss[-1]):.2f}"
    assert words[-3:] == ["0", "1", "2"]
    arrows = [len(axes.collections[-1].get_segments()) for axes in figure.axes]
    assert arrows[0] == arrows[2] == 0 < arrows[1]
    assert figure_to_png(figure)[:4] == b"\x89PNG"
    with pytest.raises(ValueError, match="allowed: alike"):
        plane_strip(scenes, ["before"], [True])


def test_the_plane_paints_each_point_of_b_in_the_colour_of_its_answer():
    pull = explore_objective(make_clouds("Three clouds"))
    scene = scene_of(pull, 0)
    assert reach_of(scene) >= np.abs(scene.points_b[:, 1]).max()
    picture = PlanePicture()
    png, alt = picture.picture(scene, reach_of(scene))
    right = round(float(pull.score.accuracy_b[0]) * 30)
    assert f"{right} of the hollow ones lie in their own region" in alt and "Arrows on batch a and b" in alt
    assert png == PlanePicture().picture(scene, reach_of(scene))[0], "the same scene, the same bytes"
    bare = picture.picture(scene, reach_of(scene), ())
    assert bare[0] != png and "No arrows drawn" in bare[1]


def test_the_plane_of_answers_keeps_distances_of_centred_targets():
    y = np.eye(3) - 1 / 3
    distances = np.linalg.norm(y[:, None] - y[None], axis=-1)
    seen = y @ CORNERS
    assert np.allclose(np.linalg.norm(seen[:, None] - seen[None], axis=-1), distances)


def test_curves_have_room_for_their_highest_value():
    picture = CurvesPicture("t", "s", "x", ("loss",))
    _, alt = picture.picture([0, 1], [np.array([3.0, 1.0])], (0, 3.0), "here")
    assert picture.figure.axes[0].get_ylim() == (0, 3.5)
    assert "lowest at 1" in alt


# ---- the widget


def test_it_opens_with_its_story(explorer: MetaObjectiveExplorer):
    _, controls, fold, _, _, _ = explorer.children
    assert len(controls.children) == 4
    assert isinstance(fold, ipywidgets.Accordion) and fold.selected_index is None
    assert explorer.move == 0 and explorer.settings == MetaObjectiveSettings()
    assert set(explorer.panels) == ALL and all(p.value and p.alt for p in explorer.panels.values())
    assert repr(explorer) == "MetaObjectiveExplorer()"


def test_css_classes_are_the_documented_ones(explorer: MetaObjectiveExplorer):
    found = css_classes(explorer)
    wanted = (
        "widget controls status progress stop panels fold labels ridge spread follow data variant seed arrows reset"
    )
    wanted += " peek peek-image peek-words"
    assert found == {f"metarules-{name}" for name in [*wanted.split(), *(f"panel-{p}" for p in PANELS)]}
    documented = (MetaObjectiveExplorer.__doc__ or "") + (Explorable.__doc__ or "")
    for name in wanted.split()[:-3]:
        assert f"`metarules-{name}`" in documented


def check_number(explorer: MetaObjectiveExplorer) -> None:
    """The loss in sight is the meta-objective, by the package and by hand."""
    pull: Descent = explorer.pull
    a, b = pull.path_a[explorer.move], pull.path_b[explorer.move]
    loss = float(ridge_cosine_loss(a, pull.targets_a, b, pull.targets_b, **vars(explorer.settings)))
    assert explorer.loss == pytest.approx(loss, abs=1e-12)
    assert f"loss {loss:.2f} =" in explorer.status.value
    assert f"The loss is {loss:.2f}." in explorer.panels["plane"].alt
    if explorer.variant_menu.value == PAPER:
        assert loss == pytest.approx(by_hand(a, b, len(a) // 3, explorer.settings.ridge), abs=1e-9)


@pytest.mark.parametrize(
    ("control", "value"),
    [
        ("labels_box", 1),
        ("labels_box", MOST_LABELS),
        ("ridge_box", 1000.0),
        ("ridge_box", 0.001),
        ("spread_box", 0.2),
        ("spread_box", 2.0),
        ("data_menu", "Three clouds in a row"),
        ("variant_menu", ENTROPY),
        ("variant_menu", "Squared error, any length"),
        ("variant_menu", "Targets not centred"),
        ("variant_menu", "Hinge: distances above 1"),
        ("seed_box", 1),
    ],
)
def test_every_control_and_its_number(explorer: MetaObjectiveExplorer, control: str, value: Any):
    explorer.follow_button.click()
    moved = changed(explorer, setting(getattr(explorer, control), value))
    assert moved == ALL
    assert explorer.move == 0, "another objective starts again"
    assert getattr(explorer, control).value == value
    check_number(explorer)
    clouds = make_clouds(explorer.data_menu.value, explorer.seed_box.value)
    wanted = objective(explorer.variant_menu.value, explorer.ridge_box.value)
    k, spread = explorer.labels_box.value, explorer.spread_box.value
    fresh = explore_objective(clouds, wanted, labels_per_class=k, spread=spread)
    assert fresh.score.loss.tolist() == explorer.pull.score.loss.tolist()


def test_follow_the_arrows_and_round(explorer: MetaObjectiveExplorer):
    opened, last = pictures(explorer), len(explorer.pull.path_a) - 1
    losses = [explorer.loss]
    for move in range(1, last + 1):
        assert changed(explorer, explorer.follow_button.click) >= {"plane", "answers", "moves"}
        assert explorer.move == move
        check_number(explorer)
        losses.append(explorer.loss)
    assert losses == sorted(losses, reverse=True) and losses[-1] < 0.1 * losses[0]
    assert explorer.accuracy == 1.0
    explorer.follow_button.click()
    assert explorer.move == 0 and pictures(explorer) == opened
    explorer.move = 99
    assert explorer.move == last


def test_arrows_change_the_plane_alone(explorer: MetaObjectiveExplorer):
    said = explorer.status.value
    for choice in ("batch a", "batch b", "none", "both batches"):
        assert changed(explorer, setting(explorer.arrows_menu, choice)) == {"plane"}
    assert explorer.status.value == said


def test_digits_show_a_busy_sign_at_once_and_then_their_result(explorer: MetaObjectiveExplorer):
    before = pictures(explorer)
    make_clouds.cache_clear()
    _digit_features.cache_clear()
    explorer.data_menu.value = "Digits 4, 7, 9, untaught net"
    assert explorer.busy and "Drawing Digits" in explorer.status.value
    assert pictures(explorer) == before
    assert explorer.wait(300)
    assert explorer.pull.class_names == ("4", "7", "9") and "classes 4, 7, 9" in explorer.panels["plane"].alt
    check_number(explorer)


def test_reset_brings_back_the_first_bytes(explorer: MetaObjectiveExplorer):
    first, words = pictures(explorer), explorer.status.value
    explorer.labels_box.value = 9
    explorer.ridge_box.value = 10.0
    explorer.spread_box.value = 1.5
    explorer.variant_menu.value = ENTROPY
    explorer.arrows_menu.value = "none"
    explorer.follow_button.click()
    assert all(png != first[name] for name, png in pictures(explorer).items())
    explorer.reset_button.click()
    assert pictures(explorer) == first and explorer.status.value == words
    boxes = (explorer.labels_box, explorer.ridge_box, explorer.spread_box, explorer.variant_menu, explorer.arrows_menu)
    assert [box.value for box in boxes] == [5, 0.1, 1.0, PAPER, "both batches"]


@pytest.mark.parametrize(
    ("control", "value", "words"),
    [
        ("seed_box", -1, "seed is -1; allowed: a whole number"),
        ("ridge_box", float("nan"), "ridge is nan; allowed: a number"),
        ("spread_box", float("nan"), "spread is nan; allowed: a number"),
    ],
)
def test_bad_input_is_a_sentence_and_the_last_good_state_stays(
    explorer: MetaObjectiveExplorer, control: str, value: Any, words: str
):
    explorer.follow_button.click()
    assert changed(explorer, setting(getattr(explorer, control), value)) == set()
    assert words in explorer.status.value and 'role="alert"' in explorer.status.value
    assert "Still showing Three clouds." in explorer.status.value and explorer.move == 1
    assert (explorer.seed_box.value, explorer.ridge_box.value, explorer.spread_box.value) == (0, 0.1, 1.0)
    explorer.follow_button.click()
    check_number(explorer)


def test_opens_as_asked():
    made = MetaObjectiveExplorer("Three clouds in a row", labels_per_class=20, ridge=10.0, variant=ENTROPY, seed=2)
    assert made.settings == MetaObjectiveSettings(ridge=10.0, logit_scale=5.0)
    assert made.labels_box.value == 20 and made.data_menu.value == "Three clouds in a row" and made.seed_box.value == 2
    check_number(made)
    with pytest.raises(ValueError, match="data is 'Squares'"):
        MetaObjectiveExplorer("Squares")
    assert len(DATA) == 5


def test_three_classes_of_labels_are_one_hot():
    pull = explore_objective(make_clouds("Three clouds"), labels_per_class=2, steps=0)
    assert torch.equal(pull.targets_a, one_hot(torch.tensor([0, 0, 1, 1, 2, 2]), 3, torch.float64))
