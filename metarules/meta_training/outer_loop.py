"""The outer loop: theta follows the gradient of the meta-objective through truncated unrolls of many particles.

Source: Metz et al., ICLR 2019, sections 3.3 and 4; what is known about doing it on a laptop: science.md 6.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch

from metarules.meta_training.particles import Group, birth, truncated_loss
from metarules.meta_training.settings import MetaTrainingSettings
from metarules.tasks.distribution import DistributionSettings, TaskPool
from metarules.update_rule import UpdateRule

POOL = 96  # data sets kept ready; ours: about 25 MB, ten seconds to render


@dataclass(frozen=True)
class MetaStep:
    """What one update of theta reports: the meta-loss, the meta-gradient's norm, and whether it was used."""

    number: int
    loss: float
    gradient_norm: float
    learning_rate: float
    skipped: bool


class MetaTrainer:
    """Everything that changes while a rule is meta-trained, and the one step that changes it.

    Attributes:
        rule: the rule; its theta is updated in place.
        average: exponential average of theta, by parameter name: what is shipped.
        optimiser: Adam over theta.
        groups: the particles.
        generator: the one source of randomness.
        number: meta-steps taken.
        skipped: meta-gradients that were not finite and were not used.
    """

    def __init__(
        self,
        rule: UpdateRule,
        settings: MetaTrainingSettings | None = None,
        distribution: DistributionSettings | None = None,
    ) -> None:
        self.rule = rule
        self.settings = settings or MetaTrainingSettings()
        self.distribution = distribution or DistributionSettings()
        self.generator = torch.Generator().manual_seed(self.settings.seed)
        self.average = {name: p.detach().clone() for name, p in rule.named_parameters()}
        self.optimiser = torch.optim.Adam(rule.parameters(), lr=self.settings.learning_rate)
        self.pool = TaskPool(self.distribution, POOL, self.generator)
        self.number = 0
        self.skipped = 0
        self.groups: list[Group] = [self._born(widths, age=True) for widths in self.settings.architectures]

    def step(self) -> MetaStep:
        """One update of theta from the next groups in turn."""
        s = self.settings
        chosen = [(self.number * s.groups_per_step + i) % len(self.groups) for i in range(s.groups_per_step)]
        self.optimiser.zero_grad(set_to_none=True)
        total = 0.0
        for index in chosen:
            group = self.groups[index]
            loss, group = truncated_loss(self.rule, group, s, self.generator)
            (loss / s.groups_per_step).backward()
            total += float(loss.detach()) / s.groups_per_step
            alive = all(bool(torch.isfinite(t).all()) for _, t in group.phi.tensors())
            self.groups[index] = group if alive and not group.over else self._born(s.architectures[index])
        rate = self._learning_rate()
        norm = float(torch.nn.utils.clip_grad_norm_(self.rule.parameters(), s.clip))
        usable = math.isfinite(norm) and math.isfinite(total)
        if usable:
            for part in self.optimiser.param_groups:
                part["lr"] = rate
            self.optimiser.step()
        else:
            self.skipped += 1
        self.number += 1
        self._update_average()
        return MetaStep(self.number, total, norm, rate, not usable)

    def _born(self, widths: tuple[int, ...], *, age: bool = False) -> Group:
        task = self.pool.draw(self.settings.particles, self.generator)
        return birth(widths, task, self.settings, self.generator, age=age)

    def _learning_rate(self) -> float:
        s = self.settings
        if self.number < s.warm_up:
            return s.learning_rate * (self.number + 1) / s.warm_up
        share = min(1.0, (self.number - s.warm_up) / max(1, s.meta_steps - s.warm_up))
        return s.learning_rate * (s.final_share + (1 - s.final_share) * 0.5 * (1 + math.cos(math.pi * share)))

    @torch.no_grad()
    def _update_average(self) -> None:
        # a short memory at the start, so that the average is not held back by theta's first value
        keep = min(self.settings.average, (1 + self.number) / (10 + self.number))
        for name, parameter in self.rule.named_parameters():
            self.average[name].mul_(keep).add_(parameter, alpha=1 - keep)
