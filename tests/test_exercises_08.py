"""Checks of lesson 8's exercises: the right answer passes, listed wrong answers get a hint and never a traceback."""

from __future__ import annotations

import pytest
import torch

from metarules.evaluation.held_out import held_out
from metarules.exercises.lesson_08 import check_five, check_heaviest, check_least_squares, check_r2
from metarules.pretrained import load_rule

WEIGHTS = {"hebb": 0.5, "decorr_x": -0.9, "soft": 0.8}


def columns(Ts):
    return torch.stack([T.flatten() for T in Ts], -1)


def solve(dW, Ts):
    return torch.linalg.lstsq(columns(Ts), dW.reshape(-1, 1)).solution.squeeze(-1)


def r2(dW, Ts, c):
    return 1 - (dW.flatten() - columns(Ts) @ c).square().sum() / dW.square().sum()


def alone(dW, Ts):
    c = torch.stack([(T * dW).sum() / (T * T).sum() for T in Ts])
    return c, r2(dW, Ts, c)


def centred(dW, Ts):
    c = solve(dW, Ts)
    rest = dW.flatten() - columns(Ts) @ c
    return c, 1 - rest.square().sum() / (dW - dW.mean()).square().sum()


def with_intercept(dW, Ts):
    c = solve(dW, [*Ts, torch.ones_like(dW)])[:2]
    return c, r2(dW, Ts, c)


def test_the_heaviest_counts_by_size():
    assert check_heaviest("decorr_x", WEIGHTS).right
    assert "hebb +0.50" in check_heaviest("decorr_x", WEIGHTS).message


@pytest.mark.parametrize(
    ("guess", "hint"), [(None, "your guess"), ("soft", "another one"), ("w", "'w'"), (3, "name of a term")]
)
def test_wrong_terms_get_a_hint(guess, hint: str):
    answer = check_heaviest(guess, WEIGHTS)
    assert not answer.right and hint in answer.message


def test_least_squares_is_right():
    assert check_least_squares(lambda dW, Ts: (solve(dW, Ts), float(r2(dW, Ts, solve(dW, Ts))))).right
    assert check_least_squares(lambda dW, Ts: (solve(dW, Ts).tolist(), r2(dW, Ts, solve(dW, Ts)))).right


@pytest.mark.parametrize(
    ("fit", "hint"),
    [
        (alone, "fitted alone"),
        (centred, "square sum"),
        (with_intercept, "not those of least squares"),
        (lambda dW, Ts: (solve(dW, Ts), 1 - r2(dW, Ts, solve(dW, Ts))), "left over"),
        (lambda dW, Ts: (solve(dW, Ts), 0.5), r"R^2 is 1 -"),
        (lambda dW, Ts: solve(dW, Ts)[0], "two things"),
        (lambda dW, Ts: (solve(dW, Ts)[:1], 0.5), "these are 1"),
        (lambda dW, Ts: (..., ...), "three dots"),
        (lambda dW, Ts: None, "NoneType"),
        (lambda dW: dW, "stopped with TypeError"),
    ],
)
def test_wrong_fits_get_a_hint(fit, hint: str):
    answer = check_least_squares(fit)
    assert not answer.right and hint in answer.message


def test_r2_is_judged_with_room():
    assert all(check_r2(guess, 0.45).right for guess in (0.36, 0.45, 0.54))
    for guess, hint in ((None, "your guess"), (0.9, "less than that"), (0.1, "more than that"), ("low", "a number")):
        answer = check_r2(guess, 0.45)
        assert not answer.right and hint in answer.message


def test_five_terms_are_measured():
    rule, tasks = load_rule("local"), held_out(n_tasks=1, seed=3)
    answer = check_five({"w_base", "rbf", "large_decay", "sqr_upper_symm", "sqr_lower_symm"}, rule, tasks)
    assert not answer.right and "of the gain" in answer.message
    for terms, hint in (
        (None, "five names"),
        ("hebb", "5 different names"),
        (["hebb"] * 5, "5 different names"),
        (["hebb", "soft", "rbf", "w_base", "nonsense"], "nonsense"),
        (5, "5 different names"),
    ):
        answer = check_five(terms, rule, tasks)
        assert not answer.right and hint in answer.message
