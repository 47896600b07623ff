"""Take one inner step of a learned rule apart: what every neuron saw, and what each term put into its weights.

Functions on `rule.trace(phi, x)`. The numbers come from the very parts that a step is made of: the inputs, fed to the
rule's own networks, give the trace's h, and the contributions add up to the trace's change_W (both tested).
"""

from __future__ import annotations

from torch import Tensor

from metarules._checks import check_choice, check_kind, check_number, shown
from metarules.base_model import BaseModelState
from metarules.update_rule.contract import Trace, UpdateRule
from metarules.update_rule.learned import Contributions as Contributions
from metarules.update_rule.local import LocalRule
from metarules.update_rule.paper.rule import PaperRule


def named_inputs(rule: UpdateRule, phi: BaseModelState, trace: Trace, layer: int) -> dict[str, Tensor]:
    """What the update network on every neuron of a layer is given, by name, in the order in which it gets it.

    Args:
        rule: a `LocalRule` or a `PaperRule`.
        phi: the base model before the step.
        trace: `rule.trace(phi, x)`.
        layer: 0 (input) .. L (top).

    Returns:
        Name (`LOCAL_INPUTS` or `PAPER_INPUTS`) -> [*tasks, batch, n_l, k], with 1 in place of batch for what does not
        depend on the example. Inputs switched off are zero.

    Raises:
        ValueError: a layer that is not there, or a trace of another base model.
    """
    check_number("layer", layer, low=0, high=phi.depth, integer=True)
    made = trace.next_state
    if (made.sizes, made.tasks, made.layers[0].W.dtype) != (phi.sizes, phi.tasks, phi.layers[0].W.dtype):
        raise ValueError(f"phi is {shown(phi)}; allowed: the one that trace is of, such as {shown(made)}")
    return check_kind("rule", rule, LocalRule, PaperRule).named_inputs(phi, trace, layer)


def contributions(rule: UpdateRule, trace: Trace, layer: int) -> Contributions:
    """What each term put into a layer's change of W.

    Args:
        rule: a `LocalRule` or a `PaperRule`.
        trace: `rule.trace(phi, x)`.
        layer: 1 .. L.

    Raises:
        ValueError: a layer that is not there.
    """
    check_number("layer", layer, low=1, high=max(trace.x), integer=True)
    return check_kind("rule", rule, LocalRule, PaperRule).contributions(trace, layer)


def readout_weights(rule: UpdateRule, term: str) -> dict[str, tuple[Tensor, Tensor]]:
    """The learned read-outs of h that a term's product is made of.

    Args:
        rule: a `LocalRule`.
        term: a term with one read-out of each of the two neurons: `0_order`, `1_order` or `rbf`.

    Returns:
        "lower" and "upper" -> (weights [C, G], biases [G]): the read-outs of a layer are h @ weights + biases.

    Raises:
        ValueError: a term that the rule lacks, or one without a read-out on either side.
    """
    local = check_kind("rule", rule, LocalRule)
    made, G = local.forward_readout, local.settings.readouts
    ends = {name: r.ends for name, r in made.layout.readouts.items() if set(r.ends.values()) == {"lower", "upper"}}
    check_choice("term", term, ends)
    found = {}
    for end, side in ends[term].items():
        columns = slice(*(G * (made.layout.columns[side].index((term, end)) + i) for i in (0, 1)))
        weights, biases = getattr(made, side), getattr(made, f"{side}_bias")
        found[side] = (weights[:, columns], biases[columns])
    return found
