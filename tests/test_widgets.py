"""Widgets: every control moved, every number shown computed a second way, errors as sentences, work that stops."""

from __future__ import annotations

import io
import re
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import ipywidgets
import numpy as np
import pytest
import torch
from PIL import Image
from widget_changes import changed, css_classes, pictures, setting

from metarules._work import Report, Worker
from metarules.base_model import BaseModelState, LayerState, forward
from metarules.classic_rules import get_rule
from metarules.evaluation import few_shot_accuracy, learned_state
from metarules.plots import EmbeddingFilm, mosaic, project
from metarules.plots.style import SHARP, new_figure
from metarules.studies.trajectory import early_steps, fixed_sample, recording_steps
from metarules.tasks import Dataset, Task, load_dataset, make_task
from metarules.update_rule import Batch, LocalRule, Trace, UpdateRule
from metarules.widgets import (
    Explorable,
    InnerLoopExplorer,
    OwnData,
    Picture,
    Stopped,
    explore,
    show,
)
from metarules.widgets.frames import Frames
from metarules.widgets.peek import Peek
from metarules.widgets.picture import side_by_side
from metarules.widgets.saving import Saving

STEPS = 12  # inner steps in most tests: enough to learn something, and quick
PANELS = {"embedding", "filters", "alignment", "accuracy"}


class Exploding(UpdateRule):
    """Diverges within a few steps."""

    def step_traced(self, phi: BaseModelState, batch: Batch) -> Trace:
        layers = [LayerState(p.W * 1e20, p.b, p.V) for p in phi.layers]
        return Trace(z={}, x={}, next_state=phi.with_layers(layers))


class Slow(UpdateRule):
    """Does nothing, slowly."""

    def step_traced(self, phi: BaseModelState, batch: Batch) -> Trace:
        time.sleep(0.02)
        return Trace(z={}, x={}, next_state=phi)


@pytest.fixture(scope="module")
def task() -> Task:
    return make_task(load_dataset("digits"), generator=torch.Generator().manual_seed(0))


@pytest.fixture(scope="module")
def rules() -> dict[str, UpdateRule]:
    return {"Oja": get_rule("oja"), "Exploding": Exploding(), "Slow": Slow(), "Local": LocalRule()}


@pytest.fixture
def explorer(task: Task, rules: dict[str, UpdateRule]) -> Iterator[InnerLoopExplorer]:
    made = InnerLoopExplorer("hebb_decorrelation", task, rules=rules, steps=STEPS)
    yield made
    made.stop_button.click()
    assert made.wait(300)


# ---- the core


def test_exploration_is_what_the_evaluation_computes(task: Task):
    rule = LocalRule()
    e = explore(rule, task, steps=9, batch_size=100, seed=3, record_at=[4, 9])
    assert e.steps == (0, 4, 9) and e.sizes == (64, 32, 32, 32)
    dots = torch.from_numpy(e.dots)
    every = []
    for frame, step in enumerate(e.steps):
        phi = learned_state(rule, task, steps=step, batch_size=100, seed=3)
        for (name, own), (_, other) in zip(e.states[frame].tensors(), phi.tensors(), strict=True):
            assert torch.equal(own, other), (step, name)
        features = forward(phi, task.x).features
        every.append(features.numpy())
        probe = few_shot_accuracy(features, task.y, n_splits=5)
        assert e.accuracies[frame].tolist() == probe.tolist()
        W = phi.layers[0].W.numpy()
        image = np.empty((64, 32), np.float32)
        assert task.permutation is not None
        image[task.permutation.numpy()] = W  # weight j belongs to pixel permutation[j]
        assert np.array_equal(e.filters[frame], image.T.reshape(32, 8, 8))
        for l, layer in enumerate(phi.layers):
            w, v = layer.W.flatten(), layer.V.flatten()
            assert e.cosines[frame, l] == pytest.approx(float(w @ v / (w.norm() * v.norm())), abs=1e-5)
            assert np.array_equal(e.weights(l + 1)[0][frame], layer.W.numpy())
            assert np.array_equal(e.weights(l + 1)[1][frame], layer.V.numpy())
    assert np.array_equal(e.points, project(np.stack(every))[:, dots])
    assert e.raw_accuracy == pytest.approx(float(few_shot_accuracy(task.x, task.y, n_splits=5).mean()), abs=1e-12)
    assert e.changes_V and not e.sees_labels


