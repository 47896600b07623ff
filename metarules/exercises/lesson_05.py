"""Checks for lesson 5: ridge regression by hand, a strong penalty, the distance as an angle, the whole."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from metarules.exercises.feedback import Feedback, errors_as_hints, number_between
from metarules.exercises.prediction import predicted
from metarules.meta_objective import MetaObjectiveSettings, ridge_cosine_score, ridge_fit

_RIDGE = 2.0  # strong enough that a forgotten or misplaced lambda shows


@errors_as_hints
def check_ridge(fit: Callable[[Tensor, Tensor, float], Tensor]) -> Feedback:
    """Ridge regression with a free bias, w = (A^T A + lambda I')^-1 A^T y.

    Args:
        fit: the learner's function from features [n, f], targets [n, k] and lambda to weights [f + 1, k], bias last.
    """
    g = torch.Generator().manual_seed(5)
    x = 1 + torch.randn(12, 2, generator=g, dtype=torch.float64)
    y = 3 + torch.randn(12, 3, generator=g, dtype=torch.float64)
    got = fit(x, y, _RIDGE)
    if not isinstance(got, Tensor):
        return Feedback(False, f"a tensor of shape [3, 3] is wanted, and this is a {type(got).__name__}.")
    if got.shape == (2, 3):
        return Feedback(False, "the shape is [2, 3]: the bias is missing. Give A a column of ones.")
    if got.shape != (3, 3):
        return Feedback(False, f"the shape is {list(got.shape)}, but w has f + 1 rows and k columns: [3, 3].")
    if torch.allclose(got, ridge_fit(x, y, _RIDGE), atol=1e-6):
        return Feedback(True, "and the bias stays free, so that moving all features moves no answer.")
    ones = torch.ones(12, 1, dtype=torch.float64)
    A = torch.cat([x, ones], 1)
    gram = A.T @ A
    if torch.allclose(got, torch.linalg.solve(gram + _RIDGE * torch.eye(3).double(), A.T @ y), atol=1e-6):
        return Feedback(False, "close: you penalise the bias too. The last entry of I' is 0.")
    if torch.allclose(got, torch.linalg.solve(gram, A.T @ y), atol=1e-6):
        return Feedback(False, "this is plain least squares: where is lambda?")
    if torch.allclose(got.roll(-1, 0), ridge_fit(x, y, _RIDGE), atol=1e-6):
        return Feedback(False, "the numbers are right, the order is not: the bias belongs in the last row.")
    return Feedback(
        False, "the shape is right, the numbers are not. Write down A^T A first; is lambda on its diagonal?"
    )


@predicted("a number between 0 and 1")
def check_strong_ridge(guess: Any, weak: float, strong: float) -> Feedback:
    """Predict, then measure: which share of batch b is read right when lambda is ten thousand times larger?

    Args:
        guess: the predicted share, 0 to 1.
        weak, strong: measured shares with the weak and with the strong penalty.
    """
    return number_between(
        guess,
        strong - 0.1,
        strong + 0.1,
        f"measured: {weak:.2f} with the weak penalty, {strong:.2f} with the strong one. All answers shrink together, "
        "and the largest of three small numbers is still the largest.",
        "more than that. What does the choice of the largest answer care about the size of all of them?",
        "less than that. A strong penalty cannot read features better than they can be read.",
    )


@errors_as_hints
def check_distance(distance: Callable[[Tensor, Tensor], Tensor]) -> Feedback:
    """The mean squared distance between predictions scaled to length 1 and targets of length 1, from cosines alone.

    Args:
        distance: the learner's function from predictions [n, k] and unit targets [n, k] to a number.
    """
    g = torch.Generator().manual_seed(6)
    p = torch.randn(9, 3, generator=g)
    y = torch.nn.functional.normalize(torch.randn(9, 3, generator=g), dim=1)
    cosines = torch.nn.functional.cosine_similarity(p, y, dim=1)
    wanted = float((2 - 2 * cosines).mean())
    got = distance(p, y)
    if isinstance(got, Tensor) and got.numel() > 1:
        return Feedback(False, f"one number is wanted, and this has shape {list(got.shape)}: take the mean over rows.")
    value = float(got)
    traps = (
        (wanted, True, "2 - 2 cos: 0 for the right direction, 2 for a right angle, 4 for the opposite one."),
        (wanted / 2, False, "half of it: |p - y|^2 = |p|^2 - 2 p.y + |y|^2, and both lengths are 1."),
        (float((2 - 2 * (p * y).sum(1)).mean()), False, "p is not of length 1 yet: divide p.y by its length."),
        (float((p - y).square().sum(1).mean()), False, "that is the squared error: the length of p still counts."),
        (float(cosines.mean()), False, "that is the cosine itself, which is largest for good answers; a loss is not."),
    )
    for number, right, words in traps:
        if abs(value - number) < 1e-4:
            return Feedback(right, words)
    return Feedback(False, "expand |p - y|^2 for two vectors of length 1, and put cos for p.y.")


@errors_as_hints
def check_meta_loss(loss: Callable[..., Tensor]) -> Feedback:
    """The whole meta-objective, and its gradient with respect to both batches.

    Args:
        loss: the learner's function from x_a [n, f], y_a [n, k], x_b [n, f], y_b [n, k] (targets of length 1) and
            lambda to a number.
    """
    g = torch.Generator().manual_seed(9)
    a, b = (torch.randn(12, 3, generator=g, dtype=torch.float64).requires_grad_() for _ in range(2))
    onehot = torch.nn.functional.one_hot(torch.arange(12) % 3).double()
    score = ridge_cosine_score(a, onehot, b, onehot, MetaObjectiveSettings(ridge=_RIDGE))
    y_a, y_b = score.targets_a.detach(), score.targets_b.detach()
    with torch.enable_grad():
        got = loss(a, y_a, b, y_b, _RIDGE)
    if not isinstance(got, Tensor) or got.numel() != 1:
        what = list(got.shape) if isinstance(got, Tensor) else type(got).__name__
        return Feedback(False, f"one number as a tensor is wanted, and this is {what}.")
    hints = {
        "right": score.loss,
        "the distance is right; the weights' cost, lambda |w|^2 / n without the bias, is missing.": score.error_b,
        "the weights' cost is divided by n, the rows of a batch.": score.error_b + 12 * score.penalty,
        "the bias costs nothing: leave the last row of w out of |w|^2.": (
            score.error_b + score.penalty + _RIDGE * score.weights[-1].square().sum() / 12
        ),
        "predictions are scaled to length 1 before they are compared.": (
            (torch.cat([b, torch.ones_like(b[:, :1])], 1) @ score.weights - y_b).square().sum(1).mean() + score.penalty
        ),
    }
    for hint, value in hints.items():
        if torch.allclose(got.detach(), value.detach(), rtol=1e-6):
            if hint != "right":
                return Feedback(False, hint)
            if not got.requires_grad:
                return Feedback(False, "the number is right, but no gradient gets through: no float(), no .item().")
            mine, theirs = (torch.autograd.grad(v, (a, b), retain_graph=True) for v in (got, score.loss))
            if all(torch.allclose(m, t, atol=1e-8) for m, t in zip(mine, theirs, strict=True)):
                return Feedback(True, "the number and both gradients are those of the package.")
            return Feedback(False, "the number is right, its gradient is not: is something cut off by detach?")
    return Feedback(False, "another number. Fit on a, answer on b, scale to length 1, mean square distance, cost of w.")
