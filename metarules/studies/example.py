"""One example of a task, to be looked at: its image and its class."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from metarules._checks import check_number
from metarules.tasks import Task


@dataclass(frozen=True, eq=False)
class Example:
    """An example as a reader sees it.

    Attributes:
        number: its row in the task.
        label: its class.
        image: [height, width] in [0, 1], 1 the task's largest value; None for data that are no images.
    """

    number: int
    label: int
    image: np.ndarray | None

    def __str__(self) -> str:
        return f"{'example' if self.image is None else 'image'} {self.number}, class {self.label}"


def example_of(task: Task, number: int) -> Example:
    """A row of a single task.

    Raises:
        ValueError: a number that the task does not have.
    """
    check_number("number", number, low=0, high=task.n_examples - 1, integer=True)
    image = None
    if task.shape is not None:
        low, high = float(task.x.min()), float(task.x.max())
        image = (task.image(task.x[number]).numpy() - low) / max(high - low, 1e-12)
    return Example(number, int(task.y[number]), image)
