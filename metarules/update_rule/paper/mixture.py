"""How the paper's rule turns hidden states and terms into one change of a layer's weights, and of its biases.

Source: the authors' code.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple, cast

import torch
from jaxtyping import Float
from torch import Tensor, nn

from metarules.update_rule.paper.autograd import ReadUnits
from metarules.update_rule.paper.networks import Linear
from metarules.update_rule.paper.tensorflow import readout_names
from metarules.update_rule.terms import PAPER_TERMS, READOUTS, TERMS, TermInputs, compute_terms, lowrank

COEFFICIENT = 0.1  # initial a_k; authors' code
NORMALISE_EPS = 1.0  # under the root of N(T) = T / sqrt(1 + mean square): small terms stay small; authors' code
GROWTH = 1 / 7  # pull along w against collapsed receptive fields; authors' code: "an arbitrary scale choice"
BIAS_EPS = 0.5  # under the root of the bias change; authors' code


class Mixture(NamedTuple):
    """One change of W, and what it is made of."""

    weighed: Tensor  # terms normalised and times their coefficients [12, *tasks, i, j]
    offset: Tensor  # a_0 [1]
    keep_size: Tensor  # what cancels the part of the mix that shrinks w [*tasks, i, j]
    bound: Tensor  # of the second normalisation [*tasks, 1, j]
    growth: Tensor  # the pull along w [*tasks, i, j]
    change: Tensor  # what the step subtracts [*tasks, i, j]

    def parts(self) -> dict[str, Tensor]:
        """Name -> summand of what `bound` multiplies."""
        n = len(TERMS)
        parts = {name: part / n for name, part in zip(TERMS, self.weighed, strict=True)}
        parts |= {"offset": (self.offset / n).expand_as(self.growth), "keep_size": self.keep_size}
        return {name: part / n**0.5 for name, part in parts.items()}


class WeightReadout(nn.Module):
    """Read-outs of h, the twelve terms they drive, and the mixing coefficients a_k and a_0.

    One set serves all layers and, with identical updates, W and V alike; with separate updates V has a second set.
    """

    def __init__(self, channels: int, readouts: int) -> None:
        super().__init__()
        self.readouts = nn.ModuleDict({name: Linear(channels, readouts) for name in readout_names()})
        self.coefficients = nn.Parameter(torch.full((len(TERMS),), COEFFICIENT))  # a_k
        self.offset = nn.Parameter(torch.zeros(1))  # a_0

    def lowrank(
        self, h_lower: Float[Tensor, "*tasks batch i C"], h_upper: Float[Tensor, "*tasks batch j C"]
    ) -> dict[str, Tensor]:
        """The eight low-rank matrices by term name: [i, j], [j, j] or [i, i] by the neurons they join."""
        asked: dict[str, list[str]] = {"upper": [], "lower": []}
        for term, source in READOUTS.items():
            asked[source.top].append(f"{term}_top")
            if f"{term}_bottom" in self.readouts:
                asked[source.bottom].append(f"{term}_bottom")
        read = {**self._read(asked["upper"], h_upper), **self._read(asked["lower"], h_lower)}
        tops = {term: read[f"{term}_top"] for term in READOUTS}
        return {term: lowrank(top, read.get(f"{term}_bottom", top)) for term, top in tops.items()}

    def _read(self, names: list[str], h: Float[Tensor, "*tasks batch n C"]) -> dict[str, Tensor]:
        """Several read-outs [*tasks, batch, n, G] of one h, in one matrix product for each unit.

        In memory they lie as [*tasks, n, G, batch], which is what `lowrank` multiplies without copying.
        """
        linears = [cast(Linear, self.readouts[name]) for name in names]
        weight = torch.cat([linear.weight for linear in linears], -1)
        bias = torch.cat([linear.bias for linear in linears])
        parts = ReadUnits.apply(h.transpose(-3, -2), weight, bias).chunk(len(names), -2)
        return {name: part.movedim(-1, -3) for name, part in zip(names, parts, strict=True)}

    def terms(
        self,
        W: Float[Tensor, "*tasks i j"],
        lower: Float[Tensor, "*tasks batch i"],
        upper: Float[Tensor, "*tasks batch j"],
        h_lower: Float[Tensor, "*tasks batch i C"],
        h_upper: Float[Tensor, "*tasks batch j C"],
    ) -> dict[str, Tensor]:
        """All twelve terms of a layer before N, by name; `lower` and `upper` are standardised activations."""
        return compute_terms(PAPER_TERMS, TermInputs(W, lower, upper), self.lowrank(h_lower, h_upper))

    def mix(self, terms: Mapping[str, Tensor], factors: Float[Tensor, "12"] | None = None) -> Mixture:
        """Normalise, mix, drop what shrinks w, normalise again, pull along w.

        `factors` multiply the coefficients a_k.
        """
        w = terms["w_base"]
        a = self.coefficients if factors is None else self.coefficients * factors
        stacked = torch.stack([terms[name] for name in TERMS])
        weighed = stacked * (a.view(-1, *[1] * w.ndim) * inverse_size(stacked))  # normalised and mixed in one pass
        c = (weighed.sum(0) + self.offset) / len(TERMS)
        keep_size = -w * torch.relu((c * w).mean((-2, -1), keepdim=True))
        c = (c + keep_size) / len(TERMS) ** 0.5
        bound = inverse_size(c)
        return Mixture(weighed, self.offset, keep_size, bound, GROWTH * w, c * bound - GROWTH * w)


def inverse_size(T: Float[Tensor, "*tasks i j"]) -> Float[Tensor, "*tasks 1 j"]:
    """What N multiplies every receptive field (column) of T with: 1 / sqrt(1 + its mean square)."""
    return torch.rsqrt(NORMALISE_EPS + T.square().mean(-2, keepdim=True))


def change_of_bias(r: Float[Tensor, "*tasks n"]) -> Float[Tensor, "*tasks n"]:
    """change_b from the batch mean of the bias read-out: never of negative mean, brought to a bounded size."""
    r = r + torch.relu(-r.mean(-1, keepdim=True))
    return r * torch.rsqrt(BIAS_EPS + r.square().mean(-1, keepdim=True))
