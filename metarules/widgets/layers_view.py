"""The films of `LayersExplorer`, which share one followed example."""

from __future__ import annotations

from typing import cast

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


def clouds(e: LayerExploration, **title: str) -> Film:
    """The dots in every layer."""
    noun = "image" if e.images is not None else "example"
    return LayerCloudsFilm(
        e.layer_points, labels_of(e), e.steps, e.layer_accuracies, noun=noun, sees_labels=e.sees_labels, **title
    )


def neighbours(e: LayerExploration, _: None) -> Film:
    """The nearest of the followed example in every layer."""
    return NeighboursFilm(e.layer_activities, labels_of(e), e.steps, e.images, e.dots.tolist())


def filters(e: LayerExploration, _: None) -> Film:
    """First-layer filters, those that answer the followed example most marked."""
    return AnsweringFiltersFilm(e.filters, e.steps, e.layer_activities[1])


def accuracy(e: LayerExploration, **title: str) -> Film:
    """Few-shot accuracy of every layer, and of the followed example's class."""
    return LayerAccuracyFilm(e.layer_accuracies, e.class_accuracies, e.steps, LABELS_PER_CLASS, **title)


ALONE = ("layers", "neighbours", "filters", "alignment", "accuracy")  # in reading order
BESIDE = ("layers", "layers-b", "accuracy", "accuracy-b")
_UP, _CURVES = "from the data up, layer by layer", "accuracy, layer by layer"


def _b(e: LayerExploration) -> LayerExploration:
    """The other rule's trajectory."""
    return cast(LayerExploration, e.beside)


def _title(e: LayerExploration, words: str) -> dict[str, str]:
    """The heading of A's pictures, where there are B's as well."""
    return {} if e.beside is None else {"title": f"A: {words}"}


PANELS: Panels[LayerExploration] = {  # of one rule: those of ALONE; of two: those of BESIDE
    "layers": (lambda e, _: clouds(e, **_title(e, _UP)), None),
    "layers-b": (lambda e, _: clouds(_b(e), title=f"B: {_UP}"), None),
    "neighbours": (neighbours, None),
    "filters": (filters, None),
    "alignment": (alignment, "layer"),
    "accuracy": (lambda e, _: accuracy(e, **_title(e, _CURVES)), None),
    "accuracy-b": (lambda e, _: accuracy(_b(e), title=f"B: {_CURVES}"), None),
}
