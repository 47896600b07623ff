"""The base model's forward pass, and its frozen form for use after learning.

Source: the authors' code: u = x^{l-1} W^l; z^l = (u - mean_B u) / sqrt(var_B u + 1e-6) + b^l; x^l = f(z^l).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from metarules._checks import check_examples, check_tensor
from metarules.base_model.nonlinearities import get_nonlinearity
from metarules.base_model.state import BaseModelState

BATCH_NORM_EPS = 1e-6  # added to the variance over the batch; authors' code


@dataclass(frozen=True)
class Activations:
    """What a forward pass computed, layer by layer, l = 0 (input) .. L (top).

    Attributes:
        x: post-activations, `x[l]` [*tasks, batch, n_l]; `x[0]` is the input.
        z: pre-activations, `z[l]` [*tasks, batch, n_l]; `z[0]` is the input too.
        mean: batch mean of u = x^{l-1} W^l, `mean[l]` [*tasks, 1, n_l], l >= 1.
        std: sqrt(var_B u + 1e-6), `std[l]` [*tasks, 1, n_l], l >= 1.
    """

    x: tuple[Tensor, ...]
    z: tuple[Tensor, ...]
    mean: dict[int, Tensor]
    std: dict[int, Tensor]

    @property
    def features(self) -> Tensor:
        """The representation: x^L [*tasks, batch, n_L]."""
        return self.x[-1]


def check_input(state: BaseModelState, x: Tensor, name: str = "x") -> Tensor:
    """Check a batch against a state and give it the state's task dimensions.

    Args:
        state: phi.
        x: [*tasks, batch, n_0], or [batch, n_0] to share one batch among all tasks.
        name: the argument's name for the message.

    Returns:
        x as [*tasks, batch, n_0].

    Raises:
        TypeError: not a floating tensor.
        ValueError: wrong shape, dtype or device, fewer than two examples, NaN or infinity, in phi as well.
    """
    state.validate()
    check_tensor(name, x, min_dims=2, last=state.sizes[0], like=state.layers[0].W)
    check_examples(name, x)
    tasks = state.tasks
    if x.ndim == 2:
        return x.expand(*tasks, *x.shape) if tasks else x
    if tuple(x.shape[:-2]) != tasks:
        raise ValueError(f"{name} has shape {list(x.shape)}; allowed: {[*tasks, 'batch', state.sizes[0]]}")
    return x


def forward(state: BaseModelState, x: Tensor) -> Activations:
    """Run a batch through the base model, normalising every unit over this batch.

    Args:
        state: phi.
        x: inputs [*tasks, batch, n_0], batch >= 2; [batch, n_0] is shared by all tasks.

    Returns:
        Activations with `.z[l]` and `.x[l]`, l = 0 .. L.

    Raises:
        TypeError: x is not a floating tensor.
        ValueError: wrong shape, dtype or device, one example alone, NaN or infinity, in phi as well.
    """
    return forward_unchecked(state, check_input(state, x))


def forward_unchecked(state: BaseModelState, x: Tensor) -> Activations:
    """`forward` without checks, for inner loops that checked their data once."""
    f = get_nonlinearity(state.nonlinearity).value
    xs, zs = [x], [x]
    means: dict[int, Tensor] = {}
    stds: dict[int, Tensor] = {}
    for l, layer in enumerate(state.layers, start=1):
        u = xs[-1] @ layer.W
        mean = u.mean(-2, keepdim=True)
        centred = u - mean
        std = torch.sqrt(centred.square().mean(-2, keepdim=True) + BATCH_NORM_EPS)
        z = centred / std + layer.b.unsqueeze(-2)
        xs.append(f(z))
        zs.append(z)
        means[l], stds[l] = mean, std
    return Activations(tuple(xs), tuple(zs), means, stds)


@dataclass(frozen=True)
class FrozenBaseModel:
    """A base model after learning: batch-norm statistics are stored, so a row's features do not depend on its company.

    Attributes:
        weights: per layer W / std, [*tasks, n_in, n_out].
        biases: per layer b - mean / std, [*tasks, n_out].
        nonlinearity: see `NONLINEARITIES`.
    """

    weights: tuple[Tensor, ...]
    biases: tuple[Tensor, ...]
    nonlinearity: str

    def layers(self, x: Tensor) -> tuple[Tensor, ...]:
        """Post-activations (x^0, .., x^L) of rows x [*tasks, batch, n_0], batch >= 1.

        Raises:
            TypeError: x is not a floating tensor.
            ValueError: wrong width, dtype or device, NaN or infinity.
        """
        check_tensor("x", x, min_dims=2, last=self.weights[0].shape[-2], like=self.weights[0])
        return self.layers_unchecked(x)

    def layers_unchecked(self, x: Tensor) -> tuple[Tensor, ...]:
        """`layers` of rows that were checked before."""
        f = get_nonlinearity(self.nonlinearity).value
        xs = [x]
        for weight, bias in zip(self.weights, self.biases, strict=True):
            xs.append(f(xs[-1] @ weight + bias.unsqueeze(-2)))
        return tuple(xs)

    def __call__(self, x: Tensor) -> Tensor:
        """Features x^L [*tasks, batch, n_L] of rows x [*tasks, batch, n_0]; errors as in `layers`."""
        return self.layers(x)[-1]

    def to_module(self) -> nn.Sequential:
        """Export a single base model (no task dimensions) as Linear layers with nonlinearities between.

        Returns:
            `nn.Sequential` of n_0 inputs and n_L outputs, with its own copy of the numbers.

        Raises:
            ValueError: the state has task dimensions; pick one with `state.task(i)` before freezing.
        """
        if self.weights[0].ndim != 2:
            tasks = list(self.weights[0].shape[:-2])
            raise ValueError(f"the frozen model has task dimensions {tasks}; allowed: none (freeze state.task(i))")
        parts: list[nn.Module] = []
        for weight, bias in zip(self.weights, self.biases, strict=True):
            n_in, n_out = weight.shape
            linear = nn.Linear(n_in, n_out, dtype=weight.dtype, device=weight.device)
            with torch.no_grad():
                linear.weight.copy_(weight.T)
                linear.bias.copy_(bias)
            parts += [linear, get_nonlinearity(self.nonlinearity).module()]
        return nn.Sequential(*parts)


def freeze(state: BaseModelState, x: Tensor) -> FrozenBaseModel:
    """Store the batch-norm statistics of `x` (usually the whole data set) and fold them into the weights.

    Args:
        state: phi.
        x: [*tasks, batch, n_0] or [batch, n_0], batch >= 2.

    Returns:
        A model giving on x what `forward(state, x).features` gives, and the same for each row alone.

    Raises:
        TypeError, ValueError: as `forward`.
    """
    return frozen(state, forward(state, x))


def frozen(state: BaseModelState, a: Activations) -> FrozenBaseModel:
    """`freeze` from activations that are there already."""
    weights = tuple(p.W / a.std[l] for l, p in enumerate(state.layers, start=1))
    biases = tuple(p.b - (a.mean[l] / a.std[l]).squeeze(-2) for l, p in enumerate(state.layers, start=1))
    return FrozenBaseModel(weights, biases, state.nonlinearity)
