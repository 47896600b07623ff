"""The nonlinearities a base model may use, each with its derivative.

The derivative is there for the hand-written rules, which pass errors down layer by layer without autograd.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from metarules._checks import check_choice

LEAK = 0.01  # slope below zero of the leaky ReLU: PyTorch's default; the paper gives no value


class Nonlinearity(NamedTuple):
    """A function of the pre-activation z and its derivative, both elementwise, and the same as a module for export."""

    value: Callable[[Tensor], Tensor]
    derivative: Callable[[Tensor], Tensor]
    module: Callable[[], nn.Module]


class Step(nn.Module):
    """1 where z is above 0, else 0; PyTorch has no module for it."""

    def forward(self, z: Tensor) -> Tensor:
        """The step function of z, elementwise."""
        return _step(z)


def _step(z: Tensor) -> Tensor:
    return (z > 0).to(z.dtype)


def _leaky_derivative(z: Tensor) -> Tensor:
    return torch.where(z > 0, torch.ones_like(z), torch.full_like(z, LEAK))


def _silu_derivative(z: Tensor) -> Tensor:
    s = torch.sigmoid(z)
    return s * (1 + z * (1 - s))


def _sigmoid_derivative(z: Tensor) -> Tensor:
    s = torch.sigmoid(z)
    return s * (1 - s)


_SILU = Nonlinearity(F.silu, _silu_derivative, nn.SiLU)

NONLINEARITIES: dict[str, Nonlinearity] = {
    "relu": Nonlinearity(torch.relu, _step, nn.ReLU),
    "leaky_relu": Nonlinearity(lambda z: F.leaky_relu(z, LEAK), _leaky_derivative, lambda: nn.LeakyReLU(LEAK)),
    "silu": _SILU,
    "swish": _SILU,  # the paper's name for SiLU
    "tanh": Nonlinearity(torch.tanh, lambda z: 1 - torch.tanh(z) ** 2, nn.Tanh),
    "sigmoid": Nonlinearity(torch.sigmoid, _sigmoid_derivative, nn.Sigmoid),
    "step": Nonlinearity(_step, torch.zeros_like, Step),  # paper, section 5.4: no useful gradient, the rule needs none
    "identity": Nonlinearity(lambda z: z, torch.ones_like, nn.Identity),
}


def get_nonlinearity(nonlinearity: str) -> Nonlinearity:
    """Look a nonlinearity up by name.

    Args:
        nonlinearity: one of `NONLINEARITIES`.

    Raises:
        ValueError: an unknown name, with the known ones listed.
    """
    return NONLINEARITIES[check_choice("nonlinearity", nonlinearity, NONLINEARITIES)]
