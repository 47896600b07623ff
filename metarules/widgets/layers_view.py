"""What `LayersExplorer` draws of a trajectory: films that share one followed example."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, cast

import numpy as np

from metarules.plots import AlignmentFilm, Film
from metarules.plots.answering_filters import AnsweringFiltersFilm
from metarules.plots.layer_accuracy import LayerAccuracyFilm
from metarules.plots.layer_clouds import LayerCloudsFilm
from metarules.plots.neighbours import NeighboursFilm
from metarules.studies.layers import LayerExploration
from metarules.studies.trajectory import LABELS_PER_CLASS
from metarules.widgets.inner_loop_view import View

LAYER_PANELS = ("layers", "neighbours", "filters", "alignment", "accuracy")  # in reading order


@dataclass(eq=False)
class LayersView(View):
    """A trajectory, what the menu calls its rule, and its films."""

    panels: ClassVar[tuple[str, ...]] = LAYER_PANELS

    @property
    def tour(self) -> LayerExploration:
        """The trajectory, layer by layer."""
        return cast(LayerExploration, self.exploration)

    @property
    def labels(self) -> np.ndarray:
        """Class numbers of the dots, [n_dots]."""
        return self.tour.task.y.numpy()[self.tour.dots]

    def draw(self, frame: int, options: Mapping[str, Any]) -> dict[str, tuple[bytes, str]]:
        """PNG and alternative text of every panel at a frame.

        Args:
            frame: 0 .. number of recorded steps - 1.
            options: "alignment" the number of the layer, "follow" the number of a dot, "only" a class number or None.
        """
        dot, only = min(options["follow"], len(self.labels) - 1), options["only"]  # other data may have fewer dots
        for name in self.panels:
            key = (name, options.get(name))
            if key not in self.films:
                self.films[key] = self.make_film(*key)
        cast(LayerCloudsFilm, self.film("layers")).follow(dot, only)
        cast(NeighboursFilm, self.film("neighbours")).follow(dot)
        cast(AnsweringFiltersFilm, self.film("filters")).follow(dot)
        cast(LayerAccuracyFilm, self.film("accuracy")).follow(int(self.labels[dot]))
        return super().draw(frame, options)

    def film(self, name: str) -> Film:
        """The film of a panel without options, once drawn."""
        return self.films[name, None]

    def make_film(self, name: str, option: Any) -> Film:
        """The film of a panel; the option is the layer of "alignment"."""
        e, labels = self.tour, self.labels
        noun = "image" if e.images is not None else "example"
        if name == "layers":
            return LayerCloudsFilm(
                e.layer_points, labels, e.steps, e.layer_accuracies, noun=noun, sees_labels=e.sees_labels
            )
        if name == "neighbours":
            return NeighboursFilm(e.layer_activities, labels, e.steps, e.images, e.dots.tolist())
        if name == "filters":
            return AnsweringFiltersFilm(e.filters, e.steps, e.layer_activities[1])
        if name == "alignment":
            return AlignmentFilm(e.cosines, *e.weights(option), e.steps, option, e.changes_V)
        return LayerAccuracyFilm(e.layer_accuracies, e.class_accuracies, e.steps, LABELS_PER_CLASS)
