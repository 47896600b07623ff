"""Random handwriting: the split, the strokes, the ink, and what its classes are like."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from metarules.tasks import HANDWRITING_TARGETS, Dataset, HandwritingSettings, handwriting, handwriting_split
from metarules.tasks.handwriting import _alphabet
from metarules.tasks.pen_paths import ARC, POLYLINE, SPLINE, curve_weights, draw_ink, draw_strokes

# one style, no wobble: all instances of a class are one image
STILL = HandwritingSettings((0, 0), (1, 1), 0, (0.08, 0.08), 0, 0, 0, 0, (1, 1), (0, 0), 0)
KINDS = (SPLINE, ARC, POLYLINE)


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def neighbour_share(data: Dataset, k: int) -> float:
    """Share of the k nearest neighbours that are of the same class."""
    distances = torch.cdist(data.x, data.x).fill_diagonal_(float("inf"))
    return float((data.y[distances.topk(k, largest=False).indices] == data.y[:, None]).float().mean())


def box(images: torch.Tensor, threshold: float = 0.3) -> tuple[torch.Tensor, torch.Tensor]:
    """Width and height of the ink of images [n, size, size]."""
    ink = images > threshold
    return ink.any(1).sum(1), ink.any(2).sum(1)


# ---------------------------------------------------------------------------------------------------------- the split


def test_the_sides_differ_in_kind() -> None:
    (train,), (held_out,) = handwriting_split("train"), handwriting_split("validation")
    assert not set(train.paths) & set(held_out.paths)
    assert train.strokes != held_out.strokes and train.broad != held_out.broad and train.restroke != held_out.restroke
    assert handwriting_split("all") == (train, held_out)
    with pytest.raises(ValueError, match="split is 'test'; allowed: all, train, validation"):
        handwriting(split="test")


def test_styles_are_of_the_sides_kind() -> None:
    (train,), (held_out,) = handwriting_split("train"), handwriting_split("validation")
    ours, theirs = (_alphabet(side, HandwritingSettings(), 6, 3, False, seeded()) for side in (train, held_out))
    moved = (ours.control[:, 1:] != ours.control[:, :1]).any(-1).any(-1)
    assert moved.all()  # a little, every stroke
    assert 0.02 < (ours.control[:, 1] - ours.control[:, 0]).std() < 0.5
    redrawn = (theirs.control[:, 1:] != theirs.control[:, :1]).any(-1).any(-1)
    assert (redrawn.sum(-1) == 1).all()  # one stroke, out of those that the character has
    assert (redrawn.float().argmax(-1) < theirs.strokes[:, None]).all()


# ---------------------------------------------------------------------------------------------------------- the data


@pytest.mark.parametrize("split", ["train", "validation"])
@pytest.mark.parametrize("size", [8, 13, 28])
def test_shapes_ranges_and_seeds(split: str, size: int) -> None:
    data, again, other = (handwriting(63, 6, size, split, seed=seed) for seed in (3, 3, 4))
    assert torch.equal(data.x, again.x) and torch.equal(data.y, again.y)
    assert not torch.equal(data.x, other.x)
    assert (data.x.shape, data.shape, data.n_classes) == ((63, size * size), (size, size), 6)
    assert sorted(torch.bincount(data.y).tolist()) == [10, 10, 10, 11, 11, 11]
    assert data.x.min() == 0 and data.x.max() == 1
    assert 0.05 < data.x.mean() < 0.6  # ink on paper
    assert data.targets is not None and data.targets.shape == (63, len(HANDWRITING_TARGETS))
    assert torch.allclose(data.targets.std(0, correction=0), torch.ones(4), atol=1e-4)


def test_characters_do_not_depend_on_the_size() -> None:
    for split in ("train", "validation"):
        for seed in range(10):
            small, large = (handwriting(40, 10, size, split, seed=seed) for size in (14, 28))
            assert torch.equal(small.y, large.y)
            halved = torch.nn.functional.avg_pool2d(large.x.view(-1, 1, 28, 28), 2).flatten(1)
            assert (halved - small.x).abs().mean() < 0.05


def test_the_global_generator_is_left_alone() -> None:
    torch.manual_seed(0)
    before = torch.get_rng_state()
    handwriting(20, 4)
    assert torch.equal(before, torch.get_rng_state())


@pytest.mark.parametrize("split", ["train", "validation"])
def test_neighbours_are_of_one_class_as_in_peoples_data(split: str) -> None:
    """Digits have 0.97 (7 of the whole set); held-out letters, at as many examples, have 0.8."""
    shares = torch.tensor([neighbour_share(handwriting(1000, split=split, seed=seed), 7) for seed in range(6)])
    assert 0.85 < shares.mean() < 0.99
    assert shares.min() > 0.6


def test_targets_say_what_is_seen() -> None:
    data = handwriting(600, 3, 28, settings=replace(STILL, slant=0.2, pen_spread=0.15), seed=2)
    images = data.x.view(-1, 28, 28)
    places = (images * torch.arange(28) / 28).sum(2) / images.sum(2).clamp_min(0.01)  # of a row's ink, from the left
    lean = places[:, 2:9].mean(1) - places[:, 19:26].mean(1)
    for c in range(3):
        own = data.targets[data.y == c]
        for column, seen in ((0, lean), (3, images.sum((1, 2)))):
            assert torch.corrcoef(torch.stack([own[:, column], seen[data.y == c]]))[0, 1] > 0.9


def test_hasty_hands_are_harder_to_read() -> None:
    neat, hasty = (
        neighbour_share(handwriting(500, settings=HandwritingSettings(wobble=(w, w)), seed=2), 3) for w in (0.02, 0.2)
    )
    assert neat > hasty + 0.1


# ---------------------------------------------------------------------------------------------------------- the strokes


def test_still_hands_write_one_image_and_fill_the_frame() -> None:
    data = handwriting(40, 4, 28, settings=STILL)
    for c in range(4):
        own = data.x[data.y == c]
        assert torch.equal(own, own[:1].expand_as(own))
    width, height = box(data.x.view(-1, 28, 28))
    assert (torch.maximum(width, height) >= 26).all()
    stretched = handwriting(40, 4, 28, settings=replace(STILL, stretch=(1, 1)))
    wide, high = box(stretched.x.view(-1, 28, 28))
    assert (torch.minimum(wide, high) >= torch.minimum(width, height)).all()
    assert torch.equal(data.targets, torch.zeros(40, 4))


@pytest.mark.parametrize("split", ["train", "validation"])
def test_characters_can_be_told_apart(split: str) -> None:
    for seed in range(5):
        data = handwriting(10, 10, 8, split, settings=STILL, seed=seed)
        apart = torch.cdist(data.x, data.x).fill_diagonal_(float("inf")).square()
        assert apart.min() > 0.15 * data.x.square().sum(1).mean()


@pytest.mark.parametrize("kind", KINDS)
@given(seed=st.integers(0, 10_000), points=st.integers(3, 7), strokes=st.integers(1, 3))
@hypothesis_settings(max_examples=20)
def test_strokes_are_finite_and_not_all_in_one_spot(kind: str, seed: int, points: int, strokes: int) -> None:
    points = 3 if kind == ARC else points
    drawn = draw_strokes(kind, 5, strokes, points, seeded(seed))
    assert drawn.shape == (5, strokes, points, 2)
    curve = curve_weights(kind, 5 * strokes, points, 24, seeded(seed)).unflatten(0, (5, strokes)) @ drawn
    span = (curve.amax(2) - curve.amin(2)).amax(-1)
    assert curve.isfinite().all() and span.min() > 0.1 and curve.abs().max() < 3


def test_curves_are_what_they_are_called() -> None:
    square = torch.tensor([[0.0, 0.0], [1.0, 0.0], [1.0, 1.0], [0.0, 1.0]])
    for kind in (SPLINE, POLYLINE):
        weights = curve_weights(kind, 1, 4, 31, seeded())[0]
        assert torch.allclose(weights.sum(1), torch.ones(31), atol=1e-6) and weights.min() >= 0
        curve = weights @ square
        corner = (curve - square[1]).norm(dim=1).min()
        assert corner < 1e-5 if kind == POLYLINE else corner > 0.1  # a spline rounds it off
    circle = torch.tensor([[0.5, 0.5], [0.9, 0.5], [0.5, 0.9]])
    arc = curve_weights(ARC, 1, 3, 31, seeded())[0] @ circle
    assert torch.allclose((arc - 0.5).norm(dim=1), torch.full((31,), 0.4), atol=1e-5)


@pytest.mark.parametrize("size", [8, 28])
def test_ink_covers_what_the_pen_covers(size: int) -> None:
    line = torch.stack([torch.linspace(0.2, 0.8, 64), torch.full((64,), 0.5)], -1)
    for radius in (0.08, 0.12):
        ink = draw_ink(line[None], torch.tensor([radius]), size, broad=False)[0]
        area = 0.6 * 2 * radius + torch.pi * radius**2
        assert float(ink.mean()) == pytest.approx(area, rel=0.1)
        assert torch.allclose(ink, ink.flip(0), atol=1e-3)
        assert torch.allclose(ink, ink.flip(1), atol=1e-3)
    place = line[:, 0] - 0.5
    thin, thick = (  # lines at 40 degrees, the angle of the broad pen, and across it
        float(
            draw_ink(0.5 + torch.stack([0.77 * place, slope * place], -1)[None], torch.tensor([0.1]), 28, True).mean()
        )
        for slope in (-0.64, 0.64)
    )
    assert thick > 1.4 * thin


# ---------------------------------------------------------------------------------------------------------- errors


@pytest.mark.usefixtures("unchecked_types")
@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"n": 9}, ValueError, r"n is 9; allowed: a whole number in \[10"),
        ({"n": 99.5}, TypeError, "n is 99.5; allowed: a whole number"),
        ({"settings": {"pen": 1}}, TypeError, r"settings is {'pen': 1}; allowed: a HandwritingSettings or None"),
        ({"n_classes": 1}, ValueError, r"n_classes is 1; allowed: a whole number in \[2, 20\]"),
        ({"n_classes": 21}, ValueError, r"n_classes is 21; allowed: a whole number in \[2, 20\]"),
        ({"size": 7}, ValueError, r"size is 7; allowed: a whole number in \[8, 28\]"),
        ({"size": 29}, ValueError, r"size is 29; allowed: a whole number in \[8, 28\]"),
        ({"seed": -1}, ValueError, "seed is -1"),
    ],
)
def test_bad_options_are_named(options: dict[str, Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        handwriting(**options)


@pytest.mark.parametrize(
    ("changed", "error", "message"),
    [
        ({"pen": (0.1, 0.05)}, ValueError, "pen is .*; allowed: .*from <= to"),
        ({"pen": (0.0, 0.05)}, ValueError, r"pen\[0\] is 0.0; allowed: a number in \[0.02, 0.2\]"),
        ({"styles": (0, 2)}, ValueError, r"styles\[0\] is 0; allowed: a number in \[1, 10\]"),
        ({"slant": -0.1}, ValueError, r"slant is -0.1; allowed: a number in \[0.0, 1.0\]"),
        ({"shift": float("nan")}, ValueError, "shift is nan"),
    ],
)
def test_settings_out_of_range_are_named(changed: dict[str, Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        HandwritingSettings(**changed)
