"""Two moons, rings, spirals and blobs, several of them side by side, lifted from their planes to many inputs. Ours."""

from __future__ import annotations

import torch
from torch import Tensor

from metarules._checks import check_choice
from metarules._random import balanced_labels, number, seeded, whole_number
from metarules.tasks.dataset import Dataset
from metarules.tasks.decoders import TRAIN_FAMILIES, input_places
from metarules.tasks.latents import standardised
from metarules.tasks.mixtures import check_mixture
from metarules.tasks.shapes_2d import FIGURES, draw_figure

# Ranges drawn from, per data set; ours, tuned so that ten labels per class and raw inputs give 0.3 to 0.95.
LATENTS = (2, 6)  # coordinates of the space the figures' planes lie in
APART = (0.8, 1.6)  # standard deviation of the figures' middles, in radii of a figure
POINT_NOISE = (0.03, 0.12)  # across a figure's lines, in its radii
INPUT_NOISE = (0.02, 0.1)
MOST_TOGETHER = 4  # classes of one figure


def lifted_shapes(
    n: int = 1000, n_classes: int = 10, dimension: int = 64, family: str | None = None, seed: int = 0
) -> Dataset:
    """Figures of two to four classes, each in a plane of its own in a small space, seen through a random decoder.

    Args:
        n: number of examples.
        n_classes: 2 to 20.
        dimension: inputs, from 2.
        family: kind of decoder, one of TRAIN_FAMILIES; None draws one.
        seed: whole number from 0; all ranges of this module are drawn from it too.

    Returns:
        x [n, dimension], in about [0, 1]; classes balanced; targets [n, 4]: along and across the figure's lines, and
        the first two coordinates of the space the figures lie in.

    Raises:
        TypeError, ValueError: an unknown family, an option of the wrong type or out of range.
    """
    check_mixture(n, n_classes, dimension, 1)
    generator = seeded(seed)
    drawn = list(TRAIN_FAMILIES)[whole_number(0, len(TRAIN_FAMILIES) - 1, generator)]
    family = check_choice("family", family or drawn, TRAIN_FAMILIES)
    y = balanced_labels(n, n_classes, generator)
    z, along, across = _figures(y, n_classes, generator)
    places, shape = input_places(dimension, generator)
    x = TRAIN_FAMILIES[family](standardised(z), places, generator)
    x = (x + number(*INPUT_NOISE, generator) * torch.randn(x.shape, generator=generator)).clamp(0.0, 1.0)
    targets = standardised(torch.stack([along, across, z[:, 0], z[:, 1]], -1))
    return Dataset(f"lifted shapes ({family})", x, y, shape, tuple(str(c) for c in range(n_classes)), targets)


def _figures(y: Tensor, n_classes: int, generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
    """Latents [n, q], and where each lies along and across its figure's lines [n]."""
    q, apart, noise = whole_number(*LATENTS, generator), number(*APART, generator), number(*POINT_NOISE, generator)
    z, along, across = torch.zeros(len(y), q), torch.zeros(len(y)), torch.zeros(len(y))
    first = 0
    while first < n_classes:
        kind = list(FIGURES)[whole_number(0, len(FIGURES) - 1, generator)]
        together = 2 if kind == "two moons" else whole_number(2, MOST_TOGETHER, generator)
        if n_classes - first < together:  # the last figure takes what is left: a single class is one blob
            kind, together = "blobs", n_classes - first
        here = (y >= first) & (y < first + together)
        points, along[here], across[here] = draw_figure(kind, y[here] - first, together, noise, generator)
        plane = torch.linalg.qr(torch.randn(q, 2, generator=generator)).Q.T
        z[here] = points @ plane + apart * torch.randn(q, generator=generator)
        first += together
    return z, along, across
