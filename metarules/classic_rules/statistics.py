"""The few normalisations the Hebbian rules are made of. All act on the last two dimensions, so tasks may lead.

Source: the authors' code, and our early experiments (CONTRIBUTING, Sources). The small numbers under the roots keep
constant features and zero weights finite, in the values and in the gradients.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from metarules.update_rule.terms import standardise as standardise

WEIGHT_EPS = 1e-6  # mean square of a unit's weights; authors' code
RMS_EPS = 1e-8  # mean square of the decorrelation term; authors' code
CHANGE_EPS = 1e-3  # mean square of a term's column: the hand rule's recipe (the authors' rule has 1)


def column_rms(T: Float[Tensor, "*tasks below above"], eps: float = WEIGHT_EPS) -> Float[Tensor, "*tasks 1 above"]:
    """Root mean square of each unit's incoming weights (axis 0 of W)."""
    return torch.sqrt(T.square().mean(-2, keepdim=True) + eps)


def normalise_columns(T: Float[Tensor, "*tasks below above"]) -> Float[Tensor, "*tasks below above"]:
    """n(T) = T / sqrt(1e-3 + column mean of T^2): no unit moves faster than another, however strong its term."""
    return T / column_rms(T, CHANGE_EPS)


def overall_rms(T: Float[Tensor, "*tasks below above"]) -> Float[Tensor, "*tasks 1 1"]:
    """Root mean square over a whole weight matrix."""
    return torch.sqrt(T.square().mean((-2, -1), keepdim=True) + RMS_EPS)


def correlation(
    a: Float[Tensor, "*tasks batch units_a"], b: Float[Tensor, "*tasks batch units_b"]
) -> Float[Tensor, "*tasks units_a units_b"]:
    """Batch mean of a_i b_j, for every pair of units."""
    return a.transpose(-1, -2) @ b / a.shape[-2]
