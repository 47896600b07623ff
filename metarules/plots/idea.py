"""The idea in one picture, drawn after figure 1 of Metz et al., ICLR 2019, in our own hand.

To a file: python -m metarules.plots idea figures/idea.png
"""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Circle, FancyArrowPatch, FancyBboxPatch

from metarules.plots import style
from metarules.tasks import load_dataset

SIZE = (9.2, 5.4)  # inches: the width JupyterLab leaves a notebook on a laptop
IDEA_ALT = (
    "The idea in one picture. Inner loop: a batch of unlabelled images passes up through the layers of a base model by "
    "weights W; signals delta come back down through weights V. Every neuron carries the same small update network "
    "with parameters theta. It sees the neuron's own activity, the signal from above and statistics of its own "
    "weights, and puts out the signal to send down and the change of the neuron's weights. Outer loop: after some "
    "steps a ridge regression is fitted on the top layer with a few labels, the meta-objective scores it on other "
    "labels, and its gradient changes theta."
)
_COLUMNS = (1.95, 2.95, 3.95)  # x of the three layers
_ROWS = (4.3, 3.82, 3.34, 2.86)  # y of the neurons
_RADIUS = 0.15
_INNER_GROUND, _OUTER_GROUND = "#f3f8fc", "#f8f3fa"


def idea_figure(image: np.ndarray | None = None) -> Figure:
    """Draw the inner loop (base model, one neuron's update network, signals down through V) and the outer loop.

    Args:
        image: what the base model looks at, [height, width]; a handwritten digit by default.

    Returns:
        The Figure, 9.2 x 5.4 inches; `IDEA_ALT` describes it in words.

    Raises:
        ValueError: an image that does not have two dimensions.
    """
    if image is None:
        digits = load_dataset("digits")
        image = digits.x[0].reshape(digits.shape or (8, 8)).numpy()
    if np.ndim(image) != 2:
        raise ValueError(f"image has {np.ndim(image)} dimensions; allowed: 2 ([height, width])")
    figure = style.new_figure(*SIZE)
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set(xlim=(0, SIZE[0]), ylim=(0, SIZE[1]), aspect="equal")
    axes.axis("off")
    _room(axes, (0.1, 1.95, 9.0, 3.35), _INNER_GROUND)
    _room(axes, (0.1, 0.1, 9.0, 1.7), _OUTER_GROUND)
    _say(axes, 0.28, 5.08, "Inner loop", style.FORWARD, size=13, weight="bold", ha="left")
    _say(axes, 1.38, 5.075, "a base model learns, step by step, without labels", ha="left")
    _base_model(axes, image)
    _neuron(axes)
    _outer_loop(axes)
    return figure


def _base_model(axes: Axes, image: np.ndarray) -> None:
    """Input image, three layers of neurons, W going up, V coming back."""
    middle = (_ROWS[0] + _ROWS[-1]) / 2
    inset = axes.inset_axes((0.32, middle - 0.45, 0.9, 0.9), transform=axes.transData)
    style.bare(inset).imshow(image, cmap="Greys", interpolation="nearest")
    _say(axes, 0.77, middle + 0.62, r"images $x^0$")
    for left, right in zip(_COLUMNS, _COLUMNS[1:], strict=False):
        for a in _ROWS:
            for b in _ROWS:
                axes.plot((left, right), (a, b), color=style.FAINT, linewidth=0.8, zorder=1)
    for y in _ROWS:
        for b in (middle + 0.4, middle, middle - 0.4):
            axes.plot((1.24, _COLUMNS[0]), (b, y), color=style.FAINT, linewidth=0.8, zorder=1)
        for k, x in enumerate(_COLUMNS):
            face = style.OUTER if (k, y) == (1, _ROWS[0]) else style.PAPER
            axes.add_patch(Circle((x, y), _RADIUS, facecolor=face, edgecolor=style.INK, linewidth=1.2, zorder=3))
    ends = (1.2, *_COLUMNS)
    for l in (1, 2, 3):
        left, right = ends[l - 1] + 0.14, ends[l] - 0.14
        _arrow(axes, (left, 4.68), (right, 4.68), style.FORWARD)
        _say(axes, (left + right) / 2, 4.82, f"$W^{l}$", style.FORWARD, size=11)
        _arrow(axes, (right, 2.55), (left, 2.55), style.BACKWARD)
        _say(axes, (left + right) / 2, 2.36, f"$V^{l}$", style.BACKWARD, size=11)
    _say(axes, 0.3, 4.68, "activity up", style.FORWARD, ha="left")
    _say(axes, 0.3, 2.55, r"signals $\delta$ back", style.BACKWARD, ha="left")


