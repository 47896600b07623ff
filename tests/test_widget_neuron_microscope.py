"""`NeuronMicroscope`: every control moved, every number shown computed a second way, errors as sentences."""

from __future__ import annotations

import io
import threading
from collections.abc import Iterator
from typing import Any

import ipywidgets
import numpy as np
import pytest
import torch
from PIL import Image
from widget_changes import changed, css_classes, pictures, setting

from metarules.base_model import forward, init_state
from metarules.classic_rules import get_rule
from metarules.evaluation import few_shot_accuracy, learned_state
from metarules.plots.neuron_figure import neuron_alt, neuron_figure, term_sheet, term_sheet_alt
from metarules.plots.neuron_terms import percent
from metarules.plots.style import SHARP
from metarules.studies.neuron import neuron_view
from metarules.studies.specimen import Specimen, prepare
from metarules.tasks import Task, load_dataset, make_task
from metarules.update_rule import LOCAL_TERMS, LocalRule
from metarules.update_rule.anatomy import contributions
from metarules.widgets import Stopped
from metarules.widgets.neuron_microscope import NOTHING_OFF, PANELS, NeuronMicroscope

STEPS = 12  # inner steps in most tests: enough to learn something, and quick


@pytest.fixture(scope="module")
def task() -> Task:
    return make_task(load_dataset("digits"), generator=torch.Generator().manual_seed(0))


@pytest.fixture(scope="module")
def rule() -> LocalRule:
    made = LocalRule()
    with torch.no_grad():  # gates that do something
        made.forward_readout.gates.add_(0.1 * torch.randn(16, 13, generator=torch.Generator().manual_seed(1)))
    return made


@pytest.fixture
def microscope(rule: LocalRule, task: Task) -> Iterator[NeuronMicroscope]:
    made = NeuronMicroscope(rule, task, steps=STEPS, step=6)
    yield made
    made.stop_button.click()
    assert made.wait(300)


# ---- the core


def test_the_trajectory_is_the_evaluations(rule: LocalRule, task: Task):
    made = prepare(rule, task, steps=5, off="hebb", seed=3)
    without = rule.with_scales({"hebb": 0.0})
    for frame, step in enumerate(made.steps):
        phi = learned_state(without, task, steps=step, seed=3)
        for (name, own), (_, other) in zip(made.states[frame].tensors(), phi.tensors(), strict=True):
            assert torch.equal(own, other), (step, name)
    expected = few_shot_accuracy(forward(made.states[-1], task.x).features, task.y, n_splits=5).mean()
    assert made.accuracy(-1) == pytest.approx(float(expected), abs=1e-12)


@torch.no_grad()
def test_a_view_holds_the_numbers_of_the_trace(rule: LocalRule, task: Task):
    made = prepare(rule, task, steps=5)
    for layer, unit in ((1, 5), (2, 0), (3, 31)):
        assert made.numbered(made.number(4, layer, unit)) is made.view(4, layer, unit)
        view, trace = made.view(4, layer, unit), rule.trace(made.states[4], made.x)
        z = trace.z[layer][:, unit]
        assert np.allclose(z[torch.from_numpy(view.order)].numpy(), np.sort(z.numpy()))
        assert np.allclose(view.signals["z"], np.sort(z.numpy()), atol=1e-6)
        assert np.array_equal(view.signals["d2"], trace.d[layer][view.order, unit, 1].numpy())
        assert np.array_equal(view.h, trace.h[layer][view.order, unit].numpy())
        assert len(view.statistics) == 11 and view.statistics[-1] == pytest.approx(view.b)
        assert tuple(view.pushes) == LOCAL_TERMS
        assert np.allclose(sum(view.pushes.values()), view.push, atol=1e-5)
        assert sum(view.shares.values()) == pytest.approx(1, abs=1e-4)
        lr = float(rule.lr)
        assert np.allclose(view.W_after, view.W * (1 - lr) + lr * view.push, atol=1e-6)
        column = trace.change_W[layer][:, unit].numpy()
        if layer == 1:
            assert task.permutation is not None and view.shape == (8, 8)
            image = np.empty(64, np.float32)
            image[task.permutation.numpy()] = column
            column = image
        assert np.array_equal(view.push, -column) and (layer == 1 or view.shape is None)


