"""The networks inside the paper's rule: convolution, batch norm, the top signal, and the net h of every neuron.

Source: the authors' released code (TensorFlow 1, Sonnet 1) equation by equation.
Layout: [*tasks, batch, units, channels]. "Over the batch" means along axis -3, "over the units" along axis -2.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

BATCH_AXIS, UNIT_AXIS = -3, -2
NORM_EPS = 1e-3  # Sonnet's default in BatchNorm, left as it is by the authors
SIGNAL_EPS = 1e-6  # under the roots of weight statistics and of the signal sent down; authors' code
SPREAD_EPS = 1e-8  # under the root of the weights' variance; authors' code
UNIT_ID_RANGE = 4 * math.pi  # the unit id turns twice round the circle; authors' code
STATISTICS = 8  # four statistics of the weights below, four of those above; authors' code


class Linear(nn.Module):
    """y = x w + b over the last axis, the weight stored as [C_in, C_out]."""

    def __init__(self, c_in: int, c_out: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(c_in, c_out))
        self.bias = nn.Parameter(torch.zeros(c_out))

    def forward(self, x: Float[Tensor, "*rows c_in"]) -> Float[Tensor, "*rows c_out"]:
        return F.linear(x, self.weight.transpose(0, 1), self.bias)


class Conv(nn.Module):
    """1-D cross-correlation along one axis: stride 1, zeros beyond both ends, bias; weight [k, C_in, C_out]."""

    def __init__(self, kernel: int, c_in: int, c_out: int, axis: int) -> None:
        super().__init__()
        self.axis = axis
        self.weight = nn.Parameter(torch.zeros(kernel, c_in, c_out))
        self.bias = nn.Parameter(torch.zeros(c_out))

    def forward(
        self, a: Float[Tensor, "*tasks p q c_in"], scale: Float[Tensor, "c_in"] | None = None
    ) -> Float[Tensor, "*tasks p q c_out"]:
        """Convolve; `scale` multiplies the incoming channels (done on the weights, which are far fewer).

        On recent NVIDIA GPUs float32 is rounded to TF32 here unless `torch.backends.cudnn.allow_tf32` is False.
        """
        weight = self.weight if scale is None else self.weight * scale.unsqueeze(-1)
        over_batch = self.axis == BATCH_AXIS
        # [tasks, C, batch, units] with channels last in memory: what PyTorch's 2-D convolution is fastest at, no copy
        image = a.reshape(-1, *a.shape[-3:]).permute(0, 3, 1, 2)
        kernel = weight.permute(2, 1, 0).unsqueeze(-1 if over_batch else -2)
        reach = weight.shape[0] // 2
        out = F.conv2d(image, kernel, self.bias, padding=(reach, 0) if over_batch else (0, reach))
        return out.permute(0, 2, 3, 1).reshape(*a.shape[:-1], weight.shape[-1])


class BatchNorm(nn.Module):
    """(a - mean) / sqrt(var + 1e-3) + beta per channel and task, over both other axes of this very tensor.

    No scale and no running statistics: the released code never updates the ones it stores, and never reads them.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.beta = nn.Parameter(torch.zeros(channels))

    def forward(self, a: Float[Tensor, "*tasks p q c"]) -> Float[Tensor, "*tasks p q c"]:
        centred = a - a.mean((BATCH_AXIS, UNIT_AXIS), keepdim=True)
        variance = centred.square().mean((BATCH_AXIS, UNIT_AXIS), keepdim=True)
        return centred * torch.rsqrt(variance + NORM_EPS) + self.beta


class ConvBlock(nn.Module):
    """relu BN conv: the brick of both networks."""

    def __init__(self, kernel: int, c_in: int, c_out: int, axis: int) -> None:
        super().__init__()
        self.conv = Conv(kernel, c_in, c_out, axis)
        self.norm = BatchNorm(c_out)

    def forward(
        self, a: Float[Tensor, "*tasks p q c_in"], scale: Float[Tensor, "c_in"] | None = None
    ) -> Float[Tensor, "*tasks p q c_out"]:
        return torch.relu(self.norm(self.conv(a, scale)))


class UnitBlock(nn.Module):
    """A + U(A), where U is relu BN conv twice over the units: neighbours in the layer hear of each other."""

    def __init__(self, kernel: int, channels: int) -> None:
        super().__init__()
        self.blocks = nn.Sequential(*(ConvBlock(kernel, channels, channels, UNIT_AXIS) for _ in range(2)))

    def forward(self, a: Float[Tensor, "*tasks batch units c"]) -> Float[Tensor, "*tasks batch units c"]:
        return a + self.blocks(a)


class TopSignal(nn.Module):
    """What the top layer tells itself: d^L from the features x^L.

    In between, the units serve as channels of a convolution, which ties these weights to one top width.
    """

    def __init__(self, channels: int, units: int, signals: int, layers: int, kernel: int, first: int) -> None:
        super().__init__()
        self.first = ConvBlock(first, 1, channels, BATCH_AXIS)
        self.across = nn.Sequential(*(ConvBlock(kernel, units, units, BATCH_AXIS) for _ in range(2)))
        self.blocks = nn.Sequential(*(ConvBlock(kernel, channels, channels, BATCH_AXIS) for _ in range(layers)))
        self.readout = Conv(kernel, channels, signals, BATCH_AXIS)

    def forward(self, x: Float[Tensor, "*tasks batch units"]) -> Float[Tensor, "*tasks batch units D"]:
        a = self.first(x.unsqueeze(-1))
        a = self.across(a.transpose(-2, -1)).transpose(-2, -1)
        return self.readout(self.blocks(a))


