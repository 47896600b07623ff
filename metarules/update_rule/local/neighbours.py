"""Which examples are most like which, and how a neuron's activity differs from that on its neighbours.

Looked up only where a term asks for it, among the examples of the batch and, where a rule has a memory, among recent
inputs that it carries in `phi.extra`. Or nothing is looked up: in a stream in which like follows like, a neuron's own
trace of what came before tells it the same.
"""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from metarules.base_model import Activations, BaseModelState, frozen

if TYPE_CHECKING:
    from metarules.update_rule.local.settings import LocalRuleSettings

_ROUNDING = 32  # steps of rounding within which two distances count as equal: what products of 1000 inputs stay below
# where distances are taken: the input, the layer below, the top layer; stream: nowhere, the examples before it in the
# batch count as neighbours
ALIKE_IN = ("input", "below", "top", "stream")
_NOWHERE = -1


class Neighbours:
    """The neighbours of every example, and activities less their mean over them, made when asked for.

    Args:
        phi: the state, with `phi.extra["memory"]` and `["kept"]` where the rule has a memory.
        acts: what the batch makes of it.
        settings: `neighbours`, `alike_in` and `memory` of the rule.
    """

    def __init__(self, phi: BaseModelState, acts: Activations, settings: LocalRuleSettings) -> None:
        self._phi, self._acts, self._settings = phi, acts, settings
        # by layer; no cached methods, which would hold this object, and with it a step's graph, until a collection
        self._weights: dict[int, Tensor] = {}
        self._apart: dict[tuple[int, int], Tensor] = {}

    def apart(self, l: int) -> tuple[Float[Tensor, "*tasks batch lower"], Float[Tensor, "*tasks batch upper"]]:
        """Standardised activity of layers l - 1 and l, less its mean over the neighbours that layer l goes by."""
        where = {"input": 0, "below": l - 1, "top": self._phi.depth, "stream": _NOWHERE}[self._settings.alike_in]
        if where not in self._weights:
            self._weights[where] = self._look_up(where)
        for layer in (l - 1, l):
            if (where, layer) not in self._apart:
                self._apart[where, layer] = self._less_mean(self._weights[where], layer)
        return self._apart[where, l - 1], self._apart[where, l]

    def _less_mean(self, weights: Tensor, l: int) -> Tensor:
        x = self._acts.x[l]
        candidates = torch.cat([x, self._recalled[l]], -2) if self._settings.memory else x
        return (x - weights @ candidates) * self._spread[l]  # a mean less a mean: no other to subtract

    def _look_up(self, where: int) -> Tensor:
        if where == _NOWHERE:
            return trace_weights(self._acts.x[0], self._settings.neighbours)
        scale = self._spread[where] if where else 1.0  # distances between inputs are taken as these are
        x, k = self._acts.x[where] * scale, self._settings.neighbours
        if not self._settings.memory:
            return neighbour_weights(x, k)
        return neighbour_weights(x, k, self._recalled[where] * scale, self._phi.extra["kept"] > 0)

    @cached_property
    def _spread(self) -> list[Tensor]:
        """Of each layer, one over the standard deviation in the batch, as in `networks.over_batch`."""
        return [torch.rsqrt(x.mT.var(-1, correction=0) + 1e-6).unsqueeze(-2) for x in self._acts.x]

    @cached_property
    def _recalled(self) -> tuple[Tensor, ...]:
        """What the layers now make of the memory, by the batch's statistics."""
        return frozen(self._phi, self._acts).layers_unchecked(self._phi.extra["memory"])


def trace_weights(x: Float[Tensor, "*tasks batch n"], k: int) -> Float[Tensor, "batch batch"]:
    """Row i averages over the k examples before example i, or all of them where there are fewer; row 0 is example 1."""
    batch = x.shape[-2]
    near = x.new_ones(batch, batch).tril(-1).triu(-k)
    near[0, 1:2] = 1
    return near.div_(near.sum(-1, keepdim=True))


def empty_memory(phi: BaseModelState, size: int) -> BaseModelState:
    """phi with room for `size` inputs to remember, where it has none yet."""
    like = phi.layers[0].W
    room = {"memory": like.new_zeros(*phi.tasks, size, phi.sizes[0]), "kept": like.new_zeros(*phi.tasks, size)}
    return phi if "memory" in phi.extra else phi.with_layers(phi.layers, **room)


def remember(phi: BaseModelState, x: Float[Tensor, "*tasks batch n_0"]) -> dict[str, Tensor]:
    """The memory after a batch: its inputs come first, and the oldest fall out."""
    kept = phi.extra["kept"]
    memory = torch.cat([x, phi.extra["memory"]], -2)[..., : kept.shape[-1], :]
    return {"memory": memory, "kept": torch.cat([torch.ones_like(x[..., 0]), kept], -1)[..., : kept.shape[-1]]}


@torch.no_grad()
def neighbour_weights(
    x: Float[Tensor, "*tasks batch n"],
    k: int,
    memory: Float[Tensor, "*tasks memory n"] | None = None,
    kept: Bool[Tensor, "*tasks memory"] | None = None,
) -> Float[Tensor, "*tasks batch candidates"]:
    """Row i averages over the k examples nearest to example i, or over all where there are no more.

    Candidates are the other examples of the batch and, after them, the memory, as far as it is `kept`; a copy of
    example i in the memory does not count. Others as far away as the last of them count as well, all alike, so that the
    order of examples decides nothing: of a constant input all other examples of the batch are neighbours.
    """
    batch = x.shape[-2]
    middle = x.mean(-2, keepdim=True)  # what all examples share is no distance, but would cost digits
    x = x - middle
    own = square = x.square().sum(-1, keepdim=True)
    others = x
    if memory is not None and kept is not None:
        memory = memory - middle
        empty = torch.where(kept, memory.square().sum(-1), float("inf")).unsqueeze(-1)
        others, square = torch.cat([x, memory], -2), torch.cat([own, empty], -2)
    # squared distances, less that of the row's own example from the middle: one matrix product
    away = torch.sub(square.mT, x @ others.mT, alpha=2)
    away[..., :batch].diagonal(dim1=-2, dim2=-1).fill_(float("inf"))
    rounding, most = _ROUNDING * torch.finfo(x.dtype).eps, torch.finfo(x.dtype).max
    recalled = away[..., batch:]
    recalled.masked_fill_(recalled <= (4 * rounding - 1) * own, float("inf"))  # copies
    last = away.topk(min(k, away.shape[-1] - 1), -1, largest=False).values[..., -1:]
    near = (away <= (last + rounding * (2 * own + last)).clamp_max(most)).to(x.dtype)
    return near.div_(near.sum(-1, keepdim=True))
