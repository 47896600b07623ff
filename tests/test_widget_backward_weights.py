"""`BackwardWeights`: angles computed a second way, every control moved, films, GIFs, errors as sentences."""

from __future__ import annotations

import io
import math
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import ipywidgets
import numpy as np
import pytest
import torch
from PIL import Image
from widget_changes import changed, css_classes, pictures, setting

from metarules.base_model import BaseModelState, InitSettings, LayerState, forward, init_state
from metarules.classic_rules import get_rule
from metarules.evaluation import few_shot_accuracy
from metarules.meta_objective import one_hot, ridge_fit
from metarules.plots.backward_weights import AnglesFilm, TurnFilm, WeightsFilm, pattern_order, turn_figure
from metarules.plots.gif import save_gif
from metarules.pretrained import load_rule
from metarules.studies.backward_weights import (
    STEPS,
    WAYS,
    angle_between,
    angles_at,
    backprop_changes,
    backward_rule,
    follow_backward_weights,
    with_transport,
)
from metarules.tasks import Task, load_dataset, make_task
from metarules.update_rule import Batch, LocalRule, LocalRuleSettings, UpdateRule
from metarules.widgets import Explorable, OwnData, Stopped
from metarules.widgets.backward_weights import BackwardWeights
from metarules.widgets.backward_weights_view import PANELS, WAY_LABELS
from metarules.widgets.frames import Frames
from metarules.widgets.saving import Saving

SMALL = 10  # inner steps in most tests


@pytest.fixture(scope="module")
def task() -> Task:
    return make_task(load_dataset("digits"), generator=torch.Generator().manual_seed(0))


@pytest.fixture(scope="module")
def base() -> LocalRule:
    rule = load_rule("local")
    assert isinstance(rule, LocalRule)
    return rule


@pytest.fixture
def widget(base: LocalRule, task: Task) -> Iterator[BackwardWeights]:
    made = BackwardWeights(base, task, steps=SMALL)
    yield made
    made.stop_button.click()
    assert made.wait(300)


def degrees(a: torch.Tensor, b: torch.Tensor) -> float:
    """The angle once more, by the school formula."""
    u, v = a.detach().numpy().ravel().astype(float), b.detach().numpy().ravel().astype(float)
    return math.degrees(math.acos(np.clip(u @ v / (np.linalg.norm(u) * np.linalg.norm(v)), -1, 1)))


def taught(rule: UpdateRule, task: Task, steps: int, weight_std: float, seed: int = 0) -> BaseModelState:
    """phi after some steps, without `learn` and without recording."""
    g = torch.Generator().manual_seed(seed)
    settings = InitSettings(weight_std, rule.recommended.bias_std)
    phi = rule.init_extra(init_state((64, 32, 32, 32), settings=settings, generator=g), g)
    with torch.no_grad():
        for _ in range(steps):
            phi = rule(phi, task.sample(rule.recommended.batch_size, g))
    return phi


# ---- angles


def test_angles_known_by_hand():
    a = torch.tensor([[1.0, 0.0], [0.0, 0.0]], dtype=torch.float64)
    for angle in (0.0, 1e-6, 30.0, 45.0, 90.0, 135.0, 180.0):
        r = math.radians(angle)
        b = 7 * torch.tensor([[math.cos(r), math.sin(r)], [0.0, 0.0]], dtype=torch.float64)
        assert angle_between(a, b) == pytest.approx(angle, rel=1e-6, abs=1e-9)
        assert angle_between(b, a) == angle_between(a, b)
    assert angle_between(a, 0 * a) == 90.0


def test_angles_refuse(unchecked_types: None):
    with pytest.raises(ValueError, match=r"other has shape \[3\]; allowed: \[2\]"):
        angle_between(torch.ones(2), torch.ones(3))
    with pytest.raises(ValueError, match="NaN"):
        angle_between(torch.tensor([torch.nan]), torch.ones(1))
    with pytest.raises(TypeError, match="one is 'one'; allowed: "):
        angle_between(cast(Any, "one"), torch.ones(1))


# ---- six ways


