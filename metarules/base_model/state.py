"""phi, the state of a base model: forward weights W, biases b and backward weights V of every layer.

Source: Metz et al., ICLR 2019 (arXiv 1804.00222), section 3.1 and appendix; initial values from the authors' code.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any

import numpy as np
import torch
from torch import Tensor

from metarules._checks import check_fields, check_number, check_size, check_tensor, shown
from metarules.base_model.nonlinearities import get_nonlinearity

LARGEST = 1e30  # spread of initial values whose sums float32 holds
WIDTHS = (32, 32, 32)  # ours: units of the layers above the input, wherever nothing else is asked for


@dataclass(frozen=True)
class LayerState:
    """One layer's share of phi.

    Attributes:
        W: forward weights [*tasks, n_in, n_out].
        b: biases [*tasks, n_out].
        V: backward weights [*tasks, n_in, n_out], used in place of W^T to send signals down.
    """

    W: Tensor
    b: Tensor
    V: Tensor


@dataclass(frozen=True)
class BaseModelState:
    """phi: what an update rule reads and rewrites. Immutable; a step returns a new one, without checks but its own.

    Attributes:
        layers: layer l of the paper is `layers[l - 1]`, l = 1 .. L.
        nonlinearity: name of the function between z and x, see `NONLINEARITIES`.
        extra: further tensors [*tasks, ...] that a rule carries along (a decoder, a running mean), by name.
    """

    layers: tuple[LayerState, ...]
    nonlinearity: str = "relu"
    extra: Mapping[str, Tensor] = field(default_factory=lambda: MappingProxyType({}))

    def __post_init__(self) -> None:
        get_nonlinearity(self.nonlinearity)
        if not isinstance(self.layers, tuple | list) or not all(isinstance(layer, LayerState) for layer in self.layers):
            raise TypeError(f"layers is {shown(self.layers)}; allowed: a tuple of LayerState")
        if not self.layers:
            raise ValueError("layers is empty; allowed: at least one layer")
        if not isinstance(self.extra, Mapping):
            raise TypeError(f"extra is {shown(self.extra)}; allowed: tensors by name")
        object.__setattr__(self, "extra", MappingProxyType(dict(self.extra)))

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle and copy through the constructor: the read-only view of extra can do neither."""
        return BaseModelState, (self.layers, self.nonlinearity, dict(self.extra))

    @classmethod
    def from_arrays(
        cls,
        W: Sequence[Any],
        b: Sequence[Any],
        V: Sequence[Any],
        nonlinearity: str = "relu",
    ) -> BaseModelState:
        """Build a state from arrays or tensors, keeping their floating dtype.

        Args:
            W: per layer, [*tasks, n_in, n_out].
            b: per layer, [*tasks, n_out] (or [*tasks, 1, n_out], as the authors' code stores it).
            V: per layer, the shape of W.
            nonlinearity: see `NONLINEARITIES`.

        Raises:
            ValueError: lists of different lengths, shapes that do not chain, mixed dtypes, values not finite.
        """
        if not len(W) == len(b) == len(V):
            raise ValueError(
                f"W, b and V hold {len(W)}, {len(b)} and {len(V)} layers; allowed: the same number of each"
            )
        layers = []
        for i, (w, bias, v) in enumerate(zip(W, b, V, strict=True)):
            w = _as_tensor(f"W[{i}]", w, 2)
            bias = _as_tensor(f"b[{i}]", bias, 1)
            v = _as_tensor(f"V[{i}]", v, 2)
            if bias.ndim == w.ndim and bias.shape[-2] == 1:
                bias = bias.squeeze(-2)
            layers.append(LayerState(w, bias, v))
        state = cls(tuple(layers), nonlinearity)
        state.validate()
        return state

    def validate(self) -> None:
        """Check that shapes chain, that dtype and device agree, and that every number is finite.

        Raises:
            ValueError: naming the tensor that does not fit.
        """
        first = self.layers[0].W
        tasks = first.shape[:-2]
        n_in = first.shape[-2]
        for i, layer in enumerate(self.layers):
            n_out = layer.W.shape[-1]
            wanted = {"W": (*tasks, n_in, n_out), "b": (*tasks, n_out), "V": (*tasks, n_in, n_out)}
            for name, shape in wanted.items():
                value = check_tensor(f"{name}[{i}]", getattr(layer, name), like=first)
                if tuple(value.shape) != shape:
                    raise ValueError(f"{name}[{i}] has shape {list(value.shape)}; allowed: {list(shape)}")
            n_in = n_out

    @property
    def depth(self) -> int:
        """L, the number of layers."""
        return len(self.layers)

    @property
    def sizes(self) -> tuple[int, ...]:
        """(n_0, .., n_L), input width first."""
        return (self.layers[0].W.shape[-2], *(layer.W.shape[-1] for layer in self.layers))

    @property
    def tasks(self) -> tuple[int, ...]:
        """The leading task dimensions; () for a single base model."""
        return tuple(self.layers[0].W.shape[:-2])

    @property
    def dtype(self) -> torch.dtype:
        """dtype shared by all tensors."""
        return self.layers[0].W.dtype

    @property
    def device(self) -> torch.device:
        """Device shared by all tensors."""
        return self.layers[0].W.device

    def map(self, function: Callable[[Tensor], Tensor]) -> BaseModelState:
        """Apply `function` to every tensor: W, b, V and extra."""
        layers = tuple(LayerState(function(p.W), function(p.b), function(p.V)) for p in self.layers)
        return replace(self, layers=layers, extra={k: function(v) for k, v in self.extra.items()})

    def tensors(self) -> Iterator[tuple[str, Tensor]]:
        """Yield (name, tensor): W1, b1, V1, W2, .. and extra by its own names."""
        for i, layer in enumerate(self.layers, start=1):
            yield from ((f"W{i}", layer.W), (f"b{i}", layer.b), (f"V{i}", layer.V))
        yield from self.extra.items()

    def detach(self) -> BaseModelState:
        """The same numbers with no autograd history."""
        return self.map(Tensor.detach)

    def to(self, *args: Any, **kwargs: Any) -> BaseModelState:
        """`Tensor.to` for every tensor: another dtype or device."""
        return self.map(lambda t: t.to(*args, **kwargs))

    def task(self, *index: int) -> BaseModelState:
        """Pick one base model (or a slice of them) out of the leading task dimensions."""
        if len(index) > len(self.tasks):
            raise ValueError(f"index {index} has {len(index)} parts; allowed: at most {len(self.tasks)}")
        return self.map(lambda t: t[index])

    def with_layers(self, layers: Sequence[LayerState], **extra: Tensor) -> BaseModelState:
        """A new state with other layers; `extra` is merged over the old extra."""
        return replace(self, layers=tuple(layers), extra={**self.extra, **extra})

    def __repr__(self) -> str:
        sizes = "-".join(map(str, self.sizes))
        tasks = f", tasks={list(self.tasks)}" if self.tasks else ""
        return f"BaseModelState({sizes}, {self.nonlinearity}{tasks}, {str(self.dtype).removeprefix('torch.')})"


