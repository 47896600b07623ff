"""The inputs themselves, an untrained net, and scikit-learn's matrix factorisations. It is loaded when first used."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from metarules.base_model import forward, init_state
from metarules.evaluation.baselines import COMPONENTS, UnsuitableError, need, register_baseline


@register_baseline("raw", meaning="the inputs themselves", random=False, quick=True, net=False)
def raw(x: np.ndarray, seed: int, hidden: Sequence[int]) -> np.ndarray:
    """The inputs as they are."""
    return x


@register_baseline("random_init", meaning="top layer of an untrained base model", quick=True)
def random_init(x: np.ndarray, seed: int, hidden: Sequence[int]) -> np.ndarray:
    """Of the same net as the rules', with initial values as the authors draw them."""
    generator = torch.Generator().manual_seed(seed)
    state = init_state((x.shape[1], *hidden), generator=generator, dtype=torch.float64)
    return forward(state, torch.from_numpy(x)).features.numpy()


@register_baseline("pca_32", meaning="32 principal components, whitened", random=False, quick=True, net=False)
def pca(x: np.ndarray, seed: int, hidden: Sequence[int]) -> np.ndarray:
    """scikit-learn's, by a full decomposition."""
    from sklearn.decomposition import PCA

    need(x, "pca_32")
    return PCA(COMPONENTS, whiten=True, svd_solver="full").fit_transform(x)


@register_baseline("ica_32", meaning="32 independent components", net=False)
def ica(x: np.ndarray, seed: int, hidden: Sequence[int]) -> np.ndarray:
    """scikit-learn's FastICA."""
    from sklearn.decomposition import FastICA

    need(x, "ica_32")
    return _quietly(FastICA(COMPONENTS, whiten="unit-variance", max_iter=500, random_state=seed), x)  # 500: ours


@register_baseline("nmf_32", meaning="32 non-negative factors", net=False)
def nmf(x: np.ndarray, seed: int, hidden: Sequence[int]) -> np.ndarray:
    """scikit-learn's, for inputs of at least 0."""
    from sklearn.decomposition import NMF

    need(x, "nmf_32")
    if x.min() < 0:
        raise UnsuitableError(f"nmf_32 needs inputs of at least 0; this data goes down to {x.min():.3g}")
    return _quietly(NMF(COMPONENTS, init="nndsvda", max_iter=500, random_state=seed), x)


def _quietly(model: Any, x: np.ndarray) -> np.ndarray:
    """fit_transform; an optimum not reached to the last digit is good enough for a baseline."""
    from sklearn.exceptions import ConvergenceWarning

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        return model.fit_transform(x)
