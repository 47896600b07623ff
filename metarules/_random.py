"""Random draws, every one from a `torch.Generator` that the caller holds: the same generator, the same numbers."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from metarules._checks import check_number

MAX_SEED = 2**63 - 1  # what torch.Generator.manual_seed takes


def seeded(seed: int) -> torch.Generator:
    """A fresh CPU generator for the option `seed`.

    Raises:
        TypeError, ValueError: not a whole number from 0.
    """
    return torch.Generator().manual_seed(int(check_number("seed", seed, low=0, high=MAX_SEED, integer=True)))


def number(low: float, high: float, generator: torch.Generator) -> float:
    """One number drawn evenly from [low, high]."""
    return low + (high - low) * float(torch.rand((), generator=generator))


def log_number(low: float, high: float, generator: torch.Generator) -> float:
    """One number whose logarithm is drawn evenly between those of low and high (both above 0)."""
    return math.exp(number(math.log(low), math.log(high), generator))


def whole_number(low: int, high: int, generator: torch.Generator) -> int:
    """One whole number from low to high, each as likely."""
    return int(torch.randint(low, high + 1, (), generator=generator))


def uniform(n: int, low: float, high: float, generator: torch.Generator) -> Tensor:
    """n numbers drawn evenly from [low, high], shape [n]."""
    return low + (high - low) * torch.rand(n, generator=generator)


def log_uniform(n: int, low: float, high: float, generator: torch.Generator) -> Tensor:
    """n numbers whose logarithms are drawn evenly between those of low and high (both above 0), shape [n]."""
    return uniform(n, math.log(low), math.log(high), generator).exp()


def balanced_labels(n: int, n_classes: int, generator: torch.Generator) -> Tensor:
    """Class numbers [n] in random order, classes as equal in number as n allows."""
    return (torch.arange(n) % n_classes)[torch.randperm(n, generator=generator)]
