"""Checks for lesson 6: the unroll by hand, layers that copy, many more steps, where to cut the graph."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from metarules.base_model import BaseModelState, InitSettings, init_state
from metarules.classic_rules import get_rule
from metarules.exercises.feedback import Feedback, errors_as_hints, number_between
from metarules.exercises.prediction import predicted
from metarules.inner_loop import unroll
from metarules.update_rule import LocalRule, UpdateRule

_SIZES, _BATCHES, _CUT = (6, 5, 4), 4, 2  # as small as can tell right from wrong: no cell waits for it
_WITHIN = 0.015  # of the measured accuracy: half of what separates it from the tempting answers


@errors_as_hints
def check_unroll(apply: Callable[..., BaseModelState]) -> Feedback:
    """phi_T = U(.. U(U(phi_0, x_0), x_1) .., x_{T-1}).

    Args:
        apply: the learner's function from (rule, phi_0, batches) to phi_T.
    """
    rule = get_rule("oja")
    phi, batches = _small(torch.float64)
    got = apply(rule, phi, list(batches))
    if isinstance(got, (list, tuple)):
        return Feedback(False, f"one phi is wanted, and this is a {type(got).__name__}: only the last counts.")
    if not isinstance(got, BaseModelState):
        return Feedback(False, f"a base model is wanted, and this is a {type(got).__name__}. What does rule(...) give?")
    if _alike(got, unroll(rule, phi, batches)):
        return Feedback(True, "and the order of the batches counts: the loop is a composition, not a sum.")
    traps = (
        (phi, "phi has not moved: rule(phi, x) gives a new phi and leaves the old one as it was. Keep what it gives."),
        (
            rule(phi, batches[-1]),
            "only the last batch has worked: every step must start from the phi before it.",
        ),
        (unroll(rule, phi, batches[:-1]), "the last batch is missing."),
        (unroll(rule, phi, batches[1:]), "the first batch is missing."),
        (unroll(rule, phi, batches[::-1]), "the batches come in the wrong order: the first one is the innermost."),
    )
    for wrong, words in traps:
        if _alike(got, wrong):
            return Feedback(False, words)
    return Feedback(False, "not the phi that T applications give. Start with phi = phi_0 and go through the batches.")


@predicted("a number between 0 and 1")
def check_many_steps(guess: Any, recommended: float, four_times: float) -> Feedback:
    """Predict, then measure: the accuracy after four times as many steps as the rule recommends.

    Args:
        guess: the predicted accuracy, 0 to 1.
        recommended, four_times: measured accuracies after the recommended number of steps, and after four times that.
    """
    return number_between(
        guess,
        four_times - _WITHIN,
        four_times + _WITHIN,
        f"measured: {recommended:.2f} after the recommended steps, {four_times:.2f} after four times as many. The rule "
        "was trained to leave every state a good one, not only the last, and so it has learned to stay.",
        "better than that. It is plain Hebb that ruins what it has built; what was this rule rewarded for?",
        "less than that. Most of the gain came within the first 25 steps; what is left to be won without labels?",
    )


@errors_as_hints
def check_truncated(apply: Callable[..., BaseModelState]) -> Feedback:
    """All batches are applied, but only the last J steps are to be differentiated.

    Args:
        apply: the learner's function from (rule, phi_0, batches, J) to phi_T.
    """
    rule = LocalRule(dtype=torch.float64)
    phi, batches = _small(torch.float64)
    with torch.enable_grad():
        got = apply(rule, phi, list(batches), _CUT)
        if not isinstance(got, BaseModelState):
            return Feedback(False, f"a base model is wanted, and this is a {type(got).__name__}.")
        if not _alike(got, unroll(rule, phi, batches)):
            return Feedback(False, "phi_T itself is not the same: truncation changes the gradient and never the steps.")
        if not got.layers[0].W.requires_grad:
            return Feedback(False, "nothing can be differentiated here: keep_graph=True for the last J steps.")
        mine = _gradient(rule, got)
        right, whole, one = (_gradient(rule, _cut(rule, phi, batches, k)) for k in (_CUT, _BATCHES, 1))
    if torch.allclose(mine, right, rtol=1e-6, atol=1e-12):
        return Feedback(True, "the graph now holds J steps, however long the unroll: that is what makes it affordable.")
    if torch.allclose(mine, whole, rtol=1e-6, atol=1e-12):
        return Feedback(False, "the gradient still goes through all steps: run the early ones with keep_graph=False.")
    if torch.allclose(mine, one, rtol=1e-6, atol=1e-12):
        return Feedback(False, "only one step is differentiated. How many batches are batches[-J:]?")
    return Feedback(False, "another piece of the unroll is differentiated. Which batches are the last J?")


@errors_as_hints
def check_copies(copies: Callable[[Tensor, Tensor], tuple[float, int]]) -> Feedback:
    """How much of a layer is copied from the one below: each neuron's largest correlation with a neuron there.

    Args:
        copies: the learner's function from activities below [N, n] and above [N, m] to the median over the m neurons
            of their largest correlation with a neuron below, and the number of different neurons that it is with.
    """
    g = torch.Generator().manual_seed(10)
    below = 3 + torch.rand(400, 7, generator=g)
    sources = torch.tensor([0, 0, 1, 2, 6])
    above = 5 * below[:, sources] + torch.tensor([0.1, 0.5, 1.0, 2.0, 4.0]) * torch.randn(400, 5, generator=g)
    table = torch.corrcoef(torch.cat([below, above], 1).T)[:7, 7:]  # [n, m]
    got = copies(below, above)
    if not isinstance(got, (tuple, list)) or len(got) != 2:
        return Feedback(False, f"two numbers are wanted, (median, how many), and this is a {type(got).__name__}.")
    median, number = float(got[0]), int(got[1])
    largest = table.max(0)
    hints = {
        "right": largest.values.median(),
        "that is the mean over the neurons: take the median.": largest.values.mean(),
        "the largest is taken for each neuron below; take it for each one above (dim 0).": table.max(1).values.median(),
        "that is the largest of all: one for each neuron above, and then the median.": table.max(),
        "that is the median of all correlations: first the largest for each neuron above.": table.median(),
    }
    for hint, value in hints.items():
        if abs(median - float(value)) < 2e-3:
            if hint != "right":
                return Feedback(False, hint)
            if number != int(largest.indices.unique().numel()):
                return Feedback(
                    False, "the median is right. To how many different neurons below do the largest belong?"
                )
            return Feedback(True, "a layer of copies has a median near 1, and copies many different neurons.")
    return Feedback(False, "another median. A correlation: both centred and scaled to size 1, then multiplied.")


def _small(dtype: torch.dtype) -> tuple[BaseModelState, list[Tensor]]:
    """A little base model and a few batches."""
    g = torch.Generator().manual_seed(6)
    phi = init_state(_SIZES, settings=InitSettings(weight_std=0.3, bias_std=0.0), generator=g, dtype=dtype)
    return phi, [torch.randn(8, _SIZES[0], generator=g, dtype=dtype) for _ in range(_BATCHES)]


def _alike(one: BaseModelState, other: BaseModelState) -> bool:
    pairs = zip(one.layers, other.layers, strict=True)
    return all(torch.allclose(a.W, b.W, rtol=1e-7, atol=1e-10) for a, b in pairs)


def _cut(rule: UpdateRule, phi: BaseModelState, batches: Sequence[Tensor], k: int) -> BaseModelState:
    """The unroll with a graph over its last k steps."""
    return unroll(rule, unroll(rule, phi, batches[:-k]), batches[-k:], keep_graph=True)


def _gradient(rule: UpdateRule, phi: BaseModelState) -> Tensor:
    """Gradient of one number made of phi with respect to theta, as one vector."""
    total = torch.stack([layer.W.square().sum() for layer in phi.layers]).sum()
    parts = torch.autograd.grad(total, list(rule.parameters()), retain_graph=True, allow_unused=True)
    every = zip(parts, rule.parameters(), strict=True)
    return torch.cat([(torch.zeros_like(p) if part is None else part).flatten() for part, p in every])
