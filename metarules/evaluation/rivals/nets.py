"""What the rivals share that train our base model by backprop: the net, further layers, and Adam on a loss."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor

from metarules._random import seeded
from metarules.base_model import Activations, BaseModelState, InitSettings, forward_unchecked, init_state

BATCH = 200  # examples of a step, as the rules' batches
LR = 0.01  # of Adam; what suits the classic rule `autoencoder` on letters
STD = 0.1  # of initial weights, as the classic gradient rules have it


class Net:
    """A base model whose weights learn by autograd, on all of x.

    Args:
        x: inputs [N, n].
        seed: of initial weights and of whatever else `generator` is asked for.
        hidden: widths above the input.

    Attributes:
        x: float32 [N, n].
        state: phi.
        generator: source of chance.
        parameters: all that learns.
    """

    def __init__(self, x: np.ndarray, seed: int, hidden: Sequence[int]) -> None:
        self.x = torch.from_numpy(x).float()
        self.generator = seeded(seed)
        self.parameters: list[Tensor] = []
        self.state = self.stack((x.shape[1], *hidden))

    def stack(self, sizes: Sequence[int]) -> BaseModelState:
        """Layers with batch norm that learn too; run them by `forward_unchecked`."""
        spread = InitSettings(weight_std=STD, bias_std=0.0)
        state = init_state(sizes, settings=spread, generator=self.generator).map(Tensor.requires_grad_)
        self.parameters += [part for layer in state.layers for part in (layer.W, layer.b)]
        return state

    def linear(self, n_in: int, n_out: int) -> Callable[[Tensor], Tensor]:
        """A linear layer that learns too."""
        weight = (torch.randn(n_in, n_out, generator=self.generator) * n_in**-0.5).requires_grad_()
        bias = torch.zeros(n_out, requires_grad=True)
        self.parameters += [weight, bias]
        return lambda h: h @ weight + bias

    def decoder(self) -> Callable[[Tensor], Tensor]:
        """From the top layer back through the widths of the net, with batch norm, to a linear output of n units."""
        n, *widths = self.state.sizes
        back = self.stack(widths[::-1]) if len(widths) > 1 else None
        out = self.linear(widths[0], n)
        return lambda h: out(h if back is None else forward_unchecked(back, h).features)

    def __call__(self, x: Tensor) -> Activations:
        """Run rows through the net."""
        return forward_unchecked(self.state, x)

    def train(
        self,
        loss: Callable[[Tensor], Tensor],
        steps: int,
        lr: float = LR,
        batch: int = BATCH,
        watch: Callable[[int, float], None] = lambda step, value: None,
    ) -> None:
        """Adam, a batch of row numbers a step.

        Args:
            loss: of row numbers [batch] into x.
            steps, lr, batch: of the descent; the batch is cut to x.
            watch: called after each step with its number, from 1, and the loss of its batch.
        """
        optimiser = torch.optim.Adam(self.parameters, lr)
        with torch.enable_grad():
            for step in range(1, steps + 1):
                rows = torch.randperm(len(self.x), generator=self.generator)[:batch]
                optimiser.zero_grad()
                value = loss(rows)
                value.backward()
                optimiser.step()
                watch(step, float(value.detach()))

    @torch.no_grad()
    def features(self) -> np.ndarray:
        """The top layer of all of x, batch statistics over the whole set."""
        return self(self.x).features.double().numpy()

    def dropped(self, x: Tensor, share: float) -> Tensor:
        """x with a share of its numbers set to 0, drawn anew for each row."""
        return x * (torch.rand(x.shape, generator=self.generator) >= share)
