"""`InnerLoopExplorer`: watch a rule teach a base model, step by step, in four linked pictures."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from typing import Any

import ipywidgets as widgets

from metarules.base_model import BaseModelState
from metarules.tasks import Task
from metarules.update_rule import UpdateRule
from metarules.widgets.base import Explorable
from metarules.widgets.inner_loop_core import Exploration, explore
from metarules.widgets.inner_loop_view import PANELS, QUICK_STEPS, View, found_rule, inputs_name, rule_menu
from metarules.widgets.work import Progress

_PLAY_EVERY = 200  # milliseconds between frames: four pictures take about half of it on a slow laptop


class InnerLoopExplorer(Explorable):
    """Play, step through, scrub and reset the learning of one base model.

    It opens at the last step, with the state before learning beside it. In sight: play, the step slider, Step, Reset.
    In the fold: the rule, the number of steps, the seed of the base model and its batches, the layer whose W and V are
    shown, whether classes are coloured, whether filters share one scale.

    CSS classes besides those of `Explorable`: `metarules-play`, `metarules-step-slider`, `metarules-step`,
    `metarules-reset`, `metarules-panel-embedding`, `-filters`, `-alignment`, `-accuracy`, and in the fold
    `metarules-rule`, `metarules-steps`, `metarules-seed`, `metarules-layer`, `metarules-classes`, `metarules-scale`.

    Args:
        rule: the rule to open with, or its name (see `evaluation.rules.find_rule`).
        task: a single task.
        rules: further rules for the menu, by what the menu calls them; by default where the rule started, if it is a
            learned one, and the hand-written rules.
        sizes: (n_0, .., n_L) of the base model; None takes the task's inputs and layers of 32, 32, 32.
        steps: inner steps; None takes what the rule recommends, for rules out of the menu at most 400.
        seed: of initial weights and batches.

    Raises:
        ValueError, TypeError, DivergenceError: as `explore`; once open, a widget complains in its status line instead.
    """

    def __init__(
        self,
        rule: UpdateRule | str,
        task: Task,
        *,
        rules: Mapping[str, UpdateRule] | None = None,
        sizes: Sequence[int] | None = None,
        steps: int | None = None,
        seed: int = 0,
    ) -> None:
        super().__init__(PANELS)
        self._task, self._sizes, self._steps = task, sizes, steps
        exploration = explore(found_rule(rule, task), task, sizes=sizes, steps=steps, seed=seed)
        label, self._rules = rule_menu(rule, task, rules)
        self._first = self._view = View(label, exploration)
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
    def accuracy(self) -> float:
        """Few-shot accuracy at the step shown: the evaluation's probe, mean over its first five splits."""
        return float(self.exploration.accuracies[self._frame].mean())

    @property
    def state(self) -> BaseModelState:
        """phi at the step shown."""
        return self.exploration.states[self._frame]

    @property
    def rule_name(self) -> str:
        """What the menu calls the rule whose work is shown."""
        return self._view.label

    @property
    def exploration(self) -> Exploration:
        """The trajectory shown, with everything that is drawn of it."""
        return self._view.exploration

    @property
    def _frame(self) -> int:
        return self.exploration.frame_of(self.slider.value)

    # ---- controls

    def _make_controls(self) -> None:
        e = self.exploration
        wide = {"style": {"description_width": "150px"}, "layout": widgets.Layout(width="430px")}
        self.play = self.control(widgets.Play(interval=_PLAY_EVERY, show_repeat=False), "play", self._on_play)
        slider = widgets.IntSlider(description="Inner step", layout=widgets.Layout(flex="1 1 320px"))
        self.slider = self.control(slider, "step-slider", self._on_slider)
        self.step_button = self.button("Step", "step", "One recorded step on; from the end to the start", self._on_step)
        self.reset_button = self.button("Reset", "reset", "Everything back to how this opened", self._on_reset)
        menu = widgets.Dropdown(description="Rule", options=list(self._rules), value=self._view.label, **wide)
        self.rule_menu = self.control(menu, "rule", self._on_rule)
        steps = widgets.IntText(description="Inner steps", continuous_update=False, **wide)
        self.steps_box = self.control(steps, "steps", self._recompute)
        seed = widgets.IntText(description="Base model seed", continuous_update=False, **wide)
        self.seed_box = self.control(seed, "seed", self._recompute)
        layers = [(f"layer {l}", l) for l in range(1, len(e.sizes))]
        layer = widgets.Dropdown(description="W and V of", options=layers, value=len(layers), **wide)
        self.layer_menu = self.control(layer, "layer", self._redraw)
        classes = widgets.Checkbox(description="Colour the classes", value=True, indent=False)
        self.classes_box = self.control(classes, "classes", self._redraw)
        scale = widgets.Checkbox(description="Filters share one scale", value=False, **wide)
        self.scale_box = self.control(scale, "scale", self._redraw)
        fold = [self.rule_menu, self.steps_box, self.seed_box, self.layer_menu, self.classes_box, self.scale_box]
        self.lay_out([self.play, self.slider, self.step_button, self.reset_button], fold, "More: rule, seed, pictures")

    def _on_slider(self) -> None:
        self._go(self.slider.value)

    def _on_play(self) -> None:
        self._go(self.play.value)

    def _on_step(self) -> None:
        steps = self.exploration.steps
        self._go(steps[(self._frame + 1) % len(steps)])

    def _on_rule(self) -> None:
        rule = self._rules[self.rule_menu.value]
        self.set_quietly(self.steps_box, value=self._steps or min(rule.recommended.steps, QUICK_STEPS))
        self._recompute()

    def _on_reset(self) -> None:
        self.drop_work()
        self.set_quietly(self.layer_menu, value=len(self._first.exploration.sizes) - 1)
        self.set_quietly(self.classes_box, value=True)
        self.set_quietly(self.scale_box, value=False)
        self._open(self._first)

    def _recompute(self) -> None:
        """Learn anew with what the fold says, off the main thread."""
        label, steps, seed = self.rule_menu.value, self.steps_box.value, self.seed_box.value

        def work(progress: Progress, stop: threading.Event) -> View:
            made = explore(
                self._rules[label],
                self._task,
                sizes=self._sizes,
                steps=steps,
                seed=seed,
                progress=progress,
                stop=stop,
            )
            view = View(label, made)
            view.draw(len(made.steps) - 1, self._options())
            return view

        self.set_quietly(self.play, playing=False)
        self.start(f"Learning with {label}", work, self._open, self._put_back)

    # ---- showing

    def _open(self, view: View) -> None:
        """Show a trajectory at its last step."""
        self._view = view
        steps = view.exploration.steps
        stride = steps[1] - steps[0]
        for control in (self.slider, self.play):
            # from 0: the browser rounds a value that is no multiple of the new stride, and sends it back
            self.set_quietly(control, value=0, max=steps[-1], step=stride)
        self.set_quietly(self.play, playing=False)
        self._put_back()
        self._go(steps[-1])

    def _put_back(self) -> None:
        """Let the fold say what is shown."""
        view = self._view
        self.set_quietly(self.rule_menu, value=view.label)
        self.set_quietly(self.steps_box, value=view.exploration.steps[-1])
        self.set_quietly(self.seed_box, value=view.exploration.seed)

    def _go(self, step: int) -> None:
        """Show the last recorded step at or before an inner step."""
        steps = self.exploration.steps
        step = steps[self.exploration.frame_of(step)]
        self.set_quietly(self.slider, value=step)
        self.set_quietly(self.play, value=step)
        self._redraw()
        if not self.busy:
            e = self.exploration
            self.say(
                f"{self.rule_name}, step {step} of {steps[-1]}: few-shot accuracy {self.accuracy:.2f} "
                f"(before learning {e.accuracies[0].mean():.2f}, {inputs_name(e)} {e.raw_accuracy:.2f})."
            )

    def _redraw(self) -> None:
        """Show all panels at the frame and with the options chosen."""
        for name, (png, alt) in self._view.draw(self._frame, self._options()).items():
            self.show(name, png, alt)

    def _options(self) -> dict[str, Any]:
        return {
            "embedding": self.classes_box.value,
            "filters": self.scale_box.value,
            "alignment": self.layer_menu.value,
        }

    def kept(self) -> str:
        """Which trajectory is still shown."""
        return f"Still showing {self.rule_name}."
