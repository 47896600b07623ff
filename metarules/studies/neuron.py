"""One neuron in one inner step: every number that the pictures of a neuron show, as arrays."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from metarules._checks import check_number
from metarules.base_model import BaseModelState
from metarules.studies.recording import check_single_task
from metarules.tasks import Task
from metarules.update_rule import LocalRule, Trace
from metarules.update_rule.anatomy import Contributions, contributions, named_inputs

# Names of single numbers: (heading, short names), in the order in which the network gets them
STATISTICS = (
    ("activity", ("μ", "|x|")),
    ("weights in", ("|w|", "rms", "μ", "σ")),
    ("weights out", ("|w|", "rms", "μ", "σ")),
    ("bias", ("b",)),
)
EXTREMES = 3  # images shown at each end of the batch


@dataclass(frozen=True, eq=False)
class NeuronView:
    """What one neuron saw and did in one step. B examples, sorted by the neuron's z; C, D widths of h and delta.

    Attributes:
        layer, unit: which neuron, 1 .. L and 0 .. n_l - 1.
        order: the examples in the order shown [B].
        signals: name -> one value for each example [B], as the update network gets them.
        statistics: the single numbers that it gets, [11], see `STATISTICS`.
        h: hidden state [B, C].
        delta: signal sent down [B, D].
        pushes: term -> what it adds to the incoming weights, before decay and step size [n_in].
        shares: term -> its share in the change, adding up to 1.
        coefficients, gates: term -> mixing coefficient, and how far this neuron turns the term up or down.
        bound: factor that kept the step small; the pushes hold it already.
        W, push, W_after: incoming weights, the sum of the pushes, and the weights after the step [n_in].
        b, b_after: bias before and after the step.
        shape: (height, width) where incoming weights are pixels, in image order; else None.
        images: the examples that drive the neuron least and most [2, k, height, width]; None without images.
    """

    layer: int
    unit: int
    order: np.ndarray
    signals: Mapping[str, np.ndarray]
    statistics: np.ndarray
    h: np.ndarray
    delta: np.ndarray
    pushes: Mapping[str, np.ndarray]
    shares: Mapping[str, float]
    coefficients: Mapping[str, float]
    gates: Mapping[str, float]
    bound: float
    W: np.ndarray
    push: np.ndarray
    W_after: np.ndarray
    b: float
    b_after: float
    shape: tuple[int, int] | None
    images: np.ndarray | None

    @property
    def strongest(self) -> str:
        """The term with the largest share."""
        return max(self.shares, key=lambda name: self.shares[name])


@torch.no_grad()
def neuron_view(
    rule: LocalRule,
    phi: BaseModelState,
    x: Tensor,
    layer: int,
    unit: int,
    *,
    task: Task | None = None,
    trace: Trace | None = None,
    parts: Contributions | None = None,
) -> NeuronView:
    """Look at one neuron of a base model taught by a learned rule.

    Args:
        rule: a `LocalRule`.
        phi: a single base model.
        x: the batch [B, n_0].
        layer: 1 .. L.
        unit: 0 .. n_l - 1.
        task: where x comes from, to put pixels back into image order; None leaves inputs as they are.
        trace: `rule.trace(phi, x)`, where it is at hand; otherwise computed.
        parts: `contributions(rule, trace, layer)`, likewise.

    Raises:
        ValueError: a layer or a unit that is not there, a phi or a task with task dimensions.
    """
    if phi.tasks:
        raise ValueError(f"phi has leading dimensions {list(phi.tasks)}; allowed: none")
    if task is not None:
        check_single_task(task)
    check_number("layer", layer, low=1, high=phi.depth, integer=True)
    check_number("unit", unit, low=0, high=phi.sizes[layer] - 1, integer=True)
    trace = rule.trace(phi, x) if trace is None else trace
    parts = contributions(rule, trace, layer) if parts is None else parts
    inputs = {name: value[..., unit, :] for name, value in named_inputs(rule, phi, trace, layer).items()}
    order = torch.argsort(trace.z[layer][:, unit], stable=True)
    signals = {name: inputs[name][order, 0].numpy() for name in ("x", "z", "softmax")}
    for k, name in enumerate(("layer mean", "layer RMS")):
        signals[name] = inputs["layer_stats"][order, k].numpy()
    for k in range(inputs["delta"].shape[-1]):
        signals[f"d{k + 1}"] = inputs["delta"][order, k].numpy()
    statistics = torch.cat([inputs[name][0] for name in ("batch_stats", "weight_stats", "bias")]).numpy()
    pixels = task is not None and task.shape is not None and layer == 1

    def column(matrix: Tensor) -> np.ndarray:
        values = matrix[:, unit]
        return (task.unpermute(values) if task is not None and layer == 1 else values).numpy()

    before, after = phi.layers[layer - 1], trace.next_state.layers[layer - 1]
    images = None
    if task is not None and task.shape is not None:
        ends = torch.stack([order[:EXTREMES], order[-EXTREMES:]])
        images = task.image(x[ends.flatten()]).unflatten(0, ends.shape).numpy()
    return NeuronView(
        layer=layer,
        unit=unit,
        order=order.numpy(),
        signals=signals,
        statistics=statistics,
        h=trace.h[layer][order, unit].numpy(),
        delta=trace.delta[layer][order, unit].numpy(),
        pushes={name: column(part) for name, part in parts.pushes.items()},
        shares={name: float(share[unit]) for name, share in parts.shares().items()},
        coefficients={name: float(a) for name, a in parts.coefficients.items()},
        gates={name: float(gate[unit]) for name, gate in parts.gates.items()},
        bound=float(parts.bound[0, unit]),
        W=column(before.W),
        push=column(trace.delta_W[layer]),
        W_after=column(after.W),
        b=float(before.b[unit]),
        b_after=float(after.b[unit]),
        shape=task.shape if pixels and task is not None else None,
        images=images,
    )
