"""From what a file held to a data set: labels become class numbers, values come to [0, 1], and both are checked."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch

from metarules._checks import check_number
from metarules.tasks.dataset import Dataset
from metarules.tasks.own_data.asked import MAX_CLASSES, MAX_EXAMPLES, MAX_INPUTS, UNLABELLED, Asked, Raw, Scale
from metarules.tasks.own_data.columns import image_shape

_TAILS = 0.01  # share of a column's values, at either end, that its scale does not heed
_NO_CLASS = "unlabelled"  # the one class of data without labels


def finished(raw: Raw, title: str, asked: Asked) -> Dataset:
    """Check what a file held, scale it by rule 8 of `read_dataset` and make it a data set.

    Raises:
        ValueError: too few or too many examples, inputs or classes, examples that are all alike, a shape or a scale
            that does not fit.
    """
    n_examples, n_inputs = raw.values.shape
    if n_examples > MAX_EXAMPLES or n_inputs > MAX_INPUTS:
        raise ValueError(
            f"{raw.name} holds {n_examples} examples of {n_inputs} values; allowed: up to {MAX_EXAMPLES} examples of "
            f"up to {MAX_INPUTS} values (an image of 64 x 64)"
        )
    labels = [_NO_CLASS] * n_examples if raw.labels is None else raw.labels
    names = (_NO_CLASS,) if raw.labels is None else _class_names(raw, labels, int(asked.per_class))
    if np.ptp(raw.values, axis=0).max() == 0:
        raise ValueError(f"{raw.name}: all {n_examples} examples are alike; allowed: examples that differ")
    fixed = raw.shape if asked.shape == "auto" else None
    image = fixed or image_shape(raw.names, raw.values, asked.shape, raw.name)
    x, scaled = _scaled(raw, image is not None, asked.scale)
    number = {name: i for i, name in enumerate(names)}
    return Dataset(
        name=title,
        x=torch.from_numpy(x.astype(np.float32)),
        y=torch.tensor([number[label] for label in labels], dtype=torch.int64),
        shape=image,
        class_names=names,
        reading="; ".join([*([] if raw.labels is None else [f"labels: {raw.where}"]), *raw.notes, scaled]),
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
    targets = None if dataset.targets is None else dataset.targets[kept]
    return replace(dataset, x=dataset.x[kept], y=dataset.y[kept], targets=targets)


def _class_names(raw: Raw, labels: Sequence[str], per_class: int) -> tuple[str, ...]:
    """The classes in order: by number where all are numbers, else by the alphabet."""
    counts = Counter(labels)
    if len(counts) < 2:
        raise ValueError(
            f"{raw.name}: all {len(labels)} examples are of one class, {labels[0]!r} ({raw.where}); allowed: two "
            f"classes or more. {UNLABELLED}"
        )
    if len(counts) > MAX_CLASSES:
        raise ValueError(
            f"{raw.name}: {raw.where} holds {len(counts)} different labels in {len(labels)} rows; allowed: 2 to "
            f"{MAX_CLASSES} classes. For a table label= names another column; {UNLABELLED}"
        )
    rarest = min(counts, key=lambda name: counts[name])
    if counts[rarest] < per_class:
        names = ". If line 1 holds the names of columns, header=True" if raw.names and labels[0] == rarest else ""
        raise ValueError(
            f"{raw.name}: class {rarest!r} ({raw.where}) has {counts[rarest]} example(s); allowed: at least "
            f"{per_class} of every class. Leave rare classes out, or join them{names}"
        )
    numbers = all(_is_number(name) for name in counts)
    return tuple(sorted(counts, key=lambda name: (float(name), name) if numbers else (0.0, name)))


def _is_number(text: str) -> bool:
    try:
        return math.isfinite(float(text))
    except ValueError:
        return False


def _scaled(raw: Raw, image: bool, scale: Scale) -> tuple[np.ndarray, str]:
    """Values in [0, 1] [N, n], and what was done in words."""
    values = raw.values
    if scale == "columns" or (scale == "auto" and not image):
        low, high = np.quantile(values, [_TAILS, 1 - _TAILS], axis=0)
        alike = low == high
        low, high = np.where(alike, values.min(0), low), np.where(alike, values.max(0), high)
        width = np.where(low == high, 1.0, high - low)
        return np.clip((values - low) / width, 0.0, 1.0), "scaled: each column, its 1st to 99th percentile to 0 .. 1"
    least, most = min(0.0, float(values.min())), float(values.max())
    top = most if isinstance(scale, str) else float(scale)
    if top < most:
        raise ValueError(f"scale is {scale!r}, but {raw.name} holds {most:g}; allowed: {most:g} or more")
    top = top if top > least else 1.0
    return (values - least) / (top - least), f"scaled: {least:.4g} .. {top:.4g} to 0 .. 1, one scale for all"
