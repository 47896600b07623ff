"""Which examples lie next to which: a graph of nearest neighbours over all of them, which no new example can join."""

from __future__ import annotations

import warnings
from collections.abc import Sequence

import numpy as np

from metarules.evaluation.baselines import COMPONENTS, need_more_than, register_baseline

NEIGHBOURS = 7  # of each example


@register_baseline(
    "eigenmaps_32", meaning="32 Laplacian eigenmaps of a neighbour graph", random=False, quick=True, net=False
)
def eigenmaps(x: np.ndarray, seed: int, hidden: Sequence[int]) -> np.ndarray:
    """scikit-learn's `SpectralEmbedding`: Belkin and Niyogi, Neural Computation 15 (2003)."""
    from sklearn.manifold import SpectralEmbedding

    need_more_than(x, "eigenmaps_32", COMPONENTS + 1)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Graph is not fully connected")
        model = SpectralEmbedding(COMPONENTS, affinity="nearest_neighbors", n_neighbors=NEIGHBOURS, random_state=0)
        return model.fit_transform(x)


@register_baseline(
    "label_spreading",
    meaning="labels spread over a neighbour graph of all examples (uses labels, makes no features)",
    random=False,
    quick=True,
    uses_labels=True,
    net=False,
)
def label_spreading(x: np.ndarray, known: np.ndarray, seed: int) -> np.ndarray:
    """scikit-learn's `LabelSpreading`: Zhou et al., NeurIPS 2003."""
    from sklearn.semi_supervised import LabelSpreading

    need_more_than(x, "label_spreading", NEIGHBOURS)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "invalid value encountered")  # an example that no label reaches
        model = LabelSpreading(kernel="knn", n_neighbors=NEIGHBOURS).fit(x, known)
    return model.transduction_
