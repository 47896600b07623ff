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

from metarules.base_model import Activations, BaseModelState, LayerState, forward_unchecked
from metarules.update_rule.contract import Batch, Trace, UpdateRule
from metarules.update_rule.local import networks as nets
from metarules.update_rule.local.fused import read_neurons
from metarules.update_rule.local.readout import WeightReadout
from metarules.update_rule.local.settings import LocalRuleSettings

_BIAS_EPS = 0.5  # in change_b = r / sqrt(0.5 + mean r^2), authors' code


@dataclass(frozen=True)
class _Seen:
    """What the neurons of a layer see before any signal comes down, units first; see `LocalRule._look`."""

    xs: Float[Tensor, "*tasks n batch"]
    share: Float[Tensor, "*tasks n batch"]
    slope: Float[Tensor, "*tasks n batch"]
    example: Float[Tensor, "E *tasks n batch"]
    neuron: Float[Tensor, "C *tasks n"]


@dataclass(frozen=True)
class _Read:
    """Read-outs of h of one layer, by the weights they serve: "W" and, where it is changed on its own, "V"."""

    mean: Float[Tensor, "C *tasks n"]
    upper: dict[str, Tensor]
    lower: dict[str, Tensor]


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
    def menu_label(self) -> str:
        """Whether it has been meta-trained: then it has a card."""
        return "The learned rule" if self.card else "The rule before meta-training"

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
        """One inner step with every intermediate, on input already checked; by plain autograd, not `local.fused`."""
        kept = Trace({}, {}, phi, {}, {}, {}, {}, {}, {})
        return replace(kept, next_state=self._run(phi, batch.x, kept))

    def _run(self, phi: BaseModelState, x: Tensor, kept: Trace | None) -> BaseModelState:
        """Forward pass, sweep from the top down, then change every layer from what its two hidden states say."""
        acts = forward_unchecked(phi, x)
        seen = self._look(phi, acts)
        read: dict[int, _Read] = {}
        tied = self.settings.backward_update == "tied"  # then signals go down through W from the first step on
        d = self.top(seen[-1].example, self.settings.input_scale("layer_stats"))
        d = d if self.settings.top_signal else torch.zeros_like(d)
        for l in range(phi.depth, -1, -1):
            read[l], delta = self._sweep(seen[l], d, l, phi.depth, kept)
            if l:
                below = phi.layers[l - 1]
                d = nets.unit_signal((below.W if tied else below.V) @ delta)  # e_i = sum_j V_ij delta_j
        layers = []
        for l, layer in enumerate(phi.layers, start=1):
            layers.append(self._change(layer, (seen[l - 1], seen[l]), (read[l - 1], read[l]), l, kept))
        if kept is not None:
            for l in range(phi.depth + 1):
                kept.x[l], kept.z[l] = acts.x[l], acts.z[l]
        return phi.with_layers(layers)

    def _look(self, phi: BaseModelState, acts: Activations) -> list[_Seen]:
        """Inputs of the update networks of all layers at once, but for the signal from above."""
        s, sizes = self.settings, list(phi.sizes)
        x = torch.cat([a.mT for a in acts.x], -2)  # [*tasks, units of all layers, batch]
        xs = nets.over_batch(x)
        layers = xs.split(sizes, -2)
        shares = [torch.softmax(z.mT / self.log_temperature.exp(), -2) for z in acts.z[1:]]
        shares.insert(0, torch.zeros_like(layers[0]))  # an input neuron has no competitors,
        z = torch.cat([layers[0], *(z.mT for z in acts.z[1:])], -2)  # and its z is its x on whatever scale the data has
        stats = [torch.cat(parts, -2) for parts in zip(*(nets.layer_stats(a) for a in layers), strict=True)]
        relative = nets.over_batch(torch.cat(shares, -2))
        named = (("x", xs), ("z", z), ("softmax", relative), ("layer_stats", stats[0]), ("layer_stats", stats[1]))
        own = [_scaled(value, s.input_scale(name)).split(sizes, -2) for name, value in named]
        bias = torch.cat([torch.zeros_like(x[..., : sizes[0], 0]), *(p.b for p in phi.layers)], -1)
        weights = torch.cat([nets.weight_stats(phi.layers, l) for l in range(phi.depth + 1)], -2)
        neuron = [
            _scaled(nets.batch_stats(x, xs), s.input_scale("batch_stats")),
            _scaled(weights, s.input_scale("weight_stats")),
            _scaled(bias, s.input_scale("bias")).unsqueeze(-1),
        ]
        about = self.network.about(torch.cat(neuron, -1)).split(sizes, -1)
        slope = torch.sigmoid(z).split(sizes, -2)
        return [
            _Seen(*parts[:3], torch.stack(parts[3]), parts[4])
            for parts in zip(layers, shares, slope, zip(*own, strict=True), about, strict=True)
        ]

    def _sweep(self, seen: _Seen, d: Tensor, l: int, depth: int, kept: Trace | None) -> tuple[_Read, Tensor]:
        """h of one layer, as read out, and delta, the signal it sends down."""
        readouts = {"W": self.forward_readout}
        if self.backward_readout is not None:
            readouts["V"] = self.backward_readout
        heads: list[tuple[Tensor, Tensor | None]] = [(self.delta_readout, None)]
        heads += [(r.upper, r.upper_bias) for r in readouts.values() if l]
        heads += [(r.lower, r.lower_bias) for r in readouts.values() if l < depth]
        arriving = _scaled(d, self.settings.input_scale("delta"))
        if kept is None:
            mean, read = read_neurons(seen.example, arriving, seen.neuron, self.network, heads)
        else:
            h = self.network(torch.cat([seen.example, arriving]), seen.neuron)
            mean = h.mean(-1)
            read = tuple(nets.dense(w, h) + (0 if b is None else nets.per_channel(b, h)) for w, b in heads)
        delta = d * seen.slope + read[0]
        if kept is not None:
            kept.h[l], kept.d[l], kept.delta[l] = (t.movedim(0, -1).transpose(-3, -2) for t in (h, d, delta))
        uppers = dict(zip(readouts if l else (), read[1:], strict=False))
        lowers = dict(zip(readouts if l < depth else (), read[1 + len(uppers) :], strict=True))
        return _Read(mean, uppers, lowers), delta

    def _change(
        self, layer: LayerState, seen: tuple[_Seen, _Seen], read: tuple[_Read, _Read], l: int, kept: Trace | None
    ) -> LayerState:
        """W, b and V of one layer after the step, from the layers at both its ends."""
        s, lr, (lower, upper), plain = self.settings, self.lr, read, kept is not None
        around = (seen[0].xs, seen[1].xs, seen[1].share)
        terms = self.forward_readout.terms(layer.W, *around, lower.lower["W"], upper.upper["W"], plain=plain)
        change_W = self.forward_readout.mix(terms, upper.mean)
        r = nets.dense(self.bias_readout, upper.mean).squeeze(0) + self.bias_offset
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
            own = self.backward_readout.terms(layer.V, *around, lower.lower["V"], upper.upper["V"], plain=plain)
            V = layer.V * (1 - lr) - lr * self.backward_readout.mix(own, upper.mean)
        if kept is not None:
            kept.terms[l], kept.change_W[l], kept.change_b[l] = terms, change_W, change_b
        return LayerState(W, b, V)

    def extra_repr(self) -> str:
        s = self.settings
        return f"channels={s.channels}, signals={s.signals}, readouts={s.readouts}, V {s.backward_update}"


def _scaled(value: Tensor, factor: float) -> Tensor:
    return value if factor == 1 else factor * value
