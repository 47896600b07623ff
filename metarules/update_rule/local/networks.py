"""What one neuron sees and computes in `LocalRule`: inputs, the update network h, and the top signal.

Every network here is a stack of dense layers shared by all neurons. A neuron sees its own activity, its own weights'
statistics, the signal sent back to it, statistics of its own activity over the batch, and, as lateral signals, the mean
and RMS activity of its layer and its share in a softmax over the layer (all removable). Nothing depends on the order of
examples or units. Layout: channels first and examples last, [channels, *tasks, units, batch], so that a dense layer on
all neurons is one matrix product, a read-out is one block of memory, and sums over the batch run along memory.
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


def dense(weight: Float[Tensor, "c_in c_out"], a: Float[Tensor, "c_in *s"]) -> Float[Tensor, "c_out *s"]:
    """One dense layer on every neuron and example at once."""
    return (weight.t() @ a.flatten(1)).unflatten(1, a.shape[1:])


class UpdateNetwork(nn.Module):
    """The network on every neuron: inputs -> h, two dense layers that see their own mean over the batch.

    `forward` is the definition; `local.fused.read_neurons` computes the same with hand-written gradients.
    """

    def __init__(self, example: int, neuron: int, channels: int, generator: torch.Generator, dtype: torch.dtype):
        super().__init__()
        fan = example + neuron

        def weight(c_in: int, of: int) -> nn.Parameter:
            return nn.Parameter(dense_init(c_in, channels, generator, dtype, of))

        self.from_example = weight(example, fan)
        self.from_neuron = weight(neuron, fan)
        self.bias_1 = nn.Parameter(torch.zeros(channels, dtype=dtype))
        self.from_hidden = weight(channels, 2 * channels)
        self.from_mean = weight(channels, 2 * channels)
        self.bias_2 = nn.Parameter(torch.zeros(channels, dtype=dtype))

    def forward(
        self, example: Float[Tensor, "E *tasks n batch"], neuron: Float[Tensor, "C *tasks n"]
    ) -> Float[Tensor, "C *tasks n batch"]:
        """h from what a neuron sees of each example, and from `about(...)`, what it sees of itself."""
        first = torch.relu(dense(self.from_example, example) + neuron.unsqueeze(-1))
        mean = dense(self.from_mean, first.mean(-1)) + per_channel(self.bias_2, neuron)
        return first + torch.relu(dense(self.from_hidden, first) + mean.unsqueeze(-1))

    def about(self, neuron: Float[Tensor, "*tasks n N"]) -> Float[Tensor, "C *tasks n"]:
        """The part of the first layer that is the same for all examples."""
        return (neuron @ self.from_neuron + self.bias_1).movedim(-1, 0)


class TopSignal(nn.Module):
    """The signal d^L that starts the way down, made per neuron from (x, z, lateral), so any top width works."""

    def __init__(self, example: int, channels: int, signals: int, generator: torch.Generator, dtype: torch.dtype):
        super().__init__()

        def weight(c_in: int, c_out: int, fan: int) -> nn.Parameter:
            return nn.Parameter(dense_init(c_in, c_out, generator, dtype, fan))

        self.from_example = weight(example, channels, example)
        self.bias_1 = nn.Parameter(torch.zeros(channels, dtype=dtype))
        self.from_hidden = weight(channels, signals, 3 * channels)
        self.from_mean = weight(channels, signals, 3 * channels)
        self.from_layer = weight(channels, signals, 3 * channels)
        self.bias_2 = nn.Parameter(torch.zeros(signals, dtype=dtype))

    def forward(self, example: Float[Tensor, "E *tasks n batch"], lateral: float) -> Float[Tensor, "D *tasks n batch"]:
        """`lateral` scales the layer mean of the hidden layer, the one signal here that crosses neurons."""
        hidden = dense(self.from_example, example)
        hidden = torch.relu(hidden + per_channel(self.bias_1, hidden))
        own = dense(self.from_mean, hidden.mean(-1, keepdim=True))
        d = dense(self.from_hidden, hidden) + (own + per_channel(self.bias_2, own))
        if lateral:
            d = d + dense(lateral * self.from_layer, hidden.mean(-2, keepdim=True))
        return unit_signal(d)


def per_channel(bias: Float[Tensor, " c"], like: Tensor) -> Tensor:
    """One number for each channel, shaped to be added to `like` [channels, ...]."""
    return bias.view(-1, *[1] * (like.ndim - 1))


def unit_signal(d: Float[Tensor, "D *s"]) -> Float[Tensor, "D *s"]:
    """Divide by sqrt(mean over the D channels of d^2 + 1e-6), as the authors do on the way down."""
    return d * torch.rsqrt(d.square().mean(0) + 1e-6)


def over_batch(a: Float[Tensor, "*tasks n batch"]) -> Float[Tensor, "*tasks n batch"]:
    """Standardise every neuron over its batch (units first)."""
    return nn.functional.layer_norm(a, a.shape[-1:], eps=1e-6)


def batch_stats(x: Float[Tensor, "*tasks n batch"], xs: Float[Tensor, "*tasks n batch"]) -> Float[Tensor, "*tasks n 2"]:
    """Two numbers about a neuron's activity, free of its scale: mean / RMS, and the mean of |standardised|."""
    mean = x.mean(-1)
    rms = torch.sqrt(x.square().mean(-1) + 1e-6)
    return torch.stack([mean / rms, xs.abs().mean(-1)], -1)


def layer_stats(
    xs: Float[Tensor, "*tasks n batch"],
) -> tuple[Float[Tensor, "*tasks n batch"], Float[Tensor, "*tasks n batch"]]:
    """Mean and RMS over the layer of the standardised activity, the same for all its neurons."""
    mean = xs.mean(-2, keepdim=True)
    rms = torch.sqrt(xs.square().mean(-2, keepdim=True) + 1e-6)
    return mean.expand_as(xs), rms.expand_as(xs)


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
