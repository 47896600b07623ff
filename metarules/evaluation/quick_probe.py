"""The few-shot probe of `evaluation`, the same numbers, for all frames of a trajectory in one go.

`RidgeClassifierCV` is called once per frame and split; here leave-one-out and the read-out are written in closed form
over a leading frame dimension, which is five times faster and lets a widget answer at once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial

import torch
from torch import Tensor

from metarules._checks import check_tensor
from metarules.evaluation import Splits, standardise_features
from metarules.evaluation.probe import ALPHAS
from metarules.meta_objective import one_hot


def quick_accuracy(features: Tensor, labels: Tensor, splits: Splits) -> Tensor:
    """What `evaluation.split_accuracy` gives, faster.

    Args:
        features: [frames, N, f], any floating dtype.
        labels: class numbers [N].
        splits: which examples are labelled, see `evaluation.probe_splits`.

    Returns:
        Accuracies in [0, 1], float64, [frames, n_splits].

    Raises:
        TypeError, ValueError: as `quick_guesses`.
    """
    return (quick_guesses(features, labels, splits) == labels[splits.rest]).double().mean(-1)


def class_accuracy(guesses: Tensor, labels: Tensor, splits: Splits) -> Tensor:
    """How many of each class the read-out gets right, over all splits.

    Args:
        guesses: [frames, n_splits, n_rest], see `quick_guesses`.
        labels: class numbers [N].
        splits: those of the guesses.

    Returns:
        Accuracies in [0, 1], float64, [frames, n_classes]; NaN for a class with no example left to guess.
    """
    truth = labels[splits.rest]
    right = guesses == truth
    return torch.stack([right[:, truth == c].double().mean(-1) for c in range(int(labels.max()) + 1)], -1)


@torch.no_grad()
def quick_guesses(features: Tensor, labels: Tensor, splits: Splits) -> Tensor:
    """The classes that the probe's read-out guesses for the examples whose labels it was not given.

    Args:
        features: [frames, N, f], any floating dtype.
        labels: class numbers [N].
        splits: which examples are labelled, see `evaluation.probe_splits`.

    Returns:
        Class numbers, [frames, n_splits, n_rest], in the order of `splits.rest`.

    Raises:
        TypeError: features that are no floating tensor.
        ValueError: another shape, NaN or infinity.
    """
    x = standardise_features(_checked(features, labels))
    rests = zip(_read_outs(x, labels, splits), splits.rest, strict=True)
    return torch.stack([read_out(x[:, rest]).argmax(-1) for read_out, rest in rests], 1)


@torch.no_grad()
def quick_reader(features: Tensor, labels: Tensor, splits: Splits) -> Callable[[Tensor], Tensor]:
    """The probe's read-outs, to read examples that are no part of the data.

    Args:
        features: of the data [frames, N, f], any floating dtype.
        labels: class numbers of the data [N].
        splits: which examples are labelled.

    Returns:
        A function from features of further examples [frames, k, f], which are centred and scaled by the data's
        statistics, to a score for each class, float64, [frames, k, n_classes]: about 1 for the class it is and -1 for
        the others, mean over the splits.

    Raises:
        TypeError, ValueError: as `quick_guesses`.
    """
    whole = _checked(features, labels).double()
    middle = whole.mean(-2, keepdim=True)
    std = (whole - middle).square().mean(-2, keepdim=True).sqrt()
    x = standardise_features(whole)
    constant = (x == 0).all(-2, keepdim=True)  # such a feature says nothing about further examples either
    read_outs = list(_read_outs(x, labels, splits))

    def read(new: Tensor) -> Tensor:
        more = torch.where(constant, 0.0, (new.double() - middle) / torch.where(constant, 1.0, std))
        return torch.stack([read_out(more) for read_out in read_outs]).mean(0)

    return read


def _checked(features: Tensor, labels: Tensor) -> Tensor:
    check_tensor("features", features, min_dims=3)
    if features.ndim != 3 or features.shape[1] != len(labels):
        raise ValueError(f"features has shape {list(features.shape)}; allowed: [frames, {len(labels)}, f]")
    return features


def _read_outs(x: Tensor, labels: Tensor, splits: Splits) -> Iterator[Callable[[Tensor], Tensor]]:
    """For each split a function from standardised features [frames, m, f] to scores [frames, m, n_classes].

    With U S V^T the centred labelled features of a split and y their targets (+1 for the right class, else -1), the
    ridge fit has hat matrix U diag(S^2 / (S^2 + alpha)) U^T + 1/n; leave-one-out errors are residual / (1 - its
    diagonal); the alpha with the smallest mean square is taken, frame by frame.
    """
    targets = 2 * one_hot(labels, int(labels.max()) + 1, torch.float64) - 1
    alphas = torch.tensor(ALPHAS, dtype=torch.float64)
    for labelled in splits.labelled:
        known = x[:, labelled]
        centre = known.mean(1, keepdim=True)
        offset = targets[labelled].mean(0)
        y = targets[labelled] - offset
        U, S, Vh = torch.linalg.svd(known - centre, full_matrices=False)
        Uy = U.mT @ y
        power = S.square().unsqueeze(1)  # [frames, 1, r]
        shrink = power / (power + alphas.unsqueeze(-1))  # [frames, alphas, r]
        residual = y - U.unsqueeze(1) @ (shrink.unsqueeze(-1) * Uy.unsqueeze(1))  # [frames, alphas, n, k]
        diagonal = 1 / len(labelled) + (U.square() @ shrink.mT).mT  # [frames, alphas, n]
        left_out = residual / (1 - diagonal).unsqueeze(-1)
        best = alphas[left_out.square().mean((-2, -1)).argmin(-1)].unsqueeze(-1)  # [frames, 1]
        weights = Vh.mT @ ((S / (S.square() + best)).unsqueeze(-1) * Uy)
        yield partial(_scores, centre, weights, offset)


def _scores(centre: Tensor, weights: Tensor, offset: Tensor, x: Tensor) -> Tensor:
    return (x - centre) @ weights + offset
