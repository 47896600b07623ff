"""Hebb, Oja, and Hebb + decorrelation: rules made of correlations between the two ends of a synapse.

Sources: Hebb, *The Organization of Behavior* (1949); Oja, J. Math. Biol. 15 (1982) and Int. J. Neural Syst. 1 (1989);
the hand rule of our early experiments (CONTRIBUTING, Sources). They use neither b nor V and leave both as they are.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from jaxtyping import Float
from torch import Tensor

from metarules._checks import check_fields
from metarules.base_model import BaseModelState, forward_unchecked
from metarules.classic_rules.base import ClassicRule, RuleSettings
from metarules.classic_rules.registry import register
from metarules.classic_rules.statistics import column_rms, correlation, normalise_columns, overall_rms, standardise
from metarules.update_rule import Batch, InnerSettings, Trace

Terms = dict[str, Tensor]


class HebbianRule(ClassicRule):
    """A rule whose change of a layer depends on that layer alone; a subclass writes `layer_change`."""

    def step_traced(self, phi: BaseModelState, batch: Batch) -> Trace:
        a = forward_unchecked(phi, batch.x)
        terms: dict[int, Terms] = {}
        change_W: dict[int, Tensor] = {}
        for l, layer in enumerate(phi.layers, start=1):
            terms[l], change_W[l] = self.layer_change(layer.W, a.x[l - 1], a.z[l], a.x[l])
        return Trace(
            z=dict(enumerate(a.z)),
            x=dict(enumerate(a.x)),
            terms=terms,
            change_W=change_W,
            next_state=self.updated(phi, change_W),
        )

    def layer_change(
        self,
        W: Float[Tensor, "*tasks below above"],
        x_below: Float[Tensor, "*tasks batch below"],
        z: Float[Tensor, "*tasks batch above"],
        x: Float[Tensor, "*tasks batch above"],
    ) -> tuple[Terms, Tensor]:
        """The terms of one layer by name, and the change that is made of them, [*tasks, below, above] each."""
        raise NotImplementedError(f"{type(self).__name__} must define layer_change")


@dataclass(frozen=True)
class HebbSettings(RuleSettings):
    """Settings of `Hebb`."""

    lr: float = 0.03  # the hand rule's recipe, so that the two differ in one term only
    decay: float = 1.0  # the hand rule's recipe: W is a running mean of normalised changes and cannot diverge


@register("hebb")
class Hebb(HebbianRule):
    """What fires together wires together: W <- (1 - lr decay) W + lr n(l^T u / B).

    u and l are the upper and lower activations standardised over the batch, n divides each column by its root mean
    square. Every neuron climbs towards the same strongest feature: the collapse that decorrelation cures.
    """

    settings_type: ClassVar[type[RuleSettings]] = HebbSettings
    settings: HebbSettings

    def layer_change(self, W: Tensor, x_below: Tensor, z: Tensor, x: Tensor) -> tuple[Terms, Tensor]:
        hebb = -correlation(standardise(x_below), standardise(x))
        return {"hebb": hebb}, normalise_columns(hebb)


@dataclass(frozen=True)
class OjaSettings(RuleSettings):
    """Settings of `Oja`."""

    lr: float = 1.0  # ours: no input direction has a variance above 1 (see `Oja`), so this is the natural step
    decay: float = 0.0  # Oja's rule forgets by itself
    subspace: bool = False  # Oja 1989: neurons see each other's output and span the leading subspace together


@register("oja")
class Oja(HebbianRule):
    """Hebb with a forgetting that holds |W_j| at 1: dW_j = lr (l y_j - y_j^2 W_j), y = l W the linear response.

    l are the lower activations standardised over the batch and divided by sqrt(n_{l-1}), so that their variance
    along any direction is at most 1. Each neuron turns to the leading principal component; with `subspace`,
    dW = lr (l^T y - W y^T y), and together they span the leading components. The step is divided by
    1 + lr mean(y_j^2) (by the sum of y^2 over the layer with `subspace`): the same fixed points, from any start.
    """

    settings_type: ClassVar[type[RuleSettings]] = OjaSettings
    recommended: InnerSettings = InnerSettings(steps=300)
    settings: OjaSettings

    def layer_change(self, W: Tensor, x_below: Tensor, z: Tensor, x: Tensor) -> tuple[Terms, Tensor]:
        s = self.settings
        lower = standardise(x_below) / x_below.shape[-1] ** 0.5
        y = lower @ W
        hebb = -correlation(lower, y)
        power = y.square().mean(-2, keepdim=True)
        if s.subspace:
            forget = W @ correlation(y, y)
            power = power.sum(-1, keepdim=True)
        else:
            forget = W * power
        return {"hebb": hebb, "forget": forget}, (hebb + forget) / (1 + s.lr * power)


@dataclass(frozen=True)
class HebbDecorrelationSettings(RuleSettings):
    """Settings of `HebbDecorrelation`: the hand rule's recipe (CONTRIBUTING, Sources)."""

    lr: float = 0.03
    decay: float = 1.0
    hebb: float = 1.0  # weight of the Hebbian term; the recipe's unit
    decorr: float = 0.9  # c, weight of the decorrelation term; recipe: 0.8 to 1, and the balance matters

    def __post_init__(self) -> None:
        super().__post_init__()
        check_fields(self, "hebb", "decorr", low=-10, high=10)


@register("hebb_decorrelation")
class HebbDecorrelation(HebbianRule):
    """Hebb, and a term that takes from each neuron what its layer mates say already.

    With u, l as in `Hebb`, w = W / column RMS, hebb = -l^T u / B, q = w u^T u / B, decorr = q / RMS(q):
    W <- (1 - lr) W - lr (n(hebb) + c n(decorr)).
    """

    label = "Hebb + decorrelation"
    settings_type: ClassVar[type[RuleSettings]] = HebbDecorrelationSettings
    settings: HebbDecorrelationSettings

    def layer_change(self, W: Tensor, x_below: Tensor, z: Tensor, x: Tensor) -> tuple[Terms, Tensor]:
        s = self.settings
        upper = standardise(x)
        hebb = -correlation(standardise(x_below), upper)
        q = (W / column_rms(W)) @ correlation(upper, upper)
        decorr = q / overall_rms(q)
        change = s.hebb * normalise_columns(hebb) + s.decorr * normalise_columns(decorr)
        return {"hebb": hebb, "decorr": decorr}, change
