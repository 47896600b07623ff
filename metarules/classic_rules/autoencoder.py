"""The autoencoder's gradient: the base model is the encoder, a mirrored decoder is carried in `phi.extra`.

Source: Hinton and Salakhutdinov, Science 313 (2006), here end to end from the start. The decoder goes back through the
encoder's widths with batch norm and the same nonlinearity, and ends in a linear layer that gives the input's units.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

from torch import Tensor

from metarules._checks import check_number
from metarules.base_model import BaseModelState, LayerState, forward_unchecked
from metarules.classic_rules.backward import deltas_down_unchecked, linear_backward
from metarules.classic_rules.base import RuleSettings
from metarules.classic_rules.gradient import GradientRule, GradientSettings
from metarules.classic_rules.registry import register
from metarules.update_rule import Batch, InnerSettings, Trace


@dataclass(frozen=True)
class AutoencoderSettings(GradientSettings):
    """Settings of `Autoencoder`."""

    lr: float = 0.01  # ours, for Adam: best of 0.001, 0.003 and 0.01 on letters
    optimiser: str = "adam"  # plain SGD needs a step size found anew for every width (0.3 is near its edge at 32)
    decoder_std: float = 0.1  # ours

    def __post_init__(self) -> None:
        super().__post_init__()
        check_number("decoder_std", self.decoder_std, low=0, high=100)


@register("autoencoder")
class Autoencoder(GradientRule):
    """Descends mean_B |x_hat - x|^2 / 2, encoder and decoder together. V is not used and stays as it is.

    `phi.extra` holds the decoder, top to bottom: `decoder_W{i}` [*tasks, n_{L-i+1}, n_{L-i}] and `decoder_b{i}`
    [*tasks, n_{L-i}] for i = 1 .. L - 1, then `output_W` [*tasks, n_1, n_0] and `output_b` [*tasks, n_0].
    """

    settings_type: ClassVar[type[RuleSettings]] = AutoencoderSettings
    recommended: InnerSettings = InnerSettings(steps=1000, batch_size=200, weight_std=0.1)
    settings: AutoencoderSettings

    def carried(self, phi: BaseModelState) -> dict[str, tuple[int, ...]]:
        """The decoder's shapes."""
        n = phi.sizes[:0:-1]  # n_L, .., n_1
        shapes: dict[str, tuple[int, ...]] = {}
        for i, (above, below) in enumerate(zip(n[:-1], n[1:], strict=True), start=1):
            shapes |= {f"decoder_W{i}": (above, below), f"decoder_b{i}": (below,)}
        return shapes | {"output_W": (phi.sizes[1], phi.sizes[0]), "output_b": (phi.sizes[0],)}

    def spread(self) -> float:
        """Of the decoder's matrices."""
        return self.settings.decoder_std

    def step_traced(self, phi: BaseModelState, batch: Batch) -> Trace:
        stack, R, c = _stack(phi), phi.extra["output_W"], phi.extra["output_b"]
        a = forward_unchecked(stack, batch.x)
        error = (a.features @ R + c.unsqueeze(-2) - batch.x) / batch.x.shape[-2]
        grad_R, grad_c, delta_top = linear_backward(a.features, error, R)
        signals = deltas_down_unchecked(stack, a, delta_top)
        carried = {"output_W": grad_R, "output_b": grad_c}
        for i in range(1, phi.depth):
            carried[f"decoder_W{i}"] = signals.grad_W[phi.depth + i]
            carried[f"decoder_b{i}"] = signals.grad_b[phi.depth + i]
        return self.descend(phi, a, signals, carried)

    def reconstruct(self, phi: BaseModelState, x: Tensor) -> Tensor:
        """x_hat [*tasks, batch, n_0] of x [*tasks, batch, n_0], units normalised over this batch.

        Raises:
            TypeError, ValueError: as for calling the rule.
        """
        a = forward_unchecked(_stack(phi), self.check(phi, x).x)
        return a.features @ phi.extra["output_W"] + phi.extra["output_b"].unsqueeze(-2)


def _stack(phi: BaseModelState) -> BaseModelState:
    """Encoder and hidden decoder layers as one base model of 2 L - 1 layers (V of the decoder is its W, unused)."""
    W = [phi.extra[f"decoder_W{i}"] for i in range(1, phi.depth)]
    b = [phi.extra[f"decoder_b{i}"] for i in range(1, phi.depth)]
    decoder = tuple(LayerState(w, bias, w) for w, bias in zip(W, b, strict=True))
    return replace(phi, layers=phi.layers + decoder, extra={})
