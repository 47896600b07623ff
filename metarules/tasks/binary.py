"""Binary data: prototypes with flipped bits, and clustered latents cut at thresholds. Ours."""

from __future__ import annotations

import torch
from torch import Tensor

from metarules._checks import check_choice
from metarules.tasks._options import Whole, balanced_labels, seeded
from metarules.tasks.dataset import Dataset
from metarules.tasks.latents import N_TARGETS, clustered_latents, number, random_map, whole_number
from metarules.tasks.mixtures import check_mixture

KINDS = ("prototypes", "thresholds")
# Ranges drawn from, per data set; ours, tuned so that ten labels per class and raw inputs give 0.3 to 0.95.
DENSITY = (0.25, 0.5)  # share of a prototype's bits that are 1
TELLING = (0.3, 0.8)  # share of bits in which prototypes differ at all; the others are alike in every class
FLIPPED = (0.15, 0.3)  # share of an example's bits that are not its prototype's
SEPARATION = (0.8, 1.8)  # of the latents
NOISE = (0.1, 0.5)  # on the latents' map before it is cut


def binary_data(
    n: Whole = 1000,
    n_classes: Whole = 10,
    dimension: Whole = 64,
    clusters: Whole = 1,
    kind: str | None = None,
    seed: Whole = 0,
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
        TypeError, ValueError: an unknown kind, an option of a wrong type or out of range.
    """
    check_mixture(n, n_classes, dimension, clusters)
    generator = seeded(seed)
    drawn = KINDS[whole_number(0, 1, generator)]
    kind = check_choice("kind", kind or drawn, KINDS)
    y = balanced_labels(n, n_classes, generator)
    targets = None
    if kind == "prototypes":
        x = _prototypes(y, n_classes, dimension, clusters, generator)
    else:
        separation = number(*SEPARATION, generator)
        z = clustered_latents(y, n_classes, whole_number(4, 12, generator), clusters, separation, generator)
        x, targets = _cut(z, dimension, generator), z[:, :N_TARGETS]
    return Dataset(f"binary ({kind})", x, y, None, tuple(str(c) for c in range(n_classes)), targets)


def _prototypes(y: Tensor, n_classes: int, dimension: int, clusters: int, generator: torch.Generator) -> Tensor:
    bits = torch.rand(n_classes * clusters, dimension, generator=generator) < number(*DENSITY, generator)
    telling = torch.rand(dimension, generator=generator) < number(*TELLING, generator)
    bits = torch.where(telling, bits, bits[0])
    which = y * clusters + torch.randint(clusters, y.shape, generator=generator)
    flipped = torch.rand(len(y), dimension, generator=generator) < number(*FLIPPED, generator)
    return (bits[which] ^ flipped).float()


def _cut(z: Tensor, dimension: int, generator: torch.Generator) -> Tensor:
    h = random_map(z, dimension, generator)
    h = h + number(*NOISE, generator) * torch.randn(h.shape, generator=generator)
    return (h > 0.7 * torch.randn(dimension, generator=generator)).float()