def test_the_learned_ways_share_theta_and_differ_in_v(base: LocalRule, task: Task):
    phi = init_state((64, 12, 8), settings=InitSettings(weight_std=0.3))
    batch = Batch(task.x[:50])
    wanted = base(phi, batch)
    after = {way: backward_rule(way, base)(phi, batch) for way in ("identical", "separate", "fixed", "tied")}
    for way, state in after.items():
        for own, other, start in zip(state.layers, wanted.layers, phi.layers, strict=True):
            if way != "tied":  # that one sends its signal through W from the first step on
                assert torch.equal(own.W, other.W) and torch.equal(own.b, other.b), way
            like = {"identical": other.V, "fixed": start.V, "tied": own.W}.get(way)
            if like is not None:
                assert torch.equal(own.V, like), way
            else:
                assert not any(torch.equal(own.V, t) for t in (other.V, start.V, other.W))
    swapped = phi.with_layers([LayerState(p.V, p.b, p.V) for p in phi.layers])
    kept = backward_rule("separate", base)(swapped, batch)
    for layer in kept.layers:  # the same read-out on the same weights
        torch.testing.assert_close(layer.V, layer.W)


def test_a_rule_with_its_own_backward_readout_keeps_it():
    own = LocalRule(LocalRuleSettings(backward_update="separate"))
    assert own.backward_readout is not None
    copy = backward_rule("separate", own)
    for name, value in own.state_dict().items():
        assert torch.equal(copy.state_dict()[name], value)
    assert not any("backward" in name for name in backward_rule("fixed", own).state_dict())


def test_ways_refuse(base: LocalRule):
    with pytest.raises(ValueError, match="way is 'sideways'; allowed: feedback_alignment"):
        backward_rule("sideways", base)
    kolen: Any = backward_rule("kolen_pollack", base, n_classes=3)
    assert kolen.settings.kolen_pollack and kolen.settings.decay > 0 and kolen.settings.n_classes == 3
    assert set(WAYS) == set(WAY_LABELS) == set(STEPS)


# ---- what backprop would do


def test_the_supervised_reference_is_autograds_gradient(base: LocalRule, task: Task):
    rule = backward_rule("feedback_alignment", base)
    phi = taught(rule, task, 5, 0.1)
    batch = Batch(task.x[:60], task.y[:60])
    W = [p.W.clone().requires_grad_() for p in phi.layers]
    free = phi.with_layers([LayerState(w, p.b, p.V) for w, p in zip(W, phi.layers, strict=True)])
    logits = forward(free, batch.x).features @ phi.extra["readout_W"] + phi.extra["readout_b"]
    assert batch.y is not None
    grads = torch.autograd.grad(torch.nn.functional.cross_entropy(logits, batch.y), W)
    found = backprop_changes(rule, phi, batch)
    for l, grad in enumerate(grads, start=1):
        torch.testing.assert_close(found[l], grad, rtol=1e-4, atol=1e-6)
    _, signals, changes = angles_at(rule, with_transport(phi), batch)
    assert max(signals + changes) < 0.1, "with V = W feedback alignment is backprop"


def test_the_unsupervised_reference_is_the_gradient_of_the_best_read_out(task: Task):
    phi = init_state((64, 10, 6), dtype=torch.float64)
    batch = Batch(task.x[:80].double(), task.y[:80])
    assert batch.y is not None
    W = [p.W.clone().requires_grad_() for p in phi.layers]
    free = phi.with_layers([LayerState(w, p.b, p.V) for w, p in zip(W, phi.layers, strict=True)])
    features, targets = forward(free, batch.x).features, one_hot(batch.y, 10, torch.float64)
    w = ridge_fit(features, targets, 1.0)  # the gradient also goes through the fit
    loss = ((features @ w[:-1] + w[-1] - targets).square().sum() + w[:-1].square().sum()) / (2 * 80)
    grads = torch.autograd.grad(loss, W)
    found = backprop_changes(get_rule("hebb"), phi, batch)
    for l, grad in enumerate(grads, start=1):
        torch.testing.assert_close(found[l], grad, rtol=1e-6, atol=1e-9)
    with pytest.raises(ValueError, match=r"batch\.y is None"):
        backprop_changes(get_rule("hebb"), phi, Batch(batch.x))


# ---- the core


