"""`InnerLoopExplorer`: watch a rule teach a base model, step by step, in four linked pictures."""

from __future__ import annotations

import threading
from collections.abc import Hashable, Mapping, Sequence
from typing import Any, ClassVar

import ipywidgets as widgets

from metarules._work import Progress
from metarules.base_model import BaseModelState
from metarules.studies.drawing import Followed
from metarules.studies.menu import as_rule, rules_beside
from metarules.studies.trajectory import Exploration, explore, explore_beside
from metarules.tasks import Task
from metarules.update_rule import UpdateRule
from metarules.widgets.explorer import Explorer, Panels, View
from metarules.widgets.inner_loop_view import ALONE, BESIDE, PANELS, inputs_name
from metarules.widgets.own_data import fitted
from metarules.widgets.parts import layer_menu, menu, number, wide

_NOBODY = ""  # in the menu of B; a menu shows no entry whose value is None
_QUICK_STEPS = 400  # at most, unless asked for more: a hand-written rule answers within two seconds


class InnerLoopExplorer(Explorer[Exploration]):
    """Play, step through, scrub and reset the learning of one base model.

    It opens at the last step, with the state before learning beside it. In sight: play, the step slider, Step, Reset.
    In the fold: the rule, the number of steps, the seed of the base model and its batches, the layer whose W and V are
    shown, whether classes are coloured, whether filters share one scale, a picture to save, the speed of play.

    With a second rule it shows two, A and B, on the same data from the same seed: a column for each, their accuracy in
    one picture, and the classes one by one. The fold has a menu for B; where it opens with `beside`, the menus of both
    rules are in sight, Step and Reset in the fold.

    CSS classes besides those of `Explorer`: `metarules-play`, `metarules-step-slider`, `metarules-step`,
    `metarules-reset`, `metarules-panel-embedding`, `-filters`, `-alignment`, `-accuracy`, and in the fold
    `metarules-rule`, `metarules-beside`, `metarules-steps`, `metarules-seed`, `metarules-layer`, `metarules-classes`,
    `metarules-scale`. With two rules also `metarules-panel-embedding-b`, `-filters-b`, `-classes`, and no
    `metarules-panel-alignment`; where it opens with `beside`, no `metarules-layer`.

    Args:
        rule: the rule to open with, or its name (see `get_rule`).
        task: a single task.
        rules: further rules for the menu, by what the menu calls them; by default where the rule started, if it is a
            learned one, and the hand-written rules.
        sizes: (n_0, .., n_L) of the base model; None takes the task's inputs and layers of 32, 32, 32.
        steps: inner steps; None takes what the rule recommends, at most 400.
        seed: of initial weights and batches.
        beside: a second rule, or its name, to be shown beside the first.

    Raises:
        ValueError, TypeError, DivergenceError: as `explore`; once open, a widget complains in its status line instead.
    """

    _films: ClassVar[Panels[Any]] = PANELS
    dotted: ClassVar[Sequence[str]] = ("embedding", "embedding-b")
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
        beside: UpdateRule | str | None = None,
    ) -> None:
        super().__init__(self._films, self._learned, task)
        self._sizes, self._steps = sizes, steps
        first = as_rule(rule)
        label, others = first.menu_label, rules_beside(first) if rules is None else rules
        self._rules = {label: first} | {**others, label: first}  # the first stands on top of the menu
        self._star: tuple[Exploration, Followed] | None = None
        second = _NOBODY if beside is None else self._add_rule(as_rule(beside))
        self._two = beside is not None  # the menus of both rules are in sight
        self.begin(rule=label, beside=second, steps=self._usual_steps(label), seed=seed)
        names, title = list(self._rules), self._fold_title
        sight, fold = [self.make_play(), self.make_slider()], [self.make_step_button(), self.make_reset_button()]
        column = wide(60, 440) if self._two else {}  # the menu of each rule stands over its column
        rule_menu = menu("Rule A" if self._two else "Rule", names, label, **column)
        self.rule_menu = self.setting("rule", rule_menu, self._on_rule)
        entries = names if self._two else [("nothing", _NOBODY), *((name, name) for name in names)]
        text = "Rule B" if self._two else "Beside it, as B"
        self.beside_menu = self.setting("beside", menu(text, entries, second, **column))
        if self._two:
            sight, title = [self.rule_menu, self.beside_menu, *sight], "More: steps, seed, pictures, your own data"
        else:
            sight, fold = [*sight, *fold], [self.rule_menu, self.beside_menu]
        self.steps_box = self.setting("steps", number("Inner steps"))
        self.seed_box = self.setting("seed", number("Base model seed"))
        self.lay_out(sight, [*fold, self.steps_box, self.seed_box, *self._more_controls()], title)

    # ---- what is shown, as numbers

    @property
    def accuracy(self) -> float:
        """Few-shot accuracy at the step shown: the evaluation's probe, mean over its first five splits."""
        return float(self.run.accuracies[self._frame].mean())

    @property
    def state(self) -> BaseModelState:
        """phi at the step shown."""
        return self.run.states[self._frame]

    @property
    def rule_name(self) -> str:
        """What the menu calls the rule whose work is shown."""
        return self._view.settings["rule"]

    @property
    def exploration(self) -> Exploration:
        """The trajectory shown, with everything that is drawn of it; of two rules, that of A."""
        return self.run

    @property
    def beside_name(self) -> str | None:
        """What the menu calls rule B; None where one rule is shown."""
        return self._view.settings.get("beside") or None

    @property
    def accuracy_beside(self) -> float | None:
        """Few-shot accuracy of rule B at the step shown; None where one rule is shown."""
        other = self.run.beside
        return None if other is None else float(other.accuracies[self._frame].mean())

    def mark(self, example: Followed | None) -> None:
        """Mark one more example with a star in the embedding, and say what the probe reads it as; None takes it away.

        Args:
            example: followed along the trajectory shown, see `studies.drawing.Follower`.
        """
        self._star = None if example is None else (self.run, example)
        for key in [key for key in self._view.films if key[0] == "embedding"]:
            del self._view.films[key]
        self.show_pictures()

    # ---- controls

    def _add_rule(self, rule: UpdateRule) -> str:
        """Put a second rule into the menu; its label there."""
        label = rule.menu_label
        if label in self._rules and self._rules[label] is not rule and type(rule).label != label:
            label = f"{label} (B)"
        self._rules.setdefault(label, rule)
        return label

    def _layer_control(self) -> Any:
        depth = len(self.run.sizes) - 1
        self.layer_menu = self.option("layer", layer_menu("W and V of", depth, depth))
        return self.layer_menu

    def _more_controls(self) -> list[Any]:
        """The rest of the fold."""
        layer = [] if self._two else [self._layer_control()]
        classes = widgets.Checkbox(description="Colour the classes", value=True, indent=False)
        self.classes_box = self.option("classes", classes)
        scale = widgets.Checkbox(description="Filters share one scale", value=False, **wide())
        self.scale_box = self.option("scale", scale)
        return [*layer, self.classes_box, self.scale_box, *self.make_saving("embedding.png", "embedding")]

    def _on_rule(self) -> None:
        self.set_quietly(self.steps_box, value=self._usual_steps(self.rule_menu.value))
        self.recompute()

    def _usual_steps(self, label: str) -> int:
        """Inner steps to begin with, unless told at the start: what the rule recommends, if that is quick."""
        return min(self._rules[label].recommended.steps, _QUICK_STEPS) if self._steps is None else self._steps

    def example_behind(self, panel: str, dot: int) -> tuple[Task, int]:
        """As `Explorer.example_behind`: the dots of both rules are the same examples."""
        return self.run.task, int(self.run.dots[dot])

    def panels_of(self, view: View[Exploration]) -> Sequence[str]:
        """As `Explorer.panels_of`: those of one rule or of two."""
        return ALONE if view.run.beside is None else BESIDE

    def option_of(self, view: View[Exploration], panel: str) -> Hashable:
        """As `Explorer.option_of`; the embedding has a star besides, on the trajectory it was followed along."""
        option = super().option_of(view, panel)
        if panel != "embedding":
            return option
        return option, self._star[1] if self._star is not None and self._star[0] is view.run else None

    # ---- computing and telling

    def _learned(
        self,
        task: Task,
        rule: str,
        beside: str = _NOBODY,
        *,
        progress: Progress | None,
        stop: threading.Event | None,
        **settings: Any,
    ) -> Exploration:
        settings |= {"sizes": fitted(self._sizes, task), "progress": progress, "stop": stop}
        first = self._rules[rule].for_classes(task.n_classes)
        if beside == _NOBODY:
            return self._explore(first, task, **settings)
        other = self._rules[beside].for_classes(task.n_classes)
        known = self._known(task, rule, settings)
        return explore_beside(first, other, task, first=known, study=self._explore, **settings)

    def _known(self, task: Task, rule: str, settings: Mapping[str, Any]) -> Exploration | None:
        """What is kept of a rule's work with these settings: only B is taught if only B is another."""
        for view in list(self._views.values()):
            same = all(
                view.settings[name] == settings[name] for name in view.settings if name not in ("rule", "beside")
            )
            if same and view.settings["rule"] == rule and view.run.task is task:
                return view.run
        return None

    def _explore(self, rule: UpdateRule, task: Task, **settings: Any) -> Exploration:
        return explore(rule, task, **settings)

    def work_label(self, settings: Mapping[str, Any]) -> str:
        """Which rule is at work, or which two."""
        return f"Learning with {' and '.join(settings[name] for name in ('rule', 'beside') if settings.get(name))}"

    def sentence(self) -> str:
        """What is shown, in words and numbers."""
        e = self.run
        if e.beside is not None:
            return (
                f"A, {self.rule_name}, and B, {self.beside_name}{self.on_data}, step {self.step} of {e.steps[-1]}: "
                f"few-shot accuracy {self.accuracy:.2f} and {self.accuracy_beside:.2f} (before learning "
                f"{e.accuracies[0].mean():.2f}, {inputs_name(e)} {e.raw_accuracy:.2f})."
            )
        return (
            f"{self.rule_name}{self.on_data}, step {self.step} of {e.steps[-1]}: few-shot accuracy {self.accuracy:.2f} "
            f"(before learning {e.accuracies[0].mean():.2f}, {inputs_name(e)} {e.raw_accuracy:.2f})."
        )

    def kept(self) -> str:
        """Which trajectory is still shown."""
        names = [name for name in (self.rule_name, self.beside_name) if name is not None]
        return f"Still showing {' and '.join(names)}{self.on_data}."
