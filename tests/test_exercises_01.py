"""Checks of lesson 1's exercises: right answers pass, listed wrong ones get a hint."""

from __future__ import annotations

import pytest
import torch

from metarules.exercises.lesson_01 import check_depth_guess, check_freeze, check_frozen, check_layer


def layer(x, W, b):
    u = x @ W
    return torch.relu((u - u.mean(0)) / u.std(0, correction=0) + b)


def test_a_layer_is_right():
    assert check_layer(layer).right


@pytest.mark.parametrize(
    ("wrong", "hint"),
    [
        (lambda x, W, b: torch.relu(x @ W + b), "batch norm is missing"),
        (lambda x, W, b: layer(x, W, b) - 0.5, "below 0"),
        (lambda x, W, b: torch.relu(((x @ W) - (x @ W).mean()) / (x @ W).std() + b), "over everything"),
        (lambda x, W, b: torch.relu((x @ W + b - (x @ W).mean(0)) / (x @ W).std(0, correction=0)), "comes after"),
        (lambda x, W, b: torch.zeros(20, 4), "numbers are not"),
        (lambda x, W, b: x @ W.T, "stopped with RuntimeError"),
        (lambda x, W, b: None, "NoneType"),
        (lambda x, W, b: x, r"[20, 6]"),
    ],
)
def test_wrong_layers_get_a_hint(wrong, hint: str):
    answer = check_layer(wrong)
    assert not answer.right and hint in answer.message


@pytest.mark.parametrize(
    ("guess", "right", "hint"),
    [(0.5, True, "measured"), (0.1, False, "better than that"), (0.8, False, "worse"), ("half", False, "a number")],
)
def test_depth_guesses(guess, right: bool, hint: str):
    answer = check_depth_guess(guess, 0.77, 0.5)
    assert answer.right == right and hint in answer.message


def test_frozen_answers():
    assert check_frozen("b").right
    for wrong in ("a", "c", "d", 3, None):
        assert not check_frozen(wrong).right


def frozen(phi, x, *, mean=1.0, multiplied=False, from_input=False, scaled_mean=True):
    plain, here = [], x
    for layer in phi.layers:
        u = (x if from_input and x.shape[-1] == layer.W.shape[0] else here) @ layer.W
        size = (u.var(0, correction=0) + 1e-6).sqrt()
        W = layer.W * size if multiplied else layer.W / size
        b = layer.b - mean * (u.mean(0) / size if scaled_mean else u.mean(0))
        plain.append((W, b))
        here = torch.relu(here @ W + b)
    return plain


@pytest.mark.parametrize(
    ("freeze", "right", "hint"),
    [
        (frozen, True, "alone"),
        (lambda phi, x: frozen(phi, x, mean=0.0), False, "into b"),
        (lambda phi, x: frozen(phi, x, scaled_mean=False), False, "divided by the deviation too"),
        (lambda phi, x: frozen(phi, x, multiplied=True), False, "is multiplied"),
        (lambda phi, x: [(p.W, p.b) for p in phi.layers], False, "has not changed"),
        (lambda phi, x: [(p.W.T, p.b) for p in phi.layers], False, "shapes"),
        (lambda phi, x: frozen(phi, x)[:1], False, "two pairs"),
        (lambda phi, x: x, False, "a list"),
    ],
)
def test_a_network_frozen_by_hand(freeze, right: bool, hint: str):
    feedback = check_freeze(freeze)
    assert feedback.right is right and hint in feedback.message, feedback
