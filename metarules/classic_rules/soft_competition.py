"""Soft competition: neurons of a layer share out the examples, and each learns from its share.

Source: competitive learning (Rumelhart and Zipser, Cognitive Science 9, 1985) with the hard winner replaced by a
softmax, as in Moraitis et al., *SoftHebb* (Neuromorphic Computing and Engineering 2, 2022). It uses neither b nor V.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from metarules._checks import check_number
from metarules.classic_rules.base import RuleSettings
from metarules.classic_rules.hebbian import HebbianRule, Terms
from metarules.classic_rules.registry import register
from metarules.classic_rules.statistics import correlation

SHARE_EPS = 1e-6  # ours: a neuron that wins nothing moves nowhere instead of dividing by zero


@dataclass(frozen=True)
class SoftCompetitionSettings(RuleSettings):
    """Settings of `SoftCompetition`."""

    lr: float = 0.05  # ours: 0.03 and 0.1 differ by about 0.01 in accuracy on letters and random decoders
    decay: float = 1.0  # W is a running mean of the neurons' shares, so it cannot diverge
    temperature: float = 0.1  # ours: 0.02 to 0.1 are alike in one layer on the same data; from 0.3 up neurons merge

    def __post_init__(self) -> None:
        super().__post_init__()
        check_number("temperature", self.temperature, low=1e-3, high=1e3)


@register("soft_competition")
class SoftCompetition(HebbianRule):
    """W_j moves towards the mean of the inputs, weighted by how much of each example neuron j won.

    r = softmax of z / temperature over the layer; s_j = mean_B r_j; l = lower activations centred over the batch:
    W_j <- (1 - lr decay) W_j + lr (l^T r_j / B) / s_j. Batch norm gives all neurons the same mean and spread of z,
    so none can win everything. As the temperature falls this becomes k-means with the base model's own z as its
    measure of nearness; as it rises all neurons win alike and W goes to zero.
    """

    label = "Soft competition"
    settings_type: ClassVar[type[RuleSettings]] = SoftCompetitionSettings
    settings: SoftCompetitionSettings

    def layer_change(self, W: Tensor, x_below: Tensor, z: Tensor, x: Tensor) -> tuple[Terms, Tensor]:
        won = torch.softmax(z / self.settings.temperature, dim=-1)
        share = won.mean(-2, keepdim=True)
        centred = x_below - x_below.mean(-2, keepdim=True)
        soft = -correlation(centred, won) / (share + SHARE_EPS)
        return {"soft": soft}, soft
