"""The outer loop over two numbers: the meta-loss as a landscape with the path on it, and slices through it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from metarules._checks import check_number
from metarules.plots import style

_WIDTH = 9.12  # inches, what JupyterLab leaves a notebook on a laptop
LANDSCAPE_ALT = (
    "Left: the meta-loss over two numbers, a fan of rays with a dark valley where both are alike; the path of ten "
    "meta-steps leads from its slope into the valley. Right: the same points by their ratio lie close to one curve."
)
SLICES_ALT = (
    "Four cuts through the meta-loss. On the slope it is smooth, and level from near; beyond the valley it jumps up "
    "and down by the same amount however near one looks."
)
_LINES = 12  # of equal loss
Climb = tuple[str, Sequence[float], str]  # its name, a number for each meta-step from 0, its colour


def landscape_figure(
    axis: Sequence[float],
    loss: np.ndarray,
    path: Sequence[Sequence[float]] | None = None,
    arrow: Sequence[float] | None = None,
    names: tuple[str, str] = ("Hebb", "decorrelation"),
) -> Figure:
    """Draw the meta-loss over two numbers of theta, with the way that the outer loop took.

    Args:
        axis: values of either number [n], rising.
        loss: the meta-loss [n, n], first index: the first number.
        path: theta at meta-steps 0, 1, .., a pair each; None draws none.
        arrow: the meta-gradient at the path's start, a pair; drawn is the way downhill, at a fixed length.
        names: of the two numbers.

    Returns:
        The Figure, 9.12 x 3.9 inches: the landscape, and beside it the loss along a quarter circle around zero.

    Raises:
        ValueError: loss is no square with a side for each value of the axis.
    """
    values, loss = np.asarray(axis, dtype=float), np.asarray(loss, dtype=float)
    if loss.shape != (len(values), len(values)):
        raise ValueError(f"loss has shape {list(loss.shape)}; allowed: {[len(values)] * 2}, a row for each axis value")
    figure = style.new_figure(_WIDTH, 3.9)
    style.put_text(figure, 0.1, 3.81, "The meta-loss on letters", size=style.TITLE, weight="bold", va="top")
    style.put_text(
        figure,
        0.1,
        3.57,
        "over the two numbers; dark: low, see the heights on the right",
        size=style.SMALL,
        color=style.MUTED,
        va="top",
    )
    axes = style.quiet_axes(style.axes_at(figure, 0.55, 0.5, 2.9, 2.9), names[0], names[1])
    axes.grid(False)
    axes.contourf(values, values, loss.T, _LINES, cmap="cividis")
    axes.contour(values, values, loss.T, _LINES, colors=style.PAPER, linewidths=0.4, alpha=0.6)
    axes.set(xlim=(values[0], values[-1]), ylim=(values[0], values[-1]))
    if path is not None:
        _draw_path(axes, np.asarray(path, dtype=float), arrow)
    _draw_fan(figure, values, loss, names, None if path is None else np.asarray(path, dtype=float))
    return figure


def _draw_path(axes: Axes, path: np.ndarray, arrow: Sequence[float] | None) -> None:
    axes.plot(*path.T, color=style.PAPER, linewidth=3.4, zorder=3)
    axes.plot(*path.T, color=style.OUTER, linewidth=1.8, marker="o", markersize=4, zorder=4)
    start = path[0]
    if arrow is not None:
        down = -np.asarray(arrow, dtype=float)
        down *= 0.28 * (axes.get_xlim()[1] - axes.get_xlim()[0]) / max(float(np.linalg.norm(down)), 1e-12)
        look = {"arrowstyle": "-|>", "color": style.PAPER, "linewidth": 6, "shrinkA": 0, "shrinkB": 0}
        axes.annotate("", start + down, start, arrowprops={**look, "mutation_scale": 26}, zorder=2)  # under the path
    for words, place, side in (("start", start, "left"), ("end", path[-1], "right")):
        shift = (8, -4) if side == "left" else (-8, 4)
        axes.annotate(
            words, place, shift, textcoords="offset points", fontsize=style.TEXT, weight="bold", ha=side,
            va="top" if side == "left" else "bottom", color=style.INK, zorder=6,
            bbox={"boxstyle": "round,pad=0.15", "facecolor": style.PAPER, "edgecolor": "none"},
        )  # fmt: skip


def _draw_fan(
    figure: Figure, values: np.ndarray, loss: np.ndarray, names: tuple[str, str], path: np.ndarray | None
) -> None:
    """All points of the landscape by their ratio alone: one curve, if only the ratio counts."""
    left = 4.6
    style.put_text(
        figure, left - 0.5, 3.81, "The same points by their ratio", size=style.TITLE, weight="bold", va="top"
    )
    words = "meta-loss of every point of the landscape"
    style.put_text(figure, left - 0.5, 3.57, words, size=style.SMALL, color=style.MUTED, va="top")
    axes = style.quiet_axes(style.axes_at(figure, left, 0.5, 4.3, 2.9), f"{names[1]} / {names[0]} (log scale)")
    ratio = values[None, :] / values[:, None]
    axes.scatter(ratio, loss, s=12, color=style.FORWARD, alpha=0.7, linewidths=0)
    axes.set_xscale("log")
    axes.set_xlim(ratio.min() / 1.2, ratio.max() * 1.2)
    if path is not None:
        for words, place, side in (("start", path[0], "left"), ("end", path[-1], "right")):
            x = float(place[1] / place[0])
            axes.axvline(x, color=style.OUTER, linewidth=1.2, linestyle="--" if words == "start" else "-")
            axes.annotate(
                words, (x, 1), (-4 if side == "left" else 4, -4), textcoords="offset points",
                xycoords=("data", "axes fraction"), ha="right" if side == "left" else "left", va="top",
                color=style.INK, fontsize=style.TEXT, bbox={"pad": 1, "facecolor": style.PAPER, "edgecolor": "none"},
            )  # fmt: skip
    ticks = [0.1, 0.2, 0.5, 1, 2, 5, 10]
    axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
    axes.minorticks_off()


def climb_figure(curves: Sequence[Climb], title: str, limits: tuple[float, float] | None = None) -> Figure:
    """Numbers at each meta-step, such as accuracy on data that the outer loop never sees.

    Args:
        curves: name, a number for each meta-step from 0 (NaN where there is none), and a colour, for each line.
        title: what was measured.
        limits: of the vertical axis; None fits the curves.

    Returns:
        The Figure, 9.12 x 2.7 inches.
    """
    check_number("curves", len(curves), low=1, integer=True)
    figure = style.new_figure(_WIDTH, 2.7)
    style.put_text(figure, 0.1, 2.61, title, size=style.TITLE, weight="bold", va="top")
    box = (0.5, 0.5, 6.6, 1.75)
    axes = style.quiet_axes(style.axes_at(figure, *box), "meta-step")
    for (_, values, colour), marker in zip(curves, ("o", "s", "^", "D"), strict=False):
        axes.plot(values, color=colour, marker=marker, markersize=4, linewidth=1.8)
    if limits is not None:
        axes.set_ylim(*limits)
    low, high = axes.get_ylim()
    ends = sorted((float(np.asarray(v)[np.isfinite(v)][-1]), name, colour) for name, v, colour in curves)
    places = style.apart([box[1] + box[3] * (end - low) / (high - low) for end, *_ in ends], 0.19)
    for (end, name, colour), y in zip(ends, places, strict=True):
        style.put_text(figure, box[0] + box[2] + 0.1, y, f"{name} {end:.2f}", color=colour, va="center")
    return figure


def slices_figure(slices: Mapping[str, tuple[Sequence[float], Sequence[float]]], x: str = "decorrelation") -> Figure:
    """Cuts through a loss, side by side on one scale of loss: smooth ones and jagged ones.

    Args:
        slices: heading -> (where the loss was taken [n], the loss there [n]); two lines of a heading are parted by a
            line break.
        x: what lies along the horizontal axes.

    Returns:
        The Figure, 9.12 inches wide, four to a row.
    """
    check_number("slices", len(slices), low=1, integer=True)
    rows, columns = -(-len(slices) // 4), min(4, len(slices))
    figure = style.new_figure(_WIDTH, 2.35 * rows)
    values = np.concatenate([np.asarray(loss, dtype=float) for _, loss in slices.values()])
    pad = 0.05 * float(np.ptp(values))
    width = (_WIDTH - 0.65) / columns
    for i, (heading, (places, loss)) in enumerate(slices.items()):
        left, bottom = 0.65 + i % 4 * width, 2.35 * (rows - 1 - i // 4) + 0.5
        axes = style.quiet_axes(style.axes_at(figure, left, bottom, width - 0.3, 1.3), x, "" if i % 4 else "meta-loss")
        axes.plot(places, loss, color=style.FORWARD, linewidth=1.2)
        axes.set_ylim(values.min() - pad, values.max() + pad)
        axes.set_xticks([places[0], places[-1]], [f"{places[0]:g}", f"{places[-1]:g}"])
        labels = axes.get_xticklabels()
        labels[0].set_horizontalalignment("left")
        labels[-1].set_horizontalalignment("right")
        if i % 4:
            axes.set_yticklabels([])
        first, _, second = heading.partition("\n")
        style.put_text(figure, left, bottom + 1.75, first, weight="bold", va="top")
        style.put_text(figure, left, bottom + 1.54, second, size=style.SMALL, color=style.MUTED, va="top")
    return figure
