"""The terms of delta-W: what a weight can compute from the two neurons it joins.

Source: the authors' code; paper, appendix on the update of the forward weights. Twelve terms, in the
alphabetical order in which the released code mixes them. Shapes: W [*tasks, n_in, n_out]; a term has W's shape.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

TERMS = (
    "0_order",
    "1_order",
    "decorr_x",
    "hebb",
    "large_decay",
    "lin_lower_symm",
    "lin_upper_psd",
    "lin_upper_symm",
    "rbf",
    "sqr_lower_symm",
    "sqr_upper_symm",
    "w_base",
)

TERM_MEANINGS = {
    "0_order": "outer product of read-outs of the upper and the lower neuron",
    "1_order": "the same kind of product, scaled by the weight",
    "decorr_x": "decorrelation: undo what other units of the layer already do",
    "hebb": "fire together, wire together",
    "large_decay": "large weights shrink",
    "lin_lower_symm": "weights from similar lower units are mixed",
    "lin_upper_psd": "weights to similar upper units are mixed, positive semi-definite",
    "lin_upper_symm": "weights to similar upper units are mixed",
    "rbf": "an outer product that acts on small weights alone",
    "sqr_lower_symm": "large weights from similar lower units are mixed, sign kept",
    "sqr_upper_symm": "large weights to similar upper units are mixed, sign kept",
    "w_base": "the weight itself: decay or growth",
    "soft": "soft competition: the winner of the layer moves towards its input (ours)",
}


class Readout(NamedTuple):
    """Which hidden states a low-rank matrix is made of: [i, j] pairs `bottom` unit i with `top` unit j."""

    top: str  # "upper" (layer l) or "lower" (layer l - 1)
    bottom: str


READOUTS: dict[str, Readout] = {
    "0_order": Readout("upper", "lower"),
    "1_order": Readout("upper", "lower"),
    "rbf": Readout("upper", "lower"),
    "lin_upper_symm": Readout("upper", "upper"),
    "lin_upper_psd": Readout("upper", "upper"),  # one read-out serves as both
    "lin_lower_symm": Readout("lower", "lower"),
    "sqr_upper_symm": Readout("upper", "upper"),
    "sqr_lower_symm": Readout("lower", "lower"),
}


def lowrank(
    top: Float[Tensor, "*tasks batch j G"], bottom: Float[Tensor, "*tasks batch i G"]
) -> Float[Tensor, "*tasks i j"]:
    """[i, j] = sum over batch and channels of bottom_i top_j, divided by (G batch): one matrix product a task."""
    batch, _, channels = top.shape[-3:]
    a = bottom.transpose(-3, -2).flatten(-2)
    c = top.transpose(-3, -2).flatten(-2)
    return a @ c.transpose(-2, -1) / (channels * batch)


def symmetric(R: Float[Tensor, "*tasks n n"]) -> Float[Tensor, "*tasks n n"]:
    """M(h): (R + R^T) / sqrt 2 without its diagonal, divided by sqrt n."""
    n = R.shape[-1]
    off = 1 - torch.eye(n, dtype=R.dtype, device=R.device)
    return (R + R.transpose(-2, -1)) * off / (2 * n) ** 0.5


def standardise(x: Float[Tensor, "*tasks batch n"], eps: float = 1e-6) -> Float[Tensor, "*tasks batch n"]:
    """Centre over the batch, divide by sqrt(mean square + eps)."""
    centred = x - x.mean(-2, keepdim=True)
    return centred / torch.sqrt(centred.square().mean(-2, keepdim=True) + eps)


def column_normalised(W: Float[Tensor, "*tasks i j"], eps: float = 1e-6) -> Float[Tensor, "*tasks i j"]:
    """w: every column of W divided by sqrt(its mean square + eps)."""
    return W / torch.sqrt(W.square().mean(-2, keepdim=True) + eps)


def compute_terms(
    w: Float[Tensor, "*tasks i j"],
    lower: Float[Tensor, "*tasks batch i"],
    upper: Float[Tensor, "*tasks batch j"],
    R: Mapping[str, Tensor],
) -> dict[str, Tensor]:
    """All twelve terms of one layer, before normalisation.

    Args:
        w: column-normalised weights, see `column_normalised`.
        lower: post-activations x^{l-1}, standardised, see `standardise`.
        upper: post-activations x^l, standardised.
        R: low-rank matrices by name (`READOUTS`), see `lowrank`.

    Returns:
        name -> term [*tasks, i, j], in the order of `TERMS`.
    """
    batch, n_out = upper.shape[-2:]
    sign = torch.sign(w)
    large = torch.sqrt(1 + w.square()) - 1
    q = w @ (upper.transpose(-2, -1) @ upper) / (batch * n_out**0.5)
    return {
        "0_order": R["0_order"],
        "1_order": w * R["1_order"],
        "decorr_x": q / torch.sqrt((q.square() + 1e-8).mean((-2, -1), keepdim=True)),
        "hebb": -(lower.transpose(-2, -1) @ upper) / batch,
        "large_decay": w.square() * sign,
        "lin_lower_symm": symmetric(R["lin_lower_symm"]) @ w,
        "lin_upper_psd": w @ R["lin_upper_psd"] / n_out**0.5,
        "lin_upper_symm": w @ symmetric(R["lin_upper_symm"]),
        "rbf": torch.exp(-w.square()) * R["rbf"],
        "sqr_lower_symm": sign * (symmetric(R["sqr_lower_symm"]) @ large),
        "sqr_upper_symm": sign * (large @ symmetric(R["sqr_upper_symm"])),
        "w_base": w,
    }
