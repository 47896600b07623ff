"""A film: one Figure that can show any of several frames, each frame drawn when first asked for and then kept.

Scrubbing must answer in well under 200 ms. What does not move (axes, ticks, headings) is drawn once and kept as pixels;
a frame draws only its moving artists over them.
"""

from __future__ import annotations

import io
import threading
from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib import rc_context
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.text import Text

from metarules._checks import check_number
from metarules.plots.stamps import draw_text
from metarules.plots.style import DPI, SHARP, pixels_to_png

_REACH = 0.12  # inches from a dot within which a click means it: 12 CSS pixels
_ABOVE = 100  # zorder of the first moving artist: over everything that stands still


class Film:
    """Base class of the panels' pictures. A subclass draws the Figure, names what moves, and writes two methods.

    Args:
        figure: drawn but for the moving artists' data.
        frames: number of frames, at least 1.
        moving: artists that `set_frame` changes, in the order in which they are drawn, above all others.

    Raises:
        ValueError: no frames.
    """

    step_axes: tuple[Axes, Sequence[int]] | None = None  # axes over inner steps, if any, and every frame's step

    def __init__(self, figure: Figure, frames: int, moving: Sequence[Artist]) -> None:
        check_number("frames", frames, low=1, high=2**63 - 1, integer=True)
        self.figure = figure
        self.frames = frames
        self._moving = list(moving)
        for i, artist in enumerate(self._moving):
            artist.set_zorder(_ABOVE + i)
        self._canvas = figure.canvas if isinstance(figure.canvas, FigureCanvasAgg) else FigureCanvasAgg(figure)
        self._ground: Any = None
        self._pngs: dict[int, bytes] = {}
        self._lock = threading.Lock()  # a widget's worker and its callbacks may ask at the same time

    def set_frame(self, frame: int) -> None:
        """Give the moving artists the data of a frame."""
        raise NotImplementedError(f"{type(self).__name__} must define set_frame")

    def clouds(self, frame: int) -> Sequence[tuple[Axes, np.ndarray]]:
        """Where dots can be clicked: axes, and places [n, 2] in their data, one for each example drawn; none here."""
        return ()

    def dot_at(self, frame: int, across: float, down: float) -> int | None:
        """The number of the dot nearest to a place in the picture, both in shares of its size; None if none is near."""
        found = self.hit(frame, across, down)
        return None if found is None else found[1]

    def hit(self, frame: int, across: float, down: float) -> tuple[int, int] | None:
        """The number of the cloud and of its dot nearest to a place, as for `dot_at`."""
        for cloud, (axes, points) in enumerate(self.clouds(frame)):
            box = axes.get_position()
            place = np.array([(across - box.x0) / box.width, (1 - down - box.y0) / box.height])
            if place.min() < 0 or place.max() > 1:
                continue
            low, high = np.transpose([axes.get_xlim(), axes.get_ylim()])
            inches = self.figure.get_size_inches() * (box.width, box.height)
            distances = np.linalg.norm(((points - low) / (high - low) - place) * inches, axis=1)
            return (cloud, int(distances.argmin())) if distances.min() <= _REACH else None
        return None

    def frame_at(self, across: float, down: float) -> int | None:
        """The frame whose step lies nearest to a place in the picture, as for `dot_at`; None off the axis of steps."""
        if self.step_axes is None or self.data_at(self.step_axes[0], across, down) is None:
            return None
        axes, steps = self.step_axes
        places = axes.transData.transform([(step, axes.get_ylim()[0]) for step in steps])[:, 0]
        return int(np.abs(places - across * self.figure.bbox.width).argmin())

    def data_at(self, axes: Axes, across: float, down: float) -> tuple[float, float] | None:
        """What a place in the picture, as for `dot_at`, is in the data of axes; None outside them."""
        place = across * self.figure.bbox.width, (1 - down) * self.figure.bbox.height
        if not axes.bbox.contains(*place):
            return None
        x, y = axes.transData.inverted().transform(place)
        return float(x), float(y)

    def alt(self, frame: int) -> str:
        """What a frame shows, in a sentence or two, for readers who do not see it."""
        raise NotImplementedError(f"{type(self).__name__} must define alt")

    def figure_at(self, frame: int) -> Figure:
        """The Figure, showing a frame (-1 is the last); the same object every time: look before asking for the next."""
        frame = self.frames - 1 if frame == -1 else frame
        self._check(frame)
        with self._lock:
            self.set_frame(frame)
        return self.figure

    def png(self, frame: int) -> bytes:
        """PNG bytes of a frame, `SHARP` pixels for each CSS pixel; drawn once.

        Raises:
            ValueError: a frame outside 0 .. frames - 1.
        """
        self._check(frame)
        with self._lock:
            if frame not in self._pngs:
                self.set_frame(frame)
                self._pngs[frame] = pixels_to_png(self._pixels())
            return self._pngs[frame]

    def svg(self, frame: int) -> bytes:
        """A frame as SVG, its text as text; the same frame gives the same bytes.

        Raises:
            ValueError: a frame outside 0 .. frames - 1.
        """
        self._check(frame)
        buffer = io.BytesIO()
        with self._lock, rc_context({"svg.hashsalt": "metarules", "svg.fonttype": "none"}):
            self.set_frame(frame)
            self.figure.savefig(buffer, format="svg", metadata={"Date": None})
        return buffer.getvalue()

    def _pixels(self) -> np.ndarray:
        """The Figure's pixels [height, width, 4], the moving artists drawn over the kept ground."""
        if self._ground is None:
            self.figure.set_dpi(DPI * SHARP)
            self._show_moving(False)
            self._canvas.draw()
            self._show_moving(True)
            self._ground = self._canvas.copy_from_bbox(self.figure.bbox)
        self._canvas.restore_region(self._ground)
        renderer = self._canvas.get_renderer()
        for artist in self._moving:
            if type(artist) is Text:
                draw_text(artist, renderer)
            else:
                artist.draw(renderer)
        return np.asarray(self._canvas.buffer_rgba())

    def _show_moving(self, visible: bool) -> None:
        for artist in self._moving:
            artist.set_visible(visible)

    def _check(self, frame: int) -> None:
        check_number("frame", frame, low=0, high=self.frames - 1, integer=True)
