"""`DigitPad`: draw a digit and see where it falls among those a base model learned from, and how it is read."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import ipywidgets as widgets
import numpy as np
import traitlets
from torch import Tensor

from metarules._work import Worker
from metarules.plots.reading import SIZE, ReadingFilm
from metarules.plots.style import DPI
from metarules.studies.drawing import Followed, Follower
from metarules.studies.planes import SHOWN
from metarules.studies.trajectory import Exploration
from metarules.tasks import Dataset, load_dataset
from metarules.tasks.drawing import EXAMPLES, check_strokes, drawn_dataset, drawn_digit
from metarules.widgets.base import Controls
from metarules.widgets.canvas import SIDE, Canvas, digit_png
from metarules.widgets.inner_loop import InnerLoopExplorer
from metarules.widgets.keys import Keys
from metarules.widgets.parts import WIDTH, folded, marked, menu, pictures, row, wide
from metarules.widgets.picture import Picture, read_png, sheet, with_png

_SIDE = 8  # pixels of a digit


class DigitPad(Controls):
    """A pad for drawing, tied to an `InnerLoopExplorer`: the drawing is the star in the explorer's embedding.

    It opens with an example drawing. In sight: the canvas, the explorer's step slider once more, Clear, Example. In the
    fold: what the drawing is meant to be, Keep, and a button that lets the explorer learn on the digits and those kept.

    CSS classes: `metarules-pad` (all of it), `metarules-canvas`, `metarules-pad-seen`, `metarules-pad-reading`,
    `metarules-pad-embedding`,
    `metarules-pad-status`, `metarules-pad-step`, `metarules-clear`, `metarules-example`, `metarules-pad-fold`, and in
    the fold `metarules-meant`, `metarules-keep`, `metarules-learn`.

    Args:
        explorer: one with an embedding.
        strokes: the drawing it opens with; None takes a stored example, a 7.

    Raises:
        ValueError: an explorer without an embedding, strokes that are none.
    """

    def __init__(self, explorer: InnerLoopExplorer, strokes: Sequence[Sequence[Sequence[float]]] | None = None) -> None:
        if "embedding" not in explorer.panels:
            raise ValueError(f"explorer shows {', '.join(explorer.panels)}; allowed: one that shows an embedding")
        super().__init__(explorer.lock)
        self.explorer = explorer
        self.kept: list[tuple[Tensor, int]] = []
        self._followers: dict[Exploration, Follower] = {}
        self._worker = Worker(self.lock)
        self._followed: Followed | None = None
        self._shown: Exploration | None = None
        self._film_of: Exploration | None = None
        self._examples = list(EXAMPLES)
        first = check_strokes(EXAMPLES[7] if strokes is None else strokes)
        self._make([line.tolist() for line in first])
        self._on_drawing()

    def _repr_mimebundle_(self, **options: Any) -> Any:
        """The live widget, and its pictures as they stand for readers without a kernel."""
        seen, reading, right = (read_png(part.value) for part in (self.seen, self.reading, self.embedding))
        width, height = reading.width + 20 + right.width, max(seen.height + reading.height, right.height)
        places = {
            ((reading.width - seen.width) // 2, 0): seen,
            (0, seen.height): reading,
            (reading.width + 20, 0): right,
        }
        small = (width * 2 // 3, height * 2 // 3)
        return with_png(super()._repr_mimebundle_(**options), sheet((width, height), places, small))

    @property
    def row(self) -> Tensor | None:
        """The drawing as a row like those of the digits, [64] in [0, 1]; None while there is none."""
        return drawn_digit(self.canvas.strokes) if self.canvas.strokes else None

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until the drawing is followed through what the explorer shows, as a script must that reads `read_as`.

        Args:
            timeout: seconds, or None for as long as it takes.

        Returns:
            Whether it is.
        """
        return self.explorer.wait(timeout) and self._worker.wait(timeout)

    @property
    def read_as(self) -> int | None:
        """What the probe reads the drawing as at the step shown; None while there is none, or none can be read."""
        return None if self._followed is None else int(self._followed.read_as[self._frame])

    def dataset(self, alone: bool = False) -> Dataset:
        """The digits with the kept drawings added, or these alone.

        Raises:
            ValueError: no drawing has been kept.
        """
        if not self.kept:
            raise ValueError("no drawing has been kept; allowed: one at least, so say what it is and press Keep")
        rows, labels = zip(*self.kept, strict=True)
        return drawn_dataset(rows, labels, None if alone else load_dataset("digits"))

    # ---- controls

    def _make(self, strokes: list[Any]) -> None:
        self.canvas = marked(Canvas(strokes=strokes), "canvas")
        self.seen = marked(Picture(width=SIDE), "pad-seen")
        self.reading = marked(Picture(width=round(SIZE[0] * DPI)), "pad-reading")
        self.embedding = marked(Picture(), "pad-embedding")
        self.status = marked(widgets.HTML(layout=widgets.Layout(max_width=WIDTH)), "pad-status")
        self.slider = widgets.IntSlider(description="Inner step", layout=widgets.Layout(flex="1 1 320px"))
        clear = self.button("Clear", "clear", "An empty sheet", self._on_clear)
        example = self.button("Example", "example", "Another stored drawing", self._on_example)
        self.meant = marked(menu("It is meant as", [(str(d), d) for d in range(10)], 7, **wide(110, 200)), "meant")
        keep = self.button("Keep it", "keep", "Put the drawing aside, with what it is meant as", self._on_keep)
        tip = "In the explorer; its Reset undoes it"
        learn = self.button("Learn on the digits and mine", "learn", tip, self._on_learn)
        fold = folded([self.meant, keep, learn], "More: keep drawings, learn with them")
        left = widgets.VBox([_caption("Draw here"), self.canvas])
        middle = widgets.VBox([_caption("What the network gets"), self.seen])
        top = widgets.HBox([left, middle], layout=widgets.Layout(grid_gap="12px"))
        self.children = [
            Keys(),
            row([self.slider, clear, example]),
            marked(fold, "pad-fold"),
            self.status,
            pictures([widgets.VBox([top, self.reading]), self.embedding]),
        ]
        marked(self, "pad")
        marked(self.slider, "pad-step")
        slider = self.explorer.slider
        for name in ("max", "step", "value"):  # as it stands: by then it may have gone on to a recorded step
            traitlets.dlink((slider, name), (self.slider, name), lambda _, name=name: getattr(slider, name))
        for name in ("value", "alt"):
            traitlets.dlink((self.explorer.panels["embedding"], name), (self.embedding, name))
        self.slider.observe(self.guarded(lambda _: self._on_slider()), names="value")
        self.canvas.observe(self.guarded(lambda _: self._on_drawing()), names="strokes")
        self.explorer.panels["embedding"].observe(self.guarded(lambda _: self._on_explorer()), names="value")

    def _on_slider(self) -> None:
        if self.slider.value != self.explorer.step:
            self.explorer.step = self.slider.value

    def _on_clear(self) -> None:
        self.canvas.strokes = []

    def _on_example(self) -> None:
        shown = next((d for d, lines in EXAMPLES.items() if lines == self.canvas.strokes), self._examples[-1])
        chosen = self._examples[(self._examples.index(shown) + 1) % len(self._examples)]
        self.canvas.strokes = EXAMPLES[chosen]

    def _on_keep(self) -> None:
        if (row := self.row) is None:
            raise ValueError("there is no drawing to keep; allowed: one at least")
        self.kept.append((row, self.meant.value))
        self.canvas.strokes = []
        named = ", ".join(str(label) for _, label in self.kept)
        self.say(f"Kept {len(self.kept)} drawing(s): {named}. Draw the next one, or learn with them.")

    def _on_learn(self) -> None:
        self.explorer.use(self.dataset())

    def _on_drawing(self) -> None:
        """Follow another drawing."""
        row = self.row
        pixels = np.zeros((_SIDE, _SIDE)) if row is None else row.numpy().reshape(_SIDE, _SIDE)
        self.seen.value = digit_png(pixels)
        self.seen.alt = f"Your drawing in {_SIDE} by {_SIDE} grey pixels, {pixels.mean():.0%} of it dark"
        self._mark(row)

    def _on_explorer(self) -> None:
        """The explorer shows something else: another step, or another base model, which must be followed anew."""
        exploration = self.explorer.exploration
        if exploration in self._followers or self.row is None or not self._readable:
            if self._shown is exploration:
                self._tell()
            else:
                self._mark(self.row)
        else:  # half a second: off the main thread, so that the explorer does not wait for the star
            self._followed = None
            self.say("Looking for your drawing in the new base model ...")
            self._worker.start(lambda *_: self._follower(exploration), self._on_follower, lambda _: None)

    def _on_follower(self, follower: Any, problem: BaseException | None) -> None:
        if problem is not None:
            self.say(f"This did not work: {problem}.")
        else:
            self._mark(self.row)

    # ---- showing

    @property
    def _frame(self) -> int:
        return self.explorer.exploration.frame_of(self.explorer.step)

    @property
    def _readable(self) -> bool:
        return self.explorer.exploration.task.shape == (_SIDE, _SIDE)

    def _follower(self, exploration: Exploration) -> Follower:
        """Made once for the trajectory that the explorer opened with and for the latest one."""
        if exploration not in self._followers:
            self._followers = dict(list(self._followers.items())[:1])
            self._followers[exploration] = Follower(exploration)
        return self._followers[exploration]

    def _mark(self, row: Tensor | None) -> None:
        self._shown = exploration = self.explorer.exploration
        readable = row is not None and self._readable
        self._followed = followed = self._follower(exploration).follow(row) if readable else None
        if self._readable:
            if self._film_of is not exploration:
                self._film, self._film_of = _reading(exploration), exploration
            self._film.follow(*(None, None) if followed is None else (followed.scores, followed.nearest))
        self.explorer.mark(self._followed)
        self._tell()

    def _show_reading(self) -> None:
        """Bars and nearest images at the step shown."""
        self.reading.layout.display = None if self._readable else "none"
        if self._readable:
            with self.reading.hold_sync():
                self.reading.value, self.reading.alt = self._film.png(self._frame), self._film.alt(self._frame)

    def _tell(self) -> None:
        self._show_reading()
        if not self.canvas.strokes:
            self.say("An empty sheet: draw a digit, or press Example.")
        elif self._followed is None:
            self.say("The explorer's data are no images of 8 by 8 pixels, so that the drawing cannot be read.")
        else:
            scores = self._followed.scores[self._frame]
            best, second = scores.argsort()[::-1][:2]
            self.say(
                f"At step {self.explorer.step} your drawing (the star) is read as {best}; next best is {second}. "
                f"Before learning it was read as {self._followed.read_as[0]}."
            )


def _reading(e: Exploration) -> ReadingFilm:
    images, labels = e.task.image(e.task.x).numpy(), e.task.y.numpy()
    return ReadingFilm(images, labels, e.steps, e.task.n_classes, SHOWN)


def _caption(text: str) -> widgets.HTML:
    return widgets.HTML(f"<b>{text}</b>")
