"""`RandomNetExplorer`: every control moved, the number shown recomputed, bad input answered by a sentence."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from metarules.base_model import NONLINEARITIES, InitSettings, forward, init_state
from metarules.evaluation import few_shot_accuracy
from metarules.plots.random_net import layer_name
from metarules.studies.random_net import random_net
from metarules.tasks import Task, load_dataset, make_task
from metarules.widgets.random_net import PANELS, RandomNetExplorer


@pytest.fixture(scope="module")
def task() -> Task:
    return make_task(load_dataset("digits"), generator=torch.Generator().manual_seed(0))


@pytest.fixture
def explorer(task: Task) -> RandomNetExplorer:
    return RandomNetExplorer(task, depth=3, width=20)


def pictures(explorer: RandomNetExplorer) -> dict[str, bytes]:
    return {name: panel.value for name, panel in explorer.panels.items()}


def test_the_number_is_the_probe_of_that_layer(explorer: RandomNetExplorer, task: Task):
    init = InitSettings(weight_std=1.0, bias_std=0.0)
    phi = init_state((64, 20, 20, 32), settings=init, generator=torch.Generator().manual_seed(0))
    acts = forward(phi, task.x)
    for layer in (3, 1, 0):
        explorer.slider.value = layer
        expected = float(few_shot_accuracy(acts.x[layer], task.y, n_splits=5).mean())
        assert explorer.accuracy == pytest.approx(expected, abs=1e-12)
        assert f"few-shot accuracy {expected:.2f}" in explorer.status.value
        assert layer_name(layer, 3) in explorer.panels["cloud"].alt


def test_it_opens_at_the_top_and_each_layer_has_its_pictures(explorer: RandomNetExplorer):
    assert explorer.layer == 3
    top = pictures(explorer)
    explorer.layer = 2
    assert all(top[name] != png for name, png in pictures(explorer).items())
    explorer.layer = 3
    assert pictures(explorer) == top


@pytest.mark.parametrize(
    ("name", "value", "sizes"),
    [("depth", 5, (64, 20, 20, 20, 20, 32)), ("width", 40, (64, 40, 40, 32)), ("seed", 7, (64, 20, 20, 32))],
)
def test_boxes_draw_another_network(explorer: RandomNetExplorer, name: str, value: int, sizes):
    before = pictures(explorer)
    explorer.boxes[name].value = value
    assert explorer.wait(300)
    assert explorer.net.phi.sizes == sizes and explorer.layer == len(sizes) - 1
    assert all(before[panel] != pictures(explorer)[panel] for panel in PANELS)


def test_nonlinearity_new_weights_and_reset(explorer: RandomNetExplorer):
    first = pictures(explorer)
    assert len(set(map(NONLINEARITIES.get, explorer.nonlinearity_menu.options))) == len(
        explorer.nonlinearity_menu.options
    )
    explorer.nonlinearity_menu.value = "tanh"
    assert explorer.wait(300) and explorer.net.phi.nonlinearity == "tanh"
    explorer.weights_button.click()
    assert explorer.wait(300) and explorer.boxes["seed"].value == 1
    explorer.reset_button.click()
    assert explorer.wait(300)
    assert pictures(explorer) == first and explorer.boxes["seed"].value == 0


@pytest.mark.parametrize(("name", "value"), [("depth", 0), ("depth", 99), ("width", 1), ("seed", -1)])
def test_bad_numbers_get_a_sentence_and_nothing_is_lost(explorer: RandomNetExplorer, name: str, value: int):
    before, good = pictures(explorer), explorer.boxes[name].value
    explorer.boxes[name].value = value
    assert explorer.wait(300)
    assert f"{name} is {value}" in explorer.status.value and pictures(explorer) == before
    assert explorer.boxes[name].value == good


def test_random_layers_cost_accuracy_and_random_net_refuses(task: Task):
    net = random_net(task, 5, 32)
    means = net.accuracies.mean(1)
    assert means[0] > 0.8 and means[1] > means[3] > means[5] > 0.2
    assert all(spectrum.sum() == pytest.approx(1) for spectrum in net.spectra)
    assert np.abs(net.points).max() <= 1 and net.points.shape[0] == 6
    with pytest.raises(ValueError, match="nonlinearity is 'gelu'"):
        random_net(task, 2, 8, "gelu")
    with pytest.raises(ValueError, match=r"leading dimensions \[2\]"):
        random_net(make_task(load_dataset("digits"), generator=torch.Generator(), tasks=(2,)), 2, 8)


def test_repr_is_fixed(explorer: RandomNetExplorer):
    assert repr(explorer) == "RandomNetExplorer()"
