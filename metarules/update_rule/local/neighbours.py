"""Which examples of a batch lie next to which, and how a neuron's activity differs from that on its neighbours.

Looked up once a step, and only where a term asks for it. In a stream in which like follows like, a neuron's own trace
would tell it the same; here the batch does.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property

import torch
from jaxtyping import Float
from torch import Tensor

_ROUNDING = 32  # steps of rounding within which two distances count as equal: what products of 1000 inputs stay below


class Neighbours:
    """The neighbours of every example, and the activity of all layers less its mean over them, made when asked for.

    Args:
        x: inputs, between which distances are taken.
        layers: activity of every layer, units first.
        k: how many neighbours an example has.
    """

    def __init__(
        self, x: Float[Tensor, "*tasks batch n_0"], layers: Sequence[Float[Tensor, "*tasks _ batch"]], k: int
    ) -> None:
        self._x, self._layers, self._k = x, layers, k

    @cached_property
    def apart(self) -> tuple[Tensor, ...]:
        """Of each layer, activity less its mean over the neighbours [*tasks, n, batch]."""
        sizes = [layer.shape[-2] for layer in self._layers]
        activity = torch.cat(list(self._layers), -2)
        return (activity - activity @ neighbour_weights(self._x, self._k).mT).split(sizes, -2)


@torch.no_grad()
def neighbour_weights(x: Float[Tensor, "*tasks batch n_0"], k: int) -> Float[Tensor, "*tasks batch batch"]:
    """Row i averages over the k other examples nearest to example i, or over all others where there are no more.

    Others as far away as the last of them count as well, all alike, so that the order of examples decides nothing: of
    a constant input all other examples are neighbours.
    """
    batch = x.shape[-2]
    x = x - x.mean(-2, keepdim=True)  # what all examples share is no distance, but would cost digits
    square = x.square().sum(-1)
    # squared distances, less that of the row's own example from the middle: one matrix product
    away = torch.sub(square.unsqueeze(-2), x @ x.mT, alpha=2)
    away = away.masked_fill(torch.eye(batch, dtype=torch.bool, device=x.device), float("inf"))
    last = away.topk(min(k, batch - 1), -1, largest=False).values[..., -1:]
    equal = _ROUNDING * torch.finfo(x.dtype).eps * (2 * square.unsqueeze(-1) + last)
    near = (away <= last + equal).to(x.dtype)
    return near / near.sum(-1, keepdim=True)
