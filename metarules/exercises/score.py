"""The check at the end of a lesson: which exercises are solved."""

from __future__ import annotations

import html

from metarules.exercises.feedback import Feedback


class ScoreCard:
    """Which exercises of a lesson are solved.

    Args:
        answers: what each exercise's check answered, by what the card calls the exercise.

    Raises:
        TypeError: an answer that no check gave.

    Example:
        ScoreCard({"1: your first rule": check_own_rule(my_rule)})
    """

    def __init__(self, answers: dict[str, Feedback]) -> None:
        for name, answer in answers.items():
            if not isinstance(answer, Feedback):
                raise TypeError(f"answers[{name!r}] is a {type(answer).__name__}; allowed: what a check gives back")
        self.answers = dict(answers)

    @property
    def solved(self) -> int:
        """How many are solved."""
        return sum(answer.right for answer in self.answers.values())

    def __repr__(self) -> str:
        lines = [f"{'✓' if a.right else '·'} {name}" for name, a in self.answers.items()]
        return "\n".join([f"{self.solved} of {len(self.answers)} exercises solved", *lines])

    def _repr_html_(self) -> str:
        head, *lines = repr(self).splitlines()
        items = "".join(f"<div>{html.escape(line)}</div>" for line in lines)
        return f'<div style="padding: 0.4em 0.8em"><strong>{html.escape(head)}</strong>{items}</div>'
