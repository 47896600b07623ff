"""What is measured: a rule, the sizes of the base model, and how many tasks, examples and unrolled steps at once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from benchmarks import yardstick
from metarules.base_model import BaseModelState, forward_unchecked, init_state
from metarules.update_rule import Batch, LocalRule, LocalRuleSettings, PaperRule, PaperRuleSettings, UpdateRule

LAPTOP_WIDTHS = (64, 32, 32, 32)  # the net that shipped rules are judged on
PAPER_WIDTHS = (196, 128, 128, 128, 128, 32)  # authors' code: 14 x 14 pixels, four hidden layers, the embedding
PAPER_BATCH = 128  # authors' code
VERSIONS = ("now", "now, checkpointed", "yardstick")


@dataclass(frozen=True)
class Case:
    """One measurement's sizes.

    Attributes:
        rule: "local" or "paper", with the settings each has by default.
        widths: of the base model, input first.
        batch: examples an inner step sees.
        tasks: base models taught at once.
        unroll: inner steps between two meta-gradients.
        settings: settings of the rule that differ from its defaults.
    """

    rule: str
    widths: tuple[int, ...]
    batch: int
    tasks: int = 1
    unroll: int = 1
    settings: tuple[tuple[str, Any], ...] = ()

    @property
    def name(self) -> str:
        """Rule and net, such as "local 64-32-32-32"."""
        return f"{self.rule} {'-'.join(map(str, self.widths))}"


def laptop(batch: int = 200, tasks: int = 8, unroll: int = 1) -> Case:
    """`LocalRule` on the net that fits a laptop; batch 200 is the hand rule's."""
    return Case("local", LAPTOP_WIDTHS, batch, tasks, unroll)


def paper(tasks: int = 1, unroll: int = 1) -> Case:
    """`PaperRule` at the sizes of the authors' code."""
    return Case("paper", PAPER_WIDTHS, PAPER_BATCH, tasks, unroll)


def from_json(fields: dict[str, Any]) -> Case:
    """The case that `dataclasses.asdict` was told of, after a way through JSON, which knows no tuples."""
    settings = tuple((name, value) for name, value in fields["settings"])
    return Case(**{**fields, "widths": tuple(fields["widths"]), "settings": settings})


@dataclass(frozen=True)
class Problem:
    """A case made ready to run.

    Attributes:
        rule: today's or the yardstick's.
        phi: the base models it starts from.
        batches: one for each unrolled step.
        checkpointed: keep only phi of each step for the way back, and compute the rest of it again there.
    """

    rule: UpdateRule
    phi: BaseModelState
    batches: tuple[Batch, ...]
    checkpointed: bool = False

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


def build(case: Case, version: str = "now", device: str = "cpu", dtype: torch.dtype = torch.float32) -> Problem:
    """The same theta, phi and data for either version.

    Args:
        case: the sizes.
        version: one of `VERSIONS`: the package's rule, the same under activation checkpointing, or the foundation's.
        device: where it runs.
        dtype: of everything.

    Raises:
        ValueError: an unknown rule or version.
    """
    settings = dict(case.settings)
    rules: dict[tuple[str, str], Any] = {
        ("local", "now"): lambda: LocalRule(LocalRuleSettings(**settings), dtype=dtype),
        ("local", "yardstick"): lambda: yardstick.LocalRule(yardstick.LocalRuleSettings(**settings), dtype=dtype),
        ("paper", "now"): lambda: PaperRule(PaperRuleSettings(**settings), dtype=dtype),
        ("paper", "yardstick"): lambda: yardstick.PaperRule(yardstick.PaperRuleSettings(**settings), dtype=dtype),
    }
    chosen = version.removesuffix(", checkpointed")
    if version not in VERSIONS or (case.rule, chosen) not in rules:
        raise ValueError(f"rule, version is {case.rule!r}, {version!r}; allowed: local or paper, {VERSIONS}")
    generator = torch.Generator().manual_seed(0)
    leading = (case.tasks,) if case.tasks > 1 else ()
    phi = init_state(case.widths, tasks=leading, generator=generator, dtype=dtype)
    shape = (*leading, case.batch, case.widths[0])
    batches = (Batch(torch.rand(shape, generator=generator, dtype=dtype).to(device)) for _ in range(case.unroll))
    rule = rules[case.rule, chosen]().to(device)
    return Problem(rule, phi.to(device), tuple(batches), checkpointed=version != chosen)
