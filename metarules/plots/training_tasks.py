"""Training tasks as images."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure

from metarules._checks import check_number
from metarules.plots import style
from metarules.studies.training_tasks import TaskPictures

_COLUMNS = 8


def training_tasks_figure(tasks: Sequence[TaskPictures]) -> Figure:
    """Draw tasks side by side: nine examples each, and the first of them as the base model gets it.

    Args:
        tasks: from `studies.training_tasks.draw_task_pictures`.

    Returns:
        The Figure, 9.12 inches wide, eight tasks to a row.
    """
    check_number("tasks", len(tasks), low=1, integer=True)
    rows = -(-len(tasks) // _COLUMNS)
    cell, side, height = 1.13, 0.98, 1.9
    figure = style.new_figure(9.12, rows * height + 0.05)
    for i, task in enumerate(tasks):
        left, top = 0.08 + i % _COLUMNS * cell, (rows - i // _COLUMNS) * height
        name, _, kind = task.name.partition(" (")
        style.put_text(figure, left, top - 0.02, name, size=style.SMALL, va="top")
        style.put_text(figure, left, top - 0.17, kind.rstrip(")"), size=style.SMALL, color=style.MUTED, va="top")
        axes = style.bare(style.axes_at(figure, left, top - 0.35 - side, side, side))
        axes.imshow(_sheet(task.images), cmap="gray_r", interpolation="nearest")
        below = top - 0.4 - side
        small = style.bare(style.axes_at(figure, left, below - 0.33, 0.33, 0.33))
        small.imshow(task.given, cmap="gray_r", interpolation="nearest")
        style.put_text(figure, left + 0.38, below - 0.165, "as given", size=style.SMALL, color=style.MUTED, va="center")
    return figure


def training_tasks_alt(tasks: Sequence[TaskPictures]) -> str:
    """The figure in words."""
    names = list(dict.fromkeys(task.name for task in tasks))
    return (
        f"{len(tasks)} training tasks, nine small grey examples each, from {len(names)} families: {', '.join(names)}. "
        "Below each, its first example as the base model gets it: the same numbers in a random order."
    )


def _sheet(images: np.ndarray) -> np.ndarray:
    """Nine images [9, height, width] as one, each on its own scale, a white line between two."""
    spans = np.ptp(images, axis=(1, 2), keepdims=True)
    shown = (images - images.min((1, 2), keepdims=True)) / np.where(spans > 0, spans, 1)
    padded = np.pad(shown, ((0, 0), (0, 1), (0, 1)))
    return np.block([[padded[3 * r + c] for c in range(3)] for r in range(3)])[:-1, :-1]
