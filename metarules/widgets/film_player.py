"""`FilmPlayer`: any film with a play button and a slider."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import ipywidgets as widgets

from metarules.plots import Film
from metarules.plots.style import DPI
from metarules.widgets.keys import Keys
from metarules.widgets.parts import WIDTH, marked
from metarules.widgets.picture import Picture, compact_png, with_png

_PLAY_EVERY = 150  # milliseconds between frames


class FilmPlayer(widgets.VBox):
    """Play and scrub one film; it opens at its last frame. It computes nothing, and so has no status line and no fold.

    CSS classes: `metarules-film` (all of it), `metarules-film-play`, `metarules-film-slider`, `metarules-film-picture`.

    Args:
        film: see `plots.Film`.
        steps: what the slider calls each frame, rising whole numbers.

    Raises:
        ValueError: steps that are not one for each frame.
    """

    def __init__(self, film: Film, steps: Sequence[int]) -> None:
        if len(steps) != film.frames:
            raise ValueError(f"steps has {len(steps)} entries; allowed: {film.frames}, one for each frame")
        super().__init__()
        self.film, self._steps, last = film, list(steps), film.frames - 1
        self.picture = marked(Picture(width=round(film.figure.get_figwidth() * DPI)), "film-picture")
        play = widgets.Play(interval=_PLAY_EVERY, max=last, value=last, show_repeat=False)
        self.play = marked(play, "film-play")
        slider = widgets.SelectionSlider(
            description="Inner step",
            options=[(str(step), frame) for frame, step in enumerate(self._steps)],
            value=last,
            layout=widgets.Layout(flex="1 1 320px"),
        )
        self.slider = marked(slider, "film-slider")
        for control in (self.play, self.slider):
            control.observe(lambda change: self._go(change["new"]), names="value")
        controls = marked(widgets.HBox([self.play, self.slider], layout=widgets.Layout(max_width=WIDTH)), "controls")
        self.children = [Keys(), controls, self.picture]
        marked(self, "film")
        self._go(last)

    def __repr__(self) -> str:
        return "FilmPlayer()"

    def _repr_mimebundle_(self, **options: Any) -> Any:
        """The live widget, and its picture for readers without a kernel."""
        return with_png(super()._repr_mimebundle_(**options), compact_png(self.picture.value))

    @property
    def step(self) -> int:
        """The step shown; set it to move there, to the last frame at or before it."""
        return self._steps[self.slider.value]

    @step.setter
    def step(self, step: int) -> None:
        before = [frame for frame, own in enumerate(self._steps) if own <= step]
        self.slider.value = before[-1] if before else 0

    def _go(self, frame: int) -> None:
        self.slider.value = self.play.value = frame
        with self.picture.hold_sync():
            self.picture.value, self.picture.alt = self.film.png(frame), self.film.alt(frame)
