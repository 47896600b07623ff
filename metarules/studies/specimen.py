"""What `NeuronMicroscope` shows, computed without any widget: a base model taught by a learned rule, to look into."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from metarules._checks import check_choice, check_kind, check_number
from metarules._work import Progress
from metarules.base_model import BaseModelState, forward
from metarules.evaluation import probe_splits, split_accuracy
from metarules.inner_loop import start
from metarules.studies.neuron import NeuronView, neuron_view
from metarules.studies.recording import Recorded, check_single_task, record
from metarules.studies.trajectory import LABELS_PER_CLASS, MAX_STEPS, N_SPLITS, fixed_sample, recording_steps
from metarules.tasks import Task
from metarules.update_rule import LocalRule, Trace, UpdateRule
from metarules.update_rule.anatomy import Contributions, contributions


@dataclass(frozen=True, eq=False)
class Specimen(Recorded):
    """One base model's learning, and one fixed batch under the microscope at every recorded step.

    Attributes:
        rule: the rule that taught it, the term `off` switched off.
        task: the data.
        seed: of initial weights and batches.
        off: the term switched off from step 0 on, or None.
        steps: recorded inner steps, from 0.
        states: phi at each of them.
        x: the batch looked at, the same at every step [B, n_0].
    """

    rule: LocalRule
    task: Task
    seed: int
    off: str | None
    steps: tuple[int, ...]
    states: tuple[BaseModelState, ...]
    x: Tensor
    _traces: dict[int, Trace] = field(default_factory=dict, repr=False)
    _parts: dict[tuple[int, int], Contributions] = field(default_factory=dict, repr=False)
    _views: dict[tuple[int, int, int], NeuronView] = field(default_factory=dict, repr=False)
    _accuracies: dict[int, float] = field(default_factory=dict, repr=False)

    @torch.no_grad()
    def trace(self, frame: int) -> Trace:
        """The rule's step on the batch, from the state of a frame; computed once."""
        if frame not in self._traces:
            self._traces[frame] = self.rule.trace(self.states[frame], self.x)
        return self._traces[frame]

    @torch.no_grad()
    def view(self, frame: int, layer: int, unit: int) -> NeuronView:
        """One neuron at a frame; computed once."""
        if (frame, layer, unit) not in self._views:
            trace = self.trace(frame)
            if (frame, layer) not in self._parts:
                self._parts[frame, layer] = contributions(self.rule, trace, layer)
            self._views[frame, layer, unit] = neuron_view(
                self.rule,
                self.states[frame],
                self.x,
                layer,
                unit,
                task=self.task,
                trace=trace,
                parts=self._parts[frame, layer],
            )
        return self._views[frame, layer, unit]

    @property
    def n_views(self) -> int:
        """How many neurons at how many steps there are to look at."""
        return len(self.steps) * sum(self.sizes[1:])

    def number(self, frame: int, layer: int, unit: int) -> int:
        """A number for each neuron at each frame, from 0: the frames of the films."""
        return frame * sum(self.sizes[1:]) + sum(self.sizes[1:layer]) + unit

    def numbered(self, number: int) -> NeuronView:
        """The view with that number."""
        frame, unit = divmod(number, sum(self.sizes[1:]))
        layer = 1
        while unit >= self.sizes[layer]:
            unit -= self.sizes[layer]
            layer += 1
        return self.view(frame, layer, unit)

    @torch.no_grad()
    def accuracy(self, frame: int) -> float:
        """Few-shot accuracy at a frame: the evaluation's probe, mean over its first five splits; computed once."""
        frame = range(len(self.steps))[frame]
        if frame not in self._accuracies:
            features = forward(self.states[frame], self.task.x).features
            splits = probe_splits(self.task.y, LABELS_PER_CLASS, N_SPLITS)
            self._accuracies[frame] = float(split_accuracy(features, self.task.y, splits).mean())
        return self._accuracies[frame]


@torch.no_grad()
def prepare(
    rule: UpdateRule,
    task: Task,
    *,
    off: str | None = None,
    sizes: Sequence[int] | None = None,
    steps: int | None = None,
    seed: int = 0,
    progress: Progress | None = None,
    stop: threading.Event | None = None,
) -> Specimen:
    """Let a learned rule teach a base model, for all of it to be looked into later.

    The trajectory is that of `evaluation.learned_state` with the same arguments.

    Args:
        rule: a `LocalRule`.
        task: a single task, on the CPU.
        off: a term of the rule switched off from the first step on; None leaves all on.
        sizes: (n_0, .., n_L); None takes the task's inputs and layers of 32, 32, 32.
        steps: inner steps; None takes what the rule recommends.
        seed: of initial weights and batches, from 0.
        progress: called with (recorded, all) after every recorded step.
        stop: set it to stop at the next recorded step.

    Raises:
        Stopped: `stop` was set.
        DivergenceError: phi stopped being finite.
        ValueError: settings out of range, a task with leading dimensions.
    """
    local = check_kind("rule", rule, LocalRule)
    check_single_task(task)
    if off is not None:
        check_choice("off", off, local.settings.terms)
        local = local.with_scales({off: 0.0})
    begun = start(local, task, sizes=sizes, steps=steps, seed=seed)
    how = begun.settings
    check_number("steps", how.steps, low=1, high=MAX_STEPS, integer=True)
    run = record(local, task, begun, recording_steps(how.steps), progress=progress, stop=stop)
    x = task.x[torch.from_numpy(fixed_sample(task.n_examples, how.batch_size))]
    return Specimen(local, task, seed, off, run.steps, tuple(run.states), x)
