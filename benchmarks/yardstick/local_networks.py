"""What one neuron sees and computes in `LocalRule`: inputs, the update network h, and the top signal.

Every network here is a stack of dense layers shared by all neurons. A neuron sees its own activity, its own weights'
statistics, the signal sent back to it, statistics of its own activity over the batch, and, as lateral signals, the mean
and RMS activity of its layer and its share in a softmax over the layer (all removable). Nothing depends on the order of
examples or units. Layout: units before examples, [*tasks, units, batch, channels], so that sending signals down through
V and the low-rank products are single matrix products on memory as it lies.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn

from metarules.base_model import LayerState

EXAMPLE_INPUTS = ("x", "z", "softmax", "layer_stats", "delta")  # one value per example (layer_stats has two)
NEURON_INPUTS = ("batch_stats", "weight_stats", "bias")  # one value per neuron


def dense_init(c_in: int, c_out: int, generator: torch.Generator, dtype: torch.dtype, fan: int | None = None) -> Tensor:
    """Truncated normal of sigma 1 / sqrt(fan) (fan = c_in unless given), the authors' initial values for theta."""
    t = torch.empty(c_in, c_out, dtype=dtype)
    return nn.init.trunc_normal_(t, 0.0, 1.0, -2.0, 2.0, generator=generator) / (fan or c_in) ** 0.5


class UpdateNetwork(nn.Module):
    """The network on every neuron: inputs -> h, two dense layers that see their own mean over the batch."""

    def __init__(self, example: int, neuron: int, channels: int, generator: torch.Generator, dtype: torch.dtype):
        super().__init__()
        fan = example + neuron

        def dense(c_in: int, of: int) -> nn.Parameter:
            return nn.Parameter(dense_init(c_in, channels, generator, dtype, of))

        self.from_example = dense(example, fan)
        self.from_neuron = dense(neuron, fan)
        self.bias_1 = nn.Parameter(torch.zeros(channels, dtype=dtype))
        self.from_hidden = dense(channels, 2 * channels)
        self.from_mean = dense(channels, 2 * channels)
        self.bias_2 = nn.Parameter(torch.zeros(channels, dtype=dtype))

    def forward(
        self, example: Float[Tensor, "*tasks n batch E"], neuron: Float[Tensor, "*tasks n 1 N"]
    ) -> Float[Tensor, "*tasks n batch C"]:
        first = torch.relu(example @ self.from_example + (neuron @ self.from_neuron + self.bias_1))
        mean = first.mean(-2, keepdim=True)
        return first + torch.relu(first @ self.from_hidden + (mean @ self.from_mean + self.bias_2))


class TopSignal(nn.Module):
    """The signal d^L that starts the way down, made per neuron from (x, z, lateral), so any top width works."""

    def __init__(self, example: int, channels: int, signals: int, generator: torch.Generator, dtype: torch.dtype):
        super().__init__()

        def dense(c_in: int, c_out: int, fan: int) -> nn.Parameter:
            return nn.Parameter(dense_init(c_in, c_out, generator, dtype, fan))

        self.from_example = dense(example, channels, example)
        self.bias_1 = nn.Parameter(torch.zeros(channels, dtype=dtype))
        self.from_hidden = dense(channels, signals, 3 * channels)
        self.from_mean = dense(channels, signals, 3 * channels)
        self.from_layer = dense(channels, signals, 3 * channels)
        self.bias_2 = nn.Parameter(torch.zeros(signals, dtype=dtype))

    def forward(self, example: Float[Tensor, "*tasks n batch E"], lateral: float) -> Float[Tensor, "*tasks n batch D"]:
        """`lateral` scales the layer mean of the hidden layer, the one signal here that crosses neurons."""
        hidden = torch.relu(example @ self.from_example + self.bias_1)
        d = hidden @ self.from_hidden + (hidden.mean(-2, keepdim=True) @ self.from_mean + self.bias_2)
        if lateral:
            d = d + hidden.mean(-3, keepdim=True) @ (lateral * self.from_layer)
        return unit_signal(d)


def unit_signal(d: Float[Tensor, "*s D"]) -> Float[Tensor, "*s D"]:
    """Divide by sqrt(mean over the D channels of d^2 + 1e-6), as the authors do on the way down."""
    return d / torch.sqrt(d.square().mean(-1, keepdim=True) + 1e-6)


def over_batch(a: Float[Tensor, "*tasks n batch"]) -> Float[Tensor, "*tasks n batch"]:
    """Standardise every neuron over its batch (units first)."""
    centred = a - a.mean(-1, keepdim=True)
    return centred * torch.rsqrt(centred.square().mean(-1, keepdim=True) + 1e-6)


def batch_stats(x: Float[Tensor, "*tasks n batch"], xs: Float[Tensor, "*tasks n batch"]) -> Float[Tensor, "*tasks n 2"]:
    """Two numbers about a neuron's activity, free of its scale: mean / RMS, and the mean of |standardised|."""
    mean = x.mean(-1)
    rms = torch.sqrt(x.square().mean(-1) + 1e-6)
    return torch.stack([mean / rms, xs.abs().mean(-1)], -1)


def layer_stats(xs: Float[Tensor, "*tasks n batch"]) -> Float[Tensor, "*tasks n batch 2"]:
    """Mean and RMS over the layer of the standardised activity, the same for all its neurons."""
    mean = xs.mean(-2, keepdim=True)
    rms = torch.sqrt(xs.square().mean(-2, keepdim=True) + 1e-6)
    return torch.stack([mean, rms], -1).expand(*xs.shape, 2)


def weight_stats(layers: tuple[LayerState, ...], l: int) -> Float[Tensor, "*tasks n 8"]:
    """Statistics of a unit's incoming and outgoing weights (authors' code): mean|w|, RMS, mean, std of each side.

    A layer at the edge repeats the four it has; all are divided by their RMS over the layer.
    """
    sides = []
    if l >= 1:
        sides.append(_four(layers[l - 1].W.transpose(-2, -1)))
    if l < len(layers):
        sides.append(_four(layers[l].W))
    stats = torch.cat([sides[0], sides[-1]], -1)
    return stats / torch.sqrt(stats.square().mean((-2, -1), keepdim=True) + 1e-6)


def _four(w: Float[Tensor, "*tasks n others"]) -> Float[Tensor, "*tasks n 4"]:
    mean = w.mean(-1)
    square = w.square().mean(-1)
    variance = (square - mean.square()).clamp_min(0)
    return torch.stack([w.abs().mean(-1), torch.sqrt(square + 1e-6), mean, torch.sqrt(variance + 1e-8)], -1)
