"""What every explorer can do: write its state as one line of Python, and say which example a dot is."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Callable
from typing import Any

import ipywidgets
import numpy as np
import pytest
import torch

from metarules.plots import style
from metarules.pretrained import get_rule, save_rule
from metarules.studies.evolution import Evolution, evolution
from metarules.studies.example import example_of
from metarules.studies.live_training import SHOWN, LiveSettings, LiveTraining
from metarules.tasks import Dataset, Task, load_dataset, make_task
from metarules.update_rule import LocalRule, LocalRuleSettings
from metarules.widgets import (
    BackwardWeights,
    Explorer,
    GeneralisationGrid,
    InnerLoopExplorer,
    LayersExplorer,
    MetaObjectiveExplorer,
    MetaTrainingConsole,
    NeuronMicroscope,
    RandomNetExplorer,
    RuleMixer,
    RuleTimeline,
)

SMALL = LocalRuleSettings(channels=4, signals=2, readouts=1)


@pytest.fixture(scope="module")
def task() -> Task:
    return make_task(load_dataset("digits"), generator=torch.Generator().manual_seed(0))


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Evolution:
    """Two snapshots."""
    folder = tmp_path_factory.mktemp("run")
    for step in (0, 1, 2):
        rule, g = LocalRule(SMALL), torch.Generator().manual_seed(step)
        with torch.no_grad():
            for p in rule.parameters():
                p.add_(0.1 * step * torch.randn(p.shape, generator=g))
        path = save_rule(rule, folder / "snapshots" / f"{step:06d}.safetensors", {"meta_steps": step})
        path.with_suffix(".json").unlink()
    header = "meta_step,minutes,meta_loss,gradient_norm,learning_rate,skipped,glyphs,decoders\n"
    (folder / "log.csv").write_text(header + "0,0,nan,,,0,0.5,0.4\n2,1,1.5,1,1,0,0.6,0.5\n")
    return evolution(folder)


# How each opens, and what is moved before its state is written.
MAKE: dict[str, tuple[Callable[[Task, Evolution], Explorer[Any]], dict[str, Any], int]] = {
    "inner loop": (
        lambda task, _: InnerLoopExplorer("hebb", task, steps=4),
        {"rule_menu": "Oja", "scale_box": True},
        2,
    ),
    "layers": (lambda task, _: LayersExplorer("hebb", task, steps=4), {"seed_box": 3, "layer_menu": 1}, 2),
    "random net": (lambda task, _: RandomNetExplorer(task, depth=2, width=8), {"nonlinearity_menu": "tanh"}, 1),
    "mixer": (lambda task, _: RuleMixer(task, steps=4), {"preset_menu": "Hebb + decorrelation", "layer_menu": 2}, 2),
    "microscope": (
        lambda task, _: NeuronMicroscope(LocalRule(SMALL), task, steps=4, step=2, sizes=(64, 8, 12)),
        {"layer_menu": 2, "neuron_slider": 11, "seed_box": 2},
        1,
    ),
    "backward weights": (
        lambda task, _: BackwardWeights(LocalRule(SMALL), task, steps=4),
        {"seed_box": 2, "save_name": "other.gif"},
        2,
    ),
    "generalisation": (
        lambda *_: GeneralisationGrid(get_rule("hebb"), against="raw", steps=4),
        {"width_slider": 16, "colours_menu": "above", "labels_menu": 5},
        2,
    ),
    "objective": (lambda *_: MetaObjectiveExplorer(), {"labels_box": 5, "seed_box": 1}, 1),
    "console": (lambda *_: MetaTrainingConsole(), {"rate_box": 0.001, "from_menu": None}, 2),
    "timeline": (lambda task, run: RuleTimeline(run, task, steps=4), {"snapshot_slider": 1, "beside_menu": 2}, 2),
}


@pytest.mark.parametrize("name", MAKE)
def test_a_line_of_python_brings_an_explorer_back(name: str, task: Task, run: Evolution):
    make, moves, step = MAKE[name]
    explorer, again = make(task, run), make(task, run)
    fresh = again.as_code()
    for control, value in moves.items():
        box = getattr(explorer, control)
        box.value = box.options[-1] if value is None else value
        assert explorer.wait(300) and "did not work" not in explorer.status.value
    explorer.step = explorer.steps_of(explorer.run)[step]
    line = explorer.as_code("again")
    assert "\n" not in line
    exec(line, {"again": again})
    assert again.as_code() == explorer.as_code() and again.as_code() != fresh
    assert {k: p.value for k, p in again.panels.items()} == {k: p.value for k, p in explorer.panels.items()}


def place_of(explorer: Explorer[Any], panel: str, cloud: int, dot: int) -> list[float]:
    """Where a dot is drawn, across and down in shares of the picture, by matplotlib's own transform."""
    film = explorer.film(explorer._view, panel)
    film.png(explorer.place_in_film())
    axes, points = film.clouds(explorer.place_in_film())[cloud]
    x, y = film.figure.transFigure.inverted().transform(axes.transData.transform(points[dot]))
    return [float(x), float(1 - y), 1.0]


DOTTED = [("inner loop", "embedding", 0), ("inner loop", "embedding", 1), ("random net", "cloud", 0)]
DOTTED += [("timeline", "embedding", 0), ("timeline", "embedding", 1)]


