"""Checks for lesson 4: what is left of W - V, when V has turned half-way, and the cosine after t steps."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from metarules.exercises.feedback import Feedback, errors_as_hints, number_between


@errors_as_hints
def check_difference(difference: Callable[[Tensor, Tensor, float, int], Tensor]) -> Feedback:
    """What is left of W - V after t steps in which both got the same change: (1 - lr)^t (W_0 - V_0).

    Args:
        difference: the learner's function from W_0 and V_0 [n_in, n_out], the step size and t to W_t - V_t.
    """
    g = torch.Generator().manual_seed(4)
    W, V = (torch.randn(3, 2, generator=g, dtype=torch.float64) for _ in range(2))
    lr, t = 0.05, 7
    w, v = W, V
    for _ in range(t):  # any change whatever, as long as both get it
        change = torch.randn(3, 2, generator=g, dtype=torch.float64)
        w, v = w * (1 - lr) - lr * change, v * (1 - lr) - lr * change
    wanted = w - v
    got = difference(W, V, lr, t)
    if not isinstance(got, Tensor):
        return Feedback(False, f"a tensor of shape [3, 2] is wanted, and this is a {type(got).__name__}.")
    if got.shape != wanted.shape:
        return Feedback(False, f"the shape is {list(got.shape)}, but W - V has the shape of W, [3, 2].")
    got = got.double()
    if torch.allclose(got, wanted, atol=1e-6):
        return Feedback(True, "whatever the rule does, what V and W did not share is multiplied by 1 - lr every step.")
    if torch.allclose(got, W - V, atol=1e-6):
        return Feedback(False, "this is the difference at the start. The changes cancel, the decay does not.")
    if torch.allclose(got, -wanted, atol=1e-6):
        return Feedback(False, "the sign: W - V is asked for, not V - W.")
    if torch.allclose(got, (1 - lr) * (W - V), atol=1e-6):
        return Feedback(False, "right for a single step; now think of t of them.")
    if torch.allclose(got, (1 - lr * t) * (W - V), atol=1e-6):
        return Feedback(False, "nearly: each step takes its share of what the steps before it left.")
    if torch.allclose(got, lr**t * (W - V), atol=1e-9):
        return Feedback(False, "lr is the share that goes; what stays each step?")
    return Feedback(False, "subtract the two update equations from one another for t = 1: what cancels, what is left?")


@errors_as_hints
def check_turning_step(guess: Any, measured: int) -> Feedback:
    """Predict, then measure: the first inner step at which V and W are nearer than 45 degrees.

    Args:
        guess: the predicted step.
        measured: the step found.
    """
    return number_between(
        guess,
        measured - 6,
        measured + 6,
        f"measured: step {measured}. By then the shared part has become longer than the private one.",
        "later than that. In so few steps little of the old difference has decayed: look at 1 - lr once more.",
        "earlier than that. The difference need not vanish; it must only become shorter than what is shared.",
    )


@errors_as_hints
def check_cosine(cosine: Callable[[float, float, float, int], float]) -> Feedback:
    """The cosine of V and W after t steps: s^2 / (s^2 + p^2) with p = (1 - lr)^t p_0.

    Args:
        cosine: the learner's function from s (root mean square of the shared part), p_0 (of each private part at the
            start), the step size and t to the cosine.
    """
    s, p_0, lr, t = 0.5, 0.3, 0.05, 9
    p = (1 - lr) ** t * p_0
    got = cosine(s, p_0, lr, t)
    if isinstance(got, Tensor) and got.numel() == 1:
        got = float(got)
    wanted = s**2 / (s**2 + p**2)
    verdict = number_between(got, wanted - 1e-6, wanted + 1e-6, "shared over shared plus private, all squared.", "", "")
    if verdict.right or verdict.message:
        return verdict
    hints = {
        s**2 / (s**2 + p_0**2): "the private part has decayed for t steps by then.",
        s / (s + p): "lengths add up by their squares: a product of two vectors holds s twice.",
        s / math.sqrt(s**2 + p**2): "this is the cosine of W with the shared part alone; V has a private part as well.",
        p**2 / (s**2 + p**2): "the other way round: the more is shared, the larger the cosine.",
        s**2
        / (s**2 + (1 - lr) ** t * p_0**2): "the length of the private part decays by (1 - lr)^t, and it is squared.",
        math.degrees(math.acos(wanted)): "this is the angle in degrees; the cosine is asked for.",
    }
    for value, hint in hints.items():
        if abs(got - value) < 1e-6:
            return Feedback(False, hint)
    return Feedback(False, "write W = S + A and V = S + B with S, A, B unrelated: which products are left in W . V?")
