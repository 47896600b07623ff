"""Pen strokes as numbers: the random strokes of a character, the curves they follow, and the ink they leave.

A curve is linear in its control points, so that all instances of all characters are one batched matrix product.
"""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor

from metarules._random import log_uniform, uniform

SPLINE, ARC, POLYLINE = "spline", "arc", "polyline"
ARC_POINTS = 3  # control points of an arc: its middle and the ends of two half axes

_LEAST_STEP = 0.35  # shortest over longest way between two control points: no stroke stays on one spot
_CURL = 1.0  # standard deviation of the turn between two such ways, radians; at 2 strokes are scribbles
_HEADINGS = (0.0, 0.5, 1.0)  # to the right, right and down, down, in quarter turns: how people begin a stroke
_WIDTHS = (0.6, 1.0)  # width of a character over what was drawn: most of people's characters are taller than wide
_LATER_SIZE = (0.5, 1.0)  # longer side of a later stroke over that of the first
_JOINED = 0.6  # share of later strokes that begin on an earlier one; the others anywhere
_SWEEPS = (0.5, 1.8)  # of an arc, in half turns: from a quarter of a circle to nearly all of it
_ROUND = (0.5, 1.0)  # shorter over longer half axis of an arc
_CHUNK = 3_000_000  # distances at once: 12 MB
_NIB = (0.6, 1.2)  # half axes of a broad pen over a round one's radius: as long as 1.4, its loops run together
_NIB_ANGLE = math.radians(40.0)  # of that axis against the line of writing; what calligraphers are taught


def draw_strokes(kind: str, n: int, strokes: int, points: int, generator: torch.Generator) -> Tensor:
    """Control points of n random characters [n, strokes, points, 2], x to the right and y down, about 1 wide and high.

    Args:
        kind: SPLINE, POLYLINE, or ARC, for which points must be ARC_POINTS.
        n: number of characters.
        strokes: of each character.
        points: control points of each stroke.
        generator: a CPU torch.Generator.
    """
    count = n * strokes
    drawn = _random_arcs(count, generator) if kind == ARC else _random_walks(count, points, generator)
    middle = (drawn.amax(1, keepdim=True) + drawn.amin(1, keepdim=True)) / 2
    span = (drawn.amax(1) - drawn.amin(1)).amax(-1)[:, None, None]
    drawn = ((drawn - middle) / span).unflatten(0, (n, strokes))
    for s in range(1, strokes):
        size = uniform(n, *_LATER_SIZE, generator)[:, None, None]
        earlier = drawn[:, :s].flatten(1, 2)
        on = earlier[torch.arange(n), torch.randint(earlier.shape[1], (n,), generator=generator)]
        anywhere = uniform(2 * n, -0.5, 0.5, generator).view(n, 2)
        joined = torch.rand(n, 1, generator=generator) < _JOINED
        start = torch.where(joined, on, anywhere).unsqueeze(1)
        drawn[:, s] = start + size * (drawn[:, s] - drawn[:, s, :1])
    drawn[..., 0] *= uniform(n, *_WIDTHS, generator)[:, None, None]
    return drawn


def _random_walks(n: int, points: int, generator: torch.Generator) -> Tensor:
    """Paths of a hand that turns at random [n, points, 2], each more to one side than to the other."""
    first = torch.tensor(_HEADINGS)[torch.randint(len(_HEADINGS), (n,), generator=generator)] * math.pi / 2
    curl = _CURL * torch.randn(n, 1, generator=generator)
    turns = curl + 0.7 * _CURL * torch.randn(n, points - 2, generator=generator)
    heading = torch.cat([first[:, None], first[:, None] + turns.cumsum(1)], 1)
    length = uniform(n * (points - 1), _LEAST_STEP, 1.0, generator).view(n, -1)
    steps = length.unsqueeze(-1) * torch.stack([heading.cos(), heading.sin()], -1)
    return torch.cat([torch.zeros(n, 1, 2), steps.cumsum(1)], 1)


