"""How good a rule is on data held out from meta-training: the numbers runs and settings are chosen by."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from metarules._checks import check_number
from metarules.base_model import BaseModelState, InitSettings, forward_unchecked, init_state
from metarules.inner_loop import DivergenceError, unroll
from metarules.meta_objective import MetaObjectiveSettings, one_hot, score_in_turn
from metarules.tasks import Task
from metarules.tasks.distribution import DistributionSettings, validation_tasks
from metarules.update_rule import Batch, UpdateRule

KINDS = ("glyphs", "decoders")  # of held-out data that every rule is judged on: letters and fonts, decoder families
N_TASKS = 16  # ours: standard error of the mean accuracy about 0.02, less for two rules compared
SEED = 20_000  # ours: far from any seed a user picks for training
_OBJECTIVE = MetaObjectiveSettings(ridge=3.0, standardise_features=True)
N_SETS = 6  # labelled batches drawn; each is fitted in turn, and the others are scored


def held_out(settings: DistributionSettings | None = None, n_tasks: int = N_TASKS, seed: int = SEED) -> dict[str, Task]:
    """The held-out tasks rules are judged on, the same for the same arguments.

    Args:
        settings: as for training.
        n_tasks: of each kind.
        seed: of data and permutations.

    Returns:
        kind (`settings.held_out`) -> tasks [n_tasks, N, n_0].

    Raises:
        TypeError, ValueError: n_tasks is no whole number from 1, seed none from 0.
    """
    check_number("seed", seed, low=0, high=2**63 - 1, integer=True)
    generator = torch.Generator().manual_seed(seed)
    settings = settings or DistributionSettings()
    return {kind: validation_tasks(settings, n_tasks, generator, kind) for kind in settings.held_out}


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
        labels_per_class: labelled examples of each class to fit; five times as many others are scored, in six turns.
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
    return few_shot(phi, labelled, task.n_classes)


def few_shot(phi: BaseModelState, labelled: Sequence[Batch], n_classes: int) -> Tensor:
    """Accuracy of ridge regressions on the top layer: each labelled batch is fitted in turn and scored on the others.

    Args:
        phi: base models with leading dimensions [*tasks].
        labelled: two or more batches of one size, x [*tasks, n, n_0] and y [*tasks, n], as `Task.sample_labelled`
            draws them. The top layer's batch statistics are taken over all of them.
        n_classes: number of classes.

    Returns:
        Accuracy of each task [*tasks].

    Raises:
        ValueError: fewer than two batches, or one without labels.
    """
    x = torch.cat([batch.x for batch in labelled], -2)
    return few_shot_features(forward_unchecked(phi, x).features, labelled, n_classes)


def few_shot_features(features: Tensor, labelled: Sequence[Batch], n_classes: int) -> Tensor:
    """`few_shot` of any representation.

    Args:
        features: of the labelled batches, one after the other [*tasks, batches x n, f].
        labelled: the batches, of which y alone is read.
        n_classes: number of classes.

    Returns, Raises: as `few_shot`.
    """
    if len(labelled) < 2:
        raise ValueError(f"labelled holds {len(labelled)} batch(es); allowed: one to fit and at least one to score")
    targets = [one_hot(batch.y, n_classes, features.dtype) for batch in labelled if batch.y is not None]
    if len(targets) < len(labelled):
        raise ValueError("labelled holds a batch with y None; allowed: batches with labels")
    return score_in_turn(features, torch.cat(targets, -2), len(labelled), _OBJECTIVE).accuracy_b.mean(0)
