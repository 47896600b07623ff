"""Lesson 6's exercises: right answers pass, listed wrong ones get a hint and never a traceback."""

from __future__ import annotations

from functools import reduce
from typing import Any

import pytest

from metarules.exercises.lesson_06 import check_copies, check_many_steps, check_truncated, check_unroll
from metarules.inner_loop import unroll


def by_loop(rule: Any, phi: Any, batches: Any) -> Any:
    for x in batches:
        phi = rule(phi, x)
    return phi


def without_keeping(rule: Any, phi: Any, batches: Any) -> Any:
    for x in batches:
        rule(phi, x)
    return phi


def test_right_unrolls_pass():
    for answer in (by_loop, unroll, lambda rule, phi, xs: reduce(rule, xs, phi)):
        assert check_unroll(answer).right


@pytest.mark.parametrize(
    ("answer", "hint"),
    [
        (without_keeping, "phi has not moved"),
        (lambda rule, phi, xs: [rule(phi, x) for x in xs][-1], "every step must start from the phi"),
        (lambda rule, phi, xs: [rule(phi, x) for x in xs], "one phi is wanted"),
        (lambda rule, phi, xs: by_loop(rule, phi, xs[:-1]), "last batch is missing"),
        (lambda rule, phi, xs: by_loop(rule, phi, xs[1:]), "first batch is missing"),
        (lambda rule, phi, xs: by_loop(rule, phi, xs[::-1]), "wrong order"),
        (lambda rule, phi, xs: by_loop(rule, phi, [*xs, *xs]), "not the phi that T applications give"),
        (lambda rule, phi, xs: None, "NoneType"),
        (lambda rule, phi, xs: phi.W, "stopped with AttributeError"),
    ],
)
def test_wrong_unrolls_get_a_hint(answer: Any, hint: str):
    feedback = check_unroll(answer)
    assert not feedback.right and hint in feedback.message, feedback


@pytest.mark.parametrize(
    ("guess", "right", "hint"),
    [
        (0.91, True, "learned to stay"),
        (0.918, True, "learned to stay"),
        (0.85, False, "better than that"),
        (0.6, False, "plain Hebb"),
        (0.97, False, "less than that"),
        (1.0, False, "within the first 25 steps"),
        ("0.91", False, "a number such as"),
        (True, False, "a number such as"),
        (None, False, "your guess"),
    ],
)
def test_guesses_of_many_steps(guess: Any, right: bool, hint: str):
    feedback = check_many_steps(guess, recommended=0.905, four_times=0.915)
    assert feedback.right is right and hint in feedback.message, feedback


def truncated(rule: Any, phi: Any, batches: Any, K: int) -> Any:
    phi = unroll(rule, phi, batches[:-K])
    return unroll(rule, phi, batches[-K:], keep_graph=True)


def by_detaching(rule: Any, phi: Any, batches: Any, K: int) -> Any:
    """Another road: build the whole graph, and cut it K steps before the end."""
    for t, x in enumerate(batches):
        phi = rule(phi.detach() if t == len(batches) - K else phi, x)
    return phi


def test_right_truncations_pass():
    assert check_truncated(truncated).right and check_truncated(by_detaching).right


@pytest.mark.parametrize(
    ("answer", "hint"),
    [
        (lambda rule, phi, xs, K: unroll(rule, phi, xs, keep_graph=True), "goes through all steps"),
        (lambda rule, phi, xs, K: unroll(rule, phi, xs), "nothing can be differentiated"),
        (lambda rule, phi, xs, K: unroll(rule, unroll(rule, phi, xs[:K], keep_graph=True), xs[K:]), "nothing can be"),
        (lambda rule, phi, xs, K: unroll(rule, phi, xs[-K:], keep_graph=True), "never the steps"),
        (lambda rule, phi, xs, K: truncated(rule, phi, xs, 1), "only one step"),
        (lambda rule, phi, xs, K: truncated(rule, phi, xs, K + 1), "another piece"),
        (lambda rule, phi, xs, K: None, "NoneType"),
        (lambda rule, phi, xs: phi, "stopped with TypeError"),
    ],
)
def test_wrong_truncations_get_a_hint(answer: Any, hint: str):
    feedback = check_truncated(answer)
    assert not feedback.right and hint in feedback.message, feedback


def correlations(below: Any, above: Any) -> Any:
    a, b = ((x - x.mean(0)) / x.std(0, correction=0) for x in (below, above))
    return a.T @ b / len(a)


@pytest.mark.parametrize(
    ("copies", "right", "hint"),
    [
        (lambda t: (t.max(0).values.median(), t.argmax(0).unique().numel()), True, "near 1"),
        (lambda t: (t.max(0).values.mean(), 4), False, "take the median"),
        (lambda t: (t.max(1).values.median(), 4), False, "dim 0"),
        (lambda t: (t.max(), 4), False, "largest of all"),
        (lambda t: (t.median(), 4), False, "median of all"),
        (lambda t: (t.max(0).values.median(), 5), False, "how many different"),
        (lambda t: (0.3, 4), False, "centred"),
        (lambda t: t, False, "two numbers"),
    ],
)
def test_copies_by_hand(copies: Any, right: bool, hint: str):
    feedback = check_copies(lambda below, above: copies(correlations(below, above)))
    assert feedback.right is right and hint in feedback.message, feedback
