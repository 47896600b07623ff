"""What a function asks of the machine, counted rather than timed: arithmetic, and what it keeps.

And the ceiling of a step: its own matrix products and convolutions, run alone on tensors that lie ready. Everything
else (element-wise passes, sums, copies, Python, autograd's bookkeeping) is left out, so no way of doing that faster,
fusing it included, makes a step with these products faster than this.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_map
from torch.utils.flop_counter import FlopCounterMode

KINDS = {  # by operator's name; whatever is not named here is element-wise
    "products": {"mm", "addmm", "addmm_", "bmm", "baddbmm", "convolution", "convolution_backward"},
    "sums": {"sum", "mean", "native_layer_norm", "native_layer_norm_backward", "_softmax", "_softmax_backward_data"},
    "copies": {"copy_", "clone", "cat", "stack", "_to_copy", "zeros_like", "zero_", "fill_", "new_zeros"},
}
Call = tuple[Any, Any, Any]  # operator, arguments, keyword arguments


def flops(function: Callable[[], object]) -> float:
    """Floating-point operations of its matrix products and convolutions (two for a multiply and an add)."""
    with FlopCounterMode(display=False, custom_mapping={torch.ops.aten.addmm_: _addmm_flop}) as counter:
        function()
    return float(counter.get_total_flops())


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


class Products(TorchDispatchMode):
    """Notes every product that runs under it, with stand-ins for its tensors, one for each shape and layout."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[Call] = []
        self._stand_ins: dict[Any, Tensor] = {}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func.overloadpacket.__name__ in KINDS["products"]:
            self.calls.append((func, *tree_map(self._stand_in, (args, kwargs or {}))))
        return func(*args, **(kwargs or {}))

    def _stand_in(self, value: Any) -> Any:
        if not isinstance(value, Tensor):
            return value
        key = (value.shape, value.stride(), value.dtype, value.device)
        if key not in self._stand_ins:
            made = torch.empty_strided(value.shape, value.stride(), dtype=value.dtype, device=value.device)
            self._stand_ins[key] = made.copy_(torch.rand_like(value)) if 0 not in value.stride() else value.detach()
        return self._stand_ins[key]


def replay(function: Callable[[], object]) -> tuple[Callable[[], object], float]:
    """The products of a function alone, as a function, and their floating-point operations.

    Args:
        function: what is watched, once.
    """
    with Products() as noted:
        function()
    calls = noted.calls

    def run() -> object:
        with torch.no_grad():
            for func, args, kwargs in calls:
                func(*args, **kwargs)
        return None

    return run, flops(run)


def kinds(function: Callable[[], object]) -> dict[str, float]:
    """What share of a function's time is spent in operators of each of `KINDS`, in others, and between operators."""
    activities = [torch.profiler.ProfilerActivity.CPU]
    with torch.profiler.profile(activities=activities) as profiler:
        function()
    shares = dict.fromkeys((*KINDS, "element-wise", "Python and autograd"), 0.0)
    for event in profiler.key_averages():
        name = event.key.removeprefix("aten::")
        kind = next((kind for kind, names in KINDS.items() if name.removeprefix("mkldnn_") in names), "element-wise")
        if not event.key.startswith("aten::"):
            kind = "Python and autograd"
        shares[kind] += event.self_cpu_time_total
    total = sum(shares.values())
    return {kind: share / total for kind, share in shares.items()}


def _addmm_flop(onto: Any, a: Any, b: Any, **_: Any) -> int:
    """The counter knows the product that makes a new tensor, and not the one that adds to an old one."""
    return int(2 * a[0] * a[1] * b[1])
