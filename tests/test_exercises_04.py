"""Checks of lesson 4's exercises: the right answer passes, listed wrong answers get a hint and never a traceback."""

from __future__ import annotations

import math

import pytest
import torch

from metarules.exercises.lesson_04 import check_cosine, check_difference, check_kolen_pollack, check_turning_step


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
    ("guess", "hint"), [(2, "later"), (60, "earlier"), ("soon", "a number such as"), (None, "an inner step")]
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


def kolen_pollack(W1, W2, V2, x, y, lr, decay, *, gate=True, back="V", moves=True, over=None, decays=True):
    h = torch.relu(x @ W1)
    e = (h @ W2 - y) / (over or len(x))
    d = e @ (V2 if back == "V" else W2).T * ((h > 0) if gate else 1)
    kept = 1 - lr * decay if decays else 1
    return kept * W1 - lr * x.T @ d, kept * W2 - lr * h.T @ e, kept * V2 - lr * h.T @ e if moves else V2


@pytest.mark.parametrize(
    ("how", "right", "hint"),
    [
        ({}, True, "without weight transport"),
        ({"back": "W"}, False, "weight transport"),
        ({"gate": False}, False, "gate"),
        ({"moves": False}, False, "feedback alignment"),
        ({"over": 1}, False, "mean over the batch"),
        ({"decays": False}, False, "does not decay"),
    ],
)
def test_kolen_pollack_by_hand(how, right: bool, hint: str):
    feedback = check_kolen_pollack(lambda *given: kolen_pollack(*given, **how))
    assert feedback.right is right and hint in feedback.message, feedback
    assert "three tensors" in check_kolen_pollack(lambda *given: given[0]).message
