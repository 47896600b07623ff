"""Checks for lesson 4: what is left of W - V, when V has turned half-way, the cosine after t steps, Kolen-Pollack."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from metarules.exercises.feedback import Feedback, errors_as_hints, number_between
from metarules.exercises.prediction import predicted


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


@predicted("an inner step, a whole number")
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


@errors_as_hints
def check_kolen_pollack(step: Callable[..., tuple[Tensor, Tensor, Tensor]]) -> Feedback:
    """One step of Kolen and Pollack's rule in a net of two layers, without batch norm and biases.

    Args:
        step: the learner's function from W1 [n, m], W2 [m, k], V2 [m, k], x [B, n], y [B, k], lr and decay to the new
            (W1, W2, V2).
    """
    g = torch.Generator().manual_seed(7)
    W1, W2, V2 = (torch.randn(shape, generator=g, dtype=torch.float64) for shape in ((5, 4), (4, 3), (4, 3)))
    x, y = torch.rand(8, 5, generator=g, dtype=torch.float64), torch.rand(8, 3, generator=g, dtype=torch.float64)
    lr, decay = 0.3, 0.2
    got = step(W1, W2, V2, x, y, lr, decay)
    if not isinstance(got, tuple) or [list(w.shape) for w in got] != [[5, 4], [4, 3], [4, 3]]:
        return Feedback(False, "three tensors are wanted, W1, W2 and V2, each of the shape that it had.")
    h = torch.relu(x @ W1)
    e = (h @ W2 - y) / len(x)

    def after(back: Tensor, *, gate: bool = True, scale: float = 1.0, kept: float = 1 - lr * decay) -> Tensor:
        d = e @ back.T * (h > 0) if gate else e @ back.T
        return kept * W1 - lr * scale * x.T @ d

    change = h.T @ e
    if not torch.allclose(got[1], (1 - lr * decay) * W2 - lr * change):
        if torch.allclose(got[1], W2 - lr * change):
            return Feedback(False, "W2 does not decay: (1 - lr decay) W2 comes first.")
        if torch.allclose(got[1], (1 - lr * decay) * W2 - lr * len(x) * change):
            return Feedback(False, "take the mean over the batch: divide the error by B.")
        return Feedback(False, "W2 is another one. Its change is h^T e, with e = (h W2 - y) / B.")
    if not torch.allclose(got[2], (1 - lr * decay) * V2 - lr * change):
        if torch.allclose(got[2], V2):
            return Feedback(False, "V2 has stayed: this is feedback alignment. Give it W2's change and decay.")
        return Feedback(False, "W2 is right, V2 is not: the same change, the same decay, from where V2 was.")
    hints = {
        "right": after(V2),
        "the signal comes down through W2: that is weight transport.": after(W2),
        "the ReLU's gate is missing: no signal where h is 0.": after(V2, gate=False),
        "W1 has to decay as well.": after(V2, kept=1.0),
    }
    for hint, value in hints.items():
        if torch.allclose(got[0], value):
            right = hint == "right"
            return Feedback(right, "backprop without weight transport, in a dozen lines." if right else hint)
    return Feedback(False, "W2 and V2 are right, W1 is not: its change is x^T d, with d = (e V2^T) where h > 0.")
