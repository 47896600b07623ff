"""Checks for lesson 2: how many features are left, decorrelation by hand and too much of it, a whole rule."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from metarules.base_model import BaseModelState, InitSettings, init_state
from metarules.classic_rules.mixed import MixedRule
from metarules.exercises.feedback import Feedback, errors_as_hints, number_between
from metarules.exercises.prediction import predicted
from metarules.update_rule import Batch


@predicted("a number from 1 to 32")
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
    """The decorrelation term of one layer before normalisation: q = W_hat (x_up^T x_up / B).

    Args:
        term: the learner's function from W_hat [n_in, n_out] and x_up [batch, n_out] to q [n_in, n_out].
    """
    g = torch.Generator().manual_seed(5)
    w, u = torch.randn(6, 4, generator=g), torch.randn(9, 4, generator=g)
    wanted = w @ (u.T @ u) / 9
    got = term(w, u)
    if not isinstance(got, Tensor):
        return Feedback(False, f"a tensor of shape [6, 4] is wanted, and this is a {type(got).__name__}.")
    if got.shape == (4, 4):
        return Feedback(False, "that is a table of neurons by neurons; q must have the shape of W_hat, [6, 4].")
    if got.shape != wanted.shape:
        return Feedback(False, f"the shape is {list(got.shape)}, but q must have the shape of W_hat, [6, 4].")
    if torch.allclose(got, wanted, atol=1e-5):
        return Feedback(True, "each neuron is pushed away from the weights of those it is active together with.")
    if torch.allclose(got, 9 * wanted, atol=1e-4):
        return Feedback(False, "close: take the mean over the batch, not the sum.")
    if torch.allclose(got, -wanted, atol=1e-5):
        return Feedback(False, "the sign: the step subtracts this term, so q itself carries no minus.")
    if torch.allclose(got, w * (u * u).mean(0), atol=1e-5):
        return Feedback(False, "each neuron feels only itself here (the diagonal): that is Oja's forgetting.")
    return Feedback(False, "the shape is right, the numbers are not: how active are two neurons together, on average?")


@predicted("a number between 0 and 1")
def check_overdone(guess: Any, measured: float) -> Feedback:
    """Predict, then measure: what is left of the accuracy when decorrelation outweighs Hebb by half?

    Args:
        guess: the predicted few-shot accuracy.
        measured: the accuracy measured.
    """
    return number_between(
        guess,
        measured - 0.06,
        measured + 0.06,
        f"measured: {measured:.2f}. Too much is as bad as too little: the two terms have to balance.",
        "more than that. Neurons that flee each other still see the data, if from odd angles.",
        "less than that. Neurons that mainly flee each other lose sight of what is common in the inputs.",
    )


@errors_as_hints
def check_whole_rule(rule: Callable[[BaseModelState, Batch], BaseModelState]) -> Feedback:
    """Hebb and decorrelation as one rule: one step of it must be that of `MixedRule` with hebb 1 and decorr 0.9.

    Args:
        rule: the learner's function from (phi, batch) to the next phi.
    """
    g = torch.Generator().manual_seed(2)
    phi = init_state((7, 6, 5), settings=InitSettings(weight_std=0.3, bias_std=0.1), generator=g, dtype=torch.float64)
    batch = Batch(torch.rand(40, 7, generator=g, dtype=torch.float64))
    got = rule(phi, batch)
    if not isinstance(got, BaseModelState):
        return Feedback(False, f"the next phi is wanted, phi.with_layers(layers), and this is a {type(got).__name__}.")
    if got.sizes != phi.sizes or not all(torch.equal(a.b, p.b) for a, p in zip(got.layers, phi.layers, strict=True)):
        return Feedback(False, "biases, V and all shapes stay as they are; only W is new.")
    recipe = {"lr": 0.03, "decay": 1.0, "hebb": 1.0, "decorr": 0.9}
    if _same_W(got, MixedRule.with_settings(**recipe)(phi, batch)):
        return Feedback(True, "a whole learning rule, step for step that of the package. Now watch it learn.")
    if _same_W(got, phi):
        return Feedback(False, "no weight has moved.")
    hints = {
        "this is Hebb alone: where is decorrelation?": {"decorr": 0.0},
        "the sign: decorrelation is subtracted from Hebb, both normalised.": {"decorr": -0.9},
        "the weight of decorrelation is 0.9.": {"decorr": 1.0},
        "the signs are all turned: Hebb is added to W, decorrelation subtracted.": {"hebb": -1.0, "decorr": -0.9},
        "old weights do not decay: (1 - 0.03) W, and not W.": {"decay": 0.0},
    }
    for hint, other in hints.items():
        if _same_W(got, MixedRule.with_settings(**{**recipe, **other})(phi, batch)):
            return Feedback(False, hint)
    if torch.allclose(got.layers[0].W, MixedRule.with_settings(**recipe)(phi, batch).layers[0].W, rtol=1e-3):
        return Feedback(False, "the first layer is right, the second is not: it works on x[1] and x[2].")
    return Feedback(
        False, "the step is another one. Is everything standardised, is each of the two changes normalised by itself?"
    )


def _same_W(one: BaseModelState, other: BaseModelState) -> bool:
    pairs = zip(one.layers, other.layers, strict=True)
    return all(torch.allclose(a.W, b.W, rtol=1e-3, atol=1e-5) for a, b in pairs)
