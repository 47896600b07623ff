"""Checks for lesson 3: what a switched-off term costs, which term is which, one term's part, the learned product."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from metarules.exercises.feedback import Feedback, errors_as_hints, number_between
from metarules.exercises.prediction import predicted

FORMULAS = {"A": "soft", "B": "w_base", "C": "hebb", "D": "decorr_x", "E": "large_decay"}


@predicted("a number between 0 and 1")
def check_without(guess: Any, with_all: float, without: float) -> Feedback:
    """Predict, then measure: few-shot accuracy when the rule teaches without its Hebbian term.

    Args:
        guess: the predicted accuracy without it.
        with_all, without: measured accuracies, in [0, 1].
    """
    answer = number_between(
        guess,
        without - 0.03,
        without + 0.03,
        f"measured: {with_all:.2f} with all terms, {without:.2f} without hebb. Other terms do much of the same work.",
        "higher than that. Look at the shares again: which other terms push the same way as hebb?",
        "lower than that: nothing here reaches so high.",
    )
    if not answer.right and isinstance(guess, (int, float)) and guess > 1:
        return Feedback(False, "an accuracy lies between 0 and 1, such as 0.8.")
    return answer


@errors_as_hints
def check_matching(answer: Any) -> Feedback:
    """Which term is which: formulas A to E to names of terms.

    Args:
        answer: a mapping from "A", .., "E" to a name.
    """
    if not isinstance(answer, Mapping):
        return Feedback(False, 'give a dictionary such as {"A": "hebb", ...}.')
    answer = {letter: name for letter, name in answer.items() if name is not ...}
    if not answer:
        return Feedback(False, "write the name of a term for each letter.", waiting=True)
    strange = sorted(map(str, set(answer.values()) - set(FORMULAS.values())))
    if strange:
        return Feedback(False, f"{', '.join(strange)}: not among {', '.join(sorted(FORMULAS.values()))}.")
    missing = [letter for letter in FORMULAS if letter not in answer]
    if missing:
        return Feedback(False, f"no answer yet for {', '.join(missing)}.")
    if {answer["A"], answer["C"]} == {"hebb", "soft"} and answer["A"] == "hebb":
        return Feedback(False, "A and C look alike; in one of them the upper neurons compete (a softmax) first.")
    right = sum(answer[letter] == name for letter, name in FORMULAS.items())
    if right == len(FORMULAS):
        return Feedback(True, "all five. Two of them need the batch's activity alone, two the weight alone, one both.")
    return Feedback(
        False, f"{right} of {len(FORMULAS)} are right. Ask of each: does it need the weight, activity, both?"
    )


@errors_as_hints
def check_part(part: Callable[[Tensor, float, Tensor, float], Tensor]) -> Feedback:
    """One term's part in the change before the bound: normalised per column, weighted, gated.

    Args:
        part: the learner's function from the term T [n_in, n_out], its coefficient a, the gates g [n_out] and eps to
            a g T / sqrt(eps + column mean of T^2) [n_in, n_out].
    """
    generator = torch.Generator().manual_seed(5)
    T, g = torch.randn(6, 4, generator=generator), 2 * torch.rand(4, generator=generator)
    a, eps = 0.7, 0.1
    wanted = a * g * T * torch.rsqrt(eps + T.square().mean(0))
    got = part(T, a, g, eps)
    if not isinstance(got, Tensor):
        return Feedback(False, f"a tensor of shape [6, 4] is wanted, and this is a {type(got).__name__}.")
    if got.shape != wanted.shape:
        return Feedback(False, f"the shape is {list(got.shape)}, but a part has the term's shape, [6, 4].")
    if torch.allclose(got, wanted, atol=1e-5):
        return Feedback(True, "so every neuron gives each term its own volume, whatever size the term came in.")
    wrong = {
        "the gates are missing: each column j is multiplied by g[j].": wanted / g,
        "the coefficient a is missing.": wanted / a,
        "one size for the whole matrix: take the mean of T squared down each column, dim 0.": (
            a * g * T * torch.rsqrt(eps + T.square().mean())
        ),
        "the root is missing: divide by sqrt(eps + mean of T squared).": a * g * T / (eps + T.square().mean(0)),
        "eps belongs under the root.": a * g * T * torch.rsqrt(T.square().mean(0)),
        "the sum of squares grows with the number of inputs: take their mean.": (
            a * g * T * torch.rsqrt(eps + T.square().sum(0))
        ),
    }
    for hint, value in wrong.items():
        if torch.allclose(got, value, atol=1e-5):
            return Feedback(False, hint)
    return Feedback(
        False, "the shape is right, the numbers are not: normalise each column, then multiply by a and by g."
    )


@errors_as_hints
def check_product(product: Callable[..., Tensor]) -> Feedback:
    """The learned product `0_order` and its part in the change: read-outs of two hidden states, multiplied, mixed.

    Args:
        product: the learner's function from h_below [B, i, C], h_above [B, j, C], lower and upper (each weights [C, G]
            and biases [G]), the coefficient a, the gates' weights gate [C] and eps to the part [i, j].
    """
    g = torch.Generator().manual_seed(8)
    below, above = torch.rand(9, 6, 5, generator=g), torch.rand(9, 4, 5, generator=g)
    lower, upper = ((torch.randn(5, 2, generator=g), torch.randn(2, generator=g)) for _ in range(2))
    gate, a, eps = torch.randn(5, generator=g), 0.7, 0.1
    got = product(below, above, lower, upper, a, gate, eps)
    if not isinstance(got, Tensor) or got.shape != (6, 4):
        what = list(got.shape) if isinstance(got, Tensor) else type(got).__name__
        return Feedback(False, f"a tensor of shape [i, j] = [6, 4] is wanted, and this is {what}.")
    r_l, r_u = below @ lower[0] + lower[1], above @ upper[0] + upper[1]
    T = torch.einsum("big,bjg->ij", r_l, r_u) / (2 * 9)
    size, turned = (eps + T.square().mean(0)).sqrt(), 1 + torch.tanh(above.mean(0) @ gate)
    unbiased = torch.einsum("big,bjg->ij", below @ lower[0], above @ upper[0]) / (2 * 9)
    values = {
        "right": a * turned * T / size,
        "the gates are missing: 1 + tanh of the mean of h_above over the batch, read out by gate.": a * T / size,
        "the gates lie between 0 and 2: 1 + tanh(..).": a * (turned - 1) * T / size,
        "the product is not brought to one size for each neuron yet.": a * turned * T,
        "the product itself is another one: take its mean over the batch and the G channels.": (
            a * turned * 18 * T / (eps + (18 * T).square().mean(0)).sqrt()
        ),
        "the read-outs have biases too.": a * turned * unbiased / (eps + unbiased.square().mean(0)).sqrt(),
    }
    for hint, value in values.items():
        if torch.allclose(got, value, atol=1e-5):
            right = hint == "right"
            return Feedback(right, "a weight changes by what the hidden states of its two ends say." if right else hint)
    return Feedback(False, "the numbers are others. First the two read-outs, [B, i, G] and [B, j, G]; then a product.")