@pytest.mark.parametrize("way", ["identical", "fixed", "kolen_pollack"])
def test_a_run_is_what_a_plain_loop_gives(way: str, base: LocalRule, task: Task):
    rule = backward_rule(way, base)
    run = follow_backward_weights(rule, task, steps=7, weight_std=0.2, seed=3)
    assert run.steps == tuple(range(8)) and run.angles.shape == run.signal_angles.shape == (8, 3)
    for step in (0, 7):
        phi = taught(rule, task, step, 0.2, seed=3)
        for (name, own), (_, other) in zip(run.states[step].tensors(), phi.tensors(), strict=True):
            assert torch.equal(own, other), (name, step)
        for l, layer in enumerate(phi.layers, start=1):
            assert run.angles[step, l - 1] == pytest.approx(degrees(layer.W, layer.V), abs=1e-3)
            assert np.array_equal(run.weights(l)[1][step], layer.V.numpy())
        probe = few_shot_accuracy(forward(phi, task.x).features, task.y, n_splits=5).mean()
        assert run.accuracies[step] == pytest.approx(float(probe), abs=1e-12)
    assert run.sees_labels == (way == "kolen_pollack")


def test_the_shared_change_identity(task: Task):
    base = LocalRule(dtype=torch.float64)
    twice = task.to(torch.float64)
    run = follow_backward_weights(base, twice, steps=20, weight_std=0.3)
    lr = float(base.lr.detach())
    for step, phi in zip(run.steps, run.states, strict=True):
        for layer, first in zip(phi.layers, run.states[0].layers, strict=True):
            torch.testing.assert_close(layer.W - layer.V, (1 - lr) ** step * (first.W - first.V), rtol=0, atol=1e-12)


def test_v_turns_where_it_should_and_nowhere_else(base: LocalRule, task: Task):
    runs = {way: follow_backward_weights(backward_rule(way, base), task, steps=40) for way in ("identical", "fixed")}
    assert runs["identical"].angles[0].min() > 80 and runs["identical"].angles[-1].max() < 25
    assert runs["fixed"].angles[-1].min() > 75
    turned = runs["identical"].turned_at(2)
    assert turned is not None and 8 <= turned <= 30 and runs["fixed"].turned_at(2) is None
    fast = follow_backward_weights(base, task, steps=6, weight_std=0.01)
    assert fast.angles[5].max() < 15, "at the authors' spread it is over in five steps"


def test_feedback_alignment_never_uses_the_lowest_v(base: LocalRule, task: Task):
    rule = backward_rule("feedback_alignment", base)
    run = follow_backward_weights(rule, task, steps=120, weight_std=0.01)
    assert abs(run.angles[-1, 0] - 90) < 3 and run.angles[-1, 2] < 78
    assert run.signal_angles[-1].mean() < run.signal_angles[0].mean() - 10


def test_the_core_refuses_and_stops(base: LocalRule, task: Task, generator: torch.Generator):
    pair = make_task(load_dataset("digits"), generator=generator, tasks=(2,))
    cases: list[tuple[Any, Any, dict[str, Any], type[Exception], str]] = [
        (base, pair, {}, ValueError, r"task has leading dimensions \[2\]"),
        (base, task, {"steps": 0}, ValueError, r"steps is 0; allowed: a whole number in \[1, 1000\]"),
        (base, task, {"weight_std": 0.0}, ValueError, r"weight_std is 0\.0; allowed"),
        (base, task, {"weight_std": float("nan")}, ValueError, "weight_std is nan"),
        (base, task, {"seed": -1}, ValueError, "seed is -1"),
    ]
    for rule, data, options, kind, words in cases:
        with pytest.raises(kind, match=words):
            follow_backward_weights(rule, data, **options)
    stop = threading.Event()
    with pytest.raises(Stopped, match="stopped after 2 of 9 steps"):
        follow_backward_weights(
            base, task, steps=9, progress=lambda done, _: stop.set() if done == 2 else None, stop=stop
        )


# ---- films