@dataclass(frozen=True)
class InitSettings:
    """Spread of the initial phi (authors' code)."""

    weight_std: float = 0.01  # W and V: truncated normal, authors' code
    bias_std: float = 0.1  # b: truncated normal, authors' code

    def __post_init__(self) -> None:
        check_fields(self, "weight_std", "bias_std", low=0, high=LARGEST)


def init_state(
    sizes: Sequence[int],
    *,
    tasks: Sequence[int] = (),
    nonlinearity: str = "relu",
    settings: InitSettings | None = None,
    generator: torch.Generator | None = None,
    dtype: torch.dtype = torch.float32,
    device: torch.device | str = "cpu",
) -> BaseModelState:
    """Draw a fresh base model: W, V and b from truncated normals (cut at two standard deviations).

    Args:
        sizes: (n_0, .., n_L), input width first; at least two numbers.
        tasks: leading task dimensions; one independent model for each.
        nonlinearity: see `NONLINEARITIES`.
        settings: spreads; the authors' by default.
        generator: source of randomness, on `device`; None draws from seed 0.
        dtype: floating dtype.
        device: where the tensors live.

    Returns:
        State with W, V [*tasks, n_in, n_out] and b [*tasks, n_out].

    Raises:
        ValueError: fewer than two sizes, a size or task dimension below 1, an unknown nonlinearity.
    """
    if len(sizes) < 2:
        raise ValueError(f"sizes is {list(sizes)}; allowed: at least an input and one layer")
    for name, numbers in {"sizes": sizes, "tasks": tasks}.items():
        for i, n in enumerate(numbers):
            check_number(f"{name}[{i}]", n, low=1, integer=True)
    check_size("sizes", *tasks, max(n_in * n_out for n_in, n_out in zip(sizes[:-1], sizes[1:], strict=True)))
    settings = settings or InitSettings()
    if generator is None:
        generator = torch.Generator(device).manual_seed(0)

    def draw(std: float, *shape: int) -> Tensor:
        t = torch.empty((*tasks, *shape), dtype=dtype, device=device)
        return torch.nn.init.trunc_normal_(t, 0.0, 1.0, -2.0, 2.0, generator=generator).mul_(std)

    layers = tuple(
        LayerState(
            draw(settings.weight_std, n_in, n_out),
            draw(settings.bias_std, n_out),
            draw(settings.weight_std, n_in, n_out),
        )
        for n_in, n_out in zip(sizes[:-1], sizes[1:], strict=True)
    )
    return BaseModelState(layers, nonlinearity)


def _as_tensor(name: str, value: Any, min_dims: int) -> Tensor:
    if not isinstance(value, Tensor):
        array = np.asarray(value)
        if not np.issubdtype(array.dtype, np.number):
            raise TypeError(f"{name} has dtype {array.dtype}; allowed: numbers")
        value = torch.from_numpy(array.astype(array.dtype, copy=True))
    return check_tensor(name, value, min_dims=min_dims)
