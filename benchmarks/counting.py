"""What a function asks of the machine, counted rather than timed: arithmetic, memory traffic, and what it keeps."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import FlopCounterMode


def flops(function: Callable[[], object]) -> float:
    """Floating-point operations of its matrix products and convolutions (two for a multiply and an add)."""
    with FlopCounterMode(display=False) as counter:
        function()
    return float(counter.get_total_flops())


def traffic(function: Callable[[], object]) -> float:
    """Bytes moved, if every operator read all its tensors from memory and wrote its results back.

    An estimate from above: what is still in the cache from the operator before costs less. Views move nothing, and a
    number repeated by broadcasting counts once.
    """
    with _Traffic() as mode:
        function()
    return mode.moved


def kept(function: Callable[[], Tensor]) -> float:
    """Bytes that autograd keeps for the way back: the storages behind its saved tensors, each counted once.

    Storages with a tensor that existed before (theta, phi, the data) are not counted where they are leaves.
    """
    storages: dict[int, int] = {}

    def pack(tensor: Tensor) -> Tensor:
        if not (tensor.is_leaf and tensor.requires_grad):
            storage = tensor.untyped_storage()
            storages[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        alive = function()  # holds the graph, so that no address is used twice
    del alive
    return float(sum(storages.values()))


class _Traffic(TorchDispatchMode):
    """Adds up the bytes of what each operator reads and writes."""

    def __init__(self) -> None:
        super().__init__()
        self.moved = 0.0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        read = [t for t in tree_leaves((args, kwargs or {})) if isinstance(t, Tensor)]
        written = [t for t in tree_leaves(out) if isinstance(t, Tensor)]
        sources = {t.untyped_storage().data_ptr() for t in read}
        is_view = not func._schema.is_mutable and any(t.untyped_storage().data_ptr() in sources for t in written)
        if not is_view and "empty" not in func._schema.name:
            self.moved += sum(map(_span, read)) + sum(map(_span, written))
        return out


def _span(tensor: Tensor) -> float:
    """Bytes of the distinct numbers in a tensor."""
    count = 1
    for size, stride in zip(tensor.shape, tensor.stride(), strict=True):
        count *= size if stride else min(size, 1)
    return float(count * tensor.element_size())
