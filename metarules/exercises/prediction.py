"""Guesses that nobody spoils: a check that waits for one, pictures that wait for the check, and a folded solution.

A first wrong guess gets a hint. A right one is told what was measured, and so is a second wrong one.
"""

from __future__ import annotations

import base64
import contextlib
import functools
import html
import io
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


class folded:
    """A solution's verdict, and what belongs to it, behind a line to click on.

    JupyterLab shows the output of a folded cell as soon as the cell is run, and Run All runs them all.

    Args:
        solution: the verdict on it.
        show: as for `reveal`: what it prints and the picture that it gives back are folded with the verdict.
    """

    def __init__(self, solution: Feedback, show: Callable[[], Any] | None = None) -> None:
        said = io.StringIO()
        with contextlib.redirect_stdout(said):
            picture = show() if show is not None else None
        self.solution, self.said, self.picture = solution, said.getvalue(), ""
        if picture is not None:
            png = base64.b64encode(picture.value).decode()
            look = f'width="{picture.width}" style="max-width: 100%; background: white"'
            self.picture = f'<img alt="{html.escape(picture.alt)}" {look} src="data:image/png;base64,{png}">'

    def __repr__(self) -> str:
        return f"{self.solution!r}\n{self.said}".strip()

    def _repr_html_(self) -> str:
        said = f"<pre>{html.escape(self.said)}</pre>" if self.said else ""
        return (
            f"<details><summary>What was measured</summary>{self.solution._repr_html_()}{said}{self.picture}</details>"
        )
