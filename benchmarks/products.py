"""The ceiling of a step: its own matrix products and convolutions, run alone on tensors that lie ready.

Everything else (element-wise passes, sums, copies, Python, autograd's bookkeeping) is left out, so no way of doing
that faster, fusing it included, makes a step with these products faster than this.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_map
from torch.utils.flop_counter import FlopCounterMode

from benchmarks import machine
from benchmarks.cases import Case, build
from benchmarks.steps import PASSES, Options, functions
from benchmarks.timing import interleave

KINDS = {  # by operator's name; whatever is not named here is element-wise
    "products": {"mm", "addmm", "addmm_", "bmm", "baddbmm", "convolution", "convolution_backward"},
    "sums": {"sum", "mean", "native_layer_norm", "native_layer_norm_backward", "_softmax", "_softmax_backward_data"},
    "copies": {"copy_", "clone", "cat", "stack", "_to_copy", "zeros_like", "zero_", "fill_", "new_zeros"},
}
Call = tuple[Any, Any, Any]  # operator, arguments, keyword arguments


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

    with FlopCounterMode(display=False, custom_mapping={torch.ops.aten.addmm_: _addmm_flop}) as counter:
        run()
    return run, float(counter.get_total_flops())


def measure(case: Case, options: Options) -> dict[str, Any]:
    """A step's forward + backward, today's and the yardstick's, and the products of each alone, all in turns.

    Returns:
        Plain values; `seconds`, best of the rounds, of "now", "yardstick" and of the products of each; GFLOP/s of the
        products and of the square product; and `kinds`, what share of its operators' time each kind takes.
    """
    threads = options.threads_of(case)
    torch.set_num_threads(threads)
    timed: dict[str, Callable[[], object]] = {}
    flop = {}
    for version in ("now", "yardstick"):
        timed[version] = functions(build(case, version, options.device))[PASSES[1]]
        timed[f"products of {version}"], flop[version] = replay(timed[version])
    multiply, multiply_flop = machine.matmul(options.device, options.side)
    found = interleave({**timed, "matmul": multiply}, options.seconds, options.device, options.rounds, threads)
    best = {name: timing.best for name, timing in found.items()}
    return {
        "rule": case.rule,
        "widths": list(case.widths),
        "batch": case.batch,
        "tasks": case.tasks,
        "threads": threads,
        "seconds": {name: best[name] for name in timed},
        "gflop_per_second": {version: count / best[f"products of {version}"] / 1e9 for version, count in flop.items()},
        "matmul_gflop_per_second": multiply_flop / best["matmul"] / 1e9,
        "kinds": kinds(timed["now"]),
    }


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
