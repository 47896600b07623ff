"""Take one inner step of a learned rule apart: what every neuron saw, and what each term put into its weights.

Functions on `rule.trace(phi, x)`. The numbers come from the very parts that a step is made of: the inputs, fed to the
rule's own networks, give the trace's h, and the contributions add up to the trace's change_W (both tested).
"""

from __future__ import annotations

from torch import Tensor

from metarules._checks import check_number
from metarules.base_model import BaseModelState
from metarules.update_rule.contract import Trace, UpdateRule
from metarules.update_rule.learned import Contributions as Contributions
from metarules.update_rule.learned import LearnedRule


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
        TypeError: another kind of rule.
        ValueError: a layer that is not there.
    """
    check_number("layer", layer, low=0, high=phi.depth, integer=True)
    return _learned(rule).named_inputs(phi, trace, layer)


def contributions(rule: UpdateRule, trace: Trace, layer: int) -> Contributions:
    """What each term put into a layer's change of W.

    Args:
        rule: a `LocalRule` or a `PaperRule`.
        trace: `rule.trace(phi, x)`.
        layer: 1 .. L.

    Raises:
        TypeError: another kind of rule.
        ValueError: a layer that is not there.
    """
    check_number("layer", layer, low=1, high=max(trace.x), integer=True)
    return _learned(rule).contributions(trace, layer)


def _learned(rule: UpdateRule) -> LearnedRule:
    if not isinstance(rule, LearnedRule):
        raise TypeError(
            f"rule is a {type(rule).__name__}; allowed: a LocalRule or a PaperRule, whose networks mix terms"
        )
    return rule
