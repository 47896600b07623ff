"""Take one inner step of a learned rule apart: what every neuron saw, and what each term put into its weights.

Pure functions on `rule.trace(phi, x)`. They repeat no science: the inputs, fed to the rule's own networks, give the
trace's h, and the contributions add up to the trace's change_W (both tested). Source: as the rules themselves.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from metarules._checks import check_number
from metarules.base_model import BaseModelState
from metarules.update_rule.contract import Trace
from metarules.update_rule.learned import factors
from metarules.update_rule.local import networks as nets
from metarules.update_rule.local.rule import LocalRule
from metarules.update_rule.paper.mixture import GROWTH, normalise
from metarules.update_rule.paper.networks import UNIT_ID_RANGE, weight_statistics
from metarules.update_rule.paper.rule import PaperRule
from metarules.update_rule.terms import TERMS


@dataclass(frozen=True, eq=False)
class Contributions:
    """How one layer's change of W comes about: change = bound * (sum of parts) + (sum of added).

    Attributes:
        parts: name -> what a term puts in, normalised, weighed and gated, before the bound [*tasks, n_{l-1}, n_l].
            `PaperRule` has two besides its terms: "offset" (a_0) and "keep_size" (drops what shrinks w).
        bound: the factor that keeps the step small, one for each neuron [*tasks, 1, n_l].
        added: what is added after the bound: "growth" for `PaperRule`, nothing for `LocalRule`.
        coefficients: term -> mixing coefficient, one number each, switches included.
        gates: term -> how far each neuron turns the term up or down, in (0, 2) [*tasks, n_l]; 1 for `PaperRule`.
    """

    parts: Mapping[str, Tensor]
    bound: Tensor
    added: Mapping[str, Tensor]
    coefficients: Mapping[str, Tensor]
    gates: Mapping[str, Tensor]

    @property
    def bounded(self) -> dict[str, Tensor]:
        """name -> what it finally puts into change_W; these add up to it."""
        return {name: part * self.bound for name, part in self.parts.items()} | dict(self.added)

    @property
    def change(self) -> Tensor:
        """Their sum, the trace's change_W [*tasks, n_{l-1}, n_l]."""
        return torch.stack(list(self.bounded.values())).sum(0)

    def shares(self) -> dict[str, Tensor]:
        """name -> its share in each neuron's change, [*tasks, n_l]; over all names they add up to 1.

        The share is the part's projection on the change, <part, change> / <change, change>: negative where a part works
        against the sum, 0 throughout where a neuron does not change.
        """
        change = self.change
        size = change.square().sum(-2)
        safe = torch.where(size > 0, size, torch.ones_like(size))
        return {name: (part * change).sum(-2) / safe for name, part in self.bounded.items()}


def named_inputs(rule: Any, phi: BaseModelState, trace: Trace, layer: Any) -> dict[str, Tensor]:
    """What the update network on every neuron of a layer is given, by name, in the order in which it gets it.

    Args:
        rule: a `LocalRule` or a `PaperRule`.
        phi: the base model before the step.
        trace: `rule.trace(phi, x)`.
        layer: 0 (input) .. L (top).

    Returns:
        Name (`LOCAL_INPUTS` or `PAPER_INPUTS`) -> [*tasks, batch, n_l, k], with 1 in place of batch for what does not
        depend on the example. Inputs switched off are zero.

    Raises:
        TypeError: another kind of rule.
        ValueError: a layer that is not there.
    """
    check_number("layer", layer, low=0, high=phi.depth, integer=True)
    if isinstance(rule, LocalRule):
        return _local_inputs(rule, phi, trace, layer)
    if isinstance(rule, PaperRule):
        return _paper_inputs(rule, phi, trace, layer)
    raise TypeError(f"rule is a {type(rule).__name__}; allowed: a LocalRule or a PaperRule, which have update networks")


def contributions(rule: Any, trace: Trace, layer: Any) -> Contributions:
    """What each term put into a layer's change of W.

    Args:
        rule: a `LocalRule` or a `PaperRule`.
        trace: `rule.trace(phi, x)`.
        layer: 1 .. L.

    Raises:
        TypeError: another kind of rule.
        ValueError: a layer that is not there.
    """
    check_number("layer", layer, low=1, high=max(trace.x), integer=True)
    if isinstance(rule, LocalRule):
        return _local_contributions(rule, trace, layer)
    if isinstance(rule, PaperRule):
        return _paper_contributions(rule, trace, layer)
    raise TypeError(f"rule is a {type(rule).__name__}; allowed: a LocalRule or a PaperRule, whose terms are mixed")


