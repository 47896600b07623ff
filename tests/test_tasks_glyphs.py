"""Rendered glyphs: the split, the random map, readability, and the cache."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from metarules.tasks import (
    BROAD_GLYPHS,
    NEAT_GLYPHS,
    PARAMETER_NAMES,
    TRAIN_CHARACTERS,
    TRAIN_FONTS,
    VALIDATION_CHARACTERS,
    VALIDATION_FONTS,
    GlyphSettings,
    draw_characters,
    glyph_split,
    load_dataset,
    render_glyphs,
)
from metarules.tasks.glyph_atlas import CELL, CHARACTERS, FONTS, INK, glyph_atlas
from metarules.tasks.glyph_rendering import _draw_parameters, _fit_into_frame
from metarules.tasks.glyphs import LOOK_ALIKES

STILL = GlyphSettings(scale=(1.0, 1.0), shift=0, rotation=0, shear=0)  # no random map at all


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


# ---------------------------------------------------------------------------------------------------------- the split


def test_fonts_and_letters_held_out_are_not_trained_on() -> None:
    train, validation = glyph_split("train"), glyph_split("validation")
    assert not set(train.fonts) & set(validation.fonts)
    assert not set(train.characters.lower()) & set(validation.characters.lower())
    assert len(train.fonts) + len(validation.fonts) == len(FONTS) == 22
    assert len(train.characters) + len(validation.characters) == 52
    assert not any(c.isdigit() for c in train.characters + validation.characters)  # the judge's classes
    assert glyph_split("all").characters == CHARACTERS
    assert (train.fonts, train.characters) == (TRAIN_FONTS, TRAIN_CHARACTERS)
    assert (validation.fonts, validation.characters) == (VALIDATION_FONTS, VALIDATION_CHARACTERS)
    with pytest.raises(ValueError, match="split is 'test'; allowed: all, train, validation"):
        glyph_split("test")


@given(seed=st.integers(0, 10_000), split=st.sampled_from(["train", "validation", "all"]))
@hypothesis_settings(max_examples=30)
def test_drawn_characters_can_be_told_apart(seed: int, split: str) -> None:
    pool = glyph_split(split).characters
    drawn = draw_characters(10, seeded(seed), pool)
    assert len(set(drawn)) == 10
    assert set(drawn) <= set(pool)
    assert all(len(set(group) & set(drawn)) <= 1 for group in LOOK_ALIKES)


def test_too_many_characters_are_refused() -> None:
    with pytest.raises(ValueError, match="n is 3; allowed: at most 2 of the 3 characters 'CcX', since"):
        draw_characters(3, seeded(), "CcX")
    with pytest.raises(ValueError, match=r"n_classes is 1; allowed: a whole number in \[2"):
        load_dataset("glyphs", n_classes=1)


# ---------------------------------------------------------------------------------------------------------- rendering


@pytest.mark.parametrize("size", [8, 11, 16, 28])
def test_shapes_and_ranges(size: int) -> None:
    images, labels, parameters = render_glyphs("aB3", VALIDATION_FONTS, 20, size, seeded())
    assert images.shape == (20, size * size)
    assert (labels.shape, parameters.shape) == ((20,), (20, len(PARAMETER_NAMES)))
    assert images.min() >= 0
    assert torch.allclose(images.amax(1), torch.ones(20))  # every glyph has ink, the darkest at 1
    assert torch.bincount(labels).tolist() == [7, 7, 6]


def test_one_seed_gives_one_set_and_another_seed_another() -> None:
    first, again, other = (render_glyphs("ABC", FONTS, 30, 8, seeded(s), BROAD_GLYPHS) for s in (1, 1, 2))
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    assert not torch.equal(first[0], other[0])
    one, two = load_dataset("glyphs", n=40, seed=5), load_dataset("glyphs", n=40, seed=6)
    assert torch.equal(one.x, load_dataset("glyphs", n=40, seed=5).x)
    assert one.class_names != two.class_names


def test_still_glyphs_are_centred_and_fill_the_frame() -> None:
    images, _, _ = render_glyphs(CHARACTERS, FONTS, 620, 28, seeded(), STILL)
    ink = images.view(-1, 28, 28) > 0.1
    spans = []
    for dim in (1, 2):
        on = ink.any(dim).float()  # rows or columns with ink
        first, last = on.argmax(1), 27 - on.flip(1).argmax(1)
        assert ((first + last - 27).abs() <= 1).all()
        spans.append(last - first + 1)
    assert (torch.stack(spans).amax(0) >= 27).all()  # the longer side fills the image


@given(
    seed=st.integers(0, 10_000),
    bent=st.sampled_from([GlyphSettings(), BROAD_GLYPHS, GlyphSettings((0.4, 1.0), shift=0.5, rotation=180, shear=1)]),
)
@hypothesis_settings(max_examples=20)
def test_no_glyph_is_cut_off(seed: int, bent: GlyphSettings) -> None:
    """The corners of the ink's box stay inside the frame, whatever was drawn."""
    extents = 0.05 + 0.95 * torch.rand(50, 2, generator=seeded(seed))
    used, theta = _fit_into_frame(_draw_parameters(50, bent, seeded(seed)), extents)
    corners = torch.tensor([[1.0, 1.0], [1.0, -1.0], [-1.0, 1.0], [-1.0, -1.0]]) * extents[:, None] * INK / CELL
    linear, offset = theta[..., :2], theta[..., 2:]  # cell = linear @ frame + offset
    seen = torch.linalg.solve(linear, corners.mT - offset)
    assert seen.abs().max() <= 1 + 1e-4
    assert torch.allclose(seen.mean(-1) / 2, used[:, :2], atol=1e-5)  # the middle lies where the shift says
    area = (INK / CELL) ** 2 / torch.linalg.det(linear)
    assert torch.allclose(area, (2 * used[:, 3]).exp(), rtol=1e-3)  # and the size is what the scale says


