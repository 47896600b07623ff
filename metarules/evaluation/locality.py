"""What a rule's neurons know of each other, found by trying: does one neuron's change depend on another's state?

The rule is a black box. In a layer of its own, one neuron is touched in a way that leaves all other neurons alone, and
the change of the others' weights is compared with what it was. Signals down are no lateral signals and play no part:
there is no layer above, and the neuron that is touched sends nothing down, its V being zero.
"""

from __future__ import annotations

import copy
from dataclasses import replace

import torch

from metarules.base_model import BaseModelState, InitSettings, init_state
from metarules.update_rule import Batch, UpdateRule

SIGNALS = {  # name -> what a rule that uses it needs
    "activity": "how active the other neurons of the layer are",
    "weights": "the weights of the other neurons of the layer",
    "inputs": "the inputs of the whole net, above the first layer too",
}
_SIZES, _BATCH = (8, 6, 5), 16
_DIFFERENT = 1e-7  # relative, in float64


@torch.no_grad()
def lateral_signals(rule: UpdateRule) -> tuple[str, ...]:
    """Which signals between neurons of a layer a rule uses.

    A synapse may know all about the two neurons at its ends: their activity, their bias, all their incoming and
    outgoing weights, and what comes down to them through V. A rule that gets along with that is *strictly local*.

    - "activity": neuron 0 gets another bias, or (for rules that do not look at b) another weight from one input, so
      that it answers otherwise.
    - "weights": two inputs are equal on all examples; weight of neuron 0 is moved from one to the other, so that it
      answers as before. Synapses of these two inputs are left out: they know their input neuron's outgoing weights.
    - "inputs": in a net of two layers an input without weights gets other values, so that layer 1 answers as before;
      the second layer is looked at. A rule that compares examples by their inputs (the term `slow`) is found by it.

    Args:
        rule: an unsupervised rule that keeps the contract (see `check_rule`). Its present theta counts: a signal whose
            weight is zero is not used.

    Returns:
        Names out of `SIGNALS`; an empty tuple for a strictly local rule.

    Raises:
        ValueError: a rule that needs labels.

    Example:
        lateral_signals(get_rule("oja"))  # ()
    """
    if rule.needs_labels:
        raise ValueError(f"rule is a {type(rule).__name__}, which needs labels; allowed: an unsupervised rule")
    fit = copy.deepcopy(rule).double()
    g = torch.Generator().manual_seed(0)
    x = torch.rand(_BATCH, _SIZES[0], generator=g, dtype=torch.float64)
    x[:, 1] = x[:, 0]
    found = []
    one = _net(fit, _SIZES[:2], x)
    b, louder, moved = one.layers[0].b.clone(), one.layers[0].W.clone(), one.layers[0].W.clone()
    b[0] += 0.7
    louder[0, 0] += 0.5
    moved[0, 0] += 0.5
    moved[1, 0] -= 0.5
    before = _change(fit, one, x)[2:, 1:]
    by_weights = _differs(before, _change(fit, _with(one, W=moved), x)[2:, 1:])
    by_drive = _differs(before, _change(fit, _with(one, W=louder), x)[2:, 1:])
    if _differs(before, _change(fit, _with(one, b=b), x)[2:, 1:]) or (by_drive and not by_weights):
        found.append("activity")
    if by_weights:
        found.append("weights")
    two = _net(fit, _SIZES, x)
    W, other = two.layers[0].W.clone(), x.clone()
    W[-1] = 0.0
    other[:, -1] = 3 * torch.rand(_BATCH, generator=g, dtype=torch.float64)
    two = _with(two, W=W)
    if _differs(_change(fit, two, x), _change(fit, two, other)):
        found.append("inputs")
    return tuple(found)


def _net(rule: UpdateRule, sizes: tuple[int, ...], x: torch.Tensor) -> BaseModelState:
    """A net after one step, since some rules (Adam) show later what they look at; neuron 0 sends nothing down."""
    g = torch.Generator().manual_seed(1)
    phi = init_state(sizes, settings=InitSettings(0.5, 0.3), generator=g, dtype=torch.float64)
    phi = rule(rule.init_extra(phi, g), Batch(x))
    layers = []
    for layer in phi.layers:
        V = layer.V.clone()
        V[:, 0] = 0.0
        layers.append(replace(layer, V=V))
    return phi.with_layers(layers)


def _with(phi: BaseModelState, **parts: torch.Tensor) -> BaseModelState:
    """phi with other parts in its first layer."""
    return phi.with_layers([replace(phi.layers[0], **parts), *phi.layers[1:]])


def _change(rule: UpdateRule, phi: BaseModelState, x: torch.Tensor) -> torch.Tensor:
    """Change of the top layer's W in one step."""
    return rule(phi, Batch(x)).layers[-1].W - phi.layers[-1].W


def _differs(a: torch.Tensor, b: torch.Tensor) -> bool:
    return bool((a - b).abs().max() > _DIFFERENT * a.abs().max())
