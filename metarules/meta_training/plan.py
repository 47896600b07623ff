"""A whole run's settings, the presets among them, and the command that makes a run again."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, is_dataclass, replace
from typing import Any

import torch

from metarules._checks import check_choice, check_fields
from metarules.evaluation.held_out import JudgeSettings
from metarules.meta_training.settings import MetaTrainingSettings
from metarules.pretrained import get_rule, plain
from metarules.pretrained.kinds import KINDS, kind_of
from metarules.pretrained.plain import from_plain
from metarules.tasks.distribution import DistributionSettings
from metarules.tasks.families import FAMILIES
from metarules.update_rule import LocalRuleSettings, PaperRuleSettings, UpdateRule
from metarules.update_rule.local.terms import LOCAL_TERMS


@dataclass(frozen=True)
class KeepSettings:
    """What a run leaves behind, and how often."""

    # meta-steps between two validations of the averaged theta; ours: about two minutes apart, of which the validation
    # takes a fifth
    validate_every: int = 100
    # meta-steps between two checkpoints; ours: a crash costs no more than half a minute
    save_every: int = 25

    def __post_init__(self) -> None:
        check_fields(self, "validate_every", "save_every", low=1, integer=True)


@dataclass(frozen=True)
class Plan:
    """All settings of a run."""

    train: MetaTrainingSettings = field(default_factory=MetaTrainingSettings)  # the outer loop
    data: DistributionSettings = field(default_factory=DistributionSettings)  # the tasks
    rule: Any = field(default_factory=LocalRuleSettings)  # what is trained: settings of any kind in `pretrained.KINDS`
    judge: JudgeSettings = field(default_factory=JudgeSettings)  # the validation
    keep: KeepSettings = field(default_factory=KeepSettings)  # what is kept
    preset: str = "laptop"  # the preset it was made from, for the command on the card
    # a rule to begin with instead of random theta: the name of a shipped one, or a file; terms that it lacks begin as
    # the settings say
    start: str = ""

    def __post_init__(self) -> None:
        kind_of(self.rule)

    def make_rule(self) -> UpdateRule:
        """The rule at its start: theta drawn from the run's seed, or that of the rule named by `start`.

        Raises:
            ValueError: a start that is no learned rule of this kind and these sizes.
            FileNotFoundError: a start that leads nowhere.
        """
        rule = kind_of(self.rule).make(self.rule, torch.Generator().manual_seed(self.train.seed))
        if self.start:
            try:
                rule.take(get_rule(self.start))
            except ValueError as error:
                raise ValueError(f"start is {self.start!r}, which cannot be gone on from: {error}") from error
        return rule

    def command(self, out: str = "runs/local") -> str:
        """The one command that does this run again.

        Only another number of glyph deformations than the preset's cannot be said by a command; the card's plan holds
        them.

        Raises:
            ValueError: other settings that no option can say; `options.check_command` finds more, by reading it back.
        """
        words = ["python", "-m", "metarules.meta_training", "--preset", self.preset, "--out", out]
        return shlex.join([*words, *self.imports(), *self.options()])

    def imports(self) -> list[str]:
        """The words of a command that import the modules in which one's own kind and families are registered."""
        families = (FAMILIES[name].make.__module__ for name in self.data.weights)
        modules = dict.fromkeys([*kind_of(self.rule).modules(self.rule), *families])
        return [word for name in modules if not name.startswith("metarules.") for word in ("--import", name)]

    def to_plain(self) -> dict[str, Any]:
        """Plain values, ready for JSON, from which `from_plain` makes the plan again."""
        return {**plain(self), "kind": kind_of(self.rule).name, "imports": self.imports()}

    @classmethod
    def from_plain(cls, values: Mapping[str, Any], name: str = "plan") -> Plan:
        """The inverse of `to_plain`.

        Raises:
            ValueError: no such values, or of a kind or families that are not registered; nothing is imported for them.
        """
        parts: dict[str, type[Any]] = {"train": MetaTrainingSettings, "data": DistributionSettings}
        parts |= {"judge": JudgeSettings, "keep": KeepSettings}
        try:
            parts["rule"] = KINDS[check_choice(f"kind in {name}", values.get("kind"), [*KINDS])].settings
            made: dict[str, Any] = {
                part: from_plain(kind, values.get(part), f"{part} in {name}") for part, kind in parts.items()
            }
        except ValueError as error:
            words = values.get("imports")
            hint = f"; give {shlex.join(words)}, as its command did" if isinstance(words, list) and words else ""
            raise ValueError(f"{error}{hint}") from error
        preset = check_choice(f"preset in {name}", values.get("preset"), [*PRESETS])
        return cls(**made, preset=preset, start=values.get("start", ""))

    def options(self) -> list[str]:
        """The words of the command that turn the preset into this plan.

        Raises:
            ValueError: as `command`.
        """
        before, kind, words = PRESETS[self.preset], kind_of(self.rule), []
        rule_before = before.rule
        if type(rule_before) is not kind.settings:
            words += ["--kind", kind.name]
            rule_before = kind.settings()
        words += [] if self.start == before.start else ["--start", self.start]
        words += _changes(before.train, self.train)
        words += _changes(before.data, self.data, "data.")
        words += _changes(rule_before, self.rule, "rule.")
        words += _changes(before.judge, self.judge, "judge.")
        words += _changes(before.keep, self.keep, "keep.")
        return words


