"""The paper's networks as `PaperRule` runs them: the equations of `paper.networks`, laid out for speed and memory.

Compared with the modules run one by one: units come before examples, so that sending signals down is one matrix product
on memory as it lies; of a chain of convolutions, only their normalised outputs are kept (`paper.autograd`).
Both ways agree to rounding (tests/test_paper_speed.py).
"""

from __future__ import annotations

from typing import cast

import torch
from jaxtyping import Float
from torch import Tensor, nn

from metarules.update_rule.paper.autograd import (
    EXAMPLES,
    FEATURES,
    PLAIN,
    RELU_SUM,
    UNITS,
    ConvNorm,
    Feed,
    ReluSum,
    SendDown,
    convolve,
)
from metarules.update_rule.paper.networks import ConvBlock, Linear, TopSignal, UnitBlock, UpdateNetwork, weight_stats


def top_signal(net: TopSignal, x: Float[Tensor, "*tasks units batch"]) -> Float[Tensor, "*tasks units batch D"]:
    """d^L from the features x^L, as `TopSignal`."""
    a = ReluSum.apply(*_block(net.first, EXAMPLES, PLAIN, x.unsqueeze(-1)))
    kept = _block(net.across[0], EXAMPLES, PLAIN, a.transpose(-3, -1))  # in between, the units serve as channels
    a = ReluSum.apply(*_block(net.across[1], EXAMPLES, RELU_SUM, *kept)).transpose(-3, -1)
    for block in net.blocks:
        a = ReluSum.apply(*_block(block, EXAMPLES, PLAIN, a))
    return convolve(a, net.readout.weight, net.readout.bias, EXAMPLES)


def hidden(
    net: UpdateNetwork,
    x: Float[Tensor, "*tasks units batch"],
    z: Float[Tensor, "*tasks units batch"],
    d: Float[Tensor, "*tasks units batch D"],
    b: Float[Tensor, "*tasks units"],
    below: Float[Tensor, "*tasks lower units"] | None,
    above: Float[Tensor, "*tasks units upper"] | None,
    scale: Float[Tensor, "inputs"] | None = None,
) -> Float[Tensor, "*tasks units batch C"]:
    """h^l, as `UpdateNetwork` of its `inputs`, and with their arguments."""
    own = torch.cat([weight_stats(below, above), b.unsqueeze(-1)], -1).unsqueeze(EXAMPLES)
    feed, kept = FEATURES, [own, x, z, d, net.norm.beta]
    for i, (conv, unit) in enumerate(zip(net.convs, net.units, strict=True)):
        first = _block(conv, EXAMPLES, feed, *kept, scale=scale if i == 0 else None)
        inner, outer = cast(UnitBlock, unit).blocks
        second = _block(outer, UNITS, RELU_SUM, *_block(inner, UNITS, RELU_SUM, *first))
        feed, kept = RELU_SUM, [*first, *second]
    return ReluSum.apply(*kept)


def _block(
    block: nn.Module, axis: int, feed: Feed, *kept: Tensor, scale: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """A `ConvBlock` less its offset and relu: the reader of the pair (xhat, beta) computes relu(xhat + beta)."""
    conv, norm = cast(ConvBlock, block).conv, cast(ConvBlock, block).norm
    weight = conv.weight if scale is None else conv.weight * scale.unsqueeze(-1)
    xhat, _ = ConvNorm.apply(axis, feed, weight, conv.bias, *kept)
    return xhat, norm.beta


def send_down(
    d: Float[Tensor, "*tasks upper batch D"],
    z: Float[Tensor, "*tasks upper batch"],
    h: Float[Tensor, "*tasks upper batch C"],
    readout: Linear,
    V: Float[Tensor, "*tasks lower upper"],
) -> Float[Tensor, "*tasks lower batch D"]:
    """d^{l-1}: delta^l = d^l sigmoid(z) + linear(h) through V, as `paper.networks.send_down`."""
    below, _ = SendDown.apply(d, z, h, readout.weight, readout.bias, V)
    return below
