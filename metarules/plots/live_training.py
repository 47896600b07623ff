"""Films of a meta-training run as it goes: meta-loss, held-out accuracy, particles at their ages, meta-gradient."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from metarules.plots import style
from metarules.plots.film import Film
from metarules.studies.live_training import DOTS, SHOWN, LiveRun

_BOX = (0.55, 0.45, 3.75, 2.05)  # inches, where the curves are
_SMOOTHED = 10  # meta-steps that the line of the meta-loss is a mean of
_KINDS = ((style.FORWARD, "o"), (style.BACKWARD, "s"), (style.OUTER, "^"), (style.MUTED, "D"), (style.INK, "v"))


class _Curve(Film):
    """Something over the meta-steps: all of it faint, what has happened by the frame strong, a number in the corner."""

    def __init__(self, run: LiveRun, title: str, subtitle: str) -> None:
        self.run = run
        figure, self._corner = style.panel_figure(title, subtitle)
        self.axes = style.quiet_axes(style.axes_at(figure, *_BOX), "meta-step")
        last = max(run.steps[-1], 1) if run.ended else run.settings.meta_steps
        self.axes.set_xlim(-0.02 * last, 1.02 * last)
        self.axes.xaxis.set_major_locator(MaxNLocator(8, integer=True))
        moving = self.draw(self.axes, run)
        super().__init__(figure, len(run.steps), [*moving, self._corner])

    def draw(self, axes: Axes, run: LiveRun) -> list[Any]:
        """Draw what stands still; returns the artists that move."""
        raise NotImplementedError(f"{type(self).__name__} must define draw")


class LossFilm(_Curve):
    """The meta-loss of every meta-step, and a running mean.

    Args:
        run: the run so far.
    """

    def __init__(self, run: LiveRun) -> None:
        subtitle = f"dots: meta-steps, each of one group; line: mean of the last {_SMOOTHED}"
        super().__init__(run, "Meta-loss on training tasks", subtitle)

    def draw(self, axes: Axes, run: LiveRun) -> list[Any]:
        """Draw the dots faintly."""
        self.x, self.y = np.arange(1, len(run.loss) + 1), np.asarray(run.loss, dtype=float)
        self.mean = np.array([_mean(self.y[max(0, i - _SMOOTHED + 1) : i + 1]) for i in range(len(self.y))])
        known = self.y[np.isfinite(self.y)]
        low, high = (known.min(), known.max()) if len(known) else (1.0, 2.0)
        axes.set_ylim(np.floor(5 * low - 0.5) / 5, np.ceil(5 * high + 0.5) / 5)  # in fifths: it jumps seldom
        axes.scatter(self.x, self.y, s=8, color=style.FAINT)
        (self._dots,) = axes.plot([], [], "o", markersize=2.6, color=style.FORWARD, alpha=0.5)
        (self._line,) = axes.plot([], [], color=style.FORWARD, linewidth=2.2)
        return [self._dots, self._line]

    def set_frame(self, frame: int) -> None:
        """Draw the dots and their mean up to a frame."""
        n = self.run.steps[frame]
        self._dots.set_data(self.x[:n], self.y[:n])
        self._line.set_data(self.x[:n], self.mean[:n])
        self._corner.set_text(f"{self.mean[n - 1]:.2f}" if n else "")

    def alt(self, frame: int) -> str:
        """The curve in words."""
        n = self.run.steps[frame]
        if n == 0:
            return "The meta-loss over the meta-steps; no meta-step has been taken yet."
        return f"The meta-loss over the meta-steps: {self.mean[0]:.2f} at first, about {self.mean[n - 1]:.2f} at {n}."


class HeldOutFilm(_Curve):
    """Few-shot accuracy on data that is never trained on, by kind, the start's as level lines.

    Args:
        run: the run so far.
    """

    def __init__(self, run: LiveRun) -> None:
        super().__init__(run, "Accuracy on held-out data", "mean of a few tasks; dotted: where the rule started")

    def draw(self, axes: Axes, run: LiveRun) -> list[Any]:
        """Draw the curves faintly, and where they began."""
        found = [np.array([np.mean(tasks) for tasks in looks]) for looks in run.held_out.values()]
        values = np.concatenate([*found, [0.2, 0.6]])
        axes.set_ylim(np.floor(10 * values.min()) / 10, np.ceil(10 * values.max() + 0.2) / 10)
        self._lines: list[tuple[Any, np.ndarray, np.ndarray]] = []
        handles = []
        for (kind, means), (colour, marker) in zip(zip(run.held_out, found, strict=True), _KINDS, strict=False):
            x = np.asarray(run.judged[: len(means)])
            axes.plot(x, means, color=colour, linewidth=1, alpha=0.3)
            if len(means):
                axes.axhline(means[0], color=colour, linewidth=1.2, linestyle=":")
            (line,) = axes.plot([], [], color=colour, marker=marker, markersize=4.5, linewidth=2, label=kind)
            self._lines.append((line, x, means))
            handles.append(line)
        legend = axes.legend(
            handles=handles, loc="lower right", fontsize=style.SMALL, framealpha=0.85, edgecolor=style.FAINT
        )
        return [*handles, legend]

    def set_frame(self, frame: int) -> None:
        """Draw what was judged up to a frame."""
        n = self.run.steps[frame]
        for line, x, means in self._lines:
            line.set_data(x[x <= n], means[x <= n])
        self._corner.set_text(_gained(self.run, n))

    def alt(self, frame: int) -> str:
        """The curves in words."""
        parts = []
        for (_, x, means), kind in zip(self._lines, self.run.held_out, strict=True):
            shown = means[x <= self.run.steps[frame]]
            if len(shown):
                parts.append(f"{kind} {shown[0]:.2f} at the start, {shown[-1]:.2f} now")
        return f"Few-shot accuracy on held-out data: {'; '.join(parts) or 'not judged yet'}."


class NormFilm(_Curve):
    """Length of the meta-gradient before clipping, on a log scale, and the clip.

    Args:
        run: the run so far.
    """

    def __init__(self, run: LiveRun) -> None:
        words = "before clipping, log scale; dashed: what it is clipped to"
        super().__init__(run, "Length of the meta-gradient", words)

    def draw(self, axes: Axes, run: LiveRun) -> list[Any]:
        """Draw the curve faintly, and the clip."""
        self.x, self.y = np.arange(1, len(run.norm) + 1), np.asarray(run.norm, dtype=float)
        known = self.y[np.isfinite(self.y) & (self.y > 0)]
        low, high = min([run.clip, *known]), max([10 * run.clip, *known])
        axes.set_yscale("log")
        axes.set_ylim(low / 2, high * 2)
        axes.axhline(run.clip, color=style.MUTED, linestyle="--", linewidth=1.2)
        axes.plot(self.x, self.y, color=style.FAINT, linewidth=1)
        (self._line,) = axes.plot([], [], color=style.BACKWARD, marker=".", markersize=4, linewidth=1)
        return [self._line]

    def set_frame(self, frame: int) -> None:
        """Draw the lengths up to a frame."""
        n = self.run.steps[frame]
        self._line.set_data(self.x[:n], self.y[:n])
        self._corner.set_text(f"{self.y[n - 1]:.2g}" if n else "")

    def alt(self, frame: int) -> str:
        """The curve in words."""
        n = self.run.steps[frame]
        now = f", {self.y[n - 1]:.2g} at meta-step {n}" if n else ""
        return f"Length of the meta-gradient before clipping over the meta-steps, clipped to {self.run.clip:g}{now}."


class ParticlesFilm(Film):
    """Some particles, each a small base model: its embedding, its age in inner steps, its few-shot accuracy.

    Args:
        run: the run so far.
    """

    def __init__(self, run: LiveRun) -> None:
        subtitle = "one rule, many nets and tasks: inner steps so far, few-shot accuracy"
        figure, self._corner = style.panel_figure("Particles, each at its own age", subtitle)
        self.run = run
        n = max(len(look) for look in run.looks)
        columns, rows = -(-n // SHOWN), min(n, SHOWN)
        side = min(4.3 / columns - 0.06, 2.7 / rows - 0.25)
        self._squares: list[Axes] = []
        self._dots: list[Any] = []
        self._words: list[Any] = []
        for i in range(n):
            left, bottom = 0.1 + i // SHOWN * 4.3 / columns, 0.08 + (rows - 1 - i % SHOWN) * (side + 0.25)
            axes = style.bare(style.axes_at(figure, left, bottom, side, side))
            axes.set(xlim=(-1.1, 1.1), ylim=(-1.1, 1.1))
            self._squares.append(axes)
            self._dots.append(axes.scatter([0], [0], s=7, linewidths=0))
            place = (left + side / 2, bottom + side + 0.03)
            self._words.append(style.put_text(figure, *place, "", size=style.SMALL, ha="center", va="bottom"))
        super().__init__(figure, len(run.steps), [*self._dots, *self._words, self._corner])

    def clouds(self, frame: int) -> list[tuple[Axes, np.ndarray]]:
        """As `Film.clouds`, a cloud for each particle."""
        looks = self.run.looks[frame]
        return [(axes, thumb.points) for axes, thumb in zip(self._squares, looks, strict=False)]

    def dot_at(self, frame: int, across: float, down: float) -> int | None:
        """As `Film.dot_at`; the dots are numbered through all particles, `DOTS` to each."""
        found = self.hit(frame, across, down)
        return None if found is None else DOTS * found[0] + found[1]

    def set_frame(self, frame: int) -> None:
        """Show the particles of a frame."""
        for dots, words, thumb in zip(self._dots, self._words, self.run.looks[frame], strict=False):
            dots.set_offsets(thumb.points)
            dots.set_facecolors([style.class_colour(int(label)) for label in thumb.labels])
            words.set_text(f"step {thumb.age}: {thumb.accuracy:.2f}")
        self._corner.set_text("")

    def alt(self, frame: int) -> str:
        """The particles in words."""
        look = self.run.looks[frame]
        ages = ", ".join(str(thumb.age) for thumb in look)
        mean = np.nanmean([thumb.accuracy for thumb in look])
        return (
            f"{len(look)} small clouds of coloured dots, one for each particle, after {ages} inner steps of its own; "
            f"mean few-shot accuracy {mean:.2f}."
        )


def _gained(run: LiveRun, meta_step: int) -> str:
    """Mean accuracy at the last complete look up to a meta-step, and the start's."""
    looks = [i for i in range(run.complete) if run.judged[i] <= meta_step]
    return f"{run.accuracy(0):.2f} → {run.accuracy(looks[-1]):.2f}" if looks else ""


def _mean(values: np.ndarray) -> float:
    known = values[np.isfinite(values)]
    return float(known.mean()) if len(known) else float("nan")
