"""What is measured: a rule, the sizes of the base model, and how many tasks, examples and unrolled steps at once.

Everything here also runs on the first version of the package (see `child`), so it asks only for what that has too.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from importlib import import_module
from importlib.util import find_spec
from typing import Any

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from metarules.base_model import BaseModelState, InitSettings, forward_unchecked, init_state
from metarules.meta_objective import MetaObjectiveSettings
from metarules.meta_training import MetaTrainingSettings
from metarules.tasks import Task
from metarules.update_rule import Batch, LocalRule, LocalRuleSettings, PaperRule, PaperRuleSettings, UpdateRule

_UNROLLS = "metarules.meta_training.unrolls"
unrolls: Any = import_module(_UNROLLS if find_spec(_UNROLLS) else "metarules.meta_training.particles")  # its old name

LAPTOP_WIDTHS = (64, 32, 32, 32)  # the net that shipped rules are judged on
WIDE_WIDTHS = (64, 128, 128, 32)  # and the second one
PAPER_WIDTHS = (196, 128, 128, 128, 128, 32)  # authors' code: 14 x 14 pixels, four hidden layers, the embedding
PAPER_BATCH = 128  # authors' code
PASSES = ("forward", "forward + backward")
TRUNCATION = 2  # inner steps in a truncation of meta-training: each costs the same, and the slow first version is timed


@dataclass(frozen=True)
class Case:
    """One measurement's sizes."""

    rule: str  # "local" or "paper", with the settings each has by default
    widths: tuple[int, ...]  # of the base model, input first
    batch: int  # examples an inner step sees
    tasks: int = 1  # base models taught at once
    unroll: int = 1  # inner steps between two meta-gradients
    settings: tuple[tuple[str, Any], ...] = ()  # settings of the rule that differ from its defaults
    checkpointed: bool = False  # keep only phi of each step for the way back, and compute the rest again there

    @property
    def name(self) -> str:
        """Rule and net, such as "local 64-32-32-32"."""
        return f"{self.rule} {'-'.join(map(str, self.widths))}"

    def sizes(self) -> dict[str, Any]:
        """What a row of results says of its case."""
        return {"rule": self.rule, "widths": list(self.widths), "batch": self.batch, "tasks": self.tasks}


def laptop(batch: int = 200, tasks: int = 8, unroll: int = 1) -> Case:
    """`LocalRule` on the net that fits a laptop; batch 200 is the hand rule's."""
    return Case("local", LAPTOP_WIDTHS, batch, tasks, unroll)


def wide(batch: int = 100, tasks: int = 3) -> Case:
    """The second net that rules are judged on; three tasks cost what eight do on the first."""
    return Case("local", WIDE_WIDTHS, batch, tasks)


def paper(tasks: int = 1, unroll: int = 1) -> Case:
    """`PaperRule` at the sizes of the authors' code."""
    return Case("paper", PAPER_WIDTHS, PAPER_BATCH, tasks, unroll)


def from_json(fields: dict[str, Any]) -> Case:
    """The case that `dataclasses.asdict` was told of, after a way through JSON, which knows no tuples."""
    settings = tuple((name, value) for name, value in fields["settings"])
    return Case(**{**fields, "widths": tuple(fields["widths"]), "settings": settings})


