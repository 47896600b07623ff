"""What the tests of meta-training share: the smallest settings, a trainer on them, and all that may change in one."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from metarules.meta_objective import MetaObjectiveSettings
from metarules.meta_training import JudgeSettings, KeepSettings, MetaTrainer, MetaTrainingSettings, Plan
from metarules.tasks.distribution import DistributionSettings
from metarules.update_rule import LocalRule, LocalRuleSettings

RULE = LocalRuleSettings(channels=4, signals=2, readouts=1)
DISTRIBUTION = DistributionSettings(n_examples=36, n_classes=3, usual_share=0.5, class_range=(2, 3), input_range=(3, 9))
SETTINGS = MetaTrainingSettings(
    meta_steps=6,
    usual_net=(5, 4),
    depth=(1, 2),
    width=(3, 6),
    top=(4, 4),
    particles=2,
    groups=2,
    truncation=(1, 2),
    horizon=(2, 4),
    batch_size=(6, 10),
    labels_per_class=2,
    labelled_batches=2,
    objective_every=2,
    objective=MetaObjectiveSettings(ridge=3.0, standardise_features=True),
    learning_rate=3e-3,
    warm_up=2,
    clip=1.0,
)
PLAN = Plan(
    train=SETTINGS,
    data=DISTRIBUTION,
    rule=RULE,
    judge=JudgeSettings(tasks=2, widths=(5,), wide=(6, 5), steps=3, batch_size=10, labels_per_class=2),
    keep=KeepSettings(validate_every=2, save_every=3),
)

# The same smallness for the demo preset on a command line, with four groups of which two take a step.
_TINY = (
    "--usual-net 5 4 --depth 1 2 --width 3 6 --top 4 4 --particles 2 --groups 4 --groups-per-step 2 --truncation 1 2 "
    "--horizon 2 6 --batch-size 6 10 --labels-per-class 2 --labelled-batches 2 --warm-up 2 "
    "--data.n-examples 36 --data.n-classes 3 --data.class-range 2 3 --data.input-range 3 9 "
    "--keep.save-every 2 --keep.validate-every 100000 "
    "--judge.tasks 2 --judge.widths 5 --judge.wide 6 5 --judge.steps 3 --judge.batch-size 10 --judge.labels-per-class 2"
)
TINY = _TINY.split()
SMALL_RULE = ["--rule.channels", "4", "--rule.signals", "2", "--rule.readouts", "1"]


def changed(plan: Plan, **parts: dict[str, Any]) -> Plan:
    """A plan with some settings of its parts changed: `changed(PLAN, train={"seed": 3})`."""
    return replace(plan, **{name: replace(getattr(plan, name), **values) for name, values in parts.items()})


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def trainer(dtype: torch.dtype = torch.float32, rule: LocalRuleSettings = RULE, **changed: Any) -> MetaTrainer:
    distribution, ranks = changed.pop("distribution", DISTRIBUTION), changed.pop("ranks", None)
    made = LocalRule(rule, generator=seeded(1), dtype=dtype)
    return MetaTrainer(made, replace(SETTINGS, **changed), distribution, ranks)


def theta(of: MetaTrainer) -> dict[str, Tensor]:
    return {name: p.detach().clone() for name, p in of.rule.named_parameters()}


def same(a: dict[str, Tensor], b: dict[str, Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def fingerprint(of: MetaTrainer) -> dict[str, Tensor]:
    """Everything that may change in a trainer, and the tasks, as tensors."""
    found = {f"theta/{k}": v for k, v in theta(of).items()} | {f"average/{k}": v for k, v in of.average.items()}
    for name, parameter in of.rule.named_parameters():
        found |= {f"adam/{name}/{k}": v for k, v in of.optimiser.state[parameter].items()}
    for i, group in of.groups.items():
        found |= {f"group{i}/{k}": v for k, v in group.phi.tensors()}
        if group.opposite is not None:
            found |= {f"group{i}/opposite/{k}": v for k, v in group.opposite.phi.tensors()}
            found |= {f"group{i}/noise/{k}": v for k, v in group.opposite.noise.items()}
        found |= {f"group{i}/x": group.task.x, f"group{i}/y": group.task.y}
        found[f"group{i}/numbers"] = torch.tensor([group.number, group.step, group.horizon, group.batch_size])
    found["numbers"] = torch.tensor([of.number, of.skipped])
    return {name: value.detach().clone() for name, value in found.items()}
