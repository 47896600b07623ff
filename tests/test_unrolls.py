"""Groups from their numbers: randomness without a state, widths and numbers of particles, starts."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from meta_small import DISTRIBUTION, SETTINGS, same, seeded, trainer
from torch import Tensor

from metarules.meta_training import PRESETS, MetaTrainingSettings
from metarules.meta_training.randomness import draw_integer, generator_for
from metarules.meta_training.unrolls import (
    MOST_PARTICLES,
    WIDTH_UNIT,
    Group,
    draw_group,
    draw_widths,
    particles_for,
    start_group,
)


def tensors(of: Group) -> dict[str, Tensor]:
    numbers = torch.tensor([of.step, of.horizon, of.batch_size])
    return {**dict(of.phi.tensors()), "x": of.task.x, "y": of.task.y, "numbers": numbers}


# ---------------------------------------------------------------------------------------------- randomness


def test_a_place_in_a_run_has_its_own_randomness():
    def drawn(*where: int | str) -> tuple[float, ...]:
        return tuple(torch.rand(4, generator=generator_for(0, *where)).tolist())

    places = [("life", 1, 2), ("life", 2, 1), ("life", 12), ("truncation", 1, 2), ("life", 1, 2, 0), ("life", "1", 2)]
    assert len({drawn(*where) for where in places}) == len(places)
    assert drawn("life", 1, 2) == drawn("life", 1, 2)
    assert generator_for(1, "life").initial_seed() != generator_for(0, "life").initial_seed()


def test_places_have_the_same_randomness_in_every_process():
    """Python's own hash of a text differs from process to process."""
    code = (
        "from metarules.meta_training.randomness import generator_for; print(generator_for(7, 'a', 3).initial_seed())"
    )
    environment = {**os.environ, "PYTHONHASHSEED": "123"}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment)
    assert int(done.stdout) == generator_for(7, "a", 3).initial_seed()


def test_drawn_numbers_stay_in_range_and_reach_its_ends(monkeypatch: pytest.MonkeyPatch):
    g = seeded()
    assert {draw_integer(3, 6, g) for _ in range(200)} == {3, 4, 5, 6}
    assert {draw_integer(2, 5, g, log=True) for _ in range(200)} == {2, 3, 4, 5}
    logs = torch.tensor([draw_integer(16, 256, g, log=True) for _ in range(2000)])
    assert 60 < logs.median() < 70  # the geometric mean is 64
    assert logs.min() >= 16 and logs.max() <= 256
    for share in (0.0, 1.0 - 2**-53):
        monkeypatch.setattr(torch, "rand", lambda *_, share=share, **__: torch.tensor(share, dtype=torch.float64))
        for low in range(1, 300):
            for high in (low, low + 7):
                assert draw_integer(low, high, g, log=True) == (low if share == 0 else high)
                assert draw_integer(low, high, g) == (low if share == 0 else high)


# ---------------------------------------------------------------------------------------------- nets


def spans(low: int, high: int) -> st.SearchStrategy[tuple[int, int]]:
    return st.tuples(st.integers(low, high), st.integers(low, high)).map(lambda pair: (min(pair), max(pair)))


@given(spans(1, 6), spans(1, 200), spans(1, 64), st.integers(0, 2**32))
def test_drawn_widths_lie_in_their_ranges(
    depth: tuple[int, int], width: tuple[int, int], top: tuple[int, int], seed: int
):
    settings = replace(SETTINGS, depth=depth, width=width, top=top, usual_net_share=0.0)
    widths = draw_widths(settings, seeded(seed))
    assert depth[0] <= len(widths) <= depth[1]
    assert top[0] <= widths[-1] <= top[1]
    for drawn in widths[:-1]:
        assert width[0] <= drawn <= width[1]
        assert drawn % WIDTH_UNIT == 0 or drawn == width[0]
    assert widths == draw_widths(settings, seeded(seed))
    assert draw_widths(replace(settings, usual_net_share=1.0), seeded(seed)) == settings.usual_net


