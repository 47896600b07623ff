"""`LayersExplorer`: data, every layer and the embedding in one row, one example followed through all pictures."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar, cast

from metarules.plots.answering_filters import AnsweringFiltersFilm
from metarules.plots.layer_accuracy import LayerAccuracyFilm
from metarules.plots.layer_clouds import WIDTH, LayerCloudsFilm
from metarules.plots.neighbours import NeighboursFilm
from metarules.plots.style import DPI
from metarules.studies.layers import LayerExploration, explore_layers, most_improved_dot
from metarules.studies.planes import SHOWN
from metarules.studies.trajectory import Exploration
from metarules.tasks import Task
from metarules.update_rule import UpdateRule
from metarules.widgets.explorer import Panels, View
from metarules.widgets.inner_loop import InnerLoopExplorer
from metarules.widgets.inner_loop_view import inputs_name
from metarules.widgets.layers_view import ALONE, BESIDE, PANELS, labels_of
from metarules.widgets.parts import menu, number
from metarules.widgets.picture import one_above, side_by_side, with_png

_ALL = -1  # in the menu of classes; a menu shows no entry whose value is None


class LayersExplorer(InnerLoopExplorer):
    """Play, step through, scrub and reset the inner loop; click a dot or a thumbnail, and see that example everywhere.

    In sight and in the fold as in `InnerLoopExplorer`, besides: the batch size, the example that is followed (by its
    number, for those who do not click), and whether one class alone is coloured. Of two rules it shows the layers of
    each, and their accuracies.

    CSS classes besides those of `InnerLoopExplorer`: `metarules-panel-layers`, `-neighbours`, and in the fold
    `metarules-batch`, `metarules-example`, `metarules-only`; with two rules `metarules-panel-layers-b`, `-accuracy-b`.
    It has no `metarules-classes` and `metarules-scale`.

    Args:
        as `InnerLoopExplorer`; base models of at most 5 layers.

    Raises:
        ValueError, TypeError, DivergenceError: as `explore_layers`; once open, a widget complains in its status line.
    """

    _films: ClassVar[Panels[Any]] = PANELS
    _fold_title: ClassVar[str] = "More: rule, steps, batch size, seed, what to follow, your own data"

    def panels_of(self, view: View[Exploration]) -> Sequence[str]:
        """As `Explorer.panels_of`: those of one rule or of two."""
        return ALONE if view.run.beside is None else BESIDE

    # ---- what is shown, as numbers

    @property
    def example(self) -> int:
        """Number of the followed example in the task; set it to follow another one of those drawn."""
        return int(self.tour.dots[self._dot])

    @example.setter
    def example(self, number: int) -> None:
        self.example_box.value = number

    @property
    def tour(self) -> LayerExploration:
        """The trajectory shown, layer by layer."""
        return cast(LayerExploration, self.run)

    @property
    def layer_accuracies(self) -> list[float]:
        """Few-shot accuracy of the inputs and of every layer at the step shown."""
        return self.tour.layer_accuracies[self._frame].tolist()

    @property
    def alike(self) -> list[int]:
        """How many of the followed example's nearest neighbours share its class, in the inputs and in every layer."""
        return self._neighbours.alike(self._frame)

    @property
    def _neighbours(self) -> NeighboursFilm:
        return cast(NeighboursFilm, self.film(self._view, "neighbours"))

    @property
    def _class(self) -> int:
        return int(labels_of(self.tour)[self._dot])

    # ---- controls

    def _more_controls(self) -> list[Any]:
        self._dot = self._first_dot = most_improved_dot(self.tour)
        self.batch_box = self.setting("batch", number("Batch size"))
        example = self.control(number("Follow example", self.example), "example", self._on_example)
        self.example_box = example
        self.only_menu = self.option("only", menu("Colour", self._classes(), _ALL), self._on_only)
        for name in ("layers", "layers-b"):
            self.panels[name].width = round(WIDTH * DPI)
        for name in ("layers", "layers-b", "neighbours"):
            self.panels[name].clickable = True
            self.panels[name].observe(self.guarded(lambda change, name=name: self._on_click(name)), names="clicked")
        saving = self.make_saving("layers.png", "layers")
        return [self.batch_box, self._layer_control(), self.example_box, self.only_menu, *saving]

    def _classes(self) -> list[tuple[str, int]]:
        """The menu of classes, for the data that are shown."""
        numbers = sorted({int(c) for c in labels_of(self.tour)})
        return [("all classes", _ALL), *((f"class {c} alone", c) for c in numbers)]

    def reset(self) -> None:
        """Back to how this opened."""
        self._dot = self._first_dot
        super().reset()

    def _on_rule(self) -> None:
        rule = self._rules[self.rule_menu.value]
        self.set_quietly(self.batch_box, value=min(rule.recommended.batch_size, self.run.task.n_examples))
        super()._on_rule()

    def put_back(self) -> None:
        """Let the controls say what is shown."""
        super().put_back()
        self.set_quietly(self.example_box, value=self.example)
        if tuple(self._classes()) != tuple(self.only_menu.options):
            self.set_quietly(self.only_menu, options=self._classes(), value=_ALL)

    def _on_example(self) -> None:
        number, dots = self.example_box.value, self.tour.dots.tolist()
        if number not in dots:
            self.set_quietly(self.example_box, value=self.example)
            near = min(dots, key=lambda dot: abs(dot - number))
            some = f"one of the {len(dots)} that are drawn; the nearest is {near}"
            raise ValueError(f"example is {number}; allowed: {some}")
        self._follow(dots.index(number))

    def _on_only(self) -> None:
        only = self.only_menu.value
        if only not in (_ALL, self._class):
            self._dot = int((labels_of(self.tour) == only).argmax())
        self._follow(self._dot)

    def _on_click(self, name: str) -> None:
        film = cast(LayerCloudsFilm | NeighboursFilm, self.film(self._view, name))
        dot = film.dot_at(self._frame, *self.panels[name].clicked[:2])
        if dot is not None:
            self._follow(dot)

    def _follow(self, dot: int) -> None:
        """Show this dot in every picture; where one class is coloured alone, it is this dot's."""
        self._dot = dot
        self.set_quietly(self.example_box, value=self.example)
        if self.only_menu.value != _ALL:
            self.set_quietly(self.only_menu, value=self._class)
        self.redraw()

    def more_state(self) -> dict[str, Any]:
        """The example that is followed."""
        return {"example": self.example_box.value}

    def restore(self, *, step: int | None = None, example: int | None = None, **state: Any) -> None:
        """As `Explorer.restore`; `example` is the number of the one to follow."""
        super().restore(step=step, **state)
        if example is not None:
            self.example_box.value = example

    # ---- computing, showing and telling

    def _explore(self, rule: UpdateRule, task: Task, **settings: Any) -> LayerExploration:
        batch = settings.pop("batch", None)
        if self.data is not None and not self.data.shown.holds(task):
            batch = None  # other data may be fewer: whatever the rule recommends for them
        return explore_layers(rule, task, **{**settings, "batch_size": batch or settings.get("batch_size")})

    def resolved(self, run: Exploration, settings: dict[str, Any]) -> dict[str, Any]:
        """As `Explorer.resolved`; the batch size too has become a number."""
        return {**super().resolved(run, settings), "batch": cast(LayerExploration, run).batch_size}

    def open_view(self, view: View[Exploration]) -> None:
        """Show a trajectory; the same example is followed as long as the data are the same."""
        if view.run.task is not self.run.task:
            self._dot = most_improved_dot(cast(LayerExploration, view.run))
            self.set_quietly(self.only_menu, options=[("all classes", _ALL)], value=_ALL)
        super().open_view(view)

    def draw(self, view: View[Exploration], frame: int) -> dict[str, tuple[bytes, str]]:
        """As `Explorer.draw`, with the followed example in every film."""
        labels = labels_of(cast(LayerExploration, view.run))
        dot = min(self._dot, len(labels) - 1)  # other data may have fewer dots
        only = None if self.only_menu.value == _ALL else self.only_menu.value
        cast(LayerCloudsFilm, self.film(view, "layers")).follow(dot, only)
        cast(NeighboursFilm, self.film(view, "neighbours")).follow(dot)
        cast(AnsweringFiltersFilm, self.film(view, "filters")).follow(dot)
        cast(LayerAccuracyFilm, self.film(view, "accuracy")).follow(int(labels[dot]))
        if view.run.beside is not None:
            cast(LayerCloudsFilm, self.film(view, "layers-b")).follow(dot, only)
            cast(LayerAccuracyFilm, self.film(view, "accuracy-b")).follow(int(labels[dot]))
        return super().draw(view, frame)

    def sentence(self) -> str:
        """What is shown, in words and numbers."""
        e, own = self.tour, self._class
        below = ", ".join(f"layer {l} {a:.2f}" for l, a in enumerate(self.layer_accuracies[:-1]) if l)
        noun = "image" if e.images is not None else "example"
        if e.beside is not None:
            return f"{super().sentence()} Following {noun} {self.example} of class {own}."
        return (
            f"{self.rule_name}{self.on_data}, step {self.step} of {e.steps[-1]}: few-shot accuracy {self.accuracy:.2f} "
            f"({below}{', ' if below else ''}{inputs_name(e)} {e.raw_accuracy:.2f}). Following {noun} {self.example} "
            f"of class {own}: in the top layer {self.alike[-1]} of its {SHOWN} nearest are of class {own}, in the "
            f"inputs {self.alike[0]}."
        )

    def _repr_mimebundle_(self, **options: Any) -> Any:
        """The live widget, and its pictures as they stand for readers without a kernel."""
        first, *rest = (panel.value for panel in self.panels.values())
        return with_png(super()._repr_mimebundle_(**options), one_above(first, side_by_side(rest)))
