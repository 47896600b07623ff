"""Checks for lesson 5: ridge regression by hand, a strong penalty, the distance as an angle."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from metarules.exercises.feedback import Feedback, errors_as_hints, number_between
from metarules.meta_objective import ridge_fit

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


@errors_as_hints
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
