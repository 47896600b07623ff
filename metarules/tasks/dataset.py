"""A data set as two tensors, and the registry of data sets that need no download."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
from torch import Tensor

from metarules._arguments import guarded
from metarules._checks import check_choice, check_names, check_new_name, check_tensor


@dataclass(frozen=True, eq=False, repr=False)
class Dataset:
    """Examples and their class numbers.

    Attributes:
        name: what tables and plots call it.
        x: inputs [N, n], float32, in about [0, 1].
        y: class numbers [N], int64, from 0 to n_classes - 1.
        shape: (height, width) of an image row, height * width = n; None where rows are no images.
        class_names: one name per class.
        targets: what else varies from example to example, such as a glyph's shift, as numbers to regress on [N, k],
            float32, every column of mean 0 and variance 1 (or 0 throughout); None where nothing is known.
        reading: how it was read from a file, in words: which column became the label, what was left out, how values
            were scaled.

    Data without labels have one class: a rule learns from them as from others, the few-shot probe refuses them.

    Raises:
        TypeError: x, y or targets of another type or dtype.
        ValueError: no examples, NaN or infinity, lengths that differ, labels out of range, a shape that does not fit.
    """

    name: str
    x: Tensor
    y: Tensor
    shape: tuple[int, int] | None
    class_names: tuple[str, ...]
    targets: Tensor | None = None
    reading: str = ""

    def __post_init__(self) -> None:
        check_tensor("x", self.x, min_dims=2)
        if self.x.dtype != torch.float32:
            raise TypeError(f"x has dtype {self.x.dtype}; allowed: torch.float32")
        if self.x.ndim != 2:
            raise ValueError(f"x has shape {list(self.x.shape)}; allowed: [N, n], one row per example")
        check_classes(self.y, self.x, len(self.class_names))
        if len(set(self.class_names)) < len(self.class_names):
            raise ValueError(f"class_names is {self.class_names!r}; allowed: names that differ")
        check_shape(self.shape, self.x.shape[1])
        check_targets(self.targets, self.x)

    @property
    def n_classes(self) -> int:
        """Number of classes."""
        return len(self.class_names)

    def __len__(self) -> int:
        return self.x.shape[0]

    def __repr__(self) -> str:
        image = f" ({self.shape[0]}x{self.shape[1]})" if self.shape else ""
        classes = f"{self.n_classes} classes" if self.n_classes > 1 else "no labels"
        read = f"; {self.reading}" if self.reading else ""
        return f"Dataset({self.name}: {len(self)} x {self.x.shape[1]}{image}, {classes}{read})"


Builder = Callable[..., Dataset]
_Builder = TypeVar("_Builder", bound=Builder)

DATASETS: dict[str, Builder] = {}  # name -> function of keyword options, filled by `register`


def register(name: str) -> Callable[[_Builder], _Builder]:
    """Decorator: make a function of keyword options known to `load_dataset` under `name`.

    Raises:
        ValueError: a name that another function has.
    """

    def enter(builder: _Builder) -> _Builder:
        DATASETS[check_new_name(name, DATASETS.get(name), builder)] = builder
        return builder

    return enter


def load_dataset(name: str, **options: Any) -> Dataset:
    """Load or generate a data set; the same name and options give the same numbers. (`read_dataset` reads your own.)

    Args:
        name: one of `DATASETS`: "digits", "glyphs", "handwriting", "two_moons", "rings", "blobs", "spirals",
            "random_decoder", "docstrings", "wine", "breast_cancer", "iris"; "mnist", "fashion_mnist" and "cifar10" are
            fetched once, "mnist_5000" comes with the extra `metarules[mnist]`.
        options: keyword options of that data set, see the docstring of `DATASETS[name]`. Those that are drawn at
            random take `seed`.

    Returns:
        The data set, x [N, n] float32 and y [N] int64, on the CPU.

    Raises:
        ValueError: an unknown name or option, or an option out of range.
    """
    builder = DATASETS[check_choice("name", name, DATASETS)]
    check_names(f"options of load_dataset({name!r})", options, inspect.signature(builder).parameters or ["(none)"])
    return guarded(builder)(**options)


def check_classes(y: Any, x: Tensor, n_classes: int) -> None:
    """Check class numbers [*tasks, N] against inputs x [*tasks, N, n].

    Raises:
        TypeError: y is not an int64 tensor.
        ValueError: another shape, or a number outside 0 .. n_classes - 1.
    """
    if not isinstance(y, Tensor) or y.dtype != torch.int64:
        raise TypeError(f"y is {getattr(y, 'dtype', type(y).__name__)}; allowed: a torch.int64 tensor of class numbers")
    if y.shape != x.shape[:-1]:
        raise ValueError(f"y has shape {list(y.shape)}; allowed: {list(x.shape[:-1])}, one class number per row of x")
    if y.device != x.device:
        raise ValueError(f"y is on device {y.device}; allowed: {x.device}, where x is")
    low, high = int(y.min()), int(y.max())
    if low < 0 or high >= n_classes:
        raise ValueError(f"y holds class numbers from {low} to {high}; allowed: 0 to {n_classes - 1}")


def check_targets(targets: Any, x: Tensor) -> None:
    """Check regression targets [*tasks, N, k] against inputs x [*tasks, N, n]; None says that there are none.

    Raises:
        TypeError: not a floating tensor.
        ValueError: another number of rows, another dtype or device than x, NaN or infinity.
    """
    if targets is None:
        return
    check_tensor("targets", targets, min_dims=2, like=x)
    if targets.shape[:-1] != x.shape[:-1]:
        raise ValueError(
            f"targets has shape {list(targets.shape)}; allowed: {[*x.shape[:-1], 'k']}, one row per row of x"
        )


def check_shape(shape: Any, n: int) -> None:
    """Check that (height, width) describes a row of n pixels; None says that rows are no images.

    Raises:
        ValueError: not two whole numbers whose product is n.
    """
    if shape is None:
        return
    if not isinstance(shape, tuple) or len(shape) != 2 or min(shape) < 1 or math.prod(shape) != n:
        raise ValueError(f"shape is {shape!r}; allowed: None, or (height, width) with height * width = {n}")
