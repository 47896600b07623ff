"""The films of `InnerLoopExplorer`; `RuleMixer` shows two of them as well."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from metarules.plots import AccuracyFilm, AlignmentFilm, EmbeddingFilm, Film, FilterFilm
from metarules.plots.beside import ClassesFilm, TwoAccuraciesFilm
from metarules.studies.drawing import Followed
from metarules.studies.trajectory import LABELS_PER_CLASS, Exploration
from metarules.widgets.explorer import Panels


def embedding(e: Exploration, option: tuple[bool, Followed | None], **title: str) -> Film:
    """Whether classes are coloured, and one more example that is marked with a star."""
    coloured, marked = option
    noun = "image" if e.task.shape else "example"
    return EmbeddingFilm(
        e.points,
        e.task.y.numpy()[e.dots],
        e.steps,
        noun=noun,
        coloured=coloured,
        sees_labels=e.sees_labels,
        star=None if marked is None else marked.points,
        star_says=[] if marked is None else [f"read as {c}" for c in marked.read_as],
        **title,
    )


def filters(e: Exploration, common_scale: bool, **title: str) -> Film:
    """First-layer filters."""
    return FilterFilm(e.filters, e.steps, common_scale, **title)


def alignment(e: Exploration, layer: int) -> Film:
    """W and V of a layer, and their cosine in every layer."""
    return AlignmentFilm(e.cosines, *e.weights(layer), e.steps, layer, e.changes_V)


def accuracy(e: Exploration, _: None, earlier: tuple[str, Sequence[int], np.ndarray] | None = None) -> Film:
    """Few-shot accuracy, beside that of the inputs and of the base model before learning, and an `earlier` curve."""
    return AccuracyFilm(e.accuracies, e.steps, _level(e), LABELS_PER_CLASS, earlier)


def _level(e: Exploration) -> dict[str, float]:
    """What the curve of accuracy is compared with."""
    return {inputs_name(e).replace(" ", "\n"): e.raw_accuracy, "before\nlearning": float(e.accuracies[0].mean())}


ALONE = ("embedding", "filters", "alignment", "accuracy")  # in reading order
BESIDE = ("embedding", "embedding-b", "filters", "filters-b", "accuracy", "classes")  # A on the left, B on the right
_ALIKE, _FILTERS = "which ones look alike", "first-layer filters"


def _title(e: Exploration, words: str) -> dict[str, str]:
    """The heading of A's pictures, where there are B's as well."""
    return {} if e.beside is None else {"title": f"A: {words}"}


def _accuracies(e: Exploration, _: None) -> Film:
    """Few-shot accuracy of one rule or of two."""
    if e.beside is None:
        return accuracy(e, None)
    return TwoAccuraciesFilm(e.accuracies, e.beside.accuracies, e.steps, _level(e), LABELS_PER_CLASS)


PANELS: Panels[Exploration] = {  # of one rule: those of ALONE; of two: those of BESIDE
    "embedding": (lambda e, option: embedding(e, option, **_title(e, _ALIKE)), "classes"),
    "embedding-b": (lambda e, coloured: embedding(_b(e), (coloured, None), title=f"B: {_ALIKE}"), "classes"),
    "filters": (lambda e, common: filters(e, common, **_title(e, _FILTERS)), "scale"),
    "filters-b": (lambda e, common: filters(_b(e), common, title=f"B: {_FILTERS}"), "scale"),
    "alignment": (alignment, "layer"),
    "accuracy": (_accuracies, None),
    "classes": (lambda e, _: ClassesFilm(e.class_accuracies, _b(e).class_accuracies, e.steps), None),
}


def _b(e: Exploration) -> Exploration:
    """The other rule's trajectory."""
    assert e.beside is not None
    return e.beside


def inputs_name(e: Exploration) -> str:
    """What the inputs are called when they are their own representation."""
    return "raw pixels" if e.task.shape else "raw inputs"
