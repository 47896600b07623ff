"""How a drawing is read: the read-out's score for every class, and the images nearest to it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from metarules.plots import style
from metarules.plots.film import Film

SIZE = (4.12, 1.72)  # inches: under the sheet and what is seen of it
_LEFT, _BOTTOM, _WIDE, _HIGH = 0.12, 0.27, 2.0, 0.95  # inches, of the bars
_RIGHT, _IMAGE, _GAP = 2.34, 0.3, 0.05  # inches, of the images
_ROWS = (0.94, 0.3)  # bottoms of the two rows of images: at the step shown, before learning


class ReadingFilm(Film):
    """A bar for the score of every class, a line across it for that before learning; two rows of nearest images.

    It is empty until `follow` says what is read.

    Args:
        images: of the data [n, height, width].
        labels: class numbers [n].
        steps: inner step of each frame.
        n_classes: number of bars.
        nearest: number of images in a row.
    """

    def __init__(
        self, images: np.ndarray, labels: np.ndarray, steps: Sequence[int], n_classes: int, nearest: int
    ) -> None:
        low, high = float(images.min()), float(images.max())
        self._images = (np.asarray(images, dtype=float) - low) / max(high - low, 1e-12)
        self._labels, self.steps = np.asarray(labels), tuple(steps)
        self.scores: np.ndarray | None = None
        self.nearest: np.ndarray | None = None
        figure = style.new_figure(*SIZE)
        top = SIZE[1] - 0.08
        style.put_text(figure, _LEFT, top, "How it is read", size=style.TEXT, weight="bold", va="top")
        style.put_text(figure, _RIGHT, top, "Nearest to it", size=style.TEXT, weight="bold", va="top")
        words = "bar: score; line: before learning"
        style.put_text(figure, _LEFT, top - 0.2, words, size=style.SMALL, color=style.MUTED, va="top")
        style.put_text(figure, _RIGHT, top - 0.2, "in the top layer", size=style.SMALL, color=style.MUTED, va="top")
        axes = style.bare(style.axes_at(figure, _LEFT, _BOTTOM, _WIDE, _HIGH), frame=False)
        axes.set(xlim=(-0.6, n_classes - 0.4), ylim=(-1.15, 1.15))
        axes.axhline(-1, color=style.FAINT, linewidth=0.8)
        places = np.arange(n_classes)
        colours = [style.class_colour(c) for c in range(n_classes)]
        self._bars = axes.bar(places, np.zeros(n_classes), 0.76, bottom=-1.0, color=colours).patches
        self._before = axes.hlines(
            np.full(n_classes, -1.0), places - 0.48, places + 0.48, color=style.INK, linewidth=1.4
        )
        self._names = [
            style.put_text(figure, self._across(c), 0.13, str(c), size=style.TEXT, ha="center", va="center")
            for c in range(n_classes)
        ]
        self._thumbs = []
        for bottom, name in zip(_ROWS, ("", "before learning"), strict=True):
            style.put_text(figure, _RIGHT, bottom - 0.2, name, size=style.SMALL, color=style.MUTED, va="center")
            for k in range(nearest):
                left = _RIGHT + k * (_IMAGE + _GAP)
                image = style.bare(style.axes_at(figure, left, bottom, _IMAGE, _IMAGE))
                self._thumbs.append(image.imshow(1 - self._images[0], cmap="gray", vmin=0, vmax=1))
        super().__init__(figure, len(self.steps), [*self._bars, self._before, *self._names, *self._thumbs])

    def follow(self, scores: np.ndarray | None, nearest: np.ndarray | None) -> None:
        """Show another drawing, or an empty sheet.

        Args:
            scores: of each class at each frame, -1 for "another" to 1 for "this" [frames, n_classes].
            nearest: numbers of the images nearest at each frame, the nearest first [frames, nearest].
        """
        with self._lock:
            self.scores, self.nearest = scores, nearest
            self._pngs.clear()

    def set_frame(self, frame: int) -> None:
        """Draw the bars and the images of a frame."""
        if self.scores is None or self.nearest is None:
            for thumb in self._thumbs:
                thumb.set_data(np.ones_like(self._images[0]))
            for bar, name in zip(self._bars, self._names, strict=True):
                bar.set_height(0.0)
                name.set_fontweight("normal")
            self._before.set_segments([])
            return
        now, before = (self.scores[f].clip(-1, 1.1) for f in (frame, 0))
        best = int(self.scores[frame].argmax())
        for c, (bar, name) in enumerate(zip(self._bars, self._names, strict=True)):
            bar.set_height(now[c] + 1)
            name.set_fontweight("bold" if c == best else "normal")
        self._before.set_segments([[(c - 0.48, y), (c + 0.48, y)] for c, y in enumerate(before)])
        for thumb, row in zip(self._thumbs, np.concatenate([self.nearest[frame], self.nearest[0]]), strict=True):
            thumb.set_data(1 - self._images[row])

    def alt(self, frame: int) -> str:
        """The scores and the classes of the nearest in words."""
        if self.scores is None or self.nearest is None:
            return "Score bars and nearest images of a drawing, empty while there is none"
        order = self.scores[frame].argsort()[::-1][:3]
        scores = ", ".join(f"{c} {self.scores[frame, c]:.2f}" for c in order)
        now, before = ([str(label) for label in self._labels[self.nearest[f]]] for f in (frame, 0))
        return (
            f"Scores of the read-out for the drawing at inner step {self.steps[frame]}, from -1 to 1, the highest "
            f"three: {scores}. The nearest images in the top layer are of class {', '.join(now)}; before learning "
            f"{', '.join(before)}."
        )

    def _across(self, number: int) -> float:
        """Where the middle of a bar is, in inches."""
        return _LEFT + _WIDE * (number + 0.6) / (len(self._bars) + 0.2)
