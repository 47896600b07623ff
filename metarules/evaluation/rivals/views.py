"""Rivals that make two views of an example alike and their units unlike: VICReg and Barlow Twins.

VICReg (Bardes, Ponce and LeCun, ICLR 2022) with an example's nearest neighbours as its other view has a spectral
embedding as its optimum (Balestriero and LeCun, NeurIPS 2022). The loss is taken on units standardised over the batch,
so that the variance term is met by construction; invariance and covariance are what is left of it.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from metarules.base_model import forward_unchecked
from metarules.classic_rules.statistics import correlation, standardise
from metarules.evaluation.baselines import need_more_than, register_baseline
from metarules.evaluation.rivals.nets import Net

# What is "ours" was read off a few runs on two held-out tasks each of letters and handwriting, not tuned to the end.
STEPS = 250  # of Adam; ours: 750 are no better
NEIGHBOURS = 3  # of each example, in the whole set; one is drawn for each step
INVARIANCE = 10.0  # weight beside the covariance term; ours, best of 1, 10 and 30
LOCAL_INVARIANCE = 30.0  # the same where each layer has a loss of its own; ours, best of 1, 10 and 30, still rising
MASKED = 0.3  # share of inputs that each of Barlow Twins' views lacks
REDUNDANCY = 0.005  # lambda of Barlow Twins; the paper's


@register_baseline("vicreg_neighbours", meaning="our net, VICReg with nearest neighbours as views, end to end")
def vicreg_neighbours(
    x: np.ndarray, seed: int, hidden: Sequence[int], *, steps: int = STEPS, invariance: float = INVARIANCE
) -> np.ndarray:
    """The gradient of the top layer's loss goes through all layers."""
    need_more_than(x, "vicreg_neighbours", NEIGHBOURS)
    return _vicreg(x, seed, hidden, steps, invariance, local=False)


@register_baseline("vicreg_local", meaning="the same, each layer by a loss of its own: no gradient between layers")
def vicreg_local(
    x: np.ndarray, seed: int, hidden: Sequence[int], *, steps: int = STEPS, invariance: float = LOCAL_INVARIANCE
) -> np.ndarray:
    """Each layer sees the one below as data."""
    need_more_than(x, "vicreg_local", NEIGHBOURS)
    return _vicreg(x, seed, hidden, steps, invariance, local=True)


@register_baseline("barlow_twins", meaning="our net, Barlow Twins with missing inputs as views")
def barlow_twins(
    x: np.ndarray, seed: int, hidden: Sequence[int], *, steps: int = STEPS, masked: float = MASKED
) -> np.ndarray:
    """Zbontar et al., ICML 2021: the correlation between the views' units becomes the identity."""
    net = Net(x, seed, hidden)

    def loss(rows: Tensor) -> Tensor:
        a, b = (net.dropped(net.x[rows], masked) for _ in range(2))
        c = correlation(*(standardise(net(view).z[-1]) for view in (a, b)))
        own = (1 - c.diagonal()).square().sum()
        return own + REDUNDANCY * (c.square().sum() - c.diagonal().square().sum())

    net.train(loss, steps)
    return net.features()


def _vicreg(x: np.ndarray, seed: int, hidden: Sequence[int], steps: int, invariance: float, local: bool) -> np.ndarray:
    from sklearn.neighbors import NearestNeighbors

    net = Net(x, seed, hidden)
    near = torch.from_numpy(NearestNeighbors(n_neighbors=NEIGHBOURS).fit(x).kneighbors(return_distance=False))

    def loss(rows: Tensor) -> Tensor:
        pick = torch.randint(NEIGHBOURS, rows.shape, generator=net.generator)
        views = [net.x[rows], net.x[near[rows, pick]]]
        if not local:
            return _alike(net(views[0]).z[-1], net(views[1]).z[-1], invariance)
        losses = []
        for layer in net.state.layers:
            a, b = (forward_unchecked(net.state.with_layers([layer]), view) for view in views)
            losses.append(_alike(a.z[-1], b.z[-1], invariance))
            views = [a.features.detach(), b.features.detach()]
        return torch.stack(losses).sum()

    net.train(loss, steps)
    return net.features()


def _alike(a: Tensor, b: Tensor, invariance: float) -> Tensor:
    """How far two views' units are apart, and how much the units of each repeat one another."""
    a, b = standardise(a), standardise(b)
    return invariance * (a - b).square().mean() + _covariance(a) + _covariance(b)


def _covariance(z: Tensor) -> Tensor:
    """Squares of the covariances between different units, summed, per unit."""
    c = correlation(z, z)
    return (c.square().sum() - c.diagonal().square().sum()) / z.shape[-1]
