"""Few-shot accuracy of every layer over the inner steps, and of one class alone."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from metarules.plots import style
from metarules.plots.film import Film

_DASHES = ((0, (5, 2)), (0, (1, 1.5)), (0, (6, 2, 1, 2)), (0, (2, 2)))  # of the layers below the top


class LayerAccuracyFilm(Film):
    """The top layer (strong), the layers below it (dashed), the inputs (level), and one class at the top (its colour).

    Args:
        accuracies: few-shot accuracy of each layer from 0 (the inputs) to L, [frames, L + 1].
        class_accuracies: of each class at the top layer, [frames, n_classes].
        steps: inner step of each frame.
        labels_per_class: labels the read-out was given.
        title: the heading.
    """

    def __init__(
        self,
        accuracies: np.ndarray,
        class_accuracies: np.ndarray,
        steps: Sequence[int],
        labels_per_class: int = 10,
        title: str = "Accuracy, layer by layer",
    ) -> None:
        self.accuracies, self.by_class = (np.asarray(a, dtype=float) for a in (accuracies, class_accuracies))
        self.steps, self.chosen = tuple(steps), 0
        top = self.accuracies.shape[1] - 1
        words = f"few-shot: linear read-out of each layer, {labels_per_class} labels per class"
        figure, self._corner = style.panel_figure(title, words)
        left, bottom, width, height = 0.5, 0.45, 2.75, 2.05
        axes = style.quiet_axes(style.axes_at(figure, left, bottom, width, height), "inner step")
        low = max(0.0, np.floor((float(self.accuracies.min()) - 0.04) * 10) / 10)
        self._low = low
        self.step_axes = style.step_axis(axes, self.steps)
        axes.set(ylim=(low, 1.0))
        names = ["inputs"] + [f"layer {l}" for l in range(1, top + 1)]
        axes.axhline(self.accuracies[0, 0], color=style.MUTED, linewidth=1.2)
        for l in range(1, top):
            dash = _DASHES[(l - 1) % len(_DASHES)]
            axes.plot(self.steps, self.accuracies[:, l], color=style.MUTED, linewidth=1.6, linestyle=dash)
        axes.plot(self.steps, self.accuracies[:, top], color=style.FORWARD, linewidth=1.2, alpha=0.45)
        (self._class,) = axes.plot([], [], linewidth=1.8)
        (self._past,) = axes.plot([], [], color=style.FORWARD, linewidth=2.6)
        (self._mark,) = axes.plot([], [], "o", color=style.BACKWARD, markersize=8, markeredgecolor=style.PAPER)
        self._x, self._scale = left + width + 0.08, (bottom, height)
        self._labels = [style.put_text(figure, self._x, 0, name, size=style.SMALL, va="center") for name in names]
        self._labels.append(style.put_text(figure, self._x, 0, "", size=style.SMALL, va="center"))
        moving = [self._class, self._past, self._mark, *self._labels, self._corner]
        super().__init__(figure, len(self.steps), moving)

    def follow(self, number: int) -> None:
        """Draw another class's curve."""
        with self._lock:
            if number != self.chosen:
                self.chosen = number
                self._pngs.clear()

    def set_frame(self, frame: int) -> None:
        """Draw the curves up to a frame and write every number beside its place."""
        alone = self.by_class[:, self.chosen].clip(self._low)
        self._class.set_data(self.steps[: frame + 1], alone[: frame + 1])
        self._class.set_color(style.class_colour(self.chosen))
        self._past.set_data(self.steps[: frame + 1], self.accuracies[: frame + 1, -1])
        self._mark.set_data([self.steps[frame]], [self.accuracies[frame, -1]])
        values = [*self.accuracies[frame], self.by_class[frame, self.chosen]]
        names = ["inputs", *(f"layer {l}" for l in range(1, self.accuracies.shape[1])), f"class {self.chosen}"]
        bottom, height = self._scale
        order = sorted(range(len(values)), key=lambda i: (values[i], i))
        wanted = [bottom + height * (max(values[i], self._low) - self._low) / (1 - self._low) for i in order]
        for i, y in zip(order, style.apart(wanted, 0.155, high=bottom + height), strict=True):
            self._labels[i].set_position((self._x / style.PANEL[0], y / style.PANEL[1]))
            self._labels[i].set_text(f"{values[i]:.2f} {names[i]}")
            bold = i == len(values) - 2
            self._labels[i].set_fontweight("bold" if bold else "normal")
            self._labels[i].set_color(style.FORWARD if bold else style.INK if i == len(values) - 1 else style.MUTED)
        self._corner.set_text(f"{self.accuracies[frame, -1]:.2f} at step {self.steps[frame]}")

    def alt(self, frame: int) -> str:
        """The numbers in words."""
        layers = ", ".join(f"layer {l} {a:.2f}" for l, a in enumerate(self.accuracies[frame]) if l)
        return (
            f"Curves of few-shot accuracy over the inner steps: {self.accuracies[frame, -1]:.2f} at step "
            f"{self.steps[frame]}, {self.accuracies[0, -1]:.2f} before learning; {layers}, inputs "
            f"{self.accuracies[frame, 0]:.2f}; class {self.chosen} alone {self.by_class[frame, self.chosen]:.2f}."
        )
