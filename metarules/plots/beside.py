"""Two rules on the same data, base model and batches: their accuracy over the inner steps, and class by class."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from metarules.plots import style
from metarules.plots.film import Film

A, B = style.FORWARD, style.BACKWARD  # the colours of the two rules
_LINE = 0.145  # inches, height of a line of the labels in the margin


class TwoAccuraciesFilm(Film):
    """Both curves so far (strong) and to come (faint), A drawn through and B dashed, with the numbers at their ends.

    Args:
        a, b: accuracies in [0, 1], [frames, n_splits].
        steps: inner step of each frame.
        baselines: name -> accuracy, level lines labelled in the right margin.
        labels_per_class: how many labels the read-out was given.
    """

    def __init__(
        self,
        a: np.ndarray,
        b: np.ndarray,
        steps: Sequence[int],
        baselines: Mapping[str, float],
        labels_per_class: int = 10,
    ) -> None:
        values = [np.asarray(v, dtype=float) for v in (a, b)]
        self.means = [v.mean(1) for v in values]
        self.steps, self.baselines = tuple(steps), dict(baselines)
        draws = values[0].shape[1]
        subtitle = f"linear read-out of the top layer, {labels_per_class} labels per class, mean of {draws} draws"
        figure, self._corner = style.panel_figure("Few-shot accuracy of A and B", subtitle)
        left, bottom, width, height = 0.5, 0.45, 2.85, 2.05
        axes = style.quiet_axes(style.axes_at(figure, left, bottom, width, height), "inner step")
        low = min(float(np.min(self.means)), *self.baselines.values())
        low = max(0.0, np.floor((low - 0.04) * 10) / 10)
        self.step_axes = style.step_axis(axes, self.steps)
        axes.set(ylim=(low, 1.0))
        for value, dash in zip(self.baselines.values(), (":", "-."), strict=False):
            axes.axhline(value, color=style.MUTED, linewidth=1.2, linestyle=dash)
        self._past, self._marks = [], []
        for mean, colour, dash, mark in zip(self.means, (A, B), ("-", "--"), ("o", "s"), strict=True):
            axes.plot(self.steps, mean, color=colour, linewidth=1.2, alpha=0.4, linestyle=dash)
            self._past += axes.plot([], [], color=colour, linewidth=2.4, linestyle=dash)
            self._marks += axes.plot([], [], mark, color=colour, markersize=8, markeredgecolor=style.PAPER)
        ends = {"A": float(self.means[0][-1]), "B": float(self.means[1][-1])}
        lines = [(value, name, style.MUTED) for name, value in self.baselines.items()]
        lines += [(ends["A"], "A, last step", A), (ends["B"], "B, last step", B)]
        lines.sort(key=lambda line: -line[0])
        tall = [(name.count("\n") + 2) * _LINE for _, name, _ in lines]
        tops = [bottom + height * (v - low) / (1 - low) + 0.5 * t for (v, *_), t in zip(lines, tall, strict=True)]
        places = style.apart([-top for top in tops], [t + 0.3 * _LINE for t in tall], low=-(bottom + height + 0.2))
        for (value, name, colour), place in zip(lines, places, strict=True):
            style.put_text(
                figure, left + width + 0.08, -place, f"{name}\n{value:.2f}",
                size=style.SMALL, color=colour, va="top", linespacing=1.1,
            )  # fmt: skip
        super().__init__(figure, len(self.steps), [*self._past, *self._marks, self._corner])

    def set_frame(self, frame: int) -> None:
        """Draw both curves up to a frame."""
        for mean, past, mark in zip(self.means, self._past, self._marks, strict=True):
            past.set_data(self.steps[: frame + 1], mean[: frame + 1])
            mark.set_data([self.steps[frame]], [mean[frame]])
        self._corner.set_text(f"step {self.steps[frame]}")

    def alt(self, frame: int) -> str:
        """The numbers in words."""
        a, b = self.means
        others = "".join(f"; {name.replace(chr(10), ' ')} {value:.2f}" for name, value in self.baselines.items())
        return (
            f"Two curves of few-shot accuracy over the inner steps: at step {self.steps[frame]} A has {a[frame]:.2f} "
            f"and B {b[frame]:.2f}; at the last step {a[-1]:.2f} and {b[-1]:.2f}{others}."
        )


class ClassesFilm(Film):
    """How many of each class are read right at the step shown: a mark for A, a mark for B, a line between them.

    Args:
        a, b: accuracies in [0, 1], [frames, n_classes].
        steps: inner step of each frame.
    """

    def __init__(self, a: np.ndarray, b: np.ndarray, steps: Sequence[int]) -> None:
        self.a, self.b, self.steps = np.asarray(a, dtype=float), np.asarray(b, dtype=float), tuple(steps)
        figure, self._corner = style.panel_figure("Class by class", "share of each class that is read right")
        n = self.a.shape[1]
        axes = style.quiet_axes(style.axes_at(figure, 0.55, 0.45, 3.75, 2.05), "class")
        low = max(0.0, np.floor((min(self.a.min(), self.b.min()) - 0.04) * 10) / 10)
        axes.set(xlim=(-0.6, n - 0.4), ylim=(low, 1.02), xticks=range(0, n, max(1, n // 10)))
        self._lines = axes.vlines(range(n), self.a[-1], self.b[-1], color=style.MUTED, linewidth=1.4)
        (self._a,) = axes.plot(range(n), self.a[-1], "o", color=A, markersize=8, markeredgecolor=style.PAPER)
        (self._b,) = axes.plot(range(n), self.b[-1], "s", color=B, markersize=7, markeredgecolor=style.PAPER)
        for x, text, colour in ((3.1, "● A", A), (3.6, "■ B", B)):
            style.put_text(figure, x, 2.62, text, size=style.TEXT, color=colour, weight="bold", va="center")
        super().__init__(figure, len(self.steps), [self._lines, self._a, self._b, self._corner])

    def set_frame(self, frame: int) -> None:
        """Move the marks to a frame."""
        a, b = self.a[frame], self.b[frame]
        self._lines.set_segments([[(x, a[x]), (x, b[x])] for x in range(len(a))])
        self._a.set_ydata(a)
        self._b.set_ydata(b)
        self._corner.set_text(f"step {self.steps[frame]}")

    def alt(self, frame: int) -> str:
        """Where the two differ most, and how many classes each is better at."""
        gap = self.a[frame] - self.b[frame]
        most = int(np.abs(gap).argmax())
        return (
            f"Accuracy of A and B for each of {len(gap)} classes at step {self.steps[frame]}: A is better at "
            f"{int((gap > 0).sum())}, B at {int((gap < 0).sum())}; they differ most at class {most}, with "
            f"{self.a[frame, most]:.2f} and {self.b[frame, most]:.2f}."
        )
