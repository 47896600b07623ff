"""The terms of delta-W: what a weight can compute from the two neurons it joins, one function a term.

These twelve are the paper's; `LocalRule` takes them and any others that `local.terms.register_term` was given.
Source: the authors' code; paper, appendix on the update of the forward weights. Shapes: W [*tasks, i, j], i lower and
j upper neurons; a term has W's shape.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple, TypeVar

import torch
from jaxtyping import Float
from torch import Tensor

SIDES = ("upper", "lower")
Make = TypeVar("Make", bound=Callable[..., Tensor])  # a function that computes a term


class Readout(NamedTuple):
    """Which hidden states a low-rank matrix R is made of: R[i, j] pairs `bottom` unit i with `top` unit j."""

    top: str  # "upper" (layer l) or "lower" (layer l - 1)
    bottom: str
    shared: bool = False  # one read-out serves as both, so that R is positive semi-definite

    @property
    def ends(self) -> dict[str, str]:
        """The read-outs that are needed, "top" and, unless shared, "bottom" -> the side each is made from."""
        return {"top": self.top} if self.shared else {"top": self.top, "bottom": self.bottom}


class Term(NamedTuple):
    """One term of delta-W."""

    make: Callable[..., Tensor]  # inputs -> term; (inputs, R) -> term where it has a low-rank matrix
    meaning: str
    lowrank: Readout | None = None
    start: float | str = "learned"  # of its coefficient in `LocalRule`: a number, or the setting that holds it


@dataclass(frozen=True, eq=False)
class TermInputs:
    """What the terms of one layer's weights are computed from."""

    W: Float[Tensor, "*tasks i j"]
    lower: Float[Tensor, "*tasks batch i"]  # post-activations x^{l-1}, standardised over the batch
    upper: Float[Tensor, "*tasks batch j"]  # post-activations x^l, standardised over the batch

    @cached_property
    def w(self) -> Tensor:
        """W, every neuron's incoming weights brought to mean square 1 [*tasks, i, j]."""
        return column_normalised(self.W)

    @cached_property
    def sign(self) -> Tensor:
        """The sign of each weight [*tasks, i, j]."""
        return torch.sign(self.w)

    @cached_property
    def large(self) -> Tensor:
        """sqrt(1 + w^2) - 1: near 0 for small weights, |w| - 1 for large ones [*tasks, i, j]."""
        return torch.sqrt(1 + self.w.square()) - 1


_DEFINED: dict[str, Term] = {}


def _term(name: str, meaning: str, lowrank: Readout | None = None) -> Callable[[Make], Make]:
    def add(make: Make) -> Make:
        _DEFINED[name] = Term(make, meaning, lowrank)
        return make

    return add


@_term("0_order", "outer product of read-outs of the upper and the lower neuron", Readout("upper", "lower"))
def _zero_order(c: TermInputs, R: Tensor) -> Tensor:
    return R


@_term("1_order", "the same kind of product, scaled by the weight", Readout("upper", "lower"))
def _first_order(c: TermInputs, R: Tensor) -> Tensor:
    return c.w * R


@_term("rbf", "an outer product that acts on small weights alone", Readout("upper", "lower"))
def _rbf(c: TermInputs, R: Tensor) -> Tensor:
    return torch.exp(-c.w.square()) * R


@_term("lin_upper_symm", "weights to similar upper units are mixed", Readout("upper", "upper"))
def _lin_upper_symm(c: TermInputs, R: Tensor) -> Tensor:
    return c.w @ symmetric(R)


@_term(
    "lin_upper_psd", "weights to similar upper units are mixed, positive semi-definite", Readout("upper", "upper", True)
)
def _lin_upper_psd(c: TermInputs, R: Tensor) -> Tensor:
    return c.w @ R / R.shape[-1] ** 0.5


@_term("lin_lower_symm", "weights from similar lower units are mixed", Readout("lower", "lower"))
def _lin_lower_symm(c: TermInputs, R: Tensor) -> Tensor:
    return symmetric(R) @ c.w


@_term("sqr_upper_symm", "large weights to similar upper units are mixed, sign kept", Readout("upper", "upper"))
def _sqr_upper_symm(c: TermInputs, R: Tensor) -> Tensor:
    return c.sign * (c.large @ symmetric(R))


@_term("sqr_lower_symm", "large weights from similar lower units are mixed, sign kept", Readout("lower", "lower"))
def _sqr_lower_symm(c: TermInputs, R: Tensor) -> Tensor:
    return c.sign * (symmetric(R) @ c.large)


@_term("decorr_x", "decorrelation: undo what other units of the layer already do")
def _decorr_x(c: TermInputs) -> Tensor:
    batch, n_out = c.upper.shape[-2:]
    q = c.w @ (c.upper.mT @ c.upper) / (batch * n_out**0.5)
    return q / torch.sqrt((q.square() + 1e-8).mean((-2, -1), keepdim=True))


@_term("hebb", "fire together, wire together")
def _hebb(c: TermInputs) -> Tensor:
    return -(c.lower.mT @ c.upper) / c.upper.shape[-2]


@_term("large_decay", "large weights shrink")
def _large_decay(c: TermInputs) -> Tensor:
    return c.w.square() * c.sign


@_term("w_base", "the weight itself: decay or growth")
def _w_base(c: TermInputs) -> Tensor:
    return c.w


PAPER_TERMS = {name: _DEFINED[name] for name in sorted(_DEFINED)}  # the order in which the released code mixes them
TERMS = tuple(PAPER_TERMS)
READOUTS = {name: term.lowrank for name, term in _DEFINED.items() if term.lowrank}  # the order of their parameters


def compute_terms(terms: Mapping[str, Term], inputs: TermInputs, R: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Terms of one layer before normalisation, by name; R holds the low-rank matrices they ask for, see `lowrank`."""
    return {name: t.make(inputs, R[name]) if t.lowrank else t.make(inputs) for name, t in terms.items()}


def lowrank(
    top: Float[Tensor, "*tasks batch j G"], bottom: Float[Tensor, "*tasks batch i G"]
) -> Float[Tensor, "*tasks i j"]:
    """[i, j] = sum over batch and channels of bottom_i top_j, divided by (G batch): one matrix product a task."""
    batch, _, channels = top.shape[-3:]
    a = bottom.movedim(-3, -1).flatten(-2)
    c = top.movedim(-3, -1).flatten(-2)
    return a @ c.transpose(-2, -1) / (channels * batch)


def symmetric(R: Float[Tensor, "*tasks n n"]) -> Float[Tensor, "*tasks n n"]:
    """M(h): (R + R^T) / sqrt 2 without its diagonal, divided by sqrt n."""
    n = R.shape[-1]
    off = 1 - torch.eye(n, dtype=R.dtype, device=R.device)
    return (R + R.transpose(-2, -1)) * off / (2 * n) ** 0.5


def standardise(x: Float[Tensor, "*tasks batch n"], eps: float = 1e-6) -> Float[Tensor, "*tasks batch n"]:
    """Centre over the batch, divide by sqrt(mean square + eps); a constant unit becomes zero. Source: authors' code."""
    centred = x - x.mean(-2, keepdim=True)
    return centred / torch.sqrt(centred.square().mean(-2, keepdim=True) + eps)


def column_normalised(W: Float[Tensor, "*tasks i j"], eps: float = 1e-6) -> Float[Tensor, "*tasks i j"]:
    """Every column of W divided by sqrt(its mean square + eps)."""
    return W / torch.sqrt(W.square().mean(-2, keepdim=True) + eps)
