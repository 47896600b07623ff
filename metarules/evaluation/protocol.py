"""From a rule to accuracies: base models learn on a data set without labels, and the probe reads their top layer.

All base models of a method learn at once, as leading task dimensions; each has its own order of the inputs. Initial
weights, orders, batches and splits depend on the seed alone, so methods can be compared pair by pair.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from metarules._checks import check_choice, check_fields, check_number, check_tensor, check_widths
from metarules._threads import few_threads
from metarules.base_model import NONLINEARITIES, WIDTHS, BaseModelState, forward
from metarules.evaluation.baselines import BASELINES, baseline_features, baseline_guesses
from metarules.evaluation.probe import (
    LABELS_PER_CLASS,
    N_SPLITS,
    Splits,
    few_shot_accuracy,
    probe_splits,
    split_accuracy,
)
from metarules.evaluation.results import Result, make_result
from metarules.inner_loop import DivergenceError, learn, start
from metarules.tasks import Dataset, Task, make_task
from metarules.update_rule import UpdateRule


@dataclass(frozen=True)
class Protocol:
    """The settings every method of one table shares (the package's fixed protocol unless said otherwise)."""

    hidden: tuple[int, ...] = WIDTHS  # layer widths above the input
    labels_per_class: int = LABELS_PER_CLASS
    n_splits: int = N_SPLITS
    n_models: int = 4  # base models, each with its own initial weights and order of inputs
    seed: int = 0  # of models, orders, batches and splits
    nonlinearity: str = "relu"  # of the base models that a rule teaches; the baselines' own nets are ReLU nets

    def __post_init__(self) -> None:
        check_widths("hidden", self.hidden)
        check_fields(self, "labels_per_class", "n_models", low=1, integer=True)
        check_number("n_splits", self.n_splits, low=2, integer=True)  # one alone has no standard error
        check_number("seed", self.seed, low=0, high=2**31, integer=True)
        check_choice("nonlinearity", self.nonlinearity, NONLINEARITIES)


@torch.no_grad()
def learned_state(
    rule: UpdateRule,
    task: Task,
    *,
    sizes: Sequence[int] | None = None,
    steps: int | None = None,
    batch_size: int | None = None,
    nonlinearity: str = "relu",
    seed: int = 0,
) -> BaseModelState:
    """Draw base models and let a rule teach them on a task.

    Args:
        rule: any rule; one with `needs_labels` is given the task's.
        task: data [*tasks, N, n_0]; one base model for each task.
        sizes, steps, batch_size, nonlinearity, seed: as for `start`.

    Returns:
        phi after the last step, with the task's leading dimensions.

    Raises:
        DivergenceError: phi stopped being finite.
        ValueError: settings out of range.
    """
    phi, how, generator = start(
        rule, task, sizes=sizes, steps=steps, batch_size=batch_size, nonlinearity=nonlinearity, seed=seed
    )
    return learn(rule, phi, task, steps=how.steps, batch_size=how.batch_size, generator=generator).state


@torch.no_grad()
def layer_accuracies(phi: BaseModelState, x: Tensor, labels: Tensor, n_splits: int = N_SPLITS) -> Tensor:
    """Few-shot accuracy of the inputs and of every layer of base models, as they stand.

    Args:
        phi: base models.
        x: all examples, [*tasks, N, n_0]; batch statistics are taken over them.
        labels: class numbers [N].
        n_splits: draws of the labelled examples, as for `probe_splits`.

    Returns:
        Accuracies [L + 1, *tasks, n_splits]: the inputs, layer 1, .., the top layer.

    Raises:
        TypeError, ValueError: as `forward` and `few_shot_accuracy`.
    """
    splits = probe_splits(labels, LABELS_PER_CLASS, n_splits)
    return torch.stack([split_accuracy(activity, labels, splits) for activity in forward(phi, x).x])


@torch.no_grad()
def rule_features(
    rule: UpdateRule,
    task: Task,
    *,
    sizes: Sequence[int] | None = None,
    steps: int | None = None,
    batch_size: int | None = None,
    nonlinearity: str = "relu",
    seed: int = 0,
) -> Tensor:
    """The top layer of base models that a rule taught, for all examples, batch statistics taken over the whole set.

    Arguments and errors: as `learned_state`.

    Returns:
        [*tasks, N, n_L].
    """
    last = rule.recommended.steps if steps is None else steps
    how: dict[str, Any] = {"sizes": sizes, "batch_size": batch_size, "nonlinearity": nonlinearity, "seed": seed}
    return rule_features_along(rule, task, [last], **how)[last][0]


@torch.no_grad()
def rule_features_along(
    rule: UpdateRule,
    task: Task,
    steps: Iterable[int],
    *,
    sizes: Sequence[int] | None = None,
    batch_size: int | None = None,
    nonlinearity: str = "relu",
    seed: int = 0,
    watch: Callable[[int], None] = lambda step: None,
) -> dict[int, tuple[Tensor, float]]:
    """`rule_features` at several inner steps of one run; at step 0 they are those of the untaught base models.

    Args:
        steps: inner steps, in any order.
        rule, task, sizes, batch_size, nonlinearity, seed: as for `learned_state`.
        watch: called with each of `steps` when it is reached; what it raises ends the run.

    Returns:
        Inner step -> features [*tasks, N, n_L], and seconds of the processor up to there.

    Raises:
        As `learned_state`.
    """
    at, begun = sorted({check_number("steps", step, low=0, integer=True) for step in steps}), time.process_time()
    check_number("number of steps", len(at), low=1, integer=True)
    phi, how, generator = start(
        rule, task, sizes=sizes, steps=at[-1], batch_size=batch_size, nonlinearity=nonlinearity, seed=seed
    )
    left = iter(at)

    def look(phi: BaseModelState, task: Task) -> tuple[Tensor, float]:
        watch(next(left))
        return forward(phi, task.x).features, time.process_time() - begun

    options: dict[str, Any] = {"steps": at[-1], "batch_size": how.batch_size, "generator": generator}
    run = learn(rule, phi, task, **options, record={"seen": look}, record_at=at)
    found = dict(zip(run.steps, run.records["seen"], strict=True))
    for step, (features, _) in found.items():
        if not features.isfinite().all():
            raise DivergenceError(step, "the top layer", run.state)
    return found


def evaluate_rule(
    rule: UpdateRule,
    name: str,
    dataset: Dataset,
    protocol: Protocol | None = None,
    *,
    steps: int | None = None,
    threads: int | None = None,
) -> Result:
    """Put a rule through the protocol.

    A supervised rule is given the labelled examples of a split and nothing else, one base model for each split, so
    that it has exactly the labels that the probe has.

    Args:
        rule: any rule, hand-written or learned.
        name: what the table calls it.
        dataset: the data.
        protocol: shared settings.
        steps: inner steps; None takes what the rule recommends.
        threads: of PyTorch, while this runs; as for `learn`.

    Returns:
        The row, with accuracies [models, splits].

    Raises:
        DivergenceError: phi stopped being finite.
        ValueError: a class with too few examples, settings out of range.
    """
    p = protocol or Protocol()
    task, begun = model_tasks(dataset, p), time.process_time()
    with few_threads(threads=threads):  # the models' few tasks and the probe's small fits want no more than one
        if rule.needs_labels:
            accuracies = _supervised_accuracies(rule, task, dataset.y, p, steps)
            seconds = (time.process_time() - begun) / (p.n_models * p.n_splits)
        else:
            sizes = (task.n_inputs, *p.hidden)
            features = rule_features(rule, task, sizes=sizes, steps=steps, nonlinearity=p.nonlinearity, seed=p.seed)
            return evaluate_features(features, name, dataset, p, (time.process_time() - begun) / p.n_models)
    return make_result(dataset.name, name, p.hidden[-1], p.labels_per_class, accuracies, seconds)


def evaluate_features(
    features: Tensor, name: str, dataset: Dataset, protocol: Protocol | None = None, seconds: float | None = None
) -> Result:
    """Put features through the protocol, however they were made.

    Args:
        features: of all examples, one set for each base model, [models, N, f].
        name: what the table calls them.
        dataset: the data.
        protocol: shared settings.
        seconds: that one model took.

    Raises:
        TypeError, ValueError: as `few_shot_accuracy`.
    """
    p = protocol or Protocol()
    check_tensor("features", features, min_dims=3)
    accuracies = _accuracies(features, dataset.y, p)
    return make_result(dataset.name, name, features.shape[-1], p.labels_per_class, accuracies, seconds)


def evaluate_baseline(name: str, dataset: Dataset, protocol: Protocol | None = None) -> Result:
    """Put one of `BASELINES` through the protocol: once if there is no chance in it, else once per model's seed.

    One that uses labels is given those of each split in turn; its numbers per example are its classes.

    Raises:
        ValueError: an unknown name, a class with too few examples; `UnsuitableError` where it cannot serve the data.
    """
    p = protocol or Protocol()
    if name in BASELINES and BASELINES[name].uses_labels:
        return _spread(name, dataset, p)
    runs, begun = p.n_models if name in BASELINES and BASELINES[name].random else 1, time.process_time()
    made = [baseline_features(name, dataset.x, seed=p.seed + i, hidden=p.hidden) for i in range(runs)]
    return evaluate_features(torch.stack(made), name, dataset, p, (time.process_time() - begun) / runs)


def model_tasks(dataset: Dataset, protocol: Protocol) -> Task:
    """The data once for each base model, [n_models, N, n_0], each with its own order of inputs."""
    generator = torch.Generator().manual_seed(protocol.seed)
    return make_task(dataset, permute=True, generator=generator, tasks=(protocol.n_models,))


def _spread(name: str, dataset: Dataset, p: Protocol) -> Result:
    splits, y, found = probe_splits(dataset.y, p.labels_per_class, p.n_splits, p.seed), dataset.y.long(), []
    begun = time.process_time()
    for labelled, rest in zip(splits.labelled, splits.rest, strict=True):
        known = torch.full_like(y, -1)
        known[labelled] = y[labelled]
        guesses = baseline_guesses(name, dataset.x, known, seed=p.seed)
        found.append((guesses[rest] == y[rest]).double().mean())
    seconds = (time.process_time() - begun) / p.n_splits
    accuracies = torch.stack(found)[None]
    return make_result(dataset.name, name, dataset.n_classes, p.labels_per_class, accuracies, seconds)


def _accuracies(features: Tensor, labels: Tensor, p: Protocol) -> Tensor:
    return few_shot_accuracy(features, labels, labels_per_class=p.labels_per_class, n_splits=p.n_splits, seed=p.seed)


@torch.no_grad()
def _supervised_accuracies(rule: UpdateRule, task: Task, labels: Tensor, p: Protocol, steps: int | None) -> Tensor:
    """Train [models, splits] base models at once, each on the labelled examples of its split; [models, splits]."""
    splits = probe_splits(labels, p.labels_per_class, p.n_splits, p.seed)
    y = labels[splits.labelled].expand(p.n_models, -1, -1)
    few = Task(task.x[:, splits.labelled], y, task.n_classes, name=task.name)
    sizes = (task.n_inputs, *p.hidden)
    phi = learned_state(rule, few, sizes=sizes, steps=steps, nonlinearity=p.nonlinearity, seed=p.seed)
    columns = []
    for i in range(len(splits)):
        features = forward(_split_state(phi, i), task.x).features
        columns.append(split_accuracy(features, labels, Splits(splits.labelled[i : i + 1], splits.rest[i : i + 1])))
    return torch.cat(columns, -1)


def _split_state(phi: BaseModelState, i: int) -> BaseModelState:
    """The base models [models] of split i out of [models, splits]."""
    index: tuple[Any, ...] = (slice(None), i)
    return phi.map(lambda t: t[index])
