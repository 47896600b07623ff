"""`InnerLoopExplorer`: watch a rule teach a base model, step by step, in four linked pictures."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import ipywidgets as widgets

from metarules._work import Progress
from metarules.base_model import BaseModelState
from metarules.studies.drawing import Followed
from metarules.studies.trajectory import Exploration, explore
from metarules.tasks import Task
from metarules.update_rule import UpdateRule
from metarules.widgets.inner_loop_view import QUICK_STEPS, View, found_rule, inputs_name, rule_menu, suited_rule
from metarules.widgets.own_data import OwnData

_PLAY_EVERY = 200  # milliseconds between frames: four pictures take about half of it on a slow laptop


class InnerLoopExplorer(OwnData):
    """Play, step through, scrub and reset the learning of one base model.

    It opens at the last step, with the state before learning beside it. In sight: play, the step slider, Step, Reset.
    In the fold: the rule, the number of steps, the seed of the base model and its batches, the layer whose W and V are
    shown, whether classes are coloured, whether filters share one scale.

    CSS classes besides those of `OwnData`: `metarules-play`, `metarules-step-slider`, `metarules-step`,
    `metarules-reset`, `metarules-panel-embedding`, `-filters`, `-alignment`, `-accuracy`, and in the fold
    `metarules-rule`, `metarules-steps`, `metarules-seed`, `metarules-layer`, `metarules-classes`, `metarules-scale`.

    Args:
        rule: the rule to open with, or its name (see `get_rule`).
        task: a single task.
        rules: further rules for the menu, by what the menu calls them; by default where the rule started, if it is a
            learned one, and the hand-written rules.
        sizes: (n_0, .., n_L) of the base model; None takes the task's inputs and layers of 32, 32, 32.
        steps: inner steps; None takes what the rule recommends, for rules out of the menu at most 400.
        seed: of initial weights and batches.

    Raises:
        ValueError, TypeError, DivergenceError: as `explore`; once open, a widget complains in its status line instead.
    """

    _view_of: ClassVar[type[View]] = View  # what is drawn of a trajectory
    _fold_title: ClassVar[str] = "More: rule, seed, pictures, your own data"

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
        super().__init__(self._view_of.panels, task)
        self._sizes, self._steps = sizes, steps
        exploration = self._explore(found_rule(rule, task), task, steps=steps, seed=seed)
        label, self._rules = rule_menu(rule, task, rules)
        self._first = self._view = self._view_of(label, exploration)
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
        wide = _wide()
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
        fold = [self.rule_menu, self.steps_box, self.seed_box, *self._picture_controls(), self.data_controls()]
        self.lay_out([self.play, self.slider, self.step_button, self.reset_button], fold, self._fold_title)

    def _layer_control(self) -> Any:
        layers = [(f"layer {l}", l) for l in range(1, len(self.exploration.sizes))]
        layer = widgets.Dropdown(description="W and V of", options=layers, value=len(layers), **_wide())
        self.layer_menu = self.control(layer, "layer", self._redraw)
        return self.layer_menu

    def _picture_controls(self) -> list[Any]:
        """The controls of the fold that only redraw."""
        classes = widgets.Checkbox(description="Colour the classes", value=True, indent=False)
        self.classes_box = self.control(classes, "classes", self._redraw)
        scale = widgets.Checkbox(description="Filters share one scale", value=False, **_wide())
        self.scale_box = self.control(scale, "scale", self._redraw)
        return [self._layer_control(), self.classes_box, self.scale_box]

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
        self.data_back()
        self._reset_pictures()
        self._open(self._first)

    def _reset_pictures(self) -> None:
        """The controls of `_picture_controls` as they were when this opened."""
        self.set_quietly(self.layer_menu, value=len(self._first.exploration.sizes) - 1)
        self.set_quietly(self.classes_box, value=True)
        self.set_quietly(self.scale_box, value=False)

    def _settings(self) -> dict[str, Any]:
        """What the fold says about learning, by the names of `explore`."""
        return {"steps": self.steps_box.value, "seed": self.seed_box.value}

    def _explore(self, rule: UpdateRule, task: Task, **settings: Any) -> Exploration:
        return explore(rule, task, sizes=self.fitted(self._sizes, task), **settings)

    def _recompute(self) -> None:
        """Learn anew with what the fold says, off the main thread."""
        label, settings, source = self.rule_menu.value, self._settings(), self.wanted

        def work(progress: Progress, stop: threading.Event) -> View:
            task = source.task()
            rule = suited_rule(self._rules[label], label, task)
            made = self._explore(rule, task, **settings, progress=progress, stop=stop)
            view = self._view_of(label, made)
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
        self.data_shown(view.exploration.task)
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
            self.say(self._sentence())

    def _sentence(self) -> str:
        """What is shown, in words and numbers."""
        e = self.exploration
        return (
            f"{self.rule_name}{self.on_data}, step {self.step} of {e.steps[-1]}: few-shot accuracy {self.accuracy:.2f} "
            f"(before learning {e.accuracies[0].mean():.2f}, {inputs_name(e)} {e.raw_accuracy:.2f})."
        )

    def mark(self, example: Followed | None) -> None:
        """Mark one more example with a star in the embedding, and say what the probe reads it as; None takes it away.

        Args:
            example: followed along the trajectory shown, see `drawing_core.Follower`.
        """
        self._view.mark(example)
        self._redraw()

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
        return f"Still showing {self.rule_name}{self.on_data}."


def _wide() -> dict[str, Any]:
    """Style of a control in the fold, where two stand side by side."""
    return {"style": {"description_width": "150px"}, "layout": widgets.Layout(width="430px")}
