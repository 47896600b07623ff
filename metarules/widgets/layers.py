"""`LayersExplorer`: data, every layer and the embedding in one row, one example followed through all pictures."""

from __future__ import annotations

import io
from typing import Any, ClassVar, cast

import ipywidgets as widgets
from PIL import Image

from metarules.plots.layer_clouds import WIDTH, LayerCloudsFilm
from metarules.plots.neighbours import NeighboursFilm
from metarules.plots.style import DPI
from metarules.studies.layers import explore_layers, most_improved_dot
from metarules.studies.planes import SHOWN
from metarules.tasks import Task
from metarules.update_rule import UpdateRule
from metarules.widgets.inner_loop import InnerLoopExplorer
from metarules.widgets.inner_loop_view import View, inputs_name
from metarules.widgets.layers_view import LayersView
from metarules.widgets.picture import compact_png, side_by_side, with_png

_ALL = -1  # in the menu of classes; a menu shows no entry whose value is None


class LayersExplorer(InnerLoopExplorer):
    """Play, step through, scrub and reset the inner loop; click a dot or a thumbnail, and see that example everywhere.

    In sight and in the fold as in `InnerLoopExplorer`, besides: the batch size, the example that is followed (by its
    number, for those who do not click), and whether one class alone is coloured.

    CSS classes besides those of `InnerLoopExplorer`: `metarules-panel-layers`, `-neighbours`, and in the fold
    `metarules-batch`, `metarules-example`, `metarules-only`. It has no `metarules-classes` and `metarules-scale`.

    Args:
        as `InnerLoopExplorer`; base models of at most 5 layers.

    Raises:
        ValueError, TypeError, DivergenceError: as `explore_layers`; once open, a widget complains in its status line.
    """

    _view_of: ClassVar[type[View]] = LayersView
    _fold_title: ClassVar[str] = "More: rule, steps, batch size, seed, what to follow, your own data"

    # ---- what is shown, as numbers

    @property
    def example(self) -> int:
        """Number of the followed example in the task; set it to follow another one of those drawn."""
        return int(self._layers.tour.dots[self._dot])

    @example.setter
    def example(self, number: int) -> None:
        self.example_box.value = number

    @property
    def layer_accuracies(self) -> list[float]:
        """Few-shot accuracy of the inputs and of every layer at the step shown."""
        return self._layers.tour.layer_accuracies[self._frame].tolist()

    @property
    def alike(self) -> list[int]:
        """How many of the followed example's nearest neighbours share its class, in the inputs and in every layer."""
        return self._neighbours.alike(self._frame)

    @property
    def _layers(self) -> LayersView:
        return cast(LayersView, self._view)

    @property
    def _neighbours(self) -> NeighboursFilm:
        return cast(NeighboursFilm, self._layers.film("neighbours"))

    @property
    def _class(self) -> int:
        return int(self._layers.labels[self._dot])

    # ---- controls

    def _picture_controls(self) -> list[Any]:
        wide = {"style": {"description_width": "150px"}, "layout": widgets.Layout(width="430px")}
        self._dot = self._first_dot = most_improved_dot(self._layers.tour)
        batch = widgets.IntText(description="Batch size", continuous_update=False, **wide)
        self.batch_box = self.control(batch, "batch", self._recompute)
        example = widgets.IntText(description="Follow example", value=self.example, continuous_update=False, **wide)
        self.example_box = self.control(example, "example", self._on_example)
        only = widgets.Dropdown(description="Colour", options=self._classes(), value=_ALL, **wide)
        self.only_menu = self.control(only, "only", self._on_only)
        self.panels["layers"].width = round(WIDTH * DPI)
        for name in ("layers", "neighbours"):
            self.panels[name].clickable = True
            self.panels[name].observe(self.guarded(lambda change, name=name: self._on_click(name)), names="clicked")
        return [self.batch_box, self._layer_control(), self.example_box, self.only_menu]

    def _classes(self) -> list[tuple[str, int]]:
        """The menu of classes, for the data that are shown."""
        numbers = sorted({int(c) for c in self._layers.labels})
        return [("all classes", _ALL), *((f"class {c} alone", c) for c in numbers)]

    def _reset_pictures(self) -> None:
        self.set_quietly(self.layer_menu, value=len(self._first.exploration.sizes) - 1)
        self.set_quietly(self.only_menu, value=_ALL)
        self._dot = self._first_dot

    def _settings(self) -> dict[str, Any]:
        return {**super()._settings(), "batch_size": self.batch_box.value}

    def _explore(self, rule: UpdateRule, task: Task, **settings: Any) -> Any:
        if not self.shows(task):
            settings["batch_size"] = None  # other data may be fewer: whatever the rule recommends for them
        return explore_layers(rule, task, sizes=self.fitted(self._sizes, task), **settings)

    def _on_rule(self) -> None:
        rule = self._rules[self.rule_menu.value]
        self.set_quietly(self.batch_box, value=min(rule.recommended.batch_size, self.exploration.task.n_examples))
        super()._on_rule()

    def _put_back(self) -> None:
        super()._put_back()
        self.set_quietly(self.batch_box, value=self._layers.tour.batch_size)
        self.set_quietly(self.example_box, value=self.example)
        if tuple(self._classes()) != tuple(self.only_menu.options):
            self.set_quietly(self.only_menu, options=self._classes(), value=_ALL)

    def _on_example(self) -> None:
        number, dots = self.example_box.value, self._layers.tour.dots.tolist()
        if number not in dots:
            self.set_quietly(self.example_box, value=self.example)
            near = min(dots, key=lambda dot: abs(dot - number))
            some = f"one of the {len(dots)} that are drawn; the nearest is {near}"
            raise ValueError(f"example is {number}; allowed: {some}")
        self._follow(dots.index(number))

    def _on_only(self) -> None:
        only = self.only_menu.value
        if only not in (_ALL, self._class):
            self._dot = int((self._layers.labels == only).argmax())
        self._follow(self._dot)

    def _on_click(self, name: str) -> None:
        film = cast(LayerCloudsFilm | NeighboursFilm, self._layers.film(name))
        dot = film.dot_at(self._frame, *self.panels[name].clicked[:2])
        if dot is not None:
            self._follow(dot)

    def _follow(self, dot: int) -> None:
        """Show this dot in every picture; where one class is coloured alone, it is this dot's."""
        self._dot = dot
        self.set_quietly(self.example_box, value=self.example)
        if self.only_menu.value != _ALL:
            self.set_quietly(self.only_menu, value=self._class)
        self._redraw()
        if not self.busy:
            self.say(self._sentence())

    # ---- showing

    def _open(self, view: View) -> None:
        """Show a trajectory at its last step; the same example is followed as long as the data are the same."""
        tour = cast(LayersView, view).tour
        if tour.task is not self._layers.tour.task:
            self._dot = most_improved_dot(tour)
            self.set_quietly(self.only_menu, options=[("all classes", _ALL)], value=_ALL)
        super()._open(view)

    def _sentence(self) -> str:
        e, own = self._layers.tour, self._class
        below = ", ".join(f"layer {l} {a:.2f}" for l, a in enumerate(self.layer_accuracies[:-1]) if l)
        noun = "image" if e.images is not None else "example"
        return (
            f"{self.rule_name}{self.on_data}, step {self.step} of {e.steps[-1]}: few-shot accuracy {self.accuracy:.2f} "
            f"({below}{', ' if below else ''}{inputs_name(e)} {e.raw_accuracy:.2f}). Following {noun} {self.example} "
            f"of class {own}: in the top layer {self.alike[-1]} of its {SHOWN} nearest are of class {own}, in the "
            f"inputs {self.alike[0]}."
        )

    def _options(self) -> dict[str, Any]:
        only = None if self.only_menu.value == _ALL else self.only_menu.value
        return {"alignment": self.layer_menu.value, "follow": self._dot, "only": only}

    def _repr_mimebundle_(self, **options: Any) -> Any:
        """The live widget, and its pictures as they stand for readers without a kernel."""
        first, *rest = (panel.value for panel in self.panels.values())
        return with_png(super()._repr_mimebundle_(**options), _above(first, side_by_side(rest)))


def _above(wide: bytes, sheet: bytes) -> bytes:
    """One picture over another, the upper one as wide as the lower."""
    below = Image.open(io.BytesIO(sheet)).convert("RGB")
    above = Image.open(io.BytesIO(wide)).convert("RGB")
    above = above.resize((below.width, round(above.height * below.width / above.width)), Image.Resampling.LANCZOS)
    page = Image.new("RGB", (below.width, above.height + below.height), "white")
    page.paste(above, (0, 0))
    page.paste(below, (0, above.height))
    buffer = io.BytesIO()
    page.save(buffer, format="png")
    return compact_png(buffer.getvalue())
