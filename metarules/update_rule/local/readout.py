"""From the hidden states of two neighbouring layers to the change of the weights between them, in `LocalRule`."""

from __future__ import annotations

from collections.abc import Collection
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn

from metarules.update_rule.local.fused import low_rank_products
from metarules.update_rule.local.layout import Layout
from metarules.update_rule.local.networks import dense, dense_init, per_channel
from metarules.update_rule.local.settings import LocalRuleSettings
from metarules.update_rule.local.terms import LocalTermInputs, get_term
from metarules.update_rule.terms import compute_terms, lowrank


class Mixture(NamedTuple):
    """One change of W, and what it is made of."""

    parts: Tensor  # every term normalised, weighed and gated [terms, *tasks, i, j]
    gates: Tensor  # how far each neuron turns the terms up or down, in (0, 2) [terms, *tasks, j]
    bound: Tensor  # what keeps the step small [*tasks, 1, j]
    change: Tensor  # bound times the sum of the parts: what the step subtracts [*tasks, i, j]


class WeightReadout(nn.Module):
    """Low-rank products of h, the terms named in the settings, and their mix into one change of W (or of V)."""

    def __init__(self, s: LocalRuleSettings, generator: torch.Generator, dtype: torch.dtype) -> None:
        super().__init__()
        C, G = s.channels, s.readouts
        self.readouts, self.term_eps, self.step_bound = G, s.term_eps, s.step_bound
        self.named = {name: get_term(name) for name in s.terms}
        self.layout = Layout.of({name: term.lowrank for name, term in self.named.items() if term.lowrank})
        upper, lower = (len(self.layout.columns[side]) * G for side in ("upper", "lower"))
        self.upper = nn.Parameter(dense_init(C, upper, generator, dtype))
        self.upper_bias = nn.Parameter(torch.zeros(upper, dtype=dtype))
        self.lower = nn.Parameter(dense_init(C, lower, generator, dtype))
        self.lower_bias = nn.Parameter(torch.zeros(lower, dtype=dtype))
        self.coefficients = nn.Parameter(torch.tensor([s.start(name) for name in s.terms], dtype=dtype))
        # every neuron may turn its terms up or down; zero weights, so that the start is the recipe itself
        self.gates = nn.Parameter(torch.zeros(C, len(s.terms), dtype=dtype))

    def terms(
        self,
        inputs: LocalTermInputs,
        lower: Float[Tensor, "r_lower *tasks i batch"],
        upper: Float[Tensor, "r_upper *tasks j batch"],
        *,
        plain: bool = False,
        only: str | None = None,
    ) -> dict[str, Tensor]:
        """All terms by name, before normalisation, from h of the two layers as read out by `self.lower`, `self.upper`.

        `plain` takes the slow path, which has higher derivatives; `only` that too, for one of the terms.

        Raises:
            ValueError: a term that is no tensor of W's shape.
        """
        named = {only: self.named[only]} if only else self.named
        made = (
            plain_products(upper, lower, self.readouts, self.layout, named)
            if plain or only
            else low_rank_products(upper, lower, self.readouts, self.layout)
        )
        terms = compute_terms(named, inputs, made)
        for name, term in terms.items():
            if getattr(term, "shape", None) != inputs.W.shape:
                got = f"has shape {list(term.shape)}" if isinstance(term, Tensor) else f"is {term!r}"
                raise ValueError(f"term {name!r} {got}; allowed: a tensor of shape {list(inputs.W.shape)}, that of W")
        return terms

    def mix(
        self, terms: dict[str, Tensor], h_mean: Float[Tensor, "C *tasks j"], factors: Float[Tensor, "terms"] | None
    ) -> Mixture:
        """Normalise each term per column, weigh it, gate it by the upper neuron, add up, and bound the step.

        `factors` multiply the coefficients.
        """
        stack = torch.stack([terms[name] for name in self.named])  # [terms, *tasks, i, j]
        size = torch.rsqrt(stack.square().mean(-2) + self.term_eps)
        weights, gates = self._weights(h_mean, factors)
        parts = stack * (weights * size).unsqueeze(-2)
        total = parts.sum(0)
        bound = torch.rsqrt(1 + total.square().mean(-2, keepdim=True) / self.step_bound)
        return Mixture(parts, gates, bound, total * bound)

    def change(
        self,
        inputs: LocalTermInputs,
        lower: Float[Tensor, "r_lower *tasks i batch"],
        upper: Float[Tensor, "r_upper *tasks j batch"],
        h_mean: Float[Tensor, "C *tasks j"],
        factors: Float[Tensor, "terms"] | None,
    ) -> Tensor:
        """The change that `mix` makes of `terms`, with one term in memory at a time, and without gradients."""
        total = torch.zeros_like(inputs.W)
        for name, weight in zip(self.named, self._weights(h_mean, factors)[0], strict=True):
            term = self.terms(inputs, lower, upper, only=name)[name]
            total.addcmul_(term, (weight * torch.rsqrt(_mean_square(term) + self.term_eps)).unsqueeze(-2))
        return total.mul_(torch.rsqrt(1 + _mean_square(total) / self.step_bound).unsqueeze(-2))

    def _weights(self, h_mean: Tensor, factors: Tensor | None) -> tuple[Tensor, Tensor]:
        """Coefficients times gates, and the gates alone [terms, *tasks, j]."""
        gates = 1 + torch.tanh(dense(self.gates, h_mean))
        coefficients = self.coefficients if factors is None else self.coefficients * factors
        return per_channel(coefficients, gates) * gates, gates


def plain_products(
    upper: Float[Tensor, "r_upper *tasks j batch"],
    lower: Float[Tensor, "r_lower *tasks i batch"],
    channels: int,
    layout: Layout,
    names: Collection[str] | None = None,
) -> dict[str, Tensor]:
    """What `low_rank_products` computes, one name after the other, by the definition in `terms`."""

    def read(name: str, end: str) -> Tensor:  # [*tasks, batch, n, channels]
        return layout.part((name,), end, upper, lower, channels).movedim(0, -1).transpose(-3, -2)

    return {
        name: lowrank(read(name, "top"), read(name, "bottom"))
        for name in layout.readouts
        if names is None or name in names
    }


def _mean_square(matrix: Tensor) -> Tensor:
    """Of each column, without a matrix of squares."""
    return torch.linalg.vector_norm(matrix, dim=-2).square() / matrix.shape[-2]