def test_exploration_learns_something(task: Task):
    e = explore(get_rule("hebb_decorrelation"), task, steps=40)
    assert e.accuracies[0].mean() < 0.7 < 0.8 < e.accuracies[-1].mean()
    assert not e.changes_V
    assert [e.frame_of(s) for s in (-1, 0, 1, 39, 40, 999)] == [0, 0, 1, 39, 40, 40]


def test_a_supervised_rule_is_told_so(task: Task):
    assert explore(get_rule("backprop"), task, steps=3).sees_labels


def test_data_that_are_no_images():
    moons = make_task(load_dataset("two_moons", n=300), permute=False)
    e = explore(get_rule("hebb"), moons, steps=3, sizes=(2, 8, 4))
    assert np.array_equal(e.filters[-1, 0], e.states[-1].layers[0].W.numpy())
    widget = InnerLoopExplorer(get_rule("hebb"), moons, steps=3, sizes=(2, 8, 4))
    assert "raw inputs" in widget.status.value and "example" in widget.panels["embedding"].alt


def test_steps_to_record():
    assert recording_steps(100) == tuple(range(0, 101, 2))
    assert recording_steps(1) == (0, 1)
    assert recording_steps(101) == (*range(0, 100, 3), 101) or recording_steps(101)[-2:] == (99, 101)
    for steps in (1, 7, 50, 51, 99, 101, 400, 1999):
        recorded = recording_steps(steps)
        assert recorded[0] == 0 and recorded[-1] == steps and len(recorded) <= 52


def test_most_steps_are_recorded_where_most_happens():
    assert early_steps(3) == (0, 1, 2, 3)
    assert early_steps(100)[:14] == tuple(range(14)) and early_steps(100, 20)[:5] == (0, 1, 2, 4, 6)
    for steps in (1, 7, 50, 51, 99, 101, 400, 1999):
        for frames in (20, 25, 50):
            recorded = early_steps(steps, frames)
            assert recorded[0] == 0 and recorded[-1] == steps and min(steps, frames) < len(recorded) <= 1.2 * frames
            strides = np.diff(recorded)
            assert (strides[1:] >= strides[:-1] - 1).all(), "wider and wider, but for rounding"


def test_rows_to_show():
    assert fixed_sample(5, 10).tolist() == [0, 1, 2, 3, 4]
    rows = fixed_sample(1797, 600)
    assert len(set(rows.tolist())) == 600 and rows.max() < 1797
    assert np.array_equal(rows, fixed_sample(1797, 600))


def test_explore_refuses_with_a_sentence(task: Task, generator: torch.Generator):
    hebb = get_rule("hebb")
    pair = make_task(load_dataset("digits"), generator=generator, tasks=(2,))
    few = Dataset("few", torch.rand(30, 4), torch.arange(30) % 10, None, tuple("0123456789"))
    cases: list[tuple[Any, Any, dict[str, Any], type[Exception], str]] = [
        (hebb, pair, {}, ValueError, r"task has leading dimensions \[2\]; allowed: none"),
        (hebb, make_task(few, permute=False), {"batch_size": 5}, ValueError, "labels_per_class is 10"),
        (hebb, task, {"steps": 0}, ValueError, r"steps is 0; allowed: a whole number in \[1, 2000\]"),
        (hebb, task, {"steps": 99999}, ValueError, "steps is 99999"),
        (hebb, task, {"seed": -1}, ValueError, "seed is -1"),
        (hebb, task, {"batch_size": 9999}, ValueError, "batch_size is 9999"),
        (hebb, task, {"sizes": (63, 4), "steps": 2}, ValueError, "64"),
        (hebb, task, {"steps": 2, "record_at": [3]}, ValueError, "record_at is 3"),
    ]
    for rule, data, options, kind, words in cases:
        with pytest.raises(kind, match=words):
            explore(rule, data, **options)


def test_exploring_tells_how_far_it_is_and_stops(task: Task):
    seen: list[tuple[int, int]] = []
    stop = threading.Event()

    def progress(done: int, total: int) -> None:
        seen.append((done, total))
        if done == 3:
            stop.set()

    with pytest.raises(Stopped, match="stopped after 3 of 10 steps"):
        explore(get_rule("hebb"), task, steps=10, progress=progress, stop=stop)
    assert seen == [(1, 11), (2, 11), (3, 11)]


# ---- the explorer


