"""Persistent particles: groups of base models in the middle of their lives, carried from one truncation to the next.

Source: Metz et al., ICLR 2019, section 4 and appendix: phi is carried into the next truncated unroll; unroll length and
total number of inner steps are both sampled, which limits truncation bias.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from metarules.base_model import BaseModelState, InitSettings, forward_unchecked, init_state
from metarules.inner_loop import check_finite
from metarules.meta_objective import MetaObjectiveSettings, one_hot, score_in_turn
from metarules.meta_training.randomness import draw_integer
from metarules.meta_training.settings import MetaTrainingSettings
from metarules.tasks import Task
from metarules.update_rule import Batch, UpdateRule


@dataclass(frozen=True)
class Twins:
    """What `estimators.pes` carries through a life besides phi, which lives under theta + noise.

    Attributes:
        other: the base models that live under theta - noise [particles].
        noise: sum of all noise of this life, by parameter name.
    """

    other: BaseModelState
    noise: dict[str, Tensor]


@dataclass(frozen=True)
class Group:
    """Particles of one architecture that live and die together.

    Attributes:
        phi: their base models [particles].
        task: their data [particles, N, n_0].
        step: inner steps lived.
        horizon: inner steps at which they are born anew.
        batch_size: examples of each inner step in this life.
        twins: see there; None for the other estimators, and at birth.
    """

    phi: BaseModelState
    task: Task
    step: int
    horizon: int
    batch_size: int
    twins: Twins | None = None

    @property
    def over(self) -> bool:
        """True when this life has ended."""
        return self.step >= self.horizon


def birth(
    widths: tuple[int, ...],
    task: Task,
    settings: MetaTrainingSettings,
    generator: torch.Generator,
    *,
    age: bool = False,
) -> Group:
    """A new group on `task`; with `age` its first life is shortened at random, so that groups fall out of step."""
    phi = init_state(
        (task.x.shape[-1], *widths),
        tasks=task.x.shape[:1],
        settings=InitSettings(bias_std=0.0),
        generator=generator,
        dtype=task.x.dtype,
    )
    horizon = draw_integer(*settings.horizon, generator, log=True)
    if age:
        horizon = draw_integer(settings.truncation[0], max(horizon, settings.truncation[0]), generator)
    return Group(phi.to(task.x.device), task, 0, horizon, draw_integer(*settings.batch_size, generator))


class _Drawn(NamedTuple):
    """The data of one inner step: its batch and, where the meta-objective looks, its labelled batches."""

    batch: Batch
    labelled: Sequence[Batch] | None


def truncated_loss(
    rule: UpdateRule, group: Group, settings: MetaTrainingSettings, generator: torch.Generator
) -> tuple[Tensor, Group]:
    """Unroll a group for a sampled number of steps and take the meta-objective along the way.

    Returns:
        The mean meta-objective over looks and particles, with its graph back to theta; and the group as it then stands,
        cut off from the graph.

    Raises:
        DivergenceError: phi stopped being finite.
    """
    s = settings
    length = min(draw_integer(*s.truncation, generator), group.horizon - group.step)
    steps = []
    for t in range(1, length + 1):
        batch = Batch(group.task.sample(group.batch_size, generator).x)
        due = t == length or t % s.objective_every == 0
        steps.append(_Drawn(batch, _labelled(group.task, s, generator) if due else None))
    phi, total = group.phi, torch.zeros((), dtype=group.phi.dtype, device=group.phi.device)
    size = s.checkpoint_every if s.checkpoint_every and torch.is_grad_enabled() else length
    for start in range(0, length, size):
        done, part = group.step + start, steps[start : start + size]
        if size < length:
            made = checkpoint(
                _advance, rule, phi, part, done, group.task.n_classes, s, use_reentrant=False, preserve_rng_state=False
            )
        else:
            made = _advance(rule, phi, part, done, group.task.n_classes, s)
        phi, total = made[0], total + made[1]
    looks = sum(step.labelled is not None for step in steps)
    return total / looks, replace(group, phi=phi.detach(), step=group.step + length)


def _advance(
    rule: UpdateRule,
    phi: BaseModelState,
    steps: Sequence[_Drawn],
    done: int,
    n_classes: int,
    settings: MetaTrainingSettings,
) -> tuple[BaseModelState, Tensor]:
    """phi after some inner steps, and the sum of what the meta-objective said of them, mean over particles."""
    losses = []
    for t, drawn in enumerate(steps, start=done + 1):
        phi = check_finite(rule.step(phi, drawn.batch), phi, t)
        if drawn.labelled is not None:
            losses.append(_score(phi, drawn.labelled, n_classes, settings).mean())
    return phi, torch.stack(losses).sum() if losses else torch.zeros((), dtype=phi.dtype, device=phi.device)


def look(phi: BaseModelState, task: Task, settings: MetaTrainingSettings, generator: torch.Generator) -> Tensor:
    """The meta-objective of each particle [particles].

    Several labelled batches pass through together (shared batch statistics); each is fitted in turn and scored on all
    the others, which takes out most of the noise of the labels' draw for the price of a few small solves.
    """
    return _score(phi, _labelled(task, settings, generator), task.n_classes, settings)


def _labelled(task: Task, settings: MetaTrainingSettings, generator: torch.Generator) -> Sequence[Batch]:
    return task.sample_labelled(settings.labels_per_class, generator, settings.labelled_batches)


def _score(phi: BaseModelState, batches: Sequence[Batch], n_classes: int, settings: MetaTrainingSettings) -> Tensor:
    s = settings.objective
    features = forward_unchecked(phi, torch.cat([batch.x for batch in batches], -2)).features
    labels = torch.cat([batch.y for batch in batches if batch.y is not None], -1)
    loss = score_in_turn(features, one_hot(labels, n_classes, features.dtype), len(batches), s).loss.mean(0)
    targets = [batch.targets for batch in batches if batch.targets is not None]
    if settings.regression and targets:
        errors = score_in_turn(features, torch.cat(targets, -2), len(batches), _for_regression(s)).loss
        loss = loss + settings.regression * errors.mean(0)
    return loss


def _for_regression(objective: MetaObjectiveSettings) -> MetaObjectiveSettings:
    """Real-valued targets have no classes to tell apart: a plain squared error, 1 for a guess at the mean."""
    return replace(objective, normalise_predictions=False, logit_scale=0.0, hinge=False)
