"""A data set of one's own, in a file outside the package, and the same as a family of meta-training tasks."""

from __future__ import annotations

import math

import torch

from metarules.tasks import Dataset, Draw, register, register_family


@register("waves")
def waves(
    n: int = 120, n_classes: int = 4, n_inputs: int = 16, *, phase: tuple[float, float] = (0.0, 1.0), seed: int = 0
) -> Dataset:
    """Noisy waves: a class is a frequency, an example a phase out of a range [turns]."""
    generator = torch.Generator().manual_seed(seed)
    y = torch.arange(n) % n_classes
    turns = phase[0] + (phase[1] - phase[0]) * torch.rand(n, 1, generator=generator)
    places = torch.linspace(0, 1, n_inputs)
    x = 0.5 + 0.4 * torch.sin(2 * math.pi * ((1 + y[:, None]) * places / 2 + turns))
    x = (x + 0.05 * torch.randn(n, n_inputs, generator=generator)).clamp(0, 1)
    return Dataset("waves", x, y, None, tuple(map(str, range(n_classes))))


@register_family("waves", held_out=True)
def waves_of_a_split(draw: Draw) -> Dataset:
    """Validation has the phases that training never shows."""
    form, phase = draw.form, (0.0, 0.6) if draw.split == "train" else (0.6, 1.0)
    return waves(form.n_examples, form.n_classes, form.n_inputs, phase=phase, seed=draw.seed)
