"""The outer loop: theta follows the gradient of the meta-objective through truncated unrolls of many particles.

Source: Metz et al., ICLR 2019, sections 3.3 and 4; what we know about doing it on a laptop: CONTRIBUTING, Sources.
"""

from __future__ import annotations

import copy
import math
from dataclasses import dataclass

import torch
from torch import Tensor

from metarules._arguments import plain_torch
from metarules._threads import few_threads
from metarules._workers import Workers
from metarules.inner_loop import DivergenceError, step_work
from metarules.meta_objective import SingularError
from metarules.meta_training.estimators import ESTIMATORS, MetaGradient
from metarules.meta_training.randomness import generator_for
from metarules.meta_training.ranks import Ranks
from metarules.meta_training.settings import MetaTrainingSettings
from metarules.meta_training.unrolls import Group, draw_group
from metarules.tasks.distribution import DistributionSettings
from metarules.update_rule import UpdateRule


@dataclass(frozen=True)
class MetaStep:
    """What one update of theta reports.

    Attributes:
        number: meta-steps taken, this one included.
        loss: the meta-objective, averaged over groups, particles and its evaluations; NaN where a base model diverged.
        gradient_norm: of a group's meta-gradient before clipping, mean over groups.
        learning_rate: AdamW's in this step.
        skipped: True where loss or meta-gradient was not finite, and theta was left alone.
        skipped_so_far: meta-steps of the run of which that is so.
    """

    number: int
    loss: float
    gradient_norm: float
    learning_rate: float
    skipped: bool
    skipped_so_far: int = 0


class MetaTrainer:
    """Everything that changes while a rule is meta-trained, and the one step that changes it.

    Args:
        rule: an unsupervised rule with theta, such as `LocalRule`; base models and tasks follow its dtype and device.
        settings: of the outer loop.
        distribution: of the tasks.
        ranks: the processes that share the work; one, unless given. Each keeps the groups that are its own, all keep
            the same theta.
        workers: threads in which this process's groups of a step are worked on side by side; one, unless given.

    Raises:
        ValueError: a rule that has no theta or needs labels; batches that a task has too few examples for; groups that
            cannot be shared evenly.

    Attributes:
        rule: the rule; its theta is updated in place.
        average: exponential average of theta, by parameter name: what is shipped.
        optimiser: AdamW over theta.
        groups: this process's groups, by their index among all `settings.groups`.
        number: meta-steps taken.
        skipped: meta-gradients that were not finite and were not used.
    """

    def __init__(
        self,
        rule: UpdateRule,
        settings: MetaTrainingSettings | None = None,
        distribution: DistributionSettings | None = None,
        ranks: Ranks | None = None,
        workers: Workers | None = None,
    ) -> None:
        self.rule = rule
        self.settings = settings or MetaTrainingSettings()
        self.distribution = distribution or DistributionSettings()
        self.ranks = ranks or Ranks()
        self.workers = workers or Workers()
        _check_fit(rule, self.settings, self.distribution, self.ranks)
        self.average = {name: p.detach().clone() for name, p in rule.named_parameters()}
        self.optimiser = torch.optim.AdamW(
            rule.parameters(), lr=self.settings.learning_rate, weight_decay=self.settings.weight_decay
        )
        self.number = 0
        self.skipped = 0
        s = self.settings
        mine = [i for i in range(s.groups) if self.ranks.handles(i % s.groups_per_step, s.groups_per_step)]
        self.groups = {i: self.new_group(i, 0) for i in mine}

    @plain_torch()
    def step(self) -> MetaStep:
        """One update of theta from the next groups in turn.

        Groups whose horizon is reached, or whose base models diverged, start anew. A meta-gradient that is not
        finite is counted and thrown away.

        Raises:
            RankError: another process of the run has ended.
        """
        s = self.settings
        work = step_work(self.rule, s.usual_net, s.batch_size[1], s.particles)
        with few_threads(work):
            return self._step()

    def _step(self) -> MetaStep:
        s = self.settings
        theta = dict(self.rule.named_parameters())
        gradient = {name: torch.zeros_like(p) for name, p in theta.items()}
        total = norm = 0.0
        turns = [(self.number * s.groups_per_step + place) % s.groups for place in range(s.groups_per_step)]
        mine = [index for index in turns if index in self.groups]
        for index, found in zip(mine, self.workers.map(self._truncation, mine), strict=True):
            group = self.groups[index]
            if found is None:
                total = float("nan")
                self.groups[index] = self.new_group(index, group.number + 1)
                continue
            size = float(torch.stack([part.norm() for part in found.gradient.values()]).norm())
            share = min(1.0, s.clip / size) if size > 0 else 1.0
            for name, part in found.gradient.items():
                gradient[name] += part * (share / s.groups_per_step)
            total += found.loss / s.groups_per_step
            norm += size / s.groups_per_step
            self.groups[index] = self.new_group(index, group.number + 1) if found.group.over else found.group
        total, norm = self._summed(gradient, total, norm)
        for name, p in theta.items():
            p.grad = gradient[name] if p.requires_grad else None  # AdamW would let the others decay
        rate = self._learning_rate()
        usable = math.isfinite(norm) and math.isfinite(total)
        if usable:
            for of in self.optimiser.param_groups:
                of["lr"] = rate
            self.optimiser.step()
        else:
            self.skipped += 1
        self.number += 1
        self._update_average()
        return MetaStep(self.number, total, norm, rate, not usable, self.skipped)

    def _truncation(self, index: int) -> MetaGradient | None:
        """What the next truncation of a group says about theta; None where phi stopped being finite or fit to solve."""
        s, group = self.settings, self.groups[index]
        rule = self.rule if s.estimator == "backprop" else copy.deepcopy(self.rule)  # es and pes move theta meanwhile
        where = generator_for(s.seed, "truncation", index, group.number, group.step)
        try:
            return ESTIMATORS[s.estimator](rule, group, s, where)
        except (DivergenceError, SingularError):
            return None

    def new_group(self, index: int, number: int) -> Group:
        """Group `index` at the start of its unroll number `number`."""
        theta = next(self.rule.parameters())
        s, dtype, device = self.settings, theta.dtype, theta.device
        return draw_group(index, number, s, self.distribution, self.rule, dtype=dtype, device=device)

    def _summed(self, gradient: dict[str, Tensor], *numbers: float) -> tuple[float, ...]:
        """Add up gradients (in place) and some numbers over all processes, in one message."""
        if self.ranks.size == 1:
            return numbers
        first = next(iter(gradient.values()))
        parts = [*(g.flatten().double() for g in gradient.values()), first.new_tensor(numbers, dtype=torch.float64)]
        *sums, last = self.ranks.sum(torch.cat(parts)).split([p.numel() for p in parts])
        for g, found in zip(gradient.values(), sums, strict=True):
            g.copy_(found.view_as(g))
        return tuple(last.tolist())

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