def test_parameters_describe_the_image() -> None:
    moved = GlyphSettings(scale=(0.5, 0.6), shift=0.15, rotation=0, shear=0)
    images, _, parameters = render_glyphs("O", ["DejaVuSans"], 50, 28, seeded(), moved)
    ink = images.view(-1, 28, 28) / images.sum(1)[:, None, None]
    middle = (torch.arange(28) + 0.5) / 28 - 0.5
    assert torch.allclose((ink.sum(1) * middle).sum(1), parameters[:, 0], atol=0.01)  # to the right
    assert torch.allclose((ink.sum(2) * middle).sum(1), parameters[:, 1], atol=0.01)  # down
    assert 0.5 - 1e-6 <= parameters[:, 3].exp().min()
    assert parameters[:, 3].exp().max() <= 0.6 + 1e-6
    height = (images.view(-1, 28, 28) > 0.3).any(2).sum(1) / 28
    assert torch.allclose(height, parameters[:, 3].exp(), atol=0.08)


def test_rotation_turns_clockwise_and_shear_leans_right() -> None:
    turn = replace(STILL, scale=(0.7, 0.7), rotation=45)
    for bent, column in ((turn, 2), (replace(STILL, scale=(0.7, 0.7), shear=0.9), 4)):
        images, _, parameters = render_glyphs("I", ["DejaVuSans"], 40, 28, seeded(), bent)
        top, bottom = images.view(-1, 28, 28)[:, :14], images.view(-1, 28, 28)[:, 14:]
        columns = torch.arange(28.0)
        lean = [(half.sum(1) * columns).sum(1) / half.sum((1, 2)) for half in (top, bottom)]
        assert torch.corrcoef(torch.stack([lean[0] - lean[1], parameters[:, column]]))[0, 1] > 0.98


def test_spoiling_options() -> None:
    clean, _, _ = render_glyphs("AB", FONTS, 40, 16, seeded(), STILL)

    def spoilt(**changes: object) -> torch.Tensor:
        return render_glyphs("AB", FONTS, 40, 16, seeded(), replace(STILL, **changes))[0]

    assert torch.allclose(spoilt(invert=1.0), 1 - clean)
    assert torch.allclose(spoilt(gamma=(2.0, 2.0)), clean**2, atol=1e-6)
    noisy = spoilt(noise=(0.2, 0.2))
    middling = (clean > 0.4) & (clean < 0.6)
    assert (noisy - clean)[middling].std().item() == pytest.approx(0.2, rel=0.2)
    assert 0 <= noisy.min() <= noisy.max() <= 1
    share = render_glyphs("AB", FONTS, 400, 8, seeded(), replace(STILL, invert=0.3))[2][
        :, PARAMETER_NAMES.index("inverted")
    ]
    assert share.mean().item() == pytest.approx(0.3, abs=0.1)


def test_blur_has_the_width_it_says() -> None:
    """The variance of a blurred spot is the spot's plus the blur's."""
    small = replace(STILL, scale=(0.4, 0.4))

    def variance(settings: GlyphSettings) -> torch.Tensor:
        ink = render_glyphs("O", ["cmb10"], 1, 28, seeded(), settings)[0].view(28, 28)
        place = torch.arange(28.0)
        profile = ink.sum(0) / ink.sum()
        return (profile * (place - (profile * place).sum()) ** 2).sum()

    for sigma in (0.6, 2.0):
        blurred = variance(replace(small, blur=(sigma, sigma)))
        assert (blurred - variance(small)).item() == pytest.approx(sigma**2, rel=0.05)


