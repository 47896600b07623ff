"""A learned rule of one's own, in a file outside the package: Hebb and decorrelation with learned coefficients."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn

from metarules.base_model import BaseModelState, Batch, LayerState, forward_unchecked
from metarules.pretrained import register_kind
from metarules.update_rule import UpdateRule


@dataclass(frozen=True)
class OwnRuleSettings:
    """What can be set of the rule."""

    lr: float = 0.03  # step size of the inner loop
    start: tuple[float, ...] = (0.8, 0.9)  # of the two coefficients


class OwnRule(UpdateRule):
    """Two learned numbers: how much Hebb, how much decorrelation."""

    def __init__(self, settings: OwnRuleSettings | None = None, *, generator: torch.Generator | None = None) -> None:
        super().__init__()
        self.settings = settings or OwnRuleSettings()
        self.coefficients = nn.Parameter(torch.tensor(self.settings.start) + 0.01 * torch.randn(2, generator=generator))
        self.register_buffer("signs", torch.tensor([1.0, -1.0]))  # a buffer: the same for every rule of the class

    def step(self, phi: BaseModelState, batch: Batch) -> BaseModelState:
        """One step on every layer."""
        x, (hebb, decorr) = forward_unchecked(phi, batch.x).x, self.coefficients * self.signs
        layers = []
        for l, layer in enumerate(phi.layers, start=1):
            below, here = x[l - 1], x[l] - x[l].mean(-2, keepdim=True)
            change = (hebb * below.mT @ here + decorr * layer.W @ (here.mT @ here)) / below.shape[-2]
            layers.append(LayerState(layer.W + self.settings.lr * change, layer.b, layer.V))
        return phi.with_layers(layers)


register_kind("own", OwnRule, OwnRuleSettings)
