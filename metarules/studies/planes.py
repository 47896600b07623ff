"""Activities seen in a plane and by their directions: projections of a trajectory, and who is near whom."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor

from metarules._checks import check_fit

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
    check_fit(features=(features, "frames N n_L"))
    rows = _unit_rows(features)
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
    """Turn and mirror points so that the last frame lies as near as it can to the others' last frame (Procrustes).

    The axes of a plane have no direction of their own; two planes of the same examples can so be compared. Distances
    between points stay as they are, and so does where the origin is.

    Args:
        points, others: [frames, dots, 2], see `planes.project`; they may have different numbers of frames.

    Returns:
        [frames, dots, 2].
    """
    here, there = (cloud[-1] - cloud[-1].mean(0) for cloud in (points, others))
    U, _, Vt = np.linalg.svd(here.T @ there)
    return points @ (U @ Vt)


def each_turned_to_the_last(clouds: Sequence[np.ndarray]) -> tuple[np.ndarray, ...]:
    """Turn every cloud of the same examples to the one before, so that what is seen to move from one to the next moves.

    Args:
        clouds: [frames, dots, 2] each, say one for each layer.
    """
    return tuple(itertools.accumulate(clouds, lambda before, own: turned_to(own, before)))


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
    check_fit(x=(x, "n units"), labels=(labels, "n"))
    towards = directions(x)
    cosines = towards @ towards.T
    np.fill_diagonal(cosines, -np.inf)
    nearest = np.argsort(-cosines, axis=1, kind="stable")[:, : min(SHOWN, len(x) - 1)]
    return (labels[nearest] == labels[:, None]).sum(1)