def _local_inputs(rule: LocalRule, phi: BaseModelState, trace: Trace, l: int) -> dict[str, Tensor]:
    s = rule.settings
    x, z = trace.x[l].transpose(-2, -1), trace.z[l].transpose(-2, -1)
    xs = nets.over_batch(x)
    if l:
        share = nets.over_batch(torch.softmax(z / rule.log_temperature.exp(), -2))
        bias = phi.layers[l - 1].b
    else:  # an input neuron has no competitors, no bias, and its z is its x
        z, share, bias = xs, torch.zeros_like(xs), torch.zeros_like(x[..., 0])
    examples = {"x": xs.unsqueeze(-1), "z": z.unsqueeze(-1), "softmax": share.unsqueeze(-1)}
    examples["layer_stats"] = torch.stack(nets.layer_stats(xs), -1)
    found = {name: value.transpose(-3, -2) for name, value in examples.items()}
    found["delta"] = trace.d[l]
    neurons = {
        "batch_stats": nets.batch_stats(x, xs),
        "weight_stats": nets.weight_stats(phi.layers, l),
        "bias": bias.unsqueeze(-1),
    }
    found |= {name: value.unsqueeze(-3) for name, value in neurons.items()}
    return {name: s.input_scale(name) * value for name, value in found.items()}


def _paper_inputs(rule: PaperRule, phi: BaseModelState, trace: Trace, l: int) -> dict[str, Tensor]:
    x, z = trace.x[l], trace.z[l]
    below = phi.layers[l - 1].W if l else None
    above = phi.layers[l].W if l < phi.depth else None
    bias = phi.layers[l - 1].b if l else torch.zeros_like(x[..., 0, :])
    angle = torch.linspace(0, UNIT_ID_RANGE, x.shape[-1], dtype=x.dtype, device=x.device).expand_as(x)
    normed = rule.hidden.norm(torch.cat([torch.stack([x, z, torch.sin(angle), torch.cos(angle)], -1), trace.d[l]], -1))
    own_x, own_z, unit_id, delta = normed.split([1, 1, 2, trace.d[l].shape[-1]], -1)
    found = {
        "weight_stats": weight_statistics(below, above).unsqueeze(-3),
        "bias": bias.unsqueeze(-1).unsqueeze(-3),
        "x": own_x,
        "z": own_z,
        "unit_id": unit_id,
        "delta": delta,
    }
    return {name: rule.settings.input_scales.get(name, 1.0) * value for name, value in found.items()}


def _local_contributions(rule: LocalRule, trace: Trace, l: int) -> Contributions:
    s, readout, terms = rule.settings, rule.forward_readout, trace.terms[l]
    h_mean = trace.h[l].transpose(-3, -2).movedim(-1, 0).mean(-1)  # [C, *tasks, n_l]
    mixture = readout.mix(terms, h_mean, factors(map(s.term_scale, s.terms), h_mean))
    coefficients = {name: readout.coefficients[k] * s.term_scale(name) for k, name in enumerate(s.terms)}
    parts, gates = (dict(zip(s.terms, values, strict=True)) for values in (mixture.parts, mixture.gates))
    return Contributions(parts, mixture.bound, {}, coefficients, gates)


def _paper_contributions(rule: PaperRule, trace: Trace, l: int) -> Contributions:
    terms, mixture = trace.terms[l], rule.change_of_W
    w, n = terms["w_base"], len(TERMS)
    scales = rule.settings.term_scales
    coefficients = {name: mixture.a[k] * scales.get(name, 1.0) for k, name in enumerate(TERMS)}
    parts = {name: coefficients[name] * normalise(terms[name]) / n for name in TERMS}
    parts["offset"] = (mixture.a_0 / n).expand_as(w)
    c = torch.stack(list(parts.values())).sum(0)
    parts["keep_size"] = -w * torch.relu((c * w).mean((-2, -1), keepdim=True))
    parts = {name: part / n**0.5 for name, part in parts.items()}
    total = torch.stack(list(parts.values())).sum(0)
    bound = torch.rsqrt(1 + total.square().mean(-2, keepdim=True))
    gates = {name: torch.ones_like(w[..., 0, :]) for name in TERMS}
    return Contributions(parts, bound, {"growth": -GROWTH * w}, coefficients, gates)
