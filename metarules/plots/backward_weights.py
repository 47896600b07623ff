"""V turning towards W: both matrices side by side, both as arrows, and angles over the inner steps, in degrees."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch

from metarules._checks import check_number
from metarules.plots import style
from metarules.plots.film import Film

_SIDE = 2.1  # inches, side of each matrix
_STYLES = ("--", ":", "-.")  # of the layers not chosen
# on the arc: degrees, what they mean, where that is written, on which side of the place
_MARKS = (
    (0, "0° same direction", 1.05, -0.1, "right"),
    (45, "45°", 0.75, 0.76, "left"),
    (90, "90° unrelated", 0.0, 1.12, "center"),
)


class WeightsFilm(Film):
    """W and V of one layer side by side, rows and columns in an order in which the last W shows its pattern.

    Args:
        W, V: [frames, n_in, n_out].
        steps: inner step of each frame.
        layer: number of the layer, 1 .. L.
    """

    def __init__(self, W: np.ndarray, V: np.ndarray, steps: Sequence[int], layer: int) -> None:
        rows, columns = pattern_order(W[-1])
        self.W, self.V = (np.asarray(a, dtype=float)[:, rows][:, :, columns] for a in (W, V))
        self.steps, self.layer = tuple(steps), layer
        subtitle = "red +, blue −; row: from, column: to; sorted by W at the end"
        figure, self._corner = style.panel_figure(f"W and V of layer {layer}", subtitle)
        l = style.superscript(layer)
        self._images = []
        for left, name, what, colour in (
            (0.1, "W", "the way up", style.FORWARD),
            (2.3, "V", "the way down", style.BACKWARD),
        ):
            axes = style.bare(style.axes_at(figure, left, 0.15, _SIDE, _SIDE))
            picture = axes.imshow(
                _scaled(self.W[-1]), cmap=style.DIVERGING, vmin=-1, vmax=1, interpolation="nearest", aspect="auto"
            )
            self._images.append(picture)
            style.put_text(figure, left, 2.45, f"{name}{l}", color=colour, weight="bold", va="center")
            style.put_text(figure, left + 0.3, 2.45, what, color=style.MUTED, size=style.SMALL, va="center")
        super().__init__(figure, len(self.W), [*self._images, self._corner])

    def set_frame(self, frame: int) -> None:
        """Show a frame's matrices."""
        for image, values in zip(self._images, (self.W, self.V), strict=True):
            image.set_data(_scaled(values[frame]))
        self._corner.set_text(f"step {self.steps[frame]}")

    def alt(self, frame: int) -> str:
        """What can be compared, and how alike the two are."""
        now, start = (_cosine(self.W[f], self.V[f]) for f in (frame, 0))
        return (
            f"Forward weights W and backward weights V of layer {self.layer} as two matrices side by side at inner "
            f"step {self.steps[frame]}: their entries correlate by {now:.2f}, before learning by {start:.2f}."
        )


class TurnFilm(Film):
    """W and V as two arrows of one length in the plane they span: V swings towards W.

    Args:
        angles: between W and V, degrees, [frames].
        steps: inner step of each frame.
        layer: number of the layer, 1 .. L.
    """

    def __init__(self, angles: np.ndarray, steps: Sequence[int], layer: int) -> None:
        self.angles = np.asarray(angles, dtype=float)
        self.steps, self.layer = tuple(steps), layer
        title = f"V and W of layer {layer} as arrows"
        subtitle = "two matrices are two long vectors, and these span a plane: this one"
        figure, self._corner = style.panel_figure(title, subtitle)
        left = -0.3 if self.angles.max() < 105 else -1.12
        axes = style.axes_at(figure, 0.3, 0.12, 3.9, 2.55)
        axes.set(xlim=(left, 1.5), ylim=(-0.15, 1.2), aspect="equal")
        axes.set_axis_off()
        arc = np.deg2rad(np.linspace(0, max(90.0, float(self.angles.max())), 91))
        axes.plot(np.cos(arc), np.sin(arc), color=style.FAINT, linewidth=1)
        for degrees, words, x, y, side in _MARKS:
            at = np.deg2rad(degrees)
            axes.plot(*np.outer([np.cos(at), np.sin(at)], [0.97, 1.03]), color=style.MUTED, linewidth=1)
            axes.text(x, y, words, size=style.SMALL, color=style.MUTED, ha=side, va="center")
        past = np.deg2rad(self.angles)
        self._tips = np.stack([np.cos(past), np.sin(past)], -1)
        (self._past,) = axes.plot([], [], "o", color=style.BACKWARD, markersize=3, alpha=0.45)
        (self._wedge,) = axes.plot([], [], color=style.MUTED, linewidth=1)
        arrows = []
        for tip, colour in (((1.0, 0.0), style.FORWARD), ((0.0, 1.0), style.BACKWARD)):
            arrow = FancyArrowPatch((0, 0), tip, arrowstyle="-|>", mutation_scale=18, color=colour, linewidth=2.6,
                                    shrinkA=0, shrinkB=0)  # fmt: skip
            axes.add_patch(arrow)
            arrows.append(arrow)
        self._arrow = arrows[1]
        axes.text(1.06, 0.0, f"W{style.superscript(layer)}", color=style.FORWARD, weight="bold", va="center", size=12)
        self._name = axes.text(0, 0, f"V{style.superscript(layer)}", color=style.BACKWARD, weight="bold", va="center",
                               ha="center", size=12)  # fmt: skip
        super().__init__(figure, len(self.angles), [self._past, self._wedge, self._arrow, self._name, self._corner])

    def set_frame(self, frame: int) -> None:
        """Point V where it points at a frame, and leave a dot wherever it pointed before."""
        x, y = self._tips[frame]
        self._past.set_data(*self._tips[: frame + 1].T)
        arc = np.deg2rad(np.linspace(0, self.angles[frame], 40))
        self._wedge.set_data(0.3 * np.cos(arc), 0.3 * np.sin(arc))
        self._arrow.set_positions((0, 0), (x, y))
        beside = np.deg2rad(self.angles[frame] + 8)  # to the left of its tip, inside the arc
        self._name.set_position((0.86 * np.cos(beside), 0.86 * np.sin(beside)))
        self._corner.set_text(f"{self.angles[frame]:.0f}° at step {self.steps[frame]}")

    def alt(self, frame: int) -> str:
        """The angle in words."""
        return (
            f"W and V of layer {self.layer} as two arrows from one point: {self.angles[frame]:.0f} degrees apart at "
            f"inner step {self.steps[frame]}, {self.angles[0]:.0f} degrees before learning, {self.angles[-1]:.0f} at "
            "the last step. Dots mark where V pointed at the steps so far."
        )


