"""`GeneralisationGrid`: a rule on any net and data set, against any rival, with a map of the nets around."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import ipywidgets as widgets

from metarules.base_model import NONLINEARITIES
from metarules.plots.accuracy import AccuracyFilm
from metarules.plots.film import Film
from metarules.plots.generalisation import KINDS, LabelsFilm, MapFilm, TableFilm
from metarules.studies.generalisation import DEPTHS, LABELS, STEPS, WIDTHS, Cell, Generalisation, rivals
from metarules.tasks import Dataset
from metarules.update_rule import UpdateRule
from metarules.widgets.explorer import Explorer, Panels
from metarules.widgets.parts import menu, number, wide


def _curve(cell: Cell, _: Any) -> Film:
    levels = {cell.rival: float(cell.rival_accuracies.mean()), "chance": cell.chance}
    return AccuracyFilm(cell.accuracies, cell.steps, levels, cell.labels)


PANELS: Panels[Cell] = {  # in reading order
    "map": (MapFilm, "colours"),
    "curve": (_curve, None),
    "labels": (lambda cell, _: LabelsFilm(cell), None),
    "table": (lambda cell, _: TableFilm(cell), None),
}


class GeneralisationGrid(Explorer[Cell]):
    """Choose data, width, depth, nonlinearity, labels per class and a rival; the rule teaches that net at once.

    The map shows what is known of other nets: recorded cells, and those that were taught since; a click on one teaches
    it. In sight: data, nonlinearity, width, depth. In the fold: labels per class, the rival, the inner step, what
    colours mean, seed, Reset.

    CSS classes besides those of `Explorer`: `metarules-data`, `metarules-nonlinearity`, `metarules-width`,
    `metarules-depth`, `metarules-panel-map`, `-curve`, `-labels`, `-table`, and in the fold `metarules-labels`,
    `metarules-against`, `metarules-step-slider`, `metarules-colours`, `metarules-seed`, `metarules-reset`.

    Args:
        rule: any rule that needs no labels.
        data: data sets of the reader's own by name, offered first.
        against: the rival that it opens with.
        steps: inner steps.

    Raises:
        ValueError, DivergenceError: as `Generalisation`; once open, a widget complains in its status line instead.
    """

    runs_kept: ClassVar[int] = 8  # four pictures of a third of a megabyte at most

    def __init__(
        self,
        rule: UpdateRule,
        data: Mapping[str, Dataset] | None = None,
        *,
        against: str = "kmeans_64",
        steps: int = STEPS,
    ) -> None:
        self.study = Generalisation(rule, data, steps=steps)
        super().__init__(PANELS, self.study.cell)
        names = self.study.data
        first = {"data": names[0], "width": 128, "depth": 3, "nonlinearity": "relu", "labels": 10}
        self.begin(**first, against=against, seed=0)
        once = {NONLINEARITIES[name]: name for name in sorted(NONLINEARITIES, reverse=True)}
        narrow = wide(45, 215)
        self.data_menu = self.setting("data", menu("Data", names, names[0], **narrow))
        kinds = menu("Nonlinearity", sorted(once.values()), "relu", **wide(85, 215))
        self.nonlinearity_menu = self.setting("nonlinearity", kinds)
        self.width_slider = self.setting("width", _steps("Width", WIDTHS, 128))
        self.depth_slider = self.setting("depth", _steps("Layers", DEPTHS, 3))
        self.labels_menu = self.setting("labels", menu("Labels per class", LABELS, 10))
        self.against_menu = self.setting("against", menu("Against", rivals(), against))
        self.colours_menu = self.option("colours", menu("Colours show", [(v, k) for k, v in KINDS.items()], "accuracy"))
        self.seed_box = self.setting("seed", number("Seed"))
        step = self.make_slider(**wide())
        sight = [self.data_menu, self.nonlinearity_menu, self.width_slider, self.depth_slider]
        fold = [self.labels_menu, self.against_menu, step, self.colours_menu, self.seed_box, self.make_reset_button()]
        self.panels["map"].clickable = True
        self.panels["map"].observe(self.guarded(lambda _: self._on_map()), names="clicked")
        self.lay_out(sight, fold, "More: labels per class, the rival, inner step, colours, seed, reset")

    @property
    def accuracy(self) -> float:
        """Few-shot accuracy of the rule at the step shown, mean over the draws of labels."""
        return float(self.run.accuracies[self._frame].mean())

    def _on_map(self) -> None:
        """Teach the net whose cell was clicked."""
        film = self.film(self._view, "map")
        assert isinstance(film, MapFilm)
        if (net := film.net_at(*self.panels["map"].clicked[:2])) is not None:
            self.set_quietly(self.width_slider, value=net[0])
            self.set_quietly(self.depth_slider, value=net[1])
            self.recompute()

    def work_label(self, settings: Mapping[str, Any]) -> str:
        """What is at work."""
        width, depth, data = (settings[name] for name in ("width", "depth", "data"))
        return f"Learning {data} with {depth} layers, {width} units"

    def sentence(self) -> str:
        """What is shown, in words and numbers."""
        cell, frame = self.run, self._frame
        (_, mean, _, _), (_, start, _, above), (_, other, _, word) = cell.lines(frame)
        net = f"{'-'.join(map(str, cell.sizes))}, {cell.net.nonlinearity}"
        return (
            f"{cell.net.data.capitalize()}, {net}, {cell.labels} labels per class, step {self.step}: "
            f"accuracy {mean:.2f}, {above} untaught ({start:.2f}) and {word} {cell.rival} ({other:.2f})."
        )


def _steps(text: str, values: tuple[int, ...], value: int) -> widgets.SelectionSlider:
    """A slider over a few numbers."""
    style = wide(50, 220)
    return widgets.SelectionSlider(description=text, options=values, value=value, continuous_update=False, **style)
