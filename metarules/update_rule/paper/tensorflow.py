"""TensorFlow's names and layouts for the paper's theta: which variable of the released checkpoint is which parameter.

Source: the variable names of the authors' released graph. Weights lie alike in both ([C_in, C_out] or
[k, C_in, C_out]); offsets are [1, 1, C] there and [C] here, mixing coefficients [12, 1] there and [12] here.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from metarules._checks import check_tensor
from metarules.update_rule.paper.settings import PaperRuleSettings
from metarules.update_rule.terms import READOUTS

ROOT = "MoreLocalWeightUpdateProcess"
TOP = f"{ROOT}/compute_top_delta"
BASE_MODEL = "LocalWeightUpdateWLearner/"  # phi's variables, stored beside theta's; not theta
UNUSED = ("moving_mean", "moving_variance", "global_step")  # in the checkpoint, but the rule never reads them
SHORT = {"0_order": "weight_readout_0", "1_order": "weight_readout_1", "rbf": "weight_readout_rbf"}
PREFIXES = {"forward_readout": "forward", "backward_readout": "backward"}


def readout_names() -> Iterator[str]:
    """Names of the read-outs a set of low-rank matrices needs: a top and a bottom one, but one for the psd term."""
    for term, readout in READOUTS.items():
        yield from (f"{term}_{end}" for end in readout.ends)


def variable_names(settings: PaperRuleSettings) -> dict[str, str]:
    """TensorFlow name -> parameter name of a `PaperRule` with these settings, one entry a parameter."""
    names: dict[str, str] = {}

    def add(tf_name: str, module: str, **leaves: str) -> None:
        names.update({f"{tf_name}/{leaf}": f"{module}.{parameter}" for leaf, parameter in leaves.items()})

    def block(scope: str, number: int, first_norm: int, module: str) -> None:
        add(scope + _numbered("conv_1d", number), f"{module}.conv", w="weight", b="bias")
        add(scope + _numbered("batch_norm", number + first_norm), f"{module}.norm", beta="beta")

    block(f"{TOP}/", 0, 0, "top.first")
    block(f"{TOP}/", 1, 0, "top.across.0")
    block(f"{TOP}/", 2, 0, "top.across.1")
    for i in range(settings.top_layers):
        block(f"{TOP}/", 3 + i, 0, f"top.blocks.{i}")
    add(f"{TOP}/" + _numbered("conv_1d", 3 + settings.top_layers), "top.readout", w="weight", b="bias")

    add(f"{ROOT}/batch_norm", "network.norm", beta="beta")
    for i in range(1 + settings.hidden_layers):
        block(f"{ROOT}/", i, 1, f"network.convs.{i}")
        for j in range(2):
            scope = f"{ROOT}/" + _numbered("ConcatUnitConv", i) + "/"
            block(scope, j, 0, f"network.units.{i}.blocks.{j}")

    add(f"{ROOT}/linear", "delta_readout", w="weight", b="bias")
    add(f"{ROOT}/bias_readout", "bias_readout", w="weight", b="bias")
    separate = settings.backward_update == "separate"
    for module in PREFIXES if separate else ("forward_readout",):
        prefix = f"{ROOT}/{PREFIXES[module]}"
        for readout in readout_names():
            term, _, end = readout.rpartition("_")
            name = f"{prefix}{SHORT.get(term, term)}_{end}/linear"
            add(name, f"{module}.readouts.{readout}", w="weight", b="bias")
        add(f"{prefix}_weight_readout_coeffs", module, w="coefficients", b="offset")
    return names


def tf_shape(tf_name: str, shape: tuple[int, ...]) -> tuple[int, ...]:
    """TensorFlow's shape of the variable whose parameter has `shape`."""
    if tf_name.endswith("/beta"):
        return (1, 1, *shape)
    return (*shape, 1) if tf_name.endswith("_coeffs/w") else shape


def read_variables(mapping: Mapping[str, Any]) -> dict[str, Tensor]:
    """Theta's variables out of a checkpoint's, as tensors of one floating dtype.

    Args:
        mapping: TensorFlow name (with or without ":0") -> array or tensor. What a checkpoint holds besides theta
            (moving statistics, the step counter, the base model) is passed over.

    Returns:
        TensorFlow name -> tensor (a copy, dtype kept).

    Raises:
        TypeError: `mapping` is no mapping, or a value is not floating.
        ValueError: a value with NaN or infinity, or values of different dtypes.
    """
    if not isinstance(mapping, Mapping):
        raise TypeError(f"mapping must map TensorFlow names to arrays, got {type(mapping).__name__}")
    found: dict[str, Tensor] = {}
    for key in mapping:
        name = str(key).removesuffix(":0")
        if not name.startswith(BASE_MODEL) and name.rpartition("/")[-1] not in UNUSED:
            found[name] = check_tensor(f"mapping[{name!r}]", _tensor(name, mapping[key]), min_dims=0)
    dtypes = sorted({str(t.dtype) for t in found.values()})
    if len(dtypes) > 1:
        raise ValueError(f"mapping holds arrays of dtypes {', '.join(dtypes)}; allowed: one floating dtype for all")
    return found


