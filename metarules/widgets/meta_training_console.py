"""`MetaTrainingConsole`: meta-train a small rule while one looks; start, pause, go on, stop, keep what was found."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

import ipywidgets as widgets

from metarules._work import Progress, Stopped
from metarules.meta_training.settings import ESTIMATOR_NAMES
from metarules.plots.live_training import HeldOutFilm, LossFilm, NormFilm, ParticlesFilm
from metarules.pretrained import save_rule
from metarules.studies.example import Example
from metarules.studies.live_record import load_run
from metarules.studies.live_training import (
    DOTS,
    LIVE_PRESETS,
    MIXES,
    STARTS,
    TRUNCATIONS,
    LiveRun,
    LiveSettings,
    LiveTraining,
)
from metarules.studies.menu import keep_rule
from metarules.update_rule import UpdateRule
from metarules.widgets.explorer import Explorer, Panels, View
from metarules.widgets.parts import menu, number, wide
from metarules.widgets.presence import Presence, stop_on_interrupt

PANELS: Panels[LiveRun] = {  # in reading order
    "loss": (lambda run, _: LossFilm(run), None),
    "held-out": (lambda run, _: HeldOutFilm(run), None),
    "particles": (lambda run, _: ParticlesFilm(run), None),
    "norm": (lambda run, _: NormFilm(run), None),
}
DRAW_EVERY = 1.0  # seconds between two drawings of a run that goes on: they take a third of a second


class MetaTrainingConsole(Explorer[LiveRun]):
    """Meta-train a rule of the kind that is shipped, in two minutes, on a thread of its own.

    It opens with a recorded run at its end. In sight: Start (then Pause, then Go on), where the rule starts, the kinds
    of data, the slider over the meta-steps of what is shown; Stop stands in the status line while there is work. In
    the fold: preset, rate, truncation, estimator, meta-steps, seed, a file name, Save, Use my rule, Reset. Choices
    count from the next Start on. An interrupt of the kernel and a closed page pause a run.

    CSS classes besides those of `Explorer`: `metarules-start`, `metarules-start-from`,
    `metarules-mix`, `metarules-step-slider`, `metarules-panel-loss`, `-held-out`, `-particles`, `-norm`, in the fold
    `metarules-preset`, `metarules-rate`, `metarules-truncation`, `metarules-estimator`, `metarules-meta-steps`,
    `metarules-seed`, `metarules-file`, `metarules-save`, `metarules-use`, `metarules-reset`.

    Args:
        recorded: the run that it opens with; None takes the one in the package.

    Attributes:
        live: the run started last; None before the first.

    Raises:
        FileNotFoundError, ValueError: as `studies.live_record.load_run`.

    Example:
        console = MetaTrainingConsole()
        console.train()  # as Start does; then console.pause(), console.train(), console.stop()
        console.wait()
        InnerLoopExplorer(console.rule, task)
    """

    dotted: ClassVar[Sequence[str]] = ("particles",)
    _open: ClassVar[list[Any]] = []  # the console that trains, if any: a second one's Start, or Run All, pauses it

    def __init__(self, recorded: LiveRun | None = None) -> None:
        super().__init__(PANELS, lambda **_: recorded or load_run())
        for other in list(MetaTrainingConsole._open):
            other.interrupt()  # a cell that was run again leaves its last console behind
        self.live: LiveTraining | None = None
        self._why = "Paused"
        self._presence = Presence()
        self.begin()
        self.start_button = self.button("Start", "start", "Begin, pause and go on", self._on_start)
        sight, fold = wide(70, 255), wide(110, 430)
        self.from_menu = self._choice("start_from", menu("Start from", list(STARTS), next(iter(STARTS)), **sight))
        self.mix_menu = self._choice("mix", menu("Data", list(MIXES), next(iter(MIXES)), **wide(40, 205)))
        slider = self.make_slider("Meta-step")
        usual = LiveSettings()
        self.preset_menu = self._choice("preset", menu("Preset", list(LIVE_PRESETS), usual.preset, **fold))
        rate = widgets.FloatText(value=usual.learning_rate, description="Rate", continuous_update=False, **fold)
        self.rate_box = self._choice("rate", rate)
        cut = menu("Truncation", list(TRUNCATIONS), usual.truncation, **fold)
        self.truncation_menu = self._choice("truncation", cut)
        how = menu("Meta-gradient", list(ESTIMATOR_NAMES), usual.estimator, **fold)
        self.estimator_menu = self._choice("estimator", how)
        self.meta_steps_box = self._choice("meta_steps", number("Meta-steps", usual.meta_steps, **fold))
        self.seed_box = self._choice("seed", number("Seed", usual.seed, **fold))
        name = widgets.Text(description="File", value="my_rule.safetensors", continuous_update=False, **fold)
        self.file_box = self.option("file", name, lambda: None)
        self.save_button = self.button("Save my rule", "save", "Write the rule found and its card", self._on_save)
        self.use_button = self.button("Use my rule", "use", "Offer it in every other explorer's menu", self._on_use)
        boxes = [self.preset_menu, rate, cut, how, self.meta_steps_box, self.seed_box, name]
        boxes += [self.save_button, self.use_button, self.make_reset_button()]
        sight_row = [self.start_button, self.from_menu, self.mix_menu, slider]
        self.lay_out(sight_row, boxes, "More: preset, rate, truncation, estimator, keep my rule")
        self.children = [*self.children, self._presence]

    # ---- what is shown, as numbers

    @property
    def rule(self) -> UpdateRule:
        """The rule found so far.

        Raises:
            RuntimeError: nothing has been meta-trained yet.
        """
        if self.live is None:
            raise RuntimeError("no rule has been found yet; press Start first")
        return self.live.rule()

    @property
    def accuracy(self) -> float:
        """Mean held-out accuracy at the last complete look."""
        return self.run.accuracy()

    # ---- controls

    def _choice(self, name: str, control: Any) -> Any:
        """A control that counts from the next Start on."""
        return self.option(name, control, self.recompute)

    def recompute(self) -> None:
        """Computes nothing: a choice waits for Start."""
        if not self.busy:
            self.say(f"The next Start uses this choice. {self.kept()}")

    def wanted(self) -> LiveSettings:
        """What the controls ask for.

        Raises:
            ValueError, TypeError: a choice that cannot be, by name.
        """
        return LiveSettings(
            self.preset_menu.value,
            self.from_menu.value,
            self.mix_menu.value,
            self.truncation_menu.value,
            self.estimator_menu.value,
            self.rate_box.value,
            self.meta_steps_box.value,
            self.seed_box.value,
        )

    def _on_start(self) -> None:
        if self.busy:
            self.pause()
        else:
            self.train()

    def train(self) -> None:
        """Start, or go on with a run that is paused."""
        again = self.live is not None and self._why == "Paused" and not self.live.over
        live, settings = (self.live if again else None), self.wanted()
        for other in list(MetaTrainingConsole._open):
            if other is not self:
                other.interrupt()
        MetaTrainingConsole._open[:] = [self]
        self._why = "Paused"
        self._presence.watch(True)
        stop_on_interrupt(self)
        self._name_start("Pause")

        def work(progress: Progress, stop: threading.Event) -> None:
            self._train(live or LiveTraining(settings), progress, stop)

        self.start(self._label, work, lambda _: self._end("Start"), self._on_end)

    def pause(self) -> None:
        """Stop for now; `train` goes on where this left off."""
        self._why = "Paused"
        self._worker.stop()
        self.say("Pausing ...")

    def stop(self) -> None:
        """End the run; what was found is kept."""
        self._why = "Stopped"
        self._worker.stop()
        self.say("Stopping ...")

    def interrupt(self) -> None:
        """Pause, whoever asks: may be called from a signal handler, takes no lock and says nothing itself."""
        self._why = "Paused"
        self._worker.stop()

    def _on_stop(self) -> None:
        if self.live is None or not self.busy:
            super()._on_stop()
        else:
            self.stop()

    def reset(self) -> None:
        """Back to the recorded run; a run under way ends."""
        self.live = None
        super().reset()
        self._end("Start")

    def _on_save(self) -> None:
        path = save_rule(self.rule, Path(self.file_box.value))
        self.say(f"Wrote {path.name}; load_rule({str(path)!r}) reads it again.")

    def _on_use(self) -> None:
        rule = self.rule
        label = f"My rule (meta-step {rule.card['meta_steps']})"
        keep_rule(label, rule)
        self.say(f"{label} stands in the rule menu of every explorer that is opened from now on.")

    # ---- training

    def _train(self, live: LiveTraining, progress: Progress, stop: threading.Event) -> None:
        """On the worker's thread: piece by piece, until it is over, paused, stopped, or nobody looks any longer."""
        if stop.is_set():  # while its tasks were drawn
            raise Stopped(self._why)
        self.live = live
        first, drawn, new = live.number, 0.0, False
        while not live.over:
            if self._presence.lost:
                self._why = "Paused"
                stop.set()
            if stop.is_set():
                if new:
                    self.say(f"{self._why}. {self.kept()}")  # training has ended; what is new is drawn now
                    self._grow(live, stop)
                raise Stopped(self._why)
            live.advance()
            progress(live.number - first, max(live.settings.meta_steps - first, 1))
            if new := stop.is_set() or time.monotonic() - drawn <= DRAW_EVERY:  # a pause waits for no picture
                continue
            self._grow(live, stop)
            drawn = time.monotonic()
        self._grow(live, stop)

    def _grow(self, live: LiveTraining, stop: threading.Event) -> None:
        """Show a run as far as it has come, drawn before the lock is taken, so that the controls stay quick."""
        view = View(live.so_far(), {}, None)
        frame = len(view.run.steps) - 1
        self.draw(view, frame)
        with self.lock:
            if self.live is not live:  # Reset came between
                return
            self._view = view
            self.set_quietly(self.slider, max=max(view.run.steps[-1], 1), step=1)
            self._frame = frame
            self.set_quietly(self.slider, value=view.run.steps[-1])
            self.show_pictures()

    def _on_end(self) -> None:
        self._end("Start" if self._why == "Stopped" or self.live is None else "Go on")

    def _end(self, button: str) -> None:
        self._presence.watch(False)
        if self in MetaTrainingConsole._open:
            MetaTrainingConsole._open.remove(self)
        self._name_start(button)
        if button == "Start" and self.live is not None:
            self.say(self.sentence())

    def _name_start(self, text: str) -> None:
        self.set_quietly(self.start_button, description=text)

    # ---- telling

    def example_behind(self, panel: str, dot: int) -> Example:
        """As `Explorer.example_behind`: of the particle's own task; a recorded run knows its classes alone."""
        particle, number = divmod(dot, DOTS)
        return self.run.looks[self._frame][particle].example(number)

    def _label(self) -> str:
        if self.live is None:
            return "Drawing tasks and nets"
        run = self.live.so_far()
        held = f", held-out accuracy {run.accuracy():.2f} (start {run.accuracy(0):.2f})" if run.complete else ""
        return f"Meta-step {self.live.number} of {self.live.settings.meta_steps}{held}"

    def sentence(self) -> str:
        """What is shown, in words and numbers."""
        run, which = self.run, "A recorded run" if self.live is None else "Your run"
        gain, error = run.gain()
        return (
            f"{which}, meta-step {self.step} of {run.steps[-1]}: held-out accuracy {run.accuracy(0):.2f} at the start, "
            f"{run.accuracy():.2f} at the end (gain {gain:.2f}, standard error {error:.2f})."
        )

    def kept(self) -> str:
        """What is still shown."""
        return (
            "Still showing the recorded run."
            if self.live is None
            else f"The rule of meta-step {self.live.number} is kept."
        )
