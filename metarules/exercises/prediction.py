"""Guesses that nobody spoils: a check that waits for one, and pictures that wait for the check.

A first wrong guess gets a hint. A right one is told what was measured, and so is a second wrong one.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from metarules.exercises.feedback import Feedback, errors_as_hints

TRIES = 2  # guesses after which the answer is told in any case


class Prediction:
    """A check of a guess. It remembers the wrong guesses of this session, each once, so that a cell may be run again.

    Args:
        check: a function from a guess and what was measured to `Feedback`.
        wanted: what a guess looks like, such as "a number between 0 and 1".

    Attributes:
        wrong: the wrong guesses so far.
    """

    def __init__(self, check: Callable[..., Feedback], wanted: str) -> None:
        functools.update_wrapper(self, check)
        self.check, self.wanted = errors_as_hints(check), wanted
        self.wrong: list[Any] = []

    def __call__(self, guess: Any, *measured: Any, **named: Any) -> Feedback:
        """The verdict on a guess; `None` or dots are no guess yet."""
        if guess is None or guess is ...:
            return Feedback(False, f"write your guess into the cell first: {self.wanted}.", waiting=True)
        found = self.check(guess, *measured, **named)
        if found.right or not found.answer:
            return found
        if guess not in self.wrong:
            self.wrong.append(guess)
        if len(self.wrong) < TRIES:
            return found
        words = found.answer[:1].upper() + found.answer[1:]
        return replace(found, message=f"{found.message} {words}", told=True)


def predicted(wanted: str) -> Callable[[Callable[..., Feedback]], Prediction]:
    """Make a check of a guess a `Prediction`; `wanted` says what a guess looks like."""
    return lambda check: Prediction(check, wanted)


def reveal(verdict: Feedback, show: Callable[[], Any]) -> Any:
    """Show what an exercise is about if it has been answered; else a sentence that says for what it waits.

    Args:
        verdict: what the exercise's check answered.
        show: draws or prints; what it gives back is shown too.

    Example:
        reveal(verdict, lambda: show(figure, alt))
    """
    if verdict.open:
        return show()
    what = "your answer" if verdict.waiting else "another answer"
    return Feedback(False, f"what belongs here waits for {what}.", waiting=True)
