"""The films of `BackwardWeights`, and what its menus call them and the ways to treat V."""

from __future__ import annotations

from metarules.plots import Film, style
from metarules.plots.backward_weights import AnglesFilm, TurnFilm, WeightsFilm
from metarules.studies.backward_weights import BackwardRun
from metarules.widgets.explorer import Panels

PANEL_LABELS = {
    "weights": "W and V as matrices",
    "turn": "V and W as arrows",
    "angles": "angle between V and W",
    "backprop": "how near to backprop",
}
WAY_LABELS = {
    "identical": "V gets W's change (the learned rule)",
    "separate": "V gets a change of its own",
    "fixed": "V stays random",
    "tied": "V = W (weight transport)",
    "feedback_alignment": "Feedback alignment (given all labels)",
    "kolen_pollack": "Kolen-Pollack (given all labels)",
}
_SIGNAL, _CHANGE = "signal: V against Wᵀ", "ΔW against backprop's"


def weights(run: BackwardRun, layer: int) -> Film:
    """W and V of a layer as matrices."""
    return WeightsFilm(*run.weights(layer), run.steps, layer)


def turn(run: BackwardRun, layer: int) -> Film:
    """V and W of a layer as arrows."""
    return TurnFilm(run.angles[:, layer - 1], run.steps, layer)


def angles(run: BackwardRun, layer: int) -> Film:
    """The angle between V and W in every layer, one of them marked."""
    lines = {f"layer {l}": values for l, values in enumerate(run.angles.T, start=1)}
    subtitle = "90 degrees: unrelated; 0: the same direction"
    return AnglesFilm(lines, run.steps, "Angle between V and W", subtitle, f"layer {layer}")


def backprop(run: BackwardRun, layer: int) -> Film:
    """How near signal and change of a layer come to backprop's."""
    lines = {_SIGNAL: run.signal_angles[:, layer - 1], _CHANGE: run.change_angles[:, layer - 1]}
    subtitle = "labels are used to measure only: the rule never sees them"
    if run.sees_labels:
        subtitle = "backprop with the same read-out on the same labels"
    colours = {_SIGNAL: style.BACKWARD, _CHANGE: style.FORWARD}
    title = f"Layer {layer}: how near to backprop?"
    return AnglesFilm(lines, run.steps, title, subtitle, _SIGNAL, colours)


PANELS: Panels[BackwardRun] = {  # in reading order
    "weights": (weights, "layer"),
    "turn": (turn, "layer"),
    "angles": (angles, "layer"),
    "backprop": (backprop, "layer"),
}
