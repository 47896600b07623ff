"""What `InnerLoopExplorer` draws of a trajectory, and the rules its menu offers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

from metarules.classic_rules import CLASSIC_RULES
from metarules.plots import AccuracyFilm, AlignmentFilm, EmbeddingFilm, Film, FilterFilm
from metarules.pretrained.finding import get_rule
from metarules.studies.drawing import Followed
from metarules.studies.trajectory import LABELS_PER_CLASS, Exploration
from metarules.tasks import Task
from metarules.update_rule import LocalRule, UpdateRule

PANELS = ("embedding", "filters", "alignment", "accuracy")  # in reading order
QUICK_STEPS = 400  # at most, when a rule is taken out of the menu: an answer within two seconds; the fold takes more
CLASSIC_LABELS = {
    "hebb": "Hebb",
    "oja": "Oja",
    "hebb_decorrelation": "Hebb + decorrelation",
    "soft_competition": "Soft competition",
    "autoencoder": "Autoencoder",
    "feedback_alignment": "Feedback alignment (given all labels)",
    "backprop": "Backprop (given all labels)",
}


@dataclass(eq=False)
class View:
    """A trajectory, what the menu calls its rule, and the films made of it so far."""

    panels: ClassVar[tuple[str, ...]] = PANELS
    label: str
    exploration: Exploration
    films: dict[tuple[str, Any], Film] = field(default_factory=dict)
    marked: Followed | None = None

    def draw(self, frame: int, options: Mapping[str, Any]) -> dict[str, tuple[bytes, str]]:
        """PNG and alternative text of every panel at a frame; a film is made when first needed.

        Args:
            frame: 0 .. number of recorded steps - 1.
            options: panel -> its option: "embedding" whether classes are coloured, "filters" whether they share one
                scale, "alignment" the number of the layer.
        """
        drawn = {}
        for name in self.panels:
            option = options.get(name)
            if (name, option) not in self.films:
                self.films[name, option] = self.make_film(name, option)
            film = self.films[name, option]
            drawn[name] = film.png(frame), film.alt(frame)
        return drawn

    def make_film(self, name: str, option: Any) -> Film:
        """The film of a panel with an option, see `draw`."""
        if name == "embedding":
            return _embedding(self.exploration, option, self.marked)
        return _MAKERS[name](self.exploration, option)

    def mark(self, example: Followed | None) -> None:
        """Mark one more example in the embedding, or none."""
        self.marked = example
        for key in [key for key in self.films if key[0] == "embedding"]:
            del self.films[key]


def _embedding(e: Exploration, coloured: bool, marked: Followed | None) -> Film:
    noun = "image" if e.task.shape else "example"
    labels = e.task.y.numpy()[e.dots]
    options: dict[str, Any] = {"noun": noun, "coloured": coloured, "sees_labels": e.sees_labels}
    if marked is not None:
        options |= {"star": marked.points, "star_says": [f"read as {c}" for c in marked.read_as]}
    return EmbeddingFilm(e.points, labels, e.steps, **options)


def _filters(e: Exploration, common_scale: bool) -> Film:
    return FilterFilm(e.filters, e.steps, common_scale)


def _alignment(e: Exploration, layer: int) -> Film:
    return AlignmentFilm(e.cosines, *e.weights(layer), e.steps, layer, e.changes_V)


def _accuracy(e: Exploration, _: Any) -> Film:
    others = {inputs_name(e).replace(" ", "\n"): e.raw_accuracy, "before\nlearning": float(e.accuracies[0].mean())}
    return AccuracyFilm(e.accuracies, e.steps, others, LABELS_PER_CLASS)


_MAKERS: dict[str, Callable[[Exploration, Any], Film]] = {
    "filters": _filters,
    "alignment": _alignment,
    "accuracy": _accuracy,
}


def inputs_name(e: Exploration) -> str:
    """What the inputs are called when they are their own representation."""
    return "raw pixels" if e.task.shape else "raw inputs"


def found_rule(rule: UpdateRule | str, task: Task) -> UpdateRule:
    """A rule as it is, or by its name; a supervised one with a read-out for the classes of the task."""
    return get_rule(rule, n_classes=getattr(task, "n_classes", 10)) if isinstance(rule, str) else rule


def suited_rule(rule: UpdateRule, label: str, task: Task) -> UpdateRule:
    """The menu's rule, a supervised one with a read-out for the classes of this task."""
    name = next((name for name, text in CLASSIC_LABELS.items() if text == label), None)
    return get_rule(name, n_classes=task.n_classes) if name is not None and rule.needs_labels else rule


def rule_menu(
    rule: UpdateRule | str, task: Task, others: Mapping[str, UpdateRule] | None
) -> tuple[str, dict[str, UpdateRule]]:
    """What the menu calls the first rule, and all rules of the menu by name."""
    first = found_rule(rule, task)
    names = [CLASSIC_LABELS[name] for name, kind in CLASSIC_RULES.items() if type(first) is kind]
    if names:
        label = names[0]
    elif isinstance(first, LocalRule):
        label = "The learned rule" if first.card else "The rule before meta-training"
    else:
        label = type(first).__name__
    if others is None:
        others = {}
        if first.card and isinstance(first, LocalRule):
            others["Where the learned rule started"] = LocalRule(first.settings)
        others |= {text: get_rule(name, n_classes=task.n_classes) for name, text in CLASSIC_LABELS.items()}
    return label, {label: first} | {text: other for text, other in others.items() if text != label}
