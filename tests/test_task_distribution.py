"""The distribution of meta-training tasks: what is held out stays out, and a generator decides everything."""

from __future__ import annotations

import importlib
import re
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from metarules.evaluation.held_out import held_out
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
    TaskForm,
    draw_dataset,
    draw_form,
    draw_tasks,
    validation_tasks,
)

SMALL = DistributionSettings(n_examples=20, n_classes=4)
HELD_OUT = ("glyphs", "decoders", "handwriting")
distribution_module = importlib.import_module("metarules.tasks.distribution")
glyphs_module = importlib.import_module("metarules.tasks.glyphs")  # the package's own `glyphs` is the function


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def family(data: Dataset) -> str | None:
    """The decoder's kind, None for glyphs."""
    found = re.fullmatch(r"random decoder \((\w+)\)", data.name)
    assert found or data.name == "glyphs"
    return found[1] if found else None


def only(name: str, settings: DistributionSettings = SMALL) -> DistributionSettings:
    """Settings that draw one family alone, in the usual form."""
    return replace(settings, usual_share=1.0, weights={name: 1.0})


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
                data = draw_dataset(replace(SMALL, weights={"glyphs": 0.4, "decoders": 0.2}), split, g)
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


def test_kinds_come_by_their_weights():
    g = seeded(2)
    settings = replace(SMALL, n_examples=20, weights={"decoders": 1.0, "glyphs": 3.0})
    kinds = [family(draw_dataset(settings, "train", g)) for _ in range(200)]
    assert 0.65 < kinds.count(None) / 200 < 0.85  # 3 of 4
    starts = {"mixtures": "Gaussian mixture", "shapes": "lifted shapes", "decoders": "random decoder"}
    for name in SMALL.weights:
        drawn = {draw_dataset(only(name), "train", g).name.startswith(starts.get(name, name)) for _ in range(5)}
        assert drawn == {True}
    seen = {draw_dataset(SMALL, "train", g).name.split(" (")[0] for _ in range(100)}
    assert seen == {"glyphs", "random decoder", "Gaussian mixture", "sparse", "binary", "lifted shapes", "handwriting"}


def test_validation_knows_held_out_kinds_alone_whatever_the_weights():
    other = replace(SMALL, weights={"sparse": 1.0, "glyphs": 0.0}, usual_share=1.0)
    for kind in HELD_OUT:
        ours, theirs = (validation_tasks(s, 2, seeded(3), kind) for s in (SMALL, other))
        assert torch.equal(ours.x, theirs.x)
    with pytest.raises(ValueError, match=r"^form is .*; allowed: one that any kind of data can take"):
        draw_dataset(other, "validation", seeded())


def test_handwriting_takes_part_and_weights_leave_the_held_out_tasks_as_they_are():
    assert SMALL.held_out == HELD_OUT
    g = seeded(2)
    names = [draw_dataset(SMALL, "train", g).name for _ in range(200)]
    assert 0.16 < names.count("handwriting") / 200 < 0.34  # 0.3 of 1.2
    before, after = (held_out(s, 2) for s in (SMALL, replace(SMALL, weights={**SMALL.weights, "handwriting": 0.0})))
    assert tuple(before) == HELD_OUT
    assert all(torch.equal(after[kind].x, task.x) for kind, task in before.items())


def test_glyphs_come_inverted_in_their_share():
    # neat glyphs have little ink: the mean tells whether ink and paper were exchanged
    neat = replace(only("glyphs"), glyphs=(NEAT_GLYPHS,))
    light, dark = (draw_dataset(replace(neat, inverted_share=share), "train", seeded(3)) for share in (0, 1))
    assert light.x.mean() < 0.4 < 0.6 < dark.x.mean()
    assert torch.allclose(light.x + dark.x, torch.ones(()), atol=1e-6)
    assert torch.equal(light.targets, dark.targets)


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


