"""Checks of lesson 2's exercises: the right answer passes, listed wrong answers get a hint and never a traceback."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from metarules.exercises.lesson_02 import check_best_weight, check_decorrelation, check_features_left

ACCURACIES = {0.3: 0.55, 0.6: 0.71, 1.0: 0.85, 1.5: 0.63}


def test_the_features_left_are_right_and_guesses_near_them_too():
    for guess in (2.6, 2, 4, 1.2):
        assert check_features_left(guess, 2.6).right


@pytest.mark.parametrize(
    ("guess", "hint"),
    [(32, "fewer"), (8, "fewer"), (0, "a few more"), ("one", "a number"), (True, "a number"), (float("nan"), "fewer")],
)
def test_wrong_counts_get_a_hint(guess: Any, hint: str):
    answer = check_features_left(guess, 2.6)
    assert not answer.right and hint in answer.message


def test_the_decorrelation_term_is_right():
    assert check_decorrelation(lambda w, u: w @ (u.T @ u) / len(u)).right
    assert check_decorrelation(lambda w, u: torch.einsum("ik,bk,bj->ij", w, u, u) / u.shape[0]).right


@pytest.mark.parametrize(
    ("term", "hint"),
    [
        (lambda w, u: w @ (u.T @ u), "mean over the batch"),
        (lambda w, u: -w @ (u.T @ u) / len(u), "sign"),
        (lambda w, u: u.T @ u / len(u), "neurons by neurons"),
        (lambda w, u: w * (u * u).mean(0), "feels only itself"),
        (lambda w, u: w, "numbers are not"),
        (lambda w, u: (w @ (u.T @ u)).T, "shape of w"),
        (lambda w, u: u @ w, "stopped with RuntimeError"),
        (lambda w, u: None, "NoneType"),
    ],
)
def test_wrong_terms_get_a_hint(term: Any, hint: str):
    answer = check_decorrelation(term)
    assert not answer.right and hint in answer.message


def test_the_best_weight_is_right():
    assert check_best_weight(1.0, ACCURACIES).right and check_best_weight(1, ACCURACIES).right


@pytest.mark.parametrize(
    ("guess", "hint"),
    [(0.3, "more than that"), (1.5, "less than that"), (0.8, "choose one of 0.3, 0.6"), ("1.0", "choose one of")],
)
def test_wrong_weights_get_a_hint(guess: Any, hint: str):
    answer = check_best_weight(guess, ACCURACIES)
    assert not answer.right and hint in answer.message
