"""Binary data: prototypes with flipped bits, and clustered latents cut at thresholds. Ours."""

from __future__ import annotations

import torch
from torch import Tensor

from metarules._random import number, whole_number
from metarules.tasks.dataset import Dataset
from metarules.tasks.latents import N_TARGETS, clustered_latents, random_map
from metarules.tasks.mixtures import one_kind

# Ranges drawn from, per data set; ours, tuned so that ten labels per class and raw inputs give 0.3 to 0.95.
DENSITY = (0.25, 0.5)  # share of a prototype's bits that are 1
TELLING = (0.3, 0.8)  # share of bits in which prototypes differ at all; the others are alike in every class
FLIPPED = (0.15, 0.3)  # share of an example's bits that are not its prototype's
SEPARATION = (0.8, 1.8)  # of the latents
NOISE = (0.1, 0.5)  # on the latents' map before it is cut


def binary_data(
    n: int = 1000,
    n_classes: int = 10,
    dimension: int = 64,
    clusters: int = 1,
    kind: str | None = None,
    seed: int = 0,
) -> Dataset:
    """Inputs that are 0 or 1.

    Args:
        n: number of examples.
        n_classes: 2 to 20.
        dimension: inputs, from 2.
        clusters: prototypes or clusters per class, 1 to 10.
        kind: "prototypes" (bits of a class's prototype, some flipped) or "thresholds" (random maps of clustered
            latents, cut); None draws one.
        seed: whole number from 0; all ranges of this module are drawn from it too.

    Returns:
        x [n, dimension] of zeros and ones; classes balanced; targets [n, 4] for thresholds, the first four latents.

    Raises:
        TypeError, ValueError: an unknown kind, an option of the wrong type or out of range.
    """
    sizes = {"n": n, "n_classes": n_classes, "dimension": dimension, "clusters": clusters}
    return one_kind("binary", {"prototypes": _prototypes, "thresholds": _thresholds}, kind, seed, **sizes)


def _prototypes(
    y: Tensor, n_classes: int, dimension: int, clusters: int, generator: torch.Generator
) -> tuple[Tensor, None]:
    bits = torch.rand(n_classes * clusters, dimension, generator=generator) < number(*DENSITY, generator)
    telling = torch.rand(dimension, generator=generator) < number(*TELLING, generator)
    bits = torch.where(telling, bits, bits[0])
    which = y * clusters + torch.randint(clusters, y.shape, generator=generator)
    flipped = torch.rand(len(y), dimension, generator=generator) < number(*FLIPPED, generator)
    return (bits[which] ^ flipped).float(), None


def _thresholds(
    y: Tensor, n_classes: int, dimension: int, clusters: int, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    separation = number(*SEPARATION, generator)
    z = clustered_latents(y, n_classes, whole_number(4, 12, generator), clusters, separation, generator)
    h = random_map(z, dimension, generator)
    h = h + number(*NOISE, generator) * torch.randn(h.shape, generator=generator)
    return (h > 0.7 * torch.randn(dimension, generator=generator)).float(), z[:, :N_TARGETS]