@pytest.mark.parametrize(("name", "panel", "cloud"), DOTTED)
def test_a_click_on_a_dot_shows_its_image_and_class(name: str, panel: str, cloud: int, task: Task, run: Evolution):
    explorer = MAKE[name][0](task, run)
    assert "Click a dot" in explorer._peek.words.value and explorer._peek.image.layout.display == "none"
    assert explorer.panels[panel].clickable
    film = explorer.film(explorer._view, panel)
    points = film.clouds(explorer.place_in_film())[cloud][1]
    gaps = np.linalg.norm(points[:, None] - points[None], axis=-1) + 1e9 * np.eye(len(points))
    dot = int(gaps.min(1).argmax())  # the loneliest: no other can be meant
    explorer.panels[panel].clicked = place_of(explorer, panel, cloud, dot)
    its, row = explorer.example_behind(panel, dot)
    assert f"This dot is image {row}, class {int(its.y[row])}." in explorer._peek.words.value
    if name == "timeline":  # its digits are a sample: the pixels must be those of a digit of that class
        assert any(torch.equal(its.x[row], x) for x in task.x[task.y == its.y[row]])
    else:
        assert its is task and row == explorer.run.dots[dot]
    assert explorer._peek.image.layout.display is None
    assert f"image {row}, class {int(its.y[row])}" in explorer._peek.image.alt
    explorer.panels[panel].clicked = [0.5, 0.01, 2.0]  # the heading
    assert "No dot there" in explorer._peek.words.value and explorer._peek.image.layout.display == "none"
    explorer.reset()
    assert "Click a dot" in explorer._peek.words.value


def test_b_has_the_same_examples(task: Task):
    pair = InnerLoopExplorer("hebb", task, beside="oja", steps=2)
    pair.panels["embedding-b"].clicked = place_of(pair, "embedding-b", 0, 7)
    assert "This dot is image" in pair._peek.words.value


def test_an_example_is_the_data_s(task: Task):
    digits = load_dataset("digits")
    seen = example_of(task, 5)
    image = seen.image
    assert image is not None and image.shape == (8, 8) and image.min() >= 0 and image.max() <= 1
    raw = np.asarray(digits.x)[5].reshape(8, 8)
    assert np.corrcoef(image.ravel(), raw.ravel())[0, 1] > 0.999 and str(seen) == f"image 5, class {int(task.y[5])}"
    table = Dataset("points", torch.rand(40, 3), torch.arange(40) % 2, None, ("a", "b"))
    assert str(example_of(make_task(table, generator=torch.Generator().manual_seed(0)), 3)).startswith("example 3")
    with pytest.raises(ValueError, match="number is 1797"):
        example_of(task, 1797)
    assert style.PANEL[0] * 100 == 450  # 12 CSS pixels are the reach of a click


@pytest.mark.parametrize("point", [3, 17])  # of batch a, of batch b
def test_a_point_of_the_plane_is_a_digit_or_a_point(point: int, task: Task):
    explorer = MetaObjectiveExplorer()  # K = 5: 15 points of batch a
    explorer.panels["plane"].clicked = place_of(explorer, "plane", 0, point)
    labels = torch.cat([explorer.pull.labels_a, explorer.pull.labels_b])
    own = explorer.pull.class_names[int(labels[point])]
    assert f"This dot is example {point}, class {own}." in explorer._peek.words.value
    explorer.data_menu.value = "Digits 4, 7, 9, untaught net"
    assert explorer.wait(300)
    explorer.panels["plane"].clicked = place_of(explorer, "plane", 0, point)
    shown = explorer.example_behind("plane", point)
    assert shown.label == task.y[shown.number] == 4
    assert f"This dot is image {shown.number}, class {shown.label}." in explorer._peek.words.value


def test_a_dot_of_a_particle_is_of_its_own_task():
    console = MetaTrainingConsole()
    for particle in (0, 3):
        console.panels["particles"].clicked = place_of(console, "particles", particle, 7)
        label = int(console.run.looks[-1][particle].labels[7])
        assert f"This dot is example 7, class {label}." in console._peek.words.value  # a recorded run has no images
    live = LiveTraining(LiveSettings(mix="letters alone", meta_steps=1))
    index, i = list(live.trainer.groups)[1], 1
    its = live.trainer.groups[index].task.task(i)
    shown = live.so_far().looks[0][SHOWN + i].example(5)
    assert shown.label == its.y[5] and shown.image is not None
    assert np.corrcoef(shown.image.ravel(), its.image(its.x[5]).numpy().ravel())[0, 1] > 0.999


@pytest.mark.parametrize("name", [*MAKE, "beside"])
def test_a_closed_explorer_is_given_back(name: str, task: Task, run: Evolution):
    """Nothing holds it, nor any of its pictures, shown or not."""
    if name == "beside":
        made: Any = InnerLoopExplorer("hebb", task, beside="oja", steps=4)
    else:
        made = MAKE[name][0](task, run)
    assert made.wait(300)
    held = [weakref.ref(part) for part in (made, *vars(made).values()) if isinstance(part, ipywidgets.Widget)]
    made.close()
    del made
    gc.collect()
    assert [part() for part in held if part() is not None] == []
