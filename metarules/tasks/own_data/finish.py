"""From what a file held to a data set: labels become class numbers, values come to [0, 1], and both are checked."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np
import torch

from metarules._checks import check_number
from metarules.tasks.dataset import Dataset

LEAST_PER_CLASS = 11  # the few-shot probe labels ten examples of each class and asks for the others
MAX_CLASSES = 60  # class colours and markers that pictures can tell apart
MAX_EXAMPLES = 100_000  # what is read within seconds
MAX_INPUTS = 4096  # an image of 64 x 64; with more, a base model of 32 units a layer is the wrong tool
MAX_BYTES = 100_000_000  # of one file, unpacked: all of MNIST, twice
LARGEST = 1e30  # values beyond it overflow float32, or the sums taken of them
LEAST_SIDE = 8  # pixels: rows of a smaller square number of values are a table, not images (iris has 4)
_TAILS = 0.01  # share of a column's values, at either end, that its scale does not heed

UNLABELLED = (
    "If there are no labels, add them: the rule never sees them, but the probe that measures its features asks for some"
)

Shape: TypeAlias = tuple[int, int] | Literal["auto"] | None  # whether rows are images, see `finished`


@dataclass(frozen=True)
class Raw:
    """What a file held, before any scaling.

    Attributes:
        name: of the file, for messages.
        values: finite numbers [N, n], float64.
        labels: what each row is called [N].
        shape: (height, width) where rows are known to be images; None where that is still to be decided.
        top: the largest value there can be, such as 255; None takes it from the values.
        where: what the labels were, for messages: "column 'class'".
    """

    name: str
    values: np.ndarray
    labels: Sequence[str]
    shape: tuple[int, int] | None
    top: float | None
    where: str


def finished(raw: Raw, title: str, shape: Shape, per_class: int) -> Dataset:
    """Check what a file held and make it a data set.

    Values: images get one scale, from 0 (or the least value, if there are negative ones) to the largest value there can
    be (255, say) or else the largest there is; so pixels keep their ratios. Other rows are a table, each column with
    its own units and hence its own scale: its 1st percentile becomes 0, its 99th becomes 1, what lies beyond is cut
    off, so that one wild value cannot flatten all others. Where these two are equal, least and largest value take
    their place; a constant column becomes 0.

    Args:
        raw: what was read.
        title: name of the data set.
        shape: "auto" takes rows of at least 8 x 8 values, their number a square and none negative, for images; (height,
            width) says that they are, None that they are not.
        per_class: examples that each class must have.

    Raises:
        ValueError: too few or too many examples, inputs or classes, examples that are all alike, a shape that does not
            fit.
    """
    check_number("per_class", per_class, low=1, integer=True)
    n_examples, n_inputs = raw.values.shape
    if n_examples > MAX_EXAMPLES or n_inputs > MAX_INPUTS:
        raise ValueError(
            f"{raw.name} holds {n_examples} examples of {n_inputs} values; allowed: up to {MAX_EXAMPLES} examples of "
            f"up to {MAX_INPUTS} values (an image of 64 x 64)"
        )
    names = _class_names(raw, int(per_class))
    if np.ptp(raw.values, axis=0).max() == 0:
        raise ValueError(f"{raw.name}: all {n_examples} examples are alike; allowed: examples that differ")
    image = _image_shape(raw, shape)
    x = _scaled_image(raw.values, raw.top) if image else _scaled_columns(raw.values)
    number = {name: i for i, name in enumerate(names)}
    return Dataset(
        name=title,
        x=torch.from_numpy(x.astype(np.float32)),
        y=torch.tensor([number[label] for label in raw.labels], dtype=torch.int64),
        shape=image,
        class_names=names,
    )


def some_examples(dataset: Dataset, most: int, seed: int = 0) -> Dataset:
    """At most `most` examples, drawn at random, in their order; rare classes are kept first.

    Every class keeps the same number of examples, or all it has if that is fewer.

    Args:
        dataset: the data.
        most: examples to keep, at least one for each class.
        seed: of the draw.

    Returns:
        The data set itself where it is small enough.

    Raises:
        ValueError: fewer examples than classes, or a seed below 0.
        TypeError: numbers that are not whole.
    """
    check_number("most", most, low=dataset.n_classes, integer=True)
    check_number("seed", seed, low=0, integer=True)
    if len(dataset) <= most:
        return dataset
    generator = torch.Generator().manual_seed(int(seed))
    order = torch.rand(len(dataset), generator=generator).argsort()
    turn = torch.empty(len(dataset), dtype=torch.int64)  # 0 for the first of its class, 1 for the second ..
    for c in range(dataset.n_classes):
        rows = order[dataset.y[order] == c]
        turn[rows] = torch.arange(len(rows))
    kept = order[turn[order].argsort(stable=True)][:most].sort().values
    return Dataset(dataset.name, dataset.x[kept], dataset.y[kept], dataset.shape, dataset.class_names)


def _class_names(raw: Raw, per_class: int) -> tuple[str, ...]:
    """The classes in order: by number where all are numbers, else by the alphabet."""
    counts = Counter(raw.labels)
    if len(counts) < 2:
        only = next(iter(counts))
        raise ValueError(
            f"{raw.name}: all {len(raw.labels)} examples are of one class, {only!r} ({raw.where}); allowed: two "
            f"classes or more. {UNLABELLED}"
        )
    if len(counts) > MAX_CLASSES:
        raise ValueError(
            f"{raw.name}: {raw.where} holds {len(counts)} different labels in {len(raw.labels)} rows; allowed: 2 to "
            f"{MAX_CLASSES} classes. {UNLABELLED}"
        )
    rarest = min(counts, key=lambda name: counts[name])
    if counts[rarest] < per_class:
        raise ValueError(
            f"{raw.name}: class {rarest!r} ({raw.where}) has {counts[rarest]} example(s); allowed: at least "
            f"{per_class} of every class. Leave rare classes out, or join them"
        )
    numbers = all(_is_number(name) for name in counts)
    return tuple(sorted(counts, key=lambda name: (float(name), name) if numbers else (0.0, name)))


def _is_number(text: str) -> bool:
    try:
        return math.isfinite(float(text))
    except ValueError:
        return False


def _image_shape(raw: Raw, shape: Shape) -> tuple[int, int] | None:
    n = raw.values.shape[1]
    if shape is None:
        return None
    if shape != "auto":
        if not isinstance(shape, tuple | list) or len(shape) != 2 or math.prod(shape) != n:
            raise ValueError(f"shape is {shape!r}; allowed: 'auto', None, or (height, width) with height * width = {n}")
        return int(shape[0]), int(shape[1])
    if raw.shape is not None:
        return raw.shape
    side = math.isqrt(n)
    return (side, side) if side >= LEAST_SIDE and side * side == n and raw.values.min() >= 0 else None


def _scaled_image(values: np.ndarray, top: float | None) -> np.ndarray:
    low = min(0.0, float(values.min()))
    high = float(values.max()) if top is None else top
    return (values - low) / (high - low)


def _scaled_columns(values: np.ndarray) -> np.ndarray:
    low, high = np.quantile(values, [_TAILS, 1 - _TAILS], axis=0)
    alike = low == high
    low, high = np.where(alike, values.min(0), low), np.where(alike, values.max(0), high)
    width = np.where(low == high, 1.0, high - low)
    return np.clip((values - low) / width, 0.0, 1.0)
