"""Few-shot accuracy over the inner steps, with a mark at the shown step and lines to compare with."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from metarules._checks import check_fit
from metarules.plots import style
from metarules.plots.film import Film

_LINE = 0.145  # inches, height of a line of the labels in the margin


class AccuracyFilm(Film):
    """The curve so far (strong), the rest of it (faint), the number at the shown step, and comparison lines.

    Args:
        accuracies: in [0, 1], [frames, n_splits].
        steps: inner step of each frame.
        baselines: name -> accuracy, drawn as level lines labelled in the right margin.
        labels_per_class: how many labels the read-out was given, for the heading.
        earlier: another curve to compare with, as thin dashes: its name, its steps, its accuracies [frames, n_splits].
    """

    def __init__(
        self,
        accuracies: np.ndarray,
        steps: Sequence[int],
        baselines: Mapping[str, float],
        labels_per_class: int = 10,
        earlier: tuple[str, Sequence[int], np.ndarray] | None = None,
    ) -> None:
        check_fit(steps=(steps, "frames"), accuracies=(np.nan_to_num(accuracies), "frames splits"))
        values = np.asarray(accuracies, dtype=float)
        self.mean = values.mean(1)
        self.error = values.std(1, ddof=1) / np.sqrt(values.shape[1]) if values.shape[1] > 1 else np.zeros(len(values))
        self.steps = tuple(steps)
        self.baselines = dict(baselines)
        draws = values.shape[1]
        subtitle = f"linear read-out of the top layer, {labels_per_class} labels per class, mean of {draws} draws"
        figure, self._corner = style.panel_figure("Few-shot accuracy", subtitle)
        left, bottom, width, height = 0.5, 0.45, 2.85, 2.05
        axes = style.quiet_axes(style.axes_at(figure, left, bottom, width, height), "inner step")
        others = dict(self.baselines)
        lowest = min([float(np.nanmin(self.mean - self.error)), *self.baselines.values()])
        if earlier is not None:
            name, at, accuracies = earlier
            curve = np.asarray(accuracies, dtype=float).mean(1)
            others[name], lowest = float(curve[-1]), min(lowest, float(curve.min()))
            axes.plot(at, curve, color=style.INK, linewidth=1.3, linestyle=(0, (5, 2)))
        self.others = others
        low = max(0.0, np.floor((lowest - 0.04) * 10) / 10)
        self.step_axes = style.step_axis(axes, self.steps)
        axes.set(ylim=(low, 1.0))
        axes.fill_between(self.steps, self.mean - self.error, self.mean + self.error, color=style.FAINT, linewidth=0)
        axes.plot(self.steps, self.mean, color=style.FORWARD, linewidth=1.2, alpha=0.45)
        for value, dash in zip(self.baselines.values(), ("--", ":", "-."), strict=False):
            axes.axhline(value, color=style.MUTED, linewidth=1.2, linestyle=dash)
        self._write_margin(figure, left + width + 0.08, bottom, height, low)
        (self._past,) = axes.plot([], [], color=style.FORWARD, linewidth=2.4)
        (self._mark,) = axes.plot([], [], "o", color=style.BACKWARD, markersize=9, markeredgecolor=style.PAPER)
        super().__init__(figure, len(self.mean), [self._past, self._mark, self._corner])

    def set_frame(self, frame: int) -> None:
        """Draw the curve up to a frame and write its number."""
        self._past.set_data(self.steps[: frame + 1], self.mean[: frame + 1])
        self._mark.set_data([self.steps[frame]], [self.mean[frame]])
        self._corner.set_text(f"{self.mean[frame]:.2f} at step {self.steps[frame]}")

    def alt(self, frame: int) -> str:
        """The numbers in words."""
        others = "".join(f"; {name.replace(chr(10), ' ')} {value:.2f}" for name, value in self.others.items())
        return (
            f"Curve of few-shot accuracy over the inner steps: {self.mean[frame]:.2f} at step {self.steps[frame]}, "
            f"{self.mean[0]:.2f} before learning, {self.mean[-1]:.2f} at the last step{others}."
        )

    def _write_margin(self, figure: Figure, x: float, bottom: float, height: float, low: float) -> None:
        """Label the level lines at their right end, moved apart where two lie close."""
        labels = sorted(self.others.items(), key=lambda item: -item[1])
        tall = [(name.count("\n") + 2) * _LINE for name, _ in labels]
        tops = [bottom + height * (v - low) / (1 - low) + 0.5 * t for (_, v), t in zip(labels, tall, strict=True)]
        # from the top down: places are counted from above
        places = style.apart([-top for top in tops], [t + 0.3 * _LINE for t in tall], low=-(bottom + height + 0.15))
        how: dict[str, Any] = {"size": style.SMALL, "color": style.MUTED, "va": "top", "linespacing": 1.1}
        for (name, value), place in zip(labels, places, strict=True):
            style.put_text(figure, x, -place, f"{name}\n{value:.2f}", **how)


def accuracy_figure(
    accuracies: np.ndarray,
    steps: Sequence[int],
    baselines: Mapping[str, float] | None = None,
    frame: int = -1,
    labels_per_class: int = 10,
) -> Figure:
    """Draw few-shot accuracy over a trajectory, marked at one frame.

    Args:
        accuracies: in [0, 1], [frames, n_splits]; the band is plus and minus one standard error over the splits.
        steps: inner step of each frame.
        baselines: name -> accuracy.
        frame: which one to mark; -1 is the last.
        labels_per_class: labels the read-out was given.

    Returns:
        The Figure.
    """
    film = AccuracyFilm(accuracies, steps, baselines or {}, labels_per_class)
    return film.figure_at(frame)
