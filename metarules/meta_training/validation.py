"""How good a rule is on data held out from meta-training: the numbers runs and settings are chosen by."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from metarules._checks import check_number
from metarules.base_model import InitSettings, forward_unchecked, init_state
from metarules.inner_loop import DivergenceError, unroll
from metarules.meta_objective import MetaObjectiveSettings, one_hot, ridge_cosine_score
from metarules.tasks import Task
from metarules.update_rule import Batch, UpdateRule

_OBJECTIVE = MetaObjectiveSettings(ridge=3.0, standardise_features=True)
N_SETS = 6  # labelled batches drawn; one is fitted, the others are scored


@torch.no_grad()
def validate(
    rule: UpdateRule,
    task: Task,
    *,
    widths: Sequence[int] = (32, 32, 32),
    steps: int = 100,
    batch_size: int = 200,
    labels_per_class: int = 10,
    seed: int = 0,
) -> Tensor:
    """Few-shot accuracy of a rule on held-out tasks, each with a base model of its own.

    Features are standardised over all labelled examples and classified by ridge regression (lambda 3). The same seed
    gives the same base models, batches and labels, so that two rules can be compared task by task.

    Args:
        rule: the rule.
        task: x [tasks, N, n_0].
        widths: of the base models' layers above the input.
        steps, batch_size: of the inner loop.
        labels_per_class: labelled examples of each class to fit; five times as many others are scored.
        seed: of everything random.

    Returns:
        Accuracy of each task [tasks]; chance for all where a base model diverged.

    Raises:
        ValueError: more examples wanted than the tasks have, numbers out of range, a rule of another dtype than task.x.
        TypeError: arguments of the wrong type.
    """
    check_number("steps", steps, low=0, integer=True)
    check_number("batch_size", batch_size, low=2, high=task.n_examples, integer=True)
    generator = torch.Generator().manual_seed(seed)
    phi = init_state(
        (task.n_inputs, *widths),
        tasks=task.tasks,
        settings=InitSettings(bias_std=0.0),
        generator=generator,
        dtype=task.x.dtype,
    )
    labelled = task.sample_labelled(labels_per_class, generator, N_SETS)
    try:
        phi = unroll(rule, phi, (Batch(task.sample(batch_size, generator).x) for _ in range(steps)))
    except DivergenceError:
        return torch.full(task.tasks, 1 / task.n_classes, dtype=task.x.dtype)
    features = forward_unchecked(phi, torch.cat([batch.x for batch in labelled], -2)).features
    targets = [one_hot(batch.y, task.n_classes, features.dtype) for batch in labelled if batch.y is not None]
    n = labels_per_class * task.n_classes
    score = ridge_cosine_score(
        features[..., :n, :], targets[0], features[..., n:, :], torch.cat(targets[1:], -2), _OBJECTIVE
    )
    return score.accuracy_b
