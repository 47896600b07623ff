"""The distribution of meta-training tasks: what is held out stays out, and a generator decides everything."""

from __future__ import annotations

import importlib
import re
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
import torch

from metarules.tasks import (
    NEAT_GLYPHS,
    TRAIN_CHARACTERS,
    TRAIN_FAMILIES,
    TRAIN_FONTS,
    VALIDATION_CHARACTERS,
    VALIDATION_FAMILIES,
    VALIDATION_FONTS,
    Dataset,
    draw_characters,
    glyph_split,
)
from metarules.tasks.distribution import (
    MAX_CLASSES,
    DistributionSettings,
    TaskPool,
    draw_dataset,
    validation_tasks,
)

SMALL = DistributionSettings(n_examples=20, n_classes=4)
glyphs_module = importlib.import_module("metarules.tasks.glyphs")  # the package's own `glyphs` is the function


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def family(data: Dataset) -> str | None:
    """The decoder's kind, None for glyphs."""
    found = re.fullmatch(r"random decoder \((\w+)\)", data.name)
    assert found or data.name == "glyphs"
    return found[1] if found else None


# ---------------------------------------------------------------------------------------------- held out


def test_the_splits_share_nothing():
    assert not set(TRAIN_FONTS) & set(VALIDATION_FONTS)
    assert not {c.lower() for c in TRAIN_CHARACTERS} & {c.lower() for c in VALIDATION_CHARACTERS}
    assert not set(TRAIN_FAMILIES) & set(VALIDATION_FAMILIES)
    assert not any(c.isdigit() for c in TRAIN_CHARACTERS + VALIDATION_CHARACTERS)  # digits are the yardstick


@pytest.fixture(scope="module")
def drawn() -> dict[str, list[tuple[Dataset, Sequence[str]]]]:
    """Sixty data sets of each split, with the fonts that each was rendered in (none for decoders)."""
    found: dict[str, list[tuple[Dataset, Sequence[str]]]] = {}
    render = glyphs_module.render_glyphs
    used: list[Sequence[str]] = []

    def watched(characters: Any, fonts: Sequence[str], *rest: Any) -> Any:
        used.append(fonts)
        return render(characters, fonts, *rest)

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(glyphs_module, "render_glyphs", watched)
        for split in ("train", "validation"):
            g, found[split] = seeded(1), []
            for _ in range(60):
                used.clear()
                data = draw_dataset(SMALL, split, g)
                found[split].append((data, used[0] if used else ()))
    return found


@pytest.mark.parametrize(
    ("split", "fonts", "characters", "families"),
    [
        ("train", TRAIN_FONTS, TRAIN_CHARACTERS, TRAIN_FAMILIES),
        ("validation", VALIDATION_FONTS, VALIDATION_CHARACTERS, VALIDATION_FAMILIES),
    ],
)
def test_every_data_set_drawn_keeps_to_its_split(
    split: str, fonts: Sequence[str], characters: str, families: dict[str, Any], drawn: dict[str, Any]
):
    seen_fonts, seen_characters, seen_families = set(), set(), set()
    for data, in_fonts in drawn[split]:
        assert (data.x.shape, data.n_classes, data.shape) == ((20, 64), 4, (8, 8))
        assert float(data.x.min()) >= 0 and float(data.x.max()) <= 1
        assert torch.bincount(data.y).tolist() == [5, 5, 5, 5]
        if kind := family(data):
            seen_families.add(kind)
        else:
            seen_characters |= set(data.class_names)
            seen_fonts |= set(in_fonts)
    assert seen_fonts == set(fonts)
    assert seen_characters <= set(characters) and len(seen_characters) > 15
    assert seen_families == set(families)


def test_kinds_tones_and_deformations_come_in_their_shares():
    g = seeded(2)
    settings = replace(SMALL, n_examples=4)
    kinds = [family(draw_dataset(settings, "train", g)) for _ in range(300)]
    assert 0.5 < kinds.count(None) / 300 < 0.7  # glyph_share is 0.6
    for share in (0.0, 1.0):
        only = replace(settings, glyph_share=share)
        assert {family(draw_dataset(only, "train", g)) is None for _ in range(20)} == {share == 1.0}
    # neat glyphs have little ink: the mean tells whether ink and paper were exchanged
    neat = replace(settings, glyph_share=1.0, glyphs=(NEAT_GLYPHS,))
    dark = [float(draw_dataset(replace(neat, inverted_share=share), "train", seeded(3)).x.mean()) for share in (0, 1)]
    assert dark[0] < 0.4 < 0.6 < dark[1]
    assert dark[0] + dark[1] == pytest.approx(1, abs=1e-5)


# ---------------------------------------------------------------------------------------------- reproducible


def test_the_generator_decides_everything():
    for split in ("train", "validation"):
        first, again = seeded(4), seeded(4)
        for _ in range(5):
            a, b = draw_dataset(SMALL, split, first), draw_dataset(SMALL, split, again)
            assert torch.equal(a.x, b.x) and torch.equal(a.y, b.y)
            assert (a.name, a.class_names) == (b.name, b.class_names)
        assert not torch.equal(a.x, draw_dataset(SMALL, split, first).x)
    for kind in ("glyphs", "decoders"):
        a, b, other = (validation_tasks(SMALL, 3, seeded(seed), kind) for seed in (5, 5, 6))
        assert torch.equal(a.x, b.x) and torch.equal(a.permutation, b.permutation)
        assert not torch.equal(a.x, other.x)


