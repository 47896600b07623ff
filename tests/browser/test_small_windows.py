"""In a small window the controls of every explorer stay in sight beside each of its pictures."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from .lab import LabServer
from .page import LabPage, Run

pytestmark = pytest.mark.browser

WINDOWS = ((900, 900), (1400, 900))  # pixels: half a screen, and a laptop's
SETUP = """
import torch
from metarules import load_dataset, load_rule, make_task
from metarules.widgets import GeneralisationGrid, InnerLoopExplorer
from metarules.widgets.backward_weights import BackwardWeights
from metarules.widgets.layers import LayersExplorer
from metarules.widgets.meta_objective_explorer import MetaObjectiveExplorer
from metarules.widgets.neuron_microscope import NeuronMicroscope
from metarules.widgets.random_net import RandomNetExplorer
from metarules.widgets.rule_mixer import RuleMixer

torch.set_num_threads(1)
task = make_task(load_dataset("digits"), generator=torch.Generator().manual_seed(0))
"""
EXPLORERS = {
    "one rule": "InnerLoopExplorer('hebb', task, steps=2)",
    "two rules": "InnerLoopExplorer('hebb', task, steps=2, beside='oja')",
    "random net": "RandomNetExplorer(task)",
    "mixer": "RuleMixer(task)",
    "microscope": "NeuronMicroscope(load_rule('local'), task)",
    "backward weights": "BackwardWeights(load_rule('local'), task)",
    "meta-objective": "MetaObjectiveExplorer()",
    "grid": "GeneralisationGrid(load_rule('local'), steps=2)",
    "layers": "LayersExplorer('hebb', task, steps=2)",
}
# Names of the pictures beside which, once one has scrolled down to their lower edge, the controls or a part of the
# picture are out of sight.
HIDDEN = """async number => {
  const widget = document.querySelectorAll(".metarules-widget")[number];
  const controls = widget.querySelector(".metarules-controls");
  const hidden = [];
  for (const panel of widget.querySelectorAll(".metarules-panels > *")) {
    if (!panel.querySelector("img")) continue;
    for (let again = 0; again < 5; again++) { // what lies above is laid out when it comes near, and moves all below it
      panel.scrollIntoView({ block: "end", behavior: "instant" });
      await new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)));
    }
    const [its, own] = [panel.getBoundingClientRect(), controls.getBoundingClientRect()];
    const there = document.elementFromPoint(own.left + 5, (own.top + own.bottom) / 2);
    const seen = controls.contains(there) && its.top >= own.bottom - 1 && its.bottom <= innerHeight + 1;
    if (!seen) hidden.push(`${panel.className}: ${its.top} to ${its.bottom}, controls ${own.top} to ${own.bottom}`);
  }
  return hidden;
}"""


@pytest.fixture(scope="module")
def explorers(new_lab: Callable[[], LabPage], lab_server: LabServer) -> Iterator[LabPage]:
    """A notebook with one explorer of each kind."""
    lab_server.write_notebook("explorers.ipynb", [SETUP, *EXPLORERS.values()])
    lab = new_lab()
    lab.open_notebook("explorers.ipynb")
    run = lab.run_all(timeout=300)
    assert isinstance(run, Run) and not run.errors, run
    yield lab
    lab.close()


@pytest.mark.parametrize("window", WINDOWS, ids=lambda window: f"{window[0]}x{window[1]}")
@pytest.mark.parametrize("kind", EXPLORERS)
def test_controls_stay_in_sight_beside_each_picture(explorers: LabPage, kind: str, window: tuple[int, int]) -> None:
    explorers.resize(*window)
    hidden = explorers.page.evaluate(HIDDEN, list(EXPLORERS).index(kind))
    explorers.page.screenshot(path=explorers.screenshots / f"small-{kind.replace(' ', '-')}-{window[0]}.png")
    assert not hidden
