"""A life from its number: which net, how many of it, on which tasks, and for how long.

Breadth of data and of architectures is what keeps a rule from over-fitting (README, Sources); the paper samples both
for every particle (Metz et al., ICLR 2019, section 4). Here a group of particles shares one net and one form of task.
"""

from __future__ import annotations

import torch

from metarules.meta_training.particles import Group, birth
from metarules.meta_training.randomness import draw_integer, generator_for
from metarules.meta_training.settings import MetaTrainingSettings
from metarules.tasks.distribution import DistributionSettings, draw_form, draw_tasks

UNIT = 8  # hidden widths are multiples of it where the range allows: what matrix products like
PAIRS = 25.0  # pairs of units that cost as much as one unit's update network: ours, LocalRule at batches of 200
MOST = 4  # times the usual number of particles, for the smallest nets: their data must be rendered too


def born(
    index: int,
    life: int,
    settings: MetaTrainingSettings,
    distribution: DistributionSettings,
    *,
    dtype: torch.dtype = torch.float32,
    device: torch.device | str = "cpu",
) -> Group:
    """Group number `index` at the start of its life number `life`; a function of these numbers and the seed alone.

    Args:
        index: 0 .. groups - 1.
        life: 0 for the first, which is cut short at random, so that groups fall out of step.
        settings, distribution: of the run.
        dtype, device: of phi and the task.
    """
    generator = generator_for(settings.seed, "life", index, life)
    form = draw_form(distribution, generator)
    widths = draw_widths(settings, generator)
    n = particles_for((form.n_inputs, *widths), settings)
    task = draw_tasks(distribution, form, n, generator).to(device=device, dtype=dtype)
    return birth(widths, task, settings, generator, age=life == 0)


def draw_widths(settings: MetaTrainingSettings, generator: torch.Generator) -> tuple[int, ...]:
    """Widths of a net's layers above the input: the usual net, or depth and every width drawn for themselves."""
    s = settings
    usual = float(torch.rand((), generator=generator)) < s.usual_net_share
    depth = draw_integer(*s.depth, generator)
    drawn = [_width(s.width, generator) for _ in range(depth - 1)] + [_width(s.top, generator)]
    return s.usual_net if usual else tuple(drawn)


def particles_for(sizes: tuple[int, ...], settings: MetaTrainingSettings) -> int:
    """How many base models of these sizes (input included) cost what `settings.particles` of the usual ones cost."""
    share = _cost((64, *settings.usual_net)) / _cost(sizes)
    return max(1, min(MOST * settings.particles, round(settings.particles * share)))


def _cost(sizes: tuple[int, ...]) -> float:
    """Of an inner step, in units of one base model's neuron: update networks by neuron, weights by pair of neurons."""
    return sum(sizes) + sum(a * b for a, b in zip(sizes, sizes[1:], strict=False)) / PAIRS


def _width(span: tuple[int, int], generator: torch.Generator) -> int:
    width = draw_integer(*span, generator, log=True)
    return max(span[0], width // UNIT * UNIT)
