"""What `BackwardWeights` draws of a trajectory, and what its menu calls the ways to treat V."""

from __future__ import annotations

from dataclasses import dataclass, field

from metarules.plots import Film, style
from metarules.plots.backward_weights import AnglesFilm, TurnFilm, WeightsFilm
from metarules.studies.backward_weights import BackwardRun

PANELS = ("weights", "turn", "angles", "backprop")  # in reading order
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


@dataclass(eq=False)
class BackwardView:
    """A trajectory, the way it treats V, and the films made of it so far."""

    way: str
    run: BackwardRun
    films: dict[tuple[str, int], Film] = field(default_factory=dict)

    def film(self, name: str, layer: int) -> Film:
        """The film of a panel for a layer, 1 .. L; made when first needed.

        Args:
            name: one of `PANELS`.
            layer: the layer that is shown, or marked.
        """
        if (name, layer) not in self.films:
            self.films[name, layer] = _make(name, self.run, layer)
        return self.films[name, layer]

    def draw(self, frame: int, layer: int) -> dict[str, tuple[bytes, str]]:
        """PNG and alternative text of every panel at a frame."""
        films = {name: self.film(name, layer) for name in PANELS}
        return {name: (film.png(frame), film.alt(frame)) for name, film in films.items()}


def _make(name: str, run: BackwardRun, layer: int) -> Film:
    if name == "weights":
        return WeightsFilm(*run.weights(layer), run.steps, layer)
    if name == "turn":
        return TurnFilm(run.angles[:, layer - 1], run.steps, layer)
    if name == "angles":
        lines = {f"layer {l}": values for l, values in enumerate(run.angles.T, start=1)}
        subtitle = "90 degrees: unrelated; 0: the same direction"
        return AnglesFilm(lines, run.steps, "Angle between V and W", subtitle, f"layer {layer}")
    lines = {_SIGNAL: run.signal_angles[:, layer - 1], _CHANGE: run.change_angles[:, layer - 1]}
    subtitle = "labels are used to measure only: the rule never sees them"
    if run.sees_labels:
        subtitle = "backprop with the same read-out on the same labels"
    colours = {_SIGNAL: style.BACKWARD, _CHANGE: style.FORWARD}
    title = f"Layer {layer}: how near to backprop?"
    return AnglesFilm(lines, run.steps, title, subtitle, _SIGNAL, colours)
