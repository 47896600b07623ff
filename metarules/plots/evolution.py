"""How a rule evolved over meta-training: its meta-loss, validation and coefficients, and the filters it makes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from metarules.plots import style
from metarules.studies.evolution import Evolution

STRONG = 6  # terms in colour: those with the largest coefficients of the run; the others stay grey
ROWS, COLUMNS = 8, 15  # most snapshots and neurons shown by `evolution_filters`; more would be too small to look at
DASHES = ("-", "--", "-.", ":", (0, (5, 1)), (0, (3, 1, 1, 1)))
WIDTH = 9.12  # inches, what JupyterLab leaves a notebook on a laptop
_KINDS = ((style.FORWARD, "o"), (style.BACKWARD, "s"), (style.OUTER, "^"))  # colours and markers of the held-out data
_TILE, _GAP = 0.45, 0.05  # inches, a filter and what lies between two
_BINS = 0.12  # width in decades of the bins the meta-loss is averaged over


def evolution_figure(evolution: Evolution) -> Figure:
    """Draw meta-loss, validation accuracy and the terms' coefficients over the meta-steps.

    Args:
        evolution: from `metarules.studies.evolution.evolution`.

    Returns:
        The Figure, 9.12 x 4.3 inches. The axis of meta-steps is that of log(1 + meta-step), so that 0 has its place.
    """
    figure = style.new_figure(WIDTH, 4.3)
    loss = _panel(figure, (0.55, 2.45, 2.9, 1.42), "Meta-loss", "dots: single meta-steps; line: their mean", False)
    steps = np.asarray(evolution.log["meta_step"], dtype=float)
    _draw_loss(loss, place(steps), np.asarray(evolution.log["meta_loss"], dtype=float))
    judged = _panel(figure, (0.55, 0.5, 2.9, 1.25), "Few-shot accuracy on held-out tasks", "", True)
    ends = []
    for kind, (colour, marker) in zip(evolution.kinds, _KINDS * len(evolution.kinds), strict=False):
        x, y = _known(steps, evolution.log[kind], evolution.table["meta_step"], evolution.table[kind])
        if len(x):
            judged.plot(place(x), y, color=colour, marker=marker, markersize=3.5 if len(x) < 30 else 2, linewidth=1.6)
            ends.append((y[-1], f"{kind} {y[-1]:.2f}", colour, colour))
    box = (5.05, 0.5, 2.15, 3.37)
    mixed = _panel(figure, box, "Coefficients of the terms in the change of W", "coloured: the six largest", True)
    labels = _draw_coefficients(mixed, evolution)
    last = max([1.0, *steps, *evolution.meta_steps])
    for axes in (loss, judged, mixed):
        log_axis(axes, last)
    label_ends(figure, judged, (0.55, 0.5, 2.9, 1.25), ends)
    label_ends(figure, mixed, box, labels)
    return figure


def evolution_filters(
    filters: np.ndarray, meta_steps: Sequence[int], accuracies: Sequence[float] | None = None
) -> Figure:
    """Draw a row of first-layer filters for each snapshot: a column is one neuron, so rows show what training changed.

    Args:
        filters: [snapshots, n_1, height, width], as `compare_snapshots` gives them for one image task. At most 8
            snapshots, evenly chosen with the first and the last, and the first 15 neurons are drawn, each filter on its
            own scale.
        meta_steps: of each snapshot.
        accuracies: few-shot accuracy in [0, 1] of each snapshot, written at the right.

    Returns:
        The Figure, 9.12 inches wide.

    Raises:
        ValueError: filters of another shape, or lengths that differ.
    """
    values = np.asarray(filters, dtype=float)
    if values.ndim != 4 or 0 in values.shape:
        raise ValueError(f"filters has shape {list(values.shape)}; allowed: [snapshots, n_1, height, width], none 0")
    for name, given in (("meta_steps", meta_steps), ("accuracies", accuracies)):
        if given is not None and len(given) != len(values):
            raise ValueError(f"{name} has {len(given)} entries; allowed: {len(values)}, one for each snapshot")
    shown = np.unique(np.linspace(0, len(values) - 1, min(ROWS, len(values))).round().astype(int))
    columns = min(COLUMNS, values.shape[1])
    height = 0.95 + len(shown) * (_TILE + _GAP)
    figure = style.new_figure(WIDTH, height)
    style.put_text(figure, 0.1, height - 0.09, "First-layer filters", size=style.TITLE, weight="bold", va="top")
    says = "a row: the rule after so many meta-steps; a column: the same neuron; red: weight above 0, blue: below 0"
    style.put_text(figure, 0.1, height - 0.33, says, size=style.SMALL, color=style.MUTED, va="top")
    left = 0.85
    right = left + columns * (_TILE + _GAP) + 0.05
    style.put_text(figure, left - 0.15, height - 0.72, "meta-step", size=style.SMALL, color=style.MUTED, ha="right")
    if accuracies is not None:
        style.put_text(figure, right, height - 0.72, "accuracy", size=style.SMALL, color=style.MUTED)
    for row, i in enumerate(shown):
        bottom = height - 0.8 - row * (_TILE + _GAP) - _TILE
        for k in range(columns):
            axes = style.bare(style.axes_at(figure, left + k * (_TILE + _GAP), bottom, _TILE, _TILE))
            biggest = max(float(np.abs(values[i, k]).max()), 1e-12)
            axes.imshow(values[i, k] / biggest, cmap=style.DIVERGING, vmin=-1, vmax=1, interpolation="nearest")
        style.put_text(figure, left - 0.15, bottom + _TILE / 2, f"{meta_steps[i]:,}", ha="right", va="center")
        if accuracies is not None:
            style.put_text(figure, right, bottom + _TILE / 2, f"{accuracies[i]:.2f}", va="center")
    return figure


def place(meta_steps: np.ndarray) -> np.ndarray:
    """Where meta-steps lie on the axis."""
    return np.log10(1 + np.asarray(meta_steps, dtype=float))


def log_axis(axes: Axes, last: float) -> None:
    """Ticks at 0, 1, 10, 100, .. of an axis whose places are `place`."""
    ticks = [0, *(10**k for k in range(8) if 10**k <= last)]
    names = [f"{tick:,}" if tick < 10_000 else f"{tick // 1000}k" for tick in ticks]
    end = float(place(np.array([last]))[0])
    axes.set(xlim=(-0.05, end + 0.05), xticks=place(np.array(ticks)), xticklabels=names)


def _panel(figure: Figure, box: tuple[float, float, float, float], title: str, says: str, named: bool) -> Axes:
    left, bottom, _, height = box
    y = bottom + height + 0.08
    style.put_text(figure, left - 0.4, y + (0.17 if says else 0), title, size=style.TITLE, weight="bold")
    style.put_text(figure, left - 0.4, y, says, size=style.SMALL, color=style.MUTED)
    return style.quiet_axes(style.axes_at(figure, *box), "meta-step (log scale)" if named else "")


def _draw_loss(axes: Axes, x: np.ndarray, y: np.ndarray) -> None:
    x, y = x[np.isfinite(y)], y[np.isfinite(y)]
    if not len(x):
        return
    axes.plot(x, y, ".", color=style.FAINT, markersize=2.5, rasterized=True)
    bins = np.floor(x / _BINS)
    means = np.array([(x[bins == b].mean(), y[bins == b].mean()) for b in np.unique(bins)])
    axes.plot(*means.T, color=style.OUTER, linewidth=1.8)
    low, high = np.percentile(y, (0.5, 99.5))  # one wild step must not flatten the rest
    low, high = min(low, means[:, 1].min()), max(high, means[:, 1].max())
    axes.set_ylim(low - 0.08 * (high - low) - 1e-3, high + 0.08 * (high - low) + 1e-3)


def _known(*columns: Sequence[float] | np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Meta-steps and values that are known, from the log and the snapshots (which win), in order."""
    steps, logged, at, cards = (np.asarray(column, dtype=float) for column in columns)
    merged = dict(zip(steps, logged, strict=True)) | {n: v for n, v in zip(at, cards, strict=True) if np.isfinite(v)}
    points = sorted((n, v) for n, v in merged.items() if np.isfinite(v))
    return np.array([n for n, _ in points]), np.array([v for _, v in points])


