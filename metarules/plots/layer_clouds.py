"""Data on their way up: the cloud of every layer side by side, one class in colour or all, one example followed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.text import Text

from metarules.plots import style
from metarules.plots.film import Film
from metarules.studies.layers import MOST_CLOUDS

WIDTH, _HEIGHT = 9.12, 2.86  # inches: as wide as two panels and the gap between them
_BOTTOM, _ARROW, _EDGE, _MOST = 0.3, 0.22, 0.12, 2.12  # inches; _MOST is the side of a cloud where there is room
_DOT, _PICKED = 2.4, 3.4  # points, marker sizes


class LayerCloudsFilm(Film):
    """The inputs, then every layer, each in the plane in which the dots of its last step spread most.

    A ring marks the followed example in every cloud, and a thread joins the rings.

    Args:
        points: of each layer from 0 (the inputs) to L, [frames, n_dots, 2] each, see `plots.project`
            and `studies.planes.each_turned_to_the_last`.
        labels: class numbers [n_dots].
        steps: inner step of each frame.
        accuracies: few-shot accuracy of each layer, [frames, L + 1].
        noun: what an example is called.
        sees_labels: whether the rule was given the labels.
        title: the heading.

    Raises:
        ValueError: more than `MOST_CLOUDS` clouds.
    """

    def __init__(
        self,
        points: Sequence[np.ndarray],
        labels: np.ndarray,
        steps: Sequence[int],
        accuracies: np.ndarray,
        *,
        noun: str = "image",
        sees_labels: bool = False,
        title: str = "From the data up, layer by layer",
    ) -> None:
        if not 2 <= len(points) <= MOST_CLOUDS:
            raise ValueError(f"points has {len(points)} clouds; allowed: 2 to {MOST_CLOUDS}, the inputs among them")
        self.points = [_unit(np.asarray(p, dtype=float)) for p in points]
        self.labels, self.steps, self.noun = np.asarray(labels), tuple(steps), noun
        self.accuracies = np.asarray(accuracies, dtype=float)
        self.classes = [int(c) for c in np.unique(self.labels)]
        self.followed = 0
        self.only: int | None = None
        figure = style.new_figure(WIDTH, _HEIGHT)
        style.put_text(figure, 0.1, _HEIGHT - 0.09, title, size=style.TITLE, weight="bold", va="top")
        known = "given to this rule" if sees_labels else "never seen by the rule"
        words = (
            f"a dot is one {noun}, its colour the class, {known}; ringed: the one that is followed; below each cloud: "
            "few-shot accuracy"
        )
        style.put_text(figure, 0.1, _HEIGHT - 0.33, words, size=style.SMALL, color=style.MUTED, va="top")
        self._write_key(figure)
        self._corner = style.put_text(
            figure, WIDTH - 0.1, _HEIGHT - 0.07, "", size=style.CORNER, weight="bold", ha="right", va="top"
        )
        n = len(self.points)
        self._side = min(_MOST, (WIDTH - 2 * _EDGE - (n - 1) * _ARROW) / n, _HEIGHT - 0.8)
        gap = min(_ARROW, (WIDTH - 2 * _EDGE - n * self._side) / (n - 1))
        self._lefts = [_EDGE + l * (self._side + gap) for l in range(n)]
        self._clouds: list[list[Line2D]] = []
        self._picked: list[Line2D] = []
        self._rings: list[Line2D] = []
        self._numbers: list[Text] = []
        for l, left in enumerate(self._lefts):
            axes = style.bare(style.axes_at(figure, left, _BOTTOM, self._side, self._side))
            axes.set(xlim=(-1, 1), ylim=(-1, 1))
            self._fill(axes)
            name = "inputs" if l == 0 else f"layer {l}" if l < n - 1 else "top layer"
            at: dict[str, Any] = {"size": style.TEXT, "va": "center"}
            style.put_text(figure, left, 0.15, f"{name}  x{style.superscript(l)}", **at)
            right = left + self._side
            self._numbers.append(style.put_text(figure, right, 0.15, "", weight="bold", ha="right", **at))
            if l:
                middle = left - gap / 2
                style.put_text(figure, middle, _BOTTOM + 0.5 * self._side, "›", size=style.CORNER, ha="center")
        dashes = (0, (4, 3))
        self._thread = Line2D([], [], color=style.INK, linewidth=0.9, linestyle=dashes, transform=figure.transFigure)
        figure.add_artist(self._thread)
        dots = [line for cloud in self._clouds for line in cloud]
        flat: list[Any] = [*dots, *self._picked, self._thread, *self._rings, *self._numbers, self._corner]
        super().__init__(figure, len(self.steps), flat)

    def follow(self, dot: int, only: int | None = None) -> None:
        """Mark another dot, 0 .. n_dots - 1, and colour one class alone, or all if None."""
        with self._lock:
            if (dot, only) != (self.followed, self.only):
                self.followed, self.only = dot, only
                self._pngs.clear()

    def set_frame(self, frame: int) -> None:
        """Move the dots of all layers, the ring and its thread, and write the numbers."""
        places = []
        for l, cloud in enumerate(self._clouds):
            points = self._at(l, frame)
            for number, dots in zip(self.classes, cloud, strict=True):
                dots.set_data(*points[self.labels == number].T)
                dots.set_color(style.class_colour(number) if self.only is None else style.FAINT)
            shown = points[self.labels == self.only]  # empty where all classes are coloured
            self._picked[l].set_data(*shown.T)
            self._picked[l].set_color(style.INK if self.only is None else style.class_colour(self.only))
            x, y = points[self.followed]
            self._rings[l].set_data([x], [y])
            places.append((self._lefts[l] + (x + 1) / 2 * self._side, _BOTTOM + (y + 1) / 2 * self._side))
            self._numbers[l].set_text(f"{self.accuracies[frame, l]:.2f}")
        across, up = np.array(places).T
        self._thread.set_data(across / WIDTH, up / _HEIGHT)
        self._corner.set_text(f"step {self.steps[frame]}")

    def dot_at(self, frame: int, across: float, down: float) -> int | None:
        """The dot nearest to a place in the picture, both in shares of its size; None outside the clouds."""
        x, y = across * WIDTH, (1 - down) * _HEIGHT
        for l, left in enumerate(self._lefts):
            place = 2 * np.array([x - left, y - _BOTTOM]) / self._side - 1
            if np.abs(place).max() <= 1:
                return int(((self._at(l, frame) - place) ** 2).sum(1).argmin())
        return None

    def alt(self, frame: int) -> str:
        """The accuracy of each layer, and what is followed."""
        layers = ", ".join(f"layer {l} {a:.2f}" for l, a in enumerate(self.accuracies[frame]) if l)
        colours = "all classes coloured" if self.only is None else f"class {self.only} coloured"
        return (
            f"A row of {len(self.points)} scatter plots of {len(self.labels)} {self.noun}s, from the inputs to the top "
            f"layer, at inner step {self.steps[frame]}, {colours}; the same {self.noun}, of class "
            f"{self.labels[self.followed]}, ringed in each. Few-shot accuracy: inputs {self.accuracies[frame, 0]:.2f}, "
            f"{layers}; the top layer before learning {self.accuracies[0, -1]:.2f}."
        )

    def _at(self, layer: int, frame: int) -> np.ndarray:
        """Points of a layer, [n_dots, 2]; the inputs have one frame."""
        points = self.points[layer]
        return points[min(frame, len(points) - 1)]

    def _fill(self, axes: Axes) -> None:
        """The artists of one cloud, still without data."""
        kept: dict[str, Any] = {"linestyle": "", "markeredgewidth": 0.0}
        self._clouds.append(
            [axes.plot([], [], marker=style.class_marker(c), markersize=_DOT, **kept)[0] for c in self.classes]
        )
        self._picked += axes.plot([], [], marker="o", markersize=_PICKED, **kept)
        self._rings += axes.plot(
            [], [], marker="o", markersize=9, markerfacecolor="none", markeredgecolor=style.INK, markeredgewidth=1.8
        )

    def _write_key(self, figure: Figure) -> None:
        """Which colour is which class, where there is room for it."""
        right = WIDTH - 1.15
        for i, number in enumerate(reversed(self.classes[:12])):
            colour = style.class_colour(number)
            box = {"boxstyle": "round,pad=0.22", "facecolor": colour, "edgecolor": "none"}
            style.put_text(
                figure, right - 0.22 * i, _HEIGHT - 0.16, str(number), size=style.SMALL, weight="bold", ha="center",
                va="center", color=style.text_on(colour), bbox=box,
            )  # fmt: skip


def _unit(points: np.ndarray) -> np.ndarray:
    """Points of all frames moved and scaled into [-0.94, 0.94], one scale for both axes and all frames."""
    low, high = points.min((0, 1)), points.max((0, 1))
    return (points - (low + high) / 2) * (1.88 / max(float((high - low).max()), 1e-12))
