"""Checks of lesson 3's exercises: the right answer passes, listed wrong answers get a hint and never a traceback."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from metarules.exercises.lesson_03 import FORMULAS, check_matching, check_part, check_product, check_without


def test_guesses_near_the_measured_accuracy_are_right():
    for guess in (0.91, 0.89, 0.93):
        assert check_without(guess, 0.89, 0.91).right


@pytest.mark.parametrize(
    ("guess", "hint"),
    [(0.6, "higher than that"), (0.97, "lower than that"), (85, "between 0 and 1"), ("bad", "a number such as")],
)
def test_wrong_guesses_get_a_hint(guess: Any, hint: str):
    answer = check_without(guess, 0.89, 0.91)
    assert not answer.right and hint in answer.message


def test_the_matching_is_right():
    assert check_matching(FORMULAS).right


@pytest.mark.parametrize(
    ("answer", "hint"),
    [
        ({**FORMULAS, "A": "hebb", "C": "soft"}, "a softmax"),
        ({**FORMULAS, "B": "large_decay", "E": "w_base"}, "3 of 5"),
        ({"A": "soft"}, "no answer yet for B, C, D, E"),
        ({**FORMULAS, "D": "oja"}, "oja: not among"),
        ("hebb", "a dictionary"),
        (None, "a dictionary"),
    ],
)
def test_wrong_matchings_get_a_hint(answer: Any, hint: str):
    verdict = check_matching(answer)
    assert not verdict.right and hint in verdict.message


def test_the_part_is_right():
    assert check_part(lambda T, a, g, eps: a * g * T / torch.sqrt(eps + (T**2).mean(0))).right


@pytest.mark.parametrize(
    ("part", "hint"),
    [
        (lambda T, a, g, eps: a * T / (eps + (T**2).mean(0)).sqrt(), "gates are missing"),
        (lambda T, a, g, eps: g * T / (eps + (T**2).mean(0)).sqrt(), "coefficient a is missing"),
        (lambda T, a, g, eps: a * g * T / (eps + (T**2).mean()).sqrt(), "whole matrix"),
        (lambda T, a, g, eps: a * g * T / (eps + (T**2).mean(0)), "root is missing"),
        (lambda T, a, g, eps: a * g * T / (T**2).mean(0).sqrt(), "under the root"),
        (lambda T, a, g, eps: a * g * T / (eps + (T**2).sum(0)).sqrt(), "take their mean"),
        (lambda T, a, g, eps: (a * g * T).mean(0), "the shape is [4]"),
        (lambda T, a, g, eps: None, "NoneType"),
        (lambda T, a, g, eps: g @ T, "stopped with RuntimeError"),
        (lambda T, a, g, eps: torch.zeros(6, 4), "numbers are not"),
    ],
)
def test_wrong_parts_get_a_hint(part: Any, hint: str):
    answer = check_part(part)
    assert not answer.right and hint in answer.message


def product(below, above, lower, upper, a, gate, eps, *, gates=1.0, mean=True, biases=1.0, normalised=True):
    r_l, r_u = below @ lower[0] + biases * lower[1], above @ upper[0] + biases * upper[1]
    T = torch.einsum("big,bjg->ij", r_l, r_u) / (r_l.shape[0] * r_l.shape[-1] if mean else 1)
    size = (eps + T.square().mean(0)).sqrt() if normalised else 1
    return a * (1 + gates * torch.tanh(above.mean(0) @ gate)) * T / size


@pytest.mark.parametrize(
    ("how", "right", "hint"),
    [
        ({}, True, "two ends"),
        ({"gates": 0.0}, False, "gates are missing"),
        ({"mean": False}, False, "mean over the batch"),
        ({"biases": 0.0}, False, "biases"),
        ({"normalised": False}, False, "one size"),
        ({"biases": 2.0}, False, "First the two read-outs"),
    ],
)
def test_the_learned_product(how, right: bool, hint: str):
    feedback = check_product(lambda *given: product(*given, **how))
    assert feedback.right is right and hint in feedback.message, feedback
    assert "[i, j]" in check_product(lambda *given: given[0]).message
