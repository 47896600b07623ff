"""How good a rule is on data held out from meta-training: the numbers runs and settings are chosen by."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from metarules._checks import check_fields, check_number, check_widths
from metarules._random import seeded
from metarules._workers import Workers
from metarules.base_model import WIDTHS, BaseModelState, forward_unchecked
from metarules.evaluation.baselines import baseline_features
from metarules.inner_loop import DivergenceError, start, unroll
from metarules.meta_objective import MetaObjectiveSettings, SingularError, one_hot, score_in_turn
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
    generator = seeded(seed)
    settings = settings or DistributionSettings()
    return {kind: validation_tasks(settings, n_tasks, generator, kind) for kind in settings.held_out}


@torch.no_grad()
def validate(
    rule: UpdateRule,
    task: Task,
    *,
    widths: Sequence[int] = WIDTHS,
    steps: int = 100,
    batch_size: int = 200,
    labels_per_class: int = 10,
    seed: int = 0,
    order: Callable[[Tensor], Tensor] | None = None,
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
        order: of a batch x [tasks, batch, n_0], the row numbers [tasks, batch] in which its examples come; by default
            as they were drawn, at random.

    Returns:
        Accuracy of each task [tasks]; chance for all where a base model diverged.

    Raises:
        ValueError: more examples wanted than the tasks have, numbers out of range, a rule of another dtype than task.x.
    """
    check_number("batch_size", batch_size, low=2, high=task.n_examples, integer=True)
    check_number("labels_per_class", labels_per_class, low=1, integer=True)
    check_widths("widths", tuple(widths))
    phi, _, generator = start(rule, task, sizes=(task.n_inputs, *widths), steps=steps, seed=seed)
    labelled = task.sample_labelled(labels_per_class, generator, N_SETS)
    try:
        drawn = (task.sample(batch_size, generator).x for _ in range(steps))
        if order is not None:
            drawn = (x.take_along_dim(order(x).unsqueeze(-1), -2) for x in drawn)
        phi = unroll(rule, phi, map(Batch, drawn))
        return few_shot(phi, labelled, task.n_classes)
    except (DivergenceError, SingularError):
        return torch.full(task.tasks, 1 / task.n_classes, dtype=task.x.dtype)


def validate_baseline(
    name: str, task: Task, *, widths: Sequence[int] = WIDTHS, labels_per_class: int = 10, seed: int = 0
) -> Tensor:
    """`validate` of one of `BASELINES`, read on the very examples that rules without `init_extra` are read on.

    Args:
        name: one that makes features. Task i has seed i.
        task: x [tasks, N, n_0].
        widths: of the base models.
        labels_per_class, seed: as for `validate`.

    Returns:
        Accuracy of each task [tasks].

    Raises:
        ValueError: as `baseline_features`; more examples wanted than the tasks have.
    """
    found = [baseline_features(name, x, seed=i, hidden=tuple(widths)) for i, x in enumerate(task.x)]
    features = Task(torch.stack(found), task.y, task.n_classes)
    generator = start(UpdateRule(), task, sizes=(task.n_inputs, *widths), seed=seed).generator
    labelled = features.sample_labelled(labels_per_class, generator, N_SETS)
    return few_shot_features(torch.cat([batch.x for batch in labelled], -2), labelled, task.n_classes)


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


def paired_by_kind(
    scores: Mapping[str, Tensor], others: Mapping[str, Tensor]
) -> tuple[dict[str, float], dict[str, float]]:
    """How far accuracies lie above others on the same held-out tasks.

    Args:
        scores, others: kind -> accuracy on each of its tasks [tasks], as `validate` gives them.

    Returns:
        Two dicts with a key for each kind and "mean", the mean over the kinds: the difference, and its paired standard
        error over tasks, which is nan where a kind has but one.
    """
    paired = {kind: (score - others[kind]).double() for kind, score in scores.items()}
    difference = {kind: float(d.mean()) for kind, d in paired.items()}
    stderr = {kind: float(d.std()) / len(d) ** 0.5 if len(d) > 1 else math.nan for kind, d in paired.items()}
    # the kinds' tasks are drawn apart, so the errors of their means add in squares
    difference["mean"] = sum(difference.values()) / len(paired)
    stderr["mean"] = sum(e**2 for e in stderr.values()) ** 0.5 / len(paired)
    return difference, stderr


@dataclass(frozen=True)
class JudgeSettings:
    """What `validate` is given."""

    tasks: int = N_TASKS  # tasks of each kind of held-out data
    widths: tuple[int, ...] = WIDTHS  # layers above the input: the net that rules are judged by on digits
    # layers of a second net, none for no second one; ours: rules of one setting differ most on wide nets
    wide: tuple[int, ...] = (128, 128, 32)
    steps: int = 100  # inner steps: what the card recommends
    batch_size: int = 200  # examples of an inner step: what the card recommends
    labels_per_class: int = 10  # labelled examples per class; paper: 10-shot
    seed: int = SEED  # of the tasks

    def __post_init__(self) -> None:
        check_fields(self, "tasks", "labels_per_class", low=1, integer=True)
        check_fields(self, "steps", "seed", low=0, integer=True)
        check_number("batch_size", self.batch_size, low=2, integer=True)
        check_widths("widths", self.widths)
        if self.wide:
            check_widths("wide", self.wide)


class Judge:
    """Held-out tasks, and what a rule makes of them on one net or two.

    Args:
        distribution: of the tasks.
        settings: see there.
        dtype, device: of the rules that will be judged.
        workers: threads in which the kinds of tasks are judged side by side; one, unless given.

    Attributes:
        tasks: kind -> held-out tasks.
        cases: what a rule is judged on: the kind, for the first net, and "kind_wide" for the second -> kind and net.

    Raises:
        ValueError: the tasks have too few examples for what is asked of them.
    """

    def __init__(
        self,
        distribution: DistributionSettings,
        settings: JudgeSettings | None = None,
        *,
        dtype: torch.dtype = torch.float32,
        device: torch.device | str = "cpu",
        workers: Workers | None = None,
    ) -> None:
        s = settings or JudgeSettings()
        self.workers = workers or Workers()
        n, per_class = distribution.n_examples, distribution.n_examples // distribution.n_classes
        if s.batch_size > n or s.labels_per_class * N_SETS > per_class:
            raise ValueError(
                f"batch_size and labels_per_class of the validation are {s.batch_size} and "
                f"{s.labels_per_class}; allowed: up to {n} and {per_class // N_SETS} (n_examples, n_classes)"
            )
        tasks = held_out(distribution, s.tasks, s.seed)
        self.tasks = {kind: task.to(device=device, dtype=dtype) for kind, task in tasks.items()}
        self.cases = {kind: (kind, s.widths) for kind in tasks}
        if s.wide:
            self.cases |= {f"{kind}_wide": (kind, s.wide) for kind in tasks}
        self.how = {name: getattr(s, name) for name in ("steps", "batch_size", "labels_per_class")}

    def __call__(self, rule: UpdateRule) -> dict[str, Tensor]:
        """Accuracy of each task [tasks], by case."""
        return dict(zip(self.cases, self.workers.map(lambda case: self.score(rule, case), self.cases), strict=True))

    def score(self, rule: UpdateRule, case: str) -> Tensor:
        """Accuracy of each task [tasks] in one of `cases`."""
        kind, widths = self.cases[case]
        return validate(rule, self.tasks[kind], widths=widths, **self.how)