@pytest.mark.parametrize(
    ("kind", "total", "by_input", "by_example"),
    [
        ("glyphs", 63730.05432273893, 2041741.1773477395, 4485367),
        ("decoders", 64044.16896491067, 2021474.0606702808, 4512677),
    ],
)
def test_validation_tasks_are_the_ones_that_shipped_rules_were_judged_on(
    kind: str, total: float, by_input: float, by_example: int
):
    """What was drawn before there were other forms and kinds: cards quote accuracies on these."""
    task = validation_tasks(DistributionSettings(), 2, seeded(20_000), kind)
    x = task.x.double()
    assert x.sum().item() == pytest.approx(total, rel=1e-8)
    assert (x * torch.arange(64)).sum().item() == pytest.approx(by_input, rel=1e-8)
    assert (task.y * torch.arange(1000)).sum().item() == by_example
    assert task.permutation[:, 0].tolist() == [50, 8]


# ---------------------------------------------------------------------------------------------- forms


def test_forms_cover_their_ranges_and_the_usual_share_is_kept():
    settings, g = DistributionSettings(usual_share=0.5), seeded(8)
    forms = [draw_form(settings, g) for _ in range(600)]
    others = [form for form in forms if form != settings.usual_form]
    assert 0.42 < 1 - len(others) / 600 < 0.58
    assert {form.n_classes for form in others} == set(range(2, 21))
    images = [form for form in others if form.n_inputs in {side**2 for side in range(8, 17)}]
    assert 0.4 < len(images) / len(others) < 0.65
    assert len({form.n_inputs for form in images}) == 9
    inputs = [form.n_inputs for form in others]
    assert min(inputs) < 4 and max(inputs) == 256 and len(set(inputs)) > 60
    assert all(form.n_examples == 1000 for form in forms)
    narrow = replace(settings, usual_share=1.0)
    assert {draw_form(narrow, g) for _ in range(20)} == {TaskForm(64, 10, 1000)}
    tight = replace(settings, usual_share=0.0, class_range=(3, 3), input_range=(5, 6))
    assert {draw_form(tight, g) for _ in range(40)} == {TaskForm(5, 3, 1000), TaskForm(6, 3, 1000)}
    assert draw_form(settings, seeded(9)) == draw_form(settings, seeded(9))


@given(n_inputs=st.sampled_from([2, 3, 7, 8, 64, 81, 200, 256]), n_classes=st.integers(2, 20), seed=st.integers(0, 999))
@settings(max_examples=25, deadline=None)
def test_every_form_is_drawn_as_it_says(n_inputs: int, n_classes: int, seed: int):
    form = TaskForm(n_inputs, n_classes, 41)
    task = draw_tasks(DistributionSettings(), form, 3, seeded(seed))
    assert (task.tasks, task.n_inputs, task.n_classes, task.n_examples) == ((3,), n_inputs, n_classes, 41)
    for y in task.y:
        counts = torch.bincount(y, minlength=n_classes)
        assert counts.max() - counts.min() <= 1


# ---------------------------------------------------------------------------------------------- side by side


