"""Cost against each size, as a picture: straight lines on log-log axes, whose slopes are the exponents."""

from __future__ import annotations

from typing import Any

from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator

from benchmarks.measure import AXES
from benchmarks.report import machine_line, sizes
from metarules.plots import style

COLOURS = {"local": style.FORWARD, "paper": style.BACKWARD}
MARKERS = {"local": "o", "paper": "s"}
SIDE, GAP, LEFT, BOTTOM, HEIGHT, HEAD = 1.68, 0.16, 0.62, 0.46, 1.9, 1.12  # inches


def cost_figure(results: dict[str, Any]) -> Figure:
    """Seconds of a meta-gradient against tasks, width, depth, batch and unroll length.

    Args:
        results: what `plan.run` returned.

    Returns:
        The Figure, a panel for each size that was swept.

    Raises:
        ValueError: nothing was swept.
    """
    rows = results["scaling"]
    if not rows:
        raise ValueError("results hold no scaling; allowed: a run whose plan has sweeps")
    axes_names = [axis for axis in AXES if any(row["axis"] == axis for row in rows)]
    width = LEFT + len(axes_names) * (SIDE + GAP) + 0.1
    figure = style.new_figure(width, BOTTOM + HEIGHT + HEAD)
    height = BOTTOM + HEIGHT + HEAD
    title = "Cost of a meta-gradient (forward + backward) as one size grows"
    style.put_text(figure, 0.1, height - 0.09, title, size=style.TITLE, weight="bold", va="top")
    style.put_text(figure, 0.1, height - 0.33, _bases(rows), size=style.SMALL, color=style.MUTED, va="top")
    style.put_text(
        figure, 0.1, height - 0.52, machine_line(results["machine"]), size=style.SMALL, color=style.MUTED, va="top"
    )
    every = [1e3 * s for row in rows for s in row["seconds"]]
    for i, name in enumerate(axes_names):
        axes = style.axes_at(figure, LEFT + i * (SIDE + GAP), BOTTOM, SIDE, HEIGHT)
        style.quiet_axes(axes, name, "milliseconds" if i == 0 else "")
        axes.set(xscale="log", yscale="log", ylim=(min(every) / 1.6, max(every) * 1.8))
        axes.tick_params(labelleft=i == 0)
        swept = [row for row in rows if row["axis"] == name]
        values = sorted({value for row in swept for value in row["values"]})
        shown = values if len(values) <= 5 else values[::2]
        axes.set_xticks(shown, [str(value) for value in shown])
        axes.xaxis.set_minor_locator(NullLocator())
        axes.yaxis.set_minor_locator(NullLocator())
        for row in swept:
            colour = COLOURS[row["rule"]]
            times = [1e3 * s for s in row["seconds"]]
            axes.plot(row["values"], times, color=colour, marker=MARKERS[row["rule"]], markersize=3.5, linewidth=1.3)
        for k, row in enumerate(swept):
            text = f"{row['rule']}: power {row['exponent']:.2f}"
            x, y = LEFT + i * (SIDE + GAP), BOTTOM + HEIGHT + 0.07 + 0.17 * (len(swept) - 1 - k)
            style.put_text(figure, x, y, text, size=style.SMALL, color=COLOURS[row["rule"]])
    return figure


def _bases(rows: list[dict[str, Any]]) -> str:
    """What the sizes are that stay."""
    return ";  ".join({row["rule"]: sizes(row).replace(" ", ": ", 1) for row in rows}.values())
