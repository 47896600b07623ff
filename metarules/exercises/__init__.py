"""Checks of a learner's answers, lesson by lesson: right, or a hint that does not give the answer away."""

from metarules._arguments import guard as _guard
from metarules.exercises.feedback import Feedback as Feedback
from metarules.exercises.stated import ClaimFailed as ClaimFailed
from metarules.exercises.stated import claim as claim

_guard(__name__)
