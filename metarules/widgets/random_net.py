"""`RandomNetExplorer`: what an untaught network makes of data, layer by layer, in four linked pictures."""

from __future__ import annotations

import threading
from typing import Any

import ipywidgets as widgets

from metarules._work import Progress
from metarules.base_model import NONLINEARITIES
from metarules.plots.film import Film
from metarules.plots.random_net import CloudFilm, DepthFilm, NormFilm, SpectrumFilm, layer_name
from metarules.studies.random_net import RandomNet, random_net
from metarules.tasks import Task
from metarules.widgets.own_data import OwnData

PANELS = ("cloud", "norm", "spectrum", "depth")  # in reading order


class RandomNetExplorer(OwnData):
    """Walk through the layers of a random base model; choose its nonlinearity, depth, width and weights.

    It opens at the top layer of five. In sight: the layer slider, the nonlinearity, New weights, Reset. In the fold:
    depth, width, seed, data of the reader's own.

    CSS classes besides those of `OwnData`: `metarules-layer-slider`, `metarules-nonlinearity`,
    `metarules-new-weights`, `metarules-reset`, `metarules-panel-cloud`, `-norm`, `-spectrum`, `-depth`, and in the fold
    `metarules-depth`, `metarules-width`, `metarules-seed`.

    Args:
        task: a single task.
        depth, width, nonlinearity, seed: of the first network, see `random_net`.

    Raises:
        ValueError, TypeError: as `random_net`; once open, a widget complains in its status line instead.
    """

    def __init__(
        self, task: Task, *, depth: int = 5, width: int = 128, nonlinearity: str = "relu", seed: int = 0
    ) -> None:
        super().__init__(PANELS, task)
        self._task = task
        self._first = {"depth": depth, "width": width, "nonlinearity": nonlinearity, "seed": seed}
        self._shown = dict(self._first)
        self.net = random_net(task, depth, width, nonlinearity, seed)
        self._make_controls()
        self._open(self.net, self._first, task)

    @property
    def layer(self) -> int:
        """The layer shown, 0 (input) to L; set it to move there."""
        return self.slider.value

    @layer.setter
    def layer(self, layer: int) -> None:
        self.slider.value = layer

    @property
    def accuracy(self) -> float:
        """Few-shot accuracy of the layer shown: the evaluation's probe, mean over its first five splits."""
        return float(self.net.accuracies[self.layer].mean())

    def _make_controls(self) -> None:
        first = self._first
        wide = {"style": {"description_width": "120px"}, "layout": widgets.Layout(width="290px")}
        slider = widgets.IntSlider(description="Layer", max=first["depth"], layout=widgets.Layout(flex="1 1 240px"))
        self.slider = self.control(slider, "layer-slider", self._redraw)
        menu = widgets.Dropdown(description="Nonlinearity", options=sorted(NONLINEARITIES), value=first["nonlinearity"])
        self.nonlinearity_menu = self.control(menu, "nonlinearity", self._recompute)
        self.weights_button = self.button("New weights", "new-weights", "Draw other random weights", self._on_weights)
        self.reset_button = self.button("Reset", "reset", "Everything back to how this opened", self._on_reset)
        boxes = {
            name: widgets.IntText(value=first[name], description=text, continuous_update=False, **wide)
            for name, text in (("depth", "Layers"), ("width", "Units in each"), ("seed", "Seed of the weights"))
        }
        self.boxes = {name: self.control(box, name, self._recompute) for name, box in boxes.items()}
        sight = [self.slider, self.nonlinearity_menu, self.weights_button, self.reset_button]
        self.lay_out(sight, [*self.boxes.values(), self.data_controls()], "More: layers, units, seed, your own data")

    def _on_weights(self) -> None:
        self.boxes["seed"].value += 1

    def _on_reset(self) -> None:
        self.drop_work()
        self.data_back()
        self._put(self._first)
        self._recompute()

    def _put(self, settings: dict[str, Any]) -> None:
        """Let the controls say these settings."""
        self.set_quietly(self.nonlinearity_menu, value=settings["nonlinearity"])
        for name, box in self.boxes.items():
            self.set_quietly(box, value=settings[name])

    def _recompute(self) -> None:
        """Draw a network anew with what the controls say, off the main thread."""
        settings = {name: box.value for name, box in self.boxes.items()}
        settings["nonlinearity"] = self.nonlinearity_menu.value
        source = self.wanted

        def work(progress: Progress, stop: threading.Event) -> tuple[RandomNet, Task]:
            task = source.task()
            return random_net(task, **settings), task

        def done(made: tuple[RandomNet, Task]) -> None:
            self._open(made[0], settings, made[1])

        self.start("Drawing weights", work, done, self._put_back)

    def _put_back(self) -> None:
        """Let the controls say what is shown."""
        self.data_shown(self._task)
        self._put(self._shown)

    def _open(self, net: RandomNet, settings: dict[str, Any], task: Task) -> None:
        """Show a network at its top layer."""
        self.net, self._shown, self._task = net, dict(settings), task
        noun = "image" if self._task.shape else "example"
        self._films: dict[str, Film] = {
            "cloud": CloudFilm(net.points, net.labels, noun),
            "norm": NormFilm(net.u, net.z),
            "spectrum": SpectrumFilm(net.spectra, net.directions),
            "depth": DepthFilm(net.accuracies, 1 / self._task.n_classes),
        }
        self.set_quietly(self.slider, max=net.phi.depth, value=net.phi.depth)
        self._put_back()
        self._redraw()

    def _redraw(self) -> None:
        """Show all panels at the layer chosen."""
        for name, film in self._films.items():
            self.show(name, film.png(self.layer), film.alt(self.layer))
        if not self.busy:
            phi = self.net.phi
            where = f"{'-'.join(map(str, phi.sizes))}, {phi.nonlinearity}, {layer_name(self.layer, phi.depth)}"
            self.say(
                f"{where}{self.on_data}: few-shot accuracy {self.accuracy:.2f} "
                f"(input {self.net.accuracies[0].mean():.2f}), about {self.net.directions[self.layer]:.0f} directions."
            )
