"""How far a rule generalises: maps over width and depth, accuracy by labels per class, and curves along one axis."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import Normalize, to_hex
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from metarules.plots import style
from metarules.plots.film import Film
from metarules.studies.generalisation import Cell, Map

COLOURS = "cividis"  # made for colour-blind readers: dark is low, bright is high
_LOOKS = ((style.FORWARD, "-", "o"), (style.MUTED, "--", "s"), (style.BACKWARD, "-.", "^"), (style.OUTER, ":", "D"))
_MORE = (("#5b5b00", (0, (4, 1, 1, 1)), "v"), ("#14808a", (0, (1, 1)), "P"))
KINDS = {"accuracy": "accuracy", "above": "above untaught"}


class MapFilm(Film):
    """Widths across, depths up; a number in each cell; a frame around the net that is shown.

    Args:
        cell: the net and the map around it.
        kind: "accuracy" or "above".
    """

    def __init__(self, cell: Cell, kind: str = "accuracy") -> None:
        self.map, self.kind, self.net, self.sizes = cell.map, kind, cell.net, cell.sizes
        subtitle = "each number: one net; empty: not taught yet; click one"
        figure, self._corner = style.panel_figure(f"Other nets: {KINDS[kind]}", subtitle)
        self.axes = style.axes_at(figure, 0.62, 0.5, 3.75, 2.3)
        draw_map(self.axes, self.map, kind)
        if self.net.depth in self.map.depths and (self.net.depth == 1 or self.net.width in self.map.widths):
            y, last = self.map.depths.index(self.net.depth), len(self.map.widths)
            x, across = (0, last) if self.net.depth == 1 else (self.map.widths.index(self.net.width), 1)
            look: dict[str, Any] = {"fill": False, "edgecolor": style.BACKWARD, "linewidth": 3}
            self.axes.add_patch(Rectangle((x - 0.47, y - 0.44), across - 0.06, 0.88, **look))
        super().__init__(figure, len(cell.steps), [])

    def set_frame(self, frame: int) -> None:
        """Nothing moves."""

    def net_at(self, across: float, down: float) -> tuple[int, int] | None:
        """Width and depth of the cell at a place, in shares of the picture; None beside the map."""
        box = self.axes.get_position()
        x, y = (across - box.x0) / box.width, (1 - down - box.y0) / box.height
        if not (0 <= x < 1 and 0 <= y < 1):
            return None
        return self.map.widths[int(x * len(self.map.widths))], self.map.depths[int(y * len(self.map.depths))]

    def alt(self, frame: int) -> str:
        """The range of the numbers."""
        values = getattr(self.map, self.kind)
        known = values[np.isfinite(values)]
        said = f"from {known.min():.2f} to {known.max():.2f}" if len(known) else "none yet"
        return (
            f"Map of {KINDS[self.kind]} over widths {_list(self.map.widths)} and depths {_list(self.map.depths)}: "
            f"{len(known)} cells, {said}; framed: {'-'.join(map(str, self.sizes))}."
        )


def draw_map(axes: Axes, shown: Map, kind: str = "accuracy", limits: tuple[float, float] | None = None) -> None:
    """Draw a map into axes: colours and numbers. One layer, which has no width, is one cell across.

    Args:
        axes: where.
        shown: the map.
        kind: "accuracy" or "above".
        limits: of the colours; by default those of the map.
    """
    values = getattr(shown, kind)
    known = values[np.isfinite(values)]
    low, high = limits or ((float(known.min()), float(known.max())) if len(known) else (0.0, 1.0))
    norm, colours = Normalize(low, max(high, low + 0.05)), matplotlib.colormaps[COLOURS]
    style.bare(axes)
    axes.set(xlim=(-0.5, len(shown.widths) - 0.5), ylim=(-0.5, len(shown.depths) - 0.5))
    for (y, x), value in np.ndenumerate(values):
        if np.isfinite(value):
            alone = shown.depths[y] == 1 and np.isfinite(values[y]).sum() == 1
            left, across = (0, len(shown.widths)) if alone else (x, 1)
            ground = to_hex(colours(norm(value)))
            cell = Rectangle((left - 0.5, y - 0.5), across, 1, facecolor=ground, edgecolor=style.PAPER, linewidth=1.5)
            axes.add_patch(cell)
            words = f"{value:.2f}" if kind == "accuracy" else f"{value:+.2f}".replace("-", "\N{MINUS SIGN}")
            words += "" if shown.clear[y, x] or not np.isfinite(shown.above[y, x]) else " ≈"
            middle, colour = left + (across - 1) / 2, style.text_on(ground)
            axes.text(middle, y, words, ha="center", va="center", fontsize=style.TEXT, color=colour)
    axes.set_xticks(range(len(shown.widths)), [str(w) for w in shown.widths], fontsize=style.SMALL, color=style.MUTED)
    axes.set_yticks(range(len(shown.depths)), [str(d) for d in shown.depths], fontsize=style.SMALL, color=style.MUTED)
    axes.tick_params(length=0)
    axes.set_xlabel("units in each layer below the top", fontsize=style.TEXT, color=style.INK, labelpad=3)
    axes.set_ylabel("layers", fontsize=style.TEXT, color=style.INK)


class LabelsFilm(Film):
    """Accuracy at several numbers of labels per class: the rule, the same net untaught, the rival.

    Args:
        cell: the net.
    """

    def __init__(self, cell: Cell) -> None:
        self.cell = cell
        figure, self._corner = style.panel_figure(
            "How many labels", f"accuracy after {cell.steps[-1]} inner steps; bars: ± 1 error"
        )
        axes = style.axes_at(figure, 0.5, 0.45, 2.75, 2.3)
        series = {name: (cell.label_counts, *values) for name, values in cell.by_labels.items()}
        draw_curves(axes, figure, series, "labels per class", 3.33)
        super().__init__(figure, len(cell.steps), [])

    def set_frame(self, frame: int) -> None:
        """Nothing moves."""

    def alt(self, frame: int) -> str:
        """First and last number of each curve."""
        said = "; ".join(f"{name} {m[0]:.2f} to {m[-1]:.2f}" for name, (m, _) in self.cell.by_labels.items())
        first, last = self.cell.label_counts[0], self.cell.label_counts[-1]
        return f"Curves of accuracy from {first} to {last} labels per class: {said}."


class TableFilm(Film):
    """The numbers at the inner step shown: the rule, the same net untaught, the rival, and the paired differences.

    Args:
        cell: the net.
    """

    def __init__(self, cell: Cell) -> None:
        self.cell = cell
        subtitle = f"{cell.labels} labels per class, {cell.accuracies.shape[1]} draws of them, ± standard error"
        figure, corner = style.panel_figure("In numbers", subtitle)
        self._columns = (0.15, 1.55, 2.75)
        for x, words in zip(self._columns, ("", "accuracy", "the rule is"), strict=True):
            style.put_text(figure, x, 2.45, words, color=style.MUTED, size=style.SMALL)
        lines = range(3)
        self._texts = [[style.put_text(figure, x, 2.05 - 0.42 * i, "") for x in self._columns] for i in lines]
        facts = f"chance {cell.chance:.2f}\nnet {'-'.join(map(str, cell.sizes))}, {cell.net.nonlinearity}"
        style.put_text(figure, 0.15, 0.25, facts, color=style.MUTED, size=style.SMALL, linespacing=1.4)
        self._corner = corner
        super().__init__(figure, len(cell.steps), [text for line in self._texts for text in line] + [corner])

    def set_frame(self, frame: int) -> None:
        """Write the numbers of a step."""
        rule = self.cell.accuracies[frame]
        gaps = (None, rule - self.cell.accuracies[0], rule - self.cell.rival_accuracies)
        for texts, (name, mean, error, word), gap in zip(self._texts, self.cell.lines(frame), gaps, strict=True):
            texts[0].set_text(name)
            texts[1].set_text(f"{mean:.3f} ± {error:.3f}")
            texts[2].set_text("" if gap is None else f"{word} ({gap.mean():+.3f})")
        self._corner.set_text(f"step {self.cell.steps[frame]}")

    def alt(self, frame: int) -> str:
        """The table in words."""
        lines = [f"{name} {mean:.3f} ± {error:.3f}" for name, mean, error, _ in self.cell.lines(frame)]
        return f"Table of accuracies at inner step {self.cell.steps[frame]}: {'; '.join(lines)}."


Numbers = Sequence[float] | np.ndarray
Series = Mapping[str, tuple[Sequence[float], Numbers, Numbers]]


def draw_curves(axes: Axes, figure: Figure, series: Series, x: str, margin: float, *, low: float | None = None) -> None:
    """Curves with error bars over a logarithmic axis, named at their right ends.

    Args:
        axes, figure: where.
        series: name -> (places, means, standard errors).
        x: what the axis is.
        margin: inches from the left, where the names stand.
        low: where the axis of accuracy begins.
    """
    style.quiet_axes(axes, x)
    values = np.concatenate([np.asarray(mean, dtype=float) for _, mean, _ in series.values()])
    low = max(0.0, np.floor((np.nanmin(values) - 0.03) * 10) / 10) if low is None else low
    places = sorted({place for at, *_ in series.values() for place in at})
    axes.set(xscale="symlog" if places[0] <= 0 else "log", ylim=(low, 1.0))
    axes.set_xticks(places, [f"{p:,}" for p in places])
    axes.minorticks_off()
    ends = []
    for (name, (at, mean, error)), (colour, dash, marker) in zip(series.items(), (*_LOOKS, *_MORE), strict=False):
        axes.errorbar(
            at, mean, error, color=colour, linestyle=dash, marker=marker, markersize=5, linewidth=1.8, capsize=2
        )
        ends.append((float(mean[-1]), f"{name}\n{mean[-1]:.2f}", colour))
    box, height = axes.get_position(), figure.get_size_inches()[1]
    ends.sort(key=lambda end: end[0])
    wanted = [(box.y0 + box.height * (value - low) / (1 - low)) * height for value, *_ in ends]
    for (_, words, colour), y in zip(ends, style.apart(wanted, 0.34, high=box.y1 * height), strict=True):
        style.put_text(figure, margin, y, words, color=colour, size=style.SMALL, va="center", linespacing=1.05)


def curves_figure(panels: Mapping[str, tuple[str, Series]], low: float | None = None, note: str = "") -> Figure:
    """Panels of curves side by side, two in a row.

    Args:
        panels: heading -> (what the axis is, the curves), see `draw_curves`.
        low: where the axes of accuracy begin.
        note: a line below all of them.

    Returns:
        The Figure, 9.12 inches wide.
    """
    rows = -(-len(panels) // 2)
    figure, foot = _noted(3.1 * rows, note)
    says = "few-shot accuracy; bars: ± 1 standard error"
    for i, (title, (x, series)) in enumerate(panels.items()):
        left, top = 4.56 * (i % 2), foot + 3.1 * (rows - i // 2)
        style.put_text(figure, left + 0.1, top - 0.1, title, size=style.TITLE, weight="bold", va="top")
        style.put_text(figure, left + 0.1, top - 0.34, says, size=style.SMALL, color=style.MUTED, va="top")
        axes = style.axes_at(figure, left + 0.5, top - 2.62, 2.85, 2.0)
        draw_curves(axes, figure, series, x, left + 3.42, low=low)
    return figure


def maps_figure(maps: Mapping[str, Map], kind: str = "accuracy", note: str = "") -> Figure:
    """Maps side by side, two in a row, in one scale of colours.

    Args:
        maps: heading -> map.
        kind: "accuracy" or "above".
        note: a line below all of them.

    Returns:
        The Figure, 9.12 inches wide.
    """
    values = np.concatenate([getattr(shown, kind).ravel() for shown in maps.values()])
    limits = float(np.nanmin(values)), float(np.nanmax(values))
    rows = -(-len(maps) // 2)
    figure, foot = _noted(3.0 * rows, note)
    for i, (title, shown) in enumerate(maps.items()):
        left, top = 4.56 * (i % 2), foot + 3.0 * (rows - i // 2)
        style.put_text(figure, left + 0.1, top - 0.1, title, size=style.TITLE, weight="bold", va="top")
        draw_map(style.axes_at(figure, left + 0.55, top - 2.5, 3.8, 2.05), shown, kind, limits)
    return figure


def bars_figure(
    groups: Mapping[str, Mapping[str, tuple[float, float]]], title: str, chance: float | None = None
) -> Figure:
    """A row of marks for each group: accuracy with its standard error, one mark for each name.

    Args:
        groups: group -> name -> (accuracy, standard error).
        title: what was measured.
        chance: drawn as an upright line.

    Returns:
        The Figure, 9.12 inches wide.
    """
    names = list(dict.fromkeys(name for group in groups.values() for name in group))
    rows, step, key = len(groups), 0.34, 0.25 if len(names) > 1 else 0.0
    figure = style.new_figure(9.12, 0.85 + key + step * rows)
    style.put_text(figure, 0.1, 0.76 + key + step * rows, title, size=style.TITLE, weight="bold", va="top")
    axes = style.quiet_axes(style.axes_at(figure, 2.0, 0.45, 6.9, step * rows), "few-shot accuracy")
    axes.set(ylim=(rows - 0.5, -0.5), xlim=(0, 1))
    axes.set_yticks(range(rows), list(groups), fontsize=style.TEXT, color=style.INK)
    if chance is not None:
        axes.axvline(chance, color=style.MUTED, linewidth=1, linestyle=":")
        look: dict[str, Any] = {"fontsize": style.SMALL, "color": style.MUTED, "ha": "right", "va": "bottom"}
        axes.text(chance - 0.006, rows - 0.5, "chance", **look)
    x = 2.0
    for name, (colour, _, marker) in zip(names, (*_LOOKS, *_MORE), strict=False):
        found = [(i, *group[name]) for i, group in enumerate(groups.values()) if name in group]
        at, mean, error = zip(*found, strict=True)
        axes.errorbar(mean, at, xerr=error, color=colour, linestyle="", marker=marker, markersize=7, capsize=2)
        if key:
            style.put_text(figure, x, 0.56 + step * rows, f"{_KEYS[marker]} {name}", color=colour, size=style.SMALL)
            x += 0.45 + 0.073 * len(name)  # about as wide as its letters
    return figure


def losses_figure(curves: Mapping[str, np.ndarray]) -> Figure:
    """Accuracy (left axis) and loss (right axis) over the steps of a training run, a panel for each data set.

    Args:
        curves: data set -> lines of (step, loss, accuracy, standard error), [K, 4].

    Returns:
        The Figure, 9.12 inches wide.
    """
    figure = style.new_figure(9.12, 3.1)
    for i, (name, curve) in enumerate(curves.items()):
        steps, loss, accuracy, error = np.asarray(curve, dtype=float).T
        left = 4.56 * i
        style.put_text(figure, left + 0.1, 3.0, f"A VAE on {name}", size=style.TITLE, weight="bold", va="top")
        axes = style.quiet_axes(style.axes_at(figure, left + 0.72, 0.48, 3.1, 2.0), "steps of training")
        axes.set_ylabel("● few-shot accuracy", fontsize=style.TEXT, color=style.FORWARD)
        axes.errorbar(steps, accuracy, error, color=style.FORWARD, marker="o", markersize=5, linewidth=2, capsize=2)
        axes.set(xscale="log")
        axes.set_xticks(steps, [f"{step:,.0f}" for step in steps])
        axes.minorticks_off()
        other = style.quiet_axes(axes.twinx(), "")
        other.grid(False)
        other.spines["right"].set_visible(True)
        other.plot(steps, loss, color=style.BACKWARD, marker="s", markersize=4, linewidth=1.6, linestyle="--")
        other.set_ylabel("■ loss, nats an image", fontsize=style.TEXT, color=style.BACKWARD)
        other.yaxis.set_label_position("right")
        other.yaxis.tick_right()
    return figure


def _noted(height: float, note: str) -> tuple[Figure, float]:
    """A Figure 9.12 inches wide with a note at its foot, and how many inches that takes."""
    foot = 0.15 + 0.18 * len(note.splitlines()) if note else 0.0
    figure = style.new_figure(9.12, height + foot)
    if note:
        style.put_text(figure, 0.1, foot - 0.05, note, size=style.SMALL, color=style.MUTED, va="top", linespacing=1.3)
    return figure, foot


_KEYS = {"o": "●", "s": "■", "^": "▲", "D": "◆", "v": "▼", "P": "✚"}


def _list(numbers: Sequence[int]) -> str:
    return ", ".join(map(str, numbers))
