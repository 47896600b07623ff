"""Batches in which like follows like, as in a film: the same examples, in another order."""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor


def like_after_like(x: Float[Tensor, "*tasks batch n"]) -> Int[Tensor, "*tasks batch"]:
    """An order in which every example follows the one most like it, of those not yet placed; the first stays first.

    Args:
        x: examples.

    Returns:
        Row numbers: `x.take_along_dim(order.unsqueeze(-1), -2)` are the examples in their new order.
    """
    away = torch.cdist(x, x)
    away[..., 0] = float("inf")
    order = [torch.zeros_like(away[..., 0, 0], dtype=torch.long)]
    for _ in range(x.shape[-2] - 1):
        here = order[-1][..., None, None]
        row = away.gather(-2, here.expand(*x.shape[:-2], 1, x.shape[-2])).squeeze(-2)
        order.append(row.argmin(-1))
        away.scatter_(-1, order[-1][..., None, None].expand(*x.shape[:-1], 1), float("inf"))
    return torch.stack(order, -1)
