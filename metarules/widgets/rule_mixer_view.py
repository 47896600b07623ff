"""What `RuleMixer` draws of a trajectory."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from metarules.plots import AccuracyFilm, Film, FilterFilm
from metarules.plots.diversity import DimensionFilm, LikenessFilm
from metarules.studies.mix import MixRun
from metarules.studies.trajectory import LABELS_PER_CLASS
from metarules.widgets.inner_loop_view import inputs_name

PANELS = ("filters", "likeness", "dimension", "accuracy")  # in reading order


@dataclass(eq=False)
class MixView:
    """A run and the films made of it so far."""

    run: MixRun
    films: dict[tuple[str, int], Film] = field(default_factory=dict)

    def draw(self, frame: int, layer: int) -> dict[str, tuple[bytes, str]]:
        """PNG and alternative text of every panel at a frame; a film is made when first needed.

        Args:
            frame: 0 .. number of recorded steps - 1.
            layer: 1 .. L, whose neurons are compared.
        """
        drawn = {}
        for name in PANELS:
            key = name, layer if name == "likeness" else 0
            if key not in self.films:
                self.films[key] = _MAKERS[name](self.run, layer)
            film = self.films[key]
            drawn[name] = film.png(frame), film.alt(frame)
        return drawn


def _filters(run: MixRun, _: Any) -> Film:
    return FilterFilm(run.exploration.filters, run.exploration.steps)


def _likeness(run: MixRun, layer: int) -> Film:
    return LikenessFilm(run.likeness[layer - 1], run.exploration.steps, layer)


def _dimension(run: MixRun, _: Any) -> Film:
    return DimensionFilm(run.dimensions, run.exploration.steps, run.exploration.sizes)


def _accuracy(run: MixRun, _: Any) -> Film:
    e = run.exploration
    others = {inputs_name(e).replace(" ", "\n"): e.raw_accuracy, "before\nlearning": float(e.accuracies[0].mean())}
    return AccuracyFilm(e.accuracies, e.steps, others, LABELS_PER_CLASS)


_MAKERS: dict[str, Callable[[MixRun, int], Film]] = {
    "filters": _filters,
    "likeness": _likeness,
    "dimension": _dimension,
    "accuracy": _accuracy,
}
