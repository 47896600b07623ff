"""The films of `LayersExplorer`, which share one followed example."""

from __future__ import annotations

import numpy as np

from metarules.plots import Film
from metarules.plots.answering_filters import AnsweringFiltersFilm
from metarules.plots.layer_accuracy import LayerAccuracyFilm
from metarules.plots.layer_clouds import LayerCloudsFilm
from metarules.plots.neighbours import NeighboursFilm
from metarules.studies.layers import LayerExploration
from metarules.studies.trajectory import LABELS_PER_CLASS
from metarules.widgets.explorer import Panels
from metarules.widgets.inner_loop_view import alignment


def labels_of(e: LayerExploration) -> np.ndarray:
    """Class numbers of the dots, [n_dots]."""
    return e.task.y.numpy()[e.dots]


def clouds(e: LayerExploration, _: None) -> Film:
    """The dots in every layer."""
    noun = "image" if e.images is not None else "example"
    return LayerCloudsFilm(
        e.layer_points, labels_of(e), e.steps, e.layer_accuracies, noun=noun, sees_labels=e.sees_labels
    )


def neighbours(e: LayerExploration, _: None) -> Film:
    """The nearest of the followed example in every layer."""
    return NeighboursFilm(e.layer_activities, labels_of(e), e.steps, e.images, e.dots.tolist())


def filters(e: LayerExploration, _: None) -> Film:
    """First-layer filters, those that answer the followed example most marked."""
    return AnsweringFiltersFilm(e.filters, e.steps, e.layer_activities[1])


def accuracy(e: LayerExploration, _: None) -> Film:
    """Few-shot accuracy of every layer, and of the followed example's class."""
    return LayerAccuracyFilm(e.layer_accuracies, e.class_accuracies, e.steps, LABELS_PER_CLASS)


PANELS: Panels[LayerExploration] = {  # in reading order
    "layers": (clouds, None),
    "neighbours": (neighbours, None),
    "filters": (filters, None),
    "alignment": (alignment, "layer"),
    "accuracy": (accuracy, None),
}
