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
from metarules.inner_loop import check_finite
from metarules.meta_objective import one_hot, prepared_features, score_prepared
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


def draw_integer(low: int, high: int, generator: torch.Generator, *, log: bool = False) -> int:
    """A whole number in low .. high, uniform or log-uniform."""
    share = float(torch.rand((), generator=generator, dtype=torch.float64))
    if log:
        drawn = int(math.exp(math.log(low) + share * (math.log(high + 1) - math.log(low))))
        return min(high, max(low, drawn))  # exp(log(low)) may lie a rounding below low
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

    Raises:
        DivergenceError: phi stopped being finite.
    """
    length = min(draw_integer(*settings.truncation, generator), group.horizon - group.step)
    phi = group.phi
    losses = []
    for t in range(1, length + 1):
        batch = Batch(group.task.sample(group.batch_size, generator).x)
        phi = check_finite(rule.step(phi, batch), phi, group.step + t)
        if t == length or t % settings.objective_every == 0:
            losses.append(look(phi, group.task, settings, generator).mean())
    return torch.stack(losses).mean(), replace(group, phi=phi.detach(), step=group.step + length)


def look(phi: BaseModelState, task: Task, settings: MetaTrainingSettings, generator: torch.Generator) -> Tensor:
    """The meta-objective of each particle [particles].

    Several labelled batches pass through together (shared batch statistics); each is fitted in turn and scored on all
    the others, which takes out most of the noise of the labels' draw for the price of a few small solves.
    """
    batches = task.sample_labelled(settings.labels_per_class, generator, settings.labelled_batches)
    s, k = settings.objective, len(batches)
    features = forward_unchecked(phi, torch.cat([batch.x for batch in batches], -2)).features
    labels = torch.cat([batch.y for batch in batches if batch.y is not None], -1)
    features, targets = prepared_features(features, s), one_hot(labels, task.n_classes, features.dtype)
    (f_a, f_b), (y_a, y_b) = (_in_turn(rows, k) for rows in (features, targets))
    return score_prepared(f_a, y_a, f_b, y_b, s).loss.mean(0)


def _in_turn(rows: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """Rows of k batches [particles, k n, f] as each batch in turn [k, particles, n, f] and, to each, all the others."""
    parts = rows.chunk(k, -2)
    others = [torch.cat([*parts[:i], *parts[i + 1 :]], -2) for i in range(k)]
    return torch.stack(parts), torch.stack(others)
