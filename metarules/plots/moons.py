"""Two moons being pulled apart: what goes in, with the regions of the read-out, beside what comes out of the top."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.colors import ListedColormap, to_rgb
from matplotlib.figure import Figure

from metarules._checks import check_fit
from metarules.plots import style
from metarules.plots.film import Film

_WIDTH, _HEIGHT = 9.12, 3.72  # inches
_IN, _OUT = (0.12, 0.45, 4.2, 2.75), (4.6, 0.45, 2.75, 2.75)  # left, bottom, width, height of the two pictures
_COLOURS = (style.FORWARD, style.BACKWARD)
_MARKERS = ("o", "^")


class MoonsFilm(Film):
    """On the left the inputs and where a read-out of the top layer says class 0 or 1; on the right the top layer.

    Args:
        plane: inputs in their own plane [N, 2].
        points: the top layer [frames, N, 2], see `plots.project`.
        labels: class numbers 0 and 1, [N].
        steps: inner step of each frame.
        regions: what the read-out answers across the plane, [frames, g, g], rows from the bottom up.
        extent: (left, right, bottom, top) of the regions.
        labelled: row numbers of the points whose labels the read-out was given.
        accuracies: few-shot accuracy, [frames, n_splits].
        input_accuracy: that of a read-out of the inputs.
    """

    def __init__(
        self,
        plane: np.ndarray,
        points: np.ndarray,
        labels: np.ndarray,
        steps: Sequence[int],
        regions: np.ndarray,
        extent: tuple[float, float, float, float],
        labelled: np.ndarray,
        accuracies: np.ndarray,
        input_accuracy: float,
    ) -> None:
        check_fit(steps=(steps, "frames"), points=(points, "frames N 2"), plane=(plane, "N 2"), labels=(labels, "N"))
        check_fit(regions=(regions, "frames g g"), extent=(extent, "4"), accuracies=(accuracies, "frames splits"))
        self.points, self.labels, self.steps = np.asarray(points, dtype=float), np.asarray(labels), tuple(steps)
        self.regions, self.mean = np.asarray(regions), np.asarray(accuracies, dtype=float).mean(1)
        self.input_accuracy = float(input_accuracy)
        figure = style.new_figure(_WIDTH, _HEIGHT)
        title = "Two moons, pulled apart without labels"
        style.put_text(figure, 0.1, _HEIGHT - 0.09, title, size=style.TITLE, weight="bold", va="top")
        self._corner = style.put_text(
            figure, _WIDTH - 0.1, _HEIGHT - 0.07, "", size=style.CORNER, weight="bold", ha="right", va="top"
        )
        inside = style.bare(style.axes_at(figure, *_IN))
        outside = style.bare(style.axes_at(figure, *_OUT))
        for (left, _, _, _), words in (
            (_IN, "What goes in, in the plane of the moons"),
            (_OUT, "What comes out of the top layer"),
        ):
            style.put_text(figure, left, 3.27, words)
        pale = ListedColormap([_pale(colour) for colour in _COLOURS])
        kept: dict[str, Any] = {"cmap": pale, "vmin": 0, "vmax": 1, "interpolation": "nearest", "aspect": "auto"}
        self._region = inside.imshow(self.regions[-1], extent=extent, origin="lower", **kept)
        inside.set(xlim=extent[:2], ylim=extent[2:])
        self._in, self._out = [], []
        rest = np.setdiff1d(np.arange(len(self.labels)), labelled)
        for c, (colour, marker) in enumerate(zip(_COLOURS, _MARKERS, strict=True)):
            look: dict[str, Any] = {"linestyle": "", "marker": marker, "color": colour, "markersize": 3}
            known = {**look, "markersize": 7.5, "markeredgecolor": style.INK, "markeredgewidth": 1.2}
            for rows, how in ((rest, look), (np.asarray(labelled), known)):
                chosen = rows[self.labels[rows] == c]
                self._in += inside.plot(*np.asarray(plane)[chosen].T, **how)
                self._out.append((chosen, outside.plot([], [], **how)[0]))
        self._out.sort(key=lambda pair: len(pair[0]), reverse=True)  # the few labelled ones on top
        low, high = self.points.min((0, 1)), self.points.max((0, 1))
        middle, reach = (low + high) / 2, 0.54 * max(float((high - low).max()), 1e-12)
        outside.set(xlim=(middle[0] - reach, middle[0] + reach), ylim=(middle[1] - reach, middle[1] + reach))
        words = "ground: what the read-out of the top layer says there; large: the 20 labels it is given"
        style.put_text(figure, _IN[0], 0.2, words, size=style.SMALL, color=style.MUTED, va="center")
        self._note = style.put_text(figure, 7.55, 2.1, "", va="center", linespacing=1.45)
        style.put_text(
            figure, 7.55, 0.45, "axes: the two\ndirections in which\nthe last step\nspreads most", size=style.SMALL,
            color=style.MUTED, linespacing=1.25,
        )  # fmt: skip
        moving = [self._region, *self._in, *(dots for _, dots in self._out), self._note, self._corner]
        super().__init__(figure, len(self.points), moving)

    def set_frame(self, frame: int) -> None:
        """Show the regions and the top layer of a frame."""
        self._region.set_data(self.regions[frame])
        for rows, dots in self._out:
            dots.set_data(*self.points[frame][rows].T)
        self._note.set_text(
            f"few-shot accuracy\n{self.mean[frame]:.2f} now\n{self.mean[0]:.2f} untaught\n"
            f"{self.input_accuracy:.2f} inputs alone"
        )
        self._corner.set_text(f"step {self.steps[frame]}")

    def alt(self, frame: int) -> str:
        """What is to be seen, and the accuracies."""
        return (
            f"Two interleaved half circles on the left, what the top layer makes of them on the right, at inner step "
            f"{self.steps[frame]}. Few-shot accuracy {self.mean[frame]:.2f}, before learning {self.mean[0]:.2f}, of "
            f"the inputs alone {self.input_accuracy:.2f}."
        )


def _pale(colour: str) -> tuple[float, ...]:
    """A colour mixed with four parts of white."""
    return tuple(0.8 + 0.2 * part for part in to_rgb(colour))


def moons_figure(film: MoonsFilm, frame: int = -1) -> Figure:
    """One frame of the film as a Figure.

    Args:
        film: see `MoonsFilm`.
        frame: which one to show; -1 is the last.
    """
    return film.figure_at(frame)