def test_validation_tasks_are_of_one_kind_each_permuted():
    for kind in ("glyphs", "decoders"):
        task = validation_tasks(SMALL, 6, seeded(7), kind)
        assert (task.tasks, task.n_examples, task.n_inputs, task.n_classes) == ((6,), 20, 64, 4)
        assert len({tuple(p.tolist()) for p in task.permutation}) == 6
        names = set(task.name.split(" + "))
        if kind == "glyphs":
            assert names == {"glyphs"}
        else:
            assert names <= {f"random decoder ({family})" for family in VALIDATION_FAMILIES}


# ---------------------------------------------------------------------------------------------- the pool


def test_a_pool_replaces_its_oldest_and_always_permutes_anew():
    g = seeded(8)
    pool = TaskPool(SMALL, 5, g, fresh=2)
    before = list(pool.datasets)
    task = pool.draw(40, g)
    assert task.tasks == (40,)
    assert [a is b for a, b in zip(before, pool.datasets, strict=True)] == [False, False, True, True, True]
    between = list(pool.datasets)
    pool.draw(1, g)
    assert [a is b for a, b in zip(between, pool.datasets, strict=True)] == [True, True, False, False, True]
    pool.draw(1, g)
    assert pool.datasets[0] is not between[0] and pool.datasets[4] is not between[4]
    assert len({tuple(p.tolist()) for p in task.permutation}) == 40
    rows = {tuple(data.x[0].sort().values.tolist()) for data in between}
    assert {tuple(x[0].sort().values.tolist()) for x in task.x} == rows  # 40 draws of five: each came


def test_a_pool_follows_its_generator():
    def draw(seed: int) -> Any:
        g = seeded(seed)
        pool = TaskPool(SMALL, 2, g)
        return [pool.draw(3, g) for _ in range(2)]

    for a, b, other in zip(draw(9), draw(9), draw(10), strict=True):
        assert torch.equal(a.x, b.x) and torch.equal(a.y, b.y)
        assert not torch.equal(a.x, other.x)


def test_a_pool_without_renewal_keeps_its_data():
    g = seeded()
    pool = TaskPool(SMALL, 1, g, fresh=0)
    before = pool.datasets[0]
    pool.draw(2, g)
    assert pool.datasets == [before]


# ---------------------------------------------------------------------------------------------- the number of classes


def test_the_most_classes_are_those_that_can_be_validated():
    """16 held-out letters can always be told apart, 17 never: a run with more could be trained but not judged."""
    assert MAX_CLASSES == 16
    letters = glyph_split("validation").characters
    for seed in range(20):
        assert len(draw_characters(MAX_CLASSES, seeded(seed), letters)) == MAX_CLASSES
        with pytest.raises(ValueError, match="n is 17; allowed: at most 16"):
            draw_characters(MAX_CLASSES + 1, seeded(seed), letters)
    most = replace(SMALL, n_classes=MAX_CLASSES)
    for kind in ("glyphs", "decoders"):
        assert validation_tasks(most, 1, seeded(), kind).n_classes == MAX_CLASSES
    assert TaskPool(most, 3, seeded(), fresh=0).datasets[0].n_classes == MAX_CLASSES


# ---------------------------------------------------------------------------------------------- errors


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"n_classes": 17}, "n_classes is 17; allowed: a whole number in [2, 16]"),
        ({"n_classes": 1}, "n_classes is 1; allowed: a whole number in [2, 16]"),
        ({"n_examples": 3}, "n_examples is 3; allowed: a whole number in [4, inf]"),
        ({"size": 7}, "size is 7; allowed: a whole number in [8, 28]"),
        ({"size": 29}, "size is 29; allowed: a whole number in [8, 28]"),
        ({"glyph_share": 1.1}, "glyph_share is 1.1; allowed: a number in [0, 1]"),
        ({"inverted_share": -0.1}, "inverted_share is -0.1; allowed: a number in [0, 1]"),
        ({"clusters": 0}, "clusters is 0; allowed: a whole number in [1, 10]"),
        ({"clusters": 11}, "clusters is 11; allowed: a whole number in [1, 10]"),
        ({"separation": (-1.0, 1.0)}, "separation[0] is -1.0; allowed: a number in [0, 10]"),
        ({"separation": (1.0, 11.0)}, "separation[1] is 11.0; allowed: a number in [0, 10]"),
        ({"separation": (2.0, 1.0)}, "separation is (2.0, 1.0); allowed: (from, to) with from <= to"),
        ({"glyphs": ()}, "glyphs is (); allowed: a tuple of one or more GlyphSettings"),
    ],
)
def test_settings_out_of_range_are_named(changed: dict[str, Any], message: str):
    with pytest.raises(ValueError, match="^" + re.escape(message)):
        replace(SMALL, **changed)


def test_bad_arguments_are_named():
    pool = TaskPool(SMALL, 2, seeded())
    for call, message in (
        (lambda: draw_dataset(SMALL, "test", seeded()), "split is 'test'; allowed: train, validation"),
        (lambda: draw_dataset(SMALL, "all", seeded()), "split is 'all'; allowed: train, validation"),
        (lambda: validation_tasks(SMALL, 2, seeded(), "digits"), "kind is 'digits'; allowed: decoders, glyphs"),
        (lambda: validation_tasks(SMALL, 0, seeded(), "glyphs"), "n is 0; allowed: a whole number in [1, inf]"),
        (lambda: TaskPool(SMALL, 0, seeded()), "size is 0; allowed: a whole number in [1, inf]"),
        (lambda: TaskPool(SMALL, 1, seeded()), "fresh is 2; allowed: a whole number in [0, 1]"),
        (lambda: TaskPool(SMALL, 2, seeded(), fresh=-1), "fresh is -1; allowed: a whole number in [0, 2]"),
        (lambda: pool.draw(0, seeded()), "n is 0; allowed: a whole number in [1, inf]"),
    ):
        with pytest.raises(ValueError, match="^" + re.escape(message)):
            call()