def test_refusals(rule: LocalRule, task: Task, generator: torch.Generator, unchecked_types: None):
    hebb: Any = get_rule("hebb")
    pair = make_task(load_dataset("digits"), generator=generator, tasks=(2,))
    cases: list[tuple[Any, Any, dict[str, Any], type[Exception], str]] = [
        (hebb, task, {}, TypeError, "allowed: a LocalRule"),
        (rule, pair, {}, ValueError, r"task has leading dimensions \[2\]"),
        (rule, task.x, {}, TypeError, r"task is a tensor .*; allowed: a Task"),
        (rule, task, {"off": "oja"}, ValueError, "off is 'oja'"),
        (rule, task, {"seed": -1}, ValueError, "seed is -1"),
        (rule, task, {"steps": 0}, ValueError, "steps is 0"),
    ]
    for which, data, options, kind, words in cases:
        with pytest.raises(kind, match=words):
            prepare(which, data, **options)
    phi = init_state((64, 8), generator=generator)
    for layer, unit, words in ((0, 0, "layer is 0"), (2, 0, "layer is 2"), (1, 8, "unit is 8")):
        with pytest.raises(ValueError, match=words):
            neuron_view(rule, phi, task.x, layer, unit)
    with pytest.raises(ValueError, match="neuron is 99"):
        NeuronMicroscope(rule, task, steps=1, neuron=99)


def test_preparing_stops(rule: LocalRule, task: Task):
    stop = threading.Event()
    with pytest.raises(Stopped, match="stopped after 1 of 9 steps"):
        prepare(rule, task, steps=9, stop=stop, progress=lambda done, _: stop.set())


# ---- pictures for the page


@torch.no_grad()
def test_figures(rule: LocalRule, task: Task):
    made: Specimen = prepare(rule, task, steps=2)
    view = made.view(2, 1, 3)
    assert neuron_figure(view).get_figwidth() == pytest.approx(9.12)
    assert f"gives {percent(view.shares[view.strongest])}" in neuron_alt(view)
    with pytest.raises(ValueError, match="layer 2 without pixels"):
        neuron_figure(made.view(2, 2, 3))
    parts = contributions(rule, made.trace(2), 1)
    figure, words = term_sheet(parts, 1, task), term_sheet_alt(parts, 1)
    assert len(figure.axes) == 14 and words.startswith("13 matrices: what each term does to the 64 by 32 weights")
    means = {name: float(share.mean()) for name, share in parts.shares().items()}
    most, least = max(means, key=means.__getitem__), min(means, key=means.__getitem__)
    assert f"largest three: {most} {percent(means[most])}," in words
    assert f"negative: {least} {percent(means[least])}," in words
    shown = np.asarray(figure.axes[-1].images[0].get_array())
    assert np.allclose(shown[:, 3].reshape(-1), view.push, atol=1e-5)
    assert [percent(s) for s in (0.594, -0.04, 0.001, -0.001)] == ["+59 %", "\N{MINUS SIGN}4 %", "0 %", "0 %"]


# ---- the widget


def test_it_opens_with_the_story_told(microscope: NeuronMicroscope):
    assert (microscope.step, microscope.layer_menu.value, microscope.neuron_slider.value) == (6, 1, 4)
    for name, panel in microscope.panels.items():
        width, height = (912, 360) if name == "terms" else (450, 330)
        assert panel.width == width and len(panel.alt) > 60 and "neuron 4" in panel.alt
        assert Image.open(io.BytesIO(panel.value)).size == (width * SHARP, height * SHARP)
    assert "Step 6 of 12, layer 1, neuron 4" in microscope.status.value
    assert repr(microscope) == "NeuronMicroscope()"
    bundle = microscope._repr_mimebundle_()
    assert bundle["text/plain"] == "NeuronMicroscope()"
    assert Image.open(io.BytesIO(bundle["image/png"])).width > 800


def test_at_most_four_controls_are_in_sight_and_classes_are_documented(microscope: NeuronMicroscope):
    controls, fold = microscope.children[1:3]
    assert len(controls.children) == 4
    assert isinstance(fold, ipywidgets.Accordion) and fold.selected_index is None
    found = css_classes(microscope)
    wanted = "widget controls status progress stop panels fold step-slider layer neuron off seed scale reset"
    wanted += " data data-path data-upload data-label data-drop data-shape data-scale data-separator data-decimal"
    assert found == {f"metarules-{name}" for name in [*wanted.split(), *(f"panel-{p}" for p in PANELS)]}
    for name in ["step-slider", "layer", "neuron", "off", "seed", "scale", "reset", "panel-inputs"]:
        assert f"`metarules-{name}`" in (NeuronMicroscope.__doc__ or "")


@pytest.mark.parametrize("step", [0, 3, STEPS])
def test_the_step_moves_all_panels_and_the_numbers_are_right(
    microscope: NeuronMicroscope, rule: LocalRule, task: Task, step: int
):
    assert changed(microscope, setting(microscope.slider, step)) == set(PANELS)
    phi = learned_state(rule, task, steps=step)
    accuracy = float(few_shot_accuracy(forward(phi, task.x).features, task.y, n_splits=5).mean())
    assert microscope.accuracy == pytest.approx(accuracy, abs=1e-12)
    assert f"Few-shot accuracy {accuracy:.2f} at this step" in microscope.status.value
    with torch.no_grad():
        trace = rule.trace(phi, microscope.specimen.x)
        shares = contributions(rule, trace, 1).shares()
    best = max(shares, key=lambda name: float(shares[name][4]))
    told = f"{best} does most ({percent(float(shares[best][4]))})"
    assert told in microscope.status.value and f"{best} {percent(float(shares[best][4]))}" in panel_alt(microscope)


