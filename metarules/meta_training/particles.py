"""Persistent particles: groups of base models in the middle of their lives, carried from one truncation to the next.

Source: Metz et al., ICLR 2019, section 4 and appendix: phi is carried into the next truncated unroll; unroll length and
total number of inner steps are both sampled, which limits truncation bias.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from metarules.base_model import BaseModelState, InitSettings, forward_unchecked, init_state
from metarules.meta_objective import one_hot, ridge_cosine_loss
from metarules.meta_training.settings import MetaTrainingSettings
from metarules.tasks import Task
from metarules.update_rule import Batch, UpdateRule


@dataclass(frozen=True)
class Group:
    """Particles of one architecture that live and die together.

    Attributes:
        phi: their base models [particles].
        task: their data [particles, N, n_0], or None before their first life.
        step: inner steps lived.
        horizon: inner steps at which they are born anew.
        batch_size: examples of each inner step in this life.
    """

    phi: BaseModelState
    task: Task
    step: int
    horizon: int
    batch_size: int

    @property
    def over(self) -> bool:
        """True when this life has ended."""
        return self.step >= self.horizon


def draw_integer(low: int, high: int, generator: torch.Generator, *, log: bool = False) -> int:
    """A whole number in low .. high, uniform or log-uniform."""
    share = float(torch.rand((), generator=generator, dtype=torch.float64))
    if log:
        return min(high, int(math.exp(math.log(low) + share * (math.log(high + 1) - math.log(low)))))
    return min(high, low + int(share * (high - low + 1)))


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
    return Group(phi, task, 0, horizon, draw_integer(*settings.batch_size, generator))


def truncated_loss(
    rule: UpdateRule, group: Group, settings: MetaTrainingSettings, generator: torch.Generator
) -> tuple[Tensor, Group]:
    """Unroll a group for a sampled number of steps and take the meta-objective along the way.

    Returns:
        The mean meta-objective over looks and particles, with its graph back to theta; and the group as it then stands,
        cut off from the graph.
    """
    length = min(draw_integer(*settings.truncation, generator), group.horizon - group.step)
    phi = group.phi
    losses = []
    for t in range(1, length + 1):
        phi = rule.step(phi, Batch(group.task.sample(group.batch_size, generator).x))
        if t == length or t % settings.objective_every == 0:
            losses.append(look(phi, group.task, settings, generator).mean())
    return torch.stack(losses).mean(), replace(group, phi=phi.detach(), step=group.step + length)


def look(phi: BaseModelState, task: Task, settings: MetaTrainingSettings, generator: torch.Generator) -> Tensor:
    """The meta-objective of each particle [particles]; its two labelled batches share their batch statistics."""
    a, b = task.sample_labelled(settings.labels_per_class, generator, 2)
    n_a = a.x.shape[-2]
    features = forward_unchecked(phi, torch.cat([a.x, b.x], -2)).features
    y_a, y_b = (one_hot(batch.y, task.n_classes, features.dtype) for batch in (a, b) if batch.y is not None)
    s = settings.objective
    return ridge_cosine_loss(
        features[..., :n_a, :],
        y_a,
        features[..., n_a:, :],
        y_b,
        s.ridge,
        standardise_features=s.standardise_features,
        centre_targets=s.centre_targets,
        normalise_predictions=s.normalise_predictions,
        normalise_features=s.normalise_features,
        hinge=s.hinge,
        train_share=s.train_share,
    )
