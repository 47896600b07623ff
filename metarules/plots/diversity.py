"""How different neurons are, drawn: likeness as a matrix, effective dimension over steps, filters of several rules."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from matplotlib.figure import Figure

from metarules.evaluation import likeness as likeness_of
from metarules.evaluation import mean_of_pairs
from metarules.plots import style
from metarules.plots.film import Film
from metarules.plots.filters import mosaic

_DASHES = (("-", "—"), ("--", "– –"), (":", "· · ·"), ("-.", "– ·"))  # from the top layer down; line, and as text
_SEQUENTIAL = "Blues"


class LikenessFilm(Film):
    """|cosine| between the incoming weights of every two neurons of a layer, as a matrix.

    The order of the neurons is that of the last frame's look-alikes, kept through all frames.

    Args:
        likeness: in [0, 1], [frames, n, n].
        steps: inner step of each frame.
        layer: number of the layer, for the heading.
    """

    def __init__(self, likeness: np.ndarray, steps: Sequence[int], layer: int = 1) -> None:
        order = look_alike_order(likeness[-1])
        self.likeness = np.asarray(likeness, dtype=float)[:, order][:, :, order]
        self.steps = tuple(steps)
        self.layer = layer
        n = self.likeness.shape[-1]
        self.mean = mean_of_pairs(torch.from_numpy(self.likeness)).numpy()
        subtitle = f"|cosine| between the incoming weights of any two neurons of layer {layer}"
        figure, self._corner = style.panel_figure("How alike the neurons are", subtitle)
        side = 2.35
        axes = style.axes_at(figure, 0.32, 0.32, side, side)
        style.bare(axes)
        axes.set_xlabel(f"neurons 1 to {n}, look-alikes side by side", fontsize=style.SMALL, color=style.MUTED)
        axes.set_ylabel("the same neurons", fontsize=style.SMALL, color=style.MUTED)
        self._image = axes.imshow(self.likeness[-1], cmap=_SEQUENTIAL, vmin=0, vmax=1, interpolation="nearest")
        bar = style.axes_at(figure, 2.86, 0.32, 0.14, side)
        bar.imshow(np.linspace(1, 0, 64)[:, None], cmap=_SEQUENTIAL, vmin=0, vmax=1, aspect="auto")
        style.bare(bar)
        for value, words in ((1, "1: the same filter,\nor its negative"), (0, "0: nothing\nin common")):
            y = 0.32 + side * value
            va = "top" if value else "bottom"
            style.put_text(figure, 3.07, y, words, size=style.SMALL, color=style.MUTED, va=va, linespacing=1.2)
        self._note = style.put_text(figure, 3.07, 0.32 + 0.5 * side, "", size=style.TEXT, va="center", linespacing=1.3)
        super().__init__(figure, len(self.likeness), [self._image, self._note, self._corner])

    def set_frame(self, frame: int) -> None:
        """Show the matrix of a frame and its mean."""
        self._image.set_data(self.likeness[frame])
        self._note.set_text(f"mean of all pairs\n{self.mean[frame]:.2f} now\n{self.mean[0]:.2f} before")
        self._corner.set_text(f"step {self.steps[frame]}")

    def alt(self, frame: int) -> str:
        """The mean in words."""
        return (
            f"Matrix of how alike any two neurons of layer {self.layer} are at inner step {self.steps[frame]}: the "
            f"mean absolute cosine of their incoming weights is {self.mean[frame]:.2f}; "
            f"before learning {self.mean[0]:.2f}."
        )


def look_alike_order(likeness: np.ndarray) -> np.ndarray:
    """An order of the neurons that puts look-alikes side by side: from the most typical, always on to the most alike.

    Args:
        likeness: symmetric, [n, n].

    Returns:
        Row numbers, [n].
    """
    pairs = np.array(likeness, dtype=float)
    order = [int(pairs.sum(1).argmax())]
    while len(order) < len(pairs):
        pairs[:, order[-1]] = -1  # taken
        order.append(int(pairs[order[-1]].argmax()))
    return np.array(order)


class DimensionFilm(Film):
    """Effective dimension of each layer's activities over the inner steps.

    Args:
        dimensions: of layers 0 (the inputs) to L, [frames, L + 1].
        steps: inner step of each frame.
        widths: number of units of layers 0 to L.
    """

    def __init__(self, dimensions: np.ndarray, steps: Sequence[int], widths: Sequence[int]) -> None:
        self.dimensions = np.asarray(dimensions, dtype=float)
        self.steps = tuple(steps)
        layers = self.dimensions.shape[1] - 1
        most = widths[1] if len(set(widths[1:])) == 1 else "its width"
        subtitle = f"effective dimension of a layer: {most} if all neurons differ, 1 if all agree"
        figure, self._corner = style.panel_figure("How many different features", subtitle)
        left, bottom, width, height = 0.5, 0.45, 2.85, 2.05
        axes = style.quiet_axes(style.axes_at(figure, left, bottom, width, height), "inner step")
        top = 1.08 * float(self.dimensions.max())
        self.step_axes = style.step_axis(axes, self.steps)
        axes.set(ylim=(0, top))
        self._past = []
        names = []
        for l in range(1, layers + 1):
            dash, as_text = _DASHES[(layers - l) % len(_DASHES)]
            names.append(f"{as_text} layer {l}{', top' if l == layers else ''}")
            axes.plot(self.steps, self.dimensions[:, l], linewidth=1.2, alpha=0.4, color=style.FORWARD, linestyle=dash)
            width_of_line = 2.4 if l == layers else 1.8
            self._past += axes.plot([], [], linewidth=width_of_line, color=style.FORWARD, linestyle=dash)
        # the inputs do not change with the steps
        axes.axhline(self.dimensions[0, 0], color=style.MUTED, linewidth=1.2, linestyle="-.")
        values = np.array([self.dimensions[0, 0], *self.dimensions[-1, 1:]])
        heights = bottom + height * values / top
        self._write_margin(figure, left + width + 0.06, heights, ["inputs", *names])
        self._marks = axes.plot([], [], "o", color=style.BACKWARD, markersize=6, markeredgecolor=style.PAPER)
        super().__init__(figure, len(self.dimensions), [*self._past, *self._marks, self._corner])

    def set_frame(self, frame: int) -> None:
        """Draw the curves up to a frame and write the top layer's number."""
        for l, line in enumerate(self._past, start=1):
            line.set_data(self.steps[: frame + 1], self.dimensions[: frame + 1, l])
        self._marks[0].set_data([self.steps[frame]] * len(self._past), self.dimensions[frame, 1:])
        self._corner.set_text(f"top layer {self.dimensions[frame, -1]:.1f}")

    def alt(self, frame: int) -> str:
        """The numbers in words."""
        now, before = self.dimensions[frame], self.dimensions[0]
        layers = ", ".join(f"layer {l} {now[l]:.1f} (before {before[l]:.1f})" for l in range(1, len(now)))
        return (
            f"Curves of the effective dimension of each layer's activities; at inner step {self.steps[frame]}: "
            f"{layers}. The inputs have {before[0]:.1f}."
        )

    def _write_margin(self, figure: Figure, x: float, heights: np.ndarray, names: Sequence[str]) -> None:
        """Label the curves at their right end, from the bottom up, moved apart where they lie close."""
        order = np.argsort(heights, kind="stable")
        for i, y in zip(order, style.apart(heights[order].tolist(), 0.17), strict=True):
            style.put_text(figure, x, y, names[i], size=style.SMALL, color=style.MUTED, va="center")


