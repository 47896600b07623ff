"""Two panels about one neuron in one inner step: what it sees, and what its network makes of that.

A film has a frame for every neuron at every recorded step.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from matplotlib.artist import Artist
from matplotlib.collections import PolyCollection
from matplotlib.figure import Figure

from metarules.plots import style
from metarules.plots.film import Film
from metarules.studies.neuron import EXTREMES, STATISTICS, NeuronView

_SIGNAL_LIMIT = 2.5  # colours saturate here: nearly all inputs are standardised, so that few reach it
_LABELS = {"x": "activity x", "z": "before ReLU z", "softmax": "share s"}
_LINES = 6  # pixel rows of a strip, besides the white one below it

Look = Callable[[int], NeuronView]


class NeuronFilm(Film):
    """Base class: frame number -> `NeuronView`, and a heading that says which neuron is shown.

    Args:
        look: the view of a frame.
        frames: how many there are.
        figure: drawn but for what moves.
        moving: artists that move.
    """

    def __init__(self, look: Look, frames: int, figure: Figure, moving: Sequence[Artist]) -> None:
        super().__init__(figure, frames, moving)
        self.look = look


class InputsFilm(NeuronFilm):
    """All that the update network on one neuron is given for one batch.

    Strips: one value for each example, sorted by the neuron's z. Bars: single numbers about the neuron.

    Args:
        look: the view of a frame.
        frames: how many there are.
    """

    def __init__(self, look: Look, frames: int) -> None:
        view = look(0)
        figure, self._corner = style.panel_figure("What the neuron sees", "each column of a strip is one image")
        left, width = 1.27, 3.13
        pairs = []
        if view.images is not None:
            height, side = view.images.shape[-2:]
            for end in range(2):
                for k in range(EXTREMES):
                    at = left + k * 0.38 if end == 0 else left + width - (EXTREMES - k) * 0.38 + 0.04
                    axes = style.bare(style.axes_at(figure, at, 2.4, 0.34, 0.34))
                    look_of: dict[str, Any] = {"cmap": "Greys", "interpolation": "nearest", "aspect": "auto"}
                    pairs.append(axes.imshow(np.zeros((height, side)), vmin=0, vmax=1, **look_of))
            style.put_text(figure, left + width / 2, 2.57, "sorted by z", size=style.SMALL, ha="center", va="center")
            style.put_text(figure, left - 0.07, 2.57, "least, most", size=style.SMALL, ha="right", va="center")
        names = list(view.signals)
        pitch = 1.33 / len(names)
        strips = style.bare(style.axes_at(figure, left, 1.02, width, 1.33), frame=False)
        for i, name in enumerate(names):
            words = _LABELS.get(name, f"signal {name}" if name.startswith("d") else name)
            y = 2.35 - (i + 0.47) * pitch
            colour = style.BACKWARD if name.startswith("d") else style.INK
            style.put_text(figure, left - 0.07, y, words, size=style.SMALL, ha="right", va="center", color=colour)
        self._strips = strips.imshow(
            _as_strips(view.signals.values()), cmap=style.DIVERGING, vmin=-_SIGNAL_LIMIT, vmax=_SIGNAL_LIMIT,
            interpolation="nearest", aspect="auto",
        )  # fmt: skip
        self._bars, shorts = _bars(figure, left, width)
        self._images = pairs
        for k, short in enumerate(shorts):
            style.put_text(figure, left + (k + 0.5) * width / len(shorts), 0.3, short, size=style.SMALL, ha="center")
        self._count = len(view.order)
        super().__init__(look, frames, figure, [*pairs, self._strips, self._bars, self._corner])

    def set_frame(self, frame: int) -> None:
        view = self.look(frame)
        self._strips.set_data(_as_strips(view.signals.values()))
        self._bars.set_verts(rectangles(np.clip(view.statistics, -2, 2), np.arange(len(view.statistics)), 0.62))
        self._bars.set_facecolor(signs(view.statistics))
        self._corner.set_text(where(view))
        if view.images is not None:
            for image, pixels in zip(self._images, view.images.reshape(-1, *view.images.shape[2:]), strict=True):
                image.set_data(pixels)

    def alt(self, frame: int) -> str:
        view = self.look(frame)
        stats = view.statistics
        return (
            f"Inputs of the update network on {where(view)}: strips for {', '.join(view.signals)}, a column for each "
            f"of {len(view.order)} examples, sorted by z; and eleven single numbers: mean over RMS of its activity "
            f"{stats[0]:.2f}, mean of its standardised activity without sign {stats[1]:.2f}, four statistics of its "
            f"incoming and four of its outgoing weights, bias {stats[-1]:.2f}."
        )


class HiddenFilm(NeuronFilm):
    """The hidden state h of one neuron's update network and the signal delta it sends down, for one batch.

    Args:
        look: the view of a frame.
        frames: how many there are.
    """

    def __init__(self, look: Look, frames: int) -> None:
        view = look(0)
        C, D = view.h.shape[1], view.delta.shape[1]
        figure, self._corner = style.panel_figure(
            "What it makes of that", "same images, same order; right: means over them"
        )
        left, width, right = 0.42, 3.05, 3.6
        common: dict[str, Any] = {"interpolation": "nearest", "aspect": "auto"}
        top = style.bare(style.axes_at(figure, left, 1.33, width, 1.42), frame=False)
        self._h = top.imshow(_as_strips(view.h.T), cmap="Greys", vmin=0, vmax=1, **common)
        low = style.bare(style.axes_at(figure, left, 0.62, width, 0.5), frame=False)
        self._delta = low.imshow(_as_strips(view.delta.T), cmap=style.DIVERGING, vmin=-1, vmax=1, **common)
        style.put_text(figure, left - 0.1, 2.04, "h", size=style.CORNER, ha="right", va="center", style="italic")
        look_delta = {"ha": "right", "va": "center", "style": "italic", "color": style.BACKWARD}
        style.put_text(figure, left - 0.1, 0.87, "δ", size=style.CORNER, **look_delta)
        means = [
            _sideways(figure, right, y, height, n, low)
            for y, height, n, low in ((1.33, 1.42, C, 0), (0.62, 0.5, D, -1))
        ]
        self._means = means
        self._scales = [
            style.put_text(figure, left, y, "", size=style.SMALL, color=style.MUTED, va="top") for y in (1.31, 0.6)
        ]
        self._bias = style.put_text(figure, left, 0.17, "", size=style.TEXT)
        moving = [self._h, self._delta, *means, *self._scales, self._bias, self._corner]
        super().__init__(look, frames, figure, moving)

    def set_frame(self, frame: int) -> None:
        view = self.look(frame)
        texts = ("black", "reddest and bluest")
        for values, image, bars, text, words, sign in zip(
            (view.h.T, view.delta.T), (self._h, self._delta), self._means, self._scales, texts, (0, 1), strict=True
        ):
            most = max(float(np.quantile(np.abs(values), 0.99)), 1e-6)
            image.set_data(_as_strips(values))
            image.set_clim(-most * sign, most)
            mean = np.clip(values.mean(1) / most, -1, 1)
            bars.set_verts([bar[:, ::-1] for bar in rectangles(mean, np.arange(len(mean)), 0.75)])
            bars.set_facecolor(signs(mean) if sign else style.MUTED)
            text.set_text(f"{words} at {most:.2f}")
        self._bias.set_text(f"bias b: {view.b:.3f} → {view.b_after:.3f}")
        self._corner.set_text(where(view))

    def alt(self, frame: int) -> str:
        view = self.look(frame)
        return (
            f"{where(view).capitalize()}: its hidden state h, {view.h.shape[1]} numbers for each of {len(view.order)} "
            f"examples, on average {view.h.mean():.2f}; the signal delta it sends down, {view.delta.shape[1]} numbers "
            f"for each, RMS {np.sqrt((view.delta**2).mean()):.2f}; its bias goes from {view.b:.3f} to "
            f"{view.b_after:.3f}."
        )


def where(view: NeuronView) -> str:
    """Which neuron a view shows, in words."""
    return f"layer {view.layer}, neuron {view.unit}"


def _as_strips(rows: Any) -> np.ndarray:
    """Rows of values as an image, a white line below each: [rows (_LINES + 1), B]."""
    values = np.stack([np.asarray(row, dtype=float) for row in rows])
    sheet = np.repeat(values, _LINES + 1, axis=0)
    sheet[_LINES :: _LINES + 1] = np.nan
    return sheet


def rectangles(heights: np.ndarray, places: np.ndarray, width: float) -> list[Any]:
    """Corners of bars from 0 to their heights, [4, 2] each."""
    x = np.stack([places - width / 2, places - width / 2, places + width / 2, places + width / 2], -1)
    y = np.stack([0 * heights, heights, heights, 0 * heights], -1)
    return list(np.stack([x, y], -1))


def signs(values: np.ndarray) -> list[str]:
    """Red for what is above 0, blue below: the ends of the diverging map."""
    return ["#b2182b" if value > 0 else "#2166ac" for value in values]


def _bars(figure: Figure, left: float, width: float) -> tuple[PolyCollection, list[str]]:
    """Bars for the single numbers, empty, with their headings and a ground line; and their short names."""
    shorts = [short for _, names in STATISTICS for short in names]
    axes = style.bare(style.axes_at(figure, left, 0.44, width, 0.5), frame=False)
    axes.set(xlim=(-0.5, len(shorts) - 0.5), ylim=(-2, 2))
    axes.axhline(0, color=style.MUTED, linewidth=0.8)
    at = 0
    for heading, names in STATISTICS:
        middle = left + (at + len(names) / 2) * width / len(shorts)
        style.put_text(figure, middle, 0.1, heading, size=style.SMALL, ha="center", color=style.MUTED)
        at += len(names)
        if at < len(shorts):
            axes.axvline(at - 0.5, color=style.FAINT, linewidth=1)
    style.put_text(figure, left - 0.07, 0.94, "+2", size=style.SMALL, ha="right", va="top", color=style.MUTED)
    style.put_text(figure, left - 0.07, 0.44, "−2", size=style.SMALL, ha="right", va="bottom", color=style.MUTED)
    bars = PolyCollection(rectangles(np.zeros(len(shorts)), np.arange(len(shorts)), 0.62))
    axes.add_collection(bars, autolim=False)
    return bars, shorts


def _sideways(figure: Figure, left: float, bottom: float, height: float, n: int, low: int) -> PolyCollection:
    """Horizontal bars, one beside each strip, from `low` to 1, empty."""
    axes = style.bare(style.axes_at(figure, left, bottom, 0.8, height), frame=False)
    axes.set(xlim=(low, 1), ylim=(n - 0.5, -0.5))
    axes.axvline(0, color=style.MUTED, linewidth=0.8)
    bars = PolyCollection(rectangles(np.zeros(n), np.arange(n), 0.75))
    axes.add_collection(bars, autolim=False)
    return bars