def test_a_neighbour_classifier_reads_glyphs_of_held_out_fonts() -> None:
    """Trained on some fonts, 1-NN reads others well above chance (0.1), at the smallest size."""
    letters = "ABDFHJLRST"
    known, known_labels, _ = render_glyphs(letters, TRAIN_FONTS, 1500, 8, seeded(0), NEAT_GLYPHS)
    asked, asked_labels, _ = render_glyphs(letters, VALIDATION_FONTS, 300, 8, seeded(1), NEAT_GLYPHS)
    guess = known_labels[torch.cdist(asked, known).argmin(1)]
    assert (guess == asked_labels).float().mean() > 0.75


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"characters": ""}, "characters is ''; allowed: at least one of ABC"),
        ({"characters": "Aß"}, "characters holds 'ß'; allowed: single characters"),
        ({"characters": ["AB"]}, "characters holds 'AB'; allowed: single characters"),
        ({"characters": "AA"}, "characters is 'AA'; allowed: no character twice"),
        ({"fonts": []}, r"fonts is \[\]; allowed: a list or tuple of at least one of DejaVuSans"),
        ({"fonts": "cmr10"}, "fonts is 'cmr10'; allowed: a list or tuple"),
        ({"fonts": ["Comic"]}, "fonts names 'Comic'; allowed: .*cmr10"),
        ({"fonts": ["cmr10", "cmr10"]}, "allowed: no font twice"),
        ({"n": 0}, r"n is 0; allowed: a whole number in \[1"),
        ({"size": 7}, r"size is 7; allowed: a whole number in \[8, 28\]"),
        ({"size": 29}, r"size is 29; allowed: a whole number in \[8, 28\]"),
    ],
)
def test_render_refuses(change: dict[str, object], message: str) -> None:
    arguments = {"characters": "AB", "fonts": ["cmr10"], "n": 4, "size": 8, "generator": seeded(), **change}
    with pytest.raises((TypeError, ValueError), match=message):
        render_glyphs(**arguments)


@pytest.mark.usefixtures("unchecked_types")
def test_wrong_types_are_refused() -> None:
    with pytest.raises(TypeError, match=r"generator is 0; allowed: a torch\.Generator"):
        render_glyphs("AB", FONTS, 4, 8, 0)
    with pytest.raises(TypeError, match=r"size is 8\.0; allowed: a whole number"):
        render_glyphs("AB", FONTS, 4, 8.0, seeded())
    with pytest.raises(TypeError, match="seed is 'x'; allowed: a whole number"):
        load_dataset("glyphs", seed="x")
    with pytest.raises(ValueError, match=r"n is 9; allowed: a whole number in \[10"):
        load_dataset("glyphs", n=9)


@pytest.mark.usefixtures("unchecked_types")
@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"scale": (0.2, 0.9)}, ValueError, r"scale\[0\] is 0.2; allowed: a number in \[0.4, 1.0\]"),
        ({"scale": (0.9, 0.8)}, ValueError, r"scale is \(0.9, 0.8\); allowed: \(from, to\) with from <= to"),
        ({"gamma": (0.0, 1.0)}, ValueError, r"gamma\[0\] is 0.0; allowed: a number in \[0.2, 5.0\]"),
        ({"noise": (0.0, float("nan"))}, ValueError, r"noise\[1\] is nan"),
        ({"blur": (0.0, 9.0)}, ValueError, r"blur\[1\] is 9.0; allowed: a number in \[0.0, 3.0\]"),
        ({"invert": 2}, ValueError, r"invert is 2; allowed: a number in \[0.0, 1.0\]"),
        ({"rotation": "far"}, TypeError, "rotation is 'far'; allowed: a number"),
        ({"shift": -0.1}, ValueError, "shift is -0.1; allowed"),
        ({"shear": 1.5}, ValueError, "shear is 1.5; allowed"),
    ],
)
def test_settings_refuse(change: dict[str, object], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        GlyphSettings(**change)


# ---------------------------------------------------------------------------------------------------- atlas and cache


def test_atlas_cells_are_centred_with_an_empty_rim() -> None:
    atlas = glyph_atlas()
    assert atlas.cells.shape == (22, 62, CELL, CELL)
    rim = (CELL - INK) // 2
    assert atlas.cells[:, :, rim:-rim, rim:-rim].sum() == atlas.cells.sum()
    assert (atlas.extents.amax(-1) == 1).all()
    assert (atlas.cells.flatten(2).amax(-1) > 200).all()
