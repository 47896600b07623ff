"""`RuleMixer`: a slider for each term of a rule; filters, likeness of neurons and few-shot accuracy follow."""

from __future__ import annotations

import threading
from dataclasses import fields
from typing import Any

import ipywidgets as widgets

from metarules._checks import check_choice
from metarules._work import Progress
from metarules.base_model import BaseModelState
from metarules.pretrained import load_rule
from metarules.studies.mix import OWN, OWN_LEARNED, PRESETS, STEPS, Mix, MixRun, run_mix
from metarules.tasks import Task
from metarules.update_rule import UpdateRule
from metarules.widgets.inner_loop_view import inputs_name
from metarules.widgets.own_data import OwnData
from metarules.widgets.rule_mixer_view import PANELS, MixView

_SHARED = {"hebb": "Hebb", "decorr": "Decorrelation", "soft": "Soft competition"}  # both families have these


class RuleMixer(OwnData):
    """Mix the terms of a rule and see what it does to 32 neurons: the same task, base model and batches every time.

    It opens with a preset, by default Hebb alone, at the last step. In sight: the presets and the weights of Hebb,
    decorrelation and soft competition. For the learned rule they are factors on its own terms, 1 being what was
    learned. In the fold: Oja's term, decay, step size, temperature, the learned rule's other terms, the inner step
    shown, number of steps, seed, the layer whose neurons are compared, Reset, and data of the reader's own.

    CSS classes besides those of `OwnData`: `metarules-preset`, `metarules-hebb`, `metarules-decorr`,
    `metarules-soft`, `metarules-panel-filters`, `-likeness`, `-dimension`, `-accuracy`, and in the fold
    `metarules-oja`, `metarules-decay`, `metarules-lr`, `metarules-temperature`, `metarules-others`,
    `metarules-step-slider`, `metarules-steps`, `metarules-seed`, `metarules-layer`, `metarules-reset`.

    Args:
        task: a single task.
        preset: one of `rule_mixer_core.PRESETS` to open with.
        learned: the rule behind the preset "Learned", one that can scale its terms; None takes the shipped one.
        sizes: (n_0, .., n_L) of the base model; None takes the task's inputs and layers of 32, 32, 32.
        steps: inner steps.
        seed: of initial weights and batches.

    Raises:
        ValueError, TypeError, DivergenceError: as `run_mix`; once open, a widget complains in its status line instead.
    """

    def __init__(
        self,
        task: Task,
        preset: str = "Hebb",
        *,
        learned: UpdateRule | None = None,
        sizes: tuple[int, ...] | None = None,
        steps: int = STEPS,
        seed: int = 0,
    ) -> None:
        super().__init__(PANELS, task)
        self._sizes = sizes
        self._learned = load_rule("local") if learned is None else learned
        mix = PRESETS[check_choice("preset", preset, PRESETS)]
        self._first = self._view = MixView(run_mix(mix, task, self._learned, steps=steps, seed=seed, sizes=sizes))
        self._make_controls()
        self._open(self._first)

    # ---- what is shown, as numbers

    @property
    def run(self) -> MixRun:
        """The trajectory shown, with everything that is drawn of it."""
        return self._view.run

    @property
    def mix(self) -> Mix:
        """The mix whose work is shown."""
        return self.run.mix

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
        return float(self.run.exploration.accuracies[self._frame].mean())

    @property
    def alike(self) -> float:
        """Mean |cosine| between the incoming weights of any two neurons of the layer chosen, at the step shown."""
        return float(self.run.alike(self.layer_menu.value)[self._frame])

    @property
    def dimension(self) -> float:
        """Effective dimension of the top layer's activities at the step shown."""
        return float(self.run.dimensions[self._frame, -1])

    @property
    def state(self) -> BaseModelState:
        """phi at the step shown."""
        return self.run.exploration.states[self._frame]

    @property
    def _frame(self) -> int:
        return self.run.exploration.frame_of(self.slider.value)

    # ---- controls

    def _make_controls(self) -> None:
        wide = {"style": {"description_width": "150px"}, "layout": widgets.Layout(width="430px")}

        def weight(name: str, text: str, high: float = 2.0, step: float = 0.1) -> Any:
            slider = widgets.FloatSlider(
                min=0.0, max=high, step=step, description=text, continuous_update=False, readout_format=".2f", **wide
            )
            return self.control(slider, name, self._on_weight)

        options = [*PRESETS, OWN, OWN_LEARNED]
        menu = widgets.Dropdown(description="Preset", options=options, value="Hebb", **wide)
        self.preset_menu = self.control(menu, "preset", self._on_preset)
        self.sliders = {name: weight(name, text) for name, text in _SHARED.items()}
        self.sliders["oja"] = weight("oja", "Oja's term")
        self.sliders["decay"] = weight("decay", "Decay", high=1.0)
        self.sliders["lr"] = weight("lr", "Step size", high=1.0, step=0.01)
        self.sliders["temperature"] = weight("temperature", "Temperature", high=1.0, step=0.01)
        self.sliders["others"] = weight("others", "Other learned terms")
        slider = widgets.IntSlider(description="Inner step shown", **wide)
        self.slider = self.control(slider, "step-slider", self._on_slider)
        steps = widgets.IntText(description="Inner steps", continuous_update=False, **wide)
        self.steps_box = self.control(steps, "steps", self._recompute)
        seed = widgets.IntText(description="Base model seed", continuous_update=False, **wide)
        self.seed_box = self.control(seed, "seed", self._recompute)
        layers = [(f"layer {l}", l) for l in range(1, len(self.run.exploration.sizes))]
        layer = widgets.Dropdown(description="Compare neurons of", options=layers, value=1, **wide)
        self.layer_menu = self.control(layer, "layer", self._on_layer)
        self.reset_button = self.button("Reset", "reset", "Everything back to how this opened", self._on_reset)
        shown = [self.sliders[name] for name in _SHARED]
        fold = [control for name, control in self.sliders.items() if name not in _SHARED]
        fold += [self.slider, self.steps_box, self.seed_box, self.layer_menu, self.reset_button, self.data_controls()]
        title = "More: other terms, step size, inner step shown, seed, your own data"
        self.lay_out([self.preset_menu, *shown], fold, title)

    def _on_preset(self) -> None:
        chosen = self.preset_menu.value
        now = self._wanted()
        if chosen == OWN:
            self._show_mix(Mix(**{**_values(now), "learned": False}), chosen)
        elif chosen == OWN_LEARNED:
            self._show_mix(Mix(True, now.hebb, now.decorr, now.soft, others=now.others), chosen)
        else:
            self._show_mix(PRESETS[chosen], chosen)
        self._recompute()

    def _on_weight(self) -> None:
        wanted = self._wanted()
        self.set_quietly(self.preset_menu, value=wanted.name)
        self._recompute()

    def _on_slider(self) -> None:
        self._go(self.slider.value)

    def _on_layer(self) -> None:
        self._go(self.slider.value)

    def _on_reset(self) -> None:
        self.drop_work()
        self.data_back()
        self.set_quietly(self.layer_menu, value=1)
        self._open(self._first)

    def _wanted(self) -> Mix:
        """The mix the sliders ask for."""
        values = {name: slider.value for name, slider in self.sliders.items()}
        if self._learned_chosen:
            return Mix(True, values["hebb"], values["decorr"], values["soft"], others=values["others"])
        return Mix(**{**values, "others": 1.0})

    def _show_mix(self, mix: Mix, name: str) -> None:
        """Let the sliders say a mix; those it does not use are switched off."""
        self._learned_chosen = mix.learned
        for key, value in _values(mix).items():
            if key in self.sliders:
                used = key in _SHARED or mix.learned == (key == "others")
                text = {**_SHARED}.get(key)
                named = {} if text is None else {"description": f"{text} ×" if mix.learned else text}
                self.set_quietly(self.sliders[key], value=value, disabled=not used, **named)
        self.set_quietly(self.preset_menu, value=name)

    def _recompute(self) -> None:
        """Learn anew with what the controls say, off the main thread."""
        mix, steps, seed, layer = self._wanted(), self.steps_box.value, self.seed_box.value, self.layer_menu.value
        source = self.wanted

        def work(progress: Progress, stop: threading.Event) -> MixView:
            task = source.task()
            settings: dict[str, Any] = {"steps": steps, "seed": seed, "sizes": self.fitted(self._sizes, task)}
            run = run_mix(mix, task, self._learned, progress=progress, stop=stop, **settings)
            view = MixView(run)
            view.draw(len(run.exploration.steps) - 1, layer)
            return view

        self.start(f"Learning with {mix.name}", work, self._open, self._put_back)

    # ---- showing

    def _open(self, view: MixView) -> None:
        """Show a trajectory at its last step."""
        self._view = view
        self.progress.value = 0.0  # where the bar last stood depends on the clock, and a notebook stores it
        steps = view.run.exploration.steps
        # from 0: the browser rounds a value that is no multiple of the new stride, and sends it back
        self.set_quietly(self.slider, value=0, max=steps[-1], step=steps[1] - steps[0])
        self._put_back()
        self._go(steps[-1])

    def _put_back(self) -> None:
        """Let the controls say what is shown."""
        run = self.run
        self.data_shown(run.exploration.task)
        self._show_mix(run.mix, run.mix.name)
        self.set_quietly(self.steps_box, value=run.exploration.steps[-1])
        self.set_quietly(self.seed_box, value=run.exploration.seed)

    def _go(self, step: int) -> None:
        """Show the last recorded step at or before an inner step."""
        e = self.run.exploration
        step = e.steps[e.frame_of(step)]
        self.set_quietly(self.slider, value=step)
        for name, (png, alt) in self._view.draw(self._frame, self.layer_menu.value).items():
            self.show(name, png, alt)
        if not self.busy:
            self.say(
                f"{self.mix.name}{self.on_data}, step {step} of {e.steps[-1]}: few-shot accuracy {self.accuracy:.2f} "
                f"(before learning {e.accuracies[0].mean():.2f}, {inputs_name(e)} {e.raw_accuracy:.2f}); the top "
                f"layer's {e.sizes[-1]} neurons hold {self.dimension:.1f} different features "
                f"(before {self.run.dimensions[0, -1]:.1f})."
            )

    def kept(self) -> str:
        """Which mix is still shown."""
        return f"Still showing {self.mix.name}{self.on_data}."


def _values(mix: Mix) -> dict[str, Any]:
    return {f.name: getattr(mix, f.name) for f in fields(mix)}
