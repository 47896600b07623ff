"""Checks for lesson 0: the few-shot gap, and a Hebbian step by hand."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from metarules.exercises.feedback import Feedback, errors_as_hints, number_between


@errors_as_hints
def check_gain(guess: Any, before: float, after: float) -> Feedback:
    """Predict, then measure: how much few-shot accuracy does learning without labels add?

    Args:
        guess: the predicted gain, as a difference of two accuracies.
        before, after: measured accuracies of the random and of the taught base model, in [0, 1].
    """
    gain = after - before
    return number_between(
        guess,
        gain - 0.1,
        gain + 0.1,
        f"measured: {before:.2f} before, {after:.2f} after, a gain of {gain:.2f}.",
        "more than that. A random net throws away much of what the raw pixels tell, and most of it can be won back.",
        "less than that. A random net is well above chance already, which is 0.10 for ten classes.",
    )


@errors_as_hints
def check_hebb_step(step: Callable[[Tensor, Tensor], Tensor]) -> Feedback:
    """A Hebbian change of weights from one batch: dW[i, j] = mean over the batch of x_i times y_j.

    Args:
        step: the learner's function from x [batch, n_in] and y [batch, n_out] to dW [n_in, n_out].
    """
    g = torch.Generator().manual_seed(3)
    x, y = torch.rand(12, 5, generator=g), torch.rand(12, 3, generator=g)
    wanted = x.T @ y / 12
    got = step(x, y)
    if not isinstance(got, Tensor):
        return Feedback(False, f"a tensor of shape [5, 3] is wanted, and this is a {type(got).__name__}.")
    if got.shape == wanted.T.shape:
        return Feedback(False, f"the shape is {list(got.shape)}: rows should be inputs i, columns outputs j.")
    if got.shape != wanted.shape:
        return Feedback(False, f"the shape is {list(got.shape)}, but W is [n_in, n_out] = [5, 3].")
    if torch.allclose(got, wanted, atol=1e-5):
        return Feedback(True, "each weight moves by how often its two neurons are active together.")
    if torch.allclose(got, wanted * 12, atol=1e-4):
        return Feedback(False, "close: take the mean over the batch, not the sum, or the step grows with the batch.")
    if torch.allclose(got, -wanted, atol=1e-5):
        return Feedback(False, "the sign is the other way round: together active means a larger weight.")
    return Feedback(
        False, "the shape is right, the numbers are not: multiply x_i by y_j example by example, then average."
    )


@errors_as_hints
def check_locality(answer: Any) -> Feedback:
    """Which of the rule's signals cross neurons of one layer? Answers are names, see `LOCAL_INPUTS` and the terms.

    Args:
        answer: a set, list or tuple of names out of "x", "z", "delta", "weight_stats", "layer_stats", "softmax",
            "decorr_x".
    """
    if isinstance(answer, str) or not hasattr(answer, "__iter__"):
        return Feedback(False, 'give a set of names, such as {"x", "z"}.')
    given = set(answer)
    crossing = {"layer_stats", "softmax", "decorr_x"}
    own = {"x", "z", "delta", "weight_stats"}
    unknown = given - crossing - own
    if unknown:
        return Feedback(False, f"{', '.join(map(repr, sorted(map(str, unknown))))} is not among the seven names.")
    if given == crossing:
        return Feedback(True, "these three are the lateral signals; everything else a neuron can know by itself.")
    wrong = given & own
    if wrong:
        return Feedback(
            False, f"{', '.join(sorted(wrong))}: a neuron has that without asking its neighbours in the layer."
        )
    return Feedback(False, f"right so far, {len(crossing - given)} missing: which others need the whole layer at once?")
