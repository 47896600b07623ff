"""Checks of the exercises: the right answer passes, listed wrong answers get a hint and never a traceback."""

from __future__ import annotations

import pytest
import torch

from metarules.exercises import Feedback
from metarules.exercises.lesson_00 import SIGNALS, check_gain, check_hebb_step, check_locality, check_probe


def test_the_measured_gain_is_right_and_guesses_near_it_too():
    for guess in (0.3, 0.25, 0.39):
        assert check_gain(guess, 0.6, 0.9).right


@pytest.mark.parametrize(
    ("guess", "hint"),
    [(0.05, "more than that"), (0.8, "less than that"), ("a lot", "a number such as"), (True, "number")],
)
def test_wrong_gains_get_a_hint(guess, hint: str):
    answer = check_gain(guess, 0.6, 0.9)
    assert not answer.right and hint in answer.message


def test_the_hebbian_step_is_right():
    assert check_hebb_step(lambda x, y: x.T @ y / len(x)).right
    assert check_hebb_step(lambda x, y: torch.einsum("bi,bj->ij", x, y) / x.shape[0]).right


@pytest.mark.parametrize(
    ("step", "hint"),
    [
        (lambda x, y: x.T @ y, "mean over the batch"),
        (lambda x, y: y.T @ x / len(x), "rows should be inputs"),
        (lambda x, y: -x.T @ y / len(x), "sign"),
        (lambda x, y: (x[:, :3] * y).mean(0), r"shape is [3]"),
        (lambda x, y: torch.zeros(5, 3), "numbers are not"),
        (lambda x, y: None, "NoneType"),
        (lambda x, y: x @ y, "stopped with RuntimeError"),
    ],
)
def test_wrong_hebbian_steps_get_a_hint(step, hint: str):
    answer = check_hebb_step(step)
    assert not answer.right and hint in answer.message


def test_the_lateral_signals_are_right():
    assert check_locality(SIGNALS).right


@pytest.mark.parametrize(
    ("answer", "hint"),
    [
        ({**SIGNALS, "softmax": "own"}, "6 of 7 are right. softmax: a share"),
        ({**SIGNALS, "decorr_x": "activity"}, "their weights"),
        ({"x": "own"}, "1 of 7"),
        ({"x": "colour"}, "'colour' is not among"),
        ({"colour": "own"}, "'colour': 'own'"),
        (dict.fromkeys(SIGNALS, ...), "write one of own"),
        ("softmax", "a dictionary"),
        (None, "your guess"),
    ],
)
def test_wrong_lateral_signals_get_a_hint(answer, hint: str):
    verdict = check_locality(answer)
    assert not verdict.right and hint in verdict.message


def probe(x, y, chosen, scored="others"):
    A = torch.cat([x, torch.ones(len(x), 1)], 1)
    w = torch.linalg.lstsq(A[chosen], torch.nn.functional.one_hot(y[chosen]).float()).solution
    hit = ((A @ w).argmax(1) == y).float()
    left = torch.ones(len(y), dtype=torch.bool)
    left[chosen] = False
    return float({"others": hit[left], "chosen": hit[chosen], "all": hit}[scored].mean())


def test_the_probe_by_hand():
    assert check_probe(probe).right
    for scored, hint in (("chosen", "fitted on"), ("all", "leave them out")):
        assert hint in check_probe(lambda x, y, c, scored=scored: probe(x, y, c, scored)).message
    assert "between 0 and 1" in check_probe(lambda x, y, c: 100 * probe(x, y, c)).message
    assert "one number" in check_probe(lambda x, y, c: y).message
    assert check_probe(lambda x, y, c: ...).waiting and "largest answer" in check_probe(lambda x, y, c: 0.1).message


def test_feedback_reads_well_in_text_and_html():
    assert repr(Feedback(True, "yes.")) == "Right: yes."
    assert "&lt;b&gt;" in Feedback(False, "<b>")._repr_html_() and "Not yet" in Feedback(False, "x")._repr_html_()
