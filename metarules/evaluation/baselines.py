"""Cheap representations to compare with: pixels, an untrained net, PCA, ICA, NMF, k-means.

All behind one call, `baseline_features(name, x, seed=...)`. scikit-learn does the work and is loaded when first used.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from metarules._checks import check_choice, check_examples, check_number, check_tensor, check_widths
from metarules.base_model import WIDTHS, forward, init_state

COMPONENTS = 32  # width of the base model's top layer, so that representations are of one size
RESTARTS = 10  # k-means keeps the best of this many starts: scikit-learn's long-time default
MAX_SEED = 2**32 - 1  # what scikit-learn's random_state takes


class UnsuitableError(ValueError):
    """A baseline that makes no sense on this data: fewer inputs than features, or negative numbers for NMF."""


@dataclass(frozen=True)
class Baseline:
    """A way to make features.

    Attributes:
        function: (x [N, n] float64, seed, net sizes above the input) -> features [N, f].
        random: whether the seed matters; if not, one run is enough.
        meaning: one line for a table's legend.
    """

    function: Callable[[np.ndarray, int, Sequence[int]], np.ndarray]
    random: bool
    meaning: str


def baseline_features(name: str, x: Tensor, *, seed: int = 0, hidden: Sequence[int] = WIDTHS) -> Tensor:
    """Features of all examples, learned without labels on the same examples.

    Args:
        name: one of `BASELINES`.
        x: inputs [N, n].
        seed: of whatever chance is in the method.
        hidden: layer widths above the input, for the untrained net.

    Returns:
        [N, f], float64.

    Raises:
        TypeError: x is not a floating tensor.
        ValueError: unknown name, x not [N, n] with N >= 2, NaN or infinity, a bad seed or width;
            `UnsuitableError` where the method cannot serve this data.
    """
    baseline = BASELINES[check_choice("name", name, BASELINES)]
    check_examples("x", check_tensor("x", x, min_dims=2))
    if x.ndim != 2:
        raise ValueError(f"x has shape {list(x.shape)}; allowed: [N, n], one row per example")
    check_number("seed", seed, low=0, high=MAX_SEED, integer=True)
    check_widths("hidden", tuple(hidden))
    features = baseline.function(x.detach().cpu().double().numpy(), seed, hidden)
    return torch.from_numpy(np.ascontiguousarray(features, dtype=np.float64))


def _raw(x: np.ndarray, seed: int, hidden: Sequence[int]) -> np.ndarray:
    return x


def _random_init(x: np.ndarray, seed: int, hidden: Sequence[int]) -> np.ndarray:
    generator = torch.Generator().manual_seed(seed)
    state = init_state((x.shape[1], *hidden), generator=generator, dtype=torch.float64)
    return forward(state, torch.from_numpy(x)).features.numpy()


def _pca(x: np.ndarray, seed: int, hidden: Sequence[int]) -> np.ndarray:
    from sklearn.decomposition import PCA

    _need(x, "pca", COMPONENTS)
    return PCA(COMPONENTS, whiten=True, svd_solver="full").fit_transform(x)


def _ica(x: np.ndarray, seed: int, hidden: Sequence[int]) -> np.ndarray:
    from sklearn.decomposition import FastICA

    _need(x, "ica", COMPONENTS)
    ica = FastICA(COMPONENTS, whiten="unit-variance", max_iter=500, random_state=seed)  # 500: ours, a second on digits
    return _quietly(ica, x)


def _nmf(x: np.ndarray, seed: int, hidden: Sequence[int]) -> np.ndarray:
    from sklearn.decomposition import NMF

    _need(x, "nmf", COMPONENTS)
    if x.min() < 0:
        raise UnsuitableError(f"nmf_{COMPONENTS} needs inputs of at least 0; this data goes down to {x.min():.3g}")
    return _quietly(NMF(COMPONENTS, init="nndsvda", max_iter=500, random_state=seed), x)


def _k_means(x: np.ndarray, seed: int, hidden: Sequence[int], *, k: int) -> np.ndarray:
    """Triangle features max(0, mean distance - distance): Coates, Lee and Ng, AISTATS 2011, section 3.2.2."""
    from sklearn.cluster import KMeans

    distinct = len(np.unique(x, axis=0))
    if distinct < k:
        raise UnsuitableError(f"kmeans_{k} needs {k} distinct examples; this data has {distinct}")
    distances = KMeans(k, n_init=RESTARTS, random_state=seed).fit_transform(x)
    return np.maximum(distances.mean(axis=1, keepdims=True) - distances, 0)


def _need(x: np.ndarray, name: str, components: int) -> None:
    if min(x.shape) < components:
        raise UnsuitableError(
            f"{name}_{components} needs {components} examples and inputs; this data has {x.shape[0]} and {x.shape[1]}"
        )


def _quietly(model: Any, x: np.ndarray) -> np.ndarray:
    """fit_transform; an optimum not reached to the last digit is good enough for a baseline."""
    from sklearn.exceptions import ConvergenceWarning

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        return model.fit_transform(x)


BASELINES: dict[str, Baseline] = {
    "raw": Baseline(_raw, False, "the inputs themselves"),
    "random_init": Baseline(_random_init, True, "top layer of an untrained base model"),
    "pca_32": Baseline(_pca, False, "32 principal components, whitened"),
    "kmeans_32": Baseline(partial(_k_means, k=32), True, "distances to 32 centroids, triangle features"),
    "kmeans_64": Baseline(partial(_k_means, k=64), True, "distances to 64 centroids, triangle features"),
    "ica_32": Baseline(_ica, True, "32 independent components"),
    "nmf_32": Baseline(_nmf, True, "32 non-negative factors"),
}