def _draw_coefficients(axes: Axes, evolution: Evolution) -> list[tuple[float, str, str, str]]:
    table = np.array([evolution.table[name] for name in evolution.terms]).T
    return draw_tracks(axes, evolution.meta_steps, table, evolution.terms)


def draw_tracks(
    axes: Axes,
    meta_steps: Sequence[float],
    values: np.ndarray,
    names: Sequence[str],
    strong: Sequence[int] | None = None,
) -> list[tuple[float, str, str, str]]:
    """Draw a track for each name over the meta-steps, the largest in colour.

    Args:
        axes: see `place` for its x.
        meta_steps: of each snapshot.
        values: [snapshots, names].
        names: of the tracks.
        strong: numbers of those in colour; by default the six that are largest somewhere.

    Returns:
        What `label_ends` takes.
    """
    x = place(np.asarray(meta_steps))
    strong = sorted(strongest(values) if strong is None else strong)  # so a name has one colour in every picture
    axes.axhline(0, color=style.MUTED, linewidth=0.8)
    labels = []
    for k, name in enumerate(names):
        look: dict[str, Any] = {"color": style.MUTED, "linewidth": 0.8, "alpha": 0.6}
        if k in strong:
            rank = strong.index(k)
            look = {"color": style.class_colour(rank), "linestyle": DASHES[rank], "linewidth": 2, "zorder": 3}
        axes.plot(x, values[:, k], **look)
        ink = style.INK if k in strong else style.MUTED
        labels.append((float(values[-1, k]), f"{name} {values[-1, k]:+.2f}", look["color"], ink))
    return labels


def strongest(values: np.ndarray) -> list[int]:
    """Numbers of the six tracks [snapshots, names] that are largest somewhere, the largest first."""
    return [int(k) for k in np.argsort(-np.abs(values).max(0), kind="stable")[:STRONG]]


def label_ends(
    figure: Figure, axes: Axes, box: tuple[float, float, float, float], labels: list[tuple[float, str, str, str]]
) -> None:
    """Write (value, words, colour of the line, colour of the words) at the right, moved apart, each joined to its line.

    Labels keep their values' order.
    """
    left, bottom, width, height = box
    low, high = axes.get_ylim()
    labels = sorted(labels)
    wanted = [bottom + height * (value - low) / (high - low) for value, *_ in labels]
    places = style.apart(wanted, 0.175, high=bottom + height)
    x = left + width
    w, h = figure.get_size_inches()
    for (_, words, line, text), y, place in zip(labels, wanted, places, strict=True):
        spots = np.array([(x + 0.03, y), (x + 0.2, place)]) / (w, h)
        figure.add_artist(Line2D(spots[:, 0], spots[:, 1], color=line, linewidth=1))
        style.put_text(figure, x + 0.23, place, words, size=style.SMALL, color=text, va="center_baseline")
