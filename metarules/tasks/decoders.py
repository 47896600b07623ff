"""Clustered latents pushed through random decoders: data sets without end, of many kinds.

Classes are clusters of a Gaussian mixture in a small latent space; a random map, fixed per data set, turns latents
into inputs. Breadth of such data keeps a meta-trained rule from over-fitting to one kind (CONTRIBUTING, Sources). Ours.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from metarules._checks import check_choice, check_number
from metarules._random import balanced_labels, seeded
from metarules.tasks.dataset import Dataset, register
from metarules.tasks.latents import N_TARGETS, clustered_latents, random_map

MAX_CLASSES = 20

Decoder = Callable[[Tensor, Tensor, torch.Generator], Tensor]


def _biased(h: Tensor, width: int, generator: torch.Generator) -> Tensor:
    """`random_map` with a random bias per unit."""
    return random_map(h, width, generator) + 0.5 * torch.randn(width, generator=generator)


def _squash(h: Tensor) -> Tensor:
    """To (0, 1) by a logistic function; inputs keep a part of their own means, as pixels of real images do."""
    h = h - 0.7 * h.mean(0)
    return torch.sigmoid(2 * (h - h.mean()) / h.std())


def light(h: Tensor) -> Tensor:
    """Non-negative h to [0, 1], black staying black; the brightest hundredth is cut."""
    h = h - h.amin()
    bright = h.flatten().kthvalue(max(1, math.ceil(0.99 * h.numel()))).values
    return (h / bright.clamp_min(1e-6)).clamp_max(1.0)


def _linear(z: Tensor, places: Tensor, generator: torch.Generator) -> Tensor:
    return _squash(random_map(z, len(places), generator))


def _relu_net(z: Tensor, places: Tensor, generator: torch.Generator) -> Tensor:
    h = torch.relu(_biased(z, 48, generator))
    return _squash(random_map(torch.relu(_biased(h, 48, generator)), len(places), generator))


def _tanh_net(z: Tensor, places: Tensor, generator: torch.Generator) -> Tensor:
    return _squash(random_map(torch.tanh(1.5 * _biased(z, 32, generator)), len(places), generator))


def _parts(z: Tensor, places: Tensor, generator: torch.Generator) -> Tensor:
    """A sum of fixed round spots, each switched on or off by the latents."""
    middles = torch.rand(16, 2, generator=generator)
    spots = torch.exp(-torch.cdist(middles, places).square() / (2 * 0.12**2))
    return light(torch.relu(_biased(z, 16, generator)) @ spots)


def _waves(z: Tensor, places: Tensor, generator: torch.Generator) -> Tensor:
    """A smooth field: a sum of plane waves of low frequency."""
    frequency = torch.randn(2, 24, generator=generator)
    phase = torch.rand(24, generator=generator)
    waves = torch.cos(2 * math.pi * (places @ frequency + phase)).T
    return _squash(torch.tanh(random_map(z, 24, generator)) @ waves)


def _sine_net(z: Tensor, places: Tensor, generator: torch.Generator) -> Tensor:
    return _squash(random_map(torch.sin(1.5 * _biased(z, 48, generator)), len(places), generator))


def _gated(z: Tensor, places: Tensor, generator: torch.Generator) -> Tensor:
    """Products of two linear maps: every input is a random quadratic form of the latents."""
    h = _biased(z, 32, generator) * _biased(z, 32, generator)
    return _squash(random_map(torch.tanh(h), len(places), generator))


def _bumps(z: Tensor, places: Tensor, generator: torch.Generator) -> Tensor:
    """Five round spots that the latents move about the image."""
    middles = 0.5 + 0.5 * torch.tanh(0.7 * _biased(z, 10, generator)).unflatten(1, (5, 2))
    distances = torch.cdist(middles, places.expand(len(z), -1, -1))
    return light(torch.exp(-distances.square() / (2 * 0.11**2)).sum(1))


# Kinds of decoder: latents [n, q] and the inputs' places in the unit square [dimension, 2] -> inputs [n, dimension].
TRAIN_FAMILIES: dict[str, Decoder] = {
    "linear": _linear,
    "relu_net": _relu_net,
    "tanh_net": _tanh_net,
    "parts": _parts,
    "waves": _waves,
}
# Held out for validation: another nonlinearity, multiplication, and spots that move instead of changing brightness.
VALIDATION_FAMILIES: dict[str, Decoder] = {"sine_net": _sine_net, "gated": _gated, "bumps": _bumps}
FAMILIES = {**TRAIN_FAMILIES, **VALIDATION_FAMILIES}
_SPLITS = {"train": TRAIN_FAMILIES, "validation": VALIDATION_FAMILIES, "all": FAMILIES}


@register("random_decoder")
def random_decoder(
    n: int = 2000,
    n_classes: int = 10,
    dimension: int = 64,
    family: str | None = None,
    split: str = "train",
    latent_dimension: int | None = None,
    clusters: int = 1,
    separation: float = 1.2,
    noise: float = 0.05,
    seed: int = 0,
) -> Dataset:
    """A Gaussian mixture, one class per group of clusters, seen through a random decoder.

    Args:
        n: number of examples.
        n_classes: 2 to 20.
        dimension: inputs, from 2. A square number makes images, whose `parts`, `waves` and `bumps` are smooth.
        family: kind of decoder, one of FAMILIES; None draws one of the split's.
        split: "train", "validation" or "all": where `family` is drawn from. Ignored where `family` is given.
        latent_dimension: 1 to 64; None draws 4 to 12.
        clusters: clusters per class, 1 to 10.
        separation: standard deviation of the cluster centres over that of the clusters, 0 to 10.
        noise: standard deviation of Gaussian noise on every input, 0 to 1.
        seed: whole number from 0; mixture, decoder and noise all follow from it.

    Returns:
        x [n, dimension] in [0, 1]; classes balanced, in random order; targets: the first four latents [n, 4] (fewer
        where there are fewer).

    Raises:
        TypeError, ValueError: an unknown family or split, an option of the wrong type or out of range.
    """
    families = _SPLITS[check_choice("split", split, _SPLITS)]
    if family is not None:
        check_choice("family", family, FAMILIES)
    check_number("n_classes", n_classes, low=2, high=MAX_CLASSES, integer=True)
    check_number("n", n, low=n_classes, integer=True)
    check_number("dimension", dimension, low=2, integer=True)
    check_number("clusters", clusters, low=1, high=10, integer=True)
    check_number("separation", separation, low=0, high=10)
    check_number("noise", noise, low=0, high=1)
    generator = seeded(seed)
    drawn_family = list(families)[int(torch.randint(len(families), (), generator=generator))]
    drawn_dimension = int(torch.randint(4, 13, (), generator=generator))  # always drawn: seeds stay comparable
    if latent_dimension is not None:
        drawn_dimension = check_number("latent_dimension", latent_dimension, low=1, high=64, integer=True)
    family = family or drawn_family
    y = balanced_labels(n, n_classes, generator)
    z = clustered_latents(y, n_classes, drawn_dimension, clusters, separation, generator)
    places, shape = input_places(dimension, generator)
    x = FAMILIES[family](z, places, generator)
    x = (x + noise * torch.randn(x.shape, generator=generator)).clamp(0.0, 1.0)
    names = tuple(str(c) for c in range(n_classes))
    return Dataset(f"random decoder ({family})", x, y, shape, names, z[:, :N_TARGETS])


def input_places(dimension: int, generator: torch.Generator) -> tuple[Tensor, tuple[int, int] | None]:
    """Where the inputs lie in the unit square [dimension, 2], and the image's shape where they form a square grid."""
    side = math.isqrt(dimension)
    if side * side != dimension:
        return torch.rand(dimension, 2, generator=generator), None
    line = (torch.arange(side) + 0.5) / side
    return torch.cartesian_prod(line, line).flip(1), (side, side)
