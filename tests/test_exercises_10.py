"""Lesson 10's exercises: right answers pass, listed wrong ones get a hint and never a traceback."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import nbformat
import pytest

from metarules.base_model import LayerState, forward
from metarules.classic_rules.statistics import correlation, normalise_columns, standardise
from metarules.exercises.feedback import Feedback
from metarules.exercises.lesson_10 import (
    broken_rule,
    check_own_rule,
    check_repaired,
    check_share,
    check_strictly_local,
    reads_letters,
    untaught,
)
from metarules.exercises.score import ScoreCard
from metarules.pretrained import get_rule


def rule_of(change: Any) -> Any:
    def step(phi: Any, batch: Any) -> Any:
        x = [standardise(x) for x in forward(phi, batch.x).x]
        parts = zip(phi.layers, x[:-1], x[1:], strict=True)
        return phi.with_layers([LayerState(0.97 * p.W + 0.03 * change(p, a, b), p.b, p.V) for p, a, b in parts])

    return step


def apart(p: Any, a: Any, b: Any) -> Any:
    return normalise_columns(correlation(a, b)) - 0.9 * normalise_columns(p.W @ correlation(b, b))


hebb = rule_of(lambda p, a, b: correlation(a, b))
signs = rule_of(lambda p, a, b: normalise_columns(correlation(a, b).abs() * p.V.sign()))


def test_right_rules_pass():
    assert check_own_rule(rule_of(apart)).right and check_own_rule(get_rule("hebb_decorrelation")).right
    assert check_repaired(hebb).right
    assert check_strictly_local(signs).right
    assert reads_letters(hebb) < untaught() < reads_letters(signs)


@pytest.mark.parametrize(
    ("check", "answer", "hint"),
    [
        (check_own_rule, hebb, "worse than before learning"),
        (check_own_rule, rule_of(lambda p, a, b: ...), "three dots"),
        (check_own_rule, rule_of(lambda p, a, b: p.W), "hardly better"),
        (check_own_rule, lambda phi, batch: None, "returns None"),
        (check_own_rule, 3, "an int"),
        (check_repaired, broken_rule, "as it was written"),
        (check_repaired, rule_of(apart), "no longer the same rule"),
        (check_strictly_local, rule_of(apart), "not strictly local: it uses how active"),
        (check_strictly_local, hebb, "from its first day on"),
        (check_strictly_local, broken_rule, "two nets of"),
        (check_strictly_local, get_rule("backprop"), "needs labels"),
    ],
)
def test_wrong_rules_get_a_hint(check: Any, answer: Any, hint: str):
    feedback = check(answer)
    assert not feedback.right and hint in feedback.message, feedback


@pytest.mark.parametrize(
    ("guess", "right", "hint"),
    [(None, False, "write your guess"), (0.6, True, "balance"), (0.1, False, "more than that"), ("a", False, "0.5")],
)
def test_the_guess(guess: Any, right: bool, hint: str):
    feedback = check_share(guess, 0.68)
    assert feedback.right == right and hint in feedback.message
    assert ("0.68" in feedback.message) == right  # nothing is told before a guess is made, nor at the first wrong one


def test_the_card_of_what_is_solved():
    card = ScoreCard({"one": Feedback(True, "yes"), "two": Feedback(False, "no")})
    assert card.solved == 1 and repr(card) == "1 of 2 exercises solved\n✓ one\n· two"
    assert "1 of 2" in card._repr_html_()
    with pytest.raises(TypeError, match="two"):
        ScoreCard({"two": True})  # type: ignore[dict-item]


def test_the_rule_to_repair_as_the_lesson_gives_it_is_waited_for():
    lesson = nbformat.read(Path(__file__).parents[1] / "notebooks" / "10_build_your_own_rule.ipynb", as_version=4)
    source = next(cell.source for cell in lesson.cells if "def repaired(" in cell.source)
    place = {"forward": forward, "LayerState": LayerState}
    exec(source[source.index("def repaired(") : source.index("exercise_2")], place)
    assert check_repaired(place["repaired"]).waiting and check_repaired(broken_rule).waiting
