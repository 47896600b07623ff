"""Truncation bias: the true gradient against finite differences, the cuts against a loop, PES without bias."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from metarules.meta_training.randomness import generator_for
from metarules.meta_training.unrolls import look
from metarules.plots.meta_gradient import estimators_figure, noise_figure, truncation_figure
from metarules.studies.truncation_bias import (
    BAND,
    RECORDING,
    ThreeNumbers,
    TruncationBias,
    apart,
    estimates,
    fresh_group,
    load_bias,
    meta_gradients,
    pointing,
    save_bias,
    settings_for,
    truncation_bias,
)

PARTICLES = 2


def loss_at(theta: torch.Tensor, steps: int = 6) -> float:
    """The mean meta-objective over an unroll, one theta for all particles."""
    settings = settings_for(steps, 2)
    rule, group = ThreeNumbers(), fresh_group(settings, PARTICLES, generator_for(0, "bias"))
    with torch.no_grad():
        rule.theta.copy_(theta)
        phi, losses = group.phi, []
        for t in range(steps):
            g = generator_for(0, "step", t)
            phi = rule(phi, group.task.sample(group.batch_size, g).x)
            losses.append(look(phi, group.task, settings, g).mean())
    return float(torch.stack(losses).mean())


def test_the_true_gradient_is_that_of_finite_differences():
    settings = settings_for(6, 2)
    rule, group = ThreeNumbers(particles=PARTICLES), fresh_group(settings, PARTICLES, generator_for(0, "bias"))
    found = meta_gradients(rule, group, settings, 0, keep=6).mean(0)
    theta, eps = ThreeNumbers().theta.detach(), 1e-6
    steps = eps * torch.eye(3, dtype=torch.float64)
    measured = torch.tensor([(loss_at(theta + e) - loss_at(theta - e)) / (2 * eps) for e in steps])
    assert torch.allclose(found, measured.double(), rtol=1e-3, atol=1e-6)


def test_without_noise_the_smoothed_gradient_is_the_true_one():
    settings = settings_for(6, 2)
    rule, group = ThreeNumbers(particles=PARTICLES), fresh_group(settings, PARTICLES, generator_for(0, "bias"))
    none = [torch.zeros_like(rule.theta)] * 3
    one, other = (meta_gradients(rule, group, settings, 0, keep=6, noise=noise) for noise in (None, none))
    assert torch.allclose(one, other)


def test_backprop_of_the_package_is_the_cut_gradient_on_average():
    settings = settings_for(4, 2)
    package = estimates("backprop", 0.6, settings, 40, 0)
    rule, group = ThreeNumbers(particles=40), fresh_group(settings, 40, generator_for(0, "bias"))
    mine = meta_gradients(rule, group, settings, 0, keep=2)
    error = (package.var(0) / 40 + mine.var(0) / 40).sqrt()
    assert ((package.mean(0) - mine.mean(0)).abs() < 4 * error).all()


def test_what_is_recorded_tells_the_story():
    slope, edge = load_bias()
    at = slope.lengths.index(slope.estimated_at)
    assert slope.horizon >= 64 and slope.lengths[-1] == slope.horizon
    length = np.linalg.norm(slope.truncated.mean(1), axis=1)
    assert (np.diff(length) > 0).all() and length[-1] > 5 * length[at]
    assert (apart(slope.estimates["pes"], slope.smoothed) < BAND).all()
    assert (apart(slope.truncated[at], slope.smoothed) > BAND).all()
    assert (apart(slope.estimates["es"], slope.smoothed) > BAND).all()
    (_, wide), (_, narrow) = slope.band(slope.estimates["pes"]), slope.band(slope.smoothed)
    assert len(slope.estimates["pes"]) > 9 * len(slope.smoothed) and 0.5 < wide[0] / narrow[0] < 2 < wide[2] / narrow[2]
    for bias, (_, particles, unrolls) in zip((slope, edge), RECORDING.values(), strict=True):
        assert bias.truncated.shape[1] == particles
        assert {name: len(found) for name, found in bias.estimates.items()} == unrolls
    short, half = edge.band(edge.truncated[0])
    assert (np.abs(short) > half).all() and edge.cosine(edge.truncated[0]) < 0 < slope.cosine(slope.truncated[0])


def test_a_small_one_live_saved_and_drawn(tmp_path: Path):
    bias = truncation_bias(horizon=4, truncation=2, particles=4, unrolls={"pes": 3, "es": 2})
    assert bias.truncated.shape == (3, 4, 3) and bias.lengths == (1, 2, 4) and bias.estimates["pes"].shape == (3, 3)
    (again,) = load_bias(save_bias([bias], tmp_path / "bias.json"))
    assert isinstance(again, TruncationBias) and np.allclose(again.truncated, bias.truncated, atol=1e-5)
    assert again.cosine(again.truncated[-1]) == pytest.approx(1.0)
    assert len(truncation_figure({"a": bias}).axes) == 2 and len(estimators_figure(bias).axes) == 3
    assert noise_figure({"a": ((1, 2), pointing(bias.truncated[-1], (1, 2)))}).axes
    with pytest.raises(ValueError, match="horizon is 5"):
        truncation_bias(horizon=5, truncation=2)


def test_more_particles_point_better_and_clipping_guards_against_one_that_shouts():
    values = np.random.default_rng(1).normal([1.0, 0.5, 0.0], 2.0, (200, 3))
    few, many, every = pointing(values, (1, 20, 200))
    assert few < many < every == pytest.approx(1.0)
    shouting = np.vstack([values, [[-4000.0, 0.0, 0.0]]])
    clipped = pointing(shouting, (50,), clip=2.0)[0]
    assert clipped < 0  # the mean of all is the one that shouts; clipped, the others win
