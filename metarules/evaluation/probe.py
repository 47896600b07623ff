"""The few-shot probe: how far do a few labels per class go on top of a representation?

Source: design protocol of this package, after Metz et al., ICLR 2019, section 5.1 (linear few-shot classification of
features learned without labels). The ridge penalty is chosen on the labelled examples alone, for every method alike.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from metarules._checks import check_number, check_tensor, check_whole
from metarules._random import seeded
from metarules.meta_objective import one_hot

ALPHAS = tuple(np.logspace(-2, 3, 11).tolist())  # ridge penalties to choose from: 0.01 .. 1000
LABELS_PER_CLASS = 10  # labelled examples per class
N_SPLITS = 50  # draws of those examples; their spread is the standard error we print


@dataclass(frozen=True, eq=False)
class Splits:
    """Which examples are labelled, and which are asked for, in every split.

    Attributes:
        labelled: row numbers [n_splits, labels_per_class * classes], int64.
        rest: all other row numbers [n_splits, N - labels_per_class * classes], int64.
    """

    labelled: Tensor
    rest: Tensor

    def __len__(self) -> int:
        return self.labelled.shape[0]


def probe_splits(
    labels: Tensor, labels_per_class: int = LABELS_PER_CLASS, n_splits: int = N_SPLITS, seed: int = 0
) -> Splits:
    """Draw class-balanced sets of labelled examples. They depend on the arguments alone, so methods can be paired.

    Args:
        labels: class numbers [N], whole numbers.
        labels_per_class: labelled examples of each class, >= 1.
        n_splits: number of draws, >= 1.
        seed: of the draws.

    Returns:
        `Splits`; within a split no row appears twice and none is both labelled and asked for.

    Raises:
        TypeError: labels that are not a tensor of whole numbers, settings that are not whole numbers.
        ValueError: no labels, a single class, a class with too few examples, settings out of range.
    """
    check_number("labels_per_class", labels_per_class, low=1, integer=True)
    check_number("n_splits", n_splits, low=1, integer=True)
    generator = seeded(seed)
    labels = _check_labels(labels)
    classes, counts = labels.unique(return_counts=True)
    if len(classes) < 2:
        raise ValueError(
            f"labels holds the classes {classes.tolist()}; allowed: at least two classes (without labels "
            "a rule can learn, but nothing can be probed)"
        )
    if int(counts.min()) <= labels_per_class:
        few = int(classes[counts.argmin()])
        raise ValueError(
            f"labels_per_class is {labels_per_class}; allowed: 1 to {int(counts.min()) - 1}, since class {few} has "
            f"{int(counts.min())} examples and at least one must be left to ask for"
        )
    chosen = []
    for c in classes:
        rows = (labels == c).nonzero().squeeze(-1)
        order = torch.rand(n_splits, len(rows), generator=generator, dtype=torch.float64).argsort(-1)
        chosen.append(rows[order[:, :labels_per_class]])
    labelled = torch.cat(chosen, -1)
    asked = torch.ones(n_splits, len(labels), dtype=torch.bool).scatter_(-1, labelled, False)
    return Splits(labelled, asked.nonzero()[:, 1].reshape(n_splits, -1))


def standardise_features(features: Tensor) -> Tensor:
    """Centre every feature over the examples and divide by its standard deviation; a constant feature becomes 0.

    Args:
        features: [*tasks, N, f], any floating dtype.

    Returns:
        [*tasks, N, f], float64.

    Raises:
        TypeError: not a floating tensor.
        ValueError: fewer than two dimensions, NaN or infinity.
    """
    x = check_tensor("features", features, min_dims=2).detach().double()
    centred = x - x.mean(-2, keepdim=True)
    std = centred.square().mean(-2, keepdim=True).sqrt()
    # A feature whose spread is rounding noise is constant; dividing would turn the noise into a feature.
    constant = std <= 1e-7 * x.abs().amax(-2, keepdim=True)
    return torch.where(constant, torch.zeros_like(x), centred / torch.where(constant, torch.ones_like(std), std))


def few_shot_accuracy(
    features: Tensor,
    labels: Tensor,
    *,
    labels_per_class: int = LABELS_PER_CLASS,
    n_splits: int = N_SPLITS,
    seed: int = 0,
) -> Tensor:
    """Accuracy of a linear read-out fitted on a few labels per class, on all other examples.

    Features are standardised over all examples; for each split a ridge classifier is fitted on the labelled ones, its
    penalty chosen among `ALPHAS` by leave-one-out on those same examples.

    Args:
        features: the representation of all examples, [*tasks, N, f] (one per base model, say).
        labels: class numbers [N].
        labels_per_class, n_splits, seed: as for `probe_splits`; the same splits serve every task.

    Returns:
        Accuracies in [0, 1], float64, [*tasks, n_splits].

    Raises:
        TypeError: features no floating tensor, labels no whole numbers.
        ValueError: lengths that differ, NaN or infinity, or as `probe_splits`.
    """
    return split_accuracy(features, labels, probe_splits(labels, labels_per_class, n_splits, seed))


def split_accuracy(features: Tensor, labels: Tensor, splits: Splits) -> Tensor:
    """`few_shot_accuracy` on splits drawn before; arguments, shapes and errors as there."""
    return (split_guesses(features, labels, splits) == labels.cpu()[splits.rest]).double().mean(-1)


@torch.no_grad()
def split_guesses(features: Tensor, labels: Tensor, splits: Splits) -> Tensor:
    """The classes that the read-out of each split guesses for the examples whose labels it was not given.

    Args:
        features, labels: as for `few_shot_accuracy`.
        splits: which examples are labelled.

    Returns:
        Class numbers [*tasks, n_splits, n_rest], in the order of `splits.rest`.
    """
    classes, places = _check_labels(labels).unique(return_inverse=True)
    x = standardise_features(_check_rows(features, labels)).cpu()
    read_outs = zip(_read_outs(x, places, splits), splits.rest, strict=True)
    return classes[torch.stack([read_out(x[..., rest, :]).argmax(-1) for read_out, rest in read_outs], -2)]


@torch.no_grad()
def split_reader(features: Tensor, labels: Tensor, splits: Splits) -> Callable[[Tensor], Tensor]:
    """The read-outs, to read examples that are no part of the data.

    Args:
        features: of the data [*tasks, N, f].
        labels: class numbers of the data [N], from 0.
        splits: which examples are labelled.

    Returns:
        A function from features of further examples [*tasks, k, f], which are centred and scaled by the data's
        statistics, to a score for each class, float64, [*tasks, k, n_classes]: about 1 for the class it is and -1 for
        the others, mean over the splits.
    """
    labels = _check_labels(labels)
    whole = _check_rows(features, labels).double()
    mean = whole.mean(-2, keepdim=True)
    std = (whole - mean).square().mean(-2, keepdim=True).sqrt()
    x = standardise_features(whole)
    constant = (x == 0).all(-2, keepdim=True)  # such a feature says nothing about further examples either
    read_outs = list(_read_outs(x, labels, splits))

    def read(new: Tensor) -> Tensor:
        more = torch.where(constant, 0.0, (new.double() - mean) / torch.where(constant, 1.0, std))
        return torch.stack([read_out(more) for read_out in read_outs]).mean(0)

    return read


def class_accuracy(guesses: Tensor, labels: Tensor, splits: Splits) -> Tensor:
    """How many of each class the read-outs get right, over all splits.

    Args:
        guesses: [*tasks, n_splits, n_rest], see `split_guesses`.
        labels: class numbers [N], from 0.
        splits: those of the guesses.

    Returns:
        Accuracies in [0, 1], float64, [*tasks, n_classes]; NaN for a class with no example left to guess.
    """
    labels = _check_labels(labels)
    if guesses.shape[-2:] != splits.rest.shape:
        raise ValueError(f"guesses has shape {list(guesses.shape)}; allowed: {['*tasks', *splits.rest.shape]}")
    truth = labels[splits.rest]
    right = guesses == truth
    return torch.stack([right[..., truth == c].double().mean(-1) for c in range(int(labels.max()) + 1)], -1)


def _read_outs(x: Tensor, labels: Tensor, splits: Splits) -> Iterator[Callable[[Tensor], Tensor]]:
    """For each split a function from standardised features [*tasks, m, f] to scores [*tasks, m, n_classes].

    What scikit-learn's `RidgeClassifierCV(ALPHAS)` fits, in closed form and for all tasks at once. With U S V^T the
    centred labelled features of a split and y their targets (+1 for the right class, else -1), the ridge fit has hat
    matrix U diag(S^2 / (S^2 + alpha)) U^T + 1/n; leave-one-out errors are residual / (1 - its diagonal); the alpha with
    the smallest mean square is taken, task by task.
    """
    targets = 2 * one_hot(labels, int(labels.max()) + 1, torch.float64) - 1
    alphas = torch.tensor(ALPHAS, dtype=torch.float64)
    for labelled in splits.labelled:
        known = x[..., labelled, :]
        centre = known.mean(-2, keepdim=True)
        offset = targets[labelled].mean(0)
        y = targets[labelled] - offset
        U, S, Vh = torch.linalg.svd(known - centre, full_matrices=False)
        Uy = U.mT @ y
        power = S.square().unsqueeze(-2)  # [*tasks, 1, r]
        shrink = power / (power + alphas.unsqueeze(-1))  # [*tasks, alphas, r]
        residual = y - U.unsqueeze(-3) @ (shrink.unsqueeze(-1) * Uy.unsqueeze(-3))  # [*tasks, alphas, n, k]
        diagonal = 1 / len(labelled) + (U.square() @ shrink.mT).mT  # [*tasks, alphas, n]
        left_out = residual / (1 - diagonal).unsqueeze(-1)
        best = alphas[left_out.square().mean((-2, -1)).argmin(-1)].unsqueeze(-1)  # [*tasks, 1]
        weights = Vh.mT @ ((S / (S.square() + best)).unsqueeze(-1) * Uy)
        yield partial(_scores, centre, weights, offset)


def _scores(centre: Tensor, weights: Tensor, offset: Tensor, x: Tensor) -> Tensor:
    return (x - centre) @ weights + offset


def _check_rows(features: Tensor, labels: Tensor) -> Tensor:
    """features, if they have one row per label."""
    check_tensor("features", features, min_dims=2)
    if features.shape[-2] != len(labels):
        raise ValueError(
            f"features has shape {list(features.shape)}; allowed: [*tasks, {len(labels)}, f], one row per label"
        )
    return features


def _check_labels(labels: Any) -> Tensor:
    """labels as int64 [N] on the CPU, or an error."""
    if check_whole("labels", labels).ndim != 1 or not len(labels):
        raise ValueError(f"labels has shape {list(labels.shape)}; allowed: [N], one class number per example, N >= 1")
    return labels.long().cpu()
