"""Meta-training's own pace: inner task-steps a second, forward and backward, the meta-objective at every step."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from benchmarks.cases import LAPTOP_WIDTHS, laptop
from benchmarks.steps import Options
from benchmarks.timing import interleave, ratio
from benchmarks.yardstick import LocalRule as YardstickRule
from benchmarks.yardstick import particles as yardstick
from metarules.meta_training import MetaTrainingSettings
from metarules.meta_training.unrolls import Group, start_group, truncated_loss
from metarules.tasks import Task
from metarules.update_rule import LocalRule, UpdateRule

LENGTH = 2  # inner steps in a truncation: each costs the same, and the slow yardstick is timed too
BATCH = 200  # examples of an inner step, as laptop cases have


def group_of(particles: int) -> tuple[Group, MetaTrainingSettings]:
    """A group of particles on the laptop's net, always at the start of its life, on random numbers in ten classes."""
    usual = MetaTrainingSettings()
    settings = replace(
        usual, particles=particles, truncation=(LENGTH, LENGTH), horizon=(10**6, 10**6), batch_size=(BATCH, BATCH)
    )
    generator = torch.Generator().manual_seed(0)
    n = 10 * usual.labels_per_class * usual.labelled_batches
    x = torch.rand(particles, n, LAPTOP_WIDTHS[0], generator=generator)
    task = Task(x, (torch.arange(n) % 10).expand(particles, n).contiguous(), 10)
    return start_group(LAPTOP_WIDTHS[1:], task, settings, generator), settings


def measure(particles: int, options: Options) -> dict[str, Any]:
    """Truncated meta-gradients of one group through `metarules.meta_training`, today's rule and the yardstick in turns.

    Returns:
        Plain values; task-steps are particles times inner steps. The yardstick has its own rule and its own look at
        the meta-objective.
    """
    threads = options.threads_of(laptop(BATCH, particles))
    torch.set_num_threads(threads)
    group, settings = group_of(particles)

    def truncation(rule: UpdateRule, unrolled: Callable[..., tuple[Tensor, Group]]) -> Callable[[], object]:
        parameters = list(rule.parameters())

        def run() -> object:
            loss, _ = unrolled(rule, group, settings, torch.Generator().manual_seed(1))
            return torch.autograd.grad(loss, parameters, allow_unused=True)

        return run

    found = interleave(
        {
            "now": truncation(LocalRule(), truncated_loss),
            "yardstick": truncation(YardstickRule(), yardstick.truncated_loss),
        },
        options.seconds,
        "cpu",  # tasks are drawn there
        options.rounds,
    )
    speed_up, low, high = ratio(found["yardstick"], found["now"])
    return {
        "particles": particles,
        "widths": list(LAPTOP_WIDTHS),
        "batch": BATCH,
        "steps": LENGTH,
        "threads": threads,
        "seconds": found["now"].median,
        "task_steps_per_second": particles * LENGTH / found["now"].median,
        "task_steps_per_minute": 60 * particles * LENGTH / found["now"].median,
        "speed_up": speed_up,
        "speed_up_quartiles": [low, high],
    }
