"""What `PaperRule` and `LocalRule` share: switches on terms and inputs, the plain path, and how phi takes a change."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import torch
from torch import Tensor

from metarules._checks import check_names, check_number
from metarules.base_model import BaseModelState, LayerState
from metarules.update_rule.contract import Trace, UpdateRule

# What becomes of V. "identical": it takes W's change; "separate": a change of its own, with V in place of W in the
# terms; "fixed": none; "tied": V is W, in the backward pass too.
BACKWARD_UPDATES = ("identical", "separate", "fixed", "tied")


@dataclass(frozen=True, eq=False)
class Contributions:
    """How what a step subtracts from one layer's W comes about: change_W = bound * (sum of parts) + (sum of added).

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
    def pushes(self) -> dict[str, Tensor]:
        """name -> what it adds to delta-W, the change with its own sign: a positive number raises the weight."""
        return {name: -part for name, part in self.bounded.items()}

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


Rule = TypeVar("Rule", bound="LearnedRule")


class LearnedRule(UpdateRule):
    """A rule whose theta drives one network on every neuron and the mix of terms of delta-W.

    A step runs by hand-written kernels that keep little for the gradient; `plain` runs its equations one by one.
    """

    settings: Any
    _plain = False

    @property
    def term_names(self) -> tuple[str, ...]:
        """Names of the terms whose mix changes W."""
        raise NotImplementedError(f"{type(self).__name__} must define term_names")

    def plain(self: Rule) -> Rule:
        """The same rule, sharing this one's theta, which runs its equations one by one.

        It is slower and agrees to rounding. Higher derivatives of `LocalRule`, and hooks on modules inside either rule,
        need it.
        """
        return self._sharing(_plain=True)

    def with_scales(
        self: Rule, terms: Mapping[str, float] | None = None, inputs: Mapping[str, float] | None = None
    ) -> Rule:
        """The same rule, sharing this one's theta, with some terms or inputs scaled (0 switches off).

        Args:
            terms: name of a term of this rule -> factor on its mixing coefficient. Names not given keep their factor.
            inputs: name (`LOCAL_INPUTS` or `PAPER_INPUTS`) -> factor on what the update network gets, after any
                normalisation. Names not given keep their factor.

        Raises:
            ValueError: an unknown name, or a factor that is not a finite number (for `PaperRule`, of 1e6 at most).
        """
        s = self.settings
        return self._sharing(
            settings=replace(
                s, term_scales={**s.term_scales, **(terms or {})}, input_scales={**s.input_scales, **(inputs or {})}
            )
        )

    def named_inputs(self, phi: BaseModelState, trace: Trace, layer: int) -> dict[str, Tensor]:
        """See `anatomy.named_inputs`."""
        raise NotImplementedError(f"{type(self).__name__} must define named_inputs")

    def contributions(self, trace: Trace, layer: int) -> Contributions:
        """See `anatomy.contributions`."""
        raise NotImplementedError(f"{type(self).__name__} must define contributions")

    def _sharing(self: Rule, **changed: Any) -> Rule:
        other = copy.copy(self)
        other._modules = dict(self._modules)  # the modules themselves, and so theta, are shared
        for name, value in changed.items():
            setattr(other, name, value)
        return other

    def _next_state(self, phi: BaseModelState, changes: Mapping[int, LayerState], lr: Tensor | float) -> BaseModelState:
        """phi after the step that subtracts `changes` of W, b and V, and lets all of them decay."""
        mode = self.settings.backward_update
        layers = []
        for l, p in enumerate(phi.layers, start=1):
            W = p.W * (1 - lr) - lr * changes[l].W
            b = p.b * (1 - lr) - lr * changes[l].b
            V = {"fixed": p.V, "tied": W}.get(mode)
            layers.append(LayerState(W, b, p.V * (1 - lr) - lr * changes[l].V if V is None else V))
        return phi.with_layers(layers)


def factors(scales: Iterable[float], like: Tensor) -> Tensor | None:
    """Factors as a tensor; None if all are 1."""
    scales = list(scales)
    if all(value == 1 for value in scales):
        return None
    return torch.tensor(scales, dtype=like.dtype, device=like.device)


def checked_scales(name: str, scales: Mapping[str, float], allowed: Iterable[str], most: float) -> dict[str, float]:
    """A copy of a setting's scales.

    Raises:
        ValueError: an unknown name, or a factor that is not finite or beyond `most`.
    """
    check_names(name, scales, tuple(allowed))
    for key, value in scales.items():
        check_number(f"{name}[{key!r}]", value, low=-most, high=most)
    return dict(scales)
