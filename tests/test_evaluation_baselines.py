"""Cheap representations: sizes, chance, and what they refuse."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.cluster import KMeans

from metarules.evaluation import BASELINES, UnsuitableError, baseline_features, baseline_guesses, register_baseline
from metarules.tasks import load_dataset

NETS = ("denoising_autoencoder", "vae", "vicreg_neighbours", "vicreg_local", "barlow_twins")
NETS += ("prototypical", "prototypical_permuted")
DIMS = {"raw": 64, "random_init": 32, "pca_32": 32, "kmeans_32": 32, "kmeans_64": 64, "ica_32": 32, "nmf_32": 32}
DIMS |= {"eigenmaps_32": 32}


@pytest.fixture(scope="module")
def images() -> torch.Tensor:
    """150 letters of 8x8 pixels, [150, 64]."""
    return load_dataset("glyphs", n=150).x


def test_every_baseline_has_its_size_listed_here():
    assert {*DIMS, *NETS, "kmeans_256", "label_spreading"} == set(BASELINES)


@pytest.mark.parametrize("name", DIMS)
def test_features_have_the_size_the_name_says_and_follow_the_seed(name: str, images: torch.Tensor):
    features = baseline_features(name, images, seed=1)
    assert features.shape == (150, DIMS[name]) and features.dtype == torch.float64
    assert torch.isfinite(features).all()
    torch.testing.assert_close(baseline_features(name, images, seed=1), features)
    if not BASELINES[name].random:
        assert torch.equal(baseline_features(name, images, seed=2), features)


@pytest.mark.parametrize("name", NETS)
def test_nets_learn_features_of_their_width_from_the_seed(name: str, images: torch.Tensor):
    """A few steps; how good they are is for the tables."""
    function, x = BASELINES[name].function, images.double().numpy()
    features = function(x, 1, (12, 6), steps=2)
    assert features.shape == (150, 6) and np.isfinite(features).all()
    np.testing.assert_array_equal(function(x, 1, (12, 6), steps=2), features)
    assert np.abs(function(x, 2, (12, 6), steps=2) - features).max() > 1e-3


def test_labels_spread_to_all_examples():
    g = torch.Generator().manual_seed(0)
    x = torch.cat([torch.randn(60, 2, generator=g), torch.randn(60, 2, generator=g) + 12])
    known = torch.full((120,), -1)
    known[:20], known[-20:] = 3, 5
    guesses = baseline_guesses("label_spreading", x, known)
    assert (guesses[:60] == 3).all() and (guesses[60:] == 5).all()
    with pytest.raises(ValueError, match="name is 'raw'; allowed: label_spreading"):
        baseline_guesses("raw", x, known)
    with pytest.raises(ValueError, match="name is 'label_spreading'; allowed: "):
        baseline_features("label_spreading", x)


def test_a_rival_is_registered_once():
    with pytest.raises(ValueError, match="name is 'raw', which "):
        register_baseline("raw", meaning="another")(lambda x, seed, hidden: x)


def test_raw_is_the_input(images: torch.Tensor):
    assert torch.equal(baseline_features("raw", images), images.double())


def test_the_untrained_net_takes_widths_and_seeds(images: torch.Tensor):
    a = baseline_features("random_init", images, seed=0, hidden=(16, 7))
    assert a.shape == (150, 7) and a.min() >= 0
    assert not torch.equal(a, baseline_features("random_init", images, seed=1, hidden=(16, 7)))


def test_pca_is_white(images: torch.Tensor):
    f = baseline_features("pca_32", images)
    torch.testing.assert_close(torch.cov(f.T), torch.eye(32, dtype=torch.float64), atol=1e-8, rtol=0)


def test_k_means_features_are_triangles(images: torch.Tensor):
    f = baseline_features("kmeans_32", images, seed=4).numpy()
    x = images.double().numpy()
    centres = KMeans(32, n_init=10, random_state=4).fit(x).cluster_centers_
    distance = np.sqrt(((x[:, None] - centres) ** 2).sum(-1))
    np.testing.assert_allclose(f, np.maximum(0, distance.mean(1, keepdims=True) - distance), atol=1e-6)
    assert f.min() == 0 and (f > 0).any(axis=1).all()


@pytest.mark.parametrize(
    ("name", "x", "message"),
    [
        ("pca_32", torch.rand(100, 2), "pca_32 needs 32 examples and inputs; this data has 100 and 2"),
        ("ica_32", torch.rand(20, 64), "ica_32 needs 32 examples and inputs; this data has 20 and 64"),
        ("nmf_32", torch.randn(100, 64), "nmf_32 needs inputs of at least 0"),
        ("kmeans_32", torch.ones(100, 64), "kmeans_32 needs 32 distinct examples; this data has 1"),
    ],
)
def test_data_a_baseline_cannot_serve_is_said_plainly(name: str, x: torch.Tensor, message: str):
    with pytest.raises(UnsuitableError, match=message):
        baseline_features(name, x)


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"name": "pca"}, ValueError, "name is 'pca'; allowed: barlow_twins, "),
        ({"x": torch.rand(2, 50, 4)}, ValueError, r"x has shape \[2, 50, 4\]; allowed: \[N, n\]"),
        ({"x": torch.rand(1, 4)}, ValueError, r"x holds 1 example\(s\); allowed: at least 2"),
        ({"x": torch.full((50, 4), torch.inf)}, ValueError, "x holds 200 NaN or infinite values"),
        ({"x": torch.ones(50, 4).int()}, TypeError, "x has dtype torch.int32"),
        ({"x": torch.rand(0, 4)}, ValueError, r"x has shape \[0, 4\] and holds no numbers"),
        ({"seed": -1}, ValueError, "seed is -1; allowed"),
        ({"hidden": (32, 0)}, ValueError, "hidden is 0; allowed"),
    ],
)
def test_errors_name_the_argument_and_what_is_allowed(change: dict, error: type[Exception], message: str):
    arguments = {"name": "raw", "x": torch.rand(50, 4)} | change
    with pytest.raises(error, match=message):
        baseline_features(**arguments)


def test_constant_inputs_give_finite_features():
    x = torch.ones(40, 4)
    for name in ("raw", "random_init"):
        assert torch.isfinite(baseline_features(name, x)).all()