def test_weights_are_shown_in_the_order_of_the_last_pattern(generator: torch.Generator):
    u, v = torch.randn(6, generator=generator), torch.randn(4, generator=generator)
    W = (u[:, None] * v).numpy()
    rows, columns = pattern_order(W)
    steps_down = np.diff(W[rows][:, columns], axis=0)
    assert (np.abs(np.sign(steps_down).sum(0)) == 5).all(), "every column rises or falls all the way"
    noise = torch.randn(6, 4, generator=generator).numpy()
    film = WeightsFilm(np.stack([noise, W]), np.stack([noise, 3 * W]), (0, 5), 2)
    shown = [axes.images[0].get_array() for axes in film.figure_at(1).axes]
    np.testing.assert_allclose(shown[0], shown[1])
    assert np.corrcoef(np.ravel(shown[0]), W[rows][:, columns].ravel())[0, 1] == pytest.approx(1)
    assert "correlate by 1.00" in film.alt(1) and "layer 2" in film.alt(1)


def test_the_arrow_points_where_it_says():
    film = TurnFilm(np.array([90.0, 30.0, 120.0]), (0, 4, 9), 1)
    figure = film.figure_at(1)
    tip = film._arrow.get_path().vertices  # in data units, at the shaft's end
    assert "30° at step 4" in [t.get_text() for t in figure.texts]
    x, y = film._tips[1]
    assert (x, y) == pytest.approx((math.cos(math.pi / 6), 0.5)) and len(tip)
    assert "90 degrees before learning" in film.alt(1) and "120 at the last step" in film.alt(1)
    assert turn_figure(45.0).axes
    with pytest.raises(ValueError, match=r"angle is 200\.0"):
        turn_figure(200.0)


def test_angle_lines_hold_the_numbers():
    lines = {"layer 1": np.array([90.0, 40.0]), "layer 2": np.array([88.0, 140.0])}
    film = AnglesFilm(lines, (0, 6), "Angles", "what", "layer 2")
    axes = film.figure_at(1).axes[0]
    assert [line.get_ydata().tolist() for line in axes.lines[:2]] == [[90, 40], [88, 140]]
    assert axes.lines[-1].get_xydata().tolist() == [[6, 140]] and axes.get_ylim()[1] > 140
    assert film.alt(1).endswith("At step 6: layer 1 40; layer 2 140. Before learning: layer 1 90; layer 2 88.")
    with pytest.raises(ValueError, match="chosen is 'layer 3'; allowed: layer 1, layer 2"):
        AnglesFilm(lines, (0, 6), "Angles", "what", "layer 3")


def test_gif_holds_every_frame(tmp_path: Path):
    film = TurnFilm(np.linspace(90, 10, 5), (0, 1, 2, 3, 4), 1)
    path = save_gif(film, tmp_path / "new" / "turn.gif", milliseconds=80, pause=500)
    with Image.open(path) as gif:
        assert gif.n_frames == 5 and gif.info["loop"] == 0  # type: ignore[attr-defined]
        durations, sizes = [], set()
        for i in range(5):
            gif.seek(i)
            durations.append(gif.info["duration"])
            sizes.add(gif.size)
            original = np.asarray(Image.open(io.BytesIO(film.png(i))).convert("RGB")).astype(int)
            shown = np.asarray(gif.convert("RGB")).astype(int)
            assert np.abs(shown - original).mean() < 1 and (shown[0, -1] == 255).all()
    assert durations == [80] * 4 + [500] and sizes == {(675, 495)}
    first = path.read_bytes()
    assert save_gif(film, path, milliseconds=80, pause=500).read_bytes() == first
    with Image.open(save_gif(film, str(tmp_path / "some.gif"), frames=[0, 4])) as gif:
        assert gif.n_frames == 2  # type: ignore[attr-defined]
    with Image.open(save_gif(film, tmp_path / "one.GIF", frames=[2])) as gif:
        assert getattr(gif, "n_frames", 1) == 1
    assert sorted(p.name for p in tmp_path.iterdir()) == ["new", "one.GIF", "some.gif"], "no temporary files left"


