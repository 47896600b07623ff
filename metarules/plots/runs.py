"""Tracks of the terms over meta-steps, rules side by side, and the curves of several runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from metarules.plots import style
from metarules.plots.evolution import DASHES, WIDTH, draw_tracks, label_ends, log_axis, strongest
from metarules.studies.evolution import Evolution
from metarules.studies.runs import Compared
from metarules.studies.timeline import KIND_LABELS

_MARKERS = ("o", "s", "^", "D", "v", "P")


def tracks_figure(evolution: Evolution, compared: Compared) -> Figure:
    """Draw what every term weighs at each snapshot: its coefficient, and that times the neurons' mean gate.

    Args:
        evolution: the run.
        compared: its snapshots, in order, from `compare_rules`.

    Returns:
        The Figure, 9.12 x 3.5 inches.

    Raises:
        ValueError: `compared` is not of as many rules as there are snapshots.
    """
    if len(compared.names) != len(evolution.rules):
        raise ValueError(f"compared has {len(compared.names)} rules; allowed: {len(evolution.rules)}, the snapshots")
    figure = style.new_figure(WIDTH, 3.5)
    table = np.array([evolution.table[name] for name in evolution.terms]).T
    own = compared.weights[:, [compared.terms.index(name) for name in evolution.terms]]
    for left, values, title in (
        (0.45, table, "Coefficients"),
        (5.05, own, "Coefficient x mean gate: what a term weighs"),
    ):
        box = (left, 0.45, 2.3, 2.6)
        axes = style.quiet_axes(style.axes_at(figure, *box), "meta-step (log scale)")
        style.put_text(figure, left - 0.35, 3.2, title, size=style.TITLE, weight="bold")
        labels = draw_tracks(axes, evolution.meta_steps, values, evolution.terms, strongest(own))
        log_axis(axes, max([1.0, *map(float, evolution.meta_steps)]))
        label_ends(figure, axes, box, labels)
    return figure


def rules_figure(compared: Compared) -> Figure:
    """Draw rules side by side: what each term weighs in each, and the cosines between their changes of W.

    Args:
        compared: from `studies.runs.compare_rules`, of at most six rules.

    Returns:
        The Figure, 9.12 inches wide.

    Raises:
        ValueError: more rules than there are markers.
    """
    n, terms = len(compared.names), len(compared.terms)
    if n > len(_MARKERS):
        raise ValueError(f"compared has {n} rules; allowed: at most {len(_MARKERS)}")
    height = max(3.6, 0.95 + 0.2 * terms)
    figure = style.new_figure(WIDTH, height)
    style.put_text(figure, 0.1, height - 0.1, "What each term weighs", size=style.TITLE, weight="bold", va="top")
    axes = style.quiet_axes(style.axes_at(figure, 1.3, 0.3, 3.2, height - 1.15), "")
    places = np.arange(terms)[::-1]
    axes.set(ylim=(-0.7, terms - 0.3), yticks=places)
    axes.set_yticklabels(compared.terms, fontsize=style.SMALL, color=style.INK)
    axes.axvline(0, color=style.MUTED, linewidth=0.8)
    for i, name in enumerate(compared.names):
        marker, colour = _MARKERS[i], style.class_colour(i)
        axes.plot(compared.weights[i], places, marker, color=colour, markersize=6, alpha=0.85, label=name)
    axes.legend(
        loc="lower left", bbox_to_anchor=(-0.38, 0.99), ncols=2, fontsize=style.SMALL, frameon=False,
        handletextpad=0.1, columnspacing=0.8,
    )  # fmt: skip
    side, left = min(2.1, height - 1.3), 5.9
    title = "Cosine of their changes of W"
    style.put_text(figure, 4.75, height - 0.1, title, size=style.TITLE, weight="bold", va="top")
    says = "right: R², the share of the change that classical rules explain"
    style.put_text(figure, 4.75, height - 0.34, says, size=style.SMALL, color=style.MUTED, va="top")
    square = style.bare(style.axes_at(figure, left, height - 0.75 - side, side, side))
    square.imshow(compared.cosines, cmap=style.DIVERGING, vmin=-2, vmax=2)  # pale, so that dark ink reads on all
    for i in range(n):
        for j in range(n):
            words = f"{compared.cosines[i, j]:.2f}"
            square.text(j, i, words, ha="center", va="center", fontsize=style.SMALL, color=style.INK)
        y = height - 0.75 - side * (i + 0.5) / n
        style.put_text(figure, left + side + 0.1, y, f"R² {compared.r2[i]:.2f}", size=style.SMALL, va="center")
        style.put_text(figure, left - 0.07, y, compared.names[i], size=style.SMALL, ha="right", va="center")
    return figure


def curves_figure(logs: Mapping[str, Mapping[str, Sequence[float]]], kinds: Sequence[str] | None = None) -> Figure:
    """Draw what several runs were worth on held-out data along the way, a panel for each kind of data.

    Args:
        logs: run -> log, see `studies.evolution.read_log`.
        kinds: of held-out data; by default all that every log has.

    Returns:
        The Figure, 9.12 x 3.1 inches.

    Raises:
        ValueError: no kind that all logs have.
    """
    shared = [name for name in next(iter(logs.values())) if all(name in log for log in logs.values())]
    kinds = [k for k in shared if k not in ("meta_step", "meta_loss")] if kinds is None else list(kinds)
    if not kinds or not set(kinds) <= set(shared):
        raise ValueError(f"kinds is {list(kinds)}; allowed: some of {', '.join(shared[2:]) or 'none: no log has any'}")
    figure = style.new_figure(WIDTH, 3.1)
    names_room = max(1.32, 0.35 + 0.065 * max(len(name) for name in logs))  # a character is 0.06 inches wide
    width = (WIDTH - names_room - 0.5 * len(kinds)) / len(kinds)
    for i, kind in enumerate(kinds):
        left = 0.5 + i * (width + 0.5)
        box = (left, 0.45, width, 1.95)
        axes = style.quiet_axes(style.axes_at(figure, *box), "meta-step")
        style.put_text(figure, left - 0.35, 2.55, f"held-out {KIND_LABELS.get(kind, kind)}", weight="bold")
        labels = []
        for k, (name, log) in enumerate(logs.items()):
            steps, values = (np.asarray(log[column], dtype=float) for column in ("meta_step", kind))
            known = np.isfinite(values)
            look: dict[str, Any] = {
                "color": style.class_colour(k),
                "linestyle": DASHES[k % len(DASHES)],
                "marker": _MARKERS[k % 6],
            }
            axes.plot(steps[known], values[known], markersize=3.5, linewidth=1.8, **look)
            labels.append((float(values[known][-1]), name, style.class_colour(k), style.INK))
        if i == len(kinds) - 1:
            label_ends(figure, axes, box, labels)
    style.put_text(figure, 0.1, 3.03, "Few-shot accuracy", size=style.TITLE, weight="bold", va="top")
    return figure
