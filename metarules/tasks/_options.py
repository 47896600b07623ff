"""Checks and types shared by the data sets' options."""

from __future__ import annotations

import math
from typing import Any, TypeAlias

import torch
from torch import Tensor

from metarules._checks import check_number

Whole: TypeAlias = Any  # a whole number; checked by hand so that our message, naming the option, reaches the user
Number: TypeAlias = Any  # a real number; likewise

MAX_SEED = 2**63 - 1  # what torch.Generator.manual_seed takes


def check_generator(value: Any) -> torch.Generator:
    """Return `value` if it is a torch.Generator.

    Raises:
        TypeError: anything else, None included: no random number is drawn from hidden global state.
    """
    if not isinstance(value, torch.Generator):
        raise TypeError(f"generator is {value!r}; allowed: a torch.Generator such as torch.Generator().manual_seed(0)")
    return value


def seeded(seed: Any) -> torch.Generator:
    """A fresh CPU generator for the option `seed`.

    Raises:
        TypeError, ValueError: not a whole number from 0.
    """
    return torch.Generator().manual_seed(int(check_number("seed", seed, low=0, high=MAX_SEED, integer=True)))


def check_pair(name: str, value: Any, *, low: float, high: float) -> tuple[float, float]:
    """Return the range `value` = (from, to) as floats, low <= from <= to <= high.

    Raises:
        TypeError: not a pair of numbers.
        ValueError: outside [low, high], or from above to.
    """
    if not isinstance(value, tuple | list) or len(value) != 2:
        raise TypeError(f"{name} is {value!r}; allowed: a pair (from, to) of numbers in [{low}, {high}]")
    first = float(check_number(f"{name}[0]", value[0], low=low, high=high))
    last = float(check_number(f"{name}[1]", value[1], low=low, high=high))
    if first > last:
        raise ValueError(f"{name} is {value!r}; allowed: (from, to) with from <= to")
    return first, last


def uniform(n: int, low: float, high: float, generator: torch.Generator) -> Tensor:
    """n numbers drawn evenly from [low, high], shape [n]."""
    return low + (high - low) * torch.rand(n, generator=generator)


def log_uniform(n: int, low: float, high: float, generator: torch.Generator) -> Tensor:
    """n numbers whose logarithms are drawn evenly between those of low and high (both above 0), shape [n]."""
    return uniform(n, math.log(low), math.log(high), generator).exp()


def standardised(columns: Tensor) -> Tensor:
    """columns [n, k], each moved to mean 0 and scaled to variance 1; a constant column becomes 0."""
    spread = columns.std(0, correction=0)
    # a constant column's spread is rounding alone, which must not be blown up to 1
    return torch.where(spread > 1e-6, (columns - columns.mean(0)) / spread.clamp_min(1e-6), 0.0)


def balanced_labels(n: int, n_classes: int, generator: torch.Generator) -> Tensor:
    """Class numbers [n] in random order, classes as equal in number as n allows."""
    return (torch.arange(n) % n_classes)[torch.randperm(n, generator=generator)]
