"""Clustered latents: the Gaussian mixtures that several kinds of random data sets are maps of. Ours."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from metarules.tasks._options import standardised

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


def log_number(low: float, high: float, generator: torch.Generator) -> float:
    """One number whose logarithm is drawn evenly between those of low and high (both above 0)."""
    return math.exp(number(math.log(low), math.log(high), generator))


def number(low: float, high: float, generator: torch.Generator) -> float:
    """One number drawn evenly from [low, high]."""
    return low + (high - low) * float(torch.rand((), generator=generator))


def whole_number(low: int, high: int, generator: torch.Generator) -> int:
    """One whole number from low to high, each as likely."""
    return int(torch.randint(low, high + 1, (), generator=generator))