def _neuron(axes: Axes) -> None:
    """What is inside one neuron: the update network, its inputs and outputs."""
    left, bottom, width, height = 4.72, 2.15, 4.2, 2.7
    start, edge = (_COLUMNS[1], _ROWS[0]), left
    for y in (bottom + height - 0.1, bottom + 0.1):
        axes.plot((start[0], edge), (start[1], y), color=style.OUTER, linewidth=0.9, linestyle=(0, (4, 3)), zorder=2)
    _room(axes, (left, bottom, width, height), style.PAPER, style.OUTER)
    _say(axes, left + width / 2, 4.66, "in every neuron the same small network", weight="bold")
    box = (6.42, 2.95, 1.02, 1.1)
    _room(axes, box, _OUTER_GROUND, style.OUTER)
    _say(axes, 6.93, 3.5, "update\nnetwork\n" + r"$\theta$", style.OUTER, size=11, weight="bold")
    inputs = (
        (4.1, r"its activity $x,\ z$", style.FORWARD),
        (3.5, "signal " + r"$\delta$" + " from\nabove, through " + "$V$", style.BACKWARD),
        (2.8, "statistics of\nits own weights", style.INK),
    )
    for y, text, colour in inputs:
        _say(axes, 6.02, y, text, colour, ha="right")
        _arrow(axes, (6.08, y), (6.38, 3.5 + 0.45 * (y - 3.5)), colour)
    outputs = (
        (3.95, "change of\nits weights\n" + r"$\Delta W,\ \Delta b$", style.FORWARD),
        (3.0, "signal " + r"$\delta$" + "\nto send\ndown", style.BACKWARD),
    )
    for y, text, colour in outputs:
        _arrow(axes, (7.48, 3.5 + 0.45 * (y - 3.5)), (7.8, y), colour)
        _say(axes, 7.87, y, text, colour, ha="left")
    _say(axes, left + width / 2, 4.43, "only what a neuron can see: no labels, no gradient", style.MUTED)


def _outer_loop(axes: Axes) -> None:
    """Few labels score the representation; the gradient changes theta."""
    _say(axes, 0.28, 1.56, "Outer loop", style.OUTER, size=13, weight="bold", ha="left")
    _say(
        axes, 0.28, 1.0, "the rule itself learns, over\nmany tasks, by how useful the\ntop layer has become", ha="left"
    )
    _room(axes, (3.2, 0.35, 1.9, 0.85), style.PAPER, style.OUTER)
    _say(axes, 4.15, 0.775, "ridge regression on\nthe top layer, fitted\non a few labels")
    _room(axes, (5.72, 0.35, 2.42, 0.85), style.PAPER, style.OUTER)
    _say(axes, 6.93, 0.92, "meta-objective", weight="bold")
    _say(axes, 6.93, 0.62, "how far off are its answers\nfor other examples?")
    _arrow(axes, (_COLUMNS[2], 2.66), (_COLUMNS[2], 1.24), style.INK)
    _say(axes, _COLUMNS[2] - 0.08, 1.52, "top layer, after some steps", ha="right")
    _arrow(axes, (5.14, 0.775), (5.68, 0.775), style.INK)
    _arrow(axes, (6.93, 1.24), (6.93, 2.91), style.OUTER, width=2.2)
    _say(axes, 7.05, 1.55, "gradient changes " + r"$\theta$", style.OUTER, weight="bold", ha="left")


def _say(
    axes: Axes, x: float, y: float, text: str, color: str = style.INK, size: float = style.TEXT, **look: Any
) -> None:
    axes.text(x, y, text, fontsize=size, color=color, zorder=5, **{"ha": "center", "va": "center", **look})


def _room(axes: Axes, box: tuple[float, float, float, float], ground: str, edge: str = "none") -> None:
    left, bottom, width, height = box
    shape = "round,pad=0,rounding_size=0.08"
    patch = FancyBboxPatch(
        (left, bottom), width, height, boxstyle=shape, facecolor=ground, edgecolor=edge, linewidth=1.1
    )
    axes.add_patch(patch).set_zorder(2 if edge != "none" else 0)


def _arrow(axes: Axes, start: tuple[float, float], end: tuple[float, float], color: str, width: float = 1.6) -> None:
    look: dict[str, Any] = {"arrowstyle": "-|>", "mutation_scale": 11, "shrinkA": 0, "shrinkB": 0}
    axes.add_patch(FancyArrowPatch(start, end, color=color, linewidth=width, zorder=4, **look))
