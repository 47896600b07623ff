"""A whole run's settings, the presets among them, and the way a command line changes one by name."""

from __future__ import annotations

import ast
import shlex
from collections.abc import Iterable
from dataclasses import dataclass, field, fields, is_dataclass, replace
from typing import Any

import torch

from metarules._checks import check_choice, check_names, check_number
from metarules.evaluation.held_out import JudgeSettings
from metarules.meta_training.settings import MetaTrainingSettings
from metarules.pretrained import plain
from metarules.pretrained.kinds import kind_of_settings
from metarules.tasks.distribution import DistributionSettings
from metarules.update_rule import LocalRuleSettings, PaperRuleSettings, UpdateRule


@dataclass(frozen=True)
class KeepSettings:
    """What a run leaves behind, and how often.

    Attributes:
        validate_every: meta-steps between two validations of the averaged theta.
        save_every: meta-steps between two checkpoints.
    """

    validate_every: int = 100  # ours: about two minutes apart, of which the validation takes a fifth
    save_every: int = 25  # ours: a crash costs no more than half a minute

    def __post_init__(self) -> None:
        for name in ("validate_every", "save_every"):
            check_number(name, getattr(self, name), low=1, integer=True)


@dataclass(frozen=True)
class Plan:
    """All settings of a run.

    Attributes:
        train: of the outer loop.
        data: of the tasks.
        rule: of the rule that is trained, of any kind in `metarules.pretrained.KINDS`.
        judge: of the validation.
        keep: of what is kept.
        preset: the preset it was made from, for the command on the card.
    """

    train: MetaTrainingSettings = field(default_factory=MetaTrainingSettings)
    data: DistributionSettings = field(default_factory=DistributionSettings)
    rule: Any = field(default_factory=LocalRuleSettings)
    judge: JudgeSettings = field(default_factory=JudgeSettings)
    keep: KeepSettings = field(default_factory=KeepSettings)
    preset: str = "laptop"

    def __post_init__(self) -> None:
        kind_of_settings(self.rule)

    def make_rule(self) -> UpdateRule:
        """The rule at its start, theta drawn from the run's seed."""
        return kind_of_settings(self.rule).make(self.rule, torch.Generator().manual_seed(self.train.seed))

    def with_values(self, changes: Iterable[str]) -> Plan:
        """The same plan with some settings changed.

        Args:
            changes: texts "name=value", the name with its part before a dot: "train.particles=16",
                "data.usual_share=1", "rule.channels=24", "train.objective.ridge=1". The values are Python's: 3e-3,
                (4, 8), True, None or a word.

        Raises:
            ValueError: no "=", an unknown name, or a value that is not allowed.
            TypeError: a value of a wrong type.
        """
        told = []
        for change in changes:
            name, equals, text = change.partition("=")
            if not equals:
                raise ValueError(f"set is {change!r}; allowed: part.name=value, such as train.particles=16")
            told.append((name.strip().split("."), name.strip(), _value(text.strip())))
        return _changed(self, told)

    def command(self, out: str = "runs/local") -> str:
        """The one command that does this run again."""
        words = f"python -m metarules.meta_training --preset {self.preset} --out {shlex.quote(out)}"
        changes = [shlex.quote(f"{name}={_text(value)}") for name, value in _differences(PRESETS[self.preset], self)]
        return words + (" --set " + " ".join(changes) if changes else "")


PARTS = ("train", "data", "rule", "judge", "keep")

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
        data=DistributionSettings(usual_share=1.0, weights={"glyphs": 0.4, "decoders": 0.2}),
        judge=JudgeSettings(batch_size=100),
        keep=KeepSettings(validate_every=150),  # at the start and at the end: one takes ten seconds
        preset="demo",
    ),
    # An hour of one core: the rule that is shipped.
    "laptop": Plan(
        train=MetaTrainingSettings(
            meta_steps=2500,
            groups=12,
            groups_per_step=2,
            batch_size=(50, 150),  # ours: held-out tasks are learned as well at 100 as at 200, for half the cost
            warm_up=50,
            average=0.99,
        ),
        keep=KeepSettings(validate_every=150),
        preset="laptop",
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
        judge=JudgeSettings(widths=(128, 128, 128, 128, 32), batch_size=128, tasks=4),
        preset="paper",
    ),
}


def preset(name: str) -> Plan:
    """One of `PRESETS`.

    Raises:
        ValueError: an unknown name.
    """
    return PRESETS[check_choice("preset", name, PRESETS)]


def names() -> list[str]:
    """Every setting that `Plan.with_values` can change in a plan with a `LocalRule`."""
    return [name for name, _ in _leaves(Plan())]


def _value(text: str) -> Any:
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):  # what it may raise, by its manual
        return text


def _text(value: Any) -> str:
    return repr(value).replace(" ", "") if not isinstance(value, str) else value


def _changed(settings: Any, changes: Iterable[tuple[list[str], str, Any]]) -> Any:
    """Settings with all changes (path from here, whole name, value) made at once, since some settings bound others."""
    values: dict[str, Any] = {}
    inner: dict[str, list[tuple[list[str], str, Any]]] = {}
    for path, whole, value in changes:
        first, *rest = path
        known = [f.name for f in fields(settings) if not (isinstance(settings, Plan) and f.name == "preset")]
        if first not in known or (rest and not is_dataclass(getattr(settings, first))):
            known = [f"{'.'.join(whole.split('.')[: -len(path)])}.{name}".lstrip(".") for name in known]
            check_names("set", [whole], known)
        if rest:
            inner.setdefault(first, []).append((rest, whole, value))
        else:
            values[first] = _fit(getattr(settings, first), whole, value)
    return replace(settings, **values, **{name: _changed(getattr(settings, name), of) for name, of in inner.items()})


def _fit(before: Any, whole: str, value: Any) -> Any:
    """The value for a setting, as far as its kind can be told from the one before."""
    if is_dataclass(before):
        raise ValueError(f"set names {whole!r}; allowed: one of its settings, such as {whole}.{fields(before)[0].name}")
    if isinstance(before, tuple) and any(is_dataclass(part) for part in before):
        raise ValueError(f"set names {whole!r}, which holds settings of its own; allowed: in a Plan made in Python")
    if isinstance(before, bool) and not isinstance(value, bool):
        raise TypeError(f"{whole} is {value!r}; allowed: True or False")
    return tuple(value) if isinstance(before, tuple) and isinstance(value, list) else value


def _leaves(settings: Any, prefix: str = "") -> list[tuple[str, Any]]:
    """(dotted name, value) of every setting that is no dataclass itself."""
    found = []
    for f in fields(settings):
        value, name = getattr(settings, f.name), prefix + f.name
        if isinstance(settings, Plan) and f.name == "preset":
            continue
        found += _leaves(value, f"{name}.") if is_dataclass(value) else [(name, value)]
    return found


def _differences(before: Plan, after: Plan) -> list[tuple[str, Any]]:
    old = dict(_leaves(before))
    return [(name, value) for name, value in _leaves(after) if name not in old or plain(old[name]) != plain(value)]
