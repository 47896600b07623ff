"""Checks for lesson 2: how many features are left, Oja's and the decorrelation term by hand, the best balance."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from metarules.exercises.feedback import Feedback, errors_as_hints, number_between


@errors_as_hints
def check_features_left(guess: Any, measured: float) -> Feedback:
    """Predict, then measure: how many different features do 32 neurons hold after Hebb alone?

    Args:
        guess: the predicted effective dimension of the top layer.
        measured: the effective dimension measured.
    """
    return number_between(
        guess,
        max(measured - 1.5, 0.9),
        measured + 1.5,
        f"measured: an effective dimension of {measured:.1f}. Nobody told the neurons to differ, so they do not.",
        "a few more than that: one neuron is one feature at least, and a ReLU sees a filter and its negative as two.",
        "fewer. What would make one neuron avoid what another has found already?",
    )


@errors_as_hints
def check_decorrelation(term: Callable[[Tensor, Tensor], Tensor]) -> Feedback:
    """The decorrelation term of one layer before normalisation: q = w (u^T u / B).

    Args:
        term: the learner's function from w [n_in, n_out] and u [batch, n_out] to q [n_in, n_out].
    """
    g = torch.Generator().manual_seed(5)
    w, u = torch.randn(6, 4, generator=g), torch.randn(9, 4, generator=g)
    wanted = w @ (u.T @ u) / 9
    got = term(w, u)
    if not isinstance(got, Tensor):
        return Feedback(False, f"a tensor of shape [6, 4] is wanted, and this is a {type(got).__name__}.")
    if got.shape == (4, 4):
        return Feedback(False, "that is a table of neurons by neurons; the change must have the shape of w, [6, 4].")
    if got.shape != wanted.shape:
        return Feedback(False, f"the shape is {list(got.shape)}, but the change must have the shape of w, [6, 4].")
    if torch.allclose(got, wanted, atol=1e-5):
        return Feedback(True, "each neuron is pushed away from the weights of those it is active together with.")
    if torch.allclose(got, 9 * wanted, atol=1e-4):
        return Feedback(False, "close: take the mean over the batch, not the sum.")
    if torch.allclose(got, -wanted, atol=1e-5):
        return Feedback(False, "the sign: the step subtracts this term, so q itself carries no minus.")
    if torch.allclose(got, w * (u * u).mean(0), atol=1e-5):
        return Feedback(False, "each neuron feels only itself here (the diagonal): that is Oja's forgetting.")
    return Feedback(False, "the shape is right, the numbers are not: how active are two neurons together, on average?")


@errors_as_hints
def check_best_weight(guess: Any, accuracies: Mapping[float, float]) -> Feedback:
    """Predict, then measure: which weight of decorrelation beside Hebb = 1 gives the best features?

    Args:
        guess: one of the weights tried.
        accuracies: few-shot accuracy of each weight.
    """
    allowed = ", ".join(f"{weight:g}" for weight in accuracies)
    if isinstance(guess, bool) or not isinstance(guess, (int, float)) or guess not in accuracies:
        return Feedback(False, f"choose one of {allowed}, and this is {guess!r}.")
    best = max(accuracies, key=lambda weight: accuracies[weight])
    if guess == best:
        return Feedback(True, f"at {best:g} the two terms balance: accuracy {accuracies[best]:.2f}.")
    if guess < best:
        return Feedback(False, "more than that. Hebb still wins here: look at how alike the neurons are.")
    return Feedback(
        False, "less than that. Neurons that mainly flee each other lose sight of what is common in the inputs."
    )
