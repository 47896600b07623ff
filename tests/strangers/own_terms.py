"""Two terms of `LocalRule` as a stranger would write them, outside the package; importing the file registers them."""

from __future__ import annotations

from torch import Tensor

from metarules.update_rule.local.terms import LocalTermInputs, register_term
from metarules.update_rule.terms import Readout


@register_term("instar", meaning="the more often a neuron wins, the faster its weights decay", start=0.1)
def instar(c: LocalTermInputs) -> Tensor:
    return c.w * c.share.mean(-2, keepdim=True)


@register_term("gated_hebb", meaning="Hebb, as far as a read-out lets it", lowrank=Readout("upper", "lower"))
def gated_hebb(c: LocalTermInputs, R: Tensor) -> Tensor:
    return -(c.lower.mT @ c.upper) / c.upper.shape[-2] * R
