"""`RuleMixer` and what it is made of: the mixed rule, measures of diversity, their pictures, every control moved."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from typing import Any, cast

import numpy as np
import pytest
import torch
from widget_changes import changed, css_classes, pictures, setting

from metarules.base_model import BaseModelState, LayerState, forward, init_state
from metarules.classic_rules import get_rule
from metarules.classic_rules.mixed import MixedRule, MixedSettings
from metarules.evaluation import few_shot_accuracy, learned_state
from metarules.evaluation.diversity import effective_dimension, likeness, mean_likeness
from metarules.plots.diversity import DimensionFilm, LikenessFilm, balance_figure, filters_over_steps, look_alike_order
from metarules.studies.mix import OWN, OWN_LEARNED, PRESETS, Mix, run_mix
from metarules.tasks import Task, load_dataset, make_task
from metarules.update_rule import Batch, LocalRule, Trace, UpdateRule
from metarules.widgets.base import Explorable
from metarules.widgets.frames import Frames
from metarules.widgets.own_data import OwnData
from metarules.widgets.rule_mixer import RuleMixer
from metarules.widgets.saving import Saving

STEPS = 12
PANELS = {"filters", "likeness", "dimension", "accuracy"}
mixed = MixedRule.with_settings


class Exploding(LocalRule):
    """Diverges within a few steps."""

    def step_traced(self, phi: BaseModelState, batch: Batch) -> Trace:
        layers = [LayerState(p.W * 1e20, p.b, p.V) for p in phi.layers]
        return Trace(z={}, x={}, next_state=phi.with_layers(layers))

    step = UpdateRule.step


class Slow(LocalRule):
    """Does nothing, slowly."""

    def step(self, phi: BaseModelState, batch: Batch) -> BaseModelState:
        time.sleep(0.02)
        return phi


@pytest.fixture(scope="module")
def task() -> Task:
    return make_task(load_dataset("digits"), generator=torch.Generator().manual_seed(0))


@pytest.fixture(scope="module")
def learned() -> LocalRule:
    return LocalRule()


@pytest.fixture
def mixer(task: Task, learned: LocalRule) -> Iterator[RuleMixer]:
    made = RuleMixer(task, learned=learned, steps=STEPS)
    yield made
    made.stop_button.click()
    assert made.wait(300)


# ---- the mixed rule


@pytest.mark.parametrize(
    ("mix", "classic"),
    [
        (mixed(), get_rule("hebb")),
        (mixed(decorr=0.9), get_rule("hebb_decorrelation")),
        (mixed(hebb=0.5, decorr=1.3, lr=0.1), get_rule("hebb_decorrelation", hebb=0.5, decorr=1.3, lr=0.1)),
        (mixed(hebb=0.0, oja=1.0, decay=0.0, lr=1.0), get_rule("oja")),
    ],
)
def test_a_mix_of_the_right_terms_is_the_classic_rule(mix: MixedRule, classic: UpdateRule, task: Task):
    ours = learned_state(mix, task, steps=8, seed=2)
    theirs = learned_state(classic, task, steps=8, seed=2)
    for (name, a), (_, b) in zip(ours.tensors(), theirs.tensors(), strict=True):
        assert torch.allclose(a, b, atol=1e-5), name


def test_soft_competition_in_a_mix_has_the_classic_direction(generator: torch.Generator):
    phi = init_state((6, 5, 4), generator=generator, dtype=torch.float64)
    x = torch.rand(30, 6, generator=generator, dtype=torch.float64)
    ours, theirs = mixed(hebb=0.0, soft=1.0).trace(phi, x), get_rule("soft_competition").trace(phi, x)
    for l in (1, 2):
        assert torch.allclose(ours.terms[l]["soft"], theirs.terms[l]["soft"], atol=1e-12)
        a, b = ours.change_W[l], theirs.change_W[l]
        assert torch.allclose(torch.nn.functional.cosine_similarity(a, b, dim=0), torch.ones(a.shape[1]).double())


def test_the_change_is_the_weighted_sum_of_its_terms(generator: torch.Generator):
    phi = init_state((6, 5), generator=generator, dtype=torch.float64)
    x = torch.rand(30, 6, generator=generator, dtype=torch.float64)
    alone = {name: mixed(**{"hebb": 0.0, name: 1.0}).trace(phi, x).change_W[1] for name in ("hebb", "decorr", "soft")}
    together = mixed(hebb=0.7, decorr=-0.4, soft=1.1).trace(phi, x)
    expected = 0.7 * alone["hebb"] - 0.4 * alone["decorr"] + 1.1 * alone["soft"]
    assert torch.allclose(together.change_W[1], expected, atol=1e-12)
    assert set(together.terms[1]) == {"hebb", "decorr", "soft", "oja"}
    W = phi.layers[0].W
    assert torch.allclose(together.next_state.layers[0].W, 0.97 * W - 0.03 * together.change_W[1], atol=1e-12)


def test_a_mix_takes_leading_tasks(generator: torch.Generator):
    phi = init_state((6, 5, 4), tasks=(3,), generator=generator)
    x = torch.rand(3, 20, 6, generator=generator)
    rule = mixed(decorr=0.8, soft=0.3, oja=0.2)
    every = rule(phi, x)
    for t in range(3):
        single = phi.with_layers([LayerState(p.W[t], p.b[t], p.V[t]) for p in phi.layers])
        for l, layer in enumerate(rule(single, x[t]).layers):
            assert torch.allclose(every.layers[l].W[t], layer.W, atol=1e-6)


@pytest.mark.parametrize(
    ("name", "value"), [("hebb", math.nan), ("decorr", 11.0), ("oja", -0.1), ("soft", math.inf), ("temperature", 0.0)]
)
def test_weights_out_of_range_are_refused(name: str, value: float):
    with pytest.raises(ValueError, match=f"{name} is "):
        MixedSettings(**{name: value})


def test_extreme_mixes_stay_finite(task: Task):
    for settings in ({"hebb": -10.0, "decorr": 10.0, "soft": 10.0, "oja": 10.0, "lr": 1.0}, {"hebb": 0.0}):
        phi = learned_state(mixed(**settings), task, steps=20)
        assert all(torch.isfinite(t).all() for _, t in phi.tensors())


# ---- measures of diversity


def test_likeness_of_known_columns():
    a, b = torch.tensor([1.0, 0.0, 0.0]), torch.tensor([1.0, 1.0, 0.0])
    pairs = likeness(torch.stack([a, -2 * a, b, torch.zeros(3)], -1))
    half = 0.5**0.5
    expected = [[1, 1, half, 0], [1, 1, half, 0], [half, half, 1, 0], [0, 0, 0, 0]]
    assert np.allclose(pairs.numpy(), expected)
    assert float(mean_likeness(torch.stack([a, -a], -1))) == 1.0
    with pytest.raises(ValueError, match=r"shape \[3, 1\]; allowed: at least two columns"):
        mean_likeness(a.unsqueeze(-1))
    with pytest.raises(ValueError, match="NaN"):
        likeness(torch.full((2, 2), torch.nan))


def test_effective_dimension_of_known_activities(generator: torch.Generator):
    one = torch.randn(5000, 1, generator=generator)
    assert float(effective_dimension(one @ torch.tensor([[1.0, -2.0, 3.0]]))) == pytest.approx(1, abs=1e-6)
    assert float(effective_dimension(torch.randn(5000, 4, generator=generator))) == pytest.approx(4, abs=0.02)
    assert float(effective_dimension(torch.cat([one, torch.ones(5000, 3)], -1))) == pytest.approx(1, abs=1e-6)
    assert float(effective_dimension(torch.ones(10, 3))) == 0
    assert effective_dimension(torch.rand(2, 3, 10, 4, generator=generator)).shape == (2, 3)


# ---- pictures


def test_order_puts_look_alikes_side_by_side():
    group = np.array([0, 1, 0, 1, 1, 0])
    pairs = (group[:, None] == group).astype(float)
    sorted_groups = group[look_alike_order(pairs)]
    assert (np.diff(sorted_groups) != 0).sum() == 1
    assert look_alike_order(np.eye(2)).tolist() == [0, 1]


def test_films_say_their_numbers(generator: torch.Generator):
    pairs = likeness(torch.randn(3, 7, 5, generator=generator)).numpy()
    film = LikenessFilm(pairs, (0, 5, 10), layer=2)
    off = ~np.eye(5, dtype=bool)
    assert f"is {pairs[1][off].mean():.2f}; before learning {pairs[0][off].mean():.2f}" in film.alt(1)
    assert "layer 2" in film.alt(1) and film.png(1) != film.png(2)
    curves = DimensionFilm(np.array([[9.0, 5.0, 4.0], [9.0, 3.0, 1.5]]), (0, 10), (9, 6, 5))
    assert "layer 2 1.5 (before 4.0)" in curves.alt(1) and "inputs have 9.0" in curves.alt(1)
    assert curves.png(0) != curves.png(1)


def test_filters_over_steps(generator: torch.Generator):
    filters = torch.randn(2, 9, 4, 4, generator=generator).numpy()
    figure = filters_over_steps({"Hebb": (filters, (0, 10)), "Oja": (filters[:1], (0,))})
    assert len(figure.axes) == 3 and "Oja" in [text.get_text() for text in figure.texts]
    alike = float(mean_likeness(torch.from_numpy(filters[1].reshape(9, -1).T)))
    assert f"step 10, alike {alike:.2f}" in [text.get_text() for text in figure.texts]
    with pytest.raises(ValueError, match="rows is empty"):
        filters_over_steps({})
    with pytest.raises(ValueError, match="2 sets of filters for 1 steps"):
        filters_over_steps({"Hebb": (filters, (0,))})


def test_balance_figure():
    figure = balance_figure({0.5: 0.6, 1.0: 0.9}, {0.5: 0.4, 1.0: 0.1}, 0.58)
    accuracy, alike, _ = figure.axes[0].lines
    assert list(accuracy.get_ydata()) == [0.6, 0.9] and list(alike.get_ydata()) == [0.4, 0.1]
    with pytest.raises(ValueError, match="alike is for"):
        balance_figure({0.5: 0.6}, {1.0: 0.1}, 0.5)


# ---- the core


@pytest.mark.parametrize("preset", PRESETS)
def test_a_run_is_what_the_evaluation_computes(preset: str, task: Task, learned: LocalRule):
    classic = {
        "Hebb": get_rule("hebb"),
        "Oja": get_rule("oja"),
        "Hebb + decorrelation": get_rule("hebb_decorrelation"),
        "Soft competition": mixed(hebb=0.0, soft=1.0, lr=0.05),
        "Learned": learned,
    }[preset]
    run = run_mix(PRESETS[preset], task, learned, steps=6, seed=1)
    phi = learned_state(classic, task, steps=6, seed=1)
    a = forward(phi, task.x)
    tolerance = 1e-12 if preset in ("Soft competition", "Learned") else 2e-3  # sums in another order
    expected = float(few_shot_accuracy(a.features, task.y, n_splits=5).mean())
    assert run.exploration.accuracies[-1].mean() == pytest.approx(expected, abs=tolerance)
    for l in (1, 2, 3):
        W = phi.layers[l - 1].W.double()
        w = (W / W.norm(dim=0)).numpy()
        off = np.abs(w.T @ w)[~np.eye(32, dtype=bool)]
        assert run.alike(l)[-1] == pytest.approx(off.mean(), abs=1e-4)
    x = a.x[3].double().numpy()
    x = x[:, x.std(0) > 0]
    values = np.linalg.eigvalsh(np.corrcoef(x.T))
    assert run.dimensions[-1, 3] == pytest.approx(values.sum() ** 2 / (values**2).sum(), rel=1e-3)


def test_hebb_alone_collapses_and_decorrelation_does_not(task: Task, learned: LocalRule):
    hebb, both = (run_mix(PRESETS[name], task, learned, steps=100) for name in ("Hebb", "Hebb + decorrelation"))
    assert hebb.dimensions[-1, 3] < 4 < 8 < both.dimensions[-1, 3]
    assert hebb.alike(1)[-1] > 0.4 and both.alike(1)[-1] < 0.2
    assert hebb.exploration.accuracies[-1].mean() < 0.6 < 0.8 < both.exploration.accuracies[-1].mean()


def test_names_of_mixes():
    assert [mix.name for mix in PRESETS.values()] == list(PRESETS)
    assert Mix(hebb=0.5).name == OWN and Mix(learned=True).name == OWN_LEARNED


def test_factors_reach_the_learned_rule(learned: LocalRule):
    rule = Mix(True, 0.5, 0.0, 2.0, others=0.3).rule(learned)
    assert isinstance(rule, LocalRule)
    scales = dict(rule.settings.term_scales)
    assert scales.pop("hebb") == 0.5 and scales.pop("decorr_x") == 0.0 and scales.pop("soft") == 2.0
    assert len(scales) == 10 and set(scales.values()) == {0.3}
    with pytest.raises(TypeError, match=r"learned is a .*; allowed: a LocalRule or a PaperRule"):
        PRESETS["Learned"].rule(get_rule("hebb"))
    with pytest.raises(ValueError, match="the factor on hebb is nan"):
        Mix(True, math.nan).rule(learned)


# ---- the widget


def test_it_opens_with_the_story_told(mixer: RuleMixer):
    e = mixer.run.exploration
    assert mixer.preset_menu.value == mixer.mix.name == "Hebb" and mixer.step == STEPS
    assert mixer.accuracy == pytest.approx(e.accuracies[-1].mean()) and mixer.dimension < mixer.run.dimensions[0, -1]
    words = f"Hebb, step {STEPS} of {STEPS}: few-shot accuracy {mixer.accuracy:.2f} (before learning"
    assert words in mixer.status.value and f"hold {mixer.dimension:.1f} different" in mixer.status.value
    assert all(len(panel.alt) > 60 for panel in mixer.panels.values())


def test_css_classes_are_the_documented_ones(mixer: RuleMixer):
    found = css_classes(mixer)
    names = "widget controls status progress stop panels fold preset hebb decorr soft oja decay lr temperature others"
    wanted = [*names.split(), "step-slider", "steps", "seed", "layer", "reset", "data", "data-path", "data-upload"]
    wanted += ["save-panel", "save-name", "save-picture"]
    wanted += ["data-label", "data-drop", "data-shape", "data-scale", "data-separator", "data-decimal"]
    assert found == {f"metarules-{name}" for name in [*wanted, *(f"panel-{p}" for p in PANELS)]}
    documented = "".join(kind.__doc__ or "" for kind in (RuleMixer, OwnData, Frames, Saving, Explorable))
    assert all(f"`metarules-{name}`" in documented for name in wanted)


def test_nothing_in_its_repr_changes(mixer: RuleMixer):
    assert repr(mixer) == "RuleMixer()" == mixer._repr_mimebundle_()["text/plain"]


@pytest.mark.parametrize(
    ("slider", "value"),
    [("hebb", 0.4), ("decorr", 0.9), ("soft", 0.5), ("oja", 1.0), ("decay", 0.2), ("lr", 0.2)],
)
def test_each_term_learns_anew_and_the_number_is_right(mixer: RuleMixer, task: Task, slider: str, value: float):
    mixer.sliders["soft"].value = 0.1  # hebb alone would be normalised away
    assert mixer.wait(300)
    assert changed(mixer, setting(mixer.sliders[slider], value)) == PANELS
    rule = mixed(**{"soft": 0.1, slider: value})
    phi = learned_state(rule, task, steps=STEPS)
    expected = float(few_shot_accuracy(forward(phi, task.x).features, task.y, n_splits=5).mean())
    assert mixer.accuracy == pytest.approx(expected, abs=1e-12)
    assert f"{OWN}, step {STEPS} of {STEPS}: few-shot accuracy {expected:.2f}" in mixer.status.value
    assert mixer.alike == pytest.approx(float(mean_likeness(phi.layers[0].W)), abs=1e-9)
    assert mixer.preset_menu.value == OWN


def test_temperature_matters_where_there_is_competition(mixer: RuleMixer):
    assert changed(mixer, setting(mixer.preset_menu, "Soft competition")) == PANELS
    assert mixer.sliders["soft"].value == 1.0 and mixer.sliders["lr"].value == 0.05
    assert changed(mixer, setting(mixer.sliders["temperature"], 0.5)) == PANELS
    assert mixer.preset_menu.value == OWN


def test_presets_set_the_sliders(mixer: RuleMixer):
    for name, mix in PRESETS.items():
        mixer.preset_menu.value = name
        assert mixer.wait(300)
        assert mixer.mix == mix and mixer.preset_menu.value == name and f"{name}, step" in mixer.status.value
        for key, slider in mixer.sliders.items():
            assert slider.value == getattr(mix, key)
            used = key in ("hebb", "decorr", "soft") or mix.learned == (key == "others")
            assert slider.disabled != used
    assert [mixer.sliders[k].description for k in ("hebb", "soft")] == ["Hebb ×", "Soft competition ×"]


def test_moving_to_a_preset_is_the_preset(mixer: RuleMixer):
    mixer.sliders["decorr"].value = 0.9
    assert mixer.wait(300)
    assert mixer.preset_menu.value == mixer.mix.name == "Hebb + decorrelation"


def test_factors_on_the_learned_rule(mixer: RuleMixer, task: Task, learned: LocalRule):
    mixer.preset_menu.value = "Learned"
    assert mixer.wait(300)
    assert changed(mixer, setting(mixer.sliders["decorr"], 0.0)) == PANELS
    assert mixer.preset_menu.value == OWN_LEARNED
    phi = learned_state(learned.with_scales(terms={"decorr_x": 0.0}), task, steps=STEPS)
    expected = float(few_shot_accuracy(forward(phi, task.x).features, task.y, n_splits=5).mean())
    assert mixer.accuracy == pytest.approx(expected, abs=1e-12)
    assert changed(mixer, setting(mixer.sliders["others"], 0.0)) == PANELS
    assert changed(mixer, setting(mixer.preset_menu, OWN)) == PANELS
    assert mixer.mix == Mix(hebb=1.0, decorr=0.0, soft=1.0) and mixer.preset_menu.value == OWN
    assert changed(mixer, setting(mixer.preset_menu, OWN_LEARNED)) == PANELS
    assert mixer.mix.learned and mixer.preset_menu.value == OWN_LEARNED


def test_scrubbing_moves_all_panels(mixer: RuleMixer, task: Task):
    mixer.slider.value = 3
    for step in range(4, STEPS):
        assert changed(mixer, setting(mixer.slider, step)) == PANELS
    mixer.step = 5
    phi = learned_state(mixed(), task, steps=5)
    expected = float(few_shot_accuracy(forward(phi, task.x).features, task.y, n_splits=5).mean())
    assert mixer.accuracy == pytest.approx(expected, abs=1e-12) and "step 5 of" in mixer.status.value
    assert torch.equal(mixer.state.layers[0].W, phi.layers[0].W)


def test_what_was_shown_before_a_change_stays_as_a_dashed_curve(mixer: RuleMixer):
    opened = pictures(mixer)
    hebb = mixer.run.exploration
    assert "shown before" not in mixer.panels["accuracy"].alt
    mixer.preset_menu.value = "Oja"
    assert mixer.wait(300)
    film = mixer.film(mixer._view, "accuracy")
    oja = mixer.run.exploration
    dashed = film.figure.axes[0].lines[0].get_xydata()
    assert np.allclose(dashed, np.stack([hebb.steps, hebb.accuracies.mean(1)], 1))
    assert f"shown before {hebb.accuracies[-1].mean():.2f}" in mixer.panels["accuracy"].alt
    mixer.sliders["decorr"].value = 0.5
    assert mixer.wait(300) and f"shown before {oja.accuracies[-1].mean():.2f}" in mixer.panels["accuracy"].alt
    mixer.step = 3
    assert f"shown before {oja.accuracies[-1].mean():.2f}" in mixer.panels["accuracy"].alt
    mixer.reset()
    assert pictures(mixer) == opened


def test_the_layer_changes_the_likeness_alone(mixer: RuleMixer):
    assert changed(mixer, setting(mixer.layer_menu, 3)) == {"likeness"}
    assert "layer 3" in mixer.panels["likeness"].alt
    assert mixer.alike == pytest.approx(float(mean_likeness(mixer.state.layers[2].W)), abs=1e-9)


def test_seed_and_steps_learn_anew(mixer: RuleMixer):
    assert changed(mixer, setting(mixer.seed_box, 3)) == PANELS
    assert mixer.run.exploration.seed == 3
    assert changed(mixer, setting(mixer.steps_box, 101)) == PANELS
    assert mixer.step == mixer.slider.max == 101 and mixer.slider.step == 1


def test_busy_at_once_and_the_old_pictures_stay(mixer: RuleMixer):
    before = pictures(mixer)
    mixer.preset_menu.value = "Learned"
    assert "Learning with Learned" in mixer.status.value and mixer.busy and pictures(mixer) == before
    assert mixer.wait(300) and mixer.mix.name == "Learned"


@pytest.mark.parametrize(
    ("control", "value", "words"),
    [
        ("hebb", math.nan, "hebb is nan; allowed"),
        ("seed_box", -1, "seed is -1; allowed"),
        ("steps_box", 0, "steps is 0; allowed"),
        ("steps_box", 10**9, "steps is 1000000000; allowed"),
    ],
)
def test_bad_input_is_a_sentence_and_the_last_good_state_stays(mixer: RuleMixer, control: str, value: Any, words: str):
    mixer.slider.value = 7
    before = pictures(mixer)
    target = mixer.sliders.get(control) or getattr(mixer, control)
    held = target.value
    assert changed(mixer, setting(target, value)) == set()
    assert words in mixer.status.value and "Still showing Hebb." in mixer.status.value
    assert 'role="alert"' in mixer.status.value
    assert target.value == held and mixer.slider.value == 7 and mixer.preset_menu.value == "Hebb"
    assert pictures(mixer) == before
    mixer.slider.value = 8
    assert "step 8" in mixer.status.value, "and it goes on working"


def test_a_mix_that_diverges_is_a_sentence(task: Task):
    mixer = RuleMixer(task, learned=Exploding(), steps=STEPS)
    assert changed(mixer, setting(mixer.preset_menu, "Learned")) == set()
    assert "the rule diverged" in mixer.status.value and "Still showing Hebb." in mixer.status.value
    assert mixer.preset_menu.value == "Hebb" and mixer.sliders["hebb"].description == "Hebb"


def test_stop_and_reset(task: Task):
    mixer = RuleMixer(task, learned=Slow(), steps=40)
    first, words = pictures(mixer), mixer.status.value
    mixer.preset_menu.value = "Learned"
    mixer.stop_button.click()
    assert mixer.wait(300)
    assert "topped" in mixer.status.value and mixer.preset_menu.value == "Hebb" and pictures(mixer) == first
    mixer.preset_menu.value = "Oja"
    assert mixer.wait(300)
    mixer.layer_menu.value, mixer.step = 2, 10
    mixer.preset_menu.value = "Learned"
    mixer.reset_button.click()
    assert mixer.wait(300)
    assert pictures(mixer) == first and mixer.status.value == words
    assert (mixer.layer_menu.value, mixer.step, mixer.preset_menu.value) == (1, 40, "Hebb")
    time.sleep(0.2)
    assert mixer.preset_menu.value == "Hebb" and not mixer.busy, "and nothing late comes in"


def test_data_that_are_no_images(learned: LocalRule):
    moons = make_task(load_dataset("two_moons", n=300), permute=False)
    mixer = RuleMixer(moons, "Hebb + decorrelation", learned=learned, steps=3, sizes=(2, 8, 4))
    assert "raw inputs" in mixer.status.value and mixer.layer_menu.options[-1] == ("layer 2", 2)


def test_opening_with_bad_input_raises(task: Task, unchecked_types: None):
    with pytest.raises(ValueError, match=r"preset is 'Heb'; allowed: .*Oja"):
        RuleMixer(task, "Heb")
    with pytest.raises(TypeError, match=r"learned is Hebb.*; allowed: a LearnedRule or None"):
        RuleMixer(task, learned=cast(Any, get_rule("hebb")))
