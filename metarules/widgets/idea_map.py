"""The idea figure of a lesson: a click on an arrow gives its equation, its tensor and the shape of that tensor."""

from __future__ import annotations

from typing import Any

from matplotlib.figure import Figure

from metarules.plots.idea import SIZE, idea_alt, idea_figure, legend_figure, legend_height
from metarules.plots.idea_arrows import ARROWS, arrow_at, arrows_of
from metarules.plots.style import DPI, figure_to_png
from metarules.widgets.picture import Picture, compact_png, one_above


class IdeaMap(Picture):
    """The idea in one picture, as far as it has been explained.

    Untouched, what the lesson explains stands under the picture. A click on an arrow or its words puts its line
    there, whichever lesson it belongs to; a click elsewhere brings the lesson's own back.

    Args:
        lesson: arrows explained up to this lesson are drawn strongly; None draws all so.
        width: CSS pixels; a lesson's own is smaller than the whole figure.

    Raises:
        ValueError: a lesson that does not show the figure.
    """

    def __init__(self, lesson: int | None = None, width: int | None = None) -> None:
        self.lesson = lesson
        self.explained = arrows_of(lesson or 0)
        super().__init__(clickable=True, width=width or round((0.8 if lesson else 1.0) * SIZE[0] * DPI))
        self.add_class("metarules-idea")
        # drawn once: a click is then answered soon
        self._above = figure_to_png(idea_figure(lesson=lesson, explained=()))
        self._draw()
        self.observe(self._answer, names="clicked")

    def __repr__(self) -> str:
        return "IdeaMap()"

    def figure(self) -> Figure:
        """What is shown now, as a Figure."""
        return idea_figure(lesson=self.lesson, explained=self.explained)

    def _answer(self, change: Any) -> None:
        across, down, _ = change["new"]
        height = SIZE[1] + legend_height(len(self.explained))
        name = arrow_at(across * SIZE[0], SIZE[1] - down * height, tuple(ARROWS))
        explained = arrows_of(self.lesson or 0) if name is None else (name,)
        if explained != self.explained:
            self.explained = explained
            self._draw()

    def _draw(self) -> None:
        self.alt, names = idea_alt(self.lesson, self.explained), self.explained
        self.value = one_above(self._above, figure_to_png(legend_figure(names))) if names else compact_png(self._above)
