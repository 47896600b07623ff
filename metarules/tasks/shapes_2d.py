"""Two moons, rings, blobs and spirals: classes that can be seen, in the plane or turned into n dimensions.

Figures are drawn within radius 1 of the origin (noise is in this unit), then moved to 0.5 and scaled by 0.45, so that
points lie in about [0, 1].
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from metarules._checks import check_number
from metarules.tasks._options import Number, Whole, balanced_labels, seeded
from metarules.tasks.dataset import Dataset, register

MAX_CLASSES = 20
_HALF = 0.45  # half the side of the figure after scaling: 0.05 is left on each side for noise


@register("two_moons")
def two_moons(
    n: Whole = 1000, noise: Number = 0.08, dimension: Whole = 2, lift_noise: Number = 0.02, seed: Whole = 0
) -> Dataset:
    """Two interleaved half circles, one class each.

    Args:
        n: number of points.
        noise: standard deviation across the figure, 0 to 1, in radii of the figure.
        dimension: inputs; above 2 the plane is turned into them by a random orthonormal map.
        lift_noise: standard deviation of the noise on each of the inputs then, 0 to 1.
        seed: whole number from 0.

    Returns:
        x [n, dimension], two classes.

    Raises:
        TypeError, ValueError: an option of a wrong type or out of range.
    """
    generator, y = _start(n, 2, noise, seed)
    angle = math.pi * torch.rand(n, generator=generator)
    upper = torch.stack([angle.cos() - 0.5, angle.sin() - 0.25], -1)
    points = torch.where((y == 0)[:, None], upper, -upper) / 1.5
    return _finish("two moons", points, y, 2, noise, dimension, lift_noise, generator)


@register("rings")
def rings(
    n: Whole = 1000,
    n_classes: Whole = 2,
    noise: Number = 0.05,
    dimension: Whole = 2,
    lift_noise: Number = 0.02,
    seed: Whole = 0,
) -> Dataset:
    """Concentric rings, one class each, radii evenly spaced up to 1. Arguments and errors as `two_moons`, with
    n_classes from 2 to 20."""
    generator, y = _start(n, n_classes, noise, seed)
    angle = 2 * math.pi * torch.rand(n, generator=generator)
    points = (y + 1)[:, None] / n_classes * torch.stack([angle.cos(), angle.sin()], -1)
    return _finish("rings", points, y, n_classes, noise, dimension, lift_noise, generator)


@register("spirals")
def spirals(
    n: Whole = 1000,
    n_classes: Whole = 2,
    turns: Number = 1.0,
    noise: Number = 0.03,
    dimension: Whole = 2,
    lift_noise: Number = 0.02,
    seed: Whole = 0,
) -> Dataset:
    """Spiral arms from the middle outwards, one class each. Arguments and errors as `two_moons`, with n_classes from
    2 to 20 and `turns` of each arm, 0 to 5."""
    generator, y = _start(n, n_classes, noise, seed)
    check_number("turns", turns, low=0, high=5)
    radius = 0.1 + 0.9 * torch.rand(n, generator=generator).sqrt()  # sqrt: as dense outside as inside
    angle = 2 * math.pi * (turns * radius + y / n_classes)
    points = radius[:, None] * torch.stack([angle.cos(), angle.sin()], -1)
    return _finish("spirals", points, y, n_classes, noise, dimension, lift_noise, generator)


@register("blobs")
def blobs(
    n: Whole = 1000,
    n_classes: Whole = 5,
    noise: Number = 0.12,
    dimension: Whole = 2,
    lift_noise: Number = 0.02,
    seed: Whole = 0,
) -> Dataset:
    """Round clouds about random centres kept apart, one class each; `noise` is the clouds' standard deviation.
    Arguments and errors as `two_moons`, with n_classes from 2 to 20."""
    generator, y = _start(n, n_classes, noise, seed)
    centres = 2 * torch.rand(1, 2, generator=generator) - 1
    while len(centres) < n_classes:  # of 20 random places take the one farthest from all centres so far
        places = 2 * torch.rand(20, 2, generator=generator) - 1
        farthest = torch.cdist(places, centres).amin(1).argmax()
        centres = torch.cat([centres, places[farthest, None]])
    return _finish("blobs", centres[y], y, n_classes, noise, dimension, lift_noise, generator)


def _start(n: Whole, n_classes: Whole, noise: Number, seed: Whole) -> tuple[torch.Generator, Tensor]:
    """Check what all figures share; returns the generator and balanced labels [n]."""
    check_number("n_classes", n_classes, low=2, high=MAX_CLASSES, integer=True)
    check_number("n", n, low=n_classes, integer=True)
    check_number("noise", noise, low=0, high=1)
    generator = seeded(seed)
    return generator, balanced_labels(n, n_classes, generator)


def _finish(
    name: str,
    points: Tensor,
    y: Tensor,
    n_classes: int,
    noise: Number,
    dimension: Whole,
    lift_noise: Number,
    generator: torch.Generator,
) -> Dataset:
    """Add noise, move into about [0, 1] and, where wanted, lift points [n, 2] to [n, dimension]."""
    check_number("dimension", dimension, low=2, integer=True)
    check_number("lift_noise", lift_noise, low=0, high=1)
    offsets = _HALF * (points + noise * torch.randn(points.shape, generator=generator))
    if dimension > 2:
        directions = torch.linalg.qr(torch.randn(dimension, 2, generator=generator)).Q.T
        offsets = offsets @ directions
        offsets = offsets + lift_noise * torch.randn(offsets.shape, generator=generator)
    return Dataset(name, 0.5 + offsets, y, None, tuple(str(c) for c in range(n_classes)))