def test_it_opens_at_the_end_with_the_story_told(explorer: InnerLoopExplorer):
    assert explorer.step == STEPS and explorer.rule_name == "Hebb + decorrelation"
    assert explorer.accuracy > explorer.exploration.accuracies[0].mean()
    for panel in explorer.panels.values():
        assert Image.open(io.BytesIO(panel.value)).size == (450 * SHARP, 330 * SHARP)
        assert panel.width == 450 and len(panel.alt) > 60 and "before" in panel.alt
    shown = (
        f"few-shot accuracy {explorer.accuracy:.2f} (before learning {explorer.exploration.accuracies[0].mean():.2f}"
    )
    assert shown in explorer.status.value and f"step {STEPS} of {STEPS}" in explorer.status.value


def test_css_classes_are_the_documented_ones(explorer: InnerLoopExplorer):
    found = css_classes(explorer)
    wanted = "widget controls status progress stop panels fold play step-slider step reset rule beside steps seed layer"
    wanted += " classes scale"
    wanted += " speed save-panel save-name save-picture peek peek-image peek-words data data-path data-upload"
    wanted += " data-label data-drop data-shape data-scale data-separator data-decimal"
    assert found == {f"metarules-{name}" for name in [*wanted.split(), *(f"panel-{p}" for p in PANELS)]}
    documented = "".join(kind.__doc__ or "" for kind in (InnerLoopExplorer, OwnData, Peek, Explorable, Frames, Saving))
    for name in wanted.split():
        assert f"`metarules-{name}`" in documented


def test_nothing_in_its_repr_changes(explorer: InnerLoopExplorer):
    assert repr(explorer) == "InnerLoopExplorer()"
    assert explorer._repr_mimebundle_()["text/plain"] == "InnerLoopExplorer()"
    assert repr(Picture(value=b"x")) == "Picture()"


@pytest.mark.parametrize("step", [0, 5, STEPS])
def test_the_slider_moves_all_panels_and_the_number_is_right(explorer: InnerLoopExplorer, task: Task, step: int):
    explorer.slider.value = STEPS // 2
    assert changed(explorer, setting(explorer.slider, step)) == PANELS
    assert explorer.step == explorer.play.value == step
    phi = learned_state(get_rule("hebb_decorrelation"), task, steps=step)
    expected = float(few_shot_accuracy(forward(phi, task.x).features, task.y, n_splits=5).mean())
    assert explorer.accuracy == pytest.approx(expected, abs=1e-12)
    assert f"step {step} of {STEPS}: few-shot accuracy {expected:.2f}" in explorer.status.value
    assert f"{expected:.2f} at step {step}" in explorer.panels["accuracy"].alt
    for (name, own), (_, other) in zip(explorer.state.tensors(), phi.tensors(), strict=True):
        assert torch.equal(own, other), name


def test_pictures_are_drawn_from_the_exploration(explorer: InnerLoopExplorer, task: Task):
    explorer.slider.value = 3
    e = explorer.exploration
    film = EmbeddingFilm(e.points, task.y.numpy()[e.dots], e.steps)
    assert explorer.panels["embedding"].value == film.png(3)
    image = np.asarray(Image.open(io.BytesIO(explorer.panels["filters"].value)).convert("RGB")).astype(int)
    sheet = mosaic(e.filters[3])
    red, blue = np.unravel_index(np.nanargmax(sheet), sheet.shape), np.unravel_index(np.nanargmin(sheet), sheet.shape)
    side = 2.6 * 200 / max(sheet.shape)  # half CSS pixels for each weight in the large mosaic
    for (row, column), stronger, weaker in ((red, 0, 2), (blue, 2, 0)):
        y, x = 120 + (row + 0.5) * side, 360 + (900 - 380 - 2.6 * 200) + (column + 0.5) * side
        y, x = round(y * SHARP / 2), round(x * SHARP / 2)
        assert image[y, x, stronger] > image[y, x, weaker]


def test_play_moves_the_slider(explorer: InnerLoopExplorer):
    explorer.slider.value = 0
    for step in range(1, 4):
        assert changed(explorer, setting(explorer.play, step)) == PANELS
        assert explorer.slider.value == step
    assert explorer.play.max == STEPS and explorer.play.min == 0 and explorer.play.step == explorer.slider.step == 1


def test_step_goes_on_and_round(explorer: InnerLoopExplorer):
    explorer.step_button.click()
    assert explorer.step == 0
    assert changed(explorer, explorer.step_button.click) == PANELS
    assert explorer.step == 1


