"""Truncation bias: length and direction of truncated meta-gradients, and ES and PES beside the true one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from metarules.plots import style
from metarules.studies.truncation_bias import NAMES, TruncationBias

TRUNCATION_ALT = (
    "Left: the length of the truncated meta-gradient grows steeply with the number of steps it reaches back. Right: "
    "its cosine with the true gradient, near 1 at decorrelation 0.6, and below 0 for short truncations at 0.9."
)
ESTIMATORS_ALT = (
    "Means and 95% bands for three numbers of theta. PES covers the true gradient; ES and truncated backprop lie "
    "together near zero, far from it."
)
NOISE_ALT = (
    "Cosine of the mean of some particles' gradients with the mean of all, rising with their number, with and without "
    "clipping."
)
_LOOKS = ((style.FORWARD, "o"), (style.BACKWARD, "s"), (style.OUTER, "^"), (style.MUTED, "D"))


def truncation_figure(found: Mapping[str, TruncationBias]) -> Figure:
    """Draw the length of the truncated meta-gradient and its cosine with the true one, by truncation length.

    Args:
        found: what to call each -> the gradients, one to four.

    Returns:
        The Figure, 9.12 x 3.1 inches.
    """
    figure = style.new_figure(9.12, 3.1)
    panels = [
        ("How long it is", "length of the mean meta-gradient, both axes logarithmic", 0.55),
        ("Where it points", "cosine with the one through all steps; below 0: the opposite way", 5.05),
    ]
    axes = []
    for title, subtitle, left in panels:
        style.put_text(figure, left - 0.45, 3.01, title, size=style.TITLE, weight="bold", va="top")
        style.put_text(figure, left - 0.45, 2.77, subtitle, size=style.SMALL, color=style.MUTED, va="top")
        one = style.quiet_axes(style.axes_at(figure, left, 0.5, 3.85, 2.0), "J, inner steps the gradient reaches back")
        one.set_xscale("log", base=2)
        axes.append(one)
    for (name, bias), (colour, marker) in zip(found.items(), _LOOKS, strict=False):
        look: dict[str, Any] = {"color": colour, "marker": marker, "linewidth": 1.8, "label": name}
        axes[0].plot(bias.lengths, [np.linalg.norm(values.mean(0)) for values in bias.truncated], **look)
        axes[1].plot(bias.lengths, [bias.cosine(values) for values in bias.truncated], **look)
        ticks = [str(k) for k in bias.lengths[:-1]] + [f"{bias.horizon}, all"]
        for one in axes:
            one.set_xticks(bias.lengths, ticks)
            one.minorticks_off()
    axes[0].set_yscale("log")
    axes[0].minorticks_off()
    axes[0].legend(fontsize=style.SMALL, framealpha=0.85, edgecolor=style.FAINT, loc="upper left")
    axes[1].axhline(0, color=style.MUTED, linewidth=1)
    axes[1].set_ylim(-1.08, 1.08)
    return figure


def estimators_figure(bias: TruncationBias) -> Figure:
    """Draw each estimator's mean with its 95% band, a panel for each number of theta.

    Args:
        bias: with estimates of ES and PES.

    Returns:
        The Figure, 9.12 x 2.9 inches.
    """
    at = bias.lengths.index(bias.estimated_at)
    rows = {
        "true gradient": bias.truncated[-1],
        "true, smoothed": bias.smoothed,
        f"PES, J = {bias.estimated_at}": bias.estimates["pes"],
        f"ES, J = {bias.estimated_at}": bias.estimates["es"],
        f"truncated, J = {bias.estimated_at}": bias.truncated[at],
    }
    figure = style.new_figure(9.12, 2.9)
    title = f"Meta-gradient of an unroll of {bias.horizon} steps: mean and 95% band"
    style.put_text(figure, 0.1, 2.81, title, size=style.TITLE, weight="bold", va="top")
    width = 2.24
    colours = (style.INK, style.INK, style.OUTER, style.BACKWARD, style.FORWARD)
    for j, name in enumerate(NAMES):
        axes = style.quiet_axes(style.axes_at(figure, 1.6 + j * (width + 0.3), 0.35, width, 1.85), "")
        mean, half = bias.band(bias.smoothed)
        axes.axvspan(mean[j] - half[j], mean[j] + half[j], color=style.FAINT, alpha=0.6, linewidth=0)
        axes.axvline(0, color=style.MUTED, linewidth=1)
        for i, (values, colour) in enumerate(zip(rows.values(), colours, strict=True)):
            mean, half = bias.band(values)
            axes.errorbar(mean[j], -i, xerr=half[j], fmt="o", color=colour, capsize=3, markersize=5, linewidth=1.8)
        axes.set_yticks([-i for i in range(len(rows))], list(rows) if j == 0 else [""] * len(rows))
        axes.tick_params(axis="y", labelsize=style.TEXT, labelcolor=style.INK)
        axes.set_ylim(-len(rows) + 0.5, 0.5)
        axes.locator_params(axis="x", nbins=4)
        style.put_text(figure, 1.6 + j * (width + 0.3), 2.25, name, va="bottom")
    return figure


def noise_figure(curves: Mapping[str, tuple[Sequence[int], Sequence[float]]]) -> Figure:
    """Draw how well the mean of a few particles' gradients points, by the number of particles.

    Args:
        curves: name -> (numbers of particles, cosines), one to four.

    Returns:
        The Figure, 9.12 x 2.7 inches.
    """
    figure = style.new_figure(9.12, 2.7)
    title = "How well the mean of some particles points"
    style.put_text(figure, 0.1, 2.61, title, size=style.TITLE, weight="bold", va="top")
    words = "cosine with the mean of all particles, on average"
    style.put_text(figure, 0.1, 2.37, words, size=style.SMALL, color=style.MUTED, va="top")
    box = (0.5, 0.5, 5.6, 1.6)
    axes = style.quiet_axes(style.axes_at(figure, *box), "particles")
    ends = []
    dashes = ("-", "--", "-", "--")
    for (name, (counts, cosines)), (colour, marker), dash in zip(curves.items(), _LOOKS, dashes, strict=False):
        axes.plot(counts, cosines, color=colour, marker=marker, markersize=4.5, linewidth=1.8, linestyle=dash)
        ends.append((float(cosines[-1]), name, colour))
    axes.set_xscale("log", base=2)
    axes.minorticks_off()
    counts = next(iter(curves.values()))[0]
    axes.set_xticks(counts, [str(n) for n in counts])
    axes.set_ylim(min(0.0, *(min(c) for _, c in curves.values())), 1.02)
    low, high = axes.get_ylim()
    ends.sort()
    places = style.apart([box[1] + box[3] * (end - low) / (high - low) for end, *_ in ends], 0.19)
    for (end, name, colour), y in zip(ends, places, strict=True):
        style.put_text(figure, box[0] + box[2] + 0.1, y, f"{name} {end:.2f}", color=colour, va="center")
    return figure
