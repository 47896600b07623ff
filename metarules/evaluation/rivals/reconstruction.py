"""Rivals that learn to rebuild the input from the top layer; the plain autoencoder is a classic rule."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor

from metarules.evaluation.baselines import register_baseline
from metarules.evaluation.rivals.nets import Net

STEPS = 1000  # of Adam: as the classic rule `autoencoder`
VAE_STEPS = 300  # ours: on held-out letters and handwriting it is best at 200 to 300 and falls from there
DROPPED = 0.3  # share of inputs that the denoising autoencoder does not see
PIXEL_STD = 0.1  # of the VAE's Gaussian likelihood; ours: on held-out letters and handwriting above 0.3


@register_baseline("denoising_autoencoder", meaning="our net, rebuilds inputs of which a share is missing")
def denoising_autoencoder(
    x: np.ndarray, seed: int, hidden: Sequence[int], *, steps: int = STEPS, dropped: float = DROPPED
) -> np.ndarray:
    """Vincent et al., ICML 2008, end to end, squared error."""
    net = Net(x, seed, hidden)
    decode = net.decoder()

    def loss(rows: Tensor) -> Tensor:
        whole = net.x[rows]
        return (decode(net(net.dropped(whole, dropped)).features) - whole).square().sum(-1).mean()

    net.train(loss, steps)
    return net.features()


@register_baseline("vae", meaning="our net as the encoder of a variational autoencoder; the mean of its code")
def vae(
    x: np.ndarray,
    seed: int,
    hidden: Sequence[int],
    *,
    steps: int = VAE_STEPS,
    pixel_std: float = PIXEL_STD,
    watch: Callable[[int, float, Callable[[], np.ndarray]], None] | None = None,
) -> np.ndarray:
    """Kingma and Welling, ICLR 2014: mean and log-variance are linear in the top layer.

    `watch`, if given, is called after each step with its number, the loss of its batch (nats an example, up to a
    constant) and a function that gives the features of the moment.
    """
    net, n = Net(x, seed, hidden), hidden[-1]
    decode, mean, log_variance = net.decoder(), net.linear(n, n), net.linear(n, n)

    def loss(rows: Tensor) -> Tensor:
        top = net(net.x[rows]).features
        m, v = mean(top), log_variance(top).clamp(-10, 10)
        code = m + (v / 2).exp() * torch.randn(m.shape, generator=net.generator)
        error = (decode(code) - net.x[rows]).square().sum(-1) / (2 * pixel_std**2)
        return (error + (m.square() + v.exp() - 1 - v).sum(-1) / 2).mean()

    @torch.no_grad()
    def features() -> np.ndarray:
        return mean(net(net.x).features).double().numpy()

    net.train(loss, steps, watch=lambda step, value: None if watch is None else watch(step, value, features))
    return features()
