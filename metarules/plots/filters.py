"""First-layer filters: the weights into each neuron, put back into image space, as one mosaic."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.image import AxesImage

from metarules._checks import check_fit, check_number
from metarules.plots import style
from metarules.plots.film import Film

MOST = 64  # filters shown; more would be too small to look at
_MAIN, _SMALL_SIDE = 2.6, 1.5  # inches


def mosaic(filters: np.ndarray, common_scale: bool = False, gap: int = 1) -> np.ndarray:
    """Lay filters out in rows, as nearly square as their number allows, with a gap between them.

    Args:
        filters: [n, height, width].
        common_scale: divide all by the same number, so that weak filters look pale; else each by its own largest.
        gap: pixels between filters.

    Returns:
        [rows (height + gap) - gap, columns (width + gap) - gap], values in [-1, 1], NaN in the gaps.

    Raises:
        ValueError: not three dimensions, or no filters.
    """
    check_fit(filters=(filters, "n height width"))
    values = np.asarray(filters, dtype=np.float64)
    check_number("gap", gap, low=0, integer=True)
    n, height, width = values.shape
    biggest = np.abs(values).max() if common_scale else np.abs(values).max((1, 2), keepdims=True)
    values = values / np.maximum(biggest, 1e-12)
    columns = math.ceil(math.sqrt(n * height / width))
    rows = math.ceil(n / columns)
    tiles = np.full((rows * columns, height + gap, width + gap), np.nan)
    tiles[:n, :height, :width] = values
    grid = tiles.reshape(rows, columns, height + gap, width + gap).swapaxes(1, 2)
    sheet = grid.reshape(rows * (height + gap), columns * (width + gap))
    return sheet[: sheet.shape[0] - gap, : sheet.shape[1] - gap]


class FilterFilm(Film):
    """The filters before learning (small) beside the filters at the shown step (large).

    Args:
        filters: [frames, n_1, height, width], pixels in image order (`Task.image(W.mT)` brings them there); for data
            that are no images [frames, 1, n_0, n_1], the matrix W itself.
        steps: inner step of each frame.
        common_scale: see `mosaic`.
        title: the heading.
    """

    def __init__(
        self,
        filters: np.ndarray,
        steps: Sequence[int],
        common_scale: bool = False,
        title: str = "First-layer filters",
    ) -> None:
        check_fit(steps=(steps, "frames"), filters=(filters, "frames n height width"))
        self.filters = np.asarray(filters, dtype=float)
        self.steps = tuple(steps)
        self.common_scale = common_scale
        self.as_matrix = self.filters.shape[1] == 1
        count = self.filters.shape[1]
        if self.as_matrix:
            subtitle = f"W{style.superscript(1)}: a row for each input, a column for each neuron"
        elif count > MOST:
            subtitle = f"each square: weights from the pixels into one neuron (first {MOST} of {count})"
        else:
            subtitle = "each square: the weights from the pixels into one neuron"
        figure, self._corner = style.panel_figure(title, subtitle)
        width, _ = style.PANEL
        small = style.axes_at(figure, 0.12, 0.1 + _MAIN - _SMALL_SIDE, _SMALL_SIDE, _SMALL_SIDE)
        main = style.axes_at(figure, width - _MAIN - 0.1, 0.1, _MAIN, _MAIN)
        style.put_text(figure, 0.12, 0.98, "before learning", size=style.TEXT)
        scale = "one scale for all" if common_scale else "each on its own scale"
        legend = f"red: weight above 0\nblue: below 0\n{scale}"
        style.put_text(figure, 0.12, 0.1, legend, size=style.SMALL, color=style.MUTED, linespacing=1.25)
        self._image(small, 0)
        self._main = self._image(main, len(self.filters) - 1)
        super().__init__(figure, len(self.filters), [self._main, self._corner])

    def set_frame(self, frame: int) -> None:
        """Show the filters of a frame."""
        self._main.set_data(self._sheet(frame))
        self._corner.set_text(f"step {self.steps[frame]}")

    def alt(self, frame: int) -> str:
        """How patterned the filters are: how far neighbouring pixels agree."""
        if self.as_matrix:
            return f"The first layer's weights as a matrix, at inner step {self.steps[frame]} and before learning."
        return (
            f"Mosaic of the first layer's {self.filters.shape[1]} filters at inner step {self.steps[frame]}, beside "
            f"the same filters before learning. Neighbouring pixels correlate by "
            f"{smoothness(self.filters[frame]):.2f}; before learning by {smoothness(self.filters[0]):.2f}."
        )

    def _sheet(self, frame: int) -> np.ndarray:
        return mosaic(self.filters[frame][:MOST], self.common_scale)

    def _image(self, axes: Axes, frame: int) -> AxesImage:
        style.bare(axes, frame=False)
        aspect = "auto" if self.as_matrix else "equal"
        kept: dict[str, Any] = {
            "cmap": style.DIVERGING,
            "vmin": -1,
            "vmax": 1,
            "interpolation": "nearest",
            "aspect": aspect,
        }
        image = axes.imshow(self._sheet(frame), **kept)
        axes.set_anchor("N")
        return image


def smoothness(filters: np.ndarray) -> float:
    """Correlation of neighbouring pixels, across and down, over all filters [n, height, width]; 0 for noise."""
    values = filters - filters.mean((1, 2), keepdims=True)
    across, down = values[:, :, 1:] * values[:, :, :-1], values[:, 1:] * values[:, :-1]
    products = np.concatenate([across.ravel(), down.ravel()])
    return float(products.mean() / max((values**2).mean(), 1e-24)) if products.size else 0.0


def filter_figure(filters: np.ndarray, steps: Sequence[int], frame: int = -1, common_scale: bool = False) -> Figure:
    """Draw the first layer's filters at one frame of a trajectory, beside those before learning.

    Args:
        filters: [frames, n_1, height, width], see `FilterFilm`.
        steps: inner step of each frame.
        frame: which one to show; -1 is the last.
        common_scale: see `mosaic`.

    Returns:
        The Figure.

    Raises:
        ValueError: filters of another shape, a frame that is not there.
    """
    film = FilterFilm(filters, steps, common_scale)
    return film.figure_at(frame)
