"""Truncated unrolls: groups of base models, carried from one truncation to the next until they start anew.

A group of particles shares one net and one form of task. What it starts from follows from its numbers alone: which net,
how many particles, which tasks, how long. Breadth of data and of nets is what keeps a rule from over-fitting (README,
Sources); the paper samples both for every particle.

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
from metarules.meta_training.randomness import draw_integer, generator_for
from metarules.meta_training.settings import MetaTrainingSettings
from metarules.tasks import Task
from metarules.tasks.distribution import DistributionSettings, draw_form, draw_tasks
from metarules.update_rule import Batch, UpdateRule

WIDTH_UNIT = 8  # hidden widths are multiples of it where the range allows: what matrix products like
PAIRS_PER_UNIT = 25.0  # pairs of units cost as much as one unit's update network: ours, LocalRule at batches of 200
MOST_PARTICLES = 4  # times the usual number, for the smallest nets: their data must be rendered too


@dataclass(frozen=True)
class Opposite:
    """What `estimators.pes` carries through an unroll besides the phi under theta + noise."""

    phi: BaseModelState  # the base models under theta - noise [particles]
    noise: dict[str, Tensor]  # sum of all noise of this unroll, by parameter name


@dataclass(frozen=True)
class Group:
    """Particles of one net that are unrolled together."""

    phi: BaseModelState  # their base models [particles]
    task: Task  # their data [particles, N, n_0]
    number: int  # how often this group has started anew
    step: int  # inner steps so far
    horizon: int  # inner steps after which it starts anew
    batch_size: int  # examples of each inner step in this unroll
    opposite: Opposite | None = None  # see there; None for the other estimators, and at the start

    @property
    def over(self) -> bool:
        """True when the horizon is reached."""
        return self.step >= self.horizon


def draw_group(
    index: int,
    number: int,
    settings: MetaTrainingSettings,
    distribution: DistributionSettings,
    rule: UpdateRule | None = None,
    *,
    dtype: torch.dtype = torch.float32,
    device: torch.device | str = "cpu",
) -> Group:
    """A group at its start, a function of its numbers and the seed alone.

    Args:
        index: which of the groups, 0 .. groups - 1.
        number: 0 for its first unroll, which is cut short at random, so that groups fall out of step.
        settings, distribution: of the run.
        rule: whose `init_extra` adds to phi; None adds nothing.
        dtype, device: of phi and the task.
    """
    generator = generator_for(settings.seed, "life", index, number)
    form = draw_form(distribution, generator)
    widths = draw_widths(settings, generator)
    n = particles_for((form.n_inputs, *widths), settings)
    task = draw_tasks(distribution, form, n, generator).to(device=device, dtype=dtype)
    return start_group(widths, task, settings, generator, number, rule)


def start_group(
    widths: tuple[int, ...],
    task: Task,
    settings: MetaTrainingSettings,
    generator: torch.Generator,
    number: int = 1,
    rule: UpdateRule | None = None,
) -> Group:
    """A group on `task`, its base models drawn anew; number 0 has its horizon shortened at random."""
    phi = init_state(
        (task.x.shape[-1], *widths),
        tasks=task.x.shape[:1],
        settings=InitSettings(bias_std=0.0),
        generator=generator,
        dtype=task.x.dtype,
    )
    horizon = draw_integer(*settings.horizon, generator, log=True)
    if number == 0:
        horizon = draw_integer(settings.truncation[0], max(horizon, settings.truncation[0]), generator)
    batch_size = draw_integer(*settings.batch_size, generator)
    if rule is not None:
        phi = rule.init_extra(phi, generator).detach()  # what starts from theta is no part of a truncation's graph
    return Group(phi.to(task.x.device), task, number, 0, horizon, batch_size)


def draw_widths(settings: MetaTrainingSettings, generator: torch.Generator) -> tuple[int, ...]:
    """Widths of a net's layers above the input: the usual net, or depth and every width drawn for themselves."""
    s = settings
    usual = float(torch.rand((), generator=generator)) < s.usual_net_share
    depth = draw_integer(*s.depth, generator)
    drawn = [_width(s.width, generator) for _ in range(depth - 1)] + [_width(s.top, generator)]
    return s.usual_net if usual else tuple(drawn)


def particles_for(sizes: tuple[int, ...], settings: MetaTrainingSettings) -> int:
    """How many base models of these sizes (input included) cost what `settings.particles` of the usual ones cost."""
    share = _cost((64, *settings.usual_net)) / _cost(sizes)
    return max(1, min(MOST_PARTICLES * settings.particles, round(settings.particles * share)))


def _cost(sizes: tuple[int, ...]) -> float:
    """Of an inner step, in units of one base model's neuron: update networks by neuron, weights by pair of neurons."""
    return sum(sizes) + sum(a * b for a, b in zip(sizes, sizes[1:], strict=False)) / PAIRS_PER_UNIT


def _width(span: tuple[int, int], generator: torch.Generator) -> int:
    width = draw_integer(*span, generator, log=True)
    return max(span[0], width // WIDTH_UNIT * WIDTH_UNIT)


class _Drawn(NamedTuple):
    """The data of one inner step: its batch and, where the meta-objective is evaluated, its labelled batches."""

    batch: Batch
    labelled: Sequence[Batch] | None


def truncated_loss(
    rule: UpdateRule, group: Group, settings: MetaTrainingSettings, generator: torch.Generator
) -> tuple[Tensor, Group]:
    """Unroll a group for a sampled number of steps and take the meta-objective along the way.

    Returns:
        The mean meta-objective over its evaluations and particles, with its graph back to theta; and the group as it
        then stands, cut off from the graph.

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
    evaluations = sum(step.labelled is not None for step in steps)
    return total / evaluations, replace(group, phi=phi.detach(), step=group.step + length)


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
