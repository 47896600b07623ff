"""The hand-written rules by name."""

from __future__ import annotations

from typing import Any

from metarules._checks import check_choice
from metarules.classic_rules.autoencoder import Autoencoder
from metarules.classic_rules.base import ClassicRule
from metarules.classic_rules.hebbian import Hebb, HebbDecorrelation, Oja
from metarules.classic_rules.soft_competition import SoftCompetition
from metarules.classic_rules.supervised import Backprop, FeedbackAlignment

CLASSIC_RULES: dict[str, type[ClassicRule]] = {
    "hebb": Hebb,
    "oja": Oja,
    "hebb_decorrelation": HebbDecorrelation,
    "soft_competition": SoftCompetition,
    "autoencoder": Autoencoder,
    "feedback_alignment": FeedbackAlignment,
    "backprop": Backprop,
}


def get_rule(name: str, **settings: Any) -> ClassicRule:
    """Build a hand-written rule.

    Args:
        name: one of `CLASSIC_RULES`.
        settings: fields of the rule's settings, such as `lr`; the others keep their defaults.

    Returns:
        The rule; `rule.recommended` says how it is best run.

    Raises:
        ValueError: an unknown name, a setting the rule does not have, or a value out of range.
        TypeError: a setting of the wrong type.
    """
    return CLASSIC_RULES[check_choice("rule name", name, CLASSIC_RULES)].with_settings(**settings)
