"""Truncation bias: the meta-gradient of short pieces of an unroll beside the true one, and estimators without it.

Everything is done with three numbers, theta = (Hebb, decorrelation, log of the step size), in float64, so that the true
meta-gradient through a whole unroll can be had, and so that evolution strategies need few samples.

    python -m metarules.studies.truncation_bias

writes `recorded/truncation_bias.json`, ten minutes of one core. For 0.6, where ES and PES are measured, the seed, the
numbers of particles and unrolls and the band of each number (`BAND`) were fixed before anything of it was seen.

Sources: Wu et al., ICLR 2018 (short-horizon bias); Metz et al., ICML 2019 (exploding meta-gradients); Vicol, Metz and
Sohl-Dickstein, ICML 2021 (PES).
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from types import MappingProxyType

import numpy as np
import torch
from torch import Tensor, nn

from metarules._checks import check_number
from metarules._files import read_text, write_atomically
from metarules.base_model import BaseModelState, LayerState, forward_unchecked
from metarules.classic_rules.hebbian import HebbDecorrelation
from metarules.classic_rules.statistics import normalise_columns
from metarules.meta_training.estimators import ESTIMATORS
from metarules.meta_training.randomness import generator_for
from metarules.meta_training.settings import MetaTrainingSettings
from metarules.meta_training.unrolls import Group, look, start_group
from metarules.tasks.distribution import DistributionSettings, draw_tasks
from metarules.update_rule import Batch, UpdateRule

RECORDED = Path(__file__).parent / "recorded" / "truncation_bias.json"
NAMES = ("Hebb", "decorrelation", "log step size")
HORIZON = 64  # inner steps of the whole unroll
NET = (16, 16)
BAND = 1.96  # standard errors: the 95% band of one number
# What is recorded, by the second number of theta: seed, particles, unrolls. PES needs many, for it is noisy.
RECORDING: Mapping[float, tuple[int, int, Mapping[str, int]]] = {
    0.6: (1, 128, {"pes": 1200, "es": 100}),
    0.9: (0, 64, {}),
}
_HAND = HebbDecorrelation()


class ThreeNumbers(UpdateRule):
    """The hand rule of lesson 2 with three learned numbers: Hebb, decorrelation, and the log of the step size.

    Args:
        hebb, decorr, lr: where they start.
        particles: 0 for one theta [3]; else one for each of so many particles [3, particles, 1, 1], whose gradients
            then come out of one backward pass.
    """

    label = "Three numbers"

    def __init__(self, hebb: float = 1.0, decorr: float = 0.6, lr: float = 0.03, *, particles: int = 0) -> None:
        super().__init__()
        theta = torch.tensor([hebb, decorr, float(np.log(lr))], dtype=torch.float64)
        self.theta = nn.Parameter(theta.view(3, 1, 1, 1).repeat(1, particles, 1, 1) if particles else theta)

    def step(self, phi: BaseModelState, batch: Batch) -> BaseModelState:
        a, (hebb, decorr, log_lr) = forward_unchecked(phi, batch.x), self.theta
        layers = []
        for l, layer in enumerate(phi.layers, start=1):
            terms, _ = _HAND.layer_change(layer.W, a.x[l - 1], a.z[l], a.x[l])
            change = hebb * normalise_columns(terms["hebb"]) + decorr * normalise_columns(terms["decorr"])
            layers.append(LayerState(layer.W - log_lr.exp() * (layer.W + change), layer.b, layer.V))
        return phi.with_layers(layers)


@dataclass(frozen=True, eq=False)
class TruncationBias:
    """Meta-gradients of one and the same loss, the mean meta-objective over all states of an unroll.

    Attributes:
        decorr: the second number of theta; Hebb is 1.
        horizon: inner steps of the unroll.
        lengths: J of truncated backprop, the last one the horizon: the true gradient.
        truncated: by J and particle [lengths, particles, 3].
        smoothed: the true gradient, its theta blurred by the noise that ES and PES use [particles, 3].
        estimates: "es" and "pes" -> one estimate for each whole unroll [unrolls, 3], at truncation `estimated_at`.
        estimated_at: see there.
        sigma: of the noise.
    """

    decorr: float
    horizon: int
    lengths: tuple[int, ...]
    truncated: np.ndarray
    smoothed: np.ndarray
    estimates: Mapping[str, np.ndarray]
    estimated_at: int
    sigma: float

    def band(self, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Mean of samples [n, 3], and half the width of its 95% confidence band, by number of theta."""
        return values.mean(0), BAND * values.std(0, ddof=1) / np.sqrt(len(values))

    def cosine(self, values: np.ndarray) -> float:
        """Cosine of the mean of samples [n, 3] with the true gradient."""
        one, true = values.mean(0), self.truncated[-1].mean(0)
        return float(one @ true / (np.linalg.norm(one) * np.linalg.norm(true)))


