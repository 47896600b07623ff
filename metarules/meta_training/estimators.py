"""Three ways to estimate the meta-gradient of one truncation, behind one interface.

- `backprop`: through the truncated unroll. Cheap and exact for the truncation, blind to what theta did before it.
- `es`: antithetic evolution strategies on the same truncation: the gradient of the loss smoothed by noise on theta,
  which stays finite where the unroll is chaotic. As blind as backprop to the past.
- `pes`: persistent evolution strategies. Two base models are taught under opposite noise, and each truncation's loss is
  credited to all the noise of the unroll so far: unbiased for the whole unroll, whatever the truncation.

Parameters with `requires_grad` off are left alone by all three.

Sources: Metz et al., ICLR 2019, sections 3.3 and 4 (truncated backprop); Salimans et al., arXiv 1703.03864 (ES);
Vicol, Metz and Sohl-Dickstein, ICML 2021 (PES).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from metarules.meta_training.settings import MetaTrainingSettings
from metarules.meta_training.unrolls import Group, Opposite, truncated_loss
from metarules.update_rule import UpdateRule


@dataclass(frozen=True)
class MetaGradient:
    """What one truncation says about theta.

    Attributes:
        loss: the meta-objective, mean over its evaluations and particles.
        gradient: estimate of its gradient, by name of the parameters that are trained; zeros where one plays no part.
        group: the group as it then stands, cut off from any graph.
    """

    loss: float
    gradient: dict[str, Tensor]
    group: Group


Estimator = Callable[[UpdateRule, Group, MetaTrainingSettings, torch.Generator], MetaGradient]


def backprop(
    rule: UpdateRule, group: Group, settings: MetaTrainingSettings, generator: torch.Generator
) -> MetaGradient:
    """Truncated backpropagation: one gradient through the steps of this truncation.

    Raises:
        DivergenceError: phi stopped being finite. So do the others.
    """
    loss, after = truncated_loss(rule, group, settings, generator)
    theta = _theta(rule)
    found = torch.autograd.grad(loss, list(theta.values()), allow_unused=True, materialize_grads=True)
    return MetaGradient(float(loss.detach()), dict(zip(theta, found, strict=True)), after)


@torch.no_grad()
def es(rule: UpdateRule, group: Group, settings: MetaTrainingSettings, generator: torch.Generator) -> MetaGradient:
    """Antithetic evolution strategies: the same truncation, on the same data, under theta + noise and theta - noise."""
    seed, noise = _draw_seed(generator), _draw_noise(rule, settings.sigma, generator)
    losses = []
    for sign in (1, -1):
        with perturbed(rule, noise, sign):
            losses.append(truncated_loss(rule, group, settings, _seeded(seed))[0])
    loss, after = truncated_loss(rule, group, settings, _seeded(seed))  # the unroll goes on under theta itself
    slope = (losses[0] - losses[1]) / (2 * settings.sigma**2)
    return MetaGradient(float(loss), {name: slope * e for name, e in noise.items()}, after)


@torch.no_grad()
def pes(rule: UpdateRule, group: Group, settings: MetaTrainingSettings, generator: torch.Generator) -> MetaGradient:
    """Persistent evolution strategies: two unrolls under opposite noise, credited to the sum of all their noise."""
    seed, noise = _draw_seed(generator), _draw_noise(rule, settings.sigma, generator)
    old = group.opposite or Opposite(group.phi, {name: torch.zeros_like(e) for name, e in noise.items()})
    total = {name: old.noise[name] + e for name, e in noise.items()}
    runs = []
    for sign, phi in ((1, group.phi), (-1, old.phi)):
        with perturbed(rule, noise, sign):
            runs.append(truncated_loss(rule, replace(group, phi=phi), settings, _seeded(seed)))
    (loss_plus, plus), (loss_minus, minus) = runs
    slope = (loss_plus - loss_minus) / (2 * settings.sigma**2)
    after = replace(plus, opposite=Opposite(minus.phi, total))
    return MetaGradient(float(loss_plus + loss_minus) / 2, {name: slope * e for name, e in total.items()}, after)


ESTIMATORS: Mapping[str, Estimator] = {"backprop": backprop, "es": es, "pes": pes}


@contextmanager
def perturbed(rule: UpdateRule, noise: Mapping[str, Tensor], sign: int) -> Iterator[None]:
    """theta + sign * noise for a while; theta comes back bit for bit, whatever happens."""
    before = {name: p.detach().clone() for name, p in _theta(rule).items()}
    try:
        with torch.no_grad():
            for name, p in _theta(rule).items():
                p.add_(noise[name], alpha=sign)
        yield
    finally:
        with torch.no_grad():
            for name, p in _theta(rule).items():
                p.copy_(before[name])


def _theta(rule: UpdateRule) -> dict[str, Tensor]:
    return {name: p for name, p in rule.named_parameters() if p.requires_grad}


def _draw_seed(generator: torch.Generator) -> int:
    """Of everything random in a truncation but the noise, so that both signs meet the same data."""
    return int(torch.randint(2**62, (), generator=generator))


def _seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def _draw_noise(rule: UpdateRule, sigma: float, generator: torch.Generator) -> dict[str, Tensor]:
    return {
        name: sigma * torch.randn(p.shape, generator=generator, dtype=p.dtype).to(p.device)
        for name, p in _theta(rule).items()
    }
