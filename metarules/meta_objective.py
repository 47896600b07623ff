"""The meta-objective: how good is a representation for few-shot linear classification? Closed form, differentiable.

Ridge regression with an unpenalised bias is fitted on one labelled batch (a) and scored by cosine distance on another
(b). Labels are used here alone, and only while a rule is being meta-trained.

Source: Metz et al., ICLR 2019, section 3.3 ("MetaObjective"); details and variants from the authors' code.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from metarules._arguments import guard as _guard
from metarules._checks import check_number, check_tensor, check_whole

LARGEST = 1e15  # whose squares, summed over as many rows as memory holds, are finite in float32
NORM_EPS = 1e-12  # least squared norm a row or feature is divided by; what TensorFlow's l2_normalize uses
SingularError = torch.linalg.LinAlgError  # type: ignore[attr-defined]  # of features that no ridge fit can be solved for


@dataclass(frozen=True)
class MetaObjectiveSettings:
    """Settings of the meta-objective; the defaults are the paper's.

    Attributes:
        ridge: lambda, the penalty on squared weights, > 0. Authors' code: 0.1.
        centre_targets: subtract the targets' overall mean and scale their mean squared row norm to 1. Authors: yes.
        normalise_predictions: divide predictions by their row norm: the score is then a cosine distance. Authors: yes.
        normalise_features: divide every feature by its L2 norm over both batches. Authors' option, off.
        standardise_features: centre every feature over both batches and scale it to unit variance. Ours, off:
            it makes lambda mean the same for every representation.
        hinge: count squared distances above 1 alone. Authors' option, off.
        logit_scale: score by softmax cross-entropy of the predictions times this number instead of by a distance, 0 for
            the distance; `normalise_predictions` then says nothing. Ours, off: the cosine distance also falls for
            features that classify no better.
        train_share: share of the error on batch a itself, with un-normalised predictions, in [0, 1]. Authors' option
            "test_train_half" is 0.5; default 0.
    """

    ridge: float = 0.1
    centre_targets: bool = True
    normalise_predictions: bool = True
    normalise_features: bool = False
    standardise_features: bool = False
    hinge: bool = False
    logit_scale: float = 0.0
    train_share: float = 0.0

    def __post_init__(self) -> None:
        check_number("ridge", self.ridge, low=0, high=LARGEST, low_open=True)
        check_number("logit_scale", self.logit_scale, low=0)
        check_number("train_share", self.train_share, low=0, high=1)
        if self.hinge and self.logit_scale:
            raise ValueError(
                f"hinge is True and logit_scale {self.logit_scale}; allowed: one of them, hinge is a distance"
            )


class RidgeScore(NamedTuple):
    """What the meta-objective computed, for lessons and widgets.

    Attributes:
        loss: the meta-objective [*tasks].
        weights: ridge weights [*tasks, features + 1, k], the bias in the last row.
        targets_a, targets_b: targets as fitted and scored [*tasks, n, k].
        predictions_b: predictions for batch b, before any normalisation [*tasks, n_b, k].
        error_b: mean distance (or cross-entropy) on batch b [*tasks].
        error_a: mean squared error on batch a, un-normalised predictions [*tasks].
        penalty: lambda |w|^2 / n without the bias row [*tasks].
    """

    loss: Tensor
    weights: Tensor
    targets_a: Tensor
    targets_b: Tensor
    predictions_b: Tensor
    error_b: Tensor
    error_a: Tensor
    penalty: Tensor

    @property
    def accuracy_b(self) -> Tensor:
        """Share of rows of b whose largest prediction is at their largest target [*tasks]."""
        hits = self.predictions_b.argmax(-1) == self.targets_b.argmax(-1)
        return hits.to(self.loss.dtype).mean(-1)


def one_hot(labels: Tensor, n_classes: int, dtype: torch.dtype = torch.float32) -> Tensor:
    """Class numbers [*tasks, n] as targets [*tasks, n, n_classes].

    Raises:
        ValueError: n_classes below 1, or a label outside 0 .. n_classes - 1.
        TypeError: labels that are not whole numbers.
    """
    check_number("n_classes", n_classes, low=1, integer=True)
    if check_whole("labels", labels).numel() and not (0 <= int(labels.min()) and int(labels.max()) < n_classes):
        raise ValueError(f"labels reach from {int(labels.min())} to {int(labels.max())}; allowed: 0 .. {n_classes - 1}")
    return torch.nn.functional.one_hot(labels.long(), n_classes).to(dtype)


def ridge_fit(features: Tensor, targets: Tensor, ridge: float = 0.1) -> Tensor:
    """Ridge regression in closed form, w = (A^T A + lambda I')^-1 A^T y, A the features and a column of ones.

    Solved by Cholesky: with lambda > 0 on the features and n on the bias the matrix is positive definite.

    Args:
        features: [*tasks, n, f].
        targets: [*tasks, n, k].
        ridge: lambda > 0; the bias is not penalised.

    Returns:
        weights [*tasks, f + 1, k], the bias in the last row.

    Raises:
        TypeError, ValueError: see `ridge_cosine_loss`.
    """
    _check_pair("features", "targets", features, targets)
    check_number("ridge", ridge, low=0, high=LARGEST, low_open=True)
    return _solve(features, targets, ridge)


def ridge_cosine_score(
    features_a: Tensor,
    targets_a: Tensor,
    features_b: Tensor,
    targets_b: Tensor,
    settings: MetaObjectiveSettings | None = None,
) -> RidgeScore:
    """Fit on batch a, score on batch b, and keep every intermediate. Arguments and errors as `ridge_cosine_loss`."""
    s = settings or MetaObjectiveSettings()
    _check_pair("features_a", "targets_a", features_a, targets_a)
    _check_pair("features_b", "targets_b", features_b, targets_b, like=features_a)
    if features_a.shape[-1] != features_b.shape[-1] or targets_a.shape[-1] != targets_b.shape[-1]:
        raise ValueError(
            f"features_b and targets_b have widths {features_b.shape[-1]} and {targets_b.shape[-1]}; "
            f"allowed: those of batch a, {features_a.shape[-1]} and {targets_a.shape[-1]}"
        )
    if s.normalise_features or s.standardise_features:
        joint = prepared_features(torch.cat([features_a, features_b], -2), s)
        features_a, features_b = joint.split([features_a.shape[-2], features_b.shape[-2]], -2)
    return score_prepared(features_a, targets_a, features_b, targets_b, s)


def score_prepared(
    features_a: Tensor, targets_a: Tensor, features_b: Tensor, targets_b: Tensor, settings: MetaObjectiveSettings
) -> RidgeScore:
    """`ridge_cosine_score` of features that went through `prepared_features`, without checks, for meta-training."""
    s = settings
    y_a, y_b = (_centred(y) if s.centre_targets else y for y in (targets_a, targets_b))
    w = _solve(features_a, y_a, s.ridge)
    n = features_a.shape[-2]
    penalty = s.ridge * w[..., :-1, :].square().sum((-2, -1)) / n
    raw_b = _predict(features_b, w)
    if s.logit_scale:
        error_b = _cross_entropy(s.logit_scale * raw_b, targets_b)
    else:
        p_b = _normalised(raw_b, -1) if s.normalise_predictions else raw_b
        distance = (p_b - y_b).square().sum(-1)
        error_b = (torch.relu(distance - 1) if s.hinge else distance).mean(-1)
    error_a = (_predict(features_a, w) - y_a).square().sum(-1).mean(-1)
    loss = (1 - s.train_share) * error_b + s.train_share * error_a + penalty
    return RidgeScore(loss, w, y_a, y_b, raw_b, error_b, error_a, penalty)


def score_in_turn(
    features: Tensor, targets: Tensor, k: int, settings: MetaObjectiveSettings | None = None
) -> RidgeScore:
    """Several labelled batches, each fitted in turn and scored on all the others, without checks, for meta-training.

    It takes most of the noise of the labels' draw out of a score for the price of a few small solves.

    Args:
        features: of k batches of n rows that passed through the base model together [*tasks, k n, f].
        targets: theirs [*tasks, k n, classes].
        k: number of batches, at least 2.
        settings: of the objective.

    Returns:
        `RidgeScore` with leading dimensions [k, *tasks].
    """
    s = settings or MetaObjectiveSettings()
    (f_a, f_b), (y_a, y_b) = (_turns(rows, k) for rows in (prepared_features(features, s), targets))
    return score_prepared(f_a, y_a, f_b, y_b, s)


def _turns(rows: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """Rows of k batches [*tasks, k n, f] as each batch in turn [k, *tasks, n, f] and, to each, all the others."""
    parts = rows.chunk(k, -2)
    others = [torch.cat([*parts[:i], *parts[i + 1 :]], -2) for i in range(k)]
    return torch.stack(parts), torch.stack(others)


def prepared_features(features: Tensor, settings: MetaObjectiveSettings) -> Tensor:
    """Standardise and normalise features over all rows that pass through together, as the settings say.

    Args:
        features: [*tasks, n, f].
        settings: of the objective.

    Returns:
        Features of the same shape.
    """
    if settings.standardise_features:
        features = features - features.mean(-2, keepdim=True)
        features = features / torch.sqrt(features.square().mean(-2, keepdim=True) + 1e-6)
    return _normalised(features, -2) if settings.normalise_features else features


def ridge_cosine_loss(
    features_a: Tensor,
    targets_a: Tensor,
    features_b: Tensor,
    targets_b: Tensor,
    ridge: float = 0.1,
    *,
    centre_targets: bool = True,
    normalise_predictions: bool = True,
    normalise_features: bool = False,
    standardise_features: bool = False,
    hinge: bool = False,
    logit_scale: float = 0.0,
    train_share: float = 0.0,
) -> Tensor:
    """The meta-objective: ridge regression on batch a, cosine distance on batch b, plus lambda |w|^2 / n.

    Both batches should have passed through the base model together (shared batch statistics).

    Args:
        features_a: representation of the batch to fit [*tasks, n_a, f].
        targets_a: its targets [*tasks, n_a, k], one-hot or real-valued, of the features' dtype.
        features_b: representation of the batch to score [*tasks, n_b, f].
        targets_b: its targets [*tasks, n_b, k].
        ridge: lambda > 0.
        centre_targets, normalise_predictions, normalise_features: see `MetaObjectiveSettings`.
        standardise_features, hinge, logit_scale, train_share: see there too.

    Returns:
        The loss [*tasks], lower is better: about 0 for perfect features, near 1.5 to 2 for useless ones.

    Raises:
        TypeError: not tensors of float32 or float64.
        ValueError: shapes, dtype or device that do not fit, empty batches, NaN or infinity, settings out of range.
        SingularError: features that no fit can be solved for, since rounding takes the ridge away.
    """
    settings = MetaObjectiveSettings(
        ridge,
        centre_targets,
        normalise_predictions,
        normalise_features,
        standardise_features,
        hinge,
        logit_scale,
        train_share,
    )
    return ridge_cosine_score(features_a, targets_a, features_b, targets_b, settings).loss


def _check_pair(f_name: str, t_name: str, features: Tensor, targets: Tensor, like: Tensor | None = None) -> None:
    check_tensor(f_name, features, min_dims=2, like=like)
    check_tensor(t_name, targets, min_dims=2, like=features)
    if features.dtype not in (torch.float32, torch.float64):
        raise TypeError(
            f"{f_name} has dtype {features.dtype}; allowed: torch.float32 or torch.float64, to be solved for"
        )
    for name, values in {f_name: features, t_name: targets}.items():
        if (largest := float(values.detach().abs().max())) > LARGEST:
            raise ValueError(f"{name} holds numbers up to {largest:g}; allowed: up to {LARGEST:g}, to be squared")
    if features.shape[:-1] != targets.shape[:-1]:
        raise ValueError(
            f"{t_name} has shape {list(targets.shape)}; allowed: {[*features.shape[:-1], 'k']}, a row for each of "
            f"{f_name}'s"
        )


def _with_ones(features: Tensor) -> Tensor:
    return torch.cat([features, torch.ones_like(features[..., :1])], -1)


def _solve(features: Tensor, targets: Tensor, ridge: float) -> Tensor:
    A = _with_ones(features)
    penalty = torch.full((A.shape[-1],), ridge, dtype=A.dtype, device=A.device)
    penalty[-1] = 0  # the bias goes free
    gram = A.transpose(-2, -1) @ A + torch.diag(penalty)
    return torch.cholesky_solve(A.transpose(-2, -1) @ targets, torch.linalg.cholesky(gram))


def _predict(features: Tensor, w: Tensor) -> Tensor:
    return features @ w[..., :-1, :] + w[..., -1:, :]


def _cross_entropy(logits: Tensor, targets: Tensor) -> Tensor:
    """Mean over rows. By logsumexp: PyTorch's log_softmax takes five times as long over ten classes on a CPU."""
    return (torch.logsumexp(logits, -1) * targets.sum(-1) - (logits * targets).sum(-1)).mean(-1)


def _normalised(values: Tensor, dim: int) -> Tensor:
    return values * torch.rsqrt(values.square().sum(dim, keepdim=True).clamp_min(NORM_EPS))


def _centred(y: Tensor) -> Tensor:
    y = y - y.mean((-2, -1), keepdim=True)
    return y * torch.rsqrt(y.square().sum(-1).mean(-1).clamp_min(NORM_EPS))[..., None, None]


_guard(__name__)
