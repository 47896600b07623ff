"""First-layer filters, those outlined that answer most to one example."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from metarules.plots import style
from metarules.plots.filters import MOST, FilterFilm

OUTLINED = 3  # filters
_LINE = (2.6, 1.9, 1.2)  # points, from the strongest answer down


class AnsweringFiltersFilm(FilterFilm):
    """`FilterFilm`, the filters outlined that answer most to the followed example, the thickest line to the strongest.

    Args:
        filters, steps: as in `FilterFilm`.
        answers: activities of the first layer, [frames, n_dots, n_1].
    """

    def __init__(self, filters: np.ndarray, steps: Sequence[int], answers: np.ndarray) -> None:
        super().__init__(filters, steps)
        self.answers = np.asarray(answers)
        self.followed = 0
        style.put_text(
            self.figure, 0.12, 0.9, "outlined: excited most\nby the one followed", size=style.SMALL, va="top",
            linespacing=1.25,
        )  # fmt: skip
        axes = self._main.axes
        self._outlines = [
            axes.plot([], [], color=style.INK, linewidth=width, solid_joinstyle="miter", clip_on=False)[0]
            for width in _LINE
        ]
        self._moving += self._outlines
        for line in self._outlines:
            line.set_zorder(self._corner.get_zorder() + 1)

    def follow(self, dot: int) -> None:
        """Outline for another dot, 0 .. n_dots - 1."""
        with self._lock:
            if dot != self.followed:
                self.followed = dot
                self._pngs.clear()

    def strongest(self, frame: int) -> list[int]:
        """Numbers of the neurons (among those shown) that answer most to the followed example, the strongest first."""
        answers = self.answers[frame, self.followed][:MOST]
        order = np.argsort(-answers, kind="stable")[:OUTLINED]
        return [int(k) for k in order if answers[k] > 0]

    def set_frame(self, frame: int) -> None:
        """Show the filters of a frame, and move the outlines."""
        super().set_frame(frame)
        chosen = self.strongest(frame)
        for i, line in enumerate(self._outlines):
            line.set_data(*(self._outline(chosen[i]) if i < len(chosen) else ([], [])))

    def alt(self, frame: int) -> str:
        """As `FilterFilm`, and which neurons are outlined."""
        numbers = ", ".join(str(k + 1) for k in self.strongest(frame)) or "none"
        return f"{super().alt(frame)} Outlined are those that answer most to the followed example: number {numbers}."

    def _outline(self, k: int) -> tuple[list[float], list[float]]:
        """Corners of the square around filter k, in pixels of the mosaic."""
        if self.as_matrix:
            left, right, top, bottom = k - 0.5, k + 0.5, -0.5, self.filters.shape[2] - 0.5
        else:
            n, height, width = self.filters[0][:MOST].shape
            columns = math.ceil(math.sqrt(n * height / width))
            left, top = (k % columns) * (width + 1) - 1.0, (k // columns) * (height + 1) - 1.0
            right, bottom = left + width + 1, top + height + 1
        return [left, right, right, left, left], [top, top, bottom, bottom, top]