def test_gif_refuses_and_leaves_the_old_file(tmp_path: Path):
    film = TurnFilm(np.array([90.0, 30.0]), (0, 4), 1)
    old = tmp_path / "old.gif"
    old.write_bytes(b"old")
    cases: list[tuple[Any, dict[str, Any], str]] = [
        ("turn.png", {}, "path is 'turn.png'; allowed: a name ending in .gif"),
        (old, {"frames": []}, "frames is empty"),
        (old, {"frames": [7]}, "frame is 7"),
        (old, {"milliseconds": 5}, "milliseconds is 5"),
        (old, {"pause": 10**6}, "pause is 1000000"),
    ]
    for path, options, words in cases:
        with pytest.raises(ValueError, match=words):
            save_gif(film, path, **options)
    assert old.read_bytes() == b"old"


# ---- the widget


def test_it_opens_at_the_end_with_the_story_told(widget: BackwardWeights):
    assert widget.step == SMALL and widget.way == "identical" and widget.layer_menu.value == 2
    assert widget.angle < widget.run.angles[0, 1] - 10
    for panel in widget.panels.values():
        assert Image.open(io.BytesIO(panel.value)).size == (675, 495) and "efore learning" in panel.alt
    assert (
        f"{WAY_LABELS['identical'].replace(chr(39), '&#x27;')}, step {SMALL} of {SMALL}: V and W of layer 2 are "
        f"{widget.angle:.0f} degrees apart" in widget.status.value
    )
    assert repr(widget) == "BackwardWeights()"
    _, controls, fold, _, _ = widget.children
    assert len(controls.children) == 4
    assert isinstance(fold, ipywidgets.Accordion) and fold.selected_index is None


def test_css_classes_are_the_documented_ones(widget: BackwardWeights):
    found = css_classes(widget)
    wanted = [
        "widget",
        "controls",
        "status",
        "progress",
        "stop",
        "panels",
        "fold",
        "play",
        "step-slider",
        "way",
        "reset",
        "layer",
    ]
    wanted += ["steps", "spread", "seed", "save-panel", "save-name", "save-picture", "speed", "data", "data-path"]
    wanted += ["data-upload", "data-label", "data-drop", "data-shape", "data-scale", "data-separator", "data-decimal"]
    assert found == {f"metarules-{name}" for name in [*wanted, *(f"panel-{p}" for p in PANELS)]}
    documented = "".join(kind.__doc__ or "" for kind in (BackwardWeights, OwnData, Frames, Saving, Explorable))
    assert all(f"`metarules-{name}`" in documented for name in wanted)


@pytest.mark.parametrize("step", [0, 5])
def test_the_slider_moves_all_panels_and_the_number_is_right(
    widget: BackwardWeights, base: LocalRule, task: Task, step: int
):
    assert changed(widget, setting(widget.slider, step)) == set(PANELS)
    phi = taught(base, task, step, 0.3)
    expected = degrees(phi.layers[1].W, phi.layers[1].V)
    assert widget.angle == pytest.approx(expected, abs=1e-3)
    assert f"step {step} of {SMALL}: V and W of layer 2 are {widget.angle:.0f} degrees" in widget.status.value
    assert f"{widget.angle:.0f} degrees apart at inner step {step}" in widget.panels["turn"].alt
    assert torch.equal(widget.state.layers[1].V, phi.layers[1].V)


def test_play_layer_and_reset(widget: BackwardWeights):
    opened, words = pictures(widget), widget.status.value
    assert changed(widget, setting(widget.play, 3)) == set(PANELS)
    assert widget.slider.value == 3
    widget.step = 10**6
    assert widget.step == SMALL and pictures(widget) == opened
    assert changed(widget, setting(widget.layer_menu, 1)) == set(PANELS)
    assert "layer 1" in widget.status.value and widget.angle == widget.run.angles[-1, 0]
    widget.save_name.value = "else.gif"
    widget.save_panel.value = "weights"
    widget.seed_box.value = 4
    assert widget.wait(300)
    widget.reset_button.click()
    assert pictures(widget) == opened and widget.status.value == words
    assert (widget.save_name.value, widget.save_panel.value) == ("v_turns_to_w.gif", "turn")
    held = (widget.layer_menu, widget.steps_box, widget.spread_box, widget.seed_box, widget.way_menu)
    assert [c.value for c in held] == [2, SMALL, 0.3, 0, "identical"]


