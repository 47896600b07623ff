"""A rule mixed from plain terms: Hebb, Oja, decorrelation and soft competition, each with a weight of its own.

Source: the terms are those of `hebbian` and `soft_competition`; adding them up is the form of the paper's own delta-W
(Metz et al., ICLR 2019, appendix on the update of the weights), with weights set by hand instead of learned.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from metarules._checks import check_fields, check_number
from metarules.classic_rules.base import RuleSettings
from metarules.classic_rules.hebbian import HebbianRule, Terms
from metarules.classic_rules.soft_competition import SHARE_EPS
from metarules.classic_rules.statistics import column_rms, correlation, normalise_columns, overall_rms, standardise

LARGEST_WEIGHT = 10.0  # ours: ten times the recipe drowns every other term


@dataclass(frozen=True)
class MixedSettings(RuleSettings):
    """Settings of `MixedRule`; by default it is Hebb alone."""

    lr: float = 0.03  # the hand rule's recipe
    decay: float = 1.0  # the hand rule's recipe: W is a running mean of bounded changes and cannot diverge
    hebb: float = 1.0  # the recipe's unit
    oja: float = 0.0  # from 0: a negative weight would make W grow without bound
    decorr: float = 0.0  # the recipe's c; best at 0.8 to 1 beside hebb = 1
    soft: float = 0.0
    temperature: float = 0.1  # of the competition, as in `SoftCompetition`

    def __post_init__(self) -> None:
        super().__post_init__()
        check_fields(self, "hebb", "decorr", "soft", low=-LARGEST_WEIGHT, high=LARGEST_WEIGHT)
        check_number("oja", self.oja, low=0, high=LARGEST_WEIGHT)
        check_number("temperature", self.temperature, low=1e-3, high=1e3)


class MixedRule(HebbianRule):
    """W <- (1 - lr decay) W - lr (hebb n(T_hebb) + decorr n(T_decorr) + soft n(T_soft) + oja T_oja).

    n divides each column by its root mean square (`statistics.normalise_columns`), so that a weight of 1 means the same
    for three of the terms. Oja's term is its own step, forgetting included, and sets its own scale. With one weight
    alone the rule is `Hebb`; `Oja` (with its lr and decay); or `SoftCompetition` up to the scale of each column, which
    the batch norm of the base model ignores. With hebb and decorr it is `HebbDecorrelation`.
    """

    settings_type: ClassVar[type[RuleSettings]] = MixedSettings
    settings: MixedSettings

    def layer_change(self, W: Tensor, x_below: Tensor, z: Tensor, x: Tensor) -> tuple[Terms, Tensor]:
        s = self.settings
        lower, upper = standardise(x_below), standardise(x)
        q = (W / column_rms(W)) @ correlation(upper, upper)
        won = torch.softmax(z / s.temperature, dim=-1)
        centred = x_below - x_below.mean(-2, keepdim=True)
        response = lower @ W / x_below.shape[-1] ** 0.5
        power = response.square().mean(-2, keepdim=True)
        oja = (W * power - correlation(lower / x_below.shape[-1] ** 0.5, response)) / (1 + s.lr * s.oja * power)
        terms = {
            "hebb": -correlation(lower, upper),
            "decorr": q / overall_rms(q),
            "soft": -correlation(centred, won) / (won.mean(-2, keepdim=True) + SHARE_EPS),
            "oja": oja,
        }
        change = s.oja * oja
        for name in ("hebb", "decorr", "soft"):
            weight = getattr(s, name)
            if weight:
                change = change + weight * normalise_columns(terms[name])
        return terms, change