def filters_over_steps(rows: Mapping[str, tuple[np.ndarray, Sequence[int]]]) -> Figure:
    """First-layer filters of several rules over the inner steps: a row for each rule, a mosaic for each step.

    In a row the neurons stand in one order, that of the last step's look-alikes; over each mosaic stands its step and
    the mean |cosine| of any two of its filters.

    Args:
        rows: what to call a row -> its filters [steps, n, height, width] and the inner steps they are of; a newline may
            break the name.

    Returns:
        The Figure.

    Raises:
        ValueError: no rows, or filters and steps that differ in number.
    """
    if not rows:
        raise ValueError("rows is empty; allowed: at least one rule")
    columns = max(len(steps) for _, steps in rows.values())
    side, gap, left, head = 1.72, 0.12, 1.45, 0.12
    height = len(rows) * (side + 0.34) + head
    figure = style.new_figure(left + columns * (side + gap) + 0.05, height)
    for r, (name, (filters, steps)) in enumerate(rows.items()):
        if len(filters) != len(steps):
            raise ValueError(f"rows[{name!r}] has {len(filters)} sets of filters for {len(steps)} steps")
        bottom = height - head - (r + 1) * (side + 0.34) + 0.08
        style.put_text(
            figure, 0.1, bottom + side / 2, name, size=style.TITLE, weight="bold", va="center", linespacing=1.3
        )
        order = look_alike_order(likeness_of(_weights(filters[-1])).numpy())
        for c, (shown, step) in enumerate(zip(filters, steps, strict=True)):
            axes = style.bare(style.axes_at(figure, left + c * (side + gap), bottom, side, side), frame=False)
            axes.imshow(mosaic(shown[order]), cmap=style.DIVERGING, vmin=-1, vmax=1, interpolation="nearest")
            axes.set_anchor("S")
            style.put_text(
                figure,
                left + c * (side + gap),
                bottom + side + 0.04,
                f"step {step}, alike {float(mean_of_pairs(likeness_of(_weights(shown)))):.2f}",
                va="bottom",
            )
    return figure


