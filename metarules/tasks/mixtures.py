"""Gaussian mixtures in the inputs' own space: low-rank classes beside directions that vary and mean nothing. Ours."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TypeAlias

import torch
from torch import Tensor

from metarules._checks import check_choice, check_number
from metarules._random import balanced_labels, log_number, log_uniform, number, seeded, whole_number
from metarules.tasks.dataset import Dataset
from metarules.tasks.latents import N_TARGETS, clustered_latents, random_map

# Ranges drawn from, per data set; ours, tuned so that ten labels per class and raw inputs give 0.3 to 0.95.
RANK = (4, 16)  # directions that carry the classes
SEPARATION = (0.9, 1.6)  # of the clusters' centres, over their spread
DECAY = (0.0, 1.0)  # the k-th direction has strength k^-decay: 0 round, 1 stretched
NUISANCE = (0.3, 1.5)  # spread of the directions that mean nothing, over the spread of those that do
NUISANCE_RANK = (1, 8)
NOISE = (0.1, 0.7)  # of every input by itself, over the spread of what it shares with others
UNEVEN = (0.7, 1.4)  # an input's own scale
SPREAD = 0.15  # of the inputs, about a mean near 0.5


def gaussian_mixture(
    n: int = 1000, n_classes: int = 10, dimension: int = 64, clusters: int = 1, seed: int = 0
) -> Dataset:
    """Low-rank, stretched Gaussian clusters in noise, seen through a random linear map.

    Args:
        n: number of examples.
        n_classes: 2 to 20.
        dimension: inputs, from 2.
        clusters: clusters per class, 1 to 10.
        seed: whole number from 0; all ranges of this module are drawn from it too.

    Returns:
        x [n, dimension] about 0.5, mostly in [0, 1]; classes balanced; targets [n, 4], the first four latents.

    Raises:
        TypeError, ValueError: an option of the wrong type or out of range.
    """
    check_mixture(n, n_classes, dimension, clusters)
    generator = seeded(seed)
    y = balanced_labels(n, n_classes, generator)
    rank, separation = whole_number(*RANK, generator), number(*SEPARATION, generator)
    z = clustered_latents(y, n_classes, rank, clusters, separation, generator)
    nuisance = torch.randn(n, whole_number(*NUISANCE_RANK, generator), generator=generator)
    x = _stretched(z, dimension, generator)
    x = x + log_number(*NUISANCE, generator) * _stretched(nuisance, dimension, generator)
    x = x + log_number(*NOISE, generator) * torch.randn(n, dimension, generator=generator)
    x = x / x.std() * log_uniform(dimension, *UNEVEN, generator)
    x = 0.5 + SPREAD * (x + 0.5 * torch.randn(dimension, generator=generator))
    names = tuple(str(c) for c in range(n_classes))
    return Dataset("Gaussian mixture", x, y, None, names, z[:, :N_TARGETS])


def check_mixture(n: int, n_classes: int, dimension: int, clusters: int) -> None:
    """Check the options that random data sets share.

    Raises:
        TypeError, ValueError: an option of the wrong type or out of range.
    """
    check_number("n_classes", n_classes, low=2, high=20, integer=True)
    check_number("n", n, low=n_classes, integer=True)
    check_number("dimension", dimension, low=2, integer=True)
    check_number("clusters", clusters, low=1, high=10, integer=True)


Maker: TypeAlias = Callable[[Tensor, int, int, int, torch.Generator], tuple[Tensor, Tensor | None]]


def one_kind(
    title: str,
    makers: Mapping[str, Maker],
    kind: str | None,
    seed: int,
    *,
    n: int,
    n_classes: int,
    dimension: int,
    clusters: int,
) -> Dataset:
    """A random data set of one of several kinds.

    Args:
        title: what the kinds have in common.
        makers: by name of the kind; each makes x and targets (or None) from the classes y, their number, the number of
            inputs, clusters per class and a generator.
        kind: one of the names; None draws one.
        seed, n, n_classes, dimension, clusters: as for `gaussian_mixture`.

    Raises:
        TypeError, ValueError: an unknown kind, an option of the wrong type or out of range.
    """
    check_mixture(n, n_classes, dimension, clusters)
    generator = seeded(seed)
    drawn = list(makers)[whole_number(0, len(makers) - 1, generator)]
    kind = check_choice("kind", kind or drawn, makers)
    y = balanced_labels(n, n_classes, generator)
    x, targets = makers[kind](y, n_classes, dimension, clusters, generator)
    return Dataset(f"{title} ({kind})", x, y, None, tuple(str(c) for c in range(n_classes)), targets)


def _stretched(z: Tensor, dimension: int, generator: torch.Generator) -> Tensor:
    """z [n, q] through a random linear map whose directions have strengths k^-decay, overall variance about 1."""
    strength = torch.arange(1, z.shape[1] + 1) ** -number(*DECAY, generator)
    return random_map(z * (strength / strength.square().mean().sqrt()), dimension, generator)