def test_steps_between_recorded_ones_snap_back(task: Task):
    widget = InnerLoopExplorer("hebb", task, steps=101)
    places = early_steps(101)
    lacking = next(step for step in range(20, 101) if step not in places)
    assert widget.slider.step == 1 and widget.step == 101
    widget.step = lacking
    assert widget.step == widget.slider.value == max(p for p in places if p < lacking)
    assert f"step {widget.step} of 101" in widget.status.value
    widget.slider.value = widget.step + 1  # a key
    assert widget.step == widget.slider.value == min(p for p in places if p > lacking)
    widget.step = 10**6
    assert widget.step == 101


def test_reset_brings_back_the_first_bytes(explorer: InnerLoopExplorer):
    first, words = pictures(explorer), explorer.status.value
    explorer.slider.value = 2
    explorer.layer_menu.value = 1
    explorer.classes_box.value = False
    explorer.scale_box.value = True
    explorer.seed_box.value = 5
    explorer.rule_menu.value = "Oja"
    assert explorer.wait(300)
    assert all(png != first[name] for name, png in pictures(explorer).items())
    explorer.reset_button.click()
    assert pictures(explorer) == first and explorer.status.value == words
    assert explorer.step == STEPS and explorer.rule_name == explorer.rule_menu.value == "Hebb + decorrelation"
    controls = (explorer.layer_menu, explorer.classes_box, explorer.scale_box, explorer.seed_box, explorer.steps_box)
    assert [c.value for c in controls] == [3, True, False, 0, STEPS]


def test_options_change_their_own_panel_alone(explorer: InnerLoopExplorer):
    step = explorer.step
    assert changed(explorer, setting(explorer.layer_menu, 1)) == {"alignment"}
    assert "layer 1 as two matrices" in explorer.panels["alignment"].alt
    assert changed(explorer, setting(explorer.classes_box, False)) == {"embedding"}
    assert "coloured" not in explorer.panels["embedding"].alt
    assert changed(explorer, setting(explorer.scale_box, True)) == {"filters"}
    assert explorer.step == step and not explorer.busy


def test_seed_and_steps_learn_anew(explorer: InnerLoopExplorer, task: Task):
    assert changed(explorer, setting(explorer.seed_box, 1)) == PANELS
    expected = explore(get_rule("hebb_decorrelation"), task, steps=STEPS, seed=1)
    assert explorer.exploration.accuracies.tolist() == expected.accuracies.tolist()
    assert changed(explorer, setting(explorer.steps_box, 4)) == PANELS
    assert explorer.step == explorer.slider.max == explorer.play.max == 4
    assert explorer.exploration.seed == 1 and explorer.exploration.steps == (0, 1, 2, 3, 4)


def test_another_rule_shows_a_busy_sign_at_once_and_then_its_result(explorer: InnerLoopExplorer, task: Task):
    before = pictures(explorer)
    explorer.rule_menu.value = "Local"
    assert "Learning with Local" in explorer.status.value and explorer.busy
    assert explorer.progress.layout.visibility == explorer.stop_button.layout.visibility == "visible"
    assert pictures(explorer) == before, "the old pictures stay until there are new ones"
    assert explorer.wait(300)
    assert explorer.rule_name == "Local" and explorer.step == STEPS
    assert explorer.progress.layout.visibility == "hidden"
    expected = explore(LocalRule(), task, steps=STEPS)
    assert explorer.accuracy == pytest.approx(expected.accuracies[-1].mean(), abs=1e-12)
    assert "Local, step" in explorer.status.value
    assert all(png != before[name] for name, png in pictures(explorer).items())


@pytest.mark.parametrize(
    ("control", "value", "words"),
    [
        ("rule_menu", "Exploding", "the rule diverged"),
        ("seed_box", -1, "seed is -1; allowed: a whole number"),
        ("steps_box", 0, "steps is 0; allowed: a whole number"),
        ("steps_box", 10**9, "steps is 1000000000; allowed: a whole number"),
    ],
)
def test_bad_input_is_a_sentence_and_the_last_good_state_stays(
    explorer: InnerLoopExplorer, control: str, value: Any, words: str
):
    explorer.slider.value = 7
    before = pictures(explorer)
    held = {name: getattr(explorer, name).value for name in ("rule_menu", "seed_box", "steps_box", "slider")}
    assert changed(explorer, setting(getattr(explorer, control), value)) == set()
    assert words in explorer.status.value and "Still showing Hebb + decorrelation." in explorer.status.value
    assert 'role="alert"' in explorer.status.value and "Traceback" not in explorer.status.value
    assert explorer.last_error is not None and words in str(explorer.last_error)
    assert {name: getattr(explorer, name).value for name in held} == held
    assert pictures(explorer) == before and not explorer.busy
    explorer.slider.value = 8
    assert "step 8" in explorer.status.value and pictures(explorer) != before, "and it goes on working"


