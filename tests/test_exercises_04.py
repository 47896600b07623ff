"""Checks of lesson 4's exercises: the right answer passes, listed wrong answers get a hint and never a traceback."""

from __future__ import annotations

import math

import pytest
import torch

from metarules.exercises.lesson_04 import check_cosine, check_difference, check_turning_step


def test_the_difference_is_right():
    assert check_difference(lambda W, V, lr, t: (1 - lr) ** t * (W - V)).right
    assert check_difference(lambda W, V, lr, t: (W - V) * math.exp(t * math.log(1 - lr))).right


@pytest.mark.parametrize(
    ("difference", "hint"),
    [
        (lambda W, V, lr, t: W - V, "the decay does not"),
        (lambda W, V, lr, t: (1 - lr) ** t * (V - W), "the sign"),
        (lambda W, V, lr, t: (1 - lr) * (W - V), "a single step"),
        (lambda W, V, lr, t: (1 - lr * t) * (W - V), "what the steps before it left"),
        (lambda W, V, lr, t: lr**t * (W - V), "what stays"),
        (lambda W, V, lr, t: torch.zeros(3, 2), "what cancels"),
        (lambda W, V, lr, t: (W - V).T, r"shape is [2, 3]"),
        (lambda W, V, lr, t: 0.5, "this is a float"),
        (lambda W, V, lr, t: W @ V, "stopped with RuntimeError"),
    ],
)
def test_wrong_differences_get_a_hint(difference, hint: str):
    answer = check_difference(difference)
    assert not answer.right and hint in answer.message


def test_the_measured_step_is_right_and_guesses_near_it_too():
    assert all(check_turning_step(guess, 16).right for guess in (16, 10, 22))


@pytest.mark.parametrize(
    ("guess", "hint"), [(2, "later"), (60, "earlier"), ("soon", "a number such as"), (None, "a number such as")]
)
def test_wrong_steps_get_a_hint(guess, hint: str):
    answer = check_turning_step(guess, 16)
    assert not answer.right and hint in answer.message


def test_the_cosine_is_right():
    assert check_cosine(lambda s, p_0, lr, t: s**2 / (s**2 + ((1 - lr) ** t * p_0) ** 2)).right
    assert check_cosine(lambda s, p_0, lr, t: torch.tensor(s**2 / (s**2 + ((1 - lr) ** t * p_0) ** 2))).right


@pytest.mark.parametrize(
    ("cosine", "hint"),
    [
        (lambda s, p_0, lr, t: s**2 / (s**2 + p_0**2), "decayed for t steps"),
        (lambda s, p_0, lr, t: s / (s + (1 - lr) ** t * p_0), "by their squares"),
        (lambda s, p_0, lr, t: s / math.hypot(s, (1 - lr) ** t * p_0), "V has a private part"),
        (lambda s, p_0, lr, t: 1 - s**2 / (s**2 + ((1 - lr) ** t * p_0) ** 2), "other way round"),
        (lambda s, p_0, lr, t: s**2 / (s**2 + (1 - lr) ** t * p_0**2), "it is squared"),
        (lambda s, p_0, lr, t: math.degrees(math.acos(s**2 / (s**2 + ((1 - lr) ** t * p_0) ** 2))), "in degrees"),
        (lambda s, p_0, lr, t: 0.3, "W = S + A"),
        (lambda s, p_0, lr, t: None, "a number such as"),
        (lambda s: s, "stopped with TypeError"),
    ],
)
def test_wrong_cosines_get_a_hint(cosine, hint: str):
    answer = check_cosine(cosine)
    assert not answer.right and hint in answer.message
