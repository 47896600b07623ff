"""A task: data, a permutation of its inputs per task, and batches drawn from them as tensors."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from metarules._checks import check_generator, check_number, check_tensor
from metarules.tasks.dataset import check_classes, check_shape, check_targets
from metarules.update_rule import Batch


@dataclass(frozen=True, eq=False, repr=False)
class Task:
    """What base models learn from: one data set, or one for each index of the leading task dimensions.

    Attributes:
        x: inputs [*tasks, N, n_0].
        y: class numbers [*tasks, N], int64.
        n_classes: number of classes, the same for all tasks.
        permutation: [*tasks, n_0], int64; input j of a task is input permutation[j] of its data set. None: unpermuted.
        name: what tables and plots call it.
        shape: (height, width) of an unpermuted row; None where rows are no images.
        targets: numbers to regress on [*tasks, N, k], see `Dataset`; None where there are none.

    Raises:
        TypeError: a tensor of the wrong type or dtype.
        ValueError: no examples, NaN or infinity, shapes that do not fit, labels out of range, no permutation.
    """

    x: Tensor
    y: Tensor
    n_classes: int
    permutation: Tensor | None = None
    name: str = "task"
    shape: tuple[int, int] | None = None
    targets: Tensor | None = None

    def __post_init__(self) -> None:
        check_tensor("x", self.x, min_dims=2)
        check_number("n_classes", self.n_classes, low=1, integer=True)
        check_classes(self.y, self.x, self.n_classes)
        check_shape(self.shape, self.n_inputs)
        check_targets(self.targets, self.x)
        _check_permutation(self.permutation, self.x)
        object.__setattr__(self, "x", self.x.contiguous())  # sampling views all tasks as one list of rows
        object.__setattr__(self, "y", self.y.contiguous())
        if self.targets is not None:
            object.__setattr__(self, "targets", self.targets.contiguous())

    @property
    def tasks(self) -> tuple[int, ...]:
        """The leading task dimensions; () for a single task."""
        return tuple(self.x.shape[:-2])

    @property
    def n_examples(self) -> int:
        """N, the number of examples of each task."""
        return self.x.shape[-2]

    @property
    def n_inputs(self) -> int:
        """n_0, the number of inputs."""
        return self.x.shape[-1]

    def sample(self, batch_size: int, generator: torch.Generator) -> Batch:
        """Draw a batch, no example twice; every task draws its own, every subset being as likely as any other.

        Args:
            batch_size: 1 to N; N gives the whole set in its order, and draws no random numbers.
            generator: a torch.Generator, on any device.

        Returns:
            x [*tasks, batch_size, n_0] and y [*tasks, batch_size]; targets are left out, as no inner step looks at
            them.

        Raises:
            ValueError: batch_size out of range.
            TypeError: batch_size or generator of the wrong type.
        """
        check_number("batch_size", batch_size, low=1, high=self.n_examples, integer=True)
        check_generator(generator)
        if batch_size == self.n_examples:
            return Batch(self.x, self.y)
        keys = torch.rand(*self.y.shape, generator=generator, device=generator.device, dtype=torch.float32)
        # the positions of the largest random keys are a random subset, at a quarter of the cost of a permutation
        rows = self._rows(keys.topk(batch_size, sorted=False).indices)
        return Batch(self._pick(self.x, rows), self._pick(self.y, rows))

    def sample_labelled(self, labels_per_class: int, generator: torch.Generator, n_sets: int = 2) -> tuple[Batch, ...]:
        """Draw labelled batches with equally many examples of every class; no example comes twice, in whichever batch.

        Args:
            labels_per_class: examples per class and batch, from 1.
            generator: a torch.Generator, on any device.
            n_sets: number of batches.

        Returns:
            n_sets batches of n = n_classes * labels_per_class examples, classes in order: x [*tasks, n, n_0] and
            y [*tasks, n]; targets [*tasks, n, k] where the task has some.

        Raises:
            ValueError: a class with too few examples, or a number below 1.
            TypeError: an argument of the wrong type.
        """
        check_number("labels_per_class", labels_per_class, low=1, integer=True)
        check_number("n_sets", n_sets, low=1, integer=True)
        check_generator(generator)
        members, absent, rarest = self._members
        if labels_per_class * n_sets > rarest:
            raise ValueError(
                f"labels_per_class is {labels_per_class}, for {n_sets} batches; allowed: up to {rarest // n_sets}, "
                f"since the rarest class has {rarest} examples"
            )
        keys = torch.rand(*members.shape, generator=generator, device=generator.device, dtype=torch.float32)
        chosen = keys.to(members.device).masked_fill(absent, -1.0).topk(labels_per_class * n_sets).indices
        rows = members.gather(-1, chosen).unflatten(-1, (n_sets, labels_per_class))  # [*tasks, classes, sets, labels]
        return tuple(Batch(*self._gather(rows[..., i, :].flatten(-2))) for i in range(n_sets))

    def unpermute(self, values: Tensor) -> Tensor:
        """Bring inputs back into the order of the data set, so that images look like images.

        Args:
            values: [*tasks, ..., n_0]: rows of x, or first-layer filters as `W.mT` [*tasks, n_1, n_0].

        Returns:
            The same shape, reordered along the last dimension.

        Raises:
            TypeError: not a floating tensor.
            ValueError: leading dimensions that are not the tasks', or another number of inputs.
        """
        check_tensor("values", values, last=self.n_inputs, finite=False)
        if tuple(values.shape[: len(self.tasks)]) != self.tasks or values.ndim <= len(self.tasks):
            raise ValueError(f"values has shape {list(values.shape)}; allowed: {[*self.tasks, '...', self.n_inputs]}")
        if self.permutation is None:
            return values
        middle = [1] * (values.ndim - len(self.tasks) - 1)
        back = self.permutation.argsort(-1).to(values.device)
        return values.gather(-1, back.view(*self.tasks, *middle, self.n_inputs).expand_as(values))

    def image(self, values: Tensor) -> Tensor:
        """`unpermute`, then the last dimension as an image: [*tasks, ..., n_0] -> [*tasks, ..., height, width].

        Raises:
            ValueError: the task's rows are no images; otherwise as `unpermute`.
        """
        if self.shape is None:
            raise ValueError(f"shape is None: rows of {self.name!r} are no images; allowed: a task with a shape")
        return self.unpermute(values).unflatten(-1, self.shape)

    def to(self, *args: Any, **kwargs: Any) -> Task:
        """`Tensor.to` for x and targets: another floating dtype or device; class numbers and permutation follow to the
        device."""
        x = self.x.to(*args, **kwargs)
        targets = None if self.targets is None else self.targets.to(*args, **kwargs)
        permutation = None if self.permutation is None else self.permutation.to(x.device)
        return replace(self, x=x, y=self.y.to(x.device), permutation=permutation, targets=targets)

    def task(self, *index: int) -> Task:
        """Pick one task out of the leading dimensions.

        Raises:
            ValueError: more indices than leading dimensions.
            IndexError: an index out of range.
        """
        if len(index) > len(self.tasks):
            raise ValueError(f"index {index} has {len(index)} parts; allowed: at most {len(self.tasks)}")
        permutation = None if self.permutation is None else self.permutation[index]
        targets = None if self.targets is None else self.targets[index]
        return replace(self, x=self.x[index], y=self.y[index], permutation=permutation, targets=targets)

    def split(self, fraction: float, generator: torch.Generator) -> tuple[Task, Task]:
        """Cut every task's examples in two at random.

        Args:
            fraction: share of the first part, above 0 and below 1; both parts get one example at least.
            generator: a torch.Generator, on any device.

        Returns:
            Two tasks with round(fraction * N) and the other examples, the same permutation and classes.

        Raises:
            ValueError: fraction out of range, or a part left empty.
            TypeError: an argument of the wrong type.
        """
        check_number("fraction", fraction, low=0, high=1)
        check_generator(generator)
        first = round(fraction * self.n_examples)
        if not 0 < first < self.n_examples:
            raise ValueError(
                f"fraction is {fraction!r}, which leaves {first} and {self.n_examples - first} of {self.n_examples} "
                "examples; allowed: fractions that leave at least one in each part"
            )
        order = torch.rand(*self.y.shape, generator=generator, device=generator.device, dtype=torch.float32).argsort(-1)
        return self._part(order[..., :first]), self._part(order[..., first:])

    def _part(self, index: Tensor) -> Task:
        """The same task with only some examples, by number: index [*tasks, k]."""
        x, y, targets = self._gather(index)
        return replace(self, x=x, y=y, targets=targets)

    def _gather(self, index: Tensor) -> tuple[Tensor, Tensor, Tensor | None]:
        """x, y and targets of examples by number, index [*tasks, k]."""
        rows = self._rows(index)
        targets = None if self.targets is None else self._pick(self.targets, rows)
        return self._pick(self.x, rows), self._pick(self.y, rows), targets

    def _rows(self, index: Tensor) -> Tensor:
        """Numbers within each task, index [*tasks, k], as numbers in the one list of all tasks' examples."""
        first = torch.arange(0, self.y.numel(), self.n_examples, device=self.x.device).view(*self.tasks, 1)
        return index.to(self.x.device) + first

    def _pick(self, values: Tensor, rows: Tensor) -> Tensor:
        """values [*tasks, N, ...] of examples by their `_rows` [*tasks, k], gathered from all tasks in one go."""
        rest = values.shape[self.y.ndim :]
        return values.view(-1, *rest).index_select(0, rows.flatten()).view(*rows.shape, *rest)

    @cached_property
    def _members(self) -> tuple[Tensor, Tensor, int]:
        """Which examples each class has: numbers [*tasks, n_classes, size of the largest class], where that table is
        only filled up (bool, same shape), and the size of the rarest class."""
        counts = torch.zeros(*self.tasks, self.n_classes, dtype=torch.int64, device=self.y.device)
        counts.scatter_add_(-1, self.y, torch.ones_like(self.y))
        place = torch.arange(int(counts.max()), device=self.y.device)
        position = (counts.cumsum(-1) - counts).unsqueeze(-1) + place
        order = self.y.argsort(dim=-1, stable=True)
        members = order.gather(-1, position.clamp_max(self.n_examples - 1).flatten(-2)).view(position.shape)
        return members, place >= counts.unsqueeze(-1), int(counts.min())

    def __repr__(self) -> str:
        tasks = f", tasks={list(self.tasks)}" if self.tasks else ""
        order = "unpermuted" if self.permutation is None else "permuted"
        return f"Task({self.name}: {self.n_examples} x {self.n_inputs}, {self.n_classes} classes, {order}{tasks})"


def _check_permutation(permutation: Any, x: Tensor) -> None:
    if permutation is None:
        return
    if not isinstance(permutation, Tensor) or permutation.dtype != torch.int64:
        kind = getattr(permutation, "dtype", type(permutation).__name__)
        raise TypeError(f"permutation is {kind}; allowed: None or a torch.int64 tensor")
    wanted = [*x.shape[:-2], x.shape[-1]]
    if list(permutation.shape) != wanted or permutation.device != x.device:
        raise ValueError(
            f"permutation has shape {list(permutation.shape)} on {permutation.device}; allowed: {wanted} on {x.device}"
        )
    numbers = torch.arange(x.shape[-1], device=x.device)
    if not (permutation.sort(-1).values == numbers).all():
        raise ValueError(f"permutation repeats or leaves out an input; allowed: each of 0 to {x.shape[-1] - 1} once")
