"""What a learner's answer gets back: right, a hint or a word that it is awaited; never a traceback."""

from __future__ import annotations

import functools
import html
import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

UNFINISHED = "the three dots still stand where your own lines are to stand."


@dataclass(frozen=True)
class Feedback:
    """The verdict on an answer.

    Attributes:
        right: whether the answer holds.
        message: one or two sentences: why it holds, or a hint that does not give the answer away.
        answer: what was measured, which a first wrong guess is not told.
        waiting: there is no answer yet.
        told: the answer stands in the message, because a second guess was wrong too.
    """

    right: bool
    message: str
    answer: str = ""
    waiting: bool = False
    told: bool = False

    @property
    def open(self) -> bool:
        """Whether what the exercise is about may be shown."""
        return self.right or self.told

    @property
    def word(self) -> str:
        """The verdict in a word or two."""
        return "Right" if self.right else "Your turn" if self.waiting else "Not yet"

    def __repr__(self) -> str:
        return f"{self.word}: {self.message}"

    def _repr_html_(self) -> str:
        """A box in JupyterLab; the words carry the verdict, its colour only underlines it."""
        edge = {"Right": "#1b7f5c", "Your turn": "#767676", "Not yet": "#b3541e"}[self.word]
        return (
            f'<div style="border-left: 4px solid {edge}; padding: 0.4em 0.8em">'
            f"<strong>{self.word}.</strong> {html.escape(self.message[:1].upper() + self.message[1:])}</div>"
        )


class Unfinished(Exception):
    """A learner's function gave back the dots it came with."""


def errors_as_hints(check: Callable[..., Feedback]) -> Callable[..., Feedback]:
    """Turn an exception in a check (usually raised by the learner's own function) into a hint.

    A function that still holds the dots it came with is waited for.

    Args:
        check: a function from an answer to `Feedback`.

    Returns:
        The same check; whatever it raises becomes a `Feedback` that is not right.
    """

    @functools.wraps(check)
    def checked(answer: Any, *args: Any, **kwargs: Any) -> Feedback:
        try:
            return check(_noticing_dots(answer), *args, **kwargs)
        except Unfinished:
            return Feedback(False, UNFINISHED, waiting=True)
        except Exception as error:
            if "ellipsis" in str(error).lower():
                return Feedback(False, UNFINISHED, waiting=True)
            return Feedback(False, f"your answer stopped with {type(error).__name__}: {error}")

    return checked


def _noticing_dots(answer: Any) -> Any:
    """A plain function that raises `Unfinished` where the learner's gives back dots; anything else as it is."""
    if not inspect.isfunction(answer):
        return answer

    @functools.wraps(answer)
    def noticed(*args: Any, **kwargs: Any) -> Any:
        got = answer(*args, **kwargs)
        if any(part is ... for part in (got if isinstance(got, tuple | list) else [got])):
            raise Unfinished
        return got

    return noticed


def number_between(value: Any, low: float, high: float, right: str, below: str, above: str) -> Feedback:
    """Judge a number: `right` inside [low, high], a hint below or above, a hint where it is no number."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return Feedback(False, f"a number such as 0.5 is wanted, and this is {value!r}")
    if low <= value <= high:
        return Feedback(True, right)
    return Feedback(False, below if value < low else above, answer=right)
