"""From the hidden states of two neighbouring layers to the change of the weights between them, in `LocalRule`."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn

from benchmarks.yardstick.local_networks import dense_init
from benchmarks.yardstick.local_settings import LOCAL_TERMS, LocalRuleSettings
from benchmarks.yardstick.terms import READOUTS, column_normalised, compute_terms

_UPPER = [(name, "top") for name, r in READOUTS.items() if r.top == "upper"] + [
    (name, "bottom") for name, r in READOUTS.items() if r.bottom == "upper" and name != "lin_upper_psd"
]
_LOWER = [(name, "bottom") for name, r in READOUTS.items() if r.bottom == "lower"] + [
    (name, "top") for name, r in READOUTS.items() if r.top == "lower"
]


class WeightReadout(nn.Module):
    """Low-rank products of h, the thirteen terms, and their mix into one change of W (or of V)."""

    def __init__(self, s: LocalRuleSettings, generator: torch.Generator, dtype: torch.dtype) -> None:
        super().__init__()
        C, G = s.channels, s.readouts
        self.settings = s
        self.upper = nn.Parameter(dense_init(C, len(_UPPER) * G, generator, dtype))
        self.upper_bias = nn.Parameter(torch.zeros(len(_UPPER) * G, dtype=dtype))
        self.lower = nn.Parameter(dense_init(C, len(_LOWER) * G, generator, dtype))
        self.lower_bias = nn.Parameter(torch.zeros(len(_LOWER) * G, dtype=dtype))
        start = {"hebb": s.hebb, "decorr_x": s.decorr, "soft": s.soft}
        self.coefficients = nn.Parameter(torch.tensor([start.get(k, s.learned) for k in LOCAL_TERMS], dtype=dtype))
        # every neuron may turn its terms up or down; zero weights, so that the start is the recipe itself
        self.gates = nn.Parameter(torch.zeros(C, len(LOCAL_TERMS), dtype=dtype))

    def terms(
        self,
        W: Float[Tensor, "*tasks i j"],
        xs_lower: Float[Tensor, "*tasks i batch"],
        xs_upper: Float[Tensor, "*tasks j batch"],
        share: Float[Tensor, "*tasks j batch"],
        h_lower: Float[Tensor, "*tasks i batch C"],
        h_upper: Float[Tensor, "*tasks j batch C"],
    ) -> dict[str, Tensor]:
        """All terms by name, before normalisation. `share` is the softmax over the upper layer."""
        w = column_normalised(W)
        lower, upper = xs_lower.transpose(-2, -1), xs_upper.transpose(-2, -1)
        terms = compute_terms(w, lower, upper, self.lowranks(h_lower, h_upper))
        terms["soft"] = -(xs_lower @ share.transpose(-2, -1)) / xs_lower.shape[-1]
        return terms

    def lowranks(
        self, h_lower: Float[Tensor, "*tasks i batch C"], h_upper: Float[Tensor, "*tasks j batch C"]
    ) -> dict[str, Tensor]:
        """The eight low-rank matrices of `READOUTS`."""
        G = self.settings.readouts
        read = dict(zip(_UPPER, (h_upper @ self.upper + self.upper_bias).split(G, -1), strict=True))
        read |= dict(zip(_LOWER, (h_lower @ self.lower + self.lower_bias).split(G, -1), strict=True))
        read["lin_upper_psd", "bottom"] = read["lin_upper_psd", "top"]
        return {name: _pair(read[name, "bottom"], read[name, "top"]) for name in READOUTS}

    def mix(self, terms: dict[str, Tensor], h_upper: Float[Tensor, "*tasks j batch C"]) -> Float[Tensor, "*tasks i j"]:
        """Normalise each term per column, weigh it, gate it by the upper neuron, add up, and bound the step."""
        s = self.settings
        stack = torch.stack([terms[name] for name in LOCAL_TERMS], -3)
        stack = stack * torch.rsqrt(stack.square().mean(-2, keepdim=True) + s.term_eps)
        scales = self.coefficients.new_tensor([s.term_scale(name) for name in LOCAL_TERMS])
        gate = 1 + torch.tanh(h_upper.mean(-2) @ self.gates)
        weight = (self.coefficients * scales * gate).transpose(-2, -1)
        change = (stack * weight.unsqueeze(-2)).sum(-3)
        return change * torch.rsqrt(1 + change.square().mean(-2, keepdim=True) / s.step_bound)


def _pair(
    bottom: Float[Tensor, "*tasks i batch G"], top: Float[Tensor, "*tasks j batch G"]
) -> Float[Tensor, "*tasks i j"]:
    """Mean over batch and channels of bottom_i top_j (`terms.lowrank` with units first)."""
    a, c = bottom.flatten(-2), top.flatten(-2)
    return a @ c.transpose(-2, -1) / a.shape[-1]