@dataclass(frozen=True)
class Problem:
    """A case made ready to run."""

    rule: UpdateRule
    phi: BaseModelState  # the base models it starts from
    batches: tuple[Batch, ...]  # one for each unrolled step
    checkpointed: bool = False

    def functions(self) -> dict[str, Callable[[], object]]:
        """What is timed, by the names of `PASSES`."""
        return dict(zip(PASSES, (self.forward, self.meta_gradient), strict=True))

    def forward(self) -> BaseModelState:
        """The inner steps alone, without a graph, as lessons and evaluation run them."""
        with torch.no_grad():
            return self._unrolled()

    def loss(self) -> Tensor:
        """The inner steps and a number made from the features they lead to, with its graph back to theta."""
        phi = self._unrolled()
        return forward_unchecked(phi, self.batches[0].x).features.square().mean()

    def meta_gradient(self) -> tuple[Tensor | None, ...]:
        """Forward and backward through all unrolled steps: the gradient of `loss` by theta."""
        return torch.autograd.grad(self.loss(), list(self.rule.parameters()), allow_unused=True)

    def _unrolled(self) -> BaseModelState:
        phi = self.phi
        for batch in self.batches:
            if self.checkpointed:
                phi = checkpoint(self.rule.step, phi, batch, use_reentrant=False)
            else:
                phi = self.rule.step(phi, batch)
        return phi


def build(case: Case, device: str = "cpu", dtype: torch.dtype = torch.float32) -> Problem:
    """Theta, phi and data of a case, the same in every process.

    Raises:
        ValueError: an unknown rule.
    """
    settings = dict(case.settings)
    if case.rule not in ("local", "paper"):
        raise ValueError(f"rule is {case.rule!r}; allowed: local or paper")
    rule: UpdateRule
    if case.rule == "local":
        rule = LocalRule(LocalRuleSettings(**settings), dtype=dtype)
    else:
        rule = PaperRule(PaperRuleSettings(**settings), dtype=dtype)
    generator = torch.Generator().manual_seed(0)
    leading = (case.tasks,) if case.tasks > 1 else ()
    phi = init_state(case.widths, tasks=leading, generator=generator, dtype=dtype)
    shape = (*leading, case.batch, case.widths[0])
    batches = (Batch(torch.rand(shape, generator=generator, dtype=dtype).to(device)) for _ in range(case.unroll))
    rule = rule.to(device)
    return Problem(rule, rule.init_extra(phi.to(device)), tuple(batches), case.checkpointed)


def practice() -> dict[str, Any]:
    """Today's settings of meta-training that say how much a truncation has to do; plain values."""
    usual = MetaTrainingSettings()
    names = ("labels_per_class", "labelled_batches", "objective_every")
    return {**{name: getattr(usual, name) for name in names}, "objective": asdict(usual.objective)}


def group_of(phi: BaseModelState, task: Task, horizon: int, batch_size: int) -> Any:
    """Particles at the start of an unroll; the first version's groups have no number."""
    number = {"number": 0} if "number" in unrolls.Group.__dataclass_fields__ else {}
    return unrolls.Group(phi=phi, task=task, step=0, horizon=horizon, batch_size=batch_size, **number)


def truncation(case: Case, told: dict[str, Any]) -> Callable[[], object]:
    """A truncated meta-gradient of one group of particles, always at the start of its life, objective included.

    Args:
        case: its tasks are the particles, taught with `LocalRule` on random numbers in ten classes.
        told: `practice()`, of the process that asks.
    """
    settings = MetaTrainingSettings(
        **{**told, "objective": MetaObjectiveSettings(**told["objective"])},
        particles=case.tasks,
        truncation=(TRUNCATION, TRUNCATION),
        horizon=(10**6, 10**6),
        batch_size=(case.batch, case.batch),
    )
    generator = torch.Generator().manual_seed(0)
    n = 10 * settings.labels_per_class * settings.labelled_batches
    x = torch.rand(case.tasks, n, case.widths[0], generator=generator)
    task = Task(x, (torch.arange(n) % 10).expand(case.tasks, n).contiguous(), 10)
    phi = init_state(case.widths, tasks=(case.tasks,), settings=InitSettings(bias_std=0.0), generator=generator)
    group = group_of(phi, task, 10**6, case.batch)
    rule = LocalRule()
    parameters = list(rule.parameters())

    def run() -> object:
        loss, _ = unrolls.truncated_loss(rule, group, settings, torch.Generator().manual_seed(1))
        return torch.autograd.grad(loss, parameters, allow_unused=True)

    return run