class AnglesFilm(Film):
    """Angles over the inner steps, one line each, with a mark on the chosen one.

    Args:
        angles: name -> degrees [frames], drawn in this order.
        steps: inner step of each frame.
        title, subtitle: of the panel.
        chosen: name of the line with the mark.
        colours: name -> colour; lines not named are grey, dashed, dotted, ..
    """

    def __init__(
        self,
        angles: Mapping[str, np.ndarray],
        steps: Sequence[int],
        title: str,
        subtitle: str,
        chosen: str,
        colours: Mapping[str, str] | None = None,
    ) -> None:
        if chosen not in angles:
            raise ValueError(f"chosen is {chosen!r}; allowed: {', '.join(angles)}")
        self.angles = {name: np.asarray(a, dtype=float) for name, a in angles.items()}
        self.steps, self.chosen, self.title = tuple(steps), chosen, title
        colours = colours or {chosen: style.BACKWARD}
        figure, self._corner = style.panel_figure(title, subtitle)
        axes = style.quiet_axes(style.axes_at(figure, 0.62, 0.45, 3.65, 2.05), "inner step", "angle (degrees)")
        every = np.concatenate(list(self.angles.values()))
        high = max(100.0, float(every.max()) + 5)
        self.step_axes = style.step_axis(axes, self.steps)
        axes.set(ylim=(-4, high), yticks=[t for t in (0, 45, 90, 135) if t < high])
        rest = iter(_STYLES * len(self.angles))
        for name, values in self.angles.items():
            look: dict[str, Any] = {"color": colours.get(name, style.MUTED), "linestyle": "-", "linewidth": 2.2}
            if name != chosen:
                look |= {"linestyle": next(rest), "linewidth": 1.6}
            axes.plot(self.steps, values, label=name, zorder=3 if name == chosen else 2, **look)
        axes.legend(
            loc="lower left", bbox_to_anchor=(-0.02, 1.0), ncols=len(self.angles), fontsize=style.SMALL,
            labelcolor=style.INK, frameon=False, borderaxespad=0.2, handlelength=2.2, columnspacing=1.2,
        )  # fmt: skip
        self._height = (-4, high)
        (self._line,) = axes.plot([], [], color=style.MUTED, linewidth=0.8)
        colour = colours.get(chosen, style.BACKWARD)
        (self._mark,) = axes.plot([], [], "o", color=colour, markersize=8, markeredgecolor=style.PAPER)
        super().__init__(figure, len(self.angles[chosen]), [self._line, self._mark, self._corner])

    def set_frame(self, frame: int) -> None:
        """Move the mark and write its number."""
        step, angle = self.steps[frame], self.angles[self.chosen][frame]
        self._line.set_data([step, step], self._height)
        self._mark.set_data([step], [angle])
        self._corner.set_text(f"{angle:.0f}°")

    def alt(self, frame: int) -> str:
        """All angles in words."""
        now = "; ".join(f"{name} {a[frame]:.0f}" for name, a in self.angles.items())
        start = "; ".join(f"{name} {a[0]:.0f}" for name, a in self.angles.items())
        return (
            f"{self.title}: angles in degrees over the inner steps. At step {self.steps[frame]}: {now}. "
            f"Before learning: {start}."
        )


def pattern_order(W: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Orders of the rows and of the columns of a matrix that put what its leading singular pair joins together.

    Args:
        W: [n_in, n_out].

    Returns:
        Row numbers [n_in] and column numbers [n_out].
    """
    U, _, Vh = np.linalg.svd(np.asarray(W, dtype=float), full_matrices=False)
    return np.argsort(U[:, 0], kind="stable"), np.argsort(Vh[0], kind="stable")


def turn_figure(angle: float, layer: int = 1, step: int = 0) -> Figure:
    """Draw W and V as two arrows.

    Args:
        angle: between them, in degrees, 0 .. 180.
        layer: its number.
        step: the inner step written beside the angle.

    Returns:
        The Figure.

    Raises:
        ValueError: an angle outside 0 .. 180.
    """
    check_number("angle", angle, low=0, high=180)
    return TurnFilm(np.array([angle]), (step,), layer).figure_at(0)


def _scaled(values: np.ndarray) -> np.ndarray:
    """Divide by twice the root mean square, so that colours show the pattern and not the size."""
    return values / max(2 * float(np.sqrt((values**2).mean())), 1e-24)


def _cosine(a: np.ndarray, b: np.ndarray) -> float:
    return float((a * b).sum() / max(np.linalg.norm(a) * np.linalg.norm(b), 1e-24)) + 0.0
