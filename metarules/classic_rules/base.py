"""What all hand-written rules share: settings, a recommended way to run them, and the shape of one step.

Every rule here is W <- (1 - lr decay) W - lr change_W, b <- b - lr change_b, with `change_W` and `change_b` as found
in its trace: the form of the paper's update, so that learned and hand-written rules can be compared.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, ClassVar

from torch import Tensor

from metarules._checks import check_names, check_number
from metarules.base_model import BaseModelState, LayerState
from metarules.update_rule import InnerSettings, UpdateRule


@dataclass(frozen=True)
class RuleSettings:
    """The two numbers every hand-written rule has; subclasses set their own defaults and add fields."""

    lr: float = 0.03  # step size
    decay: float = 0.0  # each step keeps (1 - lr decay) of W

    def __post_init__(self) -> None:
        check_number("lr", self.lr, low=0, high=10)
        check_number("decay", self.decay, low=0, high=1)
        if self.lr * self.decay > 1:
            raise ValueError(f"lr * decay is {self.lr * self.decay}; allowed: at most 1, or W flips its sign each step")


class ClassicRule(UpdateRule):
    """Base class of the hand-written rules: an `UpdateRule` without theta, configured by a frozen dataclass.

    `registry.register` makes a rule known by name.

    Attributes:
        settings_type: the dataclass of this rule's settings.
        recommended: steps, batch size and initial spread this rule is best run with.
        settings: this object's settings.
    """

    settings_type: ClassVar[type[RuleSettings]] = RuleSettings
    recommended: InnerSettings = InnerSettings()
    settings: Any

    def __init__(self, settings: Any = None) -> None:
        """Settings of the type `settings_type`; None takes its defaults.

        Raises:
            TypeError: settings of another rule, or no settings at all.
        """
        super().__init__()
        if settings is None:
            settings = self.settings_type()
        if type(settings) is not self.settings_type:
            raise TypeError(
                f"settings is a {type(settings).__name__}; allowed for {type(self).__name__}: "
                f"{self.settings_type.__name__} or None"
            )
        self.settings = settings

    @classmethod
    def with_settings(cls, **settings: Any) -> ClassicRule:
        """Build the rule from keyword settings.

        Raises:
            ValueError: a setting this rule does not have, or a value out of range.
        """
        check_names(f"settings of {cls.__name__}", settings, [f.name for f in fields(cls.settings_type)])
        return cls(cls.settings_type(**settings))

    def extra_repr(self) -> str:
        """Settings, for `repr`."""
        return ", ".join(f"{f.name}={getattr(self.settings, f.name)!r}" for f in fields(self.settings))

    def updated(
        self,
        phi: BaseModelState,
        change_W: Mapping[int, Tensor],
        change_b: Mapping[int, Tensor] | None = None,
        change_V: Mapping[int, Tensor] | None = None,
        **extra: Tensor,
    ) -> BaseModelState:
        """phi after the step; what has no change given (b, V) stays, V decays like W where it has one.

        Args:
            phi: before the step.
            change_W, change_b, change_V: what is subtracted, before the step size, keyed by layer l = 1 .. L.
            extra: tensors to put into `phi.extra`, by name.
        """
        lr, keep = self.settings.lr, 1 - self.settings.lr * self.settings.decay
        layers = []
        for l, layer in enumerate(phi.layers, start=1):
            W = keep * layer.W - lr * change_W[l]
            b = layer.b if change_b is None else layer.b - lr * change_b[l]
            V = layer.V if change_V is None else keep * layer.V - lr * change_V[l]
            layers.append(LayerState(W, b, V))
        return phi.with_layers(layers, **extra)