def _random_arcs(n: int, generator: torch.Generator) -> Tensor:
    """Control points of elliptic arcs [n, 3, 2]: the middle, the end of one half axis, that of the other."""
    turn = uniform(n, 0.0, 2 * math.pi, generator)
    axis = torch.stack([turn.cos(), turn.sin()], -1)
    side = torch.where(torch.rand(n, 1, generator=generator) < 0.5, 1.0, -1.0)  # drawn this way round or that
    across = side * axis.flip(-1) * torch.tensor([-1.0, 1.0]) * log_uniform(n, *_ROUND, generator).unsqueeze(-1)
    return torch.stack([torch.zeros(n, 2), axis, across], 1)


def curve_weights(kind: str, n: int, points: int, samples: int, generator: torch.Generator) -> Tensor:
    """Weights [n, samples, points] that turn a stroke's control points into points along its curve.

    Args:
        kind: SPLINE (a uniform cubic B-spline, with bends as round as a hand's), ARC (each its own sweep) or POLYLINE.
        n: number of strokes.
        points: control points of each.
        samples: points along the curve.
        generator: a CPU torch.Generator.
    """
    if kind == ARC:
        sweep = uniform(n, *_SWEEPS, generator)[:, None] * math.pi
        t = sweep * torch.linspace(0, 1, samples)
        return torch.stack([1 - t.cos() - t.sin(), t.cos(), t.sin()], -1)
    place = torch.linspace(0, points - 1, samples)  # control points passed
    before = place.floor().clamp_max(points - 2)
    t = place - before
    if kind == POLYLINE:
        weights, first = [1 - t, t], 0
    else:
        weights = [(1 - t) ** 3 / 6, (4 - 6 * t**2 + 3 * t**3) / 6, (1 + 3 * t + 3 * t**2 - 3 * t**3) / 6, t**3 / 6]
        first = -1
    found = torch.zeros(samples, points)
    for offset, weight in enumerate(weights, start=first):
        column = (before.long() + offset).clamp(0, points - 1)  # the ends are repeated
        found.scatter_add_(1, column[:, None], weight[:, None])
    return found.expand(n, samples, points)


def draw_ink(
    points: Float[Tensor, "n samples 2"], pen: Float[Tensor, " n"], size: int, broad: bool
) -> Float[Tensor, "n size size"]:
    """Ink in [0, 1] of a pen that is led along points, each pixel the share that is covered.

    Args:
        points: in the unit square, y down, no farther apart along a stroke than the pen is thick.
        pen: its radius; a broad pen's half axes are multiples of it.
        size: pixels each way.
        broad: a calligrapher's pen, thick and thin by direction, instead of a round one.
    """
    finer = 2 if size < 16 else 1  # a pixel of a small image holds more than one edge
    side = finer * size
    line = (torch.arange(side) + 0.5) / side
    pixels = torch.cartesian_prod(line, line).flip(1)
    if broad:
        cos, sin = math.cos(_NIB_ANGLE), -math.sin(_NIB_ANGLE)  # y points down
        turn = torch.tensor([[cos, -sin], [sin, cos]])
        nib = turn @ torch.diag(1 / torch.tensor(_NIB).flip(0))  # a round pen where lengths are so measured
        pixels, points = pixels @ nib, points @ nib
    ink = torch.empty(len(points), side**2)
    ones = torch.ones_like(pixels[:, :1])
    half = torch.cat([-2 * pixels, ones], 1)  # |p - q|^2 = |p|^2 + (-2 p q + |q|^2), the latter as one product
    along = torch.cat([points, points.square().sum(-1, keepdim=True)], -1).mT
    step = max(1, _CHUNK // (side**2 * points.shape[1]))
    for i in range(0, len(points), step):
        part = slice(i, i + step)
        ink[part] = (half @ along[part]).amin(-1)
    distance = (ink + pixels.square().sum(-1)).clamp_min_(0).sqrt_()
    ink = ((pen[:, None] - distance) * side + 0.5).clamp_(0.0, 1.0)  # the edge is one pixel wide
    ink = ink.view(-1, 1, side, side)
    return (torch.nn.functional.avg_pool2d(ink, finer) if finer > 1 else ink).squeeze(1)
