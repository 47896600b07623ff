"""How different the neurons of a layer are: their incoming weights against each other, and the room they span together.

Sources: the cosine between weight vectors, without its sign, as measures of dictionaries do (mutual coherence); the
participation ratio of the eigenvalues as a count of dimensions (Gao et al., bioRxiv 214262, 2017).
"""

from __future__ import annotations

import torch
from torch import Tensor

from metarules._checks import check_fit, check_tensor
from metarules.evaluation.probe import standardise_features


def likeness(W: Tensor) -> Tensor:
    """|cosine| between the columns of W, that is between the incoming weights of every two neurons of a layer.

    Args:
        W: [*tasks, n_in, n_out], any floating dtype.

    Returns:
        [*tasks, n_out, n_out], in [0, 1], float64; 1 on the diagonal, 0 in the rows of a neuron without weights.

    Raises:
        TypeError: W is no floating tensor.
        ValueError: fewer than two dimensions, NaN or infinity.
    """
    w = check_tensor("W", W, min_dims=2).detach().double()
    norm = torch.linalg.vector_norm(w, dim=-2, keepdim=True)
    w = torch.where(norm > 0, w / torch.where(norm > 0, norm, torch.ones_like(norm)), torch.zeros_like(w))
    return (w.mT @ w).abs().clamp(max=1)


def mean_likeness(W: Tensor) -> Tensor:
    """Mean of `likeness` over all pairs of different neurons, [*tasks]: 1 where all share one filter or its negative.

    Args:
        W: [*tasks, n_in, n_out] with n_out >= 2; errors as for `likeness`.

    Raises:
        ValueError: a single neuron, which makes no pair.
    """
    pairs = likeness(W)
    if pairs.shape[-1] < 2:
        raise ValueError(f"W has shape {list(W.shape)}; allowed: at least two columns")
    return mean_of_pairs(pairs)


def mean_of_pairs(pairs: Tensor) -> Tensor:
    """Mean of a symmetric matrix [*tasks, n, n] without its diagonal, [*tasks]; 0 for n = 1, where no pair is."""
    n = check_tensor("pairs", pairs, min_dims=2).shape[-1]
    check_fit(pairs=(pairs.flatten(0, -3) if pairs.ndim > 2 else pairs[None], "tasks n n"))
    return (pairs.sum((-2, -1)) - pairs.diagonal(dim1=-2, dim2=-1).sum(-1)) / max(n * (n - 1), 1)


def effective_dimension(x: Tensor) -> Tensor:
    """How many directions the activities of a layer fill: (sum of eigenvalues)^2 / sum of their squares.

    The eigenvalues are those of the correlation matrix of the units. n units that share nothing give n, n copies of one
    unit (or its negative) give 1; units that never change do not count.

    Args:
        x: activities [*tasks, N, n], any floating dtype.

    Returns:
        [*tasks], float64; 0 where no unit changes.

    Raises:
        TypeError: x is no floating tensor.
        ValueError: fewer than two dimensions, NaN or infinity.
    """
    s = standardise_features(check_tensor("x", x, min_dims=2))
    C = s.mT @ s / s.shape[-2]
    trace = C.diagonal(dim1=-2, dim2=-1).sum(-1)
    return trace.square() / C.square().sum((-2, -1)).clamp(min=1e-12)
