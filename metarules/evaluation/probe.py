"""The few-shot probe: how far do a few labels per class go on top of a representation?

Source: design protocol of this package, after Metz et al., ICLR 2019, section 5.1 (linear few-shot classification of
features learned without labels). The ridge penalty is chosen on the labelled examples alone, for every method alike.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from metarules._checks import check_number, check_tensor
from metarules._random import MAX_SEED

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
    check_number("seed", seed, low=0, high=MAX_SEED, integer=True)
    labels = _check_labels(labels)
    classes, counts = labels.unique(return_counts=True)
    if len(classes) < 2:
        raise ValueError(f"labels holds the classes {classes.tolist()}; allowed: at least two classes")
    if int(counts.min()) <= labels_per_class:
        few = int(classes[counts.argmin()])
        raise ValueError(
            f"labels_per_class is {labels_per_class}; allowed: 1 to {int(counts.min()) - 1}, since class {few} has "
            f"{int(counts.min())} examples and at least one must be left to ask for"
        )
    generator = torch.Generator().manual_seed(seed)
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

    Features are standardised over all examples; for each split `RidgeClassifierCV` is fitted on the labelled ones,
    its penalty chosen among `ALPHAS` by leave-one-out on those same examples.

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
    x = standardise_features(features)
    y = _check_labels(labels).numpy()
    if x.shape[-2] != len(y):
        raise ValueError(
            f"features has shape {list(features.shape)}; allowed: [*tasks, {len(y)}, f], one row per label"
        )
    tasks = x.shape[:-2]
    tables = x.reshape(math.prod(tasks), *x.shape[-2:]).cpu().numpy()
    pairs = list(zip(splits.labelled.numpy(), splits.rest.numpy(), strict=True))
    accuracies = [[readout_accuracy(table, y, labelled, rest) for labelled, rest in pairs] for table in tables]
    return torch.tensor(accuracies, dtype=torch.float64).reshape(*tasks, len(splits))


def readout_accuracy(features: np.ndarray, labels: np.ndarray, labelled: np.ndarray, rest: np.ndarray) -> float:
    """Fit the read-out on some rows, score it on others.

    Args:
        features: standardised, [N, f].
        labels: class numbers [N].
        labelled, rest: row numbers to fit on and to score.

    Returns:
        Share of `rest` classified rightly.
    """
    from sklearn.linear_model import RidgeClassifierCV  # here, because importing scikit-learn takes a second

    classifier = RidgeClassifierCV(alphas=ALPHAS).fit(features[labelled], labels[labelled])
    return float((classifier.predict(features[rest]) == labels[rest]).mean())


def _check_labels(labels: Any) -> Tensor:
    """labels as int64 [N] on the CPU, or an error."""
    if (
        not isinstance(labels, Tensor)
        or labels.is_floating_point()
        or labels.is_complex()
        or labels.dtype == torch.bool
    ):
        kind = getattr(labels, "dtype", type(labels).__name__)
        raise TypeError(f"labels is {kind}; allowed: a tensor of whole numbers such as torch.int64")
    if labels.ndim != 1 or not len(labels):
        raise ValueError(f"labels has shape {list(labels.shape)}; allowed: [N], one class number per example, N >= 1")
    return labels.long().cpu()
