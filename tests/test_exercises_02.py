"""Checks of lesson 2's exercises: the right answer passes, listed wrong answers get a hint and never a traceback."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from metarules.base_model import LayerState, forward
from metarules.classic_rules.statistics import normalise_columns, standardise
from metarules.exercises.lesson_02 import check_decorrelation, check_features_left, check_overdone, check_whole_rule


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
        (lambda w, u: (w @ (u.T @ u)).T, "shape of W_hat"),
        (lambda w, u: u @ w, "stopped with RuntimeError"),
        (lambda w, u: None, "NoneType"),
    ],
)
def test_wrong_terms_get_a_hint(term: Any, hint: str):
    answer = check_decorrelation(term)
    assert not answer.right and hint in answer.message


@pytest.mark.parametrize(
    ("guess", "right", "hint"),
    [
        (0.63, True, "balance"),
        (0.9, False, "less than that"),
        (0.3, False, "more than that"),
        ("1.0", False, "a number"),
    ],
)
def test_guesses_of_what_too_much_leaves(guess: Any, right: bool, hint: str):
    feedback = check_overdone(guess, 0.65)
    assert feedback.right is right and hint in feedback.message


def written(hebb=1.0, decorr=0.9, decay=0.03, lr=0.03, normalised=True):
    def rule(phi, batch):
        x, layers = [standardise(x) for x in forward(phi, batch.x).x], []
        for p, l, u in zip(phi.layers, x[:-1], x[1:], strict=True):
            grow, q = l.T @ u / len(l), p.W @ (u.T @ u) / len(u)
            if normalised:
                q = p.W / p.W.square().mean(-2, keepdim=True).sqrt() @ (u.T @ u) / len(u)
                grow, q = normalise_columns(grow), normalise_columns(q)
            layers.append(LayerState((1 - decay) * p.W + lr * (hebb * grow - decorr * q), p.b, p.V))
        return phi.with_layers(layers)

    return rule


@pytest.mark.parametrize(
    ("rule", "right", "hint"),
    [
        (written(), True, "whole learning rule"),
        (written(decorr=0.0), False, "Hebb alone"),
        (written(decorr=-0.9), False, "the sign"),
        (written(-1.0, -0.9), False, "all turned"),
        (written(decay=0.0), False, "do not decay"),
        (written(normalised=False), False, "normalised by itself"),
        (lambda phi, batch: phi, False, "no weight has moved"),
        (lambda phi, batch: phi.layers, False, "the next phi"),
    ],
)
def test_a_whole_rule(rule: Any, right: bool, hint: str):
    feedback = check_whole_rule(rule)
    assert feedback.right is right and hint in feedback.message, feedback
