"""Two moons, rings, blobs and spirals: classes that can be seen, in the plane or turned into n dimensions.

Figures are drawn within radius 1 of the origin (noise is in this unit), then moved to 0.5 and scaled by 0.45, so that
points lie in about [0, 1].
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from metarules._checks import check_number
from metarules._random import balanced_labels, seeded
from metarules.tasks.dataset import Dataset, register

MAX_CLASSES = 20
_HALF = 0.45  # half the side of the figure after scaling: 0.05 is left on each side for noise


@register("two_moons")
def two_moons(
    n: int = 1000, noise: float = 0.08, dimension: int = 2, lift_noise: float = 0.02, seed: int = 0
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
        TypeError, ValueError: an option of the wrong type or out of range.
    """
    generator, y = _start(n, 2, noise, seed)
    points = _moons(y, 2, generator)[0]
    return _finish("two moons", points, y, 2, noise, dimension, lift_noise, generator)


@register("rings")
def rings(
    n: int = 1000,
    n_classes: int = 2,
    noise: float = 0.05,
    dimension: int = 2,
    lift_noise: float = 0.02,
    seed: int = 0,
) -> Dataset:
    """Concentric rings, one class each, radii evenly spaced up to 1. Arguments and errors as `two_moons`, with
    n_classes from 2 to 20."""
    generator, y = _start(n, n_classes, noise, seed)
    points = _circles(y, n_classes, generator)[0]
    return _finish("rings", points, y, n_classes, noise, dimension, lift_noise, generator)


@register("spirals")
def spirals(
    n: int = 1000,
    n_classes: int = 2,
    turns: float = 1.0,
    noise: float = 0.03,
    dimension: int = 2,
    lift_noise: float = 0.02,
    seed: int = 0,
) -> Dataset:
    """Spiral arms from the middle outwards, one class each. Arguments and errors as `two_moons`, with n_classes from
    2 to 20 and `turns` of each arm, 0 to 5."""
    generator, y = _start(n, n_classes, noise, seed)
    check_number("turns", turns, low=0, high=5)
    points = _arms(y, n_classes, generator, turns)[0]
    return _finish("spirals", points, y, n_classes, noise, dimension, lift_noise, generator)


@register("blobs")
def blobs(
    n: int = 1000,
    n_classes: int = 5,
    noise: float = 0.12,
    dimension: int = 2,
    lift_noise: float = 0.02,
    seed: int = 0,
) -> Dataset:
    """Round clouds about random centres kept apart, one class each; `noise` is the clouds' standard deviation.
    Arguments and errors as `two_moons`, with n_classes from 2 to 20."""
    generator, y = _start(n, n_classes, noise, seed)
    points = _middles(y, n_classes, generator)[0]
    return _finish("blobs", points, y, n_classes, noise, dimension, lift_noise, generator)


# Points without noise [n, 2], how far along the class's line each lies [n], and the direction across it [n, 2].
Line = tuple[Tensor, Tensor, Tensor]


def _moons(y: Tensor, n_classes: int, generator: torch.Generator) -> Line:
    angle = math.pi * torch.rand(len(y), generator=generator)
    upper = torch.stack([angle.cos() - 0.5, angle.sin() - 0.25], -1)
    sign = torch.where(y == 0, 1.0, -1.0)[:, None]
    return sign * upper / 1.5, angle, sign * _direction(angle)


def _circles(y: Tensor, n_classes: int, generator: torch.Generator) -> Line:
    angle = 2 * math.pi * torch.rand(len(y), generator=generator)
    return (y + 1)[:, None] / n_classes * _direction(angle), angle, _direction(angle)


def _arms(y: Tensor, n_classes: int, generator: torch.Generator, turns: float = 1.0) -> Line:
    radius = 0.1 + 0.9 * torch.rand(len(y), generator=generator).sqrt()  # sqrt: as dense outside as inside
    angle = 2 * math.pi * (turns * radius + y / n_classes)
    slope = torch.atan(2 * math.pi * turns * radius)  # of the arm against the radius
    return radius[:, None] * _direction(angle), radius, _direction(angle + slope + math.pi / 2)


def _middles(y: Tensor, n_classes: int, generator: torch.Generator) -> Line:
    """Every point at its class's middle; the noise alone makes a blob, and no line runs through it."""
    centres = 2 * torch.rand(1, 2, generator=generator) - 1
    while len(centres) < n_classes:  # of 20 random places take the one farthest from all centres so far
        places = 2 * torch.rand(20, 2, generator=generator) - 1
        farthest = torch.cdist(places, centres).amin(1).argmax()
        centres = torch.cat([centres, places[farthest, None]])
    return centres[y], torch.zeros(len(y)), torch.tensor([0.0, 1.0]).expand(len(y), 2)


def _direction(angle: Tensor) -> Tensor:
    return torch.stack([angle.cos(), angle.sin()], -1)


FIGURES: dict[str, Callable[[Tensor, int, torch.Generator], Line]] = {
    "two moons": _moons,
    "rings": _circles,
    "spirals": _arms,
    "blobs": _middles,
}


def draw_figure(
    kind: str, y: Tensor, n_classes: int, noise: float, generator: torch.Generator
) -> tuple[Tensor, Tensor, Tensor]:
    """Points of a figure in the plane, and where on its lines they lie.

    Args:
        kind: one of FIGURES; "two moons" have two classes.
        y: class numbers [n], int64.
        n_classes: how many there are.
        noise: standard deviation about the lines; blobs, which have none, are three times as wide.
        generator: a CPU torch.Generator.

    Returns:
        points [n, 2] within radius 1 or about; position along the class's line [n] and across it [n] (of a blob:
        right and up from its middle).
    """
    points, along, normal = FIGURES[kind](y, n_classes, generator)
    offset = (3 * noise if kind == "blobs" else noise) * torch.randn(points.shape, generator=generator)
    return points + offset, offset[:, 0] if kind == "blobs" else along, (offset * normal).sum(-1)


def _start(n: int, n_classes: int, noise: float, seed: int) -> tuple[torch.Generator, Tensor]:
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
    noise: float,
    dimension: int,
    lift_noise: float,
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
