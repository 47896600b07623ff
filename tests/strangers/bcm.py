"""A hand-written rule as somebody outside the package adds one: BCM, whose threshold slides with a neuron's activity.

Source: Bienenstock, Cooper and Munro, J. Neuroscience 2 (1982).
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from metarules.classic_rules import RuleSettings, register
from metarules.classic_rules.hebbian import HebbianRule
from metarules.classic_rules.statistics import correlation, normalise_columns, standardise


@dataclass(frozen=True)
class BCMSettings(RuleSettings):
    """As `HebbSettings`: W is a running mean of normalised changes, which cannot diverge."""

    lr: float = 0.03
    decay: float = 1.0


@register("bcm")
class BCM(HebbianRule):
    """W_j grows along the inputs that make neuron j more active than its threshold, mean x_j^2, and shrinks else."""

    label = "BCM"
    settings_type = BCMSettings

    def layer_change(self, W: Tensor, x_below: Tensor, z: Tensor, x: Tensor) -> tuple[dict[str, Tensor], Tensor]:
        above = x * (x - x.square().mean(-2, keepdim=True))
        bcm = -correlation(standardise(x_below), above)
        return {"bcm": bcm}, normalise_columns(bcm)
