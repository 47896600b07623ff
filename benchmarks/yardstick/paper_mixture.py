"""How the paper's rule turns hidden states and terms into one change of a layer's weights, and of its biases.

Source: the authors' code.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import cast

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from benchmarks.yardstick.paper_networks import Linear
from benchmarks.yardstick.terms import READOUTS, TERMS, column_normalised, compute_terms, lowrank

COEFFICIENT = 0.1  # initial a_k; authors' code
NORMALISE_EPS = 1.0  # under the root of N: small terms stay small; authors' code
GROWTH = 1 / 7  # pull along w against collapsed receptive fields; authors' code: "an arbitrary scale choice"
BIAS_EPS = 0.5  # under the root of the bias change; authors' code


def readout_names() -> Iterator[str]:
    """Names of the read-outs a set of low-rank matrices needs: a top and a bottom one, but one for the psd term."""
    for term in READOUTS:
        yield f"{term}_top"
        if term != "lin_upper_psd":
            yield f"{term}_bottom"


class ChangeOfWeights(nn.Module):
    """Read-outs of h, the twelve terms they drive, and the mixing coefficients a_k and a_0.

    One set serves all layers and, with identical updates, W and V alike; with separate updates V has a second set.
    """

    def __init__(self, channels: int, readout_channels: int) -> None:
        super().__init__()
        self.readouts = nn.ModuleDict({name: Linear(channels, readout_channels) for name in readout_names()})
        self.a = nn.Parameter(torch.full((len(TERMS),), COEFFICIENT))
        self.a_0 = nn.Parameter(torch.zeros(1))

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
        """Several read-outs of one h, in one matrix product."""
        linears = [cast(Linear, self.readouts[name]) for name in names]
        weight = torch.cat([linear.weight for linear in linears], -1)
        bias = torch.cat([linear.bias for linear in linears])
        parts = F.linear(h, weight.transpose(0, 1), bias).chunk(len(names), -1)
        return dict(zip(names, parts, strict=True))

    def terms(
        self,
        W: Float[Tensor, "*tasks i j"],
        lower: Float[Tensor, "*tasks batch i"],
        upper: Float[Tensor, "*tasks batch j"],
        h_lower: Float[Tensor, "*tasks batch i C"],
        h_upper: Float[Tensor, "*tasks batch j C"],
    ) -> dict[str, Tensor]:
        """All twelve terms of a layer before N, by name; `lower` and `upper` are standardised activations."""
        return compute_terms(column_normalised(W), lower, upper, self.lowrank(h_lower, h_upper))

    def merge(self, terms: Mapping[str, Tensor], factors: Float[Tensor, "12"] | None = None) -> Tensor:
        """change_W [*tasks, i, j]: normalise, mix, drop what shrinks w, normalise again, pull along w.

        `factors` multiply the coefficients a_k.
        """
        w = terms["w_base"]
        a = self.a if factors is None else self.a * factors
        stacked = normalise(torch.stack([terms[name] for name in TERMS]))
        c = (torch.tensordot(a, stacked, dims=1) + self.a_0) / len(TERMS)
        c = c - w * torch.relu((c * w).mean((-2, -1), keepdim=True))
        return normalise(c / len(TERMS) ** 0.5) - GROWTH * w


def normalise(T: Float[Tensor, "*tasks i j"]) -> Float[Tensor, "*tasks i j"]:
    """N(T): every receptive field (column) divided by sqrt(1 + its mean square)."""
    return T * torch.rsqrt(NORMALISE_EPS + T.square().mean(-2, keepdim=True))


def change_of_bias(readout: Float[Tensor, "*tasks batch n 1"]) -> Float[Tensor, "*tasks n"]:
    """change_b from the bias read-out of h: its batch mean, never of negative mean, brought to a bounded size."""
    r = readout.squeeze(-1).mean(-2)
    r = r + torch.relu(-r.mean(-1, keepdim=True))
    return r * torch.rsqrt(BIAS_EPS + r.square().mean(-1, keepdim=True))
