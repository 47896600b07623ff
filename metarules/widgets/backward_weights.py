"""`BackwardWeights`: watch V, the weights that carry signals down, turn to W or not, and what that does to learning."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import ipywidgets as widgets

from metarules._checks import check_choice
from metarules.base_model import BaseModelState
from metarules.studies.backward_weights import (
    STEPS,
    WAYS,
    WEIGHT_STD,
    BackwardRun,
    backward_rule,
    follow_backward_weights,
)
from metarules.tasks import Task
from metarules.update_rule.learned import LearnedRule
from metarules.widgets.backward_weights_view import PANEL_LABELS, PANELS, WAY_LABELS
from metarules.widgets.explorer import Explorer
from metarules.widgets.own_data import fitted
from metarules.widgets.parts import layer_menu, number, wide


class BackwardWeights(Explorer[BackwardRun]):
    """Six ways to treat V: play and scrub the turning of V to W, and how near signal and change come to backprop's.

    It opens at the last step of "V gets W's change", the paper's way. In sight: play, the step slider, the way, Reset.
    In the fold: the layer, the number of steps, the spread of the initial weights, the seed, a picture to save,
    and data of the reader's own.

    CSS classes besides those of `Explorer`: `metarules-play`, `metarules-step-slider`, `metarules-way`,
    `metarules-reset`, `metarules-panel-weights`, `-turn`, `-angles`, `-backprop`, and in the fold `metarules-layer`,
    `metarules-steps`, `metarules-spread`, `metarules-seed`.

    Args:
        rule: the learned rule whose theta the first four ways use.
        task: a single task; its labels reach the two supervised ways, and otherwise serve to measure alone.
        way: the way to open with, see `backward_rule`.
        sizes: (n_0, .., n_L) of the base model; None takes the task's inputs and layers of 32, 32, 32.
        steps: inner steps; None takes 50 for the learned rule, 300 for the supervised ways.
        weight_std: spread of the initial W and V; None takes 0.3 for the learned rule, 0.01 for the supervised ways.
        seed: of initial weights and batches.

    Raises:
        ValueError, TypeError, DivergenceError: as `follow_backward_weights`; once open, a widget complains in its
            status line instead.
    """

    runs_kept: ClassVar[int] = 8  # the six ways and two more

    def __init__(
        self,
        rule: LearnedRule,
        task: Task,
        *,
        way: str = "identical",
        sizes: Sequence[int] | None = None,
        steps: int | None = None,
        weight_std: float | None = None,
        seed: int = 0,
    ) -> None:
        super().__init__(PANELS, self._followed, task)
        check_choice("way", way, WAYS)
        self._rule, self._sizes, self._steps, self._spread = rule, sizes, steps, weight_std
        self.begin(way=way, **self._best_seen(way), seed=seed)
        play, slider = self.make_play(), self.make_slider(layout=widgets.Layout(flex="1 1 260px"))
        ways = [(text, way) for way, text in WAY_LABELS.items()]
        way_menu = widgets.Dropdown(options=ways, value=way, layout=widgets.Layout(width="280px"))
        self.way_menu = self.setting("way", way_menu, self._on_way)
        reset, depth = self.make_reset_button(), self.run.angles.shape[1]
        middle = min(2, depth)  # the middle one of three: its signal came through a V
        self.layer_menu = self.option("layer", layer_menu("Layer", depth, middle))
        self.steps_box = self.setting("steps", number("Inner steps"))
        spread = widgets.FloatText(description="Spread of first W, V", continuous_update=False, **wide())
        self.spread_box = self.setting("spread", spread)
        self.seed_box = self.setting("seed", number("Base model seed"))
        saving = self.make_saving("v_turns_to_w.gif", "turn", PANEL_LABELS)
        fold = [self.layer_menu, self.steps_box, self.spread_box, self.seed_box, *saving]
        self.lay_out([play, slider, way_menu, reset], fold, "More: layer, initial weights, saving, your own data")

    # ---- what is shown, as numbers

    @property
    def way(self) -> str:
        """The way to treat V whose work is shown, see `backward_rule`."""
        return self._view.settings["way"]

    @property
    def angle(self) -> float:
        """Angle between V and W of the chosen layer at the step shown, in degrees."""
        return float(self.run.angles[self._frame, self.layer_menu.value - 1])

    @property
    def state(self) -> BaseModelState:
        """phi at the step shown."""
        return self.run.states[self._frame]

    # ---- controls

    def _on_way(self) -> None:
        best = self._best_seen(self.way_menu.value)
        self.set_quietly(self.steps_box, value=best["steps"])
        self.set_quietly(self.spread_box, value=best["spread"])
        self.recompute()

    # ---- computing and telling

    def _best_seen(self, way: str) -> dict[str, Any]:
        """How a way is run unless told otherwise."""
        steps = STEPS[way] if self._steps is None else self._steps
        return {"steps": steps, "spread": WEIGHT_STD[way] if self._spread is None else self._spread}

    def _followed(self, task: Task, way: str, spread: float, **settings: Any) -> BackwardRun:
        rule, sizes = backward_rule(way, self._rule, task.n_classes), fitted(self._sizes, task)
        return follow_backward_weights(rule, task, sizes=sizes, weight_std=spread, **settings)

    def work_label(self, settings: Mapping[str, Any]) -> str:
        """Which way is at work."""
        return f"Learning: {WAY_LABELS[settings['way']]}"

    def sentence(self) -> str:
        """What is shown, in words and numbers."""
        run, layer = self.run, self.layer_menu.value
        return (
            f"{WAY_LABELS[self.way]}{self.on_data}, step {self.step} of {run.steps[-1]}: V and W of layer {layer} are "
            f"{self.angle:.0f} degrees apart (before learning {run.angles[0, layer - 1]:.0f}); few-shot accuracy "
            f"{run.accuracies[self._frame]:.2f} (before learning {run.accuracies[0]:.2f})."
        )

    def kept(self) -> str:
        """Which trajectory is still shown."""
        return f"Still showing: {WAY_LABELS[self.way]}{self.on_data}."
