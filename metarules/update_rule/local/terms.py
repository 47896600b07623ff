"""The terms a `LocalRule` can have: the paper's twelve, our soft competition, two more, and whatever anyone registers.

A term is one function, with its meaning and the start of its coefficient beside it, in any file that is imported before
the rule is built:

    @register_term("instar", meaning="the more often a neuron wins, the faster its weights decay", start=0.1)
    def instar(c: LocalTermInputs) -> Tensor:
        return c.w * c.share.mean(-2, keepdim=True)

    rule = LocalRule(LocalRuleSettings(terms=(*LOCAL_TERMS, "instar")))

The step subtracts a term whose coefficient is positive. One with a low-rank matrix of read-outs of h declares it,
`lowrank=Readout("upper", "lower")`, and takes the matrix as its second argument.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from metarules._checks import check_choice, check_new_name, check_number
from metarules.update_rule.local.neighbours import Neighbours
from metarules.update_rule.terms import PAPER_TERMS, SIDES, TERMS, Make, Readout, Term, TermInputs

LOCAL_TERMS = (*TERMS, "soft")  # a rule stored without the names of its terms has these
STARTS = (
    "hebb",
    "decorr",
    "soft",
    "slow",
    "learned",
)  # the fields of `LocalRuleSettings` that a coefficient may start at
_REGISTRY: dict[str, Term] = dict(PAPER_TERMS)
_REGISTRY["hebb"] = _REGISTRY["hebb"]._replace(start="hebb")
_REGISTRY["decorr_x"] = _REGISTRY["decorr_x"]._replace(start="decorr")


@dataclass(frozen=True, eq=False)
class LocalTermInputs(TermInputs):
    """What the terms of a `LocalRule` are computed from: besides what the paper's see, the competition of the layer."""

    share: Float[Tensor, "*tasks batch j"]  # softmax over the upper layer
    neighbours: Neighbours  # of every example; looked up when a term first asks
    layer: int  # l, the upper layer's number

    @property
    def lower_apart(self) -> Tensor:
        """`lower` less its mean over every example's neighbours [*tasks, batch, i]."""
        return self.neighbours.apart(self.layer)[0]

    @property
    def upper_apart(self) -> Tensor:
        """The same of `upper` [*tasks, batch, j]."""
        return self.neighbours.apart(self.layer)[1]


def register_term(
    name: str, *, meaning: str, start: float | str = "learned", lowrank: Readout | None = None
) -> Callable[[Make], Make]:
    """Decorator that adds a term to those that `LocalRuleSettings.terms` may name.

    Args:
        name: a new name.
        meaning: one sentence, for readers.
        start: what its coefficient starts at: a number, or the field of `LocalRuleSettings` that holds it (`STARTS`).
        lowrank: the hidden states its low-rank matrix is made of, where it has one.

    Raises:
        TypeError: a function that does not take what it is given.
        ValueError: a name that another function has, an unknown start or one that is not finite, an unknown side,
            a read-out shared by two sides.
    """
    if isinstance(start, str):
        check_choice("start", start, STARTS)
    else:
        check_number("start", start)
    for end, side in (lowrank.ends if lowrank else {}).items():
        check_choice(f"lowrank.{end}", side, SIDES)
    if lowrank and lowrank.shared and lowrank.top != lowrank.bottom:
        raise ValueError(f"lowrank is {lowrank}; allowed: shared only where top and bottom are the same side")

    def add(make: Make) -> Make:
        takes = ("c", "R") if lowrank else ("c",)
        try:
            inspect.signature(make).bind(*takes)
        except TypeError as error:
            raise TypeError(f"the function of term {name!r} does not fit ({error}); allowed: {takes}") from None
        known = _REGISTRY.get(name)
        _REGISTRY[check_new_name(name, known and known.make, make)] = Term(make, meaning, lowrank, start)
        return make

    return add


def get_term(name: str) -> Term:
    """The term registered under a name.

    Raises:
        ValueError: an unknown name; the message lists all.
    """
    check_choice("term", name, registered_terms())
    return _REGISTRY[name]


def registered_terms() -> tuple[str, ...]:
    """Names that `LocalRuleSettings.terms` may hold."""
    return tuple(_REGISTRY)


@register_term("soft", meaning="soft competition: the winner of the layer moves towards its input (ours)", start="soft")
def _soft(c: LocalTermInputs) -> Tensor:
    return -(c.lower.mT @ c.share) / c.lower.shape[-2]


@register_term(
    "slow", meaning="slowness: what differs between similar examples fades (anti-Hebbian; ours)", start="slow"
)
def _slow(c: LocalTermInputs) -> Tensor:
    return c.lower_apart.mT @ c.upper_apart / c.lower.shape[-2]


# The covariance part of a step of layer-local VICReg, which no other term has: decorr_x mixes weights, this activity.
@register_term("covariance", meaning="decorrelation: unlearn what other units of the layer tell (ours)", start=0.1)
def _covariance(c: LocalTermInputs) -> Tensor:
    batch, n_out = c.upper.shape[-2:]
    C = c.upper.mT @ c.upper
    others = C.masked_fill(torch.eye(n_out, dtype=torch.bool, device=C.device), 0.0)
    return (c.lower.mT @ c.upper) @ others / batch**2
