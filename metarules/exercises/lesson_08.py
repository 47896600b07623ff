"""Checks for lesson 8: which term weighs most, least squares by hand, how much is still classical, five terms."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from metarules.evaluation.distil import scores, share_kept, with_terms
from metarules.exercises.feedback import Feedback, errors_as_hints, number_between
from metarules.exercises.prediction import predicted
from metarules.tasks import Task
from metarules.update_rule import LocalRule

_NEAR = 0.1  # of a measured R^2
FIVE, ENOUGH = 5, 0.9  # terms, and the share of the gain they ought to keep


@predicted("the name of one of the terms to choose from")
def check_heaviest(guess: Any, weights: Mapping[str, float]) -> Feedback:
    """Predict, then measure: which of some terms weighs most in the end.

    Args:
        guess: the name of a term.
        weights: term -> what it weighs, see `studies.runs.term_weights`.
    """
    if guess not in weights:
        return Feedback(False, f"the name of a term is wanted, one of {', '.join(weights)}, and this is {guess!r}.")
    heaviest = max(weights, key=lambda name: abs(weights[name]))
    said = f"measured: {', '.join(f'{name} {value:+.2f}' for name, value in weights.items())}."
    if guess == heaviest:
        return Feedback(True, said)
    return Feedback(False, "another one weighs more, whatever its sign.", answer=said)


@errors_as_hints
def check_least_squares(fit: Callable[[Tensor, list[Tensor]], tuple[Tensor, float]]) -> Feedback:
    """Coefficients c and R^2 of change = sum_k c_k T_k + rest, without an intercept.

    Args:
        fit: the learner's function from a change [n_in, n_out] and a list of K others of that shape to c [K] and R^2.
    """
    g = torch.Generator().manual_seed(8)
    first, second, noise = (torch.randn(7, 5, generator=g, dtype=torch.float64) for _ in range(3))
    first = first + 1  # a mean: with an intercept the numbers would be others
    change = 0.8 * first - 0.5 * second + 0.3 * noise
    got: Any = fit(change, [first, second])
    if not isinstance(got, (tuple, list)) or len(got) != 2:
        return Feedback(False, f"two things are wanted, the coefficients and R^2, and this is a {type(got).__name__}.")
    c, r2 = torch.as_tensor(got[0]).double(), float(got[1])
    if c.numel() != 2:
        return Feedback(False, f"there are two other changes, so two coefficients; these are {c.numel()}.")
    A, y = torch.stack([first.flatten(), second.flatten()], -1), change.flatten()
    right = torch.linalg.solve(A.T @ A, A.T @ y)
    alone = (A.T @ y) / A.square().sum(0)
    if not torch.allclose(c.flatten(), right, atol=1e-6):
        if torch.allclose(c.flatten(), alone, atol=1e-6):
            return Feedback(False, "each is fitted alone. What one explains, another may explain too: fit all at once.")
        return Feedback(False, "the coefficients are not those of least squares: make one column of each change.")
    rest = y - A @ right
    wanted, centred = 1 - rest.square().sum() / y.square().sum(), y - y.mean()
    if abs(r2 - float(wanted)) < 1e-6:
        return Feedback(True, "and what is left over is at a right angle to all that was fitted.")
    if abs(r2 - float(1 - rest.square().sum() / centred.square().sum())) < 1e-6:
        return Feedback(
            False, "you compare with the variance of the change. Without an intercept: with its square sum."
        )
    if abs(r2 - float(1 - wanted)) < 1e-6:
        return Feedback(False, "this is the share that is left over; R^2 is the share that is explained.")
    return Feedback(False, "the coefficients are right. R^2 is 1 - |rest|^2 / |change|^2.")


@predicted("a number from 0 to 1")
def check_r2(guess: Any, measured: float) -> Feedback:
    """Predict, then measure: how much of the change the classical rules still explain.

    Args:
        guess: the predicted R^2.
        measured: the R^2 found.
    """
    return number_between(
        guess,
        measured - _NEAR,
        measured + _NEAR,
        f"measured: {measured:.2f}.",
        "more than that.",
        "less than that. The rule has found something that no textbook rule does.",
    )


@predicted("five names of terms")
def check_five(terms: Any, rule: LocalRule, tasks: Mapping[str, Task]) -> Feedback:
    """Which five terms keep nine tenths of what the rule gains over untaught base models? Measured on the spot.

    Args:
        terms: five names.
        rule: the rule.
        tasks: kind -> held-out tasks, see `evaluation.held_out.held_out`.
    """
    if isinstance(terms, str) or not isinstance(terms, Sequence | set | frozenset) or len(set(terms)) != FIVE:
        return Feedback(False, f"{FIVE} different names are wanted, and this is {terms!r}.")
    few = with_terms(rule, sorted(terms))
    share, error = share_kept(scores(few, tasks), scores(rule, tasks), scores(rule, tasks, steps=0))
    said = f"these five keep {share:.2f} ± {error:.2f} of the gain."
    if share >= ENOUGH:
        return Feedback(True, said)
    return Feedback(False, f"{said} Which term does what none of yours does?")