def infer_sizes(found: Mapping[str, Tensor]) -> dict[str, Any]:
    """Settings that the shapes of theta's variables imply.

    Args:
        found: as `read_variables` returns it.

    Returns:
        Keyword arguments of `PaperRuleSettings`: every size, and "separate" where backward variables are there.

    Raises:
        ValueError: a variable that the sizes are read from is missing or has the wrong number of dimensions.
    """
    sources = {
        f"{ROOT}/conv_1d/w": 3,
        f"{ROOT}/linear/w": 2,
        f"{ROOT}/forwardweight_readout_0_top/linear/w": 2,
        f"{TOP}/conv_1d/w": 3,
        f"{TOP}/conv_1d_1/w": 3,
    }
    wrong = [n if n not in found else f"{n} {list(found[n].shape)}" for n, k in sources.items() if _ndim(found, n) != k]
    if wrong:
        raise ValueError(
            f"mapping lacks, or holds with a wrong number of dimensions, {', '.join(wrong)}; "
            "allowed: every variable of the released rule (the sizes are read from these)"
        )
    hidden, delta, readout, top, across = (found[name].shape for name in sources)
    separate = any(name.startswith(f"{ROOT}/{PREFIXES['backward_readout']}") for name in found)
    return {
        "channels": hidden[2],
        "signals": delta[1],
        "readouts": readout[1],
        "top_channels": top[2],
        "top_units": across[2],
        "kernel": hidden[0],
        "top_kernel": top[0],
        "top_layers": max(_count(found, f"{TOP}/conv_1d") - 4, 0),
        "hidden_layers": max(_count(found, f"{ROOT}/conv_1d") - 1, 0),
        "backward_update": "separate" if separate else "identical",
    }


def unread_shapes(theta: Mapping[str, tuple[int, ...]]) -> dict[str, tuple[int, ...]]:
    """What the released checkpoint holds besides theta: moving statistics, which no step reads, and the step counter.

    Args:
        theta: TensorFlow name -> shape of theta's variables.

    Returns:
        TensorFlow name -> shape of the others.
    """
    norms = {name.removesuffix("beta"): shape for name, shape in theta.items() if name.endswith("/beta")}
    shapes = {f"{norm}{statistic}": shape for norm, shape in norms.items() for statistic in UNUSED[:2]}
    return {**shapes, UNUSED[2]: ()}


def match(found: Mapping[str, tuple[int, ...]], wanted: Mapping[str, tuple[int, ...]], what: str = "mapping") -> None:
    """Compare what a checkpoint holds with what a rule needs.

    Args:
        found, wanted: TensorFlow name -> shape.
        what: what an error calls the checkpoint.

    Raises:
        ValueError: listing every missing, unexpected and misshapen variable.
    """
    problems = [f"missing: {name} {list(wanted[name])}" for name in sorted(set(wanted) - set(found))]
    problems += [f"unexpected: {name} {list(found[name])}" for name in sorted(set(found) - set(wanted))]
    problems += [
        f"misshapen: {name} is {list(found[name])}, allowed: {list(shape)}"
        for name, shape in sorted(wanted.items())
        if name in found and found[name] != shape
    ]
    if problems:
        raise ValueError(f"{what} does not hold the variables of the released rule:\n  " + "\n  ".join(problems))


def _tensor(name: str, value: Any) -> Tensor:
    if isinstance(value, Tensor):
        return value.detach().clone()
    array = np.array(value)
    if array.dtype not in (np.float32, np.float64):
        raise TypeError(f"mapping[{name!r}] has dtype {array.dtype}; allowed: float32 or float64")
    return torch.from_numpy(array)


def _numbered(name: str, number: int) -> str:
    """TensorFlow's way of telling modules of one name apart: conv_1d, conv_1d_1, conv_1d_2 ..."""
    return f"{name}_{number}" if number else name


def _ndim(found: Mapping[str, Tensor], name: str) -> int | None:
    return found[name].ndim if name in found else None


def _count(found: Mapping[str, Tensor], name: str) -> int:
    """How many modules of this name there are, judged by the highest number seen."""
    pattern = re.compile(re.escape(name) + r"(?:_(\d+))?/[wb]")
    numbers = [int(m[1] or 0) for m in map(pattern.fullmatch, found) if m]
    return max(numbers, default=-1) + 1
