"""Rivals that learned from labels of other data: a prototypical network of letters, asked about images it never met."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from metarules.base_model import forward
from metarules.evaluation.baselines import UnsuitableError, register_baseline
from metarules.evaluation.rivals.nets import Net
from metarules.tasks import load_dataset

STEPS = 500  # episodes
LETTERS = 4000  # images of them, of the fonts and characters that meta-training draws from
CLASSES = 20  # characters, all in each episode
SUPPORT = 5  # examples of a character that make its prototype
SIDES = (8, 28)  # of images that letters are drawn for


@register_baseline("prototypical", meaning="our net, trained on labelled letters of other fonts, not on this data")
def prototypical(x: np.ndarray, seed: int, hidden: Sequence[int], *, steps: int = STEPS) -> np.ndarray:
    """Snell, Swersky and Zemel, NeurIPS 2017: the nearest mean of a few examples in the top layer is the class."""
    return _prototypical("prototypical", x, seed, hidden, steps)


@register_baseline("prototypical_permuted", meaning="the same, with the pixels of this data in another order")
def prototypical_permuted(x: np.ndarray, seed: int, hidden: Sequence[int], *, steps: int = STEPS) -> np.ndarray:
    """A rule, which meets every task's pixels in an order of their own, does not notice; this net does."""
    order = torch.randperm(x.shape[1], generator=torch.Generator().manual_seed(seed)).numpy()
    return _prototypical("prototypical_permuted", x[:, order], seed, hidden, steps)


def _prototypical(name: str, x: np.ndarray, seed: int, hidden: Sequence[int], steps: int) -> np.ndarray:
    side = round(x.shape[1] ** 0.5)
    if side**2 != x.shape[1] or not SIDES[0] <= side <= SIDES[1]:
        raise UnsuitableError(f"{name} needs square images of {SIDES[0]} to {SIDES[1]} pixels each way")
    letters = load_dataset("glyphs", n=LETTERS, n_classes=CLASSES, size=side, split="train", seed=seed)
    net = Net(letters.x.numpy(), seed, hidden)
    members = [(letters.y == c).nonzero().squeeze(-1) for c in range(CLASSES)]

    def loss(rows: Tensor) -> Tensor:
        drawn = [m[torch.randperm(len(m), generator=net.generator)[: 2 * SUPPORT]] for m in members]
        top = net(net.x[torch.cat(drawn)]).z[-1].unflatten(0, (CLASSES, 2, SUPPORT))
        prototypes, queries = top[:, 0].mean(1), top[:, 1].flatten(0, 1)
        away = torch.cdist(queries, prototypes).square() / top.shape[-1]
        return torch.nn.functional.cross_entropy(-away, torch.arange(CLASSES).repeat_interleave(SUPPORT))

    net.train(loss, steps)
    with torch.no_grad():
        return forward(net.state, torch.from_numpy(x).float()).features.double().numpy()
