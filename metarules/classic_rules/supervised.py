"""Supervised backprop, and feedback alignment, which differs in one word: deltas go down through V instead of W.

Sources: Rumelhart, Hinton and Williams, Nature 323 (1986); Lillicrap et al., Nature Communications 7 (2016), random
feedback weights; Kolen and Pollack, ICNN (1994), feedback weights that get the forward weights' change and decay.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, ClassVar

import torch
from torch import Tensor

from metarules._checks import check_number, check_tensor
from metarules.base_model import BaseModelState, forward_unchecked
from metarules.classic_rules.backward import deltas_down_unchecked, linear_backward
from metarules.classic_rules.base import RuleSettings
from metarules.classic_rules.gradient import GradientRule, GradientSettings
from metarules.classic_rules.registry import register
from metarules.update_rule import Batch, InnerSettings, Trace
from metarules.update_rule.contract import check_labels


@dataclass(frozen=True)
class BackpropSettings(GradientSettings):
    """Settings of `Backprop`."""

    lr: float = 0.01  # ours: on held-out letters and handwriting, 100 labels, above 0.003 and above any plain gradient
    optimiser: str = "adam"  # the plain gradient, 0.03 to 1, is behind by 0.02 to 0.07 there
    n_classes: int = 10  # width of the read-out; ten classes in digits and in our letter tasks
    readout_std: float = 0.1  # ours: logits start near 0, so all classes start about equally likely

    def __post_init__(self) -> None:
        super().__post_init__()
        check_number("n_classes", self.n_classes, low=2, high=100_000, integer=True)
        check_number("readout_std", self.readout_std, low=0, high=100)


@dataclass(frozen=True)
class FeedbackAlignmentSettings(BackpropSettings):
    """Settings of `FeedbackAlignment`."""

    lr: float = 0.03  # ours: best of 0.03 .. 1 on letters and random decoders; W must not outgrow a fixed V
    optimiser: str = "sgd"  # alignment is a matter of the plain gradient
    kolen_pollack: bool = False  # V gets W's change and decay; a decay of 0.1 makes it forget where it began


@register("backprop")
class Backprop(GradientRule):
    """Supervised backprop: the exact gradient of the softmax cross-entropy, deltas passed down through W^T.

    The linear read-out is `readout_W` [*tasks, n_L, n_classes] and `readout_b` [*tasks, n_classes] in `phi.extra`.
    V is not used and stays as it is.
    """

    label = "Backprop (given all labels)"
    settings_type: ClassVar[type[RuleSettings]] = BackpropSettings
    recommended: InnerSettings = InnerSettings(steps=100, batch_size=100, weight_std=0.1)
    needs_labels = True
    through: ClassVar[str] = "W"
    settings: BackpropSettings

    def for_classes(self, n_classes: int) -> Backprop:
        """This rule, with a read-out of that width."""
        s = self.settings
        return self if s.n_classes == n_classes else type(self)(replace(s, n_classes=n_classes))

    def carried(self, phi: BaseModelState) -> dict[str, tuple[int, ...]]:
        """The read-out's shapes."""
        return {"readout_W": (phi.sizes[-1], self.settings.n_classes), "readout_b": (self.settings.n_classes,)}

    def spread(self) -> float:
        """Of the read-out's matrices."""
        return self.settings.readout_std

    def check(self, phi: BaseModelState, batch: Any) -> Batch:
        """As `GradientRule.check`; also that labels are below n_classes (ValueError)."""
        checked = super().check(phi, batch)
        n = self.settings.n_classes
        if checked.y is not None and int(checked.y.max()) >= n:
            raise ValueError(f"batch.y holds {int(checked.y.max())}; allowed: class numbers below n_classes = {n}")
        return checked

    def step_traced(self, phi: BaseModelState, batch: Batch) -> Trace:
        if batch.y is None:
            raise ValueError("batch.y is None; allowed: class numbers [*tasks, batch]")
        R, c = phi.extra["readout_W"], phi.extra["readout_b"]
        a = forward_unchecked(phi, batch.x)
        error = _cross_entropy_error(a.features @ R + c.unsqueeze(-2), batch.y)
        down = R if self.through == "W" else phi.extra["readout_V"]
        grad_R, grad_c, delta_top = linear_backward(a.features, error, down)
        signals = deltas_down_unchecked(phi, a, delta_top, self.through)
        return self.descend(phi, a, signals, {"readout_W": grad_R, "readout_b": grad_c}, self.mirrors())

    def mirrors(self) -> dict[str, str]:
        """Carried backward weights that get the change of a forward weight: none here."""
        return {}


@register("feedback_alignment")
class FeedbackAlignment(Backprop):
    """Backprop with V in place of W on the way down: random and fixed, or with `kolen_pollack` learning beside W.

    The read-out has backward weights too, `readout_V` in `phi.extra`.
    """

    label = "Feedback alignment (given all labels)"
    settings_type: ClassVar[type[RuleSettings]] = FeedbackAlignmentSettings
    recommended: InnerSettings = InnerSettings(steps=300, batch_size=100)
    through = "V"
    settings: FeedbackAlignmentSettings

    def carried(self, phi: BaseModelState) -> dict[str, tuple[int, ...]]:
        """The read-out's shapes, its backward weights included."""
        shapes = super().carried(phi)
        return shapes | {"readout_V": shapes["readout_W"]}

    def mirrors(self) -> dict[str, str]:
        """The read-out's, and with it every V, in Kolen and Pollack's variant."""
        return {"readout_V": "readout_W"} if self.settings.kolen_pollack else {}


def cross_entropy_error(logits: Tensor, y: Tensor) -> Tensor:
    """d / d logits of the softmax cross-entropy, averaged over the batch: (softmax - one-hot) / B.

    Args:
        logits: [*tasks, batch, n_classes].
        y: class numbers [*tasks, batch], int64.

    Returns:
        [*tasks, batch, n_classes]; hand it to `linear_backward`.

    Raises:
        TypeError: logits not floating, y not whole numbers.
        ValueError: shapes that do not fit, or a class number outside 0 .. n_classes - 1.
    """
    check_tensor("logits", logits, min_dims=2)
    y = check_labels(y, logits)
    if int(y.max()) >= logits.shape[-1]:
        raise ValueError(f"y holds {int(y.max())}; allowed: class numbers below {logits.shape[-1]}, the logits' width")
    return _cross_entropy_error(logits, y)


def _cross_entropy_error(logits: Tensor, y: Tensor) -> Tensor:
    target = torch.nn.functional.one_hot(y, logits.shape[-1]).to(logits.dtype)
    return (torch.softmax(logits, dim=-1) - target) / logits.shape[-2]
