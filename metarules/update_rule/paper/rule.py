"""`PaperRule`: the update rule of Metz et al. (ICLR 2019, arXiv 1804.00222) exactly as its authors released it.

Source: the authors' code, equation by equation. The networks are in `paper.networks`, the terms of
delta-W in `terms`, their mixture in `paper.mixture`, TensorFlow's names in `paper.tensorflow`.

Convolving over the batch makes the rule depend on the order of the examples, and convolving over the units (with an id
for each) on the order of the units; so it is not strictly neuron-local. `LocalRule` is.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, SupportsFloat

import torch
from torch import Tensor

from metarules._checks import check_names
from metarules.base_model import Activations, BaseModelState, LayerState, forward_unchecked
from metarules.update_rule.contract import Batch, Trace
from metarules.update_rule.learned import Contributions, LearnedRule, factors
from metarules.update_rule.paper import fast, tensorflow
from metarules.update_rule.paper.mixture import WeightReadout, change_of_bias
from metarules.update_rule.paper.networks import (
    BATCH_AXIS,
    STATISTICS,
    Linear,
    TopSignal,
    UpdateNetwork,
    draw_weights,
    send_down,
)
from metarules.update_rule.paper.settings import PaperRuleSettings
from metarules.update_rule.terms import TERMS, standardise


class PaperRule(LearnedRule):
    """The paper's learned rule, released form: `rule(phi, x) -> phi`, no labels.

    Args:
        settings: sizes and switches, the authors' by default (theta then holds 114,670 numbers).
        generator: source of theta's initial values, on the CPU; None draws from seed 0.
        dtype: dtype of theta, to be shared by every phi it teaches.

    A fresh theta has truncated-normal weights of sigma 1 / sqrt(k C_in), biases and offsets 0, mixing coefficients
    a_k = 0.1 and a_0 = 0, as in the authors' code.
    """

    renamed: ClassVar[Mapping[str, str]] = {  # names in files stored before both rules shared one vocabulary
        "delta_channels": "signals",
        "readout_channels": "readouts",
        "hidden": "network",
        "top_signal": "top",
        "change_of_W": "forward_readout",
        "change_of_V": "backward_readout",
        "a": "coefficients",
        "a_0": "offset",
    }

    def __init__(
        self,
        settings: PaperRuleSettings | None = None,
        *,
        generator: torch.Generator | None = None,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        super().__init__()
        s = self.settings = settings or PaperRuleSettings()
        self.top = TopSignal(s.top_channels, s.top_units, s.signals, s.top_layers, s.kernel, s.top_kernel)
        self.network = UpdateNetwork(s.channels, s.signals, s.hidden_layers, s.kernel)
        self.delta_readout = Linear(s.channels, s.signals)
        self.bias_readout = Linear(s.channels, 1)
        self.forward_readout = WeightReadout(s.channels, s.readouts)
        if s.backward_update == "separate":
            self.backward_readout = WeightReadout(s.channels, s.readouts)
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
            {tf: tuple(value.shape) for tf, value in found.items()},
            {tf: tensorflow.tf_shape(tf, tuple(parameters[own].shape)) for tf, own in names.items()},
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

    @property
    def term_names(self) -> tuple[str, ...]:
        return TERMS

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
        seen = [standardise(x) for x in acts.x]
        changes = {l: self._change(phi, seen, h, l)[0] for l in range(1, phi.depth + 1)}
        return self._next_state(phi, changes, self.settings.lr)

    def step_traced(self, phi: BaseModelState, batch: Batch) -> Trace:
        acts = forward_unchecked(phi, batch.x)
        d, h, delta = self._sweep(phi, acts)
        for l in range(phi.depth + 1):
            if l not in delta:
                delta[l] = self._delta(d[l], acts.z[l], h[l])
        seen = [standardise(x) for x in acts.x]
        changes, terms = {}, {}
        for l in range(1, phi.depth + 1):
            changes[l], terms[l] = self._change(phi, seen, h, l)
        return Trace(
            z=dict(enumerate(acts.z)),
            x=dict(enumerate(acts.x)),
            d=dict(sorted(d.items())),
            h=dict(sorted(h.items())),
            delta=dict(sorted(delta.items())),
            terms=terms,
            change_W={l: change.W for l, change in changes.items()},
            change_b={l: change.b for l, change in changes.items()},
            next_state=self._next_state(phi, changes, self.settings.lr),
        )

    def _sweep(
        self, phi: BaseModelState, acts: Activations
    ) -> tuple[dict[int, Tensor], dict[int, Tensor], dict[int, Tensor]]:
        """From the top layer down: d and h of every layer, and delta where it was worth keeping, by layer."""
        if not self._plain:
            return self._fast_sweep(phi, acts)
        d = {phi.depth: self.top(acts.x[phi.depth])}
        h: dict[int, Tensor] = {}
        delta: dict[int, Tensor] = {}
        for l in range(phi.depth, -1, -1):
            seen = self.network.inputs(acts.x[l], acts.z[l], d[l], *self._around(phi, l))
            h[l] = self.network(seen, self._input_factors(d[l]))
            if l:
                delta[l] = self._delta(d[l], acts.z[l], h[l])
                d[l - 1] = send_down(delta[l], self._backward_weights(phi, l))
        return d, h, delta

    def _fast_sweep(
        self, phi: BaseModelState, acts: Activations
    ) -> tuple[dict[int, Tensor], dict[int, Tensor], dict[int, Tensor]]:
        """The same numbers with units before examples in memory (`paper.fast`); delta is not kept."""
        xs, zs = ([a.transpose(-2, -1) for a in given] for given in (acts.x, acts.z))
        d = {phi.depth: fast.top_signal(self.top, xs[phi.depth])}
        h: dict[int, Tensor] = {}
        for l in range(phi.depth, -1, -1):
            h[l] = fast.hidden(self.network, xs[l], zs[l], d[l], *self._around(phi, l), self._input_factors(d[l]))
            if l:
                V = self._backward_weights(phi, l)
                d[l - 1] = fast.send_down(d[l], zs[l], h[l], self.delta_readout, V)
        d, h = ({l: a.transpose(-3, -2) for l, a in of.items()} for of in (d, h))
        return d, h, {}

    def _around(self, phi: BaseModelState, l: int) -> tuple[Tensor, Tensor | None, Tensor | None]:
        """What the neurons of layer l see of themselves: their biases, and the weights below and above."""
        above = phi.layers[l].W if l < phi.depth else None
        if l == 0:
            return torch.zeros_like(phi.layers[0].W[..., 0]), None, above
        return phi.layers[l - 1].b, phi.layers[l - 1].W, above

    def _backward_weights(self, phi: BaseModelState, l: int) -> Tensor:
        """V of layer l, or W in its place where the two are tied."""
        layer = phi.layers[l - 1]
        return layer.W if self.settings.backward_update == "tied" else layer.V

    def _delta(self, d: Tensor, z: Tensor, h: Tensor) -> Tensor:
        return d * torch.sigmoid(z).unsqueeze(-1) + self.delta_readout(h)

    def _change(
        self, phi: BaseModelState, seen: Sequence[Tensor], h: Mapping[int, Tensor], l: int
    ) -> tuple[LayerState, dict[str, Tensor]]:
        """What the step subtracts from W, b and V of one layer, and the terms for W."""
        layer, scales = phi.layers[l - 1], self._term_factors(seen[0])
        local = (seen[l - 1], seen[l], h[l - 1], h[l])
        terms = self.forward_readout.terms(layer.W, *local)
        change_W = change_V = self.forward_readout.mix(terms, scales).change
        if self.settings.backward_update == "separate":
            change_V = self.backward_readout.mix(self.backward_readout.terms(layer.V, *local), scales).change
        mean = h[l].sum(BATCH_AXIS) / h[l].shape[BATCH_AXIS]  # unlike a mean's, a sum's gradient is a view
        readout = self.bias_readout(mean)  # the batch mean of the read-outs, in one row
        return LayerState(change_W, change_of_bias(readout.squeeze(-1)), change_V), terms

    def _term_factors(self, like: Tensor) -> Tensor | None:
        return factors((self.settings.term_scales.get(name, 1.0) for name in TERMS), like)

    def _input_factors(self, like: Tensor) -> Tensor | None:
        scales = self.settings.input_scales
        return factors((scales.get(name, 1.0) for name, n in self._input_widths().items() for _ in range(n)), like)

    def _input_widths(self) -> dict[str, int]:
        """How many channels each input has, in the order of `UpdateNetwork.inputs`."""
        widths = {"weight_stats": STATISTICS, "bias": 1, "x": 1, "z": 1, "unit_id": 2}
        return widths | {"delta": self.settings.signals}

    def named_inputs(self, phi: BaseModelState, trace: Trace, layer: int) -> dict[str, Tensor]:
        """What the update networks of a layer are given, see `anatomy.named_inputs`."""
        inputs = self.network.inputs(trace.x[layer], trace.z[layer], trace.d[layer], *self._around(phi, layer))
        widths = self._input_widths()
        parts = dict(zip(widths, inputs.split(list(widths.values()), -1), strict=True))
        parts |= {name: parts[name][..., :1, :, :] for name in ("weight_stats", "bias")}  # the same for all examples
        return {name: self.settings.input_scales.get(name, 1.0) * part for name, part in parts.items()}

    def contributions(self, trace: Trace, layer: int) -> Contributions:
        """What each term put into a layer's change of W, see `anatomy.contributions`; no neuron has a gate."""
        terms, a, scales = trace.terms[layer], self.forward_readout.coefficients, self.settings.term_scales
        mixture = self.forward_readout.mix(terms, self._term_factors(a))
        gates = {name: torch.ones_like(terms["w_base"][..., 0, :]) for name in TERMS}
        coefficients = {name: a[k] * scales.get(name, 1.0) for k, name in enumerate(TERMS)}
        return Contributions(mixture.parts(), mixture.bound, {"growth": -mixture.growth}, coefficients, gates)
