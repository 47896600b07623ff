"""Features in the plane: two labelled batches, the regions a linear read-out cuts, an arrow for every point."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.text import Text

from metarules.plots import style
from metarules.plots.film import Film
from metarules.studies.objective import PlaneScene

_TINT = 0.17  # of a class colour in its region, the rest is white
_SCALES = (1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 200.0, 500.0, 1000.0)  # of the arrows, over the moves
_LONG = 0.3  # of the longest arrow at most, as a share of half the height, where arrows are drawn longer than moves
_BARB = 0.05  # longest barb of an arrow head, as a share of half the height
_WIDE, _HIGH = 4.3, 2.6  # inches of the panel's axes


def reach_of(*scenes: PlaneScene) -> float:
    """Half the height of a frame that holds all points and arrow tips, a multiple of a half."""
    far = 0.0
    for s in scenes:
        tips = np.concatenate([s.points_a, s.points_b, s.points_a + s.moves_a, s.points_b + s.moves_b])
        far = max(far, float(np.max(np.abs(tips) / [_WIDE / _HIGH, 1.0])))
    return max(0.5, math.ceil(2 * (1.04 * far)) / 2)


class _Regions(Artist):
    """The regions as pixels, one answer for each pixel of the axes: no resampling, which would take longest of all."""

    def __init__(self, axes: Axes) -> None:
        super().__init__()
        self.axes = axes
        self.set_figure(axes.figure)
        self.weights = np.zeros((3, 1))

    def draw(self, renderer: Any) -> None:
        """Paint the tints of the regions, and a grey line where two of them meet."""
        if not self.get_visible() or self.axes is None:
            return
        (left, bottom), (right, top) = np.round(self.axes.bbox.get_points()).astype(int)
        xs = np.linspace(*self.axes.get_xlim(), right - left, dtype=np.float32)
        ys = np.linspace(*self.axes.get_ylim(), top - bottom, dtype=np.float32)[:, None]
        answers = [np.float32(x) * xs + (np.float32(y) * ys + np.float32(bias)) for x, y, bias in self.weights.T]
        winner = np.zeros(answers[0].shape, np.uint8)
        best = answers[0]
        for c, answer in enumerate(answers[1:], start=1):
            winner[answer > best] = c
            best = np.maximum(answer, best)
        edge = np.zeros(winner.shape, bool)
        edge[1:] |= winner[1:] != winner[:-1]
        edge[:, 1:] |= winner[:, 1:] != winner[:, :-1]
        winner[edge] = len(answers)
        tints = [1 - _TINT * (1 - np.array(to_rgb(style.class_colour(c)))) for c in range(len(answers))]
        palette = np.full((len(answers) + 1, 4), 255, np.uint8)
        palette[:, :3] = np.round(255 * np.array([*tints, to_rgb(style.MUTED)]))
        gc = renderer.new_gc()
        renderer.draw_image(gc, left, bottom, palette[winner])
        gc.restore()


class Plane:
    """The artists of a scene on given axes, whose frame stays as wide for its height as it is.

    Args:
        axes: where to draw.
        dot: area of a dot in square points.
    """

    def __init__(self, axes: Axes, dot: float = 26.0) -> None:
        self.axes = style.bare(axes)
        width, height = axes.get_position().size * axes.figure.get_size_inches()  # type: ignore[union-attr]
        self._wide = width / height
        self._regions = _Regions(axes)
        axes.add_artist(self._regions)
        self._a = axes.scatter([], [], s=dot, linewidths=0.7, edgecolors=style.PAPER)
        self._b = axes.scatter([], [], s=dot, linewidths=1.6)
        self._arrows = LineCollection([], colors=style.INK, linewidths=1.2)
        axes.add_collection(self._arrows, autolim=False)
        self.frame(1.0)

    @property
    def artists(self) -> list[Artist]:
        """What `draw` changes, in drawing order."""
        return [self._regions, self._arrows, self._a, self._b]

    def frame(self, reach: float) -> None:
        """Show the plane from -reach to reach in height."""
        self.reach = reach
        wide = reach * self._wide
        self.axes.set(xlim=(-wide, wide), ylim=(-reach, reach))

    def draw(self, scene: PlaneScene, arrows: Sequence[str] = ("a", "b"), scale: float = 1.0) -> None:
        """Show a scene, with the arrows of the batches named, `scale` times as long as the moves."""
        colours = np.array([to_rgb(style.class_colour(c)) for c in range(scene.weights.shape[1])])
        self._regions.weights = scene.weights
        self._a.set_offsets(scene.points_a)
        self._a.set_facecolor(colours[scene.labels_a])
        self._b.set_offsets(scene.points_b)
        self._b.set_facecolor("#ffffffb0")
        self._b.set_edgecolor(colours[scene.labels_b])
        lines: list[np.ndarray] = []
        for name, points, moves in (("a", scene.points_a, scene.moves_a), ("b", scene.points_b, scene.moves_b)):
            if name in arrows:
                lines += self._heads(points, scale * moves)
        self._arrows.set_segments(lines)

    def _heads(self, points: np.ndarray, moves: np.ndarray) -> list[np.ndarray]:
        """Every arrow as one line of five points: tail, tip, barb, tip, barb."""
        length = np.linalg.norm(moves, axis=-1, keepdims=True)
        ahead = moves / np.maximum(length, 1e-12)
        side = np.stack([-ahead[:, 1], ahead[:, 0]], -1)
        size = np.minimum(0.45 * length, _BARB * self.reach)
        tips = points + moves
        barbs = [tips - size * (0.85 * ahead + sign * 0.5 * side) for sign in (1, -1)]
        lines = np.stack([points, tips, barbs[0], tips, barbs[1]], 1)
        return list(lines[length[:, 0] > 0.01 * self.reach])


class PlanePicture(Film):
    """The panel of `MetaObjectiveExplorer` that shows the plane; one Figure for any number of scenes."""

    def __init__(self) -> None:
        figure, self._corner = style.panel_figure("The features", "")
        words: dict[str, Any] = {"size": style.SMALL, "color": style.MUTED, "va": "top"}
        self._subtitle = style.put_text(figure, 0.1, style.PANEL[1] - 0.33, "", **words)
        self._plane = Plane(style.axes_at(figure, 0.1, 0.1, _WIDE, _HIGH))
        width, height = style.PANEL
        self._names = [_badge(figure, width - 0.2 - 0.26 * (2 - c), height - 0.42, c, "0") for c in range(3)]
        self._scene: PlaneScene | None = None
        self._arrows: tuple[str, ...] = ()
        super().__init__(figure, 1, [*self._plane.artists, self._subtitle, self._corner])

    def picture(self, scene: PlaneScene, reach: float, arrows: Sequence[str] = ("a", "b")) -> tuple[bytes, str]:
        """PNG and alternative text of a scene.

        Args:
            scene: of three classes.
            reach: half the height of the frame, see `reach_of`.
            arrows: the batches whose arrows are drawn.
        """
        self._scene, self._arrows = scene, tuple(arrows)
        self._pngs.clear()
        if reach != self._plane.reach:
            self._plane.frame(reach)
        for text, name in zip(self._names, scene.class_names, strict=True):
            if text.get_text() != name:
                text.set_text(name)
                self._ground = None  # names stand still from scene to scene
        return self.png(0), self.alt(0)

    def clouds(self, frame: int) -> list[tuple[Axes, np.ndarray]]:
        """As `Film.clouds`: batch a and then batch b, as one."""
        s = self._scene
        return [] if s is None else [(self._plane.axes, np.concatenate([s.points_a, s.points_b]))]

    def set_frame(self, frame: int) -> None:
        """Draw the scene of the moment."""
        if self._scene is None:
            return
        scale, longest = self._scale()
        self._plane.draw(self._scene, self._arrows, scale)
        times = "" if scale == 1 else f" × {scale:g}"
        said = f"; arrows: the next move{times}, longest {longest:.2g}" if self._arrows else ""
        self._subtitle.set_text(f"filled: a, hollow: b{said}")
        self._corner.set_text(f"loss {self._scene.loss:.2f}")

    def _scale(self) -> tuple[float, float]:
        """How many times as long as the moves the arrows are drawn, so that they can be seen, and the longest move."""
        moves = [getattr(self._scene, f"moves_{name}") for name in self._arrows]
        longest = max((float(np.linalg.norm(move, axis=-1).max()) for move in moves), default=0.0)
        fitting = [scale for scale in _SCALES if scale * longest <= _LONG * self._plane.reach]
        return (fitting[-1] if fitting else 1.0), longest

    def place_at(self, across: float, down: float) -> tuple[float, float]:
        """Where a place in the picture, as for `dot_at`, lies in the plane; the nearest in its frame."""
        box, axes = self._plane.axes.get_position(), self._plane.axes
        x = np.clip((across - box.x0) / box.width, 0.01, 0.99)
        y = np.clip((1 - down - box.y0) / box.height, 0.01, 0.99)
        (left, right), (low, high) = axes.get_xlim(), axes.get_ylim()
        return float(left + x * (right - left)), float(low + y * (high - low))

    def alt(self, frame: int) -> str:
        """How many points, how many of b on their own side, how long the arrows are."""
        s = self._scene
        if s is None:
            return "An empty plane."
        right = (np.c_[s.points_b, np.ones(len(s.points_b))] @ s.weights).argmax(-1) == s.labels_b
        mean = np.linalg.norm(s.moves_b, axis=-1).mean()
        scale = self._scale()[0] if self._arrows else 1
        longer = "" if scale == 1 else f", and drawn {scale:g} times as long"
        drawn = f"Arrows on batch {' and '.join(self._arrows)}" if self._arrows else "No arrows drawn; moves"
        return (
            f"Scatter plot of {len(s.points_a)} filled points (batch a) and {len(s.points_b)} hollow ones (batch b) of "
            f"classes {', '.join(s.class_names)} over the regions of the ridge read-out; {int(right.sum())} of the "
            f"hollow ones lie in their own region. {drawn}: those of b are {mean:.2g} long on average{longer}. "
            f"The loss is {s.loss:.2f}."
        )


def plane_strip(scenes: Sequence[PlaneScene], titles: Sequence[str], arrows: Sequence[bool]) -> Figure:
    """Scenes side by side in one frame, as a strip of film.

    Args:
        scenes: at least one.
        titles: a heading for each.
        arrows: whether each shows its arrows.

    Returns:
        The Figure, 3.3 inches high, 9.2 wide for three scenes.

    Raises:
        ValueError: no scenes, or not as many titles and flags as scenes.
    """
    if not scenes or not len(scenes) == len(titles) == len(arrows):
        raise ValueError(f"scenes, titles, arrows number {len(scenes)}, {len(titles)}, {len(arrows)}; allowed: alike")
    side, gap = 2.75, 0.375
    figure = style.new_figure(0.2 + (side + gap) * len(scenes) - gap, 3.3)
    reach = max(float(np.abs(np.concatenate([s.points_a, s.points_b])).max()) for s in scenes) * 1.06
    for i, (scene, title, pointed) in enumerate(zip(scenes, titles, arrows, strict=True)):
        left = 0.1 + i * (side + gap)
        plane = Plane(style.axes_at(figure, left, 0.1, side, side), dot=20.0)
        plane.frame(reach)
        plane.draw(scene, ("a", "b") if pointed else ())
        style.put_text(figure, left, 3.2, title, size=style.TITLE, weight="bold", va="top")
        style.put_text(figure, left + side, 3.2, f"loss {scene.loss:.2f}", size=style.TITLE, ha="right", va="top")
        for c, name in enumerate(scene.class_names):
            _badge(figure, left + 0.2 + 0.26 * c, 0.27, c, name)
    return figure


def _badge(figure: Figure, x: float, y: float, number: int, name: str = "") -> Text:
    """A class name on its colour, at a place in inches."""
    colour = style.class_colour(number)
    box = {"boxstyle": "circle,pad=0.18", "facecolor": colour, "edgecolor": style.PAPER, "linewidth": 1.0}
    return style.put_text(
        figure, x, y, name, weight="bold", ha="center", va="center", size=style.SMALL,
        color=style.text_on(colour), bbox=box,
    )  # fmt: skip
