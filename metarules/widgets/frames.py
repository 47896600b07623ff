"""`Frames`: what moves an explorer through the frames of its films: play, its speed, a slider, clicks on curves."""

from __future__ import annotations

import bisect
import math
import time
from collections.abc import Sequence
from typing import Any

import ipywidgets as widgets

from metarules.plots import Film
from metarules.widgets.base import Explorable
from metarules.widgets.parts import menu

_PLAY_EVERY = 200  # milliseconds between frames: four pictures take about half of it on a slow laptop
_AT_ONCE = 0.5  # seconds within which moves of the slider are one movement
_SPEEDS = (("a quarter", 4.0), ("half", 2.0), ("normal", 1.0), ("double", 0.5))  # times _PLAY_EVERY
_SLOW, _SLOWER = 8, 3.0  # a film's first frames, and how many times as long the very first is shown


def dwell(frame: int) -> float:
    """How long play stays at a frame, over its usual time: most happens in the first steps of learning.

    Falls evenly from 3 at frame 0 to 1 from frame 8 on.
    """
    return 1.0 + (_SLOWER - 1.0) * max(0.0, 1.0 - frame / _SLOW)


class Frames(Explorable):
    """Base class of the explorers: a frame is shown, and controls that move to others. See `Explorer`.

    Play runs over frames and begins slowly, see `dwell`; the slider runs over inner steps.

    CSS classes besides those of `Explorable`, where the controls are used: `metarules-play`, `metarules-speed`,
    `metarules-step-slider`, `metarules-step`.
    """

    def __init__(self, panels: Sequence[str]) -> None:
        super().__init__(panels)
        self._play: Any = None
        self.slider: Any = None
        self._frame = 0
        self._asked = (0, -math.inf)  # what the slider was last moved to, and when
        self.resting: list[tuple[Any, Any]] = []  # controls, besides settings and options, and what Reset sets them to

    # ---- what is shown

    @property
    def places(self) -> Sequence[int]:
        """The inner steps of the frames, rising."""
        raise NotImplementedError(f"{type(self).__name__} must define places")

    @property
    def step(self) -> int:
        """The inner step shown; set it to move there (to the last recorded step before it)."""
        return self.places[self._frame]

    @step.setter
    def step(self, step: int) -> None:
        self.guarded(self.go)(step)

    def redraw(self) -> None:
        """Show the frame."""
        raise NotImplementedError(f"{type(self).__name__} must define redraw")

    # ---- for subclasses: controls

    def make_play(self) -> Any:
        """Plays the frames; makes `speed_menu` as well, which the fold takes."""
        play = widgets.Play(show_repeat=False)
        self.play = self._play = self.control(play, "play", lambda: self.show_frame(self._play.value))
        self.speed_menu = self.control(menu("Play at speed", _SPEEDS, 1.0), "speed", self._pace)
        self.resting.append((self.speed_menu, 1.0))
        return play

    def make_slider(self, text: str = "Inner step", name: str = "step-slider", **style: Any) -> Any:
        """Moves through the steps."""
        style = style or {"layout": widgets.Layout(flex="1 1 320px")}
        slider = widgets.IntSlider(description=text, **style)
        self.slider = self.control(slider, name, self._on_slider)
        return self.slider

    def make_step_button(self) -> Any:
        """Goes one frame on."""
        tip = "One recorded step on; from the end to the start"
        self.step_button = self.button("Step", "step", tip, self.next_frame)
        return self.step_button

    def fit_controls(self) -> None:
        """Let the controls run over the frames of what is shown now, from the first."""
        places = self.places
        if self._play is not None:
            self.set_quietly(self._play, value=0, max=len(places) - 1)
        if self.slider is not None:
            # from 0: the browser rounds a value that is no multiple of the new stride, and sends it back
            self.set_quietly(self.slider, value=0, max=places[-1], step=places[1] - places[0])

    def stop_playing(self) -> None:
        """Let play rest where it is."""
        if self._play is not None:
            self.set_quietly(self._play, playing=False)

    @property
    def speeds(self) -> list[Any]:
        """The menu of speeds, if there is a play button."""
        return [] if self._play is None else [self.speed_menu]

    # ---- moving

    def _on_slider(self) -> None:
        """Go where the slider was moved.

        It is put on recorded steps, and what was sent before the page heard of that comes late: a move down that now
        lies above the step shown, or up and below it. It has been made already, so it is not made backwards.
        """
        asked, now = self.slider.value, time.monotonic()
        (before, when), self._asked = self._asked, (asked, now)
        late = (asked - self.step) * (asked - before) < 0 and abs(asked - self.step) > self.slider.step
        if late and now - when < _AT_ONCE:
            self.set_quietly(self.slider, value=self.step)
        else:
            self.go(asked)

    def go(self, step: int) -> None:
        """Show the recorded step that comes first on the way to another, so that a key moves on where some lack."""
        places = self.places
        frame = bisect.bisect_left(places, step) if step > self.step else bisect.bisect_right(places, step) - 1
        self.show_frame(min(max(frame, 0), len(places) - 1))

    def next_frame(self) -> None:
        """Show the next frame, after the last one the first."""
        self.show_frame((self._frame + 1) % len(self.places))

    def show_frame(self, frame: int) -> None:
        """Show a frame."""
        self._frame = frame
        if self.slider is not None:
            self.set_quietly(self.slider, value=self.step)
        if self._play is not None:
            self.set_quietly(self._play, value=frame)
            self._pace()
        self.redraw()

    def go_by_click(self, film: Film, across: float, down: float) -> bool:
        """Show the frame whose place on a film's axis of steps was clicked; whether there is such an axis there."""
        frame = film.frame_at(across, down)
        if frame is not None:
            self.stop_playing()
            self.show_frame(frame)
        return frame is not None

    def _pace(self) -> None:
        self.set_quietly(self._play, interval=round(_PLAY_EVERY * self.speed_menu.value * dwell(self._frame)))
