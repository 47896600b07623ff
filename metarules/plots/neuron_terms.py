"""The panel of the terms: what each of them does to one neuron's incoming weights in one inner step."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import PolyCollection
from matplotlib.figure import Figure

from metarules.plots import style
from metarules.plots.neuron_films import Look, NeuronFilm, rectangles, signs, where
from metarules.studies.neuron import NeuronView

WIDTH = 9.12  # inches: as wide as two panels and the gap between them
_COLUMNS, _PITCH_X, _PITCH_Y, _TILE = 8, 1.13, 1.53, 0.84  # of the sheet, inches


class TermsFilm(NeuronFilm):
    """What every term does to one neuron's incoming weights, and what comes of it. Wider than the other panels.

    Frames 0 .. frames - 1 give all terms one colour scale, so that weak ones look pale; the same again from `frames` on
    give each term its own.

    Args:
        look: the view of a frame.
        frames: how many there are.
        like: a view that says whether weights are drawn as images or as bars, for all frames asked for; None takes
            the first.
    """

    def __init__(self, look: Look, frames: int, like: NeuronView | None = None) -> None:
        view = look(0) if like is None else like
        self.views = frames
        names = [*view.pushes, "all together", "W before", "W after"]
        top = 0.54 + -(-len(names) // _COLUMNS) * _PITCH_Y
        figure = style.new_figure(WIDTH, top)
        style.put_text(
            figure, 0.1, top - 0.09, "What each term does to its weights", size=style.TITLE, weight="bold", va="top"
        )
        what = "one pixel" if view.shape else "one bar"
        subtitle = (
            f"{what} for each weight: red raises it, blue lowers it; below: coefficient a × gate, share in the sum"
        )
        style.put_text(figure, 0.1, top - 0.33, subtitle, size=style.SMALL, color=style.MUTED, va="top")
        self._corner = style.put_text(
            figure, WIDTH - 0.1, top - 0.07, "", size=style.CORNER, weight="bold", ha="right", va="top"
        )
        self._tiles = [_tile(figure, i, top, view) for i in range(len(names))]
        self._shares = []
        for i, name in enumerate(names):
            x, y = _corner(i, top)
            strong = {"weight": "bold"} if i >= len(view.pushes) else {}
            style.put_text(figure, x + _TILE / 2, y - 0.04, name, size=style.SMALL, ha="center", va="top", **strong)
            lines = [f"a = {two(view.coefficients[name])}" if i < len(view.pushes) else "", ""]
            if i <= len(view.pushes):
                for line, words in enumerate(lines):
                    place = (x + _TILE / 2, y - 0.18 - 0.14 * line)
                    written = style.put_text(
                        figure, *place, words, size=style.SMALL, color=style.MUTED, ha="center", va="top"
                    )
                self._shares.append(written)
        moving = [*self._tiles, *self._shares, self._corner]
        super().__init__(look, 2 * frames, figure, moving)

    def set_frame(self, frame: int) -> None:
        view = self.look(frame % self.views)
        columns = [*view.pushes.values(), view.push, view.W, view.W_after]
        biggest = max(float(np.abs(c).max()) for c in columns[:-2])
        weights = max(float(np.abs(c).max()) for c in columns[-2:])
        for i, (tile, values) in enumerate(zip(self._tiles, columns, strict=True)):
            size = weights if i >= len(columns) - 2 else biggest if frame < self.views else float(np.abs(values).max())
            scaled = values / max(size, 1e-12)
            if view.shape:
                tile.set_data(scaled.reshape(view.shape))
            else:
                tile.set_verts(rectangles(scaled, (np.arange(len(scaled)) + 0.5) / len(scaled), 1 / len(scaled)))
                tile.set_facecolor(signs(scaled))
        for text, name in zip(self._shares, view.pushes, strict=False):
            share = view.shares[name]
            off = view.coefficients[name] == 0
            text.set_text("switched off" if off else f"× {two(view.gates[name])}   {percent(share)}")
            text.set_color(style.BACKWARD if share < -0.005 else style.INK)
            text.set_fontweight("bold" if abs(share) >= 0.1 else "normal")
        self._shares[-1].set_text(f"bound × {view.bound:.2f}")
        self._corner.set_text(where(view))

    def alt(self, frame: int) -> str:
        view = self.look(frame % self.views)
        ranked = sorted(view.shares, key=lambda name: -abs(view.shares[name]))[:4]
        told = ", ".join(f"{name} {percent(view.shares[name])}" for name in ranked)
        return (
            f"What each of {len(view.pushes)} terms does to the {len(view.W)} incoming weights of {where(view)}, as "
            f"small pictures, with shares in the sum: {told}, the others less; then the sum, and the weights before "
            "and after the step."
        )


def percent(share: float) -> str:
    """A share as whole per cent with its sign: +59 %."""
    number = round(100 * share)
    return f"{number:+d} %".replace("-", "\N{MINUS SIGN}") if number else "0 %"


def two(number: float) -> str:
    """Two decimals, a proper minus sign, none before 0."""
    return f"{round(number, 2) + 0.0:.2f}".replace("-", "\N{MINUS SIGN}")


def _corner(i: int, top: float) -> tuple[float, float]:
    """Lower left corner of tile i of a sheet that is `top` inches high."""
    column, row = i % _COLUMNS, i // _COLUMNS
    return 0.19 + column * _PITCH_X, top - 0.62 - _TILE - row * _PITCH_Y


def _tile(figure: Figure, i: int, top: float, view: NeuronView) -> Any:
    """One small picture: an image where weights are pixels, else bars."""
    axes: Axes = style.bare(style.axes_at(figure, *_corner(i, top), _TILE, _TILE))
    if view.shape:
        look: dict[str, Any] = {"cmap": style.DIVERGING, "interpolation": "nearest", "aspect": "auto"}
        return axes.imshow(np.zeros(view.shape), vmin=-1, vmax=1, **look)
    axes.set(xlim=(0, 1), ylim=(-1.05, 1.05))
    axes.axhline(0, color=style.FAINT, linewidth=0.8)
    bars = PolyCollection(rectangles(np.zeros(1), np.zeros(1), 1.0))
    axes.add_collection(bars, autolim=False)
    return bars