class UpdateNetwork(nn.Module):
    """The little network of every neuron: h from its activations, the signal from above, its bias and weights."""

    def __init__(self, channels: int, signals: int, layers: int, kernel: int) -> None:
        super().__init__()
        features = 4 + signals  # x, z, sin, cos, d
        self.norm = BatchNorm(features)
        widths = [STATISTICS + 1 + features] + [channels] * layers
        self.convs = nn.ModuleList(ConvBlock(kernel, c_in, channels, BATCH_AXIS) for c_in in widths)
        self.units = nn.ModuleList(UnitBlock(kernel, channels) for _ in widths)

    def forward(
        self, inputs: Float[Tensor, "*tasks batch units inputs"], scale: Float[Tensor, "inputs"] | None = None
    ) -> Float[Tensor, "*tasks batch units C"]:
        """h^l from `inputs`; `scale` holds one factor for each of them."""
        a = inputs
        for i, (conv, unit) in enumerate(zip(self.convs, self.units, strict=True)):
            a = unit(conv(a, scale if i == 0 else None))
        return a

    def inputs(
        self,
        x: Float[Tensor, "*tasks batch units"],
        z: Float[Tensor, "*tasks batch units"],
        d: Float[Tensor, "*tasks batch units D"],
        b: Float[Tensor, "*tasks units"],
        below: Float[Tensor, "*tasks lower units"] | None,
        above: Float[Tensor, "*tasks units upper"] | None,
    ) -> Float[Tensor, "*tasks batch units inputs"]:
        """What a layer's neurons see: [weight_stats 8, bias, x, z, sin, cos, d ..], batch norm over all from x on.

        `below` is W^l (None at the input), `above` W^{l+1} (None at the top).
        """
        angle = unit_angles(x.shape[-1], x).expand_as(x)
        seen = torch.stack([x, z, torch.sin(angle), torch.cos(angle)], -1)
        own = torch.cat([weight_stats(below, above), b.unsqueeze(-1)], -1).unsqueeze(BATCH_AXIS)
        normed = self.norm(torch.cat([seen, d], -1))
        return torch.cat([own.expand(*normed.shape[:-1], STATISTICS + 1), normed], -1)


def unit_angles(units: int, like: Tensor) -> Float[Tensor, "units"]:
    """The angle whose sine and cosine tell a unit its place in the layer: 0 to 4 pi, both inclusive."""
    return torch.linspace(0, UNIT_ID_RANGE, units, dtype=like.dtype, device=like.device)


def weight_stats(
    below: Float[Tensor, "*tasks lower units"] | None, above: Float[Tensor, "*tasks units upper"] | None
) -> Float[Tensor, "*tasks units 8"]:
    """Four statistics of every unit's incoming weights, then of its outgoing ones, on one common scale a layer.

    The four are mean|w|, sqrt(mean w^2 + 1e-6), mean w, sqrt(var w + 1e-8); an edge layer repeats those it has.
    """
    sides = []
    for W, axis in ((below, -2), (above, -1)):
        if W is not None:
            mean = W.mean(axis, keepdim=True)
            spread = torch.sqrt((W - mean).square().mean(axis) + SPREAD_EPS)
            size = torch.sqrt(W.square().mean(axis) + SIGNAL_EPS)
            sides.append(torch.stack([W.abs().mean(axis), size, mean.squeeze(axis), spread], -1))
    stats = torch.cat(sides * (2 // len(sides)), -1)
    return stats * torch.rsqrt(stats.square().mean((-2, -1), keepdim=True) + SIGNAL_EPS)


def send_down(
    delta: Float[Tensor, "*tasks batch upper D"], V: Float[Tensor, "*tasks lower upper"]
) -> Float[Tensor, "*tasks batch lower D"]:
    """d^{l-1}: delta^l through the backward weights V^l, each neuron's channels brought to mean square 1."""
    e = V.unsqueeze(BATCH_AXIS) @ delta
    return e * torch.rsqrt(e.square().mean(-1, keepdim=True) + SIGNAL_EPS)


def draw_weights(modules: Sequence[nn.Module], generator: torch.Generator) -> None:
    """Initial theta: weights truncated normal (cut at two sigma) of sigma 1 / sqrt(k C_in), biases and offsets 0.

    Source: Sonnet's defaults for Linear and Conv1D, which the authors leave as they are.
    """
    for module in modules:
        if isinstance(module, (Linear, Conv)):
            fan_in = module.weight[..., 0].numel()
            with torch.no_grad():
                nn.init.trunc_normal_(module.weight, 0.0, 1.0, -2.0, 2.0, generator=generator)
                module.weight.mul_(fan_in**-0.5)
