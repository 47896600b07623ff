"""Two pictures of one inner step: a neuron with its actual numbers, and all terms of a layer as matrices."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch
from torch import Tensor

from metarules.plots import style
from metarules.plots.neuron_terms import percent, two
from metarules.studies.neuron import NeuronView
from metarules.tasks import Task
from metarules.update_rule.anatomy import Contributions

SIZE = (9.12, 4.3)  # inches: the width JupyterLab leaves a notebook on a laptop
_GROUND = "#f8f3fa"


def neuron_figure(view: NeuronView) -> Figure:
    """One neuron and the image that drives it most, with the numbers of an actual step.

    Drawn after figure 1 of Metz et al., ICLR 2019.

    Args:
        view: see `neuron_view`; of a neuron of layer 1 on images, so that weights can be drawn as pixels.

    Returns:
        The Figure, 9.12 x 4.3 inches; `neuron_alt` describes it in words.

    Raises:
        ValueError: a view without images or pixels.
    """
    if view.shape is None or view.images is None:
        raise ValueError(f"view is of layer {view.layer} without pixels; allowed: a neuron of layer 1 on images")
    figure = style.new_figure(*SIZE)
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set(xlim=(0, SIZE[0]), ylim=(0, SIZE[1]), aspect="equal")
    axes.axis("off")
    style.put_text(figure, 0.1, 4.21, f"Inside neuron {view.unit} of layer {view.layer}, one step", size=style.CORNER,
                   weight="bold", va="top")  # fmt: skip
    style.put_text(
        figure,
        0.1,
        3.93,
        "numbers for the image that drives it most; x, s and the layer's mean are standardised over the batch",
        size=style.SMALL,
        color=style.MUTED,
        va="top",
    )
    numbers = {name: float(values[-1]) for name, values in view.signals.items()}
    _inputs(axes, view, numbers)
    picture = style.bare(style.axes_at(figure, 0.15, 0.12, 0.75, 0.75))
    picture.imshow(view.images[1, -1], cmap="Greys", vmin=0, vmax=1, interpolation="nearest", aspect="auto")
    style.put_text(figure, 1.0, 0.5, "the image;\nthe neuron sees only its inputs' sum", size=style.SMALL, va="center",
                   color=style.MUTED)  # fmt: skip
    _box(axes, 3.55, 0.95, 1.75, 2.5, _GROUND, style.OUTER)
    style.put_text(figure, 4.425, 3.27, "update network θ", ha="center", va="center", color=style.OUTER, weight="bold")
    h = view.h[-1]
    inset = style.axes_at(figure, 3.7, 1.35, 1.45, 1.6)
    style.bare(inset, frame=False).barh(np.arange(len(h)), h, color=style.MUTED)
    inset.set_facecolor(_GROUND)
    inset.set(ylim=(len(h) - 0.5, -0.5), xlim=(0, max(float(h.max()), 1e-6)))
    style.put_text(figure, 4.425, 1.13, f"h: {len(h)} numbers, up to {h.max():.2f}", size=style.SMALL, ha="center",
                   va="center")  # fmt: skip
    _outputs(figure, axes, view, view.delta[-1])
    return figure


def neuron_alt(view: NeuronView) -> str:
    """What `neuron_figure` shows, in words."""
    told = ", ".join(f"{name} {float(values[-1]):.2f}" for name, values in view.signals.items())
    return (
        f"Neuron {view.unit} of layer {view.layer} for the image that drives it most: inputs {told}, statistics "
        f"of its own weights and its bias {view.b:.2f} enter the update network; out come {view.h.shape[1]} "
        f"hidden numbers h, {view.delta.shape[1]} numbers delta to send down, and a change "
        f"of its weights drawn as an image, to which "
        f"{view.strongest} gives {percent(view.shares[view.strongest])}."
    )


def term_sheet(parts: Contributions, layer: int, task: Task | None = None) -> Figure:
    """Every term of one layer as a matrix: what it does to each weight, all on one colour scale.

    Args:
        parts: see `anatomy.contributions`, of a single base model.
        layer: which layer they are of, for the heading; for layer 1 `task` puts rows into image order.
        task: where the inputs come from, or None.

    Returns:
        The Figure, 9.12 inches wide; rows of a matrix are lower neurons, columns upper ones. `term_sheet_alt` describes
        it in words.

    Raises:
        ValueError: contributions with task dimensions.
    """
    pushes = {name: push.detach() for name, push in parts.pushes.items()}
    if next(iter(pushes.values())).ndim != 2:
        raise ValueError("parts has task dimensions; allowed: the contributions of one base model")
    total = torch.stack(list(pushes.values())).sum(0)
    shares = _mean_shares(parts)
    pictures: Mapping[str, Tensor] = pushes | {"all together": total}
    columns, width, pitch = 7, 1.02, 1.27
    rows = -(-len(pictures) // columns)
    high = 1.25
    figure = style.new_figure(SIZE[0], 0.65 + rows * (high + 0.46))
    top = figure.get_figheight()
    n_in, n_out = total.shape
    heading = f"One step of layer {layer}: what each term does to its {n_in} × {n_out} weights"
    style.put_text(figure, 0.1, top - 0.09, heading, size=style.TITLE, weight="bold", va="top")
    words = (
        "rows: lower neurons, columns: upper ones; red raises a weight, blue lowers it; below: mean share in the sum"
    )
    style.put_text(figure, 0.1, top - 0.33, words, size=style.SMALL, color=style.MUTED, va="top")
    most = float(torch.quantile(total.abs(), 0.98))  # the few beyond it saturate
    for i, (name, matrix) in enumerate(pictures.items()):
        x, y = 0.2 + i % columns * pitch, top - 0.62 - high - i // columns * (high + 0.46)
        axes = style.bare(style.axes_at(figure, x, y, width, high))
        values = task.unpermute(matrix.T).T if task is not None and layer == 1 else matrix
        look: dict[str, Any] = {"cmap": style.DIVERGING, "interpolation": "nearest", "aspect": "auto"}
        axes.imshow(values.numpy(), vmin=-most, vmax=most, **look)
        last = name not in shares
        style.put_text(figure, x + width / 2, y - 0.04, name, size=style.SMALL, ha="center", va="top",
                       weight="bold" if last else "normal")  # fmt: skip
        share = "100 %" if last else percent(shares[name])
        style.put_text(figure, x + width / 2, y - 0.18, share, size=style.SMALL, ha="center", va="top",
                       color=style.MUTED)  # fmt: skip
    return figure


def term_sheet_alt(parts: Contributions, layer: int) -> str:
    """What `term_sheet` shows, in words: how many matrices, and the terms with the largest shares either way."""
    shares, total = _mean_shares(parts), next(iter(parts.pushes.values()))
    ordered = sorted(shares, key=lambda name: -shares[name])
    told = [f"{name} {percent(shares[name])}" for name in (*ordered[:3], *ordered[:-3:-1])]
    return (
        f"{len(shares)} matrices: what each term does to the {' by '.join(map(str, total.shape))} weights of layer "
        f"{layer}; and their sum. Mean shares in the sum, the largest three: {', '.join(told[:3])}; the two most "
        f"negative: {', '.join(told[3:])}."
    )


def _mean_shares(parts: Contributions) -> dict[str, float]:
    """Each term's share in the sum, mean over the neurons."""
    return {name: float(share.detach().mean()) for name, share in parts.shares().items()}