def balance_figure(accuracies: Mapping[float, float], alike: Mapping[float, float], start: float) -> Figure:
    """Few-shot accuracy, and how alike the neurons are, against the weight of decorrelation beside Hebb = 1.

    Args:
        accuracies, alike: value of each weight tried, the same weights in both.
        start: accuracy before learning, a level line.

    Returns:
        The Figure.

    Raises:
        ValueError: other weights in one than in the other, or none.
    """
    if not accuracies or list(accuracies) != list(alike):
        raise ValueError(f"alike is for {list(alike)}; allowed: the weights of accuracies, {list(accuracies)}")
    figure = style.new_figure(7.2, 3.1)
    style.put_text(figure, 0.1, 3.0, "The balance of two terms", size=style.TITLE, weight="bold", va="top")
    axes = style.quiet_axes(style.axes_at(figure, 0.5, 0.5, 4.7, 2.15), "weight of decorrelation, beside Hebb = 1")
    weights = list(accuracies)
    series = (
        ("few-shot accuracy", accuracies, style.FORWARD, "-", "o"),
        ("how alike the\nneurons of layer 1 are", alike, style.BACKWARD, "--", "s"),
    )
    for name, values, colour, dash, marker in series:
        y = list(values.values())
        axes.plot(weights, y, color=colour, linestyle=dash, marker=marker, linewidth=2)
        style.put_text(figure, 5.28, 0.5 + 2.15 * y[-1], name, size=style.TEXT, color=colour, va="center")
    axes.axhline(start, color=style.MUTED, linewidth=1.2, linestyle=":")
    style.put_text(
        figure, 5.28, 0.53 + 2.15 * start, f"accuracy before\nlearning {start:.2f}", color=style.MUTED, va="top"
    )
    axes.set(ylim=(0, 1), xlim=(min(weights) - 0.03, max(weights) + 0.03), xticks=weights)
    return figure


def _weights(filters: np.ndarray) -> torch.Tensor:
    """Filters [n, height, width] as a layer's weights [height * width, n]."""
    return torch.from_numpy(np.asarray(filters).reshape(len(filters), -1).T.astype(float))
