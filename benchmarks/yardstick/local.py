"""`LocalRule`: our smaller, permutation-equivariant update rule, the one shipped trained.

It keeps the paper's twelve terms and adds a soft-competitive Hebbian one. Its update networks are dense layers on every
neuron (no convolution over units or examples, no unit id), so neurons and examples can be permuted freely. It is
neuron-local in the sense of the paper's own appendix: up to the lateral signals named in `LocalRuleSettings` and the
terms that mix weights of similar neurons of one layer.
Source: Metz et al., ICLR 2019, for all it shares with the paper's rule; the rest is ours (README, Sources).
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float
from torch import Tensor, nn

from benchmarks.yardstick import local_networks as nets
from benchmarks.yardstick.forward import forward_unchecked
from benchmarks.yardstick.local_readout import WeightReadout
from benchmarks.yardstick.local_settings import LocalRuleSettings
from metarules.base_model import BaseModelState, LayerState
from metarules.update_rule.contract import Batch, Trace, UpdateRule

_BIAS_EPS = 0.5  # in change_b = r / sqrt(0.5 + mean r^2), authors' code


@dataclass(frozen=True)
class _Sweep:
    """What the top-down sweep keeps of one layer, units first."""

    xs: Float[Tensor, "*tasks n batch"]
    share: Float[Tensor, "*tasks n batch"]
    h: Float[Tensor, "*tasks n batch C"]
    d: Float[Tensor, "*tasks n batch D"]
    delta: Float[Tensor, "*tasks n batch D"]


class LocalRule(UpdateRule):
    """A learned rule whose networks live on single neurons. theta are its parameters; phi is passed in and out.

    Args:
        settings: sizes, switches, starting coefficients.
        generator: source of the initial theta (CPU); None draws from seed 0.
        dtype: floating dtype of theta, which must be phi's.
    """

    def __init__(
        self,
        settings: LocalRuleSettings | None = None,
        *,
        generator: torch.Generator | None = None,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        super().__init__()
        s = self.settings = settings or LocalRuleSettings()
        g = generator or torch.Generator().manual_seed(0)
        own = 5  # x, z, softmax share, mean and RMS of the layer
        self.network = nets.UpdateNetwork(own + s.signals, 2 + 8 + 1, s.channels, g, dtype)
        self.top = nets.TopSignal(own, s.channels, s.signals, g, dtype)
        self.delta_readout = nn.Parameter(nets.dense_init(s.channels, s.signals, g, dtype))
        self.forward_readout = WeightReadout(s, g, dtype)
        self.backward_readout = WeightReadout(s, g, dtype) if s.backward_update == "separate" else None
        self.bias_readout = nn.Parameter(torch.zeros(s.channels, 1, dtype=dtype))  # zero: all biases start alike
        self.bias_offset = nn.Parameter(torch.tensor(-s.bias, dtype=dtype))  # minus: the change is subtracted
        self.log_temperature = nn.Parameter(torch.tensor(s.temperature, dtype=dtype).log())
        self.log_lr = nn.Parameter(torch.zeros((), dtype=dtype))

    @property
    def lr(self) -> Tensor:
        """Inner step size, a learned number within a factor e of `settings.lr`."""
        return self.settings.lr * torch.exp(torch.tanh(self.log_lr))

    def with_scales(
        self, terms: Mapping[str, float] | None = None, inputs: Mapping[str, float] | None = None
    ) -> LocalRule:
        """The same theta with some terms or inputs scaled (0 switches off); parameters are shared, not copied.

        Args:
            terms: factor for each named term of `LOCAL_TERMS`.
            inputs: factor for each named input of `LOCAL_INPUTS`.

        Raises:
            ValueError: an unknown name, or a factor that is not a finite number.
        """
        s = self.settings
        changed = replace(
            s, term_scales={**s.term_scales, **(terms or {})}, input_scales={**s.input_scales, **(inputs or {})}
        )
        clone = copy.copy(self)
        clone._modules = dict(self._modules)
        clone.settings = changed
        for name in ("forward_readout", "backward_readout"):
            readout = self._modules.get(name)
            if readout is not None:
                shared = copy.copy(readout)
                shared.settings = changed  # type: ignore[assignment]  # nn.Module types all attributes as tensors
                clone._modules[name] = shared
        return clone

    def step(self, phi: BaseModelState, batch: Batch) -> BaseModelState:
        """One inner step on input already checked."""
        return self._run(phi, batch.x, None)

    def step_traced(self, phi: BaseModelState, batch: Batch) -> Trace:
        """One inner step with every intermediate, on input already checked."""
        kept = Trace({}, {}, phi, {}, {}, {}, {}, {}, {})
        return replace(kept, next_state=self._run(phi, batch.x, kept))

    def _run(self, phi: BaseModelState, x: Tensor, kept: Trace | None) -> BaseModelState:
        """Forward pass, sweep from the top down, then change every layer from its two hidden states."""
        acts = forward_unchecked(phi, x)
        sweeps: dict[int, _Sweep] = {}
        tied = self.settings.backward_update == "tied"  # then signals go down through W from the first step on
        d: Tensor | None = None
        for l in range(phi.depth, -1, -1):
            sweeps[l] = self._sweep(phi, acts.x[l].transpose(-2, -1), acts.z[l].transpose(-2, -1), l, d)
            if l:
                below = phi.layers[l - 1]
                d = nets.unit_signal(_down(below.W if tied else below.V, sweeps[l].delta))
        layers = []
        for l, layer in enumerate(phi.layers, start=1):
            layers.append(self._change(layer, sweeps[l - 1], sweeps[l], l, kept))
        if kept is not None:
            for l, sweep in sweeps.items():
                kept.x[l], kept.z[l] = acts.x[l], acts.z[l]
                kept.h[l], kept.d[l], kept.delta[l] = (t.transpose(-3, -2) for t in (sweep.h, sweep.d, sweep.delta))
        return phi.with_layers(layers)

    def _sweep(self, phi: BaseModelState, x: Tensor, z: Tensor, l: int, d: Tensor | None) -> _Sweep:
        """Inputs -> h -> delta of one layer; d is None at the top, where the top signal is made."""
        s = self.settings
        xs = nets.over_batch(x)
        if l:
            share = torch.softmax(z / self.log_temperature.exp(), -2)
            relative = nets.over_batch(share)
            bias = phi.layers[l - 1].b
        else:  # an input neuron has no competitors, and its z is its x on whatever scale the data has
            z, share = xs, torch.zeros_like(xs)
            relative, bias = share, torch.zeros_like(x[..., 0])
        stats = s.input_scale("layer_stats") * nets.layer_stats(xs)
        own = [s.input_scale(k) * v for k, v in (("x", xs), ("z", z), ("softmax", relative))]
        example = torch.cat([torch.stack(own, -1), stats], -1)
        if d is None:
            d = self.top(example, s.input_scale("layer_stats"))
        neuron = torch.cat(
            [
                s.input_scale("batch_stats") * nets.batch_stats(x, xs),
                s.input_scale("weight_stats") * nets.weight_stats(phi.layers, l),
                s.input_scale("bias") * bias.unsqueeze(-1),
            ],
            -1,
        ).unsqueeze(-2)
        h = self.network(torch.cat([example, s.input_scale("delta") * d], -1), neuron)
        delta = d * torch.sigmoid(z).unsqueeze(-1) + h @ self.delta_readout
        return _Sweep(xs, share, h, d, delta)

    def _change(self, layer: LayerState, lower: _Sweep, upper: _Sweep, l: int, kept: Trace | None) -> LayerState:
        """W, b and V of one layer after the step."""
        s, lr, forward = self.settings, self.lr, self.forward_readout
        around = (lower.xs, upper.xs, upper.share, lower.h, upper.h)
        terms = forward.terms(layer.W, *around)
        change_W = forward.mix(terms, upper.h)
        r = (upper.h.mean(-2) @ self.bias_readout).squeeze(-1) + self.bias_offset
        change_b = r * torch.rsqrt(_BIAS_EPS + r.square().mean(-1, keepdim=True))
        W = layer.W * (1 - lr) - lr * change_W
        b = layer.b * (1 - lr) - lr * change_b
        if s.backward_update == "tied":
            V = W
        elif s.backward_update == "fixed":
            V = layer.V
        elif self.backward_readout is None:
            V = layer.V * (1 - lr) - lr * change_W
        else:
            own = self.backward_readout.mix(self.backward_readout.terms(layer.V, *around), upper.h)
            V = layer.V * (1 - lr) - lr * own
        if kept is not None:
            kept.terms[l], kept.change_W[l], kept.change_b[l] = terms, change_W, change_b
        return LayerState(W, b, V)

    def extra_repr(self) -> str:
        s = self.settings
        return f"channels={s.channels}, signals={s.signals}, readouts={s.readouts}, V {s.backward_update}"


def _down(
    V: Float[Tensor, "*tasks i j"], delta: Float[Tensor, "*tasks j batch D"]
) -> Float[Tensor, "*tasks i batch D"]:
    """Send a signal down: e_i = sum_j V_ij delta_j, one matrix product on memory as it lies."""
    return (V @ delta.flatten(-2)).unflatten(-1, delta.shape[-2:])
