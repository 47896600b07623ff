"""W against V: one layer's forward and backward weights side by side, and the cosine between them over learning."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.image import AxesImage

from metarules._checks import check_fit, check_number
from metarules.plots import style
from metarules.plots.film import Film

_SIDE = 1.1  # inches, side of each matrix
_TOP = 1.06  # of the cosine axis: room for a mark at 1
_STYLES = ("--", ":", "-.")  # of the layers not chosen, which are told apart by dashes


class AlignmentFilm(Film):
    """The two matrices at the shown step, and the cosine of every layer with a mark at that step.

    Args:
        cosines: cosine between W and V, [frames, L].
        W, V: the chosen layer's weights, [frames, n_in, n_out].
        steps: inner step of each frame.
        layer: number of the chosen layer, 1 .. L.
        changes_V: False for rules that leave V as it was; the heading then says so.
    """

    def __init__(
        self,
        cosines: np.ndarray,
        W: np.ndarray,
        V: np.ndarray,
        steps: Sequence[int],
        layer: int,
        changes_V: bool = True,
    ) -> None:
        check_fit(steps=(steps, "frames"), cosines=(cosines, "frames L"), W=(W, "frames n m"), V=(V, "frames n m"))
        check_number("layer", layer, low=1, high=np.shape(cosines)[1], integer=True)
        self.cosines, self.W, self.V = (np.asarray(a, dtype=float) for a in (cosines, W, V))
        self.steps = tuple(steps)
        self.layer = layer
        self.changes_V = changes_V
        subtitle = "V carries signals down in place of W transposed"
        if not changes_V:
            subtitle = "this rule never changes V"
        figure, self._corner = style.panel_figure("W, the way up, and V, the way down", subtitle)
        l = style.superscript(layer)
        self._images = []
        for y, name, values, colour in ((1.6, "W", self.W, style.FORWARD), (0.1, "V", self.V, style.BACKWARD)):
            axes = style.axes_at(figure, 0.4, y, _SIDE, _SIDE)
            self._images.append(_matrix(axes, values[-1]))
            style.put_text(
                figure, 0.22, y + _SIDE / 2, f"{name}{l}", ha="center", va="center", color=colour, weight="bold"
            )
        style.put_text(
            figure, 0.94, 1.39, "row: from, column: to", size=style.SMALL, color=style.MUTED, ha="center", va="center"
        )
        curves = style.quiet_axes(style.axes_at(figure, 2.2, 0.45, 2.15, 2.05), "inner step", "cosine of W and V")
        low = min(-0.1, float(self.cosines.min()) - 0.05)
        self.step_axes = style.step_axis(curves, self.steps)
        curves.set(ylim=(low, _TOP), yticks=_ticks(low))
        rest = iter(_STYLES * self.cosines.shape[1])
        for k, values in enumerate(self.cosines.T, start=1):
            look: dict[str, Any] = {"color": style.INK, "linewidth": 2.2, "linestyle": "-", "zorder": 3}
            if k != layer:
                look = {"color": style.MUTED, "linewidth": 1.2, "linestyle": next(rest)}
            curves.plot(self.steps, values, label=f"layer {k}", **look)
        self._height = (low, _TOP)
        high_at_end = self.cosines[-1].min() > 0.5
        curves.legend(
            loc="lower right" if high_at_end else "upper right", fontsize=style.SMALL, labelcolor=style.INK,
            framealpha=0.9, edgecolor="none", handlelength=2.6,
        )  # fmt: skip
        (self._line,) = curves.plot([], [], color=style.MUTED, linewidth=0.8)
        (self._mark,) = curves.plot([], [], "o", color=style.BACKWARD, markersize=8, markeredgecolor=style.PAPER)
        super().__init__(figure, len(self.cosines), [*self._images, self._line, self._mark, self._corner])

    def set_frame(self, frame: int) -> None:
        """Show a frame's matrices and move the mark."""
        for image, values in zip(self._images, (self.W, self.V), strict=True):
            image.set_data(_scaled(values[frame]))
        step, cosine = self.steps[frame], self.cosines[frame, self.layer - 1]
        self._line.set_data([step, step], self._height)
        self._mark.set_data([step], [cosine])
        self._corner.set_text(f"cosine {_two_places(cosine)}")

    def alt(self, frame: int) -> str:
        """The cosines in words."""
        now = ", ".join(f"layer {k + 1} {_two_places(c)}" for k, c in enumerate(self.cosines[frame]))
        start = ", ".join(_two_places(c) for c in self.cosines[0])
        return (
            f"Forward weights W and backward weights V of layer {self.layer} as two matrices, and a curve of the "
            f"cosine between them for every layer. At inner step {self.steps[frame]}: {now}; before learning: {start}."
        )


def _two_places(value: float) -> str:
    """Two decimals, and no minus sign before 0.00."""
    return f"{round(float(value), 2) + 0.0:.2f}"


def _ticks(low: float) -> list[float]:
    """0, 0.5 and 1, and -0.5 and -1 where the axis reaches there."""
    return [tick for tick in (-1.0, -0.5, 0.0, 0.5, 1.0) if tick >= low]


def _scaled(values: np.ndarray) -> np.ndarray:
    """Divide by twice the root mean square, so that colours show the pattern and not the size."""
    return values / max(2 * float(np.sqrt((values**2).mean())), 1e-24)


def _matrix(axes: Axes, values: np.ndarray) -> AxesImage:
    style.bare(axes)
    return axes.imshow(_scaled(values), cmap=style.DIVERGING, vmin=-1, vmax=1, interpolation="nearest", aspect="auto")


def alignment_figure(
    cosines: np.ndarray, W: np.ndarray, V: np.ndarray, steps: Sequence[int], layer: int, frame: int = -1
) -> Figure:
    """Draw one layer's W and V at one frame of a trajectory, and the cosine of every layer over all of it.

    Args:
        cosines: [frames, L], see `inner_loop.weight_alignment`.
        W, V: the chosen layer's weights [frames, n_in, n_out].
        steps: inner step of each frame.
        layer: number of the chosen layer, 1 .. L.
        frame: which one to show; -1 is the last.

    Returns:
        The Figure.
    """
    film = AlignmentFilm(cosines, W, V, steps, layer)
    return film.figure_at(frame)
