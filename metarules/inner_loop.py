"""The inner loop: apply a rule for T steps to a base model, keeping what a viewer wants to see.

Source: Metz et al., ICLR 2019, section 3.1: phi_{t+1} = UnsupervisedUpdate(phi_t, x_t; theta).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from metarules._checks import check_names, check_number
from metarules.base_model import BaseModelState, forward
from metarules.tasks.task import Task
from metarules.update_rule import Batch, UpdateRule

Recorder = Callable[[BaseModelState, Task], Any]


class DivergenceError(RuntimeError):
    """phi stopped being finite.

    Attributes:
        step: inner step after which it was noticed, counted from 1.
        tensor: name of the first tensor that is not finite, such as "W2".
        last_good: the last phi known to be finite.
    """

    def __init__(self, step: int, tensor: str, last_good: BaseModelState) -> None:
        super().__init__(
            f"the rule diverged: {tensor} is NaN or infinite after inner step {step}; "
            "try a smaller step size, fewer or weaker terms, or inputs of smaller range"
        )
        self.step = step
        self.tensor = tensor
        self.last_good = last_good


def weight_alignment(phi: BaseModelState) -> Tensor:
    """Cosine between W and V of every layer, [*tasks, L]; 0 where either is all zeros."""
    cosines = []
    for layer in phi.layers:
        w, v = layer.W.flatten(-2), layer.V.flatten(-2)
        cosines.append(torch.nn.functional.cosine_similarity(w, v, dim=-1))
    return torch.stack(cosines, -1)


def weight_norms(phi: BaseModelState) -> Tensor:
    """Root mean square of W of every layer, [*tasks, L]."""
    return torch.stack([layer.W.square().mean((-2, -1)).sqrt() for layer in phi.layers], -1)


RECORDERS: dict[str, Recorder] = {
    "state": lambda phi, task: phi,
    "features": lambda phi, task: forward(phi, task.x).features,
    "weight_alignment": lambda phi, task: weight_alignment(phi),
    "weight_norms": lambda phi, task: weight_norms(phi),
}


@dataclass(frozen=True)
class Trajectory:
    """What `learn` brings back.

    Attributes:
        state: phi after the last step.
        steps: inner steps at which something was recorded, 0 = before the first.
        records: name -> one entry for each of `steps`.
    """

    state: BaseModelState
    steps: tuple[int, ...]
    records: Mapping[str, list[Any]]

    @property
    def states(self) -> list[BaseModelState]:
        """phi at each of `steps`; needs "state" among the recordings."""
        if "state" not in self.records:
            raise KeyError(f'"state" was not recorded; recorded: {", ".join(self.records) or "nothing"}')
        return self.records["state"]


def unroll(
    rule: UpdateRule, phi: BaseModelState, batches: Iterable[Batch | Tensor], *, keep_graph: bool = False
) -> BaseModelState:
    """Apply the rule once for each batch.

    Args:
        rule: any rule; it is called with its checks, so bad batches are refused.
        phi: where to start.
        batches: one `Batch` (or x [*tasks, batch, n_0]) for each inner step.
        keep_graph: keep autograd's graph through all steps (a meta-gradient needs it; memory grows with the steps).

    Returns:
        phi after the last batch.

    Raises:
        DivergenceError: phi stopped being finite.
        TypeError, ValueError: as the rule's own call.
    """
    with torch.set_grad_enabled(keep_graph and torch.is_grad_enabled()):
        for step, batch in enumerate(batches, start=1):
            phi = _checked(rule(phi, batch), phi, step)
    return phi


def learn(
    rule: UpdateRule,
    phi: BaseModelState,
    task: Task,
    *,
    steps: int,
    batch_size: int,
    generator: torch.Generator,
    record: Sequence[str] | Mapping[str, Recorder] = (),
    record_at: Iterable[int] | None = None,
    keep_graph: bool = False,
) -> Trajectory:
    """Let a rule teach a base model on a task, batches drawn at random.

    Args:
        rule: any rule. A rule that carries extra tensors gets them through `rule.init_extra` first.
        phi: where to start, with the task's leading dimensions.
        task: data; x [*tasks, N, n_0]. Labels reach only the rules with `needs_labels`.
        steps: number of inner steps, >= 0.
        batch_size: examples a step, 2 .. N.
        generator: source of the batches. Its state carries on, so two calls of 5 steps equal one of 10.
        record: names out of `RECORDERS`, or your own functions (phi, task) -> anything, by name.
        record_at: inner steps to record at, 0 .. steps; by default all.
        keep_graph: keep autograd's graph through all steps.

    Returns:
        A `Trajectory`.

    Raises:
        DivergenceError: phi stopped being finite.
        ValueError: settings out of range, unknown recordings, a task that does not fit phi.
        TypeError: arguments of the wrong type.
    """
    if not isinstance(rule, UpdateRule):
        raise TypeError(f"rule must be an UpdateRule, got {type(rule).__name__}")
    if not isinstance(task, Task):
        raise TypeError(f"task must be a metarules.tasks.Task, got {type(task).__name__}")
    check_number("steps", steps, low=0, integer=True)
    check_number("batch_size", batch_size, low=2, high=task.x.shape[-2], integer=True)
    recorders = _recorders(record)
    wanted = set(range(steps + 1) if record_at is None else record_at)
    for at in wanted:
        check_number("record_at", at, low=0, high=steps, integer=True)
    with torch.set_grad_enabled(keep_graph and torch.is_grad_enabled()):
        phi = rule.init_extra(phi, generator)
        rule.check(phi, Batch(task.x, task.y))
        records: dict[str, list[Any]] = {name: [] for name in recorders}
        at_steps = []
        for step in range(steps + 1):
            if step:
                phi = _checked(rule.step(phi, _for_rule(rule, task.sample(batch_size, generator))), phi, step)
            if recorders and step in wanted:
                at_steps.append(step)
                for name, recorder in recorders.items():
                    records[name].append(recorder(phi, task))
    return Trajectory(phi, tuple(at_steps), records)


def batches(task: Task, steps: int, batch_size: int, generator: torch.Generator) -> Iterator[Batch]:
    """The batches `learn` would draw, one by one; arguments as there."""
    for _ in range(steps):
        yield task.sample(batch_size, generator)


def _for_rule(rule: UpdateRule, batch: Batch) -> Batch:
    return batch if rule.needs_labels else Batch(batch.x)


def _recorders(record: Sequence[str] | Mapping[str, Recorder]) -> dict[str, Recorder]:
    if isinstance(record, Mapping):
        return dict(record)
    if isinstance(record, str):
        record = (record,)
    check_names("record", record, RECORDERS)
    return {name: RECORDERS[name] for name in record}


def _checked(phi: BaseModelState, before: BaseModelState, step: int) -> BaseModelState:
    """phi, or a DivergenceError. Sums are enough: they are finite only where every number is (or far out of range)."""
    for name, tensor in phi.tensors():
        if not torch.isfinite(tensor.detach().sum()):
            raise DivergenceError(step, name, before)
    return phi
