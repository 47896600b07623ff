"""A widget as somebody outside the package adds one: how long the weights of a layer are while a rule teaches it."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any

import numpy as np

from metarules.plots import Film
from metarules.plots.style import PANEL, new_figure
from metarules.studies.trajectory import Exploration, explore
from metarules.tasks import Task
from metarules.update_rule import UpdateRule
from metarules.widgets import Explorer
from metarules.widgets.inner_loop_view import filters
from metarules.widgets.parts import layer_menu, number


def lengths(e: Exploration, layer: int) -> np.ndarray:
    """Mean length of the incoming weights of a layer's neurons, at every recorded step."""
    return np.linalg.norm(e.weights(layer)[0], axis=1).mean(-1)


class LengthFilm(Film):
    """A curve, and a dot where we are."""

    def __init__(self, e: Exploration, layer: int) -> None:
        self.values, self.steps, self.layer = lengths(e, layer), e.steps, layer
        figure = new_figure(*PANEL)
        axes = figure.add_axes((0.15, 0.15, 0.8, 0.8))
        axes.plot(self.steps, self.values)
        (self._dot,) = axes.plot([], [], "o")
        super().__init__(figure, len(self.steps), [self._dot])

    def set_frame(self, frame: int) -> None:
        self._dot.set_data([self.steps[frame]], [self.values[frame]])

    def alt(self, frame: int) -> str:
        return f"Weights of layer {self.layer} are {self.values[frame]:.2f} long at step {self.steps[frame]}."


class WeightLengths(Explorer[Exploration]):
    """CSS classes besides those of `Explorer`: `metarules-panel-length`, `-filters`, `metarules-seed`, `-layer`."""

    def __init__(self, rule: UpdateRule, task: Task, steps: int = 10) -> None:
        panels = {"length": (LengthFilm, "layer"), "filters": (lambda e, _: filters(e, False), None)}
        super().__init__(panels, functools.partial(explore, rule, steps=steps), task)
        self.begin(seed=0)
        self.seed_box = self.setting("seed", number("Seed"))
        self.layer_menu = self.option("layer", layer_menu("Layer", len(self.run.sizes) - 1, 1))
        sight = [self.make_play(), self.make_slider(), self.make_step_button(), self.make_reset_button()]
        self.lay_out(sight, [self.seed_box, self.layer_menu], "More: seed, layer, your own data")

    @property
    def length(self) -> float:
        """The number in the sentence."""
        return float(lengths(self.run, self.layer_menu.value)[self._frame])

    def work_label(self, settings: Mapping[str, Any]) -> str:
        return "Learning"

    def sentence(self) -> str:
        return f"Step {self.step}{self.on_data}: weights of layer {self.layer_menu.value} are {self.length:.2f} long."