def _inputs(axes: Axes, view: NeuronView, numbers: Mapping[str, float]) -> None:
    """Three groups of inputs on the left, each with an arrow into the network."""
    signals = [f"{name} = {two(value)}" for name, value in numbers.items() if name.startswith("d")]
    stats = view.statistics
    groups = (
        (3.2, style.FORWARD, "its activity", [f"x = {two(numbers['x'])}", f"z = {two(numbers['z'])}"]),
        (2.6, style.INK, "its layer", [f"share s = {two(numbers['softmax'])}", f"mean = {two(numbers['layer mean'])}",
                                       f"RMS = {two(numbers['layer RMS'])}"]),
        (1.9, style.BACKWARD, "signal from above", signals),
        (1.2, style.INK, "its own weights", [f"|w| in {stats[2]:.2f}", f"out {stats[6]:.2f}", f"bias {view.b:.2f}"]),
    )  # fmt: skip
    for y, colour, heading, values in groups:
        axes.text(0.15, y + 0.11, heading, fontsize=style.TEXT, color=colour, weight="bold", va="center")
        axes.text(0.15, y - 0.1, ",  ".join(values), fontsize=style.SMALL, color=style.INK, va="center")
        _arrow(axes, (3.15, y), (3.5, 2.2 + 0.55 * (y - 2.2)), colour)


def _outputs(figure: Figure, axes: Axes, view: NeuronView, delta: np.ndarray) -> None:
    """What comes out on the right: the change of weights as a picture, the signal to send down."""
    assert view.shape is not None
    sent = ",  ".join(two(float(value)) for value in delta)
    axes.text(
        5.75, 0.72, "δ, sent down through V", fontsize=style.TEXT, color=style.BACKWARD, weight="bold", va="center"
    )
    axes.text(5.75, 0.5, sent, fontsize=style.SMALL, color=style.INK, va="center")
    _arrow(axes, (5.34, 1.3), (5.7, 0.72), style.BACKWARD)
    _arrow(axes, (5.34, 2.5), (5.7, 2.5), style.FORWARD)
    axes.text(
        5.75,
        3.62,
        f"{len(view.pushes)} terms move its weights",
        fontsize=style.TEXT,
        color=style.FORWARD,
        weight="bold",
    )
    best = sorted(view.shares, key=lambda name: -abs(view.shares[name]))[:3]
    pictures = {name: view.pushes[name] for name in best}
    rest = view.push - np.sum(list(pictures.values()), axis=0)
    pictures |= {f"{len(view.pushes) - len(best)} others": rest, "= the push": view.push, "new W": view.W_after}
    biggest = max(float(np.abs(values).max()) for values in list(pictures.values())[:-1])
    for i, (name, values) in enumerate(pictures.items()):
        x, y = 5.8 + i % 3 * 1.12, 2.58 - i // 3 * 1.33
        inset = style.bare(style.axes_at(figure, x, y, 0.88, 0.88))
        size = float(np.abs(values).max()) if name == "new W" else biggest
        look: dict[str, Any] = {"cmap": style.DIVERGING, "interpolation": "nearest", "aspect": "auto"}
        inset.imshow(values.reshape(view.shape), vmin=-size, vmax=size, **look)
        share = f" {percent(view.shares[name])}" if name in view.shares else ""
        style.put_text(figure, x + 0.44, y - 0.03, name + share, size=style.SMALL, ha="center", va="top")


def _box(axes: Axes, left: float, bottom: float, width: float, height: float, ground: str, edge: str) -> None:
    shape = "round,pad=0,rounding_size=0.08"
    axes.add_patch(FancyBboxPatch((left, bottom), width, height, boxstyle=shape, facecolor=ground, edgecolor=edge))


def _arrow(axes: Axes, start: tuple[float, float], end: tuple[float, float], color: str) -> None:
    look: dict[str, Any] = {"arrowstyle": "-|>", "mutation_scale": 11, "shrinkA": 0, "shrinkB": 0}
    axes.add_patch(FancyArrowPatch(start, end, color=color, linewidth=1.6, zorder=4, **look))
