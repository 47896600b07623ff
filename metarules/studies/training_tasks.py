"""Training tasks to look at: what a distribution of tasks holds, as small images."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from metarules._checks import check_number
from metarules.tasks.distribution import DistributionSettings, draw_dataset
from metarules.tasks.making import make_task

EXAMPLES = 9  # of each task, from as many classes as there are, in turn


@dataclass(frozen=True, eq=False)
class TaskPictures:
    """One training task as pictures.

    Attributes:
        name: of its family.
        images: some examples [EXAMPLES, height, width], in the data set's own order of inputs.
        given: the first of them as the base model gets it, permuted [height, width].
        is_image: whether the data are images; if not, the numbers are laid out in rows, in no meaningful order.
    """

    name: str
    images: np.ndarray
    given: np.ndarray
    is_image: bool


def draw_task_pictures(
    settings: DistributionSettings, generator: torch.Generator, n: int = 16
) -> tuple[TaskPictures, ...]:
    """Draw training tasks of the usual form, as the outer loop would, and pick examples of each.

    Args:
        settings: of the distribution.
        generator: a CPU torch.Generator.
        n: number of tasks, each of a data set of its own.

    Raises:
        TypeError, ValueError: n is no whole number from 1; otherwise as `draw_dataset`.

    Example:
        >>> tasks = draw_task_pictures(DistributionSettings(), torch.Generator().manual_seed(0), 4)
        >>> tasks[0].images.shape
        (9, 8, 8)
    """
    check_number("n", n, low=1, integer=True)
    found = []
    for _ in range(n):
        data = draw_dataset(settings, "train", generator)
        task = make_task(data, generator=generator)
        turns = [divmod(i, data.n_classes) for i in range(EXAMPLES)]
        rows = torch.stack([(data.y == label).nonzero()[place, 0] for place, label in turns])
        shape = data.shape or (settings.size, settings.size)
        images = data.x[rows].view(-1, *shape).numpy()
        found.append(TaskPictures(data.name, images, task.x[rows[0]].view(shape).numpy(), data.shape is not None))
    return tuple(found)
