"""`PaperRule`: the update rule of Metz et al. (ICLR 2019, arXiv 1804.00222) exactly as its authors released it.

Source: the authors' code, equation by equation. The networks are in `paper.networks`, the terms of
delta-W in `terms`, their mixture in `paper.mixture`, TensorFlow's names in `paper.tensorflow`.

Two honest oddities: convolving over the batch makes the rule depend on the order of the examples, and convolving over
the units (with an id for each) on the order of the units; so it is not strictly neuron-local. `LocalRule` is.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, SupportsFloat

import torch
from torch import Tensor

from metarules._checks import check_names
from metarules.base_model import Activations, BaseModelState, LayerState, forward_unchecked
from metarules.update_rule.contract import Batch, Trace, UpdateRule
from metarules.update_rule.paper import fast, tensorflow
from metarules.update_rule.paper.mixture import ChangeOfWeights, change_of_bias
from metarules.update_rule.paper.networks import (
    BATCH_AXIS,
    STATISTICS,
    HiddenNet,
    Linear,
    TopSignal,
    draw_weights,
    send_down,
)
from metarules.update_rule.paper.settings import PaperRuleSettings
from metarules.update_rule.terms import TERMS, standardise


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

    @classmethod
    def from_tf_variables(
        cls, mapping: Mapping[str, Any], lr: SupportsFloat = 1e-4, *, backward_update: str | None = None
    ) -> PaperRule:
        """Build the rule from theta as the authors' graph names and lays it out, sizes inferred from the shapes.

        Args:
            mapping: TensorFlow variable name -> array or tensor, float32 or float64 (kept). Moving statistics,
                the step counter and the base model's variables may be there too and are passed over.
            lr: inner step size.
            backward_update: see `PaperRuleSettings`; None takes "separate" where the mapping holds a second set of
                read-outs for V (names that begin with "backward"), else "identical".

        Raises:
            TypeError: not a mapping, or values that are not floating.
            ValueError: variables missing, unexpected or misshapen (all listed), NaN, or mixed dtypes.
        """
        found = tensorflow.read_variables(mapping)
        sizes = tensorflow.infer_sizes(found)
        if backward_update is not None:
            sizes["backward_update"] = backward_update
        rule = cls(PaperRuleSettings(**sizes, lr=float(lr)), dtype=next(iter(found.values())).dtype)
        parameters = dict(rule.named_parameters())
        names = tensorflow.variable_names(rule.settings)
        tensorflow.match(
            found, {tf: tensorflow.tf_shape(tf, tuple(parameters[own].shape)) for tf, own in names.items()}
        )
        with torch.no_grad():
            for tf_name, own in names.items():
                parameters[own].copy_(found[tf_name].reshape(parameters[own].shape))
        return rule

    def to_tf_variables(self, values: Mapping[str, Any] | None = None) -> dict[str, Tensor]:
        """The way back: TensorFlow name -> tensor in TensorFlow's layout.

        Args:
            values: any mapping from parameter name (as in `named_parameters`) to a tensor of that parameter's shape,
                such as gradients; it may name only some. None as a value (autograd's answer for a parameter that
                played no part) becomes zeros. Without `values`, a copy of theta itself.

        Raises:
            ValueError: unknown parameter names, or a shape that is not the parameter's.
            TypeError: a value that is neither a tensor nor None.
        """
        parameters = dict(self.named_parameters())
        if values is None:
            values = {name: parameter.detach().clone() for name, parameter in parameters.items()}
        check_names("values", values, parameters)
        result = {}
        for tf_name, own in tensorflow.variable_names(self.settings).items():
            if own in values:
                shape = parameters[own].shape
                value = torch.zeros_like(parameters[own]) if values[own] is None else values[own]
                if not isinstance(value, Tensor):
                    raise TypeError(f"values[{own!r}] must be a torch.Tensor, got {type(value).__name__}")
                if value.shape != shape:
                    raise ValueError(f"values[{own!r}] has shape {list(value.shape)}; allowed: {list(shape)}")
                result[tf_name] = value.reshape(tensorflow.tf_shape(tf_name, tuple(shape)))
        return result

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
        for l in range(phi.depth + 1):
            if l not in delta:
                delta[l] = self._delta(d[l], acts.z[l], h[l])
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
        """From the top layer down: d and h of every layer, and delta where it was worth keeping, by layer."""
        if not fast.watched(self):
            return self._fast_sweep(phi, acts)
        d = {phi.depth: self.top_signal(acts.x[phi.depth])}
        h: dict[int, Tensor] = {}
        delta: dict[int, Tensor] = {}
        for l in range(phi.depth, -1, -1):
            h[l] = self.hidden(acts.x[l], acts.z[l], d[l], *self._around(phi, acts, l))
            if l:
                delta[l] = self._delta(d[l], acts.z[l], h[l])
                d[l - 1] = send_down(delta[l], self._backward_weights(phi, l))
        return d, h, delta

    def _fast_sweep(
        self, phi: BaseModelState, acts: Activations
    ) -> tuple[dict[int, Tensor], dict[int, Tensor], dict[int, Tensor]]:
        """The same numbers with units before examples in memory (`paper.fast`); delta is not kept."""
        xs, zs = ([a.transpose(-2, -1) for a in given] for given in (acts.x, acts.z))
        d = {phi.depth: fast.top_signal(self.top_signal, xs[phi.depth])}
        h: dict[int, Tensor] = {}
        for l in range(phi.depth, -1, -1):
            h[l] = fast.hidden(self.hidden, xs[l], zs[l], d[l], *self._around(phi, acts, l))
            if l:
                V = self._backward_weights(phi, l)
                d[l - 1] = fast.send_down(d[l], zs[l], h[l], self.delta_readout, V)
        d, h = ({l: a.transpose(-3, -2) for l, a in of.items()} for of in (d, h))
        return d, h, {}

    def _around(
        self, phi: BaseModelState, acts: Activations, l: int
    ) -> tuple[Tensor, Tensor | None, Tensor | None, Tensor | None]:
        """What else the neurons of layer l see: their biases, weights below and above, and the inputs' factors."""
        layer = phi.layers[l - 1] if l else None
        b = torch.zeros_like(acts.x[0][..., 0, :]) if layer is None else layer.b
        above = phi.layers[l].W if l < phi.depth else None
        return b, None if layer is None else layer.W, above, self._input_scale(b)

    def _backward_weights(self, phi: BaseModelState, l: int) -> Tensor:
        """V of layer l, or W in its place where the two are tied."""
        layer = phi.layers[l - 1]
        return layer.W if self.settings.backward_update == "tied" else layer.V

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
            mean = h[l].sum(BATCH_AXIS) / h[l].shape[BATCH_AXIS]  # unlike a mean's, a sum's gradient is a view
            readout = self.bias_readout(mean)  # the batch mean of the read-outs, in one row
            changes[l] = LayerState(change, change_of_bias(readout.squeeze(-1)), change_V)
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
