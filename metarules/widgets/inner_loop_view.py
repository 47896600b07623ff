"""The films of `InnerLoopExplorer`; `RuleMixer` shows two of them as well."""

from __future__ import annotations

from metarules.plots import AccuracyFilm, AlignmentFilm, EmbeddingFilm, Film, FilterFilm
from metarules.studies.drawing import Followed
from metarules.studies.trajectory import LABELS_PER_CLASS, Exploration
from metarules.widgets.explorer import Panels


def embedding(e: Exploration, option: tuple[bool, Followed | None]) -> Film:
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
    )


def filters(e: Exploration, common_scale: bool) -> Film:
    """First-layer filters."""
    return FilterFilm(e.filters, e.steps, common_scale)


def alignment(e: Exploration, layer: int) -> Film:
    """W and V of a layer, and their cosine in every layer."""
    return AlignmentFilm(e.cosines, *e.weights(layer), e.steps, layer, e.changes_V)


def accuracy(e: Exploration, _: None) -> Film:
    """Few-shot accuracy, beside that of the inputs and of the base model before learning."""
    others = {inputs_name(e).replace(" ", "\n"): e.raw_accuracy, "before\nlearning": float(e.accuracies[0].mean())}
    return AccuracyFilm(e.accuracies, e.steps, others, LABELS_PER_CLASS)


PANELS: Panels[Exploration] = {  # in reading order
    "embedding": (embedding, "classes"),
    "filters": (filters, "scale"),
    "alignment": (alignment, "layer"),
    "accuracy": (accuracy, None),
}


def inputs_name(e: Exploration) -> str:
    """What the inputs are called when they are their own representation."""
    return "raw pixels" if e.task.shape else "raw inputs"
