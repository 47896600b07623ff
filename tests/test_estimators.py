"""Estimators of the meta-gradient against automatic differentiation, on the real inner loop."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest
import torch
from torch import Tensor
from torch.func import functional_call

from metarules.base_model import BaseModelState, LayerState
from metarules.meta_objective import MetaObjectiveSettings
from metarules.meta_training import MetaTrainingSettings, estimators
from metarules.meta_training.estimators import ESTIMATORS, MetaGradient, perturbed
from metarules.meta_training.settings import ESTIMATOR_NAMES
from metarules.meta_training.unrolls import Group, Opposite, look, start_group
from metarules.tasks import make_task
from metarules.tasks.shapes_2d import blobs
from metarules.update_rule import Batch, LocalRule, LocalRuleSettings

DOUBLE = torch.float64
SETTINGS = MetaTrainingSettings(
    particles=2,
    truncation=(2, 2),
    horizon=(6, 6),
    batch_size=(8, 8),
    labels_per_class=3,
    labelled_batches=2,
    objective=MetaObjectiveSettings(ridge=3.0, standardise_features=True),
    sigma=1e-5,
)
Theta = dict[str, Tensor]


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def new_rule(**changed: object) -> LocalRule:
    rule = LocalRule(LocalRuleSettings(channels=3, signals=2, readouts=1, lr=0.2, **changed), dtype=DOUBLE)  # type: ignore[arg-type]
    with torch.no_grad():
        for i, p in enumerate(rule.parameters()):
            p += 0.1 * torch.randn(p.shape, generator=seeded(i), dtype=DOUBLE)
    return rule


def new_group(settings: MetaTrainingSettings = SETTINGS) -> Group:
    task = make_task(blobs(60, n_classes=3, seed=1), tasks=(settings.particles,), generator=seeded(2)).to(DOUBLE)
    group = start_group((5, 4), task, settings, seeded(3))
    return replace(group, phi=group.phi.map(lambda t: 30 * t))  # far from the linear start


def own(rule: LocalRule) -> Theta:
    return {name: p.detach().clone() for name, p in rule.named_parameters()}


def live(rule: LocalRule, thetas: Sequence[Theta], group: Group, seeds: Sequence[int]) -> list[Tensor]:
    """The loss of each truncation of a life, the k-th under thetas[k] and on the data of seeds[k]; a graph to all."""
    s, phi, losses = SETTINGS, group.phi, []
    for theta, seed in zip(thetas, seeds, strict=True):
        g = seeded(seed)
        torch.rand((), generator=g, dtype=DOUBLE)  # the truncation's length
        looks = []
        for _ in range(s.truncation[0]):
            batch = Batch(group.task.sample(group.batch_size, g).x)
            phi = functional_call(rule, theta, (phi, batch))
            looks.append(look(phi, group.task, s, g).mean())
        losses.append(torch.stack(looks).mean())
    return losses


def derivative(loss: Tensor, theta: Theta, noise: Theta) -> float:
    """Of the loss with respect to one theta, along the noise."""
    found = torch.autograd.grad(loss, list(theta.values()), retain_graph=True, allow_unused=True)
    return sum(float((g * noise[name]).sum()) for name, g in zip(theta, found, strict=True) if g is not None)


def grow(rule: LocalRule, n: int) -> list[Theta]:
    return [{name: t.requires_grad_() for name, t in own(rule).items()} for _ in range(n)]


@pytest.fixture
def known(monkeypatch: pytest.MonkeyPatch) -> tuple[list[int], list[Theta]]:
    """The seeds and the noise that the estimators draw, as they draw them."""
    seeds: list[int] = []
    noises: list[Theta] = []
    draw_seed, draw_noise = estimators._draw_seed, estimators._draw_noise

    def seed(generator: torch.Generator) -> int:
        seeds.append(draw_seed(generator))
        return seeds[-1]

    def noise(*given: object) -> Theta:
        noises.append(draw_noise(*given))  # type: ignore[arg-type]
        return noises[-1]

    monkeypatch.setattr(estimators, "_draw_seed", seed)
    monkeypatch.setattr(estimators, "_draw_noise", noise)
    return seeds, noises


def assert_along(found: MetaGradient, slope: float, direction: Theta) -> None:
    for name, g in found.gradient.items():
        torch.testing.assert_close(g, slope / SETTINGS.sigma**2 * direction[name], rtol=1e-4, atol=1e-7)


def test_the_names_are_the_settings():
    assert tuple(ESTIMATORS) == ESTIMATOR_NAMES


def test_backprop_is_the_derivative_of_the_truncation():
    rule, group = new_rule(), new_group()
    found = ESTIMATORS["backprop"](rule, group, SETTINGS, seeded(11))
    (theta,) = grow(rule, 1)
    (loss,) = live(rule, [theta], group, [11])
    assert (
        found.loss == pytest.approx(float(loss.detach()), rel=1e-12)
        and found.group.step == 2
        and found.group.opposite is None
    )
    expected = torch.autograd.grad(loss, list(theta.values()), allow_unused=True, materialize_grads=True)
    for g, wanted in zip(found.gradient.values(), expected, strict=True):
        torch.testing.assert_close(g, wanted, rtol=1e-9, atol=1e-12)
    assert not any(t.requires_grad for _, t in found.group.phi.tensors())


def test_es_is_the_slope_along_its_noise(known: tuple[list[int], list[Theta]]):
    rule, group, (seeds, noises) = new_rule(), new_group(), known
    before = own(rule)
    found = ESTIMATORS["es"](rule, group, SETTINGS, seeded(12))
    (theta,) = grow(rule, 1)
    (loss,) = live(rule, [theta], group, seeds)
    assert found.loss == pytest.approx(float(loss.detach()), rel=1e-12)
    assert_along(found, derivative(loss, theta, noises[0]), noises[0])
    assert all(torch.equal(p, before[name]) for name, p in rule.named_parameters())  # bit for bit as it was


def test_pes_credits_each_truncation_to_all_noise_before_it(known: tuple[list[int], list[Theta]]):
    """What makes it unbiased: the slope of the k-th loss reaches back to the noise of truncations 1 .. k."""
    rule, group, (seeds, noises) = new_rule(), new_group(), known
    started = group
    found = []
    for k in range(3):
        found.append(ESTIMATORS["pes"](rule, group, SETTINGS, seeded(20 + k)))
        group = found[-1].group
        assert group.step == 2 * (k + 1) and isinstance(group.opposite, Opposite)
    assert group.over
    thetas = grow(rule, 3)
    losses = live(rule, thetas, started, seeds)
    for k, each in enumerate(found):
        slope = sum(derivative(losses[k], thetas[i], noises[i]) for i in range(k + 1))
        total = {name: sum((noise[name] for noise in noises[1 : k + 1]), noises[0][name]) for name in noises[0]}
        assert each.loss == pytest.approx(float(losses[k].detach()), rel=1e-6)
        assert_along(each, slope, total)
    first, second = losses[2], derivative(losses[2], thetas[0], noises[0])
    assert abs(second) > 1e-8 and float(first.detach()) > 0  # the early noise does reach the last loss


@pytest.mark.slow
def test_pes_is_unbiased_where_truncated_backprop_is_not(monkeypatch: pytest.MonkeyPatch):
    """Along the gradient of a whole life: PES within three standard errors of it, truncated backprop far outside."""
    rule, group, lives, length = new_rule(), new_group(replace(SETTINGS, particles=1)), 200, 3
    seeds = [5, 6, 7]  # the data is held fixed, so that the noise on theta is all there is to average over
    settings = replace(SETTINGS, particles=1, sigma=1e-4)
    (theta,) = grow(rule, 1)
    losses = live(rule, [theta] * length, group, seeds)
    whole = torch.autograd.grad(sum(losses), list(theta.values()), allow_unused=True, materialize_grads=True)  # type: ignore[arg-type]
    size = float(sum(g.square().sum() for g in whole)) ** 0.5
    direction = {name: g / size for name, g in zip(theta, whole, strict=True)}

    def along(estimator: str, generator: torch.Generator) -> float:
        now, total = group, 0.0
        for seed in seeds:
            monkeypatch.setattr(estimators, "_draw_seed", lambda _, seed=seed: seed)
            source = seeded(seed) if estimator == "backprop" else generator
            found = ESTIMATORS[estimator](rule, now, settings, source)
            total += sum(float((g * direction[name]).sum()) for name, g in found.gradient.items())
            now = found.group
        return total

    noise = seeded(0)
    sample = torch.tensor([along("pes", noise) for _ in range(lives)], dtype=DOUBLE)
    error = float(sample.std()) / lives**0.5
    assert abs(float(sample.mean()) - size) < 3 * error
    assert abs(along("backprop", noise) - size) > 6 * error  # no sample: it is what it is


def test_theta_comes_back_after_an_error():
    rule = new_rule()
    before, noise = own(rule), {name: torch.ones_like(p) for name, p in rule.named_parameters()}
    with pytest.raises(RuntimeError, match="stop"), perturbed(rule, noise, 1):
        assert torch.equal(rule.log_lr, before["log_lr"] + 1)
        raise RuntimeError("stop")
    assert all(torch.equal(p, before[name]) for name, p in rule.named_parameters())


@pytest.mark.parametrize("estimator", ESTIMATOR_NAMES)
def test_what_is_not_trained_is_left_alone(estimator: str):
    rule, group = new_rule(), new_group()
    rule.requires_grad_(False)
    rule.forward_readout.coefficients.requires_grad_(True)
    found = ESTIMATORS[estimator](rule, group, SETTINGS, seeded(1))
    assert set(found.gradient) == {"forward_readout.coefficients"}
    assert float(found.gradient["forward_readout.coefficients"].abs().max()) > 0


@pytest.mark.parametrize("estimator", ["es", "pes"])
def test_no_graph_is_built_and_nothing_is_shared(estimator: str):
    rule, group = new_rule(), new_group()
    found = ESTIMATORS[estimator](rule, group, SETTINGS, seeded(1))
    assert not any(g.requires_grad for g in found.gradient.values())
    assert isinstance(group.phi, BaseModelState) and isinstance(group.phi.layers[0], LayerState)
    assert not torch.equal(found.group.phi.layers[0].W, group.phi.layers[0].W)
