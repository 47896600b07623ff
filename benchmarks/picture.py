"""Cost against each size, as a picture: straight lines on log-log axes, whose slopes are the exponents."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator

from benchmarks.fitting import Row
from benchmarks.measure import AXES
from benchmarks.report import machine_line, sizes
from metarules.plots import style

COLOURS = {"local": style.FORWARD, "paper": style.BACKWARD}
RULE_SHADES = ("#7fb8dd", style.FORWARD, "#00304f")  # nets of the rule, narrow to deep
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


def fitting_figure(rows: Sequence[Row]) -> Figure:
    """Seconds of learning, and accuracy, against the number of examples, a line for each choice.

    Args:
        rows: what `fitting.run` returned.
    """
    names = list(dict.fromkeys(row.choice for row in rows))
    figure = style.new_figure(9.12, 4.6)
    style.put_text(figure, 0.1, 4.51, "Learning without labels from N examples of handwriting", size=style.TITLE,
                   weight="bold", va="top")  # fmt: skip
    said = f"held-out characters, 8 x 8; ten labels per class, accuracy on 2,000 other examples; {rows[0].machine}"
    style.put_text(figure, 0.1, 4.27, said, size=style.SMALL, color=style.MUTED, va="top")
    panels = {}
    for i, (field, label) in enumerate((("seconds", "seconds of learning"), ("accuracy", "few-shot accuracy"))):
        panels[field] = style.axes_at(figure, 0.75 + 4.5 * i, 1.5, 3.65, 2.4)
        style.quiet_axes(panels[field], "examples N", label)
        panels[field].set_xscale("log")
    panels["seconds"].set_yscale("log")
    for axes in panels.values():
        axes.minorticks_off()
    rules = [name for name in names if name.startswith("local")]
    for name in names:
        done = [row for row in rows if row.choice == name and not row.why]
        rule = name in rules
        k = (rules if rule else [n for n in names if n not in rules]).index(name)
        look: dict[str, Any] = {
            "color": RULE_SHADES[k // 2 % len(RULE_SHADES)] if rule else style.class_colour(k + 1),
            "marker": "o" if rule else style.CLASS_MARKERS[k + 1],
            "linestyle": "--" if rule and k % 2 == 0 else "-",
        }
        at = [row.examples for row in done]
        panels["seconds"].plot(at, [row.seconds for row in done], markersize=4, linewidth=1.4, label=name, **look)
        errors = [row.stderr for row in done]
        panels["accuracy"].errorbar(at, [row.accuracy for row in done], errors, markersize=4, linewidth=1.4, **look)
    drawn = dict(zip(names, panels["seconds"].lines, strict=True))
    steps = sorted(rules, key=lambda name: rules.index(name) % 2)  # a column of rivals, one of 25 steps, one of 100
    order = [name for name in names if name not in rules] + steps
    place: dict[str, Any] = {"loc": "upper left", "bbox_to_anchor": (0.6 / 9.12, 0.98 / 4.6), "ncols": 3}
    handles = [drawn[name] for name in order]
    figure.legend(handles, order, fontsize=style.SMALL, frameon=False, columnspacing=2.0, **place)
    return figure
