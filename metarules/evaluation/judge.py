"""The validation of a run: the averaged theta on held-out tasks, which are made once."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from metarules._checks import check_number
from metarules._workers import Workers
from metarules.evaluation.held_out import N_SETS, N_TASKS, SEED, held_out, validate
from metarules.tasks.distribution import DistributionSettings
from metarules.update_rule import UpdateRule


@dataclass(frozen=True)
class JudgeSettings:
    """What `validate` is given."""

    tasks: int = N_TASKS  # tasks of each kind of held-out data
    widths: tuple[int, ...] = (32, 32, 32)  # layers above the input: the net that rules are judged by on digits
    steps: int = 100  # inner steps: what the card recommends
    batch_size: int = 200  # examples of an inner step: what the card recommends
    labels_per_class: int = 10  # labelled examples per class; paper: 10-shot
    seed: int = SEED  # of the tasks

    def __post_init__(self) -> None:
        for name in ("tasks", "labels_per_class"):
            check_number(name, getattr(self, name), low=1, integer=True)
        for name, least in (("steps", 0), ("batch_size", 2), ("seed", 0)):
            check_number(name, getattr(self, name), low=least, integer=True)
        if not isinstance(self.widths, tuple) or not self.widths:
            raise ValueError(f"widths is {self.widths!r}; allowed: one layer width or more")
        for width in self.widths:
            check_number("widths", width, low=1, integer=True)


class Judge:
    """Held-out tasks, and what a rule makes of them.

    Args:
        distribution: of the tasks.
        settings: see there.
        dtype, device: of the rules that will be judged.
        workers: threads in which the kinds of tasks are judged side by side; one, unless given.

    Raises:
        ValueError: the tasks have too few examples for what is asked of them.
    """

    def __init__(
        self,
        distribution: DistributionSettings,
        settings: JudgeSettings | None = None,
        *,
        dtype: torch.dtype = torch.float32,
        device: torch.device | str = "cpu",
        workers: Workers | None = None,
    ) -> None:
        s = settings or JudgeSettings()
        self.workers = workers or Workers()
        n, per_class = distribution.n_examples, distribution.n_examples // distribution.n_classes
        if s.batch_size > n or s.labels_per_class * N_SETS > per_class:
            raise ValueError(
                f"batch_size and labels_per_class of the validation are {s.batch_size} and "
                f"{s.labels_per_class}; allowed: up to {n} and {per_class // N_SETS} (n_examples, n_classes)"
            )
        tasks = held_out(distribution, s.tasks, s.seed)
        self.tasks = {kind: task.to(device=device, dtype=dtype) for kind, task in tasks.items()}
        self.how = {name: getattr(s, name) for name in ("widths", "steps", "batch_size", "labels_per_class")}

    def __call__(self, rule: UpdateRule) -> dict[str, Tensor]:
        """Accuracy of each task [tasks], by kind."""
        scores = self.workers.map(lambda task: validate(rule, task, **self.how), self.tasks.values())
        return dict(zip(self.tasks, scores, strict=True))
