"""The checks of lesson 9: right answers pass, wrong ones get a hint that does not tell."""

from __future__ import annotations

import pytest
import torch

from metarules.exercises import lesson_09
from metarules.exercises.lesson_09 import check_best_theta, check_breaks, check_grid, check_same_start, reference_grid

GAINS = {"eight layers": 0.6, "tanh": 0.05}


@pytest.fixture(autouse=True)
def fresh():
    for check in (check_breaks, check_best_theta):
        check.wrong.clear()


def test_breaks_and_best_theta():
    assert check_breaks(None, GAINS).waiting
    assert check_breaks("tanh", GAINS).right
    first = check_breaks("eight layers", GAINS)
    assert not first.open and "0.05" not in first.message
    assert "sigmoid" in check_breaks("sigmoid", GAINS).message
    assert (
        check_best_theta(50, {0: 0.4, 50: 0.6}).right
        and "measured" not in check_best_theta(0, {0: 0.4, 50: 0.6}).message
    )
    assert "0, 50 is wanted" in check_best_theta(7, {0: 0.4, 50: 0.6}).message


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (lambda W, order: W[order.argsort()], "other way"),
        (lambda W, order: W, "activities differ"),
        (lambda W, order: W[order[:2]], "shape"),
        (lambda W, order: ..., "dots"),
    ],
)
def test_same_start(answer, words: str):
    got = check_same_start(answer)
    assert not got.right and words in got.message
    assert check_same_start(lambda W, order: W[order]).right


def test_grid(monkeypatch):
    monkeypatch.setattr(lesson_09, "_WIDTHS", (5, 7))
    monkeypatch.setattr(lesson_09, "_DEPTHS", (1, 2, 3))
    monkeypatch.setattr(lesson_09, "_STEPS", 3)
    kept = {}

    def reference(*given):
        if "grid" not in kept:
            kept["grid"] = reference_grid(*given)
        return kept["grid"]

    monkeypatch.setattr(lesson_09, "reference_grid", reference)

    def own(change):
        return lambda *given: change(*reference(*given))

    assert check_grid(own(lambda gain, error, apart: (gain, error))).right
    for change, words in [
        (lambda gain, error, apart: (-gain, error), "signs"),
        (lambda gain, error, apart: (gain, apart), "as if the labels were others"),
        (lambda gain, error, apart: (gain, 2 * error), "root of their number"),
        (lambda gain, error, apart: (gain + 0.1, error), "one layer"),
        (lambda gain, error, apart: (gain.T, error.T), r"[3, 2]"),
        (lambda gain, error, apart: gain, "two things"),
    ]:
        got = check_grid(own(change))
        assert not got.right and words in got.message, got
    assert check_grid(lambda *given: (torch.zeros(3, 2), ...)).waiting