def test_widths_reach_the_ends_of_their_ranges_and_half_are_the_usual():
    settings = MetaTrainingSettings(depth=(1, 5), width=(16, 128), top=(32, 32), usual_net_share=0.5)
    g = seeded()
    drawn = [draw_widths(settings, g) for _ in range(2000)]
    usual = sum(widths == settings.usual_net for widths in drawn) / len(drawn)
    assert 0.46 < usual < 0.55  # a standard error is 0.011; a few others come out like it
    others = [widths for widths in drawn if widths != settings.usual_net]
    assert {len(widths) for widths in others} == {1, 2, 3, 4, 5}
    hidden = [width for widths in others for width in widths[:-1]]
    assert (min(hidden), max(hidden)) == (16, 128) or (min(hidden), max(hidden)) == (16, 120)
    assert 24 <= sorted(hidden)[len(hidden) // 2] <= 56  # log-uniform: half below 45, rounded down to 40


@given(
    st.lists(st.integers(2, 400), min_size=2, max_size=7),
    st.integers(0, 6),
    st.integers(1, 300),
    st.sampled_from(sorted(PRESETS)),
)
def test_larger_nets_are_fewer(sizes: list[int], i: int, particles: int, name: str):
    settings = replace(PRESETS[name].train, particles=particles)
    n = particles_for(tuple(sizes), settings)
    assert 1 <= n <= MOST_PARTICLES * particles
    larger = list(sizes)
    larger[i % len(sizes)] += 8
    assert particles_for(tuple(larger), settings) <= n
    assert particles_for((64, *settings.usual_net), settings) == particles


def test_a_group_costs_about_what_the_usual_one_does():
    """Units count once, pairs of units a 25th: the module's measure, written out."""
    settings = MetaTrainingSettings(usual_net=(32, 32, 32), particles=64)

    def cost(*sizes: int) -> float:
        return sum(sizes) + sum(a * b / 25 for a, b in zip(sizes[:-1], sizes[1:], strict=True))

    for sizes in ((64, 32), (200, 120, 64, 32), (30, 16, 16, 32), (256, 128, 128, 128, 128, 32)):
        n = particles_for(sizes, settings)
        assert n * cost(*sizes) == pytest.approx(64 * cost(64, 32, 32, 32), rel=0.1)
    assert particles_for((256, 128, 128, 128, 128, 32), settings) < 10 < 64 < particles_for((64, 32), settings)


# ---------------------------------------------------------------------------------------------- starts


def test_a_start_follows_from_its_numbers_alone():
    first = draw_group(1, 3, SETTINGS, DISTRIBUTION)
    draw_group(0, 3, SETTINGS, DISTRIBUTION)
    torch.manual_seed(99)
    assert same(tensors(first), tensors(draw_group(1, 3, SETTINGS, DISTRIBUTION)))
    t = trainer(seed=SETTINGS.seed)
    t.step()
    assert same(tensors(first), tensors(t.new_group(1, 3)))
    others = [(1, 2, 0), (2, 3, 0), (3, 1, 0), (1, 3, 1)]
    for index, number, seed in others:
        found = tensors(draw_group(index, number, replace(SETTINGS, seed=seed), DISTRIBUTION))
        assert found["x"].shape != first.task.x.shape or not torch.equal(found["x"], first.task.x)


def test_starts_are_as_the_settings_say():
    forms = set()
    for number in range(30):
        group = draw_group(0, number, SETTINGS, DISTRIBUTION, dtype=torch.float64)
        n, examples, inputs = group.task.x.shape
        sizes = group.phi.sizes
        assert sizes[0] == inputs and examples == DISTRIBUTION.n_examples
        assert n == particles_for(sizes, SETTINGS) and group.phi.tasks == (n,)
        assert sizes[1:] == SETTINGS.usual_net or (1 <= len(sizes) - 1 <= 2 and sizes[-1] == 4)
        assert group.phi.dtype == group.task.x.dtype == torch.float64
        assert group.step == 0 and group.opposite is None
        assert 1 <= group.horizon <= 4 and (number == 0 or group.horizon >= 2)
        assert 6 <= group.batch_size <= 10
        assert float(group.phi.layers[0].W.abs().max()) <= 0.02  # fresh weights: two standard deviations at most
        assert not any(layer.b.any() for layer in group.phi.layers)
        forms.add((sizes, group.task.n_classes))
    assert len({sizes for sizes, _ in forms}) > 3
    assert {classes for _, classes in forms} == {2, 3}


def test_first_unrolls_are_shortened_so_that_groups_fall_out_of_step():
    task = draw_group(0, 0, SETTINGS, DISTRIBUTION).task
    settings = replace(SETTINGS, horizon=(50, 100), truncation=(4, 8))
    first = [start_group((5,), task, settings, seeded(i), 0).horizon for i in range(40)]
    later = [start_group((5,), task, settings, seeded(i)).horizon for i in range(40)]
    assert min(later) >= 50 and max(later) <= 100
    assert 4 <= min(first) < 30 and max(first) <= 100
    assert draw_group(0, 0, settings, DISTRIBUTION).horizon != draw_group(1, 0, settings, DISTRIBUTION).horizon
