"""Checks of a learner's answers, lesson by lesson: right, or a hint that does not give the answer away."""

from metarules.exercises.feedback import Feedback as Feedback