def test_tasks_share_data_sets_but_never_a_permutation():
    drawn: list[Dataset] = []

    def watched(*arguments: Any) -> Dataset:
        drawn.append(draw_dataset(*arguments))
        return drawn[-1]

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(distribution_module, "draw_dataset", watched)
        task = draw_tasks(SMALL, None, 5, seeded(10), per_dataset=2)
    assert len(drawn) == 3
    assert len({tuple(p.tolist()) for p in task.permutation}) == 5
    for i in range(5):
        data = drawn[i // 2]
        assert torch.equal(task.task(i).unpermute(task.x[i]), data.x)
        assert torch.equal(task.y[i], data.y)
    assert not torch.equal(task.x[0], task.x[1])


def test_tasks_follow_their_generator():
    a, b, other = (draw_tasks(SMALL, None, 4, seeded(seed)) for seed in (11, 11, 12))
    assert torch.equal(a.x, b.x) and torch.equal(a.y, b.y) and torch.equal(a.permutation, b.permutation)
    assert not torch.equal(a.x, other.x)


def test_targets_are_carried_where_every_data_set_has_them():
    task = draw_tasks(only("glyphs"), None, 4, seeded(13))
    assert task.targets is not None and task.targets.shape == (4, 20, 4)
    mixed = replace(SMALL, usual_share=1.0, weights={**SMALL.weights, "sparse": 0, "binary": 0})
    several = draw_tasks(mixed, None, 12, seeded(14))
    assert len(several.name.split(" + ")) > 2 and several.targets is not None
    some = [draw_tasks(only("sparse"), None, 6, seeded(seed), per_dataset=1) for seed in range(4)]
    assert {("counts" in task.name, task.targets is None) for task in some} <= {(True, True), (False, False)}
    assert any(task.targets is None for task in some)


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
    for kind in HELD_OUT:
        assert validation_tasks(most, 1, seeded(), kind).n_classes == MAX_CLASSES
    assert draw_tasks(most, None, 3, seeded()).n_classes == MAX_CLASSES


# ---------------------------------------------------------------------------------------------- errors


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"n_classes": 17}, "n_classes is 17; allowed: a whole number in [2, 16]"),
        ({"n_classes": 1}, "n_classes is 1; allowed: a whole number in [2, 16]"),
        ({"n_examples": 3}, "n_examples is 3; allowed: a whole number in [4, inf]"),
        ({"size": 7}, "size is 7; allowed: a whole number in [8, 28]"),
        ({"size": 29}, "size is 29; allowed: a whole number in [8, 28]"),
        ({"usual_share": 1.1}, "usual_share is 1.1; allowed: a number in [0, 1]"),
        ({"weights": {"glyphs": -1}}, "weights['glyphs'] is -1; allowed: a number in [0, inf]"),
        ({"weights": {"letters": 1}}, "weights names 'letters'; allowed: binary, decoders, glyphs"),
        ({"class_range": (1, 5)}, "class_range[0] is 1; allowed: a number in [2, 20]"),
        ({"class_range": (2, 21)}, "class_range[1] is 21; allowed: a number in [2, 20]"),
        ({"class_range": (9, 5)}, "class_range is (9, 5); allowed: (from, to) with from <= to"),
        ({"input_range": (1, 256)}, "input_range[0] is 1; allowed: a number in [2, 784]"),
        ({"n_examples": 10}, "class_range is (2, 20); allowed: up to 10 classes, which is n_examples"),
        (
            {"weights": {"glyphs": 1.0, "sparse": 1.0, "decoders": 0}},
            "weights is {'glyphs': 1.0, 'sparse': 1.0, 'decoders': 0}; allowed: one of decoders, mixtures, shapes",
        ),
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
    for call, message in (
        (lambda: draw_dataset(SMALL, "test", seeded()), "split is 'test'; allowed: train, validation"),
        (lambda: draw_dataset(SMALL, "all", seeded()), "split is 'all'; allowed: train, validation"),
        (lambda: validation_tasks(SMALL, 2, seeded(), "digits"), "kind is 'digits'; allowed: decoders, glyphs"),
        (lambda: validation_tasks(SMALL, 0, seeded(), "glyphs"), "n is 0; allowed: a whole number in [1, inf]"),
        (lambda: draw_tasks(SMALL, None, 0, seeded()), "n is 0; allowed: a whole number in [1, inf]"),
        (
            lambda: draw_tasks(SMALL, None, 1, seeded(), per_dataset=0),
            "per_dataset is 0; allowed: a whole number in [1, inf]",
        ),
        (lambda: TaskForm(1, 2, 9), "n_inputs is 1; allowed: a whole number in [2, inf]"),
        (lambda: TaskForm(2, 21, 99), "n_classes is 21; allowed: a whole number in [2, 20]"),
        (lambda: TaskForm(2, 5, 4), "n_examples is 4; allowed: a whole number in [5, inf]"),
        (
            lambda: draw_dataset(only("glyphs"), "train", seeded(), TaskForm(65, 4, 20)),
            "form is TaskForm(n_inputs=65, n_classes=4, n_examples=20); allowed: one that glyphs can take",
        ),
    ):
        with pytest.raises(ValueError, match="^" + re.escape(message)):
            call()
