"""What the meta-objective makes of ridge predictions: threads to their targets, curves over lambda and over moves."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from matplotlib.collections import LineCollection
from matplotlib.colors import to_rgb
from matplotlib.ticker import MultipleLocator

from metarules.plots import style
from metarules.plots.film import Film

_TURNS = np.pi * (0.5 + 2 / 3 * np.arange(3))
_AROUND = np.stack([np.cos(_TURNS), np.sin(_TURNS)], -1)  # the three classes, a third of a turn apart
# The space of answers seen from (1, 1, 1): where its unit vectors go [3, 2]. Centred targets keep their length 1.
CORNERS = math.sqrt(2 / 3) * _AROUND
_SIDE, _OUT = 2.6, 1.5  # inches; half of them in the unit of answers


class _Live(Film):
    """A Film of one frame that is drawn anew whenever its data change."""

    def _changed(self) -> tuple[bytes, str]:
        self._pngs.clear()
        return self.png(0), self.alt(0)


class AnswersPicture(_Live):
    """Predictions for batch b in the plane of answers, each tied to its target by a thread."""

    def __init__(self) -> None:
        figure, self._corner = style.panel_figure("The answers for batch b", "")
        self._subtitle = figure.texts[1]
        axes = style.bare(style.axes_at(figure, 0.1, 0.1, _SIDE, _SIDE), frame=False)
        axes.set(xlim=(-_OUT, _OUT), ylim=(-_OUT, _OUT))
        turn = np.linspace(0, 2 * np.pi, 181)
        axes.plot(np.cos(turn), np.sin(turn), color=style.FAINT, linewidth=1)
        for x, y in _AROUND:
            axes.plot([0, x], [0, y], color=style.FAINT, linewidth=1)
        self._stars = axes.scatter([], [], s=90, marker="*", linewidths=0)
        self._threads = LineCollection([], linewidths=0.9, alpha=0.8)
        axes.add_collection(self._threads, autolim=False)
        self._dots = axes.scatter([], [], s=22, linewidths=1.5, facecolors=style.PAPER)
        self._names = [
            axes.text(1.25 * float(x), 1.25 * float(y), "", ha="center", va="center", fontsize=style.TEXT)
            for x, y in _AROUND
        ]
        left, tops = _SIDE + 0.1, (2.35, 1.7, 1.05)
        self._kind = style.put_text(figure, left, tops[0], "")
        style.put_text(figure, left, tops[1], "+ penalty λ|w|²/n")
        style.put_text(figure, left, tops[2], "= loss", weight="bold")
        self._numbers = [style.put_text(figure, left, top - 0.24, "") for top in tops]
        self._alt = ""
        super().__init__(figure, 1, [self._stars, self._threads, self._dots, *self._numbers, self._corner])

    def picture(
        self,
        answers: np.ndarray,
        targets: np.ndarray,
        labels: np.ndarray,
        class_names: Sequence[str],
        parts: tuple[str, float, float, float],
        threads: bool,
    ) -> tuple[bytes, str]:
        """PNG and alternative text.

        Args:
            answers: predictions as they are scored [n, 3].
            targets: as they are scored [n, 3].
            labels: class numbers [n].
            class_names: three.
            parts: what the error is called, error, penalty, loss.
            threads: whether the error is a distance from the targets.
        """
        at, ends = answers @ CORNERS, targets @ CORNERS
        palette = [style.class_colour(c) for c in range(3)]
        colours = np.array([to_rgb(colour) for colour in palette])[labels]
        self._stars.set_offsets([ends[labels == c].mean(0) for c in range(3)])
        self._stars.set_facecolor(palette)
        self._dots.set_offsets(at.clip(0.06 - _OUT, _OUT - 0.06))
        self._dots.set_edgecolor(colours)
        self._threads.set_segments(list(np.stack([at, ends], 1)) if threads else [])
        self._threads.set_color(colours)
        tied = "a thread ties each answer to its target, a star"
        kind, error, penalty, loss = parts
        still = (kind, tied if threads else "the farther towards its own star, the better", *class_names)
        for text, words in zip((self._kind, self._subtitle, *self._names), still, strict=True):
            if text.get_text() != words:
                text.set_text(words)
                self._ground = None  # these stand still from picture to picture
        share = float((answers.argmax(-1) == labels).mean())
        for text, number in zip(self._numbers, (error, penalty, loss), strict=True):
            text.set_text(f"{number:.2f}")
        self._corner.set_text(f"{share:.0%} right")
        self._alt = (
            f"Ridge predictions for the {len(labels)} points of batch b in the plane of answers, with a star for the "
            f"target of each class on a circle. Mean {kind} {error:.2f}, penalty {penalty:.2f}, loss {loss:.2f}; the "
            f"largest answer is the right one for {share:.0%} of the points."
        )
        return self._changed()

    def set_frame(self, frame: int) -> None:
        """Nothing to do: `picture` has set everything."""

    def alt(self, frame: int) -> str:
        """See `picture`."""
        return self._alt


class CurvesPicture(_Live):
    """Curves over one number, with a mark where we are.

    Args:
        title, subtitle: of the panel.
        label: of the horizontal axis.
        names: of the curves, the first drawn strong and marked.
        log: whether the horizontal axis is logarithmic.
    """

    def __init__(self, title: str, subtitle: str, label: str, names: Sequence[str], log: bool = False) -> None:
        figure, self._corner = style.panel_figure(title, subtitle)
        width, height = style.PANEL
        self._axes = style.quiet_axes(style.axes_at(figure, 0.45, 0.5, width - 0.65, height - 1.3), label)
        if log:
            self._axes.set_xscale("log")
            self._axes.minorticks_off()
        looks = ((style.FORWARD, "-", 2.2), (style.BACKWARD, "--", 1.5), (style.MUTED, ":", 1.8))
        self._lines = [
            self._axes.plot([], [], color=colour, linestyle=dash, linewidth=thick, label=name)[0]
            for name, (colour, dash, thick) in zip(names, looks, strict=False)
        ]
        self._here = self._axes.axvline(1, color=style.FAINT, linewidth=1.2)
        self._marks = self._axes.scatter([], [], s=42, color=style.FORWARD, edgecolors=style.PAPER, zorder=5)
        self._axes.legend(
            loc="lower left", bbox_to_anchor=(-0.02, 1.0), ncols=3, frameon=False, fontsize=style.SMALL,
            borderaxespad=0.1, handlelength=2.0, columnspacing=1.2, labelcolor=style.INK,
        )  # fmt: skip
        self._names, self._label, self._alt = tuple(names), label, ""
        self._window: tuple[float, ...] = ()
        super().__init__(figure, 1, [self._here, *self._lines, self._marks, self._corner])

    def picture(
        self, xs: Sequence[float], curves: Sequence[np.ndarray], at: tuple[float, float], corner: str
    ) -> tuple[bytes, str]:
        """PNG and alternative text.

        Args:
            xs: horizontal values, ascending.
            curves: one array as long as xs for each name.
            at: where we are: horizontal value and the first curve's value there.
            corner: what the corner says.
        """
        top = max(1.0, math.ceil(2.1 * max(float(curve.max()) for curve in [*curves, np.array(at[1])])) / 2)
        pad = 0.03 * (xs[-1] - xs[0])
        left, right = (xs[0], xs[-1]) if self._axes.get_xscale() == "log" else (xs[0] - pad, xs[-1] + pad)
        if self._window != (left, right, top):
            self._window = (left, right, top)
            self._axes.set(xlim=(left, right), ylim=(0, top))
            self._axes.yaxis.set_major_locator(MultipleLocator(0.25 if top < 2 else 0.5 if top < 4 else 1))
            self._ground = None  # ticks have changed
        for line, curve in zip(self._lines, curves, strict=True):
            line.set_data(list(xs), curve)
        self._here.set_xdata([at[0], at[0]])
        self._marks.set_offsets([at])
        self._corner.set_text(corner)
        first, last = ", ".join(f"{c[0]:.2f}" for c in curves), ", ".join(f"{c[-1]:.2f}" for c in curves)
        low = int(np.argmin(curves[0]))
        self._alt = (
            f"Curves over {self._label}: {', '.join(self._names)}. At {xs[0]:g} they are {first}, at {xs[-1]:g} "
            f"{last}. The {self._names[0]} is lowest at {xs[low]:.3g}; the mark stands at {at[0]:.3g}, "
            f"{self._names[0]} {at[1]:.2f}."
        )
        return self._changed()

    def set_frame(self, frame: int) -> None:
        """Nothing to do: `picture` has set everything."""

    def alt(self, frame: int) -> str:
        """See `picture`."""
        return self._alt

    def x_at(self, across: float, down: float) -> float | None:
        """The horizontal value at a place in the picture, as for `dot_at`; None outside the axes."""
        found = self.data_at(self._axes, across, down)
        return None if found is None else found[0]
