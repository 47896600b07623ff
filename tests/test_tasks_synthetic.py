"""Two moons, rings, blobs, spirals, and random decoders."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from metarules.tasks import TRAIN_FAMILIES, VALIDATION_FAMILIES, Dataset, load_dataset

SHAPES = ["two_moons", "rings", "blobs", "spirals"]
FAMILIES = [*TRAIN_FAMILIES, *VALIDATION_FAMILIES]


def neighbour_accuracy(data: Dataset) -> float:
    """Leave-one-out accuracy of the nearest neighbour."""
    distances = torch.cdist(data.x, data.x).fill_diagonal_(float("inf"))
    return (data.y[distances.argmin(1)] == data.y).float().mean().item()


@pytest.mark.parametrize("name", [*SHAPES, "random_decoder"])
def test_reproducible_by_seed(name: str) -> None:
    one, again, other = (load_dataset(name, n=50, seed=s) for s in (3, 3, 4))
    assert torch.equal(one.x, again.x)
    assert torch.equal(one.y, again.y)
    assert not torch.equal(one.x, other.x)


@pytest.mark.parametrize("name", SHAPES)
def test_shapes_lie_in_the_unit_square_and_can_be_told_apart(name: str) -> None:
    data = load_dataset(name)
    assert data.x.shape == (1000, 2)
    assert data.shape is None
    assert -0.15 < data.x.min() < data.x.max() < 1.15
    assert neighbour_accuracy(data) > 0.97
    counts = torch.bincount(data.y)
    assert counts.max() - counts.min() <= 1


@pytest.mark.parametrize("name", SHAPES)
def test_lift_keeps_distances(name: str) -> None:
    flat = load_dataset(name, n=60)
    lifted = load_dataset(name, n=60, dimension=17, lift_noise=0)
    assert lifted.x.shape == (60, 17)
    assert torch.allclose(torch.pdist(flat.x), torch.pdist(lifted.x), atol=1e-5)
    noisy = load_dataset(name, n=60, dimension=17, lift_noise=0.1)
    assert (noisy.x - lifted.x).std().item() == pytest.approx(0.1, rel=0.1)


def test_shapes_are_what_they_are_called() -> None:
    ring = load_dataset("rings", n_classes=3, noise=0)
    radius = (ring.x - 0.5).norm(dim=1) / 0.45
    assert torch.allclose(radius, (ring.y + 1) / 3, atol=1e-5)
    arm = load_dataset("spirals", n_classes=3, turns=2, noise=0)
    offset = (arm.x - 0.5) / 0.45
    turned = torch.atan2(offset[:, 1], offset[:, 0]) / (2 * torch.pi) - 2 * offset.norm(dim=1) - arm.y / 3
    assert torch.allclose(turned, turned.round(), atol=1e-4)
    moons = load_dataset("two_moons", noise=0)
    offset = (moons.x - 0.5) / 0.45 * 1.5 * torch.where(moons.y == 0, 1, -1)[:, None] + torch.tensor([0.5, 0.25])
    assert torch.allclose(offset.norm(dim=1), torch.ones(1000), atol=1e-5)
    assert offset[:, 1].min() > -1e-5


@given(
    seed=st.integers(0, 10_000),
    family=st.sampled_from(FAMILIES),
    n_classes=st.integers(2, 20),
    dimension=st.sampled_from([2, 7, 16, 64, 100]),
)
@settings(max_examples=40)
def test_decoders_stay_in_range_and_balanced(seed: int, family: str, n_classes: int, dimension: int) -> None:
    data = load_dataset("random_decoder", n=60, n_classes=n_classes, dimension=dimension, family=family, seed=seed)
    assert data.x.shape == (60, dimension)
    assert 0 <= data.x.min() <= data.x.max() <= 1
    counts = torch.bincount(data.y, minlength=n_classes)
    assert counts.max() - counts.min() <= 1
    assert data.shape == {16: (4, 4), 64: (8, 8), 100: (10, 10)}.get(dimension)
    assert family in data.name


@pytest.mark.parametrize("family", FAMILIES)
def test_decoders_are_separable_but_not_trivially(family: str) -> None:
    sets = [load_dataset("random_decoder", n=600, n_classes=5, family=family, seed=s) for s in range(6)]
    mean = sum(map(neighbour_accuracy, sets)) / len(sets)
    assert 0.5 < mean < 0.97  # chance is 0.2
    lost = load_dataset("random_decoder", n=600, n_classes=5, family=family, separation=0, clusters=10, seed=0)
    assert neighbour_accuracy(lost) < mean  # the clusters' centres carry the classes


def test_families_held_out_are_others() -> None:
    assert not set(TRAIN_FAMILIES) & set(VALIDATION_FAMILIES)
    for split, families in (("train", TRAIN_FAMILIES), ("validation", VALIDATION_FAMILIES)):
        names = {load_dataset("random_decoder", n=20, split=split, seed=s).name for s in range(40)}
        assert names == {f"random decoder ({family})" for family in families}


@pytest.mark.usefixtures("unchecked_types")
@pytest.mark.parametrize(
    ("name", "options", "error", "message"),
    [
        ("two_moons", {"n": 1}, ValueError, r"n is 1; allowed: a whole number in \[2"),
        ("two_moons", {"noise": -1}, ValueError, r"noise is -1; allowed: a number in \[0, 1\]"),
        ("two_moons", {"noise": float("nan")}, ValueError, "noise is nan; allowed"),
        ("rings", {"n_classes": 21}, ValueError, r"n_classes is 21; allowed: a whole number in \[2, 20\]"),
        ("rings", {"dimension": 1}, ValueError, r"dimension is 1; allowed: a whole number in \[2"),
        ("blobs", {"lift_noise": 2.0}, ValueError, "lift_noise is 2.0; allowed"),
        ("blobs", {"n": "many"}, TypeError, "n is 'many'; allowed: a whole number"),
        ("spirals", {"turns": 6}, ValueError, r"turns is 6; allowed: a number in \[0, 5\]"),
        ("spirals", {"seed": -1}, ValueError, r"seed is -1; allowed: a whole number in \[0"),
        ("spirals", {"seed": True}, TypeError, "seed is True; allowed: a whole number"),
        ("random_decoder", {"family": "cnn"}, ValueError, "family is 'cnn'; allowed: bumps, gated, linear"),
        ("random_decoder", {"split": "test"}, ValueError, "split is 'test'; allowed: all, train, validation"),
        ("random_decoder", {"n_classes": 1}, ValueError, r"n_classes is 1; allowed: a whole number in \[2, 20\]"),
        ("random_decoder", {"n": 5}, ValueError, r"n is 5; allowed: a whole number in \[10"),
        ("random_decoder", {"dimension": 0}, ValueError, "dimension is 0; allowed"),
        ("random_decoder", {"latent_dimension": 65}, ValueError, r"latent_dimension is 65; allowed: .* \[1, 64\]"),
        ("random_decoder", {"clusters": 0}, ValueError, "clusters is 0; allowed"),
        ("random_decoder", {"separation": 11}, ValueError, "separation is 11; allowed"),
        ("random_decoder", {"noise": None}, TypeError, "noise is None; allowed"),
    ],
)
def test_options_out_of_range(name: str, options: dict[str, object], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        load_dataset(name, **options)
