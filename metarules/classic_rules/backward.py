"""Passing errors down layer by layer, by hand: through the nonlinearity, batch norm, and W or V. No autograd call.

For layer l, with d^l = d loss / d x^l the signal arriving from above, the chain rule reads
    e^l = d^l f'(z^l),   delta^l = BN'(e^l) = d loss / d u^l,   d^{l-1} = delta^l (W^l)^T,
    d loss / d W^l = (x^{l-1})^T delta^l,   d loss / d b^l = sum_B e^l.
Feedback alignment (Lillicrap et al., Nature Communications 7, 2016) puts fixed V^l in place of W^l in d^{l-1}.
Only this module knows how; the rules and the lessons that compare a learned delta-W with the gradient call it.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from metarules._checks import check_choice, check_tensor
from metarules.base_model import Activations, BaseModelState, get_nonlinearity

THROUGH = ("W", "V")


@dataclass(frozen=True)
class Signals:
    """What goes down and what each layer makes of it, keyed by l = 1 .. L.

    Attributes:
        d: d loss / d x^l, arriving at layer l [*tasks, batch, n_l].
        delta: d loss / d u^l, sent down by layer l [*tasks, batch, n_l].
        grad_W: d loss / d W^l [*tasks, n_{l-1}, n_l].
        grad_b: d loss / d b^l [*tasks, n_l].
    """

    d: dict[int, Tensor]
    delta: dict[int, Tensor]
    grad_W: dict[int, Tensor]
    grad_b: dict[int, Tensor]


def batch_norm_backward(error: Tensor, normalised: Tensor, std: Tensor) -> Tensor:
    """Through (u - mean_B u) / sqrt(var_B u + eps), exactly, whatever the eps.

    Args:
        error: d loss / d output [*tasks, batch, units].
        normalised: the output itself, bias not added [*tasks, batch, units].
        std: sqrt(var_B u + eps) [*tasks, 1, units].

    Returns:
        d loss / d u [*tasks, batch, units]; its mean over the batch is zero.

    Raises:
        TypeError, ValueError: not floating tensors of these shapes.
    """
    check_tensor("error", error, min_dims=2)
    check_tensor("normalised", normalised, min_dims=2, like=error)
    check_tensor("std", std, min_dims=2, like=error)
    wanted = (*error.shape[:-2], 1, error.shape[-1])
    if normalised.shape != error.shape:
        raise ValueError(f"normalised has shape {list(normalised.shape)}; allowed: {list(error.shape)}")
    if tuple(std.shape) != wanted:
        raise ValueError(f"std has shape {list(std.shape)}; allowed: {list(wanted)}")
    return _batch_norm_backward(error, normalised, std)


def deltas_down(phi: BaseModelState, activations: Activations, delta_top: Tensor, through: str = "W") -> Signals:
    """Send a signal from the top down and collect what every layer makes of it.

    Args:
        phi: the base model.
        activations: of `forward(phi, x)`.
        delta_top: d loss / d x^L (the paper's d^L) [*tasks, batch, n_L].
        through: "W" sends delta^l through (W^l)^T, which is backprop; "V" through (V^l)^T, feedback alignment.

    Returns:
        `Signals`. With "W" its gradients are those of the loss; with "V" only the top layer's are.

    Raises:
        TypeError, ValueError: delta_top is not a floating tensor of x^L's shape and dtype; activations of another
            model; `through` unknown.
    """
    check_choice("through", through, THROUGH)
    top = activations.features
    check_tensor("delta_top", delta_top, min_dims=2, like=top)
    if delta_top.shape != top.shape:
        raise ValueError(f"delta_top has shape {list(delta_top.shape)}; allowed: {list(top.shape)}, the shape of x^L")
    widths = tuple(x.shape[-1] for x in activations.x)
    if widths != phi.sizes:
        raise ValueError(f"activations have widths {list(widths)}; allowed: {list(phi.sizes)}, the sizes of phi")
    check_tensor("phi", phi.layers[-1].W, like=delta_top)
    return deltas_down_unchecked(phi, activations, delta_top, through)


def deltas_down_unchecked(
    phi: BaseModelState, activations: Activations, delta_top: Tensor, through: str = "W"
) -> Signals:
    """`deltas_down` without checks, for inner loops."""
    derivative = get_nonlinearity(phi.nonlinearity).derivative
    signals = Signals({}, {}, {}, {})
    d = delta_top
    for l in range(phi.depth, 0, -1):
        layer = phi.layers[l - 1]
        error = d * derivative(activations.z[l])
        delta = _batch_norm_backward(error, activations.z[l] - layer.b.unsqueeze(-2), activations.std[l])
        signals.d[l] = d
        signals.delta[l] = delta
        signals.grad_W[l] = activations.x[l - 1].transpose(-1, -2) @ delta
        signals.grad_b[l] = error.sum(-2)
        if l > 1:
            d = delta @ (layer.W if through == "W" else layer.V).transpose(-1, -2)
    return signals


def backprop_gradient(
    phi: BaseModelState, activations: Activations, delta_top: Tensor, through: str = "W"
) -> tuple[dict[int, Tensor], dict[int, Tensor]]:
    """The gradients alone.

    Args:
        phi, activations, through: as for `deltas_down`.
        delta_top: d loss / d x^L (the paper's d^L) [*tasks, batch, n_L].

    Returns:
        (grad_W, grad_b): [*tasks, n_{l-1}, n_l] and [*tasks, n_l], keyed by l = 1 .. L.

    Raises:
        TypeError, ValueError: as `deltas_down`.
    """
    signals = deltas_down(phi, activations, delta_top, through)
    return signals.grad_W, signals.grad_b


def linear_backward(x: Tensor, error: Tensor, backward_weights: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Through a linear read-out y = x R + c.

    Args:
        x: what it reads [*tasks, batch, n].
        error: d loss / d y [*tasks, batch, k].
        backward_weights: R [*tasks, n, k], or what stands in for it.

    Returns:
        (d loss / d R [*tasks, n, k], d loss / d c [*tasks, k], d loss / d x [*tasks, batch, n]).
    """
    return x.transpose(-1, -2) @ error, error.sum(-2), error @ backward_weights.transpose(-1, -2)


def _batch_norm_backward(error: Tensor, normalised: Tensor, std: Tensor) -> Tensor:
    through_std = normalised * (error * normalised).mean(-2, keepdim=True)
    return (error - error.mean(-2, keepdim=True) - through_std) / std