def test_work_can_be_stopped(explorer: InnerLoopExplorer):
    before = pictures(explorer)
    explorer.rule_menu.value = "Slow"
    explorer.slider.value = 4
    assert "Slow" in explorer.status.value, "moving through what is known does not wipe the busy sign"
    explorer.slider.value = STEPS
    explorer.stop_button.click()
    assert explorer.wait(300)
    assert "Still showing Hebb + decorrelation" in explorer.status.value and "topped" in explorer.status.value
    assert explorer.rule_menu.value == "Hebb + decorrelation" and pictures(explorer) == before
    explorer.stop_button.click()  # nothing to stop: nothing happens
    assert explorer.progress.layout.visibility == "hidden"


def test_the_newest_request_wins(explorer: InnerLoopExplorer):
    explorer.rule_menu.value = "Slow"
    explorer.rule_menu.value = "Exploding"
    explorer.rule_menu.value = "Oja"
    assert explorer.wait(300)
    assert explorer.rule_name == "Oja" and "Oja, step" in explorer.status.value
    time.sleep(0.3)
    assert explorer.rule_name == "Oja", "nothing late comes in"


def test_reset_drops_what_is_being_computed(explorer: InnerLoopExplorer):
    first = pictures(explorer)
    explorer.rule_menu.value = "Slow"
    explorer.reset_button.click()
    assert explorer.wait(300)
    assert pictures(explorer) == first and explorer.rule_menu.value == "Hebb + decorrelation"
    time.sleep(0.3)
    assert f"step {STEPS} of {STEPS}" in explorer.status.value, "and nothing late comes in"
    assert explorer.progress.layout.visibility == "hidden" and not explorer.busy


def test_scrubbing_what_is_computed_starts_no_work(explorer: InnerLoopExplorer):
    for step in range(STEPS):
        explorer.slider.value = step
        assert not explorer.busy and explorer.step == step


def test_menu_of_rules(task: Task):
    local = InnerLoopExplorer(LocalRule(), task, steps=2)
    assert local.rule_menu.options[0] == local.rule_name == "The rule before meta-training"
    assert {"Hebb", "Oja", "Backprop (given all labels)"} <= set(local.rule_menu.options)
    learned = LocalRule()
    learned.card = {"name": "local"}
    widget = InnerLoopExplorer(learned, task, steps=2)
    assert widget.rule_menu.options[:2] == ("The learned rule", "Where the learned rule started")
    assert InnerLoopExplorer(Slow(), task, steps=1).rule_name == "Slow"
    widget.rule_menu.value = "Backprop (given all labels)"
    assert widget.wait(300)
    assert widget.exploration.sees_labels and widget.rule_name.startswith("Backprop")


def test_rules_of_the_menu_run_as_they_recommend(task: Task):
    widget = InnerLoopExplorer("hebb_decorrelation", task)
    assert widget.exploration.steps[-1] == 100
    widget.rule_menu.value = "Oja"
    assert widget.steps_box.value == 300
    widget.rule_menu.value = "Autoencoder"
    assert widget.steps_box.value == 400, "a thousand recommended, but not within two seconds"
    widget.stop_button.click()
    assert widget.wait(300)


def test_opening_with_bad_input_raises(task: Task):
    with pytest.raises(ValueError, match=r"rule is 'heb'; allowed: .*hebb"):
        InnerLoopExplorer("heb", task)
    with pytest.raises(ValueError, match="steps is 0"):
        InnerLoopExplorer("hebb", task, steps=0)
    with pytest.raises(RuntimeError, match="diverged"):
        InnerLoopExplorer(Exploding(), task, steps=10)


# ---- base and worker


class Small(Explorable):
    """Counts clicks, badly."""

    def __init__(self) -> None:
        super().__init__(["one"])
        self.clicks = 0
        self.go = self.button("Go", "go", "Count", self.count)
        self.number = self.control(ipywidgets.IntText(), "number", self.count)
        self.lay_out([self.go], [self.number], "More")

    def count(self) -> None:
        self.clicks += 1
        if self.clicks == 2:
            raise KeyError("<b>two</b>")


