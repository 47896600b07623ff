"""`LocalRule`: our smaller, permutation-equivariant update rule, the one shipped trained.

It keeps the paper's twelve terms and adds a soft-competitive Hebbian one; others can be registered (`local.terms`).
Its update networks are dense layers on every neuron (no convolution over units or examples, no unit id), so neurons and
examples can be permuted freely. It is neuron-local in the sense of the paper's own appendix: up to the lateral signals
named in `LocalRuleSettings` and the terms that mix weights of similar neurons of one layer. Of the terms that are off,
"covariance" needs the activity of the whole layer, and "slow" which examples of the batch are alike.
Source: Metz et al., ICLR 2019, for all it shares with the paper's rule; the rest is ours (CONTRIBUTING, Sources).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn

from metarules._checks import check_names
from metarules.base_model import BaseModelState, LayerState, forward_unchecked
from metarules.update_rule.contract import Batch, Trace, UpdateRule
from metarules.update_rule.learned import Contributions, LearnedRule, factors
from metarules.update_rule.local import networks as nets
from metarules.update_rule.local.fused import read_neurons
from metarules.update_rule.local.neighbours import Neighbours, empty_memory, remember
from metarules.update_rule.local.readout import WeightReadout
from metarules.update_rule.local.settings import LOCAL_INPUTS, LocalRuleSettings
from metarules.update_rule.local.terms import LOCAL_TERMS, LocalTermInputs

LARGE = 2**23  # weights of a layer beyond which terms are made one at a time: all of them would take half a gigabyte
_BIAS_EPS = 0.5  # in change_b = r / sqrt(0.5 + mean r^2), authors' code


@dataclass(frozen=True)
class _NeuronInputs:
    """What the neurons of a layer see before any signal comes down, units first; see `LocalRule._look`."""

    xs: Float[Tensor, "*tasks n batch"]
    share: Float[Tensor, "*tasks n batch"]
    slope: Float[Tensor, "*tasks n batch"]
    example: Float[Tensor, "E *tasks n batch"]  # x, z, share over the batch, mean and RMS of the layer
    neuron: Float[Tensor, "*tasks n N"]  # batch_stats 2, weight_stats 8, bias
    about: Float[Tensor, "C *tasks n"]  # the first layer of the update network, as far as it depends on `neuron`


@dataclass(frozen=True)
class _NeuronOutputs:
    """What the sweep down made of one layer: its read-outs are kept by the weights they serve, "W" or "V"."""

    h: Float[Tensor, "C *tasks n batch"] | None  # None on the fast path, which never holds all of it
    h_mean: Float[Tensor, "C *tasks n"]
    delta: Float[Tensor, "D *tasks n batch"]
    upper: dict[str, Tensor]
    lower: dict[str, Tensor]


class LocalRule(LearnedRule):
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
        """Whether it has been meta-trained, then it has a card, and whether it looks neighbours up."""
        knows = " with neighbours" if self.settings.memory else ""
        return f"The learned rule{knows}" if self.card else f"The rule{knows} before meta-training"

    @property
    def lr(self) -> Tensor:
        """Inner step size, a learned number within a factor e of `settings.lr`."""
        return self.settings.lr * torch.exp(torch.tanh(self.log_lr))

    def init_extra(self, phi: BaseModelState, generator: torch.Generator | None = None) -> BaseModelState:
        """Add the memory of recent inputs, where `settings.memory` asks for one: `memory` [*tasks, memory, n_0] and
        `kept` [*tasks, memory], 1 for what is filled."""
        return empty_memory(phi, self.settings.memory) if self.settings.memory else phi

    def take(self, other: UpdateRule) -> None:
        """As for every rule; terms that `other` lacks keep what they start at."""
        theta: dict[str, Tensor] = dict(other.named_parameters())
        if isinstance(other, LocalRule):
            check_names("other.settings.terms", other.term_names, self.term_names)
            at = torch.tensor([self.term_names.index(name) for name in other.term_names])
            for name, p in self.named_parameters():
                of_terms = name in theta and name.endswith(("coefficients", "gates"))
                if of_terms and theta[name].shape[:-1] == p.shape[:-1]:
                    theta[name] = p.detach().index_copy(-1, at.to(p.device), theta[name].detach().to(p))
        self._take(other, theta)

    def check(self, phi: BaseModelState, batch: Batch | Tensor) -> Batch:
        """As for every rule; a memory must be there where the settings ask for one."""
        checked = super().check(phi, batch)
        if self.settings.memory and "memory" not in phi.extra:
            raise ValueError("phi.extra lacks memory; allowed: what rule.init_extra(phi) adds")
        return checked

    def step(self, phi: BaseModelState, batch: Batch) -> BaseModelState:
        """One inner step on input already checked."""
        acts = forward_unchecked(phi, batch.x)
        seen = self._look(phi, acts.x, acts.z)
        _, swept = self._sweep(phi, seen, plain=self._plain)
        near = Neighbours(phi, acts, self.settings)
        changes = {l: self._change(phi, seen, swept, near, l, plain=self._plain)[0] for l in range(1, phi.depth + 1)}
        return self._after(phi, batch, changes)

    def step_traced(self, phi: BaseModelState, batch: Batch) -> Trace:
        """One inner step with every intermediate, on input already checked; always by the plain equations."""
        acts = forward_unchecked(phi, batch.x)
        seen = self._look(phi, acts.x, acts.z)
        d, swept = self._sweep(phi, seen, plain=True)
        near, changes, terms = Neighbours(phi, acts, self.settings), {}, {}
        for l in range(1, phi.depth + 1):
            changes[l], terms[l] = self._change(phi, seen, swept, near, l, plain=True)
        layers = range(phi.depth + 1)
        return Trace(
            z=dict(enumerate(acts.z)),
            x=dict(enumerate(acts.x)),
            d={l: _channels_last(d[l]) for l in layers},
            h={l: _channels_last(h) for l in layers if (h := swept[l].h) is not None},
            delta={l: _channels_last(swept[l].delta) for l in layers},
            terms=terms,
            change_W={l: change.W for l, change in changes.items()},
            change_b={l: change.b for l, change in changes.items()},
            next_state=self._after(phi, batch, changes),
        )

    def _look(self, phi: BaseModelState, acts_x: Sequence[Tensor], acts_z: Sequence[Tensor]) -> list[_NeuronInputs]:
        """Inputs of the update networks of all layers at once, but for the signal from above."""
        s, sizes = self.settings, list(phi.sizes)
        x = torch.cat([a.mT for a in acts_x], -2)  # [*tasks, units of all layers, batch]
        xs = nets.over_batch(x)
        layers = xs.split(sizes, -2)
        shares = [torch.softmax(z.mT / self.log_temperature.exp(), -2) for z in acts_z[1:]]
        shares.insert(0, torch.zeros_like(layers[0]))  # an input neuron has no competitors,
        z = torch.cat([layers[0], *(z.mT for z in acts_z[1:])], -2)  # and its z is its x on whatever scale the data has
        stats = [torch.cat(parts, -2) for parts in zip(*(nets.layer_stats(a) for a in layers), strict=True)]
        relative = nets.over_batch(torch.cat(shares, -2))
        named = (("x", xs), ("z", z), ("softmax", relative), ("layer_stats", stats[0]), ("layer_stats", stats[1]))
        own = [_scaled(value, s.input_scale(name)).split(sizes, -2) for name, value in named]
        bias = torch.cat([torch.zeros_like(x[..., : sizes[0], 0]), *(p.b for p in phi.layers)], -1)
        weights = torch.cat([nets.weight_stats(phi.layers, l) for l in range(phi.depth + 1)], -2)
        parts = [
            _scaled(nets.batch_stats(x, xs), s.input_scale("batch_stats")),
            _scaled(weights, s.input_scale("weight_stats")),
            _scaled(bias, s.input_scale("bias")).unsqueeze(-1),
        ]
        neuron = torch.cat(parts, -1)
        about = self.network.about(neuron).split(sizes, -1)
        slope = torch.sigmoid(z).split(sizes, -2)
        example = [torch.stack(values) for values in zip(*own, strict=True)]
        return [
            _NeuronInputs(*layer)
            for layer in zip(layers, shares, slope, example, neuron.split(sizes, -2), about, strict=True)
        ]

    def _sweep(
        self, phi: BaseModelState, seen: list[_NeuronInputs], *, plain: bool
    ) -> tuple[dict[int, Tensor], dict[int, _NeuronOutputs]]:
        """From the top down: d, the signal that arrives at each layer, and what the layer makes of it."""
        tied = self.settings.backward_update == "tied"  # then signals go down through W from the first step on
        top = self.top(seen[-1].example, self.settings.input_scale("layer_stats"))
        d = {phi.depth: top if self.settings.top_signal else torch.zeros_like(top)}
        swept = {}
        for l in range(phi.depth, -1, -1):
            swept[l] = self._neurons(seen[l], d[l], l, phi.depth, plain=plain)
            if l:
                below = phi.layers[l - 1]
                d[l - 1] = nets.unit_signal((below.W if tied else below.V) @ swept[l].delta)  # e_i = sum_j V_ij delta_j
        return d, swept

    def _neurons(self, seen: _NeuronInputs, d: Tensor, l: int, depth: int, *, plain: bool) -> _NeuronOutputs:
        """h of one layer, as read out, and delta, the signal it sends down."""
        readouts = {"W": self.forward_readout}
        if self.backward_readout is not None:
            readouts["V"] = self.backward_readout
        heads: list[tuple[Tensor, Tensor | None]] = [(self.delta_readout, None)]
        heads += [(r.upper, r.upper_bias) for r in readouts.values() if l]
        heads += [(r.lower, r.lower_bias) for r in readouts.values() if l < depth]
        arriving = _scaled(d, self.settings.input_scale("delta"))
        h = None
        if plain:
            h = self.network(torch.cat([seen.example, arriving]), seen.about)
            h_mean = h.mean(-1)
            read = tuple(nets.dense(w, h) + (0 if b is None else nets.per_channel(b, h)) for w, b in heads)
        else:
            h_mean, read = read_neurons(seen.example, arriving, seen.about, self.network, heads)
        uppers = dict(zip(readouts if l else (), read[1:], strict=False))
        lowers = dict(zip(readouts if l < depth else (), read[1 + len(uppers) :], strict=True))
        return _NeuronOutputs(h, h_mean, d * seen.slope + read[0], uppers, lowers)

    def _after(self, phi: BaseModelState, batch: Batch, changes: dict[int, LayerState]) -> BaseModelState:
        after = self._next_state(phi, changes, self.lr)
        return after.with_layers(after.layers, **remember(phi, batch.x)) if self.settings.memory else after

    def _change(
        self,
        phi: BaseModelState,
        seen: list[_NeuronInputs],
        swept: dict[int, _NeuronOutputs],
        near: Neighbours,
        l: int,
        *,
        plain: bool,
    ) -> tuple[LayerState, dict[str, Tensor]]:
        """What the step subtracts from W, b and V of one layer, and the terms for W."""
        layer, lower, upper = phi.layers[l - 1], swept[l - 1], swept[l]
        activity = (seen[l - 1].xs.mT, seen[l].xs.mT, seen[l].share.mT)

        def change(which: str, readout: WeightReadout, weights: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
            inputs, scales = LocalTermInputs(weights, *activity, near, l), self._term_factors(layer.W)
            if weights.numel() > LARGE and not plain and not torch.is_grad_enabled():
                return readout.change(inputs, lower.lower[which], upper.upper[which], upper.h_mean, scales), {}
            terms = readout.terms(inputs, lower.lower[which], upper.upper[which], plain=plain)
            return readout.mix(terms, upper.h_mean, scales).change, terms

        change_W, terms = change("W", self.forward_readout, layer.W)
        change_V = change_W
        if self.backward_readout is not None:
            change_V, _ = change("V", self.backward_readout, layer.V)
        r = nets.dense(self.bias_readout, upper.h_mean).squeeze(0) + self.bias_offset
        change_b = r * torch.rsqrt(_BIAS_EPS + r.square().mean(-1, keepdim=True))
        return LayerState(change_W, change_b, change_V), terms

    def _term_factors(self, like: Tensor) -> Tensor | None:
        return factors(map(self.settings.term_scale, self.settings.terms), like)

    @property
    def term_names(self) -> tuple[str, ...]:
        return self.settings.terms

    def named_inputs(self, phi: BaseModelState, trace: Trace, layer: int) -> dict[str, Tensor]:
        """What the update networks of a layer are given, see `anatomy.named_inputs`."""
        seen = self._look(phi, list(trace.x.values()), list(trace.z.values()))[layer]
        examples = _channels_last(seen.example).split((1, 1, 1, 2), -1)
        neurons = seen.neuron.unsqueeze(-3).split((2, 8, 1), -1)
        arriving = _scaled(trace.d[layer], self.settings.input_scale("delta"))
        return dict(zip(LOCAL_INPUTS, (*examples, arriving, *neurons), strict=True))

    def contributions(self, trace: Trace, layer: int) -> Contributions:
        """What each term put into a layer's change of W, see `anatomy.contributions`."""
        s, readout = self.settings, self.forward_readout
        h_mean = trace.h[layer].transpose(-3, -2).movedim(-1, 0).mean(-1)  # [C, *tasks, n_l]
        mixture = readout.mix(trace.terms[layer], h_mean, self._term_factors(h_mean))
        coefficients = {name: readout.coefficients[k] * s.term_scale(name) for k, name in enumerate(s.terms)}
        parts, gates = (dict(zip(s.terms, values, strict=True)) for values in (mixture.parts, mixture.gates))
        return Contributions(parts, mixture.bound, {}, coefficients, gates)

    def extra_repr(self) -> str:
        s = self.settings
        sizes = f"channels={s.channels}, signals={s.signals}, readouts={s.readouts}, V {s.backward_update}"
        return sizes if s.terms == LOCAL_TERMS else f"terms={list(s.terms)}, {sizes}"


def _scaled(value: Tensor, factor: float) -> Tensor:
    return value if factor == 1 else factor * value


def _channels_last(a: Float[Tensor, "C *tasks n batch"]) -> Float[Tensor, "*tasks batch n C"]:
    return a.movedim(0, -1).transpose(-3, -2)
