"""`PaperRule`: the update rule of Metz et al. (ICLR 2019, arXiv 1804.00222) exactly as its authors released it.

Source: the authors' code, equation by equation. The networks are in `paper_networks`, the terms of
delta-W in `terms`, their mixture in `paper_mixture`.

Two honest oddities: convolving over the batch makes the rule depend on the order of the examples, and convolving over
the units (with an id for each) on the order of the units; so it is not strictly neuron-local. `LocalRule` is.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from benchmarks.yardstick.forward import forward_unchecked
from benchmarks.yardstick.paper_mixture import ChangeOfWeights, change_of_bias
from benchmarks.yardstick.paper_networks import STATISTICS, HiddenNet, Linear, TopSignal, draw_weights, send_down
from benchmarks.yardstick.paper_settings import PaperRuleSettings
from benchmarks.yardstick.terms import TERMS, standardise
from metarules.base_model import Activations, BaseModelState, LayerState
from metarules.update_rule.contract import Batch, Trace, UpdateRule


class PaperRule(UpdateRule):
    """The paper's learned rule, released form: `rule(phi, x) -> phi`, no labels.

    Args:
        settings: sizes and switches, the authors' by default (theta then holds 114,670 numbers).
        generator: source of theta's initial values, on the CPU; None draws from seed 0.
        dtype: dtype of theta, to be shared by every phi it teaches.

    A fresh theta has truncated-normal weights of sigma 1 / sqrt(k C_in), biases and offsets 0, mixing coefficients
    a_k = 0.1 and a_0 = 0, as in the authors' code.
    """

    def __init__(
        self,
        settings: PaperRuleSettings | None = None,
        *,
        generator: torch.Generator | None = None,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        super().__init__()
        s = self.settings = settings or PaperRuleSettings()
        self.top_signal = TopSignal(s.top_channels, s.top_units, s.delta_channels, s.top_layers, s.kernel, s.top_kernel)
        self.hidden = HiddenNet(s.channels, s.delta_channels, s.hidden_layers, s.kernel)
        self.delta_readout = Linear(s.channels, s.delta_channels)
        self.bias_readout = Linear(s.channels, 1)
        self.change_of_W = ChangeOfWeights(s.channels, s.readout_channels)
        if s.backward_update == "separate":
            self.change_of_V = ChangeOfWeights(s.channels, s.readout_channels)
        self.to(dtype)
        draw_weights(tuple(self.modules()), generator or torch.Generator().manual_seed(0))

    def with_scales(
        self, terms: Mapping[str, float | int] | None = None, inputs: Mapping[str, float | int] | None = None
    ) -> PaperRule:
        """The same rule, sharing this one's theta, with terms or inputs scaled or (by 0) switched off.

        Args:
            terms: term name (`TERMS`) -> factor on its mixing coefficient. Names not given keep their factor.
            inputs: input name (`PAPER_INPUTS`) -> factor on its channels as they enter h's first convolution, after
                batch norm. Names not given keep their factor.

        Raises:
            ValueError: unknown names, or a factor beyond 1e6 or NaN.
        """
        settings = replace(
            self.settings,
            term_scales={**self.settings.term_scales, **(terms or {})},
            input_scales={**self.settings.input_scales, **(inputs or {})},
        )
        other = copy.copy(self)
        other._modules = dict(self._modules)  # the modules themselves, and so theta, are shared
        other.settings = settings
        return other

    def check(self, phi: BaseModelState, batch: Batch | Tensor) -> Batch:
        """As for every rule; besides, the top width must be the one theta is tied to."""
        checked = super().check(phi, batch)
        if phi.sizes[-1] != self.settings.top_units:
            raise ValueError(
                f"phi has a top layer of {phi.sizes[-1]} units; allowed: {self.settings.top_units}, the width this "
                "rule's top signal is tied to (settings.top_units)"
            )
        return checked

    def step(self, phi: BaseModelState, batch: Batch) -> BaseModelState:
        acts = forward_unchecked(phi, batch.x)
        _, h, _ = self._sweep(phi, acts)
        return self._next_state(phi, self._changes(phi, acts, h))

    def step_traced(self, phi: BaseModelState, batch: Batch) -> Trace:
        acts = forward_unchecked(phi, batch.x)
        d, h, delta = self._sweep(phi, acts)
        delta[0] = self._delta(d[0], acts.z[0], h[0])
        terms: dict[int, dict[str, Tensor]] = {}
        changes = self._changes(phi, acts, h, terms)
        return Trace(
            z=dict(enumerate(acts.z)),
            x=dict(enumerate(acts.x)),
            d=dict(sorted(d.items())),
            h=dict(sorted(h.items())),
            delta=dict(sorted(delta.items())),
            terms=terms,
            change_W={l: change.W for l, change in changes.items()},
            change_b={l: change.b for l, change in changes.items()},
            next_state=self._next_state(phi, changes),
        )

    def _sweep(
        self, phi: BaseModelState, acts: Activations
    ) -> tuple[dict[int, Tensor], dict[int, Tensor], dict[int, Tensor]]:
        """From the top layer down: d and h of every layer, and delta of every layer but the input, by layer."""
        depth, scale = phi.depth, self._input_scale(acts.x[0])
        d = {depth: self.top_signal(acts.x[depth])}
        h: dict[int, Tensor] = {}
        delta: dict[int, Tensor] = {}
        for l in range(depth, -1, -1):
            layer = phi.layers[l - 1] if l else None
            above = phi.layers[l].W if l < depth else None
            x, z = acts.x[l], acts.z[l]
            b = torch.zeros_like(x[..., 0, :]) if layer is None else layer.b
            h[l] = self.hidden(x, z, d[l], b, None if layer is None else layer.W, above, scale)
            if layer is not None:
                delta[l] = self._delta(d[l], z, h[l])
                d[l - 1] = send_down(delta[l], layer.W if self.settings.backward_update == "tied" else layer.V)
        return d, h, delta

    def _delta(self, d: Tensor, z: Tensor, h: Tensor) -> Tensor:
        return d * torch.sigmoid(z).unsqueeze(-1) + self.delta_readout(h)

    def _changes(
        self,
        phi: BaseModelState,
        acts: Activations,
        h: Mapping[int, Tensor],
        terms: dict[int, dict[str, Tensor]] | None = None,
    ) -> dict[int, LayerState]:
        """What the step subtracts from W, b and V of each layer; the terms for W are put into `terms` if given."""
        mode = self.settings.backward_update
        factors = self._factors(TERMS, self.settings.term_scales, acts.x[0])
        seen = [standardise(x) for x in acts.x]
        changes = {}
        for l, layer in enumerate(phi.layers, start=1):
            local = (seen[l - 1], seen[l], h[l - 1], h[l])
            made = self.change_of_W.terms(layer.W, *local)
            change = self.change_of_W.merge(made, factors)
            change_V = change
            if mode == "separate":
                change_V = self.change_of_V.merge(self.change_of_V.terms(layer.V, *local), factors)
            changes[l] = LayerState(change, change_of_bias(self.bias_readout(h[l])), change_V)
            if terms is not None:
                terms[l] = made
        return changes

    def _next_state(self, phi: BaseModelState, changes: Mapping[int, LayerState]) -> BaseModelState:
        lr, mode = self.settings.lr, self.settings.backward_update
        layers = []
        for l, p in enumerate(phi.layers, start=1):
            W = p.W * (1 - lr) - lr * changes[l].W
            b = p.b * (1 - lr) - lr * changes[l].b
            V = {"fixed": p.V, "tied": W}.get(mode)
            layers.append(LayerState(W, b, p.V * (1 - lr) - lr * changes[l].V if V is None else V))
        return phi.with_layers(layers)

    def _input_scale(self, like: Tensor) -> Tensor | None:
        """Factors on h's input channels in the order [weight_stats 8, bias, x, z, sin, cos, d ..], if any is not 1."""
        widths = {"weight_stats": STATISTICS, "bias": 1, "x": 1, "z": 1, "unit_id": 2}
        widths["delta"] = self.settings.delta_channels
        names = [name for name, width in widths.items() for _ in range(width)]
        return self._factors(names, self.settings.input_scales, like)

    @staticmethod
    def _factors(names: Sequence[str], scales: Mapping[str, float], like: Tensor) -> Tensor | None:
        if all(value == 1 for value in scales.values()):
            return None
        return torch.tensor([scales.get(name, 1.0) for name in names], dtype=like.dtype, device=like.device)
