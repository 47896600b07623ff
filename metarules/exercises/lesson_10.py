"""Checks for lesson 10: a first rule, a rule to repair, a guess about two numbers, a strictly local rule."""

from __future__ import annotations

import functools
import inspect
from typing import Any

import torch
from torch import Tensor

from metarules.base_model import BaseModelState, LayerState, forward, init_state
from metarules.evaluation.held_out import validate
from metarules.evaluation.locality import SIGNALS, lateral_signals
from metarules.exercises.feedback import UNFINISHED, Feedback, errors_as_hints, number_between
from metarules.exercises.prediction import predicted
from metarules.tasks import DistributionSettings, Task
from metarules.tasks.distribution import validation_tasks
from metarules.update_rule import Batch, FunctionRule, check_rule

STEPS, BATCH, N_TASKS = 50, 100, 4  # a second of a hand-written rule
_GAIN = 0.05  # accuracy that counts as learned: two standard errors of tasks as different as these, paired


@functools.cache
def letters() -> Task:
    """Four tasks of held-out letters, [4, 1000, 64]."""
    return validation_tasks(DistributionSettings(), N_TASKS, torch.Generator().manual_seed(10), "glyphs")


def reads_each(rule: Any, steps: int = STEPS) -> Tensor:
    """Few-shot accuracy on each task of held-out letters [4] after so many steps of a rule, or of a function as one."""
    return validate(FunctionRule.of(rule), letters(), steps=steps, batch_size=BATCH)


def reads_letters(rule: Any, steps: int = STEPS) -> float:
    """The mean of `reads_each`."""
    return float(reads_each(rule, steps).mean())


@functools.cache
def untaught() -> float:
    """The same for base models that nobody taught."""
    return reads_letters(lambda phi, batch: phi, steps=0)


def broken_rule(phi: BaseModelState, batch: Batch) -> BaseModelState:
    """The rule to repair: Hebb, as somebody wrote it in a hurry."""
    x, layers = forward(phi, batch.x).x, []
    for l, p in enumerate(phi.layers, start=1):
        below = (x[l - 1] - x[l - 1].mean(0)) / x[l - 1].std(0)
        above = (x[l] - x[l].mean(0)) / x[l].std(0)
        hebb = below.T @ above / len(below)
        layers.append(LayerState(0.97 * p.W + 0.03 * hebb, p.b, p.V))
    return phi.with_layers(layers)


def _contract(rule: Any) -> Feedback | None:
    """The first clause that a rule breaks, as a hint."""
    check = check_rule(rule)
    if check.passed:
        return None
    said = check.failures[0].sentence
    if "ellipsis" in said:
        return Feedback(False, UNFINISHED, waiting=True)
    return Feedback(False, f"{said}.")


@errors_as_hints
def check_own_rule(rule: Any) -> Feedback:
    """A first rule: it keeps the contract, and what it teaches can be read better than what nobody taught.

    Args:
        rule: the learner's function from (phi, batch) to phi, or an `UpdateRule`.
    """
    if (hint := _contract(rule)) is not None:
        return hint
    got, before = reads_letters(rule), untaught()
    if got < before - 0.03:
        return Feedback(
            False, "it keeps the contract, but letters are read worse than before learning: all neurons alike?"
        )
    if got < before + _GAIN:
        return Feedback(False, "it keeps the contract, but letters are read hardly better than before learning.")
    return Feedback(True, f"the contract is kept; letters: {before:.2f} untaught, {got:.2f} after {STEPS} steps.")


@errors_as_hints
def check_repaired(rule: Any) -> Feedback:
    """The repaired Hebb: the contract is kept, and where the broken one worked the change is the same.

    Args:
        rule: the learner's function from (phi, batch) to phi.
    """
    written, code = (getattr(inspect.unwrap(f), "__code__", None) for f in (broken_rule, rule))
    if code and written and (code.co_code, code.co_names) == (written.co_code, written.co_names):
        return Feedback(False, "this is the rule as it was written.", waiting=True)
    if (hint := _contract(rule)) is not None:
        return hint
    g = torch.Generator().manual_seed(3)
    phi = init_state((9, 5), generator=g, dtype=torch.float64)
    x = torch.rand(200, 9, generator=g, dtype=torch.float64)
    wanted = broken_rule(phi, Batch(x)).layers[0].W - 0.97 * phi.layers[0].W
    got = FunctionRule.of(rule)(phi, Batch(x)).layers[0].W - 0.97 * phi.layers[0].W
    if not bool((got - wanted).abs().max() < 0.02 * wanted.abs().max()):
        return Feedback(
            False, "the contract is kept, but it is no longer the same rule: Hebb at step size 0.03, decay 0.03."
        )
    return Feedback(True, "means over dim -2, .mT, and a small number under the root: the same rule, for every phi.")


@predicted("a share between 0 and 1")
def check_share(guess: Any, measured: float) -> Feedback:
    """Predict, then measure: how much of the shipped rule's lead over untaught nets two numbers reach.

    Args:
        guess: a share between 0 and 1.
        measured: the share found.
    """
    found = f"measured: {measured:.2f}."
    return number_between(
        guess,
        measured - 0.15,
        measured + 0.15,
        f"{found} The balance of two terms is most of it; the other numbers buy the rest.",
        "more than that.",
        "less than that.",
    )


@errors_as_hints
def check_strictly_local(rule: Any) -> Feedback:
    """A strictly local rule that does better than none at all.

    Args:
        rule: the learner's function from (phi, batch) to phi, or an `UpdateRule`.
    """
    if (hint := _contract(rule)) is not None:
        return hint
    used = lateral_signals(FunctionRule.of(rule))
    if used:
        return Feedback(False, f"it is not strictly local: it uses {' and '.join(SIGNALS[name] for name in used)}.")
    got, before = reads_letters(rule), untaught()
    if got < before + _GAIN:
        why = "What does each neuron have that no other has, from its first day on?"
        return Feedback(
            False, f"strictly local, but letters are read with {got:.2f}, untaught with {before:.2f}. {why}"
        )
    return Feedback(True, f"strictly local, and letters are read with {got:.2f}, untaught with {before:.2f}.")
