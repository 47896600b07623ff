"""What `RuleTimeline` shows: the snapshots of one run, each teaching the same base models when first asked for.

Digits, held-out letters and, where the run was validated on it, held-out handwriting are taught side by side in one
call: the same initial weights, batches and labelled examples for every snapshot, so that only theta differs.
Source: the idea of Metz et al., ICLR 2019, figures 3 and 6.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from metarules._checks import check_number
from metarules._random import seeded
from metarules._work import Progress
from metarules.base_model import BaseModelState, forward
from metarules.evaluation.held_out import N_SETS, SEED, few_shot
from metarules.inner_loop import start, weight_alignment
from metarules.studies.evolution import Evolution
from metarules.studies.planes import project
from metarules.studies.recording import check_single_task, record
from metarules.studies.trajectory import fixed_sample, recording_steps
from metarules.tasks import Task, stack_tasks
from metarules.tasks.distribution import DistributionSettings, validation_tasks
from metarules.update_rule import Batch, LocalRule
from metarules.update_rule.anatomy import contributions

DIGITS = "digits"
KIND_LABELS = {
    DIGITS: "digits",
    "glyphs": "letters",
    "handwriting": "handwriting",
}  # what may be taught, as it is called
STEPS, FRAMES = 40, 20  # inner steps, and recorded ones besides step 0
# Spread of the initial W and V: at the usual 0.01 nine tenths of the gain come in the first step, at 0.3 learning takes
# some thirty steps and can be watched (lesson 4).
WEIGHT_STD = 0.3
MAX_STEPS = 400
BATCH = 100  # examples of an inner step: held-out tasks are learned as well as at 200, at half the cost
DOTS = 300  # examples that the embedding shows
MEASURED, GATES_EVERY = 100, 5  # examples on which gates are read, and how many recorded steps apart


@dataclass(frozen=True, eq=False)
class Taught:
    """What one snapshot made of the base models. F recorded steps, K kinds of data, L layers.

    Attributes:
        steps: recorded inner steps [F].
        states: phi at each of them, leading dimension [K].
        accuracies: few-shot accuracy in [0, 1] [F, K].
        points: the top layer in a plane [F, K, dots, 2], see `planes.project`.
        filters: of the first layer [F, K, n_1, height, width].
        cosines: of W and V [F, K, L].
        gates: how far the neurons turn each term up or down on digits, mean over all neurons [F, terms]; read at every
            fifth recorded step and held until the next, since they hardly move.
    """

    steps: tuple[int, ...]
    states: tuple[BaseModelState, ...]
    accuracies: np.ndarray
    points: np.ndarray
    filters: np.ndarray
    cosines: np.ndarray
    gates: np.ndarray


class Timeline:
    """A run's snapshots and what each teaches; `teach` works a snapshot out once and keeps it.

    Args:
        evolution: the run, see `studies.evolution.evolution`.
        digits: a single task of images in ten classes, 8x8 unless the run's are of another size.
        steps: inner steps, 2 .. 400.
        weight_std: spread of the initial W and V.
        seed: of base models, batches, held-out data and labelled examples.

    Attributes:
        kinds: of data, in order: digits, glyphs (letters) and handwriting, the last where the run's log has it.
        task: x [K, N, n_0], one task of each kind.
        dots: which examples the points are [dots].
        labelled: six batches with ten labels a class, of which each fits the read-out in turn, see `few_shot`.
        steps: recorded inner steps.

    Raises:
        ValueError: numbers out of range, a task with too few examples or other classes than the held-out ones.
    """

    def __init__(
        self, evolution: Evolution, digits: Task, *, steps: int = STEPS, weight_std: float = WEIGHT_STD, seed: int = 0
    ) -> None:
        check_single_task(digits)
        check_number("steps", steps, low=2, high=MAX_STEPS, integer=True)
        check_number("weight_std", weight_std, low=0, high=10, low_open=True)
        generator = seeded(seed)
        self.evolution, self.weight_std, self.seed = evolution, weight_std, seed
        self.kinds = (DIGITS, *(kind for kind in KIND_LABELS if kind in evolution.kinds))
        settings = DistributionSettings()
        held_out = seeded(SEED + seed)
        others = [validation_tasks(settings, 1, held_out, kind).task(0) for kind in self.kinds[1:]]
        rows = torch.randperm(digits.n_examples, generator=generator)[: settings.n_examples]
        few = Task(digits.x[rows], digits.y[rows], digits.n_classes, digits.permutation, digits.name, digits.shape)
        try:
            self.task = stack_tasks([few, *others])
        except ValueError as error:
            raise ValueError(f"digits does not go with the held-out data: {error}") from None
        self.steps = recording_steps(steps, FRAMES)
        self.dots = fixed_sample(self.task.n_examples, DOTS)
        self.labelled = self.task.sample_labelled(10, generator, N_SETS)
        self._taught: dict[int, Taught] = {}

    @property
    def labels(self) -> tuple[str, ...]:
        """What the kinds are called."""
        return tuple(KIND_LABELS[kind] for kind in self.kinds)

    def __getitem__(self, number: int) -> Taught:
        """What a snapshot taught; KeyError while it has not."""
        return self._taught[number]

    def __contains__(self, number: int) -> bool:
        return number in self._taught

    @torch.no_grad()
    def teach(self, number: int, progress: Progress | None = None, stop: threading.Event | None = None) -> Taught:
        """Let a snapshot teach the base models, unless it has.

        Args:
            number: of the snapshot, 0 .. the last.
            progress: called with (recorded, all) after every recorded step.
            stop: set it to stop at the next recorded step.

        Raises:
            Stopped: `stop` was set.
            DivergenceError: a base model stopped being finite.
        """
        if number not in self._taught:
            self._taught[number] = self._teach(self.evolution.rules[number], progress, stop)
        return self._taught[number]

    def _teach(self, rule: LocalRule, progress: Progress | None, stop: threading.Event | None) -> Taught:
        how: dict[str, Any] = {
            "steps": self.steps[-1],
            "batch_size": min(BATCH, self.task.n_examples),
            "weight_std": self.weight_std,
        }
        begun = start(rule, self.task, seed=self.seed, **how)
        accuracies: list[Tensor] = []
        gates: list[Tensor] = []
        looked_at = Batch(self.task.x[0, :MEASURED])

        def measure(phi: BaseModelState) -> None:
            fresh = len(gates) % GATES_EVERY == 0
            gates.append(mean_gates(rule, phi.map(lambda t: t[0]), looked_at) if fresh else gates[-1])
            accuracies.append(few_shot(phi, self.labelled, self.task.n_classes))

        run = record(rule, self.task, begun, self.steps, progress=progress, stop=stop, look=measure)
        features = torch.stack([forward(phi, self.task.x).features for phi in run.states]).numpy()
        kinds = range(len(self.kinds))
        W = torch.stack([phi.layers[0].W for phi in run.states], 1)  # [K, F, n_0, n_1]
        return Taught(
            steps=run.steps,
            states=tuple(run.states),
            accuracies=torch.stack(accuracies).numpy(),
            points=np.stack([project(features[:, k])[:, self.dots] for k in kinds], 1),
            filters=self.task.image(W.mT).transpose(0, 1).numpy(),
            cosines=torch.stack([weight_alignment(phi) for phi in run.states]).numpy(),
            gates=torch.stack(gates).numpy(),
        )


def mean_gates(rule: LocalRule, phi: BaseModelState, batch: Batch) -> Tensor:
    """Mean over all neurons of how far they turn each term up or down [terms], 1 where they leave it.

    Args:
        rule: the rule.
        phi: one base model.
        batch: x [batch, n_0].
    """
    trace = rule.trace(phi, batch)
    seen = [contributions(rule, trace, l).gates for l in range(1, phi.depth + 1)]
    return torch.stack([torch.cat([gates[name] for gates in seen]).mean() for name in rule.settings.terms])