def settings_for(horizon: int = HORIZON, truncation: int = 8, sigma: float = 0.02) -> MetaTrainingSettings:
    """Settings of the outer loop in which a truncation has one length and a group one horizon."""
    return MetaTrainingSettings(
        usual_net=NET,
        usual_net_share=1.0,
        groups=1,
        particles=1,
        truncation=(truncation, truncation),
        horizon=(horizon, horizon),
        batch_size=(50, 50),
        labels_per_class=5,
        labelled_batches=2,
        sigma=sigma,
    )


def fresh_group(settings: MetaTrainingSettings, particles: int, generator: torch.Generator) -> Group:
    """Particles on letters, each on a task of its own, untaught, in float64."""
    letters = DistributionSettings(n_examples=200, usual_share=1.0, weights={"glyphs": 1.0})
    task = draw_tasks(letters, None, particles, generator).to(torch.float64)
    return start_group(settings.usual_net, task, settings, generator)


def meta_gradients(
    rule: ThreeNumbers,
    group: Group,
    settings: MetaTrainingSettings,
    seed: int,
    *,
    keep: int,
    noise: Sequence[Tensor] | None = None,
) -> Tensor:
    """Gradient of the mean meta-objective over a whole unroll, the graph cut every `keep` steps, for each particle.

    Args:
        rule: with a theta for each particle of the group.
        group: at its start.
        settings: of the outer loop.
        seed: of all data; the same for every `keep`.
        keep: J; the horizon gives the true gradient.
        noise: what theta is moved by in each truncation of `settings`, of theta's shape; None moves nothing.

    Returns:
        [particles, 3].
    """
    phi, total = group.phi, torch.zeros((), dtype=torch.float64)
    for t in range(group.horizon):
        phi = phi.detach() if t % keep == 0 else phi
        g = generator_for(seed, "step", t)
        batch = Batch(group.task.sample(group.batch_size, g).x)
        if noise is None:
            phi = rule.step(phi, batch)
        else:
            moved = {"theta": rule.theta + noise[t // settings.truncation[0]]}
            phi = torch.func.functional_call(rule, moved, (phi, batch))
        total = total + look(phi, group.task, settings, g).sum()  # a particle's loss depends on its own theta alone
    (found,) = torch.autograd.grad(total / group.horizon, rule.theta)
    return found.reshape(3, -1).mT


def estimates(name: str, decorr: float, settings: MetaTrainingSettings, unrolls: int, seed: int) -> Tensor:
    """Whole unrolls by one of the package's estimators, each on a task of its own and the mean over its truncations.

    Args:
        name: "backprop", "es" or "pes".
        decorr: the second number of theta.
        settings: of the outer loop.
        unrolls: how many.
        seed: of everything random.

    Returns:
        [unrolls, 3].
    """
    rule, found = ThreeNumbers(decorr=decorr), []
    for i in range(unrolls):
        g = generator_for(seed, name, i)
        group = fresh_group(settings, 1, g)
        parts = []
        while not group.over:
            one = ESTIMATORS[name](rule, group, settings, g)
            parts.append(one.gradient["theta"])
            group = one.group
        found.append(torch.stack(parts).mean(0))
    return torch.stack(found)


def truncation_bias(
    *,
    decorr: float = 0.6,
    horizon: int = HORIZON,
    truncation: int = 8,
    particles: int = 64,
    unrolls: Mapping[str, int] = MappingProxyType({"pes": 100, "es": 100}),
    sigma: float = 0.02,
    seed: int = 0,
) -> TruncationBias:
    """Measure all of it.

    Args:
        decorr: the second number of theta; Hebb is 1.
        horizon: inner steps of the unroll, a multiple of `truncation`.
        truncation: of ES and PES.
        particles: base models behind each mean of backprop.
        unrolls: "es" and "pes" -> whole unrolls behind their mean; who is not there is left out.
        sigma: of the noise on theta.
        seed: of everything random.

    Raises:
        ValueError: a horizon that is no multiple of the truncation.
    """
    check_number("horizon", horizon, low=truncation, integer=True)
    if horizon % truncation:
        raise ValueError(f"horizon is {horizon}; allowed: a multiple of the truncation, {truncation}")
    settings = settings_for(horizon, truncation, sigma)
    group = fresh_group(replace(settings, particles=particles), particles, generator_for(seed, "bias"))
    rule = ThreeNumbers(decorr=decorr, particles=particles)
    lengths = (*(k for k in (1, 2, 4, 8, 16, 32) if k < horizon), horizon)
    truncated = torch.stack([meta_gradients(rule, group, settings, seed, keep=k) for k in lengths])
    g = generator_for(seed, "noise")
    noise = [
        sigma * torch.randn(rule.theta.shape, generator=g, dtype=torch.float64) for _ in range(horizon // truncation)
    ]
    smoothed = meta_gradients(rule, group, settings, seed, keep=horizon, noise=noise)
    found = {name: estimates(name, decorr, settings, n, seed).numpy() for name, n in unrolls.items()}
    return TruncationBias(decorr, horizon, lengths, truncated.numpy(), smoothed.numpy(), found, truncation, sigma)


def apart(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Distance of the means of two samples [n, 3] and [m, 3], in standard errors of their difference, [3]."""
    error = np.sqrt(one.var(0, ddof=1) / len(one) + other.var(0, ddof=1) / len(other))
    return np.abs(one.mean(0) - other.mean(0)) / error


def pointing(values: np.ndarray, counts: Sequence[int], *, clip: float | None = None, draws: int = 500) -> list[float]:
    """How well the mean of a few particles' gradients points: its average cosine with the mean of all.

    Args:
        values: gradients [particles, n].
        counts: how many are averaged, each at most the number of particles.
        clip: largest length of one gradient before the average; None clips nothing.
        draws: of particles, for each count.

    Returns:
        A cosine for each count.
    """
    g, true = np.random.default_rng(0), values.mean(0)
    if clip is not None:
        values = values * np.minimum(1, clip / np.maximum(np.linalg.norm(values, axis=1), 1e-300))[:, None]
    found = []
    for n in counts:
        check_number("counts", n, low=1, high=len(values), integer=True)
        means = np.stack([values[g.choice(len(values), n, replace=False)].mean(0) for _ in range(draws)])
        found.append(float(np.mean(means @ true / (np.linalg.norm(means, axis=1) * np.linalg.norm(true)))))
    return found


def save_bias(found: Sequence[TruncationBias], path: Path = RECORDED) -> Path:
    """Write some of them as JSON.

    Raises:
        OSError: the file cannot be written.
    """
    facts = [
        {
            **asdict(bias),
            "truncated": np.round(bias.truncated, 5).tolist(),
            "smoothed": np.round(bias.smoothed, 5).tolist(),
            "estimates": {name: np.round(values, 5).tolist() for name, values in bias.estimates.items()},
        }
        for bias in found
    ]
    write_atomically(path, (json.dumps(facts) + "\n").encode())
    return path


def load_bias(path: Path = RECORDED) -> tuple[TruncationBias, ...]:
    """Read what `save_bias` wrote; by default what is recorded: on the slope, then near the edge of chaos.

    Raises:
        FileNotFoundError: no such file.
    """
    found = []
    for facts in json.loads(read_text(path)):
        arrays = {name: np.array(facts[name]) for name in ("truncated", "smoothed")}
        by_name = {name: np.array(values) for name, values in facts["estimates"].items()}
        found.append(TruncationBias(**{**facts, **arrays, "lengths": tuple(facts["lengths"]), "estimates": by_name}))
    return tuple(found)


def main(arguments: Sequence[str] | None = None) -> int:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=RECORDED)
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    found: list[TruncationBias] = []
    for decorr, (seed, particles, unrolls) in RECORDING.items():
        bias = truncation_bias(decorr=decorr, particles=particles, unrolls=unrolls, seed=seed)
        found.append(bias)
        save_bias(found, options.out)
        print(f"decorrelation {decorr}")
        named = {f"J = {k}": values for k, values in zip(bias.lengths, bias.truncated, strict=True)}
        for name, values in {**named, "smoothed": bias.smoothed, **bias.estimates}.items():
            mean, half = bias.band(values)
            print(
                f"{name:8}", np.round(mean, 4), "+-", np.round(half, 4), f"cosine {bias.cosine(values):.2f}", flush=True
            )
    return 0


if __name__ == "__main__":
    sys.exit(main())
