"""Examples of a task, as drawn and as the base model gets them."""

from __future__ import annotations

import torch
from matplotlib.figure import Figure

from metarules._checks import check_number
from metarules.plots import style
from metarules.tasks import Task

EXAMPLES_ALT = (
    "Two rows of small grey images. Above, one handwritten example of each class, readable. Below, the same examples "
    "as the base model gets them: the same pixels in one fixed random order, unreadable to us."
)


def examples_figure(task: Task, n: int = 10) -> Figure:
    """The first example of each of n classes, in two rows: pixels in place, and permuted as in `task.x`.

    Args:
        task: a single task of images.
        n: number of classes shown, 1 .. n_classes.

    Returns:
        The Figure, 9.2 x 2.2 inches; `EXAMPLES_ALT` describes it in words.

    Raises:
        ValueError: a task with leading dimensions or without images; n out of range.
    """
    check_number("n", n, low=1, high=task.n_classes, integer=True)
    if task.tasks:
        raise ValueError(f"task has leading dimensions {list(task.tasks)}; allowed: none (pick one with task.task(i))")
    rows = torch.stack([task.x[(task.y == c).nonzero()[0, 0]] for c in range(n)])
    images = task.image(rows).numpy()
    figure = style.new_figure(9.2, 2.2)
    left, size = 1.75, min(0.7, 7.3 / n)
    for name, text, at, shown in (
        ("as written", "for us to read", 1.25, images),
        ("as the model\ngets them", "every pixel moved", 0.25, rows.numpy().reshape(images.shape)),
    ):
        style.put_text(figure, 0.1, at + 0.68, name, weight="bold", va="top")
        style.put_text(figure, 0.1, at + 0.68 - 0.2 * (1 + name.count("\n")), text, color=style.MUTED, va="top")
        for i, image in enumerate(shown):
            axes = style.bare(style.axes_at(figure, left + i * (size + 0.04), at, size, size))
            axes.imshow(image, cmap="gray_r", interpolation="nearest")
    return figure
