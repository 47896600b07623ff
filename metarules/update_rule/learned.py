"""What `PaperRule` and `LocalRule` share: switches on terms and inputs, the plain path, and how phi takes a change."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any, TypeVar

import torch
from torch import Tensor

from metarules._checks import check_names, check_number
from metarules.base_model import BaseModelState, LayerState
from metarules.update_rule.contract import UpdateRule

# What becomes of V. "identical": it takes W's change; "separate": a change of its own, with V in place of W in the
# terms; "fixed": none; "tied": V is W, in the backward pass too.
BACKWARD_UPDATES = ("identical", "separate", "fixed", "tied")


Rule = TypeVar("Rule", bound="LearnedRule")


class LearnedRule(UpdateRule):
    """A rule whose theta drives one network on every neuron and the mix of terms of delta-W.

    A step runs by hand-written kernels that keep little for the gradient; `plain` runs its equations one by one.
    """

    settings: Any
    _plain = False

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
