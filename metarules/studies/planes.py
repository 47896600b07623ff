"""Activities seen in a plane and by their directions: projections of a trajectory, and who is near whom."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

SHOWN = 5  # nearest neighbours that count


def plane(features: np.ndarray) -> Callable[[np.ndarray], np.ndarray]:
    """Find one plane in which to show a trajectory of representations.

    Every row is divided by its length (what counts is which units answer, not how loudly), each frame is centred, and
    the plane is spanned by the two leading principal components of the *last* frame: a fixed basis, so that scrubbing
    shows the representation move and not the viewer. Labels play no part.

    Args:
        features: top-layer activations [frames, N, n_L].

    Returns:
        A function that projects these or other rows [frames, k, n_L] onto it: [frames, k, 2]. The sign of each axis is
        fixed by its largest component, and a missing second axis is 0.

    Raises:
        ValueError: not three dimensions, no rows, NaN or infinity.
    """
    values = np.asarray(features, dtype=np.float64)
    if values.ndim != 3 or 0 in values.shape or not np.isfinite(values).all():
        raise ValueError(f"features has shape {list(values.shape)}; allowed: [frames, N, n_L], finite, none of them 0")
    rows = _unit_rows(values)
    middle = rows.mean(1, keepdims=True)
    basis = np.linalg.svd(rows[-1] - middle[-1], full_matrices=False)[2][:2]
    biggest = np.abs(basis).argmax(-1)
    basis = basis * np.sign(basis[np.arange(len(basis)), biggest] + 1e-300)[:, None]

    def onto_it(values: np.ndarray) -> np.ndarray:
        points = (_unit_rows(values) - middle) @ basis.T
        return np.pad(points, ((0, 0), (0, 0), (0, 2 - points.shape[-1])))

    return onto_it


def project(features: np.ndarray) -> np.ndarray:
    """Project a trajectory of representations onto its own `plane`.

    Args:
        features: top-layer activations [frames, N, n_L].

    Returns:
        [frames, N, 2].
    """
    return plane(features)(features)


def _unit_rows(values: np.ndarray) -> np.ndarray:
    values = np.asarray(values, dtype=np.float64)
    return values / np.maximum(np.linalg.norm(values, axis=-1, keepdims=True), 1e-12)


def main_directions(centred: Tensor) -> Tensor:
    """The two directions [2, f] in which centred rows [N, f] spread most, the largest component of each positive."""
    basis = torch.linalg.svd(centred, full_matrices=False).Vh[:2]
    return basis * basis.gather(1, basis.abs().argmax(1, keepdim=True)).sign()


def turned_to(points: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Turn and mirror points about the origin so that the last frame lies as near as it can to the others' last frame.

    The axes of a plane have no direction of their own; two planes of the same examples can so be compared.

    Args:
        points, others: [frames, dots, 2], see `planes.project`.

    Returns:
        [frames, dots, 2].
    """
    U, _, Vt = np.linalg.svd(points[-1].T @ others[-1])
    return points @ (U @ Vt)


def directions(x: np.ndarray) -> np.ndarray:
    """Rows [n, units] centred over the n and divided by their length, float64; products of two are their cosines.

    Centred, since after a ReLU many rows have one neuron alone at work, and all those would have cosine 1.
    """
    centred = x.astype(np.float64) - x.mean(0, dtype=np.float64)
    return centred / np.maximum(np.linalg.norm(centred, axis=1, keepdims=True), 1e-12)


def nearest_alike(x: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """How many of the `SHOWN` nearest of every row share its class.

    Args:
        x: activities [n, units].
        labels: class numbers [n].

    Returns:
        Counts, [n].
    """
    towards = directions(x)
    cosines = towards @ towards.T
    np.fill_diagonal(cosines, -np.inf)
    nearest = np.argsort(-cosines, axis=1, kind="stable")[:, : min(SHOWN, len(x) - 1)]
    return (labels[nearest] == labels[:, None]).sum(1)