@pytest.mark.parametrize("way", ["separate", "fixed", "tied", "feedback_alignment", "kolen_pollack"])
def test_every_way_shows_its_own_numbers(widget: BackwardWeights, base: LocalRule, task: Task, way: str):
    widget.way_menu.value = way
    assert widget.busy, "the choice returns before the work is done"
    assert "Learning: " in widget.status.value
    assert widget.wait(300) and widget.way == way
    spread = 0.01 if way in ("feedback_alignment", "kolen_pollack") else 0.3
    assert widget.spread_box.value == spread and widget.steps_box.value == SMALL
    phi = taught(backward_rule(way, base), task, SMALL, spread)
    assert widget.angle == pytest.approx(degrees(phi.layers[1].W, phi.layers[1].V), abs=2e-3)
    assert f"{widget.angle:.0f} degrees apart" in widget.status.value
    assert changed(widget, setting(widget.way_menu, "identical")) and not widget.busy, "going back is no work"


def test_steps_spread_and_seed_learn_anew(widget: BackwardWeights, base: LocalRule, task: Task):
    assert changed(widget, setting(widget.spread_box, 0.05)) == set(PANELS)
    assert widget.run.weight_std == 0.05
    assert changed(widget, setting(widget.seed_box, 2)) == set(PANELS)
    assert changed(widget, setting(widget.steps_box, 4)) == set(PANELS)
    assert widget.step == widget.slider.max == widget.play.max == 4
    expected = follow_backward_weights(base, task, steps=4, weight_std=0.05, seed=2)
    assert np.array_equal(widget.run.angles, expected.angles)


def test_by_default_each_way_runs_as_it_is_best_seen(base: LocalRule, task: Task):
    widget = BackwardWeights(base, task, way="feedback_alignment")
    assert (widget.steps_box.value, widget.spread_box.value, len(widget.run.steps)) == (300, 0.01, 26)
    widget.way_menu.value = "fixed"
    assert (widget.steps_box.value, widget.spread_box.value) == (50, 0.3)
    widget.stop_button.click()
    assert widget.wait(300)
    with pytest.raises(ValueError, match="way is 'up'"):
        BackwardWeights(base, task, way="up")


@pytest.mark.parametrize(
    ("control", "value", "words"),
    [
        ("seed_box", -1, "seed is -1; allowed"),
        ("steps_box", 0, "steps is 0; allowed"),
        ("steps_box", 10**9, "steps is 1000000000; allowed"),
        ("spread_box", float("nan"), "weight_std is nan; allowed"),
        ("spread_box", -0.3, "weight_std is -0.3; allowed"),
    ],
)
def test_bad_input_is_a_sentence_and_the_last_good_state_stays(
    widget: BackwardWeights, control: str, value: Any, words: str
):
    widget.slider.value = 7
    held = {name: getattr(widget, name).value for name in ("way_menu", "seed_box", "steps_box", "spread_box", "slider")}
    assert changed(widget, setting(getattr(widget, control), value)) == set()
    assert words in widget.status.value and "Still showing: V gets W" in widget.status.value
    assert 'role="alert"' in widget.status.value
    assert {name: getattr(widget, name).value for name in held} == held
    widget.slider.value = 8
    assert "step 8" in widget.status.value, "and it goes on working"


def test_the_save_button_writes_the_film(widget: BackwardWeights, tmp_path: Path):
    before = pictures(widget)
    widget.save_panel.value = "weights"
    widget.save_name.value = str(tmp_path / "film.gif")
    widget.save_button.click()
    assert widget.wait(300)
    assert "Wrote film.gif: 11 frames" in widget.status.value and pictures(widget) == before
    with Image.open(tmp_path / "film.gif") as gif:
        assert gif.n_frames == 11  # type: ignore[attr-defined]
    widget.save_name.value = str(tmp_path / "film.mp4")
    widget.save_button.click()
    assert widget.wait(300) and "allowed: .gif, .png, .svg" in widget.status.value
    assert pictures(widget) == before


def test_scrubbing_what_is_computed_starts_no_work(widget: BackwardWeights):
    for step in range(SMALL):
        widget.slider.value = step
        assert not widget.busy and f"step {step} of {SMALL}" in widget.status.value
