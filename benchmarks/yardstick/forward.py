"""The base model's forward pass, as the foundation computed it."""

from __future__ import annotations

import torch
from torch import Tensor

from metarules.base_model import Activations, BaseModelState
from metarules.base_model.nonlinearities import get_nonlinearity

BATCH_NORM_EPS = 1e-6  # added to the variance over the batch; authors' code


def forward_unchecked(state: BaseModelState, x: Tensor) -> Activations:
    """`forward` without its checks, for inner loops that checked their data once."""
    f = get_nonlinearity(state.nonlinearity).value
    xs, zs = [x], [x]
    means: dict[int, Tensor] = {}
    stds: dict[int, Tensor] = {}
    for l, layer in enumerate(state.layers, start=1):
        u = xs[-1] @ layer.W
        mean = u.mean(-2, keepdim=True)
        centred = u - mean
        std = torch.sqrt(centred.square().mean(-2, keepdim=True) + BATCH_NORM_EPS)
        z = centred / std + layer.b.unsqueeze(-2)
        xs.append(f(z))
        zs.append(z)
        means[l], stds[l] = mean, std
    return Activations(tuple(xs), tuple(zs), means, stds)
