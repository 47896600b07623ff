"""`BackwardWeights`: watch V, the weights that carry signals down, turn to W or not, and what that does to learning."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from pathlib import Path

import ipywidgets as widgets

from metarules._checks import check_choice
from metarules._work import Progress, Stopped
from metarules.base_model import BaseModelState
from metarules.plots.gif import save_gif
from metarules.studies.backward_weights import (
    STEPS,
    WAYS,
    WEIGHT_STD,
    BackwardRun,
    backward_rule,
    follow_backward_weights,
)
from metarules.tasks import Task
from metarules.update_rule import LocalRule
from metarules.widgets.backward_weights_view import PANEL_LABELS, PANELS, WAY_LABELS, BackwardView
from metarules.widgets.own_data import OwnData, Source

_PLAY_EVERY = 200  # milliseconds between frames
_KEPT = 8  # trajectories, so that going back to one is no work: the six ways and two more

Key = tuple[str, int, float, int, Source]  # way, steps, weight_std, seed, data


class BackwardWeights(OwnData):
    """Six ways to treat V: play and scrub the turning of V to W, and how near signal and change come to backprop's.

    It opens at the last step of "V gets W's change", the paper's way. In sight: play, the step slider, the way, Reset.
    In the fold: the layer, the number of steps, the spread of the initial weights, the seed, a film as GIF, and data
    of the reader's own.

    CSS classes besides those of `OwnData`: `metarules-play`, `metarules-step-slider`, `metarules-way`,
    `metarules-reset`, `metarules-panel-weights`, `-turn`, `-angles`, `-backprop`, and in the fold `metarules-layer`,
    `metarules-steps`, `metarules-spread`, `metarules-seed`, `metarules-gif-panel`, `metarules-gif-name`,
    `metarules-gif`.

    Args:
        rule: the learned rule whose theta the first four ways use.
        task: a single task; its labels reach the two supervised ways, and otherwise serve to measure alone.
        way: the way to open with, see `backward_rule`.
        sizes: (n_0, .., n_L) of the base model; None takes the task's inputs and layers of 32, 32, 32.
        steps: inner steps; None takes 50 for the learned rule, 300 for the supervised ways.
        weight_std: spread of the initial W and V; None takes 0.3 for the learned rule, 0.01 for the supervised ways.
        seed: of initial weights and batches.

    Raises:
        ValueError, TypeError, DivergenceError: as `follow_backward_weights`; once open, a widget complains in its
            status line instead.
    """

    def __init__(
        self,
        rule: LocalRule,
        task: Task,
        *,
        way: str = "identical",
        sizes: Sequence[int] | None = None,
        steps: int | None = None,
        weight_std: float | None = None,
        seed: int = 0,
    ) -> None:
        super().__init__(PANELS, task)
        check_choice("way", way, WAYS)
        self._rule, self._sizes, self._steps, self._spread = rule, sizes, steps, weight_std
        self._views: dict[Key, BackwardView] = {}
        self._first = self._view = self._compute(self._defaults(way, seed))
        self._make_controls()
        self._open(self._first)

    # ---- what is shown, as numbers

    @property
    def step(self) -> int:
        """The inner step shown; set it to move there (to the last recorded step before it)."""
        return self.slider.value

    @step.setter
    def step(self, step: int) -> None:
        self.slider.value = step

    @property
    def way(self) -> str:
        """The way to treat V whose work is shown, see `backward_rule`."""
        return self._view.way

    @property
    def run(self) -> BackwardRun:
        """The trajectory shown, with all its angles."""
        return self._view.run

    @property
    def angle(self) -> float:
        """Angle between V and W of the chosen layer at the step shown, in degrees."""
        return float(self.run.angles[self._frame, self.layer_menu.value - 1])

    @property
    def state(self) -> BaseModelState:
        """phi at the step shown."""
        return self.run.states[self._frame]

    @property
    def _frame(self) -> int:
        return self.run.frame_of(self.slider.value)

    # ---- controls

    def _make_controls(self) -> None:
        wide = {"style": {"description_width": "150px"}, "layout": widgets.Layout(width="430px")}
        self.play = self.control(widgets.Play(interval=_PLAY_EVERY, show_repeat=False), "play", self._on_play)
        slider = widgets.IntSlider(description="Inner step", layout=widgets.Layout(flex="1 1 260px"))
        self.slider = self.control(slider, "step-slider", self._on_slider)
        ways = [(text, way) for way, text in WAY_LABELS.items()]
        menu = widgets.Dropdown(options=ways, value=self.way, layout=widgets.Layout(width="280px"))
        self.way_menu = self.control(menu, "way", self._on_way)
        self.reset_button = self.button("Reset", "reset", "Everything back to how this opened", self._on_reset)
        depth = self.run.angles.shape[1]
        layers = [(f"layer {l}", l) for l in range(1, depth + 1)]
        layer = widgets.Dropdown(description="Layer", options=layers, value=self._first_layer, **wide)
        self.layer_menu = self.control(layer, "layer", self._on_layer)
        steps = widgets.IntText(description="Inner steps", continuous_update=False, **wide)
        self.steps_box = self.control(steps, "steps", self._recompute)
        spread = widgets.FloatText(description="Spread of first W, V", continuous_update=False, **wide)
        self.spread_box = self.control(spread, "spread", self._recompute)
        seed = widgets.IntText(description="Base model seed", continuous_update=False, **wide)
        self.seed_box = self.control(seed, "seed", self._recompute)
        panels = [(text, name) for name, text in PANEL_LABELS.items()]
        panel = widgets.Dropdown(description="Film of", options=panels, value="turn", **wide)
        self.gif_panel = self.control(panel, "gif-panel", lambda: None)
        name = widgets.Text(description="GIF file", value="v_turns_to_w.gif", continuous_update=False, **wide)
        self.gif_name = self.control(name, "gif-name", lambda: None)
        self.gif_button = self.button(
            "Save the film as GIF", "gif", "Write the chosen picture, all steps", self._on_gif
        )
        fold = [self.layer_menu, self.steps_box, self.spread_box, self.seed_box]
        fold += [self.gif_panel, self.gif_name, self.gif_button, self.data_controls()]
        title = "More: layer, initial weights, film as GIF, your own data"
        self.lay_out([self.play, self.slider, self.way_menu, self.reset_button], fold, title)

    @property
    def _first_layer(self) -> int:
        return min(2, self._first.run.angles.shape[1])  # the middle one of three: its signal came through a V

    def _on_slider(self) -> None:
        self._go(self.slider.value)

    def _on_play(self) -> None:
        self._go(self.play.value)

    def _on_layer(self) -> None:
        self._go(self.slider.value)

    def _on_way(self) -> None:
        _, steps, spread, *_ = self._defaults(self.way_menu.value, 0)
        self.set_quietly(self.steps_box, value=steps)
        self.set_quietly(self.spread_box, value=spread)
        self._recompute()

    def _on_reset(self) -> None:
        self.drop_work()
        self.data_back()
        self.set_quietly(self.layer_menu, value=self._first_layer)
        self.set_quietly(self.gif_panel, value="turn")
        self.set_quietly(self.gif_name, value="v_turns_to_w.gif")
        self._open(self._first)

    def _on_gif(self) -> None:
        """Write a film, off the main thread."""
        name, path = self.gif_panel.value, Path(self.gif_name.value)
        film = self._view.film(name, self.layer_menu.value)

        def work(progress: Progress, stop: threading.Event) -> Path:
            for frame in range(film.frames):
                if stop.is_set():
                    raise Stopped(f"stopped after {frame} of {film.frames} frames")
                film.png(frame)
                progress(frame + 1, film.frames)
            return save_gif(film, path)

        def done(written: Path) -> None:
            kilobytes = written.stat().st_size / 1000
            self.say(f"Wrote {written.name}: {film.frames} frames, {kilobytes:.0f} kB.")

        self.start(f"Writing {path.name}", work, done, self._put_back)

    def _defaults(self, way: str, seed: int) -> Key:
        """How a way is run unless told otherwise."""
        steps = STEPS[way] if self._steps is None else self._steps
        return way, steps, WEIGHT_STD[way] if self._spread is None else self._spread, seed, self.wanted

    def _compute(self, key: Key, progress: Progress | None = None, stop: threading.Event | None = None) -> BackwardView:
        way, steps, spread, seed, source = key
        task = source.task()
        run = follow_backward_weights(
            backward_rule(way, self._rule, task.n_classes),
            task,
            sizes=self.fitted(self._sizes, task),
            steps=steps,
            weight_std=spread,
            seed=seed,
            progress=progress,
            stop=stop,
        )
        return BackwardView(way, run)

    def _recompute(self) -> None:
        """Show what the controls say: kept already, or learned anew off the main thread."""
        key = (self.way_menu.value, self.steps_box.value, self.spread_box.value, self.seed_box.value, self.wanted)
        self.set_quietly(self.play, playing=False)
        if key in self._views:
            self.drop_work()
            self._open(self._views[key])
            return
        layer = self.layer_menu.value

        def work(progress: Progress, stop: threading.Event) -> BackwardView:
            view = self._compute(key, progress, stop)
            view.draw(len(view.run.steps) - 1, layer)
            return view

        self.start(f"Learning: {WAY_LABELS[key[0]]}", work, self._open, self._put_back)

    # ---- showing

    def _open(self, view: BackwardView) -> None:
        """Show a trajectory at its last step."""
        self._view = view
        run = view.run
        self.data_shown(run.task)
        self._views[view.way, run.steps[-1], run.weight_std, run.seed, self.wanted] = view
        while len(self._views) > _KEPT:
            self._views.pop(next(iter(self._views)))
        for control in (self.slider, self.play):
            # from 0: the browser rounds a value that is no multiple of the new stride, and sends it back
            self.set_quietly(control, value=0, max=run.steps[-1], step=run.steps[1] - run.steps[0])
        self.set_quietly(self.play, playing=False)
        self._put_back()
        self._go(run.steps[-1])

    def _put_back(self) -> None:
        """Let the controls say what is shown."""
        run = self.run
        self.data_shown(run.task)
        self.set_quietly(self.way_menu, value=self.way)
        self.set_quietly(self.steps_box, value=run.steps[-1])
        self.set_quietly(self.spread_box, value=run.weight_std)
        self.set_quietly(self.seed_box, value=run.seed)

    def _go(self, step: int) -> None:
        """Show the last recorded step at or before an inner step."""
        run, layer = self.run, self.layer_menu.value
        frame = run.frame_of(step)
        for control in (self.slider, self.play):
            self.set_quietly(control, value=run.steps[frame])
        for name, (png, alt) in self._view.draw(frame, layer).items():
            self.show(name, png, alt)
        if not self.busy:
            self.say(
                f"{WAY_LABELS[self.way]}{self.on_data}, step {run.steps[frame]} of {run.steps[-1]}: V and W of layer "
                f"{layer} are {self.angle:.0f} degrees apart (before learning {run.angles[0, layer - 1]:.0f}); "
                f"few-shot accuracy {run.accuracies[frame]:.2f} (before learning {run.accuracies[0]:.2f})."
            )

    def kept(self) -> str:
        """Which trajectory is still shown."""
        return f"Still showing: {WAY_LABELS[self.way]}{self.on_data}."
