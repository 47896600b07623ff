"""What a learner's answer gets back: right or a hint, in words, never a traceback."""

from __future__ import annotations

import functools
import html
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Feedback:
    """The verdict on an answer.

    Attributes:
        right: whether the answer holds.
        message: one or two sentences: why it holds, or a hint that does not give the answer away.
    """

    right: bool
    message: str

    def __repr__(self) -> str:
        return f"{'Right' if self.right else 'Not yet'}: {self.message}"

    def _repr_html_(self) -> str:
        """A coloured box in JupyterLab; the words carry the verdict, the colour only underlines it."""
        edge = "#1b7f5c" if self.right else "#b3541e"
        word = "Right" if self.right else "Not yet"
        return (
            f'<div style="border-left: 4px solid {edge}; padding: 0.4em 0.8em">'
            f"<strong>{word}.</strong> {html.escape(self.message[:1].upper() + self.message[1:])}</div>"
        )


def errors_as_hints(check: Callable[..., Feedback]) -> Callable[..., Feedback]:
    """Turn an exception in a check (usually raised by the learner's own function) into a hint.

    Args:
        check: a function from an answer to `Feedback`.

    Returns:
        The same check; whatever it raises becomes a `Feedback` that is not right.
    """

    @functools.wraps(check)
    def checked(*args: Any, **kwargs: Any) -> Feedback:
        try:
            return check(*args, **kwargs)
        except Exception as error:
            return Feedback(False, f"your answer stopped with {type(error).__name__}: {error}")

    return checked


def number_between(value: Any, low: float, high: float, right: str, below: str, above: str) -> Feedback:
    """Judge a number: `right` inside [low, high], a hint below or above, a hint where it is no number."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return Feedback(False, f"a number such as 0.5 is wanted, and this is {value!r}")
    if low <= value <= high:
        return Feedback(True, right)
    return Feedback(False, below if value < low else above)
