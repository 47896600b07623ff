"""Who looks alike: one example and its nearest neighbours, layer by layer."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.colors import to_rgb

from metarules.plots import style
from metarules.plots.film import Film
from metarules.studies.planes import SHOWN, directions

_UP, _FRAME, _GAP = 4, 4, 6  # pixels: of a thumbnail for each of the image's, of the frame about it, between two
_LEFT, _FOOT, _WIDTH, _HEIGHT = 1.5, 0.1, 2.45, 2.6  # inches: place of the table of thumbnails


class NeighboursFilm(Film):
    """The followed example on the left; on the right a row for each layer with those nearest to it there.

    Near is a large cosine between activities, see `directions`. A thick frame marks neighbours of another class.

    Args:
        activities: of each layer from 0 (the inputs) to L, [frames, n_dots, n_l] each, or [1, n_dots, n_0].
        labels: class numbers [n_dots].
        steps: inner step of each frame.
        images: [n_dots, height, width]; None draws a square in the colour of the class instead.
        names: what each dot is called, [n_dots]; the numbers of the dots by default.
    """

    def __init__(
        self,
        activities: Sequence[np.ndarray],
        labels: np.ndarray,
        steps: Sequence[int],
        images: np.ndarray | None = None,
        names: Sequence[int] | None = None,
    ) -> None:
        self.activities = [np.asarray(a) for a in activities]
        self.labels, self.steps = np.asarray(labels), tuple(steps)
        self.names = list(range(len(self.labels))) if names is None else list(names)
        self.followed = 0
        self._noun = "example" if images is None else "image"
        self._thumbs = _squares(self.labels) if images is None else _thumbnails(images)
        figure, self._corner = style.panel_figure(
            f"The followed {self._noun} and its nearest",
            "nearest: cosine of centred activities; framed: another class",
        )
        self._rows = len(self.activities)
        height, width = self._thumbs.shape[1:3]
        across = width + 2 * _FRAME + _GAP
        room = _HEIGHT / _WIDTH * SHOWN * across / self._rows - height - 2 * _FRAME  # between rows, to fill the picture
        self._cell = (height + 2 * _FRAME + int(np.clip(room, _GAP, 4 * _GAP)), across)
        tall, wide = self._rows * self._cell[0], SHOWN * self._cell[1]
        scale = min(_WIDTH / wide, _HEIGHT / tall)
        self._place = (_LEFT, _FOOT + _HEIGHT - tall * scale, wide * scale, tall * scale)
        self._table = style.bare(style.axes_at(figure, *self._place), frame=False).imshow(
            np.ones((tall, wide, 3)), interpolation="nearest", aspect="auto"
        )
        big = style.axes_at(figure, 0.15, _FOOT + _HEIGHT - 0.76, 0.74, 0.74)
        self._big = style.bare(big).imshow(self._thumbs[0], interpolation="nearest")
        self._caption = style.put_text(
            figure, 0.15, _FOOT + _HEIGHT - 0.84, "", size=style.SMALL, va="top", linespacing=1.3
        )
        x = _LEFT + self._place[2] + 0.06
        self._counts = []
        for l in range(self._rows):
            y = self._place[1] + self._place[3] * (1 - (l + 0.5) / self._rows)
            name = "inputs" if l == 0 else f"layer {l}"
            style.put_text(figure, _LEFT - 0.06, y, name, color=style.MUTED, ha="right", va="center")
            self._counts.append(style.put_text(figure, x, y, "", size=style.SMALL, va="center"))
        super().__init__(figure, len(self.steps), [self._table, self._big, self._caption, *self._counts, self._corner])

    def follow(self, dot: int) -> None:
        """Show another dot, 0 .. n_dots - 1."""
        with self._lock:
            if dot != self.followed:
                self.followed = dot
                self._pngs.clear()

    def nearest(self, frame: int) -> np.ndarray:
        """Numbers of the dots nearest to the followed one in each layer, [L + 1, SHOWN] or fewer, the nearest first."""
        rows = []
        for values in self.activities:
            towards = directions(values[min(frame, len(values) - 1)])
            cosines = towards @ towards[self.followed]
            cosines[self.followed] = -np.inf
            rows.append(np.argsort(-cosines, kind="stable")[: min(SHOWN, len(cosines) - 1)])
        return np.stack(rows)

    def alike(self, frame: int) -> list[int]:
        """How many of the neighbours in each layer are of the followed example's class."""
        return (self.labels[self.nearest(frame)] == self.labels[self.followed]).sum(1).tolist()

    def set_frame(self, frame: int) -> None:
        """Show the neighbours of a frame."""
        nearest, own = self.nearest(frame), self.labels[self.followed]
        down, across = self._cell
        sheet = np.ones((self._rows * down, SHOWN * across, 3))
        for l, row in enumerate(nearest):
            for k, dot in enumerate(row):
                height, width = self._thumbs.shape[1:3]
                top, left = l * down + (down - height) // 2, k * across + (across - width) // 2
                bottom, right = top + height, left + width
                if self.labels[dot] != own:
                    sheet[top - _FRAME : bottom + _FRAME, left - _FRAME : right + _FRAME] = _OTHER
                sheet[top:bottom, left:right] = self._thumbs[dot]
            self._counts[l].set_text(f"{(self.labels[row] == own).sum()} of {len(row)}")
        self._table.set_data(sheet)
        self._big.set_data(self._thumbs[self.followed])
        self._caption.set_text(f"{self._noun} {self.names[self.followed]}\nclass {own}")
        self._corner.set_text(f"step {self.steps[frame]}")

    def dot_at(self, frame: int, across: float, down: float) -> int | None:
        """The dot whose thumbnail is at a place in the picture, both in shares of its size; None elsewhere."""
        width, height = style.PANEL
        left, bottom, wide, tall = self._place
        k = (across * width - left) / wide * SHOWN
        l = (1 - ((1 - down) * height - bottom) / tall) * self._rows
        nearest = self.nearest(frame)
        if not (0 <= k < nearest.shape[1] and 0 <= l < self._rows):
            return None
        return int(nearest[int(l), int(k)])

    def alt(self, frame: int) -> str:
        """How many neighbours share the class, layer by layer."""
        now, before = self.alike(frame), self.alike(0)
        layers = ", ".join(f"{'inputs' if l == 0 else f'layer {l}'} {n}" for l, n in enumerate(now))
        return (
            f"The followed {self._noun}, of class {self.labels[self.followed]}, and the {SHOWN} nearest to it in each "
            f"layer at inner step {self.steps[frame]}. Of these are of its class: {layers}; before learning "
            f"{before[-1]} in the top layer."
        )


_OTHER = np.array(to_rgb(style.BACKWARD))  # frame of a neighbour of another class


def _thumbnails(images: np.ndarray) -> np.ndarray:
    """Images [n, h, w] in ink on paper, as RGB in [0, 1], enlarged."""
    low, high = float(images.min()), float(images.max())
    grey = 1 - (images - low) / max(high - low, 1e-12)
    return np.repeat(np.kron(grey, np.ones((1, _UP, _UP)))[..., None], 3, axis=-1)


def _squares(labels: np.ndarray) -> np.ndarray:
    """A square in the colour of its class for each example, RGB in [0, 1]."""
    colours = np.array([to_rgb(style.class_colour(int(c))) for c in labels])
    return np.broadcast_to(colours[:, None, None], (len(labels), 8 * _UP, 8 * _UP, 3))