def panel_alt(widget: NeuronMicroscope) -> str:
    return widget.panels["terms"].alt


def test_neuron_and_layer(microscope: NeuronMicroscope):
    assert changed(microscope, setting(microscope.neuron_slider, 20)) == set(PANELS)
    assert microscope.view.unit == 20 and "layer 1, neuron 20" in microscope.status.value
    assert changed(microscope, setting(microscope.layer_menu, 3)) == set(PANELS)
    assert microscope.view.layer == 3 and microscope.view.unit == 20 and microscope.view.shape is None
    assert "32 incoming weights of layer 3, neuron 20" in panel_alt(microscope)
    assert not microscope.busy


def test_the_neuron_stays_inside_a_narrower_layer(rule: LocalRule, task: Task):
    widget = NeuronMicroscope(rule, task, sizes=(64, 20, 6), steps=2, neuron=15)
    widget.layer_menu.value = 2
    assert widget.neuron_slider.value == widget.neuron_slider.max == 5
    widget.layer_menu.value = 1
    assert widget.neuron_slider.max == 19 and widget.view.unit == 5


def test_data_that_are_no_images(rule: LocalRule):
    moons = make_task(load_dataset("two_moons", n=300), permute=False)
    widget = NeuronMicroscope(rule, moons, sizes=(2, 8, 4), steps=2)
    assert widget.view.shape is None and widget.view.images is None
    assert changed(widget, setting(widget.slider, 0)) == set(PANELS)


def test_the_scale_changes_the_terms_alone(microscope: NeuronMicroscope):
    said = microscope.status.value
    assert changed(microscope, setting(microscope.scale_box, False)) == {"terms"}
    assert microscope.status.value == said


def test_switching_a_term_off_teaches_anew(microscope: NeuronMicroscope, rule: LocalRule, task: Task):
    before = pictures(microscope)
    microscope.off_menu.value = "decorr_x"
    assert microscope.busy, "the choice returns before the work is done"
    assert "Learning without decorr_x" in microscope.status.value and pictures(microscope) == before
    assert microscope.wait(300) and microscope.last_error is None
    assert all(png != before[name] for name, png in pictures(microscope).items())
    phi = learned_state(rule.with_scales({"decorr_x": 0.0}), task, steps=STEPS)
    expected = float(few_shot_accuracy(forward(phi, task.x).features, task.y, n_splits=5).mean())
    assert microscope.specimen.accuracy(-1) == pytest.approx(expected, abs=1e-12)
    assert f"{expected:.2f} at the last; taught without decorr_x (with all terms" in microscope.status.value
    assert microscope.view.coefficients["decorr_x"] == 0 and not microscope.view.pushes["decorr_x"].any()
    assert changed(microscope, setting(microscope.off_menu, NOTHING_OFF)) == set(PANELS)
    assert pictures(microscope) == before, "known already"


def test_the_seed_teaches_anew(microscope: NeuronMicroscope, rule: LocalRule, task: Task):
    assert changed(microscope, setting(microscope.seed_box, 2)) == set(PANELS)
    phi = learned_state(rule, task, steps=6, seed=2)
    for (name, own), (_, other) in zip(microscope.specimen.states[6].tensors(), phi.tensors(), strict=True):
        assert torch.equal(own, other), name


def test_bad_input_is_a_sentence_and_the_last_good_state_stays(microscope: NeuronMicroscope):
    before = pictures(microscope)
    assert changed(microscope, setting(microscope.seed_box, -1)) == set()
    assert "seed is -1; allowed" in microscope.status.value and 'role="alert"' in microscope.status.value
    assert "Still showing base model 0, taught with all terms." in microscope.status.value
    assert microscope.seed_box.value == 0 and pictures(microscope) == before
    microscope.slider.value = 7
    assert "Step 7" in microscope.status.value, "and it goes on working"


def test_a_rule_that_diverges_is_a_sentence(microscope: NeuronMicroscope):
    broken = LocalRule()
    with torch.no_grad():
        broken.bias_offset.fill_(torch.nan)
    microscope._rule = broken
    assert changed(microscope, setting(microscope.off_menu, "hebb")) == set()
    assert "diverged" in microscope.status.value and microscope.off_menu.value == NOTHING_OFF


def test_reset_brings_back_the_first_bytes(microscope: NeuronMicroscope):
    first, words = pictures(microscope), microscope.status.value
    microscope.slider.value = 2
    microscope.layer_menu.value = 2
    microscope.neuron_slider.value = 9
    microscope.scale_box.value = False
    microscope.off_menu.value = "soft"
    assert microscope.wait(300)
    microscope.off_menu.value = "hebb"
    microscope.reset_button.click()
    assert pictures(microscope) == first and microscope.status.value == words
    assert microscope.off_menu.value == NOTHING_OFF and not microscope.busy
