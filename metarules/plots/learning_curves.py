"""Several rules side by side: accuracy over the inner steps, early steps drawn wide and late ones narrow."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure

from metarules.plots import style

_LOOKS = ((style.FORWARD, "-", "o"), (style.BACKWARD, "--", "s"), (style.MUTED, "-.", "^"), (style.INK, ":", "D"))


def learning_curves_figure(
    curves: Mapping[str, tuple[Sequence[int], np.ndarray]],
    baselines: Mapping[str, float] | None = None,
    title: str = "Few-shot accuracy over the inner steps",
) -> Figure:
    """Draw a curve for each rule, with a band where it was run from several seeds.

    Args:
        curves: name -> (inner steps [T], accuracies in [0, 1], [T] or [T, runs]; lines are means, bands lowest to
            highest). At most four.
        baselines: name -> accuracy, drawn as level lines.
        title: what was measured.

    Returns:
        The Figure, 9.12 inches wide.

    Raises:
        ValueError: no curve or more than four, or steps and accuracies that differ in number.
    """
    if not 1 <= len(curves) <= len(_LOOKS):
        raise ValueError(f"curves has {len(curves)} entries; allowed: 1 to {len(_LOOKS)}")
    figure = style.new_figure(9.12, 3.3)
    style.put_text(figure, 0.1, 3.21, title, size=style.TITLE, weight="bold", va="top")
    left, bottom, width, height = 0.5, 0.5, 6.3, 2.35
    axes = style.quiet_axes(style.axes_at(figure, left, bottom, width, height), "inner step (square-root scale)")
    labels: list[tuple[float, str, str]] = []
    lowest = 1.0
    ticks: set[int] = set()
    for (name, (steps, values)), (colour, dash, marker) in zip(curves.items(), _LOOKS, strict=False):
        runs = np.asarray(values, dtype=float).reshape(len(values), -1)
        if len(steps) != len(runs):
            raise ValueError(f"curves[{name!r}] has {len(steps)} steps for {len(runs)} accuracies")
        x, mean = np.sqrt(np.asarray(steps, dtype=float)), runs.mean(1)
        axes.fill_between(x, runs.min(1), runs.max(1), color=colour, alpha=0.18, linewidth=0)
        axes.plot(x, mean, color=colour, linestyle=dash, marker=marker, markersize=5, linewidth=2)
        labels.append((float(mean[-1]), f"{name} {mean[-1]:.2f}", colour))
        lowest, ticks = min(lowest, float(runs.min())), ticks | set(steps)
    for name, value in (baselines or {}).items():
        axes.axhline(value, color=style.MUTED, linewidth=1.2, linestyle=":")
        labels.append((value, f"{name} {value:.2f}", style.MUTED))
        lowest = min(lowest, value)
    low = max(0.0, np.floor((lowest - 0.03) * 10) / 10)
    shown = _readable(sorted(ticks))
    axes.set(ylim=(low, 1.0), xticks=[float(np.sqrt(t)) for t in shown], xticklabels=[str(t) for t in shown])
    labels = sorted(labels)
    places = style.apart([bottom + height * (value - low) / (1 - low) for value, *_ in labels], 0.19)
    for (_, words, colour), y in zip(labels, places, strict=True):
        style.put_text(figure, left + width + 0.1, y, words, color=colour, va="center")
    return figure


def _readable(steps: Sequence[int]) -> list[int]:
    """Those of the steps whose names do not run into each other on the axis."""
    kept: list[int] = []
    least = 0.045 * float(np.sqrt(steps[-1])) if steps else 0.0
    for step in steps:
        if not kept or np.sqrt(step) - np.sqrt(kept[-1]) >= least:
            kept.append(step)
    return kept
