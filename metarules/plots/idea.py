"""The idea in one picture, drawn after figure 1 of Metz et al., ICLR 2019, in our own hand.

To a file: python -m metarules.plots idea figures/idea.png
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from matplotlib.patches import Circle, FancyArrowPatch, FancyBboxPatch

from metarules._checks import check_choice
from metarules.plots import style
from metarules.plots.idea_arrows import ARROWS, LAYERS, Arrow, arrows_of
from metarules.tasks import load_dataset

SIZE = (9.2, 5.4)  # inches: the width JupyterLab leaves a notebook on a laptop
IDEA_ALT = (
    "The idea in one picture. Inner loop: a batch of unlabelled images passes up through the layers of a base model by "
    "weights W; signals delta come back down through weights V. Every neuron carries the same small update network "
    "with parameters theta. It sees the neuron's own activity, the signal from above and statistics of its own "
    "weights, and puts out the signal to send down and the change of the neuron's weights; then comes the next step, "
    "with the next batch. Outer loop: after some steps a ridge regression is fitted on the top layer with a few "
    "labels, the meta-objective scores it on other labels, and its gradient changes theta."
)
_ROWS = (4.3, 3.82, 3.34, 2.86)  # y of the neurons
_RADIUS = 0.15
_LINE = 0.36  # inches, of an explanation
_FORMULA = 11.0
_MARK = "#ffe27a"  # a marker pen's yellow: ink on it keeps its contrast
_INNER_GROUND, _OUTER_GROUND = "#eef5fb", "#f6eff9"  # dark enough to survive a palette of 256 colours


def idea_figure(
    image: np.ndarray | None = None,
    *,
    lesson: int | None = None,
    explained: Sequence[str] | None = None,
    marked: str | None = None,
) -> Figure:
    """Draw the inner loop (base model, one neuron's update network, signals down through V) and the outer loop.

    Args:
        image: what the base model looks at, [height, width]; a handwritten digit by default.
        lesson: arrows that lessons 1 to this one have explained are drawn strongly, those that this one explains
            boldly, the rest pale. None or 0 draws all strongly.
        explained: names of arrows (`idea_arrows.ARROWS`) whose equation, tensor and shape stand under the picture; by
            default those that the lesson explains.
        marked: name of an arrow to lay a band of colour under.

    Returns:
        The Figure, 9.2 inches wide, 5.4 high and a line more for each arrow explained. `idea_alt` describes it.

    Raises:
        ValueError: an image without two dimensions, a lesson that does not show the figure, an unknown arrow.
    """
    if image is None:
        digits = load_dataset("digits")
        image = digits.x[0].reshape(digits.shape or (8, 8)).numpy()
    if np.ndim(image) != 2:
        raise ValueError(f"image has {np.ndim(image)} dimensions; allowed: 2 ([height, width])")
    new = arrows_of(lesson or 0)
    below = new if explained is None else explained
    figure, axes = _sheet(SIZE[1], legend_height(len(below)))
    _room(axes, (0.1, 1.95, 9.0, 3.35), _INNER_GROUND)
    _room(axes, (0.1, 0.1, 9.0, 1.7), _OUTER_GROUND)
    _say(axes, 0.28, 5.08, "Inner loop", style.FORWARD, size=13, weight="bold", ha="left")
    _say(axes, 1.38, 5.075, "a base model learns without labels", ha="left")
    _base_model(axes, image)
    _neuron(axes)
    _outer_loop(axes)
    for name, arrow in ARROWS.items():
        _draw(axes, arrow, pale=bool(lesson) and arrow.lesson > (lesson or 0), bold=name in new)
    if marked is not None:
        _mark(axes, marked)
    _explain(axes, below)
    return figure


def mark_figure(name: str) -> Figure:
    """The band under an arrow alone, as large as the picture: what one multiplies the picture's colours by.

    Raises:
        ValueError: an unknown arrow.
    """
    figure, axes = _sheet(SIZE[1], 0.0)
    _mark(axes, name)
    return figure


def legend_figure(explained: Sequence[str]) -> Figure:
    """The lines under the picture alone: equation, tensor and shape of each arrow.

    Raises:
        ValueError: no arrow, or an unknown one.
    """
    if not explained:
        raise ValueError("explained is empty; allowed: at least one name of an arrow")
    figure, axes = _sheet(0.0, legend_height(len(explained)))
    _explain(axes, explained)
    return figure


def idea_alt(lesson: int | None = None, explained: Sequence[str] | None = None) -> str:
    """What `idea_figure` shows, in words: equation, tensor and shape of the arrows explained included."""
    new = arrows_of(lesson or 0)
    met = [arrow.says for arrow in ARROWS.values() if arrow.lesson <= (lesson or 0)]
    parts = [IDEA_ALT]
    if lesson:
        those = "lesson 1 explains" if lesson == 1 else f"lessons 1 to {lesson} explain"
        parts.append(f"Drawn strongly, since {those} them: {', '.join(met)}.")
    parts += [f"{ARROWS[name]}." for name in (new if explained is None else explained)]
    return " ".join(parts)


def legend_height(rows: int) -> float:
    """Inches that lines of explanation take under the picture."""
    return _LINE * rows + 0.1 if rows else 0.0


def _sheet(up: float, down: float) -> tuple[Figure, Axes]:
    """A new figure and axes in inches over the whole of it, which reaches so far up and down from their zero."""
    figure = style.new_figure(SIZE[0], up + down)
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set(xlim=(0, SIZE[0]), ylim=(-down, up), aspect="equal")
    axes.axis("off")
    return figure, axes


def _base_model(axes: Axes, image: np.ndarray) -> None:
    """Input image, three layers of neurons, W going up, V coming back."""
    middle = (_ROWS[0] + _ROWS[-1]) / 2
    inset = axes.inset_axes((0.32, middle - 0.45, 0.9, 0.9), transform=axes.transData)
    style.bare(inset).imshow(image, cmap="Greys", interpolation="nearest")
    _say(axes, 0.77, middle + 0.62, r"images $x^0$")
    synapses = [((a, y), (b, z)) for a, b in zip(LAYERS, LAYERS[1:], strict=False) for y in _ROWS for z in _ROWS]
    synapses += [((1.24, middle + up), (LAYERS[0], y)) for up in (0.4, 0, -0.4) for y in _ROWS]
    axes.add_collection(LineCollection(synapses, colors=style.FAINT, linewidths=0.8, zorder=1))
    for y in _ROWS:
        for k, x in enumerate(LAYERS):
            face = style.OUTER if (k, y) == (1, _ROWS[0]) else style.PAPER
            axes.add_patch(Circle((x, y), _RADIUS, facecolor=face, edgecolor=style.INK, linewidth=1.2, zorder=3))


def _neuron(axes: Axes) -> None:
    """What is inside one neuron: the update network, its inputs and outputs."""
    left, bottom, width, height = 4.72, 2.15, 4.2, 2.7
    start, edge = (LAYERS[1], _ROWS[0]), left
    for y in (bottom + height - 0.1, bottom + 0.1):
        axes.plot((start[0], edge), (start[1], y), color=style.OUTER, linewidth=0.9, linestyle=(0, (4, 3)), zorder=2)
    _room(axes, (left, bottom, width, height), style.PAPER, style.OUTER)
    _say(axes, left + width / 2, 4.66, "in every neuron the same small network", weight="bold")
    box = (6.42, 2.95, 1.02, 1.1)
    _room(axes, box, _OUTER_GROUND, style.OUTER)
    _say(axes, 6.93, 3.5, "update\nnetwork\n" + r"$\theta$", style.OUTER, size=11, weight="bold")
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


def _draw(axes: Axes, arrow: Arrow, *, pale: bool, bold: bool) -> None:
    """An arrow and its words; what is pale can still be read."""
    color = style.FAINT if pale else arrow.color
    width = arrow.width * (1.7 if bold else 1.0)
    look: dict[str, Any] = {"arrowstyle": "-|>", "mutation_scale": 11 if not bold else 15, "shrinkA": 0, "shrinkB": 0}
    for *corners, end in arrow.lines:
        axes.plot(*zip(*corners, strict=True), color=color, linewidth=width, zorder=4, solid_joinstyle="round")
        axes.add_patch(FancyArrowPatch(corners[-1], end, color=color, linewidth=width, zorder=4, **look))
    for words in arrow.words:
        _say(axes, words.x, words.y, words.text, style.MUTED if pale else arrow.color, **words.look)


def _mark(axes: Axes, name: str) -> None:
    for line in ARROWS[check_choice("marked", name, ARROWS)].lines:
        axes.plot(*zip(*line, strict=True), color=_MARK, linewidth=13, zorder=2.5, solid_capstyle="round")


def _explain(axes: Axes, names: Sequence[str]) -> None:
    """A line below zero for each arrow: its name, equation, tensor and shape."""
    for row, name in enumerate(names):
        arrow, y = ARROWS[check_choice("explained", name, ARROWS)], -0.2 - _LINE * row
        _say(axes, 0.15, y, arrow.says, arrow.color, weight="bold", ha="left")
        _say(axes, 1.95, y, arrow.equation, size=_FORMULA, ha="left")
        _say(axes, 9.05, y, f"{arrow.tensor}  {arrow.shape}", family="monospace", ha="right")
