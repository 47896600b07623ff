"""Clustered latents: the Gaussian mixtures that several kinds of random data sets are maps of. Ours."""

from __future__ import annotations

import math

import torch
from torch import Tensor

N_TARGETS = 4  # regression targets of every kind that has some, so that tasks of several kinds stack


def clustered_latents(
    y: Tensor, n_classes: int, q: int, clusters: int, separation: float, generator: torch.Generator
) -> Tensor:
    """Latents [n, q] of the classes y [n]: each cluster has its own centre and its own stretched shape.

    Args:
        y: class numbers [n], int64.
        n_classes: how many there are.
        q: latent coordinates.
        clusters: clusters per class; examples draw theirs evenly.
        separation: standard deviation of the clusters' centres over that of the clusters.
        generator: a CPU torch.Generator.

    Returns:
        [n, q], every column of mean 0 and variance 1.
    """
    which = y * clusters + torch.randint(clusters, y.shape, generator=generator)
    centres = separation * torch.randn(n_classes * clusters, q, generator=generator)
    spreads = torch.randn(n_classes * clusters, q, q, generator=generator) / math.sqrt(q)
    z = torch.randn(len(y), q, generator=generator)
    return standardised(centres[which] + (z.unsqueeze(1) @ spreads[which]).squeeze(1))


def random_map(z: Tensor, width: int, generator: torch.Generator) -> Tensor:
    """A random linear map [n, q] -> [n, width] that keeps the variance of standardised z."""
    return z @ torch.randn(z.shape[1], width, generator=generator) / math.sqrt(z.shape[1])


def standardised(columns: Tensor) -> Tensor:
    """columns [n, k], each moved to mean 0 and scaled to variance 1; a constant column becomes 0."""
    spread = columns.std(0, correction=0)
    # a constant column's spread is rounding alone, which must not be blown up to 1
    return torch.where(spread > 1e-6, (columns - columns.mean(0)) / spread.clamp_min(1e-6), 0.0)
