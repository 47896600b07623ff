"""The two costly parts of a `LocalRule` step, with gradients written by hand.

`read_neurons` is `UpdateNetwork.forward` and the read-outs of h in one. It works through the neurons in blocks that
stay in cache, and its backward pass computes h again, block by block, since reading it back from memory takes longer:
what is kept is what the neurons saw, 9 numbers a neuron and example.
`low_rank_products` forms all low-rank matrices of a layer, without copies, and their gradients in place.

Both may be differentiated once; for higher derivatives step with `rule.plain()`.
Layout: [channels, neurons of all tasks, batch]. Tests hold both to the plain equations at 1e-12.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import once_differentiable

from metarules.update_rule.local.layout import Layout
from metarules.update_rule.local.networks import UpdateNetwork

_BLOCK = 12_800  # neuron-examples at once on a CPU: 0.8 MB for 16 channels, so that a block's parts fit its cache

_threshold_backward = torch.ops.aten.threshold_backward  # (gradient, relu's output, 0): relu's gradient in one pass


def read_neurons(
    example: Float[Tensor, "E *tasks n batch"],
    d: Float[Tensor, "D *tasks n batch"],
    neuron: Float[Tensor, "C *tasks n"],
    network: UpdateNetwork,
    heads: Sequence[tuple[Tensor, Tensor | None]],
) -> tuple[Tensor, tuple[Tensor, ...]]:
    """h of every neuron, read out at once.

    Args:
        example: what each neuron sees of each example, without the signal from above.
        d: that signal.
        neuron: `network.about(...)`.
        network: an `UpdateNetwork`.
        heads: weights [C, k] and biases [k] of the read-outs.

    Returns:
        The mean of h over the batch [C, *tasks, n], and one read-out [k, *tasks, n, batch] for each head.
    """
    shape = example.shape[1:]
    weights = [w for w, _ in heads]
    biases = [torch.zeros_like(w[0]) if b is None else b for w, b in heads]
    theta = (network.from_example, network.from_hidden, network.from_mean, network.bias_2)
    flat = (example.flatten(1, -2), d.flatten(1, -2), neuron.flatten(1))
    mean, *read = _call(_ReadNeurons, *flat, *theta, *weights, *biases)
    return mean.unflatten(1, shape[:-1]), tuple(r.unflatten(1, shape[:-1]) for r in read)


def low_rank_products(
    upper: Float[Tensor, "r_upper *tasks j batch"],
    lower: Float[Tensor, "r_lower *tasks i batch"],
    channels: int,
    layout: Layout,
) -> dict[str, Tensor]:
    """The low-rank matrices of a layout: means over batch and `channels`, as in `terms.lowrank`."""
    if not layout.groups:
        return {}
    made = _call(_LowRank, upper, lower, channels, layout)
    return {name: R for names, Rs in zip(layout.groups, made, strict=True) for name, R in zip(names, Rs, strict=True)}


def _call(function: Any, *given: Any) -> Any:
    """Without gradients the bookkeeping of `apply` is a tenth of a small step."""
    return function.apply(*given) if torch.is_grad_enabled() else function.forward(*given)


class _ReadNeurons(Function):
    @staticmethod
    def forward(example, d, neuron, W_e, W_h, W_m, b_2, *heads):  # type: ignore[no-untyped-def]
        rows, batch = example.shape[1:]
        weights, biases = heads[: len(heads) // 2], heads[len(heads) // 2 :]
        mean = example.new_empty(W_h.shape[0], rows)
        read = [example.new_empty(w.shape[1], rows, batch) for w in weights]
        for block in _blocks(example):
            first, _, second = _hidden(example[:, block], d[:, block], neuron[:, block], W_e, W_h, W_m, b_2)
            h = second.add_(first)
            mean[:, block] = h.mean(-1)
            for w, b, out in zip(weights, biases, read, strict=True):
                torch.addmm(b.unsqueeze(-1), w.t(), h.flatten(1), out=out[:, block].flatten(1))  # a view: no copy
        return (mean, *read)

    @staticmethod
    def setup_context(ctx, inputs, output):  # type: ignore[no-untyped-def]
        n_heads = (len(inputs) - 7) // 2
        ctx.save_for_backward(*inputs[: 7 + n_heads])

    @staticmethod
    @once_differentiable
    def backward(ctx, g_mean, *g_read):  # type: ignore[no-untyped-def]
        example, d, neuron, W_e, W_h, W_m, b_2, *weights = ctx.saved_tensors
        batch, seen = example.shape[-1], example.shape[0]
        g_example, g_d, g_neuron = (torch.empty_like(t) for t in (example, d, neuron))
        g_W_e, g_W_h, g_W_m, g_b_2 = (torch.zeros_like(t) for t in (W_e, W_h, W_m, b_2))
        g_weights = [torch.zeros_like(w) for w in weights]
        g_mean = g_mean / batch
        for block in _blocks(example):
            first, mean, second = _hidden(example[:, block], d[:, block], neuron[:, block], W_e, W_h, W_m, b_2)
            h = (first + second).flatten(1)
            g_rs = [g_out[:, block].flatten(1) for g_out in g_read]
            g = weights[0] @ g_rs[0]
            for w, g_r in zip(weights[1:], g_rs[1:], strict=True):
                g.addmm_(w, g_r)
            for g_w, g_r in zip(g_weights, g_rs, strict=True):
                g_w.addmm_(h, g_r.t())
            g_h = g.view(first.shape)  # the same memory
            g_h += g_mean[:, block].unsqueeze(-1)
            g_second = _threshold_backward(g_h, second, 0)
            g_of_mean = g_second.sum(-1)
            g_W_h.addmm_(first.flatten(1), g_second.flatten(1).t())
            g_W_m.addmm_(mean, g_of_mean.t())
            g_b_2 += g_of_mean.sum(1)
            g.addmm_(W_h, g_second.flatten(1))
            g_h += (W_m @ (g_of_mean / batch)).unsqueeze(-1)
            g_first = _threshold_backward(g_h, first, 0)
            g_neuron[:, block] = g_first.sum(-1)
            g = g_first.flatten(1)
            g_W_e[:seen].addmm_(example[:, block].flatten(1), g.t())
            g_W_e[seen:].addmm_(d[:, block].flatten(1), g.t())
            _product_into(g_example[:, block].flatten(1), W_e[:seen], g)
            _product_into(g_d[:, block].flatten(1), W_e[seen:], g)
        g_biases = [g.sum((1, 2)) for g in g_read]
        return (g_example, g_d, g_neuron, g_W_e, g_W_h, g_W_m, g_b_2, *g_weights, *g_biases)


def _hidden(
    example: Tensor, d: Tensor, neuron: Tensor, W_e: Tensor, W_h: Tensor, W_m: Tensor, b_2: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """First layer, its mean over the batch, and second layer of `UpdateNetwork`; h is first + second."""
    seen, shape = example.shape[0], (-1, *example.shape[1:])
    first = torch.mm(W_e[:seen].t(), example.flatten(1)).addmm_(W_e[seen:].t(), d.flatten(1)).view(shape)
    first.add_(neuron.unsqueeze(-1)).relu_()
    mean = first.mean(-1)
    second = torch.mm(W_h.t(), first.flatten(1)).view(shape)
    second.add_(torch.addmm(b_2.unsqueeze(-1), W_m.t(), mean).unsqueeze(-1)).relu_()
    return first, mean, second


def _blocks(example: Tensor) -> list[slice]:
    """Neurons in runs that fit a CPU's cache; all at once elsewhere."""
    rows, batch = example.shape[1:]
    size = max(1, _BLOCK // batch) if example.device.type == "cpu" else rows
    return [slice(start, start + size) for start in range(0, rows, size)]


class _LowRank(Function):
    @staticmethod
    def forward(upper, lower, channels, layout):  # type: ignore[no-untyped-def]
        made = []
        for names in layout.groups:
            bottom, top = (layout.part(names, end, upper, lower, channels) for end in ("bottom", "top"))
            each = (bottom @ top.mT).unflatten(0, (len(names), channels))
            made.append(each.sum(1).div_(channels * upper.shape[-1]))
        return tuple(made)

    @staticmethod
    def setup_context(ctx, inputs, output):  # type: ignore[no-untyped-def]
        upper, lower, ctx.channels, ctx.layout = inputs
        ctx.save_for_backward(upper, lower)

    @staticmethod
    @once_differentiable
    def backward(ctx, *g_made):  # type: ignore[no-untyped-def]
        upper, lower = ctx.saved_tensors
        g_upper, g_lower, channels = torch.empty_like(upper), torch.empty_like(lower), ctx.channels
        for names, g in zip(ctx.layout.groups, g_made, strict=True):
            g = g / (channels * upper.shape[-1])
            bottom, top = (ctx.layout.part(names, end, upper, lower, channels) for end in ("bottom", "top"))
            g_bottom, g_top = (ctx.layout.part(names, end, g_upper, g_lower, channels) for end in ("bottom", "top"))
            shared = ctx.layout.readouts[names[0]].shared  # then bottom and top are one read-out
            if shared:
                g = g + g.mT
            g = g.unsqueeze(1).expand(-1, channels, *g.shape[1:]).flatten(0, 1)
            _product_into(g_bottom, g, top)
            if not shared:
                _product_into(g_top, g.mT, bottom)
        return g_upper, g_lower, None, None


def _product_into(out: Tensor, a: Tensor, b: Tensor) -> None:
    try:
        torch.matmul(a, b, out=out)
    except NotImplementedError:  # the wrapped tensors of torch.func take no `out`
        out.copy_(a @ b)
