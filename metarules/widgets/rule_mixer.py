"""`RuleMixer`: a slider for each term of a rule; filters, likeness of neurons and few-shot accuracy follow."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

import ipywidgets as widgets

from metarules._checks import check_choice
from metarules.base_model import BaseModelState
from metarules.classic_rules import CLASSIC_RULES
from metarules.plots.diversity import DimensionFilm, LikenessFilm
from metarules.pretrained import load_rule
from metarules.studies.mix import OWN, OWN_LEARNED, STEPS, Mix, MixRun, presets, run_mix
from metarules.tasks import Task
from metarules.update_rule.learned import LearnedRule
from metarules.widgets.explorer import Explorer, Panels, View
from metarules.widgets.inner_loop_view import accuracy, filters, inputs_name
from metarules.widgets.own_data import fitted
from metarules.widgets.parts import layer_menu, menu, number, wide

_SHARED = {"hebb": "Hebb", "decorr": "Decorrelation", "soft": "Soft competition"}  # both families have these
PANELS: Panels[MixRun] = {  # in reading order
    "filters": (lambda run, _: filters(run.exploration, False), None),
    "likeness": (lambda run, layer: LikenessFilm(run.likeness[layer - 1], run.exploration.steps, layer), "layer"),
    "dimension": (lambda run, _: DimensionFilm(run.dimensions, run.exploration.steps, run.exploration.sizes), None),
    "accuracy": (lambda run, earlier: accuracy(run.exploration, None, _as_curve(earlier)), None),
}


def _as_curve(run: MixRun | None) -> tuple[str, Sequence[int], Any] | None:
    """The accuracy of the mix shown before, for `AccuracyFilm`."""
    return None if run is None else ("shown\nbefore", run.exploration.steps, run.exploration.accuracies)


class RuleMixer(Explorer[MixRun]):
    """Mix the terms of a rule and see what it does to 32 neurons: the same task, base model and batches every time.

    It opens with a preset, by default Hebb alone, at the last step; the accuracy of what was shown before a change is
    then dashed. In sight: the presets and the weights of Hebb, decorrelation and soft competition. For the learned rule
    they are factors on its own terms, 1 being what was learned. In the fold: Oja's term, decay, step size, temperature,
    the learned rule's other terms, the inner step shown, number of steps, seed, the layer whose neurons are compared,
    a picture to save, Reset, and data of the reader's own. A rule that is no mix of these terms stands in the menu if
    it is registered outside this package or asked for by its name: it teaches as it is, the sliders switched off.

    CSS classes besides those of `Explorer`: `metarules-preset`, `metarules-hebb`, `metarules-decorr`,
    `metarules-soft`, `metarules-panel-filters`, `-likeness`, `-dimension`, `-accuracy`, and in the fold
    `metarules-oja`, `metarules-decay`, `metarules-lr`, `metarules-temperature`, `metarules-others`,
    `metarules-step-slider`, `metarules-steps`, `metarules-seed`, `metarules-layer`, `metarules-reset`.

    Args:
        task: a single task.
        preset: what to open with: one of `studies.mix.PRESETS`, or the name of a hand-written rule.
        learned: the rule behind the preset "Learned", of any terms; None takes the shipped one.
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
        learned: LearnedRule | None = None,
        sizes: tuple[int, ...] | None = None,
        steps: int = STEPS,
        seed: int = 0,
    ) -> None:
        super().__init__(PANELS, self._mixed, task)
        self._sizes = sizes
        self._earlier: MixRun | None = None  # what was shown before
        self._learned = load_rule("local") if learned is None else learned
        self._presets = presets(preset)
        named = CLASSIC_RULES[preset].label if preset in CLASSIC_RULES else preset
        if named not in self._presets:
            check_choice("preset", preset, [*self._presets, *CLASSIC_RULES])
        self.begin(mix=self._presets[named], steps=steps, seed=seed)
        preset_menu = menu("Preset", [*self._presets, OWN, OWN_LEARNED], "Hebb")
        self.preset_menu = self.control(preset_menu, "preset", self._on_preset)
        self.sliders = {name: self._weight(name, text) for name, text in _SHARED.items()}
        self.sliders["oja"] = self._weight("oja", "Oja's term")
        self.sliders["decay"] = self._weight("decay", "Decay", high=1.0)
        self.sliders["lr"] = self._weight("lr", "Step size", high=1.0, step=0.01)
        self.sliders["temperature"] = self._weight("temperature", "Temperature", high=1.0, step=0.01)
        self.sliders["others"] = self._weight("others", "Other learned terms")
        slider = self.make_slider("Inner step shown", **wide())
        self.steps_box = self.setting("steps", number("Inner steps"))
        self.seed_box = self.setting("seed", number("Base model seed"))
        depth = len(self.run.exploration.sizes) - 1
        self.layer_menu = self.option("layer", layer_menu("Compare neurons of", depth, 1))
        fold = [control for name, control in self.sliders.items() if name not in _SHARED]
        fold += [slider, self.steps_box, self.seed_box, self.layer_menu]
        fold += [*self.make_saving("filters.png", "filters"), self.make_reset_button()]
        title = "More: other terms, step size, inner step shown, seed, your own data"
        self.lay_out([self.preset_menu, *(self.sliders[name] for name in _SHARED)], fold, title)

    # ---- what is shown, as numbers

    @property
    def mix(self) -> Mix:
        """The mix whose work is shown."""
        return self.run.mix

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

    def steps_of(self, run: MixRun) -> tuple[int, ...]:
        """The recorded inner steps."""
        return run.exploration.steps

    # ---- controls

    def _weight(self, name: str, text: str, high: float = 2.0, step: float = 0.1) -> Any:
        style = {"continuous_update": False, "readout_format": ".2f", **wide()}
        slider = widgets.FloatSlider(min=0.0, max=high, step=step, description=text, **style)
        return self.control(slider, name, self._on_weight)

    def _on_preset(self) -> None:
        chosen, now = self.preset_menu.value, self._wanted()
        if now.as_is:
            now = Mix()
        if chosen == OWN:
            self._show_mix(Mix(**{**asdict(now), "learned": False}), chosen)
        elif chosen == OWN_LEARNED:
            self._show_mix(Mix(True, now.hebb, now.decorr, now.soft, others=now.others), chosen)
        else:
            self._show_mix(self._presets[chosen], chosen)
        self.recompute()

    def _on_weight(self) -> None:
        self.set_quietly(self.preset_menu, value=self._wanted().name)
        self.recompute()

    def _wanted(self) -> Mix:
        """The mix the sliders ask for."""
        if self._chosen.as_is:
            return self._chosen
        values = {name: slider.value for name, slider in self.sliders.items()}
        if self._chosen.learned:
            return Mix(True, values["hebb"], values["decorr"], values["soft"], others=values["others"])
        return Mix(**{**values, "others": 1.0})

    def _show_mix(self, mix: Mix, name: str) -> None:
        """Let the sliders say a mix; those it does not use are switched off."""
        self._chosen, used = mix, mix.used(self._learned)
        for key, slider in self.sliders.items():
            text = _SHARED.get(key)
            named = {} if text is None else {"description": f"{text} ×" if mix.learned else text}
            self.set_quietly(slider, value=getattr(mix, key), disabled=key not in used, **named)
        self.set_quietly(self.preset_menu, value=name)

    def read_controls(self) -> dict[str, Any]:
        """The mix that the sliders ask for, and the boxes."""
        return {**super().read_controls(), "mix": self._wanted()}

    def set_controls(self, settings: Mapping[str, Any]) -> None:
        """Let the sliders and the boxes say these settings."""
        self._show_mix(settings["mix"], settings["mix"].name)
        super().set_controls(settings)

    def more_state(self) -> dict[str, Any]:
        """The mix as a dict of numbers."""
        return {"mix": asdict(self.mix)}

    def restore(self, *, step: int | None = None, mix: Mapping[str, Any] | None = None, **state: Any) -> None:
        """As `Explorer.restore`.

        Args:
            step, state: as there.
            mix: the fields of `studies.mix.Mix` by name; those that are not named take their usual value.
        """
        if mix is not None:
            wanted = Mix(**mix)
            self.guarded(self._show_mix)(wanted, wanted.name)
        super().restore(step=step, **state)

    # ---- computing and telling

    def _mixed(self, task: Task, mix: Mix, **settings: Any) -> MixRun:
        return run_mix(mix, task, self._learned, sizes=fitted(self._sizes, task), **settings)

    def option_of(self, view: View[MixRun], panel: str) -> Hashable:
        """As `Explorer.option_of`; the accuracy is drawn beside that of the mix before."""
        if panel != "accuracy":
            return super().option_of(view, panel)
        return None if view is self._first else self._earlier if view is self._view else self._before(view)

    def open_view(self, view: View[MixRun]) -> None:
        """As `Explorer.open_view`; what was shown is now the curve before."""
        if view is not self._view:
            self._earlier = self._before(view)
        super().open_view(view)

    def _before(self, view: View[MixRun]) -> MixRun | None:
        """What is shown now, unless the other view is of other data: then there is nothing to compare."""
        return self.run if view.source is self._view.source else None

    def work_label(self, settings: Mapping[str, Any]) -> str:
        """Which mix is at work."""
        return f"Learning with {settings['mix'].name}"

    def sentence(self) -> str:
        """What is shown, in words and numbers."""
        e = self.run.exploration
        why = " It is no mix of these terms and teaches as it is, so the sliders are off." if self.mix.as_is else ""
        return (
            f"{self.mix.name}{self.on_data}, step {self.step} of {e.steps[-1]}: few-shot accuracy {self.accuracy:.2f} "
            f"(before learning {e.accuracies[0].mean():.2f}, {inputs_name(e)} {e.raw_accuracy:.2f}); the top "
            f"layer's {e.sizes[-1]} neurons hold {self.dimension:.1f} different features "
            f"(before {self.run.dimensions[0, -1]:.1f}).{why}"
        )

    def kept(self) -> str:
        """Which mix is still shown."""
        return f"Still showing {self.mix.name}{self.on_data}."
