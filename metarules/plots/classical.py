"""Which classical rule is it: coefficients, R^2 and backprop over the meta-steps, a column of panels for each layer."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from metarules.plots import style
from metarules.plots.evolution import DASHES, WIDTH, label_ends, log_axis, place
from metarules.studies.classical import ClassicalFit

_LEFT, _PANEL, _GAP = 0.55, (1.95, 1.75), 0.3  # inches
_R2 = (1.15, 0.45)  # inches: height of the lower panels, and where they begin


def classical_figure(fit: ClassicalFit, step: int) -> Figure:
    """Draw, for each layer, the weights of the classical rules over the meta-steps, and below them R^2.

    Args:
        fit: from `studies.classical.classical_fit`, of snapshots in order.
        step: the inner step whose coefficients are drawn, one of `fit.steps`. R^2 is drawn at all of them.

    Returns:
        The Figure, 9.12 x 4.7 inches.

    Raises:
        ValueError: an inner step that was not looked at.
    """
    if step not in fit.steps:
        raise ValueError(f"step is {step}; allowed: {', '.join(map(str, fit.steps))}, the steps that were looked at")
    at = fit.steps.index(step)
    depth = fit.backprop.shape[-1]
    figure = style.new_figure(WIDTH, 4.7)
    style.put_text(figure, 0.1, 4.61, "Which classical rule is it?", size=style.TITLE, weight="bold", va="top")
    says = f"weights of six classical rules in the change of W at inner step {step}, by least squares; 0: no part in it"
    style.put_text(figure, 0.1, 4.37, says, size=style.SMALL, color=style.MUTED, va="top")
    x = place(np.asarray(fit.meta_steps, dtype=float))
    width = (6.75 - (depth - 1) * _GAP) / depth
    values = fit.fit.coefficients[:, at]  # [snapshots, L, k]
    low, high = min(-0.2, 1.08 * float(values.min())), 1.08 * float(values.max())
    top = _R2[1] + _R2[0] + 0.55
    for l in range(depth):
        left = _LEFT + l * (width + _GAP)
        axes = style.quiet_axes(style.axes_at(figure, left, top, width, _PANEL[1]), "")
        style.put_text(figure, left, top + _PANEL[1] + 0.05, f"layer {l + 1}", weight="bold")
        axes.axhline(0, color=style.MUTED, linewidth=0.8)
        labels = []
        for k, name in enumerate(fit.fit.names):
            colour = style.class_colour(k)
            axes.plot(x, values[:, l, k], color=colour, linestyle=DASHES[k % len(DASHES)], linewidth=2)
            labels.append((float(values[-1, l, k]), f"{name} {values[-1, l, k]:+.2f}", colour, style.INK))
        axes.set_ylim(low, high)
        _narrow(axes, fit, l == 0)
        if l == depth - 1:
            label_ends(figure, axes, (left, top, width, _PANEL[1]), labels)
        below = style.quiet_axes(style.axes_at(figure, left, _R2[1], width, _R2[0]), "meta-step (log scale)")
        ends = _draw_r2(below, x, fit, l)
        _narrow(below, fit, l == 0)
        if l == depth - 1:
            label_ends(figure, below, (left, _R2[1], width, _R2[0]), ends)
    style.put_text(
        figure, 0.1, _R2[1] + _R2[0] + 0.12, "R²: share of the change that they explain together", size=style.SMALL
    )
    return figure


def _draw_r2(axes: Axes, x: np.ndarray, fit: ClassicalFit, l: int) -> list[tuple[float, str, str, str]]:
    """R^2 of one layer at every inner step, the later the darker, and backprop's cosine."""
    labels = []
    for i in range(len(fit.steps)):
        shade = 0.35 + 0.65 * (i + 1) / len(fit.steps)
        axes.plot(x, fit.fit.r2[:, i, l], color=style.FORWARD, alpha=shade, linewidth=1 + shade)
    for i in (0, len(fit.steps) - 1):
        labels.append((float(fit.fit.r2[-1, i, l]), f"R², step {fit.steps[i]}", style.FORWARD, style.INK))
    cosine = fit.backprop[:, :, l].mean(1)
    axes.plot(x, cosine, color=style.BACKWARD, linestyle="--", linewidth=2)
    labels.append((float(cosine[-1]), "cosine with backprop", style.BACKWARD, style.INK))
    axes.set(ylim=(min(-0.1, 1.2 * float(cosine.min())), 1.05), yticks=(0, 0.5, 1))
    return labels


def _narrow(axes: Axes, fit: ClassicalFit, named: bool) -> None:
    log_axis(axes, max([1.0, *map(float, fit.meta_steps)]))
    if not named:
        axes.tick_params(labelleft=False)
