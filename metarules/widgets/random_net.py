"""`RandomNetExplorer`: what an untaught network makes of data, layer by layer, in four linked pictures."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import ipywidgets as widgets

from metarules._work import Progress
from metarules.base_model import NONLINEARITIES
from metarules.plots.random_net import CloudFilm, DepthFilm, NormFilm, SpectrumFilm, layer_name
from metarules.studies.random_net import RandomNet, random_net
from metarules.tasks import Task
from metarules.widgets.explorer import Explorer, Panels
from metarules.widgets.parts import number, wide

PANELS: Panels[RandomNet] = {  # in reading order
    "cloud": (lambda net, _: CloudFilm(net.points, net.labels, "image" if net.task.shape else "example"), None),
    "norm": (lambda net, _: NormFilm(net.u, net.z), None),
    "spectrum": (lambda net, _: SpectrumFilm(net.spectra, net.directions), None),
    "depth": (lambda net, _: DepthFilm(net.accuracies, 1 / net.task.n_classes), None),
}


class RandomNetExplorer(Explorer[RandomNet]):
    """Walk through the layers of a random base model; choose its nonlinearity, depth, width and weights.

    It opens at the top layer of five. In sight: the layer slider, the nonlinearity, New weights, Reset. In the fold:
    depth, width, seed, data of the reader's own.

    CSS classes besides those of `Explorer`: `metarules-layer-slider`, `metarules-nonlinearity`,
    `metarules-new-weights`, `metarules-reset`, `metarules-panel-cloud`, `-norm`, `-spectrum`, `-depth`, and in the fold
    `metarules-depth`, `metarules-width`, `metarules-seed`.

    Args:
        task: a single task.
        depth, width, nonlinearity, seed: of the first network, see `random_net`.

    Raises:
        ValueError, TypeError: as `random_net`; once open, a widget complains in its status line instead.
    """

    dotted: ClassVar[Sequence[str]] = ("cloud",)

    def __init__(
        self, task: Task, *, depth: int = 5, width: int = 128, nonlinearity: str = "relu", seed: int = 0
    ) -> None:
        super().__init__(PANELS, self._drawn, task)
        self.begin(depth=depth, width=width, nonlinearity=nonlinearity, seed=seed)
        slider = self.make_slider("Layer", "layer-slider", layout=widgets.Layout(flex="1 1 240px"))
        once = {NONLINEARITIES[name]: name for name in (*sorted(NONLINEARITIES, reverse=True), nonlinearity)}
        menu = widgets.Dropdown(description="Nonlinearity", options=sorted(once.values()), value=nonlinearity)
        self.nonlinearity_menu = self.setting("nonlinearity", menu)
        self.weights_button = self.button("New weights", "new-weights", "Draw other random weights", self._on_weights)
        sight = [slider, menu, self.weights_button, self.make_reset_button()]
        texts = {"depth": "Layers", "width": "Units in each", "seed": "Seed of the weights"}
        self.boxes = {name: self.setting(name, number(text, **wide(120, 290))) for name, text in texts.items()}
        self.lay_out(sight, list(self.boxes.values()), "More: layers, units, seed, your own data")

    @property
    def net(self) -> RandomNet:
        """The network shown, and all that is drawn of it."""
        return self.run

    @property
    def layer(self) -> int:
        """The layer shown, 0 (input) to L; set it to move there."""
        return self.step

    @layer.setter
    def layer(self, layer: int) -> None:
        self.step = layer

    @property
    def accuracy(self) -> float:
        """Few-shot accuracy of the layer shown: the evaluation's probe, mean over its first five splits."""
        return float(self.net.accuracies[self.layer].mean())

    def steps_of(self, run: RandomNet) -> range:
        """The layers, 0 to L."""
        return range(run.phi.depth + 1)

    def example_behind(self, panel: str, dot: int) -> tuple[Task, int]:
        """As `Explorer.example_behind`."""
        return self.net.task, int(self.net.dots[dot])

    def _on_weights(self) -> None:
        self.boxes["seed"].value += 1

    def _drawn(
        self, task: Task, *, progress: Progress | None, stop: threading.Event | None, **settings: Any
    ) -> RandomNet:
        return random_net(task, **settings)

    def work_label(self, settings: Mapping[str, Any]) -> str:
        """What is at work."""
        return "Drawing weights"

    def sentence(self) -> str:
        """What is shown, in words and numbers."""
        net, phi = self.net, self.net.phi
        where = f"{'-'.join(map(str, phi.sizes))}, {phi.nonlinearity}, {layer_name(self.layer, phi.depth)}"
        return (
            f"{where}{self.on_data}: few-shot accuracy {self.accuracy:.2f} (input {net.accuracies[0].mean():.2f}), "
            f"about {net.directions[self.layer]:.0f} directions."
        )