def option_words(value: Any) -> list[str]:
    """The words that say a value after its option: several for a tuple, names and numbers for a mapping."""
    if isinstance(value, Mapping):
        return [str(word) for pair in value.items() for word in pair]
    return [str(part) for part in value] if isinstance(value, (tuple, list)) else [str(value)]


def _changes(before: Any, after: Any, prefix: str = "") -> list[str]:
    """The options that turn one settings object into another of its class."""
    words: list[str] = []
    for f in fields(after):
        old, new = getattr(before, f.name), getattr(after, f.name)
        name = prefix + f.name.replace("_", "-")
        if is_dataclass(new):
            if type(old) is not type(new):
                raise ValueError(f"{name} is {new!r}, which no option can say; allowed: a {type(old).__name__}")
            words += _changes(old, new, f"{name}.")
        elif isinstance(new, tuple) and any(is_dataclass(part) for part in new):
            for i, (part_before, part) in enumerate(zip(old, new, strict=False)):
                words += _changes(part_before, part, f"{name}.{i}.")
        elif plain(old) != plain(new) and str(new).startswith("-") and isinstance(new, str):
            words += [f"--{name}={new}"]
        elif plain(old) != plain(new):
            words += [f"--{name}", *option_words(new)]
    return words


_LAPTOP = Plan(
    train=MetaTrainingSettings(
        meta_steps=3600,
        groups=12,
        groups_per_step=2,
        # ours: half of the unrolls on nets as wide as those that are asked for; `width` down to 16 taught them little
        depth=(2, 4),
        width=(48, 128),
        batch_size=(50, 150),  # ours: held-out tasks are learned as well at 100 as at 200, for half the cost
        warm_up=50,
        average=0.995,
    ),
    judge=JudgeSettings(batch_size=100),  # ours: as in training; one validation takes a minute of one core
    keep=KeepSettings(validate_every=450),  # ours: a tenth of the run
    preset="laptop",
)

# A second phase, half an hour of one core, from a rule that exists: on the nets that are asked for, in larger batches,
# at a rate that falls anew.
_FURTHER = replace(
    _LAPTOP,
    train=replace(
        _LAPTOP.train,
        meta_steps=900,
        depth=(3, 4),
        width=(64, 128),
        horizon=(32, 200),
        batch_size=(100, 200),
        learning_rate=2e-3,
        warm_up=20,
        average=0.99,
    ),
    keep=KeepSettings(validate_every=150),
    preset="further",
    start="local",
)

PRESETS: dict[str, Plan] = {
    # Two minutes on two cores, for a lesson: the usual net on the kinds of data that are validated, where little
    # practice shows most. No rule to keep: it has seen too little else.
    "demo": Plan(
        train=MetaTrainingSettings(
            meta_steps=150,
            usual_net_share=1.0,
            groups_per_step=2,
            horizon=(32, 128),
            batch_size=(50, 100),
            learning_rate=6e-3,  # ours: twice the laptop's, for so few steps
            warm_up=10,
            average=0.95,
        ),
        data=DistributionSettings(usual_share=1.0, weights={"glyphs": 0.4, "handwriting": 0.2, "decoders": 0.2}),
        judge=JudgeSettings(batch_size=100, wide=()),
        keep=KeepSettings(validate_every=150),  # at the start and at the end: one takes ten seconds
        preset="demo",
    ),
    # Two hours of one busy core, from random theta.
    "laptop": _LAPTOP,
    "further": _FURTHER,
    # The same second phase with one more term, which asks for neighbours.
    "neighbours": replace(
        _FURTHER, rule=LocalRuleSettings(terms=(*LOCAL_TERMS, "slow"), slow=0.4, memory=500), preset="neighbours"
    ),
    # One GPU: many tasks at once, wider nets, longer truncations.
    "gpu": Plan(
        train=MetaTrainingSettings(
            meta_steps=10_000,
            particles=256,
            groups=16,
            groups_per_step=2,
            width=(16, 256),
            truncation=(4, 16),
            horizon=(48, 512),
            average=0.995,
            warm_up=100,
        ),
        preset="gpu",
    ),
    # The paper's rule and sizes (sections 4 and appendix); the 512 workers are torchrun's to bring.
    "paper": Plan(
        train=MetaTrainingSettings(
            meta_steps=200_000,
            usual_net=(128, 128, 128, 128, 32),
            usual_net_share=0.0,
            depth=(2, 5),
            width=(64, 512),
            particles=16,
            groups=16,
            groups_per_step=16,
            truncation=(4, 16),
            horizon=(64, 1024),
            batch_size=(128, 128),
            labelled_batches=2,
            learning_rate=3e-4,
            warm_up=200,
            average=0.999,
            checkpoint_every=1,
        ),
        data=DistributionSettings(size=14),
        rule=PaperRuleSettings(),
        judge=JudgeSettings(widths=(128, 128, 128, 128, 32), wide=(), batch_size=128, tasks=4),
        preset="paper",
    ),
}


def preset(name: str) -> Plan:
    """One of `PRESETS`.

    Raises:
        ValueError: an unknown name.
    """
    return PRESETS[check_choice("preset", name, PRESETS)]