def _check_fit(
    rule: UpdateRule, settings: MetaTrainingSettings, distribution: DistributionSettings, ranks: Ranks
) -> None:
    """Refuse at once what would fail in the middle of a run."""
    if next(rule.parameters(), None) is None:
        raise ValueError(f"rule is a {type(rule).__name__}, which has no theta; allowed: a rule with parameters")
    if rule.needs_labels:
        raise ValueError(f"rule is a {type(rule).__name__}, which needs labels; allowed: an unsupervised rule")
    if settings.groups_per_step % ranks.size:
        raise ValueError(
            f"groups_per_step is {settings.groups_per_step}; allowed: a multiple of the {ranks.size} processes"
        )
    n = distribution.n_examples
    if settings.batch_size[1] > n:
        raise ValueError(f"batch_size is {settings.batch_size}; allowed: at most {n}, the examples of a task")
    usual, broad = distribution.n_classes, distribution.class_range[1]
    classes = usual if distribution.usual_share == 1 else max(usual, broad)
    most = n // classes // settings.labelled_batches
    if settings.labels_per_class > most:
        raise ValueError(
            f"labels_per_class is {settings.labels_per_class}; allowed: 1 .. {most}, since {n} examples in "
            f"{classes} classes must fill {settings.labelled_batches} labelled batches"
        )


def averaged_rule(trainer: MetaTrainer) -> UpdateRule:
    """A rule of its own with the trainer's averaged theta."""
    rule = copy.deepcopy(trainer.rule)
    rule.load_state_dict(trainer.average, strict=False)  # buffers, where a rule has some, are no theta
    return rule
