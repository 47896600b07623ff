"""Checks for lesson 1: batch norm by hand, the price of random layers, a row on its own, a network frozen by hand."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from metarules.base_model import BaseModelState, InitSettings, forward, init_state
from metarules.exercises.feedback import Feedback, errors_as_hints, number_between
from metarules.exercises.prediction import predicted


@errors_as_hints
def check_layer(layer: Callable[[Tensor, Tensor, Tensor], Tensor]) -> Feedback:
    """One layer of the base model: x [B, n], W [n, m], b [m] -> relu of u = xW, normalised over the batch, plus b.

    Args:
        layer: the learner's function of x, W and b.
    """
    phi = init_state(
        (6, 4), settings=InitSettings(weight_std=1.0, bias_std=1.0), generator=torch.Generator().manual_seed(1)
    )
    W, b = phi.layers[0].W, phi.layers[0].b
    x = torch.rand(20, 6, generator=torch.Generator().manual_seed(2)) * 5
    wanted = forward(phi, x).x[1]
    got = layer(x, W, b)
    if not isinstance(got, Tensor) or got.shape != wanted.shape:
        shape = list(got.shape) if isinstance(got, Tensor) else type(got).__name__
        return Feedback(False, f"a tensor of shape [20, 4] is wanted, and this is {shape}.")
    if torch.allclose(got, wanted, atol=1e-3):
        return Feedback(True, "that is the whole base model: every layer does this and nothing else.")
    u = x @ W
    if torch.allclose(got, torch.relu((u - u.mean(0)) / u.std(0) + b), atol=1e-3):
        return Feedback(False, "nearly: std divides by B - 1, batch norm by B: u.std(0, correction=0).")
    if (got < -1e-6).any():
        return Feedback(False, "some values are below 0: the ReLU, torch.relu, comes last.")
    if torch.allclose(got, torch.relu(u + b), atol=1e-3):
        return Feedback(False, "batch norm is missing: subtract the mean over the batch, divide by the deviation.")
    if torch.allclose(got, torch.relu((u - u.mean()) / u.std() + b), atol=5e-2):
        return Feedback(False, "mean and deviation are taken over everything: each neuron has its own (dim 0).")
    if torch.allclose(got, torch.relu((u + b - u.mean(0)) / u.std(0, correction=0)), atol=1e-2):
        return Feedback(False, "the bias is added before the division: it comes after batch norm.")
    return Feedback(False, "the shape is right, the numbers are not: u = x @ W, batch norm over dim 0, plus b, ReLU.")


@predicted("a number between 0 and 1")
def check_depth_guess(guess: Any, shallow: float, deep: float) -> Feedback:
    """Predict, then measure: few-shot accuracy on top of a random net of five layers.

    Args:
        guess: the predicted accuracy.
        shallow, deep: measured accuracies of one random layer and of five.
    """
    return number_between(
        guess,
        deep - 0.08,
        deep + 0.08,
        f"measured: {shallow:.2f} with one random layer, {deep:.2f} with five.",
        "better than that: five random layers blur the classes, they do not erase them. Guessing is 0.10.",
        f"worse than that. One random layer leaves {shallow:.2f}, and every further one takes its share.",
    )


@errors_as_hints
def check_freeze(freeze: Callable[[BaseModelState, Tensor], list[tuple[Tensor, Tensor]]]) -> Feedback:
    """A base model without batch norm: layer by layer a matrix and a bias that give what phi gives in its crowd.

    Args:
        freeze: the learner's function from phi and the crowd x [N, n_0] to a list of (W [n_in, n_out], b [n_out]).
    """
    g = torch.Generator().manual_seed(5)
    settings = InitSettings(weight_std=1.0, bias_std=1.0)
    phi = init_state((6, 5, 4), settings=settings, generator=g, dtype=torch.float64)
    x = 5 * torch.rand(20, 6, generator=g, dtype=torch.float64)
    got = freeze(phi, x)
    if not isinstance(got, (list, tuple)) or len(got) != 2 or any(len(part) != 2 for part in got):
        return Feedback(False, "a list of a pair (W, b) for each layer is wanted: two pairs here.")
    here = wanted = x
    for l, (W, b) in enumerate(got, start=1):
        shapes = [list(W.shape), list(b.shape)]
        if shapes != [list(phi.layers[l - 1].W.shape), list(phi.layers[l - 1].b.shape)]:
            return Feedback(False, f"W and b of layer {l} have the shapes {shapes}, and must have those of phi's own.")
        here, wanted = torch.relu(here @ W + b), forward(phi, x).x[l]
        if not torch.allclose(here, wanted, atol=1e-4):
            return Feedback(False, f"layer {l} answers otherwise than phi. {_unfrozen(phi, x, l, W, b)}")
    return Feedback(True, "plain matrices and biases, and a row answers the same alone as in the crowd.")


def _unfrozen(phi: BaseModelState, x: Tensor, l: int, W: Tensor, b: Tensor) -> str:
    """What may be wrong with a frozen layer."""
    u = forward(phi, x).x[l - 1] @ phi.layers[l - 1].W
    size = u.std(0, correction=0)
    if torch.allclose(W, phi.layers[l - 1].W):
        return "W has not changed: batch norm divides u by its deviation, and so each column of W."
    if torch.allclose(W, phi.layers[l - 1].W * size):
        return "W is multiplied by the deviation; batch norm divides by it."
    if torch.allclose(W, phi.layers[l - 1].W / size, rtol=1e-4) and torch.allclose(b, phi.layers[l - 1].b):
        return "W is right. Batch norm also subtracts a mean: it has to go into b."
    if torch.allclose(W, phi.layers[l - 1].W / size, rtol=1e-4):
        return "W is right, b is not: the mean of u is divided by the deviation too, and then subtracted."
    return (
        "u is made of what this layer gets, the activity of the layer below, and not of x." if l > 1 else "Write z out."
    )


@predicted('one of the letters "a", "b" or "c"')
def check_frozen(answer: Any) -> Feedback:
    """Why is a network frozen after learning? Answers are letters.

    Args:
        answer: "a" (it gets faster), "b" (a row's features must not depend on the other rows), or "c" (the weights
            would go on changing).
    """
    hints = {
        "a": "it does save a few operations, but that is not the point: what does batch norm look at besides the row?",
        "c": "weights change only when a rule is called; forward changes nothing. What else could change the answer?",
    }
    if answer == "b":
        return Feedback(True, "batch norm compares a row with its batch; frozen statistics stand in for that batch.")
    return Feedback(False, hints.get(answer, 'give one of the letters "a", "b" or "c".'))
