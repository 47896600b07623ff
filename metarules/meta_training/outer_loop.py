"""The outer loop: theta follows the gradient of the meta-objective through truncated unrolls of many particles.

Source: Metz et al., ICLR 2019, sections 3.3 and 4; what we know about doing it on a laptop: README, Sources.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch

from metarules.inner_loop import DivergenceError
from metarules.meta_training.estimators import ESTIMATORS
from metarules.meta_training.particles import Group, birth
from metarules.meta_training.settings import MetaTrainingSettings
from metarules.tasks.distribution import DistributionSettings, TaskPool
from metarules.update_rule import UpdateRule


@dataclass(frozen=True)
class MetaStep:
    """What one update of theta reports.

    Attributes:
        number: meta-steps taken, this one included.
        loss: the meta-objective, averaged over groups, particles and looks; NaN where a base model diverged.
        gradient_norm: of the meta-gradient before clipping.
        learning_rate: Adam's in this step.
        skipped: True where loss or meta-gradient was not finite, and theta was left alone.
    """

    number: int
    loss: float
    gradient_norm: float
    learning_rate: float
    skipped: bool


class MetaTrainer:
    """Everything that changes while a rule is meta-trained, and the one step that changes it.

    Args:
        rule: an unsupervised rule with theta, such as `LocalRule`.
        settings: of the outer loop.
        distribution: of the tasks.

    Raises:
        ValueError: a rule that has no theta or needs labels; batches that a task has too few examples for.

    Attributes:
        rule: the rule; its theta is updated in place.
        average: exponential average of theta, by parameter name: what is shipped.
        optimiser: Adam over theta.
        groups: the particles, one group for each of `settings.architectures`.
        pool: data sets that tasks are made of.
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
        _check_fit(rule, self.settings, self.distribution)
        self.generator = torch.Generator().manual_seed(self.settings.seed)
        self.average = {name: p.detach().clone() for name, p in rule.named_parameters()}
        self.optimiser = torch.optim.Adam(rule.parameters(), lr=self.settings.learning_rate)
        self.pool = TaskPool(self.distribution, self.settings.pool, self.generator)
        self.number = 0
        self.skipped = 0
        self.groups: list[Group] = [self._born(widths, age=True) for widths in self.settings.architectures]

    def step(self) -> MetaStep:
        """One update of theta from the next groups in turn.

        Groups whose life is over, or whose phi is no longer finite, are born anew. A meta-gradient that is not finite
        is counted and thrown away.
        """
        s = self.settings
        chosen = [(self.number * s.groups_per_step + i) % len(self.groups) for i in range(s.groups_per_step)]
        self.optimiser.zero_grad(set_to_none=True)
        estimate, theta = ESTIMATORS[s.estimator], dict(self.rule.named_parameters())
        total = 0.0
        for index in chosen:
            try:
                found = estimate(self.rule, self.groups[index], s, self.generator)
            except DivergenceError:
                total = float("nan")
                self.groups[index] = self._born(s.architectures[index])
                continue
            for name, gradient in found.gradient.items():
                parameter, share = theta[name], gradient / s.groups_per_step
                parameter.grad = share if parameter.grad is None else parameter.grad + share
            total += found.loss / s.groups_per_step
            self.groups[index] = self._born(s.architectures[index]) if found.group.over else found.group
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
        dtype = next(self.rule.parameters()).dtype
        if task.x.dtype != dtype:
            task = task.to(dtype)
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


def _check_fit(rule: UpdateRule, settings: MetaTrainingSettings, distribution: DistributionSettings) -> None:
    """Refuse at once what would fail in the middle of a run."""
    if next(rule.parameters(), None) is None:
        raise ValueError(f"rule is a {type(rule).__name__}, which has no theta; allowed: a rule with parameters")
    if rule.needs_labels:
        raise ValueError(f"rule is a {type(rule).__name__}, which needs labels; allowed: an unsupervised rule")
    n = distribution.n_examples
    if settings.batch_size[1] > n:
        raise ValueError(f"batch_size is {settings.batch_size}; allowed: at most {n}, the examples of a task")
    most = n // distribution.n_classes // settings.labelled_batches
    if settings.labels_per_class > most:
        raise ValueError(
            f"labels_per_class is {settings.labels_per_class}; allowed: 1 .. {most}, since {n} examples in "
            f"{distribution.n_classes} classes must fill {settings.labelled_batches} labelled batches"
        )
