"""Checks for lesson 0: the few-shot gap, what is local, a Hebbian step and the few-shot probe by hand."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from metarules.exercises.feedback import Feedback, errors_as_hints, number_between
from metarules.exercises.prediction import predicted

WORDS = ("own", "activity", "both")
SIGNALS = {  # name -> whose it is
    "x": "own",
    "delta": "own",
    "weight_stats": "own",
    "softmax": "activity",
    "layer_stats": "activity",
    "decorr_x": "both",
    "lin_upper_symm": "both",
}


@predicted("a number between 0 and 1")
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


@predicted("a word for each signal")
def check_locality(answer: Any) -> Feedback:
    """What does each signal tell a neuron of: itself alone, the activity of other neurons of its layer, or both?

    Args:
        answer: a mapping from each name of `SIGNALS` to "own", "activity" or "both" (activity and weights of others).
    """
    if not isinstance(answer, Mapping):
        return Feedback(False, 'give a dictionary such as {"x": "own", ...}.')
    answer = {name: word for name, word in answer.items() if word is not ...}
    if not answer:
        return Feedback(False, f"write one of {', '.join(WORDS)} for each signal.", waiting=True)
    strange = [name for name, word in answer.items() if name not in SIGNALS or word not in WORDS]
    if strange:
        return Feedback(False, f"{strange[0]!r}: {answer[strange[0]]!r} is not among {', '.join(WORDS)}.")
    wrong = [name for name, word in SIGNALS.items() if answer.get(name) != word]
    if not wrong:
        return Feedback(True, "two lateral inputs, two lateral terms; everything else a neuron can know by itself.")
    right = f"{len(SIGNALS) - len(wrong)} of {len(SIGNALS)} are right"
    hints = {
        "x": "a neuron's own activity needs nobody else.",
        "delta": "the signal comes down through the neuron's own weights V.",
        "weight_stats": "these are the weights at its own synapses, those that come in and those that go out.",
        "softmax": "a share of a layer needs the others' activity, and no weights.",
        "layer_stats": "a mean over the layer needs the others' activity, and no weights.",
        "decorr_x": "to undo what others do, one must know how active they are, and what they do: their weights.",
        "lin_upper_symm": "it mixes the weights of neurons that are alike: alike in what, and what is mixed?",
    }
    return Feedback(False, f"{right}. {wrong[0]}: {hints[wrong[0]]}")


@errors_as_hints
def check_probe(probe: Callable[[Tensor, Tensor, Tensor], float]) -> Feedback:
    """A few-shot probe: a linear read-out fitted on the chosen examples, its accuracy on all others.

    Args:
        probe: the learner's function from features [N, f], labels [N] and the numbers of the chosen examples [n] to an
            accuracy in [0, 1].
    """
    g = torch.Generator().manual_seed(4)
    y = torch.arange(240) % 3
    x = 1.1 * torch.nn.functional.one_hot(y, 12) + torch.randn(240, 12, generator=g) + 2
    chosen = torch.arange(36)
    got = probe(x.float(), y, chosen)
    if isinstance(got, bool) or not isinstance(got, (int, float, Tensor)) or torch.as_tensor(got).numel() != 1:
        return Feedback(False, f"one number is wanted, the accuracy, and this is a {type(got).__name__}.")
    others = torch.ones(240, dtype=torch.bool)
    others[chosen] = False
    A = torch.cat([x, torch.ones(240, 1)], 1)
    w = torch.linalg.lstsq(A[chosen], torch.nn.functional.one_hot(y[chosen], 3).float()).solution
    hit = ((A @ w).argmax(1) == y).double()
    wanted, fitted, every = hit[others].mean(), hit[chosen].mean(), hit.mean()
    if abs(float(got) - wanted) < 0.03:
        return Feedback(True, "that is the yardstick of all lessons: repeat it with other draws, and take the mean.")
    if abs(float(got) - fitted) < 0.02:
        return Feedback(False, "you score the examples that the read-out was fitted on: score all the others.")
    if abs(float(got) - every) < 0.02:
        return Feedback(False, "the fitted examples are among those you score: leave them out.")
    if float(got) > 1:
        return Feedback(False, "an accuracy is a share, between 0 and 1.")
    return Feedback(False, "the accuracy is another one. Is a column of ones there, and is the largest answer taken?")
