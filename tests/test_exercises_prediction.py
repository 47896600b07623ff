"""Guesses that nobody spoils: nothing measured is told before a guess, and all of it after a second wrong one."""

from __future__ import annotations

import html
from typing import Any

import pytest

from metarules.exercises.feedback import UNFINISHED, Feedback, errors_as_hints, number_between
from metarules.exercises.prediction import Prediction, folded, predicted, reveal
from metarules.plots import IDEA_ALT, idea_figure
from metarules.widgets import show


def half() -> Prediction:
    @predicted("a number between 0 and 1")
    def check(guess: Any, measured: float) -> Feedback:
        """Guess a half."""
        return number_between(guess, measured - 0.1, measured + 0.1, f"measured: {measured}.", "more.", "less.")

    return check


@pytest.mark.parametrize("nothing", [None, ...])
def test_no_guess_is_waited_for_and_told_nothing(nothing: Any):
    found = half()(nothing, 0.5)
    assert found.waiting and not found.open and "a number between 0 and 1" in found.message
    assert "0.5" not in repr(found) + found._repr_html_() and "Your turn" in found._repr_html_()


def test_a_first_wrong_guess_gets_a_hint_and_a_second_the_answer():
    check = half()
    first, again, second = check(0.1, 0.5), check(0.1, 0.5), check(0.9, 0.5)
    assert first.message == again.message == "more." and not again.open  # a cell run twice is one guess
    assert second.message == "less. Measured: 0.5." and second.open and not second.right
    assert half()(0.1, 0.5).message == "more."  # another exercise has its own memory


def test_a_right_guess_is_told_at_once_and_what_is_no_guess_is_not_counted():
    check = half()
    assert [check(wrong, 0.5).open for wrong in ("much", True, [1], "much more")] == [False] * 4
    assert check.wrong == [] and check(0.45, 0.5).open and check(0.45, 0.5).message == "measured: 0.5."
    assert check.__doc__ == "Guess a half."


def test_an_error_in_a_check_is_a_hint():
    @predicted("a list")
    def check(guess: Any) -> Feedback:
        return Feedback(bool(guess[3]), "long enough")

    assert "IndexError" in check([1]).message


def test_pictures_wait_for_the_check():
    drawn = []

    def draw() -> str:
        drawn.append(1)
        return "picture"

    check = half()
    waits = reveal(check(None, 0.5), draw)
    assert waits.waiting and "your answer" in waits.message and not drawn
    assert "another answer" in reveal(check(0.1, 0.5), draw).message and not drawn
    assert reveal(check(0.9, 0.5), draw) == "picture" and reveal(check(0.5, 0.5), draw) == "picture"


def test_a_solution_shows_nothing_until_it_is_clicked(capsys: pytest.CaptureFixture[str]):
    def draw() -> Any:
        print("0.5 < 0.6")
        return show(idea_figure(), IDEA_ALT)

    found = folded(half()(0.5, 0.5), draw)
    assert capsys.readouterr().out == ""
    shown = found._repr_html_()
    summary, inside = shown.removeprefix("<details><summary>").removesuffix("</details>").split("</summary>")
    assert "0." not in summary and "</details>" not in inside
    assert (
        "Measured: 0.5." in inside and "<pre>0.5 &lt; 0.6\n</pre>" in inside and 'src="data:image/png;base64,' in inside
    )
    assert f'alt="{html.escape(IDEA_ALT)}"' in inside and repr(found) == "Right: measured: 0.5.\n0.5 < 0.6"
    assert "<img" not in folded(half()(0.5, 0.5))._repr_html_()


@pytest.mark.parametrize(
    "unfinished", [lambda x: ..., lambda x: (x, ...), lambda x: x + ..., lambda x: [..., 1], lambda x: float(...)]
)
def test_functions_with_dots_are_waited_for(unfinished: Any):
    @errors_as_hints
    def check(function: Any) -> Feedback:
        return Feedback(function(1) == 2, "one more")

    found = check(unfinished)
    assert found.waiting and found.message == UNFINISHED and repr(found).startswith("Your turn")
    assert check(lambda x: x + 1).right and not check(lambda x: x).waiting