def test_errors_of_callbacks_are_shown_and_escaped():
    small = Small()
    small.go.click()
    assert small.status.value == ""
    small.number.value = 3
    assert "KeyError: &#x27;&lt;b&gt;two&lt;/b&gt;&#x27;. The pictures are unchanged." in small.status.value
    assert isinstance(small.last_error, KeyError)
    small.set_quietly(small.number, value=4)
    assert small.clicks == 2
    small.say("a < b")
    assert "a &lt; b" in small.status.value and repr(small) == "Small()"


def test_long_work_of_a_widget_reports_and_complains():
    small = Small()
    done: list[int] = []
    put_back: list[bool] = []
    said: list[str] = []
    go = threading.Event()
    small.status.observe(lambda change: said.append(change["new"]), "value")

    def work(progress: Callable[[int, int], None], stop: threading.Event) -> int:
        assert go.wait(300)
        for i in range(1, 5):
            time.sleep(0.12)
            progress(i, 4)
        return 7

    small.start("Counting", work, done.append, lambda: put_back.append(True))
    assert small.busy and not small.wait(0.01)
    go.set()
    assert small.wait(300) and done == [7] and not put_back
    assert any(re.search(r"Counting: 50% done, about \d+ s left", words) for words in said)
    assert small.progress.value > 0.5

    def fail(result: int) -> None:
        raise ValueError("no room")

    small.start("Counting", lambda progress, stop: 1, fail, lambda: put_back.append(True))
    assert small.wait(300) and put_back == [True] and "no room" in small.status.value


def test_worker_drops_what_was_overtaken():
    lock = threading.RLock()
    worker = Worker(lock)
    results: list[Any] = []
    reports: list[Report] = []
    reported = threading.Event()

    def report(one: Report) -> None:
        reports.append(one)
        reported.set()

    def slow(progress: Callable[[int, int], None], stop: threading.Event) -> str:
        while not stop.is_set():
            time.sleep(0.01)
            progress(1, 2)
        raise Stopped("stopped")

    worker.start(slow, lambda result, problem: results.append((result, problem)), report)
    assert reported.wait(300)
    assert worker.busy and reports[0].share == 0.5 and reports[0].seconds_left >= 0
    worker.start(lambda progress, stop: "quick", lambda r, p: results.append((r, p)), reports.append)
    assert worker.wait(300) and results == [("quick", None)]
    worker.start(slow, lambda result, problem: results.append((result, problem)), reports.append)
    worker.stop()
    assert worker.wait(300) and isinstance(results[-1][1], Stopped)
    worker.stop()
    assert worker.wait(0) and not worker.busy


def test_a_report_never_comes_after_what_overtook_it():
    lock = threading.RLock()
    worker, reports, begun = Worker(lock), [], threading.Event()

    def work(progress: Callable[[int, int], None], stop: threading.Event) -> None:
        time.sleep(0.15)
        begun.set()
        progress(1, 2)  # passes its first look at once, and waits for the callback below

    with lock:  # as a callback holds it
        worker.start(work, lambda result, problem: None, reports.append)
        assert begun.wait(300)
        time.sleep(0.1)
        assert not reports
        worker.drop()
    assert worker.wait(300) and not reports


def test_a_shown_figure_carries_alt_text_and_a_png():
    picture = show(new_figure(2, 1), "an empty page")
    data, _ = picture._repr_mimebundle_()
    assert picture.alt == "an empty page" and picture.width == 200 and data["text/plain"] == "Picture()"
    assert data["image/png"] == picture.value and Image.open(io.BytesIO(picture.value)).size == (300, 150)
    with pytest.raises(ValueError, match="alt is empty"):
        show(new_figure(2, 1), " ")
    with pytest.raises(TypeError):
        show("no figure", "words")


def test_pictures_side_by_side():
    one = show(new_figure(2, 1), "a page").value
    assert Image.open(io.BytesIO(side_by_side([one] * 3, scale=0.5))).size == (300, 150)
    with pytest.raises(ValueError, match="pngs is empty"):
        side_by_side([])


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="Linux says how much memory a process has")
def test_closed_explorers_give_back_what_they_held():
    code = """
import gc
from metarules import load_dataset, make_task
from metarules.widgets import InnerLoopExplorer
task = make_task(load_dataset("digits"), permute=False)
kept, sizes = [], []
for i in range(50):
    kept.append(InnerLoopExplorer("hebb", task, steps=20))
    kept[-1].close()
    gc.collect()
    sizes.append(int(open("/proc/self/statm").read().split()[1]) * 4096 // 10**6)
print(max(sizes[1:]) - sizes[0])
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert int(done.stdout) < 50, done.stdout
