"""A truncation and its looks at the meta-objective, as the foundation had them (commit 6346ab1)."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from metarules.base_model import BaseModelState, forward_unchecked
from metarules.inner_loop import check_finite
from metarules.meta_objective import one_hot, ridge_cosine_score
from metarules.meta_training import MetaTrainingSettings
from metarules.meta_training.randomness import draw_integer
from metarules.meta_training.unrolls import Group
from metarules.tasks import Task
from metarules.update_rule import Batch, UpdateRule


def truncated_loss(
    rule: UpdateRule, group: Group, settings: MetaTrainingSettings, generator: torch.Generator
) -> tuple[Tensor, Group]:
    """As `metarules.meta_training.unrolls.truncated_loss`."""
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
    """As `metarules.meta_training.unrolls.look`: every batch in turn gets a copy of all features."""
    batches = task.sample_labelled(settings.labels_per_class, generator, settings.labelled_batches)
    n, k = batches[0].x.shape[-2], len(batches)
    features = forward_unchecked(phi, torch.cat([batch.x for batch in batches], -2)).features
    labels = torch.cat([batch.y for batch in batches if batch.y is not None], -1)
    targets = one_hot(labels, task.n_classes, features.dtype)
    rolled = [(torch.roll(features, -i * n, -2), torch.roll(targets, -i * n, -2)) for i in range(k)]
    f, y = (torch.stack(parts) for parts in zip(*rolled, strict=True))
    score = ridge_cosine_score(f[..., :n, :], y[..., :n, :], f[..., n:, :], y[..., n:, :], settings.objective)
    return score.loss.mean(0)
