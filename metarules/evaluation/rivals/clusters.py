"""k-means with triangle features, which single-layer networks were once hard pressed to beat."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial, update_wrapper

import numpy as np

from metarules.evaluation.baselines import UnsuitableError, register_baseline

RESTARTS = 10  # k-means keeps the best of this many starts: scikit-learn's long-time default
SIZES = {32: True, 64: True, 256: False}  # numbers of centroids; whether they are quick


def k_means(x: np.ndarray, seed: int, hidden: Sequence[int], *, k: int) -> np.ndarray:
    """Triangle features max(0, mean distance - distance): Coates, Lee and Ng, AISTATS 2011, section 3.2.2."""
    from sklearn.cluster import KMeans

    distinct = len(np.unique(x, axis=0))
    if distinct < k:
        raise UnsuitableError(f"kmeans_{k} needs {k} distinct examples; this data has {distinct}")
    return triangle(KMeans(k, n_init=RESTARTS, random_state=seed).fit_transform(x))


def triangle(distances: np.ndarray) -> np.ndarray:
    """Features [N, k] from distances to centroids [N, k]: how much nearer than their mean each is, or 0."""
    return np.maximum(distances.mean(axis=1, keepdims=True) - distances, 0)


for _k, _quick in SIZES.items():
    _meaning = f"distances to {_k} centroids, triangle features"
    register_baseline(f"kmeans_{_k}", meaning=_meaning, quick=_quick, net=False)(
        update_wrapper(partial(k_means, k=_k), k_means)
    )
