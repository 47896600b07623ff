"""Tasks made of data sets, and many tasks put side by side."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from metarules._checks import check_generator, check_number, check_size
from metarules.tasks.dataset import Dataset
from metarules.tasks.task import Task


def make_task(
    dataset: Dataset,
    *,
    permute: bool = True,
    generator: torch.Generator | None = None,
    tasks: Sequence[int] = (),
    dtype: torch.dtype = torch.float32,
) -> Task:
    """Make a task, or many that differ in the order of inputs, of a data set.

    Args:
        dataset: the data.
        permute: give every task its own random order of inputs (Metz et al., section 4.2: rules must not lean on
            neighbouring pixels).
        generator: source of the permutations, on any device; may be left out where `permute` is False.
        tasks: leading task dimensions.
        dtype: floating dtype of x.

    Returns:
        A task with x [*tasks, N, n], y [*tasks, N] and, where the data set has some, targets [*tasks, N, k].

    Raises:
        ValueError: a task dimension below 1.
    """
    for i, n in enumerate(tasks):
        check_number(f"tasks[{i}]", n, low=1, integer=True)
    check_size("tasks", *tasks, *dataset.x.shape)
    n = dataset.x.shape[1]
    x = dataset.x.to(dtype)
    permutation = None
    if permute:
        source = check_generator(generator)
        keys = torch.rand(*tasks, n, generator=source, device=source.device, dtype=torch.float64)
        permutation = keys.argsort(-1).to(x.device)
        x = x.T[permutation].mT  # [*tasks, n, N] -> [*tasks, N, n]
    x = x.expand(*tasks, *dataset.x.shape)
    y = dataset.y.expand(*tasks, len(dataset))
    targets = None
    if dataset.targets is not None:
        targets = dataset.targets.to(dtype).expand(*tasks, *dataset.targets.shape)
    return Task(x, y, dataset.n_classes, permutation, dataset.name, dataset.shape, targets)


def stack_tasks(tasks: Sequence[Task]) -> Task:
    """Put tasks side by side along a new leading dimension, so that one call trains them all.

    Args:
        tasks: at least one; shapes, dtype, device and number of classes must agree (names and images need not).

    Returns:
        x [len(tasks), *tasks, N, n_0] and so on; unpermuted tasks get the identity where others are permuted.
        Targets stay where all tasks have equally many.

    Raises:
        ValueError: none given, or tasks that do not agree.
    """
    if not tasks:
        raise ValueError("tasks is empty; allowed: at least one Task")
    for i, task in enumerate(tasks):
        for what in ("shape", "dtype", "device"):
            if getattr(task.x, what) != getattr(tasks[0].x, what):
                given, wanted = getattr(task.x, what), getattr(tasks[0].x, what)
                raise ValueError(f"tasks[{i}].x has {what} {given}; allowed: {wanted}, as tasks[0]")
        if task.n_classes != tasks[0].n_classes:
            raise ValueError(f"tasks[{i}] has {task.n_classes} classes; allowed: {tasks[0].n_classes}, as tasks[0]")
    permutation = None
    if any(task.permutation is not None for task in tasks):
        permutation = torch.stack([_order(task) for task in tasks])
    targets = [task.targets for task in tasks if task.targets is not None]
    alike = len(targets) == len(tasks) and len({t.shape for t in targets}) == 1
    return Task(
        x=torch.stack([task.x for task in tasks]),
        y=torch.stack([task.y for task in tasks]),
        n_classes=tasks[0].n_classes,
        permutation=permutation,
        name=" + ".join(dict.fromkeys(task.name for task in tasks)),
        shape=tasks[0].shape if len({task.shape for task in tasks}) == 1 else None,
        targets=torch.stack(targets) if alike else None,
    )


def _order(task: Task) -> Tensor:
    """The task's permutation, or the identity [*tasks, n_0]."""
    if task.permutation is not None:
        return task.permutation
    return torch.arange(task.n_inputs, device=task.x.device).expand(*task.tasks, task.n_inputs)
