"""From the hidden states of two neighbouring layers to the change of the weights between them, in `LocalRule`."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn

from metarules.update_rule.local.fused import LOWER, UPPER, low_rank_products
from metarules.update_rule.local.networks import dense, dense_init, per_channel
from metarules.update_rule.local.settings import LOCAL_TERMS, LocalRuleSettings
from metarules.update_rule.terms import READOUTS, column_normalised, compute_terms, lowrank


class WeightReadout(nn.Module):
    """Low-rank products of h, the thirteen terms, and their mix into one change of W (or of V)."""

    def __init__(self, s: LocalRuleSettings, generator: torch.Generator, dtype: torch.dtype) -> None:
        super().__init__()
        C, G = s.channels, s.readouts
        self.settings = s
        self.upper = nn.Parameter(dense_init(C, len(UPPER) * G, generator, dtype))
        self.upper_bias = nn.Parameter(torch.zeros(len(UPPER) * G, dtype=dtype))
        self.lower = nn.Parameter(dense_init(C, len(LOWER) * G, generator, dtype))
        self.lower_bias = nn.Parameter(torch.zeros(len(LOWER) * G, dtype=dtype))
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
        lower: Float[Tensor, "r_lower *tasks i batch"],
        upper: Float[Tensor, "r_upper *tasks j batch"],
        *,
        plain: bool = False,
    ) -> dict[str, Tensor]:
        """All terms by name, before normalisation, from h of the two layers as read out by `self.lower`, `self.upper`.

        `share` is the softmax over the upper layer; `plain` takes the slow path, which has higher derivatives.
        """
        R = (plain_products if plain else low_rank_products)(upper, lower, self.settings.readouts)
        terms = compute_terms(column_normalised(W), xs_lower.mT, xs_upper.mT, R)
        terms["soft"] = -(xs_lower @ share.mT) / xs_lower.shape[-1]
        return terms

    def mix(self, terms: dict[str, Tensor], h_mean: Float[Tensor, "C *tasks j"]) -> Float[Tensor, "*tasks i j"]:
        """Normalise each term per column, weigh it, gate it by the upper neuron, add up, and bound the step."""
        s = self.settings
        stack = torch.stack([terms[name] for name in LOCAL_TERMS])  # [terms, *tasks, i, j]
        size = torch.rsqrt(stack.square().mean(-2) + s.term_eps)
        scales = self.coefficients.new_tensor([s.term_scale(name) for name in LOCAL_TERMS])
        gate = 1 + torch.tanh(dense(self.gates, h_mean))
        weight = per_channel(self.coefficients * scales, gate) * gate * size
        change = (stack * weight.unsqueeze(-2)).sum(0)
        return change * torch.rsqrt(1 + change.square().mean(-2, keepdim=True) / s.step_bound)


def plain_products(
    upper: Float[Tensor, "r_upper *tasks j batch"], lower: Float[Tensor, "r_lower *tasks i batch"], channels: int
) -> dict[str, Tensor]:
    """What `low_rank_products` computes, one name after the other, by the definition in `terms`."""
    read = dict(zip(UPPER, upper.split(channels), strict=True))
    read |= dict(zip(LOWER, lower.split(channels), strict=True))
    read["lin_upper_psd", "bottom"] = read["lin_upper_psd", "top"]
    sides = {key: part.movedim(0, -1).transpose(-3, -2) for key, part in read.items()}  # [*tasks, batch, n, channels]
    return {name: lowrank(sides[name, "top"], sides[name, "bottom"]) for name in READOUTS}
