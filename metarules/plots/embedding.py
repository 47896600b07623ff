"""The top layer as a cloud of points: a dot for each example, a colour for each class, one plane throughout."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.text import Text

from metarules._checks import check_fit
from metarules.plots import style
from metarules.plots.film import Film
from metarules.studies.planes import project

_MAIN, _SMALL_SIDE = 2.6, 1.5  # inches, sides of the big and the small square
_BADGE = 0.115  # least distance between class labels, as a share of the square's side


class EmbeddingFilm(Film):
    """The cloud before learning (small) beside the cloud at the shown step (large), in the same plane.

    Args:
        points: [frames, N, 2], see `project`.
        labels: class numbers [N], whole numbers from 0.
        steps: inner step of each frame.
        class_names: what the badges at the class centres say; the class numbers by default.
        noun: what an example is called.
        coloured: False draws all dots alike and no badges: what a rule without labels sees.
        sees_labels: whether the rule was given the labels, for the line below the heading.
        star: one more example, marked with a star, at each frame [frames, 2].
        star_says: what is said of the star at each frame, below the small square: the dots are left free.
        title: the heading.
    """

    def __init__(
        self,
        points: np.ndarray,
        labels: np.ndarray,
        steps: Sequence[int],
        *,
        class_names: Sequence[str] | None = None,
        noun: str = "image",
        coloured: bool = True,
        sees_labels: bool = False,
        star: np.ndarray | None = None,
        star_says: Sequence[str] = (),
        title: str = "Which ones look alike to the top layer",
    ) -> None:
        check_fit(steps=(steps, "frames"), points=(points, "frames N 2"), labels=(labels, "N"))
        if star is not None:
            check_fit(star=(star, f"{len(steps)} 2"), star_says=(list(map(len, star_says)), str(len(steps))))
        self.star, self.star_says = star, star_says
        self.points = np.asarray(points, dtype=float)
        self.labels = np.asarray(labels)
        self.steps = tuple(steps)
        self.noun = noun
        self.coloured = coloured
        self.classes = np.unique(self.labels)
        most = int(self.labels.max()) + 1
        names = [str(c) for c in range(most)] if class_names is None else class_names
        if len(names) < most:
            raise ValueError(f"class_names are {len(names)}; allowed: {most}, one for each of the labels")
        known = "this rule is given the classes" if sees_labels else "the rule never sees the classes"
        figure, self._corner = style.panel_figure(title, f"a dot is one {noun}; {known}")
        middle, reach = _frame_of(self.points if star is None else np.concatenate([self.points, star[:, None]], 1))
        width, _ = style.PANEL
        small = style.axes_at(figure, 0.12, 0.1 + _MAIN - _SMALL_SIDE, _SMALL_SIDE, _SMALL_SIDE)
        main = style.axes_at(figure, width - _MAIN - 0.1, 0.1, _MAIN, _MAIN)
        for axes in (small, main):
            style.bare(axes)
            axes.set(xlim=(middle[0] - reach, middle[0] + reach), ylim=(middle[1] - reach, middle[1] + reach))
        style.put_text(figure, 0.12, 0.98, "before learning", size=style.TEXT)
        view = "axes: the two directions\nin which the dots of the\nlast step spread most"
        style.put_text(figure, 0.12, 0.1, view, size=style.SMALL, color=style.MUTED, linespacing=1.25)
        self._least = _BADGE * 2 * reach
        self._inside = (middle - 0.94 * reach, middle + 0.94 * reach)  # where a badge is not cut by the frame
        self._axes, self._small = main, small
        self._dots(small, 3.0, self.points[0])
        self._main = self._dots(main, 11.0, self.points[-1])
        self._badges = [self._badge(main, int(c), names[c]) for c in self.classes] if coloured else []
        self._stars = [] if star is None else self._make_star(figure, small, main, star)
        super().__init__(figure, len(self.points), [*self._main, *self._badges, *self._stars, self._corner])

    def set_frame(self, frame: int) -> None:
        """Move dots, badges and caption to a frame."""
        points = self.points[frame]
        for number, dots in zip(self.classes, self._main, strict=False):
            dots.set_data(*(points[self.labels == number] if self.coloured else points).T)
        centres = np.stack([points[self.labels == number].mean(0) for number in self.classes])
        fixed = None if self.star is None else self.star[[frame]]
        places = style.on_pixels(self._axes, style.spread(centres, self._least, fixed=fixed).clip(*self._inside))
        for badge, place in zip(self._badges, places, strict=False):
            badge.set_position(tuple(place))
        if self.star is not None:
            mark, words = self._stars
            mark.set_offsets(self.star[frame])
            words.set_text(f"★ {self.star_says[frame]}")
        self._corner.set_text(f"step {self.steps[frame]}")

    def clouds(self, frame: int) -> list[tuple[Axes, np.ndarray]]:
        """As `Film.clouds`: before learning, and at the frame."""
        return [(self._small, self.points[0]), (self._axes, self.points[frame])]

    def alt(self, frame: int) -> str:
        """How far apart the class centres are, compared with the spread within classes."""
        colours = " and coloured by class" if self.coloured else ""
        star = "" if self.star is None else f" A star marks your drawing: {self.star_says[frame]}."
        return (
            f"Scatter plot of {self.points.shape[1]} {self.noun}s by their top-layer activity at inner step "
            f"{self.steps[frame]}, projected onto two principal components{colours}. Class centres are "
            f"{separation(self.points[frame], self.labels):.1f} times as far apart as the examples of a class; before "
            f"learning it was {separation(self.points[0], self.labels):.1f} times.{star}"
        )

    def _dots(self, axes: Axes, size: float, points: np.ndarray) -> list[Line2D]:
        if not self.coloured:
            return [style.dots(axes, points, size, style.MUTED)]
        return [
            style.dots(axes, points[self.labels == c], size, style.class_colour(c), style.class_marker(c))
            for c in map(int, self.classes)
        ]

    def _make_star(self, figure: Figure, small: Axes, main: Axes, star: np.ndarray) -> list[Any]:
        look: dict[str, Any] = {"marker": "*", "color": style.INK, "edgecolors": style.PAPER, "linewidths": 1.2}
        small.scatter(star[0, 0], star[0, 1], s=130, zorder=5, **look)
        words = style.put_text(figure, 0.12, 0.86, "", size=style.TITLE, weight="bold", va="center")
        return [main.scatter(star[0, 0], star[0, 1], s=330, **look), words]

    def _badge(self, axes: Axes, number: int, name: str) -> Text:
        colour = style.class_colour(number)
        box = {"boxstyle": "circle,pad=0.18", "facecolor": colour, "edgecolor": style.PAPER, "linewidth": 1.0}
        return axes.text(
            0, 0, name, ha="center", va="center_baseline", weight="bold",
            fontsize=style.TEXT, color=style.text_on(colour), bbox=box, clip_on=True,
        )  # fmt: skip


def _frame_of(points: np.ndarray) -> tuple[np.ndarray, float]:
    """Middle and half side of a square that holds the points of all frames, with a margin."""
    low, high = points.min((0, 1)), points.max((0, 1))
    return (low + high) / 2, 0.54 * float((high - low).max()) or 1.0


def separation(points: np.ndarray, labels: np.ndarray) -> float:
    """Root mean square distance of class centres from their middle, over that of points from their class centre."""
    classes = np.unique(labels)
    centres = np.stack([points[labels == c].mean(0) for c in classes])
    within = np.concatenate([points[labels == c] - centre for c, centre in zip(classes, centres, strict=True)])
    between = np.sqrt(((centres - centres.mean(0)) ** 2).sum(-1).mean())
    return float(between / max(np.sqrt((within**2).sum(-1).mean()), 1e-12))


def embedding_figure(
    features: np.ndarray, labels: np.ndarray, steps: Sequence[int], frame: int = -1, **options: Any
) -> Figure:
    """Draw a trajectory's representation at one frame, beside how it was before learning.

    Args:
        features: top-layer activations at the recorded steps [frames, N, n_L].
        labels: class numbers [N].
        steps: inner step of each frame.
        frame: which one to show; -1 is the last.
        options: keywords of `EmbeddingFilm`.

    Returns:
        The Figure.

    Raises:
        ValueError: as `project`, or a frame that is not there.
    """
    film = EmbeddingFilm(project(features), labels, steps, **options)
    return film.figure_at(frame)
