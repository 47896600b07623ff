"""The costly pieces of the paper's networks with gradients written by hand, so that autograd keeps little.

The equations are those of `paper.networks`, which is the place to read them; `paper.fast` puts the pieces together.
Kept for the backward pass is the normalised output of every convolution; whatever is pointwise (relu, offset, sigmoid,
the input features) is recomputed there, which costs less than to write and read it. The backward passes consist of
differentiable operations, so second derivatives come out right, and `torch.func.vmap` works.
Layout: units before examples, [*tasks, units, batch, channels].
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from metarules.update_rule.paper.networks import NORM_EPS, SIGNAL_EPS, unit_angles

UNITS, EXAMPLES = -3, -2  # the two axes that convolutions run along and batch norm averages over


class Feed(NamedTuple):
    """How a convolution's input is made of the tensors kept, and how a gradient with respect to it goes back to them.

    Attributes:
        make: (*kept) -> the input [*tasks, p, q, c_in], and what `back` can use of how it was made.
        back: (gradient, that, *kept) -> one gradient for each of `kept`.
    """

    make: Callable[..., tuple[Tensor, tuple[Tensor, ...]]]
    back: Callable[..., tuple[Tensor, ...]]


def _relu_sum(*kept: Tensor) -> tuple[Tensor, tuple[Tensor, ...]]:
    """The sum of relu(xhat + beta) over one or two pairs (xhat, beta), and what it is the sum of."""
    active = tuple((xhat + beta).relu_() for xhat, beta in zip(kept[::2], kept[1::2], strict=True))
    return active[0] if len(active) == 1 else active[0] + active[1], active


def _relu_sum_back(g: Tensor, active: tuple[Tensor, ...], *_: Tensor) -> tuple[Tensor, ...]:
    gradients: list[Tensor] = []
    for part in active:
        passed = torch.ops.aten.threshold_backward(g, part, 0)  # g where it is above 0
        gradients += [passed, _over_rows(passed)]
    return tuple(gradients)


def _features(own: Tensor, x: Tensor, z: Tensor, d: Tensor, beta: Tensor) -> tuple[Tensor, tuple[Tensor, ...]]:
    """[own 9, BN([x, z, sin, cos, d_1 .. d_D])], own [*tasks, units, 1, 9] the same for all examples."""
    xhat, scale = normalise(_seen(x, z, d))
    return torch.cat([own.expand(*x.shape, -1), xhat + beta], -1), (xhat, scale)


def _features_back(
    g: Tensor, normed: tuple[Tensor, Tensor], own: Tensor, x: Tensor, z: Tensor, d: Tensor, beta: Tensor
) -> tuple[Tensor, ...]:
    for_own, for_normed = g.split([own.shape[-1], beta.shape[-1]], -1)
    for_x, for_z, _, for_d = normalise_back(for_normed, None, *normed).split([1, 1, 2, d.shape[-1]], -1)
    return for_own.sum(EXAMPLES, keepdim=True), for_x.squeeze(-1), for_z.squeeze(-1), for_d, _over_rows(for_normed)


def _seen(x: Tensor, z: Tensor, d: Tensor) -> Tensor:
    angle = unit_angles(x.shape[-2], x)
    unit_id = torch.stack([torch.sin(angle), torch.cos(angle)], -1).unsqueeze(EXAMPLES)
    return torch.cat([x.unsqueeze(-1), z.unsqueeze(-1), unit_id.expand(*x.shape, 2), d], -1)


PLAIN = Feed(lambda a: (a, ()), lambda g, made, a: (g,))
RELU_SUM = Feed(_relu_sum, _relu_sum_back)
FEATURES = Feed(_features, _features_back)


def normalise(c: Tensor) -> tuple[Tensor, Tensor]:
    """Batch norm without its offset, written over `c`.

    Args:
        c: [*tasks, p, q, C], a tensor that is not used again.

    Returns:
        xhat, of mean 0 over p and q, and its scale 1 / sqrt(var + 1e-3) [*tasks, 1, 1, C].
    """
    c.sub_(c.mean((UNITS, EXAMPLES), keepdim=True))
    scale = torch.rsqrt(c.square().mean((UNITS, EXAMPLES), keepdim=True) + NORM_EPS)
    return (c * scale if torch.is_grad_enabled() else c.mul_(scale)), scale  # autograd needs c for its square


def normalise_back(g: Tensor, g_scale: Tensor | None, xhat: Tensor, scale: Tensor) -> Tensor:
    """Gradient with respect to c from those with respect to xhat and, in second derivatives, to its scale."""
    along = (g * xhat).mean((UNITS, EXAMPLES), keepdim=True)
    if g_scale is not None:
        along = along + scale * g_scale / (xhat.shape[UNITS] * xhat.shape[EXAMPLES])
    mean = g.mean((UNITS, EXAMPLES), keepdim=True)
    return torch.addcmul(-scale * mean, xhat, scale * along, value=-1).addcmul_(g, scale)


class ConvNorm(torch.autograd.Function):
    """(axis, feed, weight [k, c_in, c_out], bias, *kept) -> xhat and scale of `normalise(conv(feed.make(*kept)))`.

    The bias only moves the mean, which the norm takes away: it is left out, and its gradient is exactly 0.
    """

    generate_vmap_rule = True

    @staticmethod
    def forward(axis: int, feed: Feed, weight: Tensor, bias: Tensor, *kept: Tensor) -> tuple[Tensor, Tensor]:
        a, _ = feed.make(*kept)
        return normalise(convolve(a, weight, None, axis))

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
        ctx.axis, ctx.feed, *tensors = inputs
        ctx.save_for_backward(*tensors, *output)
        ctx.set_materialize_grads(False)

    @staticmethod
    def backward(ctx: Any, g: Tensor | None, g_scale: Tensor | None) -> tuple[Tensor | None, ...]:
        weight, bias, *kept, xhat, scale = ctx.saved_tensors
        a, made = ctx.feed.make(*kept)
        g = normalise_back(torch.zeros_like(xhat) if g is None else g, g_scale, xhat, scale)
        for_a, for_weight = convolve_back(g, a, weight, ctx.axis)
        return None, None, for_weight, torch.zeros_like(bias), *ctx.feed.back(for_a, made, *kept)


class ReluSum(torch.autograd.Function):
    """(xhat, beta, ..) -> the sum of relu(xhat + beta), keeping nothing new."""

    generate_vmap_rule = True

    @staticmethod
    def forward(*kept: Tensor) -> Tensor:
        return _relu_sum(*kept)[0]

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        ctx.save_for_backward(*inputs)

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor, ...]:
        kept = ctx.saved_tensors
        return _relu_sum_back(g, tuple(xhat + beta for xhat, beta in zip(kept[::2], kept[1::2], strict=True)))


class SendDown(torch.autograd.Function):
    """(d, z, h, weight [C, D], bias, V) -> d of the layer below and its scale 1 / sqrt(mean e^2 + 1e-6).

    delta = d sigmoid(z) + h weight + bias; e = V delta; d below = e * scale. delta is recomputed on the way back.
    """

    generate_vmap_rule = True

    @staticmethod
    def forward(d: Tensor, z: Tensor, h: Tensor, weight: Tensor, bias: Tensor, V: Tensor) -> tuple[Tensor, Tensor]:
        e = (V @ _delta(d, torch.sigmoid(z), h, weight, bias).flatten(-2)).unflatten(-1, d.shape[-2:])
        scale = torch.rsqrt(e.square().mean(-1, keepdim=True) + SIGNAL_EPS)
        return e.mul_(scale), scale

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, ...], output: tuple[Tensor, Tensor]) -> None:
        ctx.save_for_backward(*inputs, *output)
        ctx.set_materialize_grads(False)

    @staticmethod
    def backward(ctx: Any, g: Tensor | None, g_scale: Tensor | None) -> tuple[Tensor, ...]:
        d, z, h, weight, bias, V, below, scale = ctx.saved_tensors
        g = torch.zeros_like(below) if g is None else g
        along = (g * below).mean(-1, keepdim=True)
        if g_scale is not None:
            along = along + scale * g_scale / d.shape[-1]
        for_e = ((g - below * along) * scale).flatten(-2)
        gate = torch.sigmoid(z)
        delta = _delta(d, gate, h, weight, bias).flatten(-2)
        for_delta = (V.transpose(-2, -1) @ for_e).unflatten(-1, d.shape[-2:])
        rows = for_delta.flatten(0, -2)
        return (
            for_delta * gate.unsqueeze(-1),
            (for_delta * d).sum(-1) * gate * (1 - gate),
            for_delta @ weight.transpose(0, 1),
            h.flatten(0, -2).transpose(0, 1) @ rows,
            rows.sum(0),
            for_e @ delta.transpose(-2, -1),
        )


class ReadUnits(torch.autograd.Function):
    """(h [*rows, batch, C], weight [C, k], bias [k]) -> the read-outs h weight + bias as [*rows, k, batch].

    One product a unit and way. Left to autograd, h's gradient would come out with its examples innermost, and every
    pass over it together with what lies channels innermost takes ten times as long.
    """

    generate_vmap_rule = True

    @staticmethod
    def forward(h: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        flat = h.flatten(0, -3).transpose(1, 2)
        read = torch.baddbmm(bias.unsqueeze(-1), weight.transpose(0, 1).expand(len(flat), -1, -1), flat)
        return read.unflatten(0, h.shape[:-2])

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        ctx.save_for_backward(*inputs[:2])

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        h, weight = ctx.saved_tensors
        g, flat = g.flatten(0, -3), h.flatten(0, -3)
        for_h = g.transpose(1, 2) @ weight.transpose(0, 1).expand(len(g), -1, -1)
        return for_h.view_as(h), (g @ flat).sum(0).transpose(0, 1), g.sum((0, 2))


def _delta(d: Tensor, gate: Tensor, h: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    return F.linear(h, weight.transpose(0, 1), bias) + d * gate.unsqueeze(-1)


def convolve(
    a: Float[Tensor, "*tasks p q c_in"], weight: Float[Tensor, "k c_in c_out"], bias: Tensor | None, axis: int
) -> Float[Tensor, "*tasks p q c_out"]:
    """`paper.networks.Conv` along either axis of this layout."""
    kernel, padding = _kernel(weight, axis)
    out = F.conv2d(_image(a), kernel, bias, padding=padding)
    return out.permute(0, 2, 3, 1).reshape(*a.shape[:-1], weight.shape[-1])


def convolve_back(g: Tensor, a: Tensor, weight: Tensor, axis: int) -> tuple[Tensor, Tensor]:
    """Gradients of `convolve` with respect to a and weight.

    For the weight's, every line along the axis is an image of its own: lines fit a core's cache, the whole does not.
    """
    for_a = _conv_back(g, a, weight, axis, (True, False, False))[0]
    g, a_lines = ((t.transpose(UNITS, EXAMPLES).contiguous() if axis == UNITS else t) for t in (g, a))
    g, a_lines = (t.flatten(0, -3).unsqueeze(UNITS) for t in (g, a_lines))
    for_kernel = _conv_back(g, a_lines, weight, EXAMPLES, (False, True, False))[1]
    return for_a.permute(0, 2, 3, 1).reshape(a.shape), for_kernel.flatten(-2).permute(2, 1, 0)


def _conv_back(g: Tensor, a: Tensor, weight: Tensor, axis: int, wanted: tuple[bool, bool, bool]) -> Any:
    kernel, padding = _kernel(weight, axis)
    return torch.ops.aten.convolution_backward(
        _image(g), _image(a), kernel, None, (1, 1), padding, (1, 1), False, (0, 0), 1, wanted
    )


def _image(a: Tensor) -> Tensor:
    """[tasks, C, p, q] with channels last in memory: what PyTorch's 2-D convolution is fastest at, no copy."""
    return a.reshape(-1, *a.shape[-3:]).permute(0, 3, 1, 2)


def _kernel(weight: Tensor, axis: int) -> tuple[Tensor, tuple[int, int]]:
    """Weight [k, c_in, c_out] as a 2-D kernel along one axis, and the padding that goes with it."""
    reach = weight.shape[0] // 2
    along_units = axis == UNITS
    kernel = weight.permute(2, 1, 0).unsqueeze(-1 if along_units else -2)
    return kernel, ((reach, 0) if along_units else (0, reach))


def _over_rows(g: Tensor) -> Tensor:
    """The gradient of an offset: the sum over everything but the channels."""
    return g.flatten(0, -2).sum(0)
