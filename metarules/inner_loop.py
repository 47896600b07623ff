"""The inner loop: apply a rule for T steps to a base model, keeping what a viewer wants to see.

Source: Metz et al., ICLR 2019, section 3.1: phi_{t+1} = UnsupervisedUpdate(phi_t, x_t; theta).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from metarules._arguments import guard as _guard
from metarules._checks import check_names, check_number, check_tensor
from metarules._random import seeded
from metarules._threads import few_threads, inner_work
from metarules.base_model import WIDTHS, BaseModelState, InitSettings, check_input, forward, init_state
from metarules.tasks.task import Task
from metarules.update_rule import Batch, InnerSettings, UpdateRule
from metarules.update_rule.contract import check_returned

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


def inner_settings(
    rule: UpdateRule, n_examples: int, steps: int | None = None, batch_size: int | None = None
) -> InnerSettings:
    """How a rule is run on n_examples: as it recommends, the batch cut to the set, unless told otherwise.

    Raises:
        TypeError, ValueError: steps is no whole number from 0, or batch_size none from 2.
    """
    own = rule.recommended
    return replace(
        own,
        steps=own.steps if steps is None else steps,
        batch_size=min(own.batch_size, n_examples) if batch_size is None else batch_size,
    )


class Start(NamedTuple):
    """Where a trajectory begins.

    Attributes:
        phi: fresh base models, one for each task, with whatever the rule carries along.
        settings: how the rule is run: steps, batch size and the spread of phi.
        generator: source of the batches; phi has been drawn from it.
    """

    phi: BaseModelState
    settings: InnerSettings
    generator: torch.Generator


def start(
    rule: UpdateRule,
    task: Task,
    *,
    sizes: Sequence[int] | None = None,
    steps: int | None = None,
    batch_size: int | None = None,
    weight_std: float | None = None,
    nonlinearity: str = "relu",
    seed: int = 0,
    generator: torch.Generator | None = None,
) -> Start:
    """Draw base models for a task as a rule wants them, and say how it is run.

    Args:
        rule: any rule; the spread of phi is what it recommends, and `rule.init_extra` has been applied.
        task: data [*tasks, N, n_0]; one base model for each task.
        sizes: (n_0, .., n_L); None takes the task's inputs and `WIDTHS` above them.
        steps, batch_size: None takes what the rule recommends, the batch cut to the task.
        weight_std: another spread of the initial W and V.
        nonlinearity: of the base models.
        seed: of phi and batches, from 0.
        generator: source of both in place of one made from the seed.

    Returns:
        phi, settings and generator, as `learn` takes them.

    Raises:
        ValueError: numbers out of range.

    Example:
        >>> from metarules import learn, load_dataset, load_rule, make_task, start
        >>> rule, task = load_rule("local"), make_task(load_dataset("digits"), permute=False)
        >>> phi, how, generator = start(rule, task, steps=20)
        >>> learn(rule, phi, task, steps=how.steps, batch_size=how.batch_size, generator=generator).state
        BaseModelState(64-32-32-32, relu, float32)
    """
    how = inner_settings(rule, task.n_examples, steps, batch_size)
    if weight_std is not None:
        how = replace(how, weight_std=weight_std)
    generator = seeded(seed) if generator is None else generator
    phi = init_state(
        sizes or (task.n_inputs, *WIDTHS),
        tasks=task.tasks,
        nonlinearity=nonlinearity,
        settings=InitSettings(weight_std=how.weight_std, bias_std=how.bias_std),
        generator=generator,
        dtype=task.x.dtype,
        device=generator.device,
    )
    return Start(rule.init_extra(phi, generator).to(task.x.device), how, generator)


def unroll(
    rule: UpdateRule,
    phi: BaseModelState,
    batches: Iterable[Batch | Tensor] | Tensor,
    *,
    keep_graph: bool = False,
    checkpoint_every: int | None = None,
) -> BaseModelState:
    """Apply the rule once for each batch.

    Args:
        rule: any rule; it is called with its checks, so bad batches are refused.
        phi: where to start.
        batches: one `Batch` (or x [*tasks, batch, n_0]) for each inner step; [batch, n_0] is shared by all tasks.
        keep_graph: keep autograd's graph through all steps (a meta-gradient needs it; memory grows with the steps).
            Under `torch.no_grad` there is none to keep.
        checkpoint_every: with `keep_graph`, keep phi and batches alone and recompute the insides of this many steps
            when the gradient passes through them: the same gradient for a third more time, and memory that grows by
            one phi for each group of steps.

    Returns:
        phi after the last batch.

    Raises:
        DivergenceError: phi stopped being finite.
        TypeError: rule or phi of another type, or as the rule's own call.
        ValueError: phi is not finite to begin with, `checkpoint_every` below 1, or as the rule's own call.
    """
    phi.validate()
    if isinstance(batches, Tensor):
        check_tensor("batches", batches, min_dims=3, finite=False)  # the rule looks at the numbers
    if checkpoint_every is not None:
        check_number("checkpoint_every", checkpoint_every, low=1, integer=True)

    def several(phi: BaseModelState, group: Sequence[Batch | Tensor], done: int) -> BaseModelState:
        for step, batch in enumerate(group, start=done + 1):
            phi = check_finite(rule(phi, batch), phi, step)
        return phi

    with torch.set_grad_enabled(keep_graph and torch.is_grad_enabled()):
        phi = phi if keep_graph else phi.detach()
        left, done = iter(batches), 0
        while group := list(islice(left, checkpoint_every or 1)):
            if checkpoint_every is not None and torch.is_grad_enabled():
                phi = checkpoint(several, phi, group, done, use_reentrant=False, preserve_rng_state=False)
            else:
                phi = several(phi, group, done)
            done += len(group)
    return phi


def learn(
    rule: UpdateRule,
    phi: BaseModelState,
    task: Task,
    *,
    steps: int,
    batch_size: int,
    generator: torch.Generator,
    record: str | Sequence[str] | Mapping[str, Recorder] = (),
    record_at: Iterable[int] | None = None,
    keep_graph: bool = False,
    threads: int | None = None,
) -> Trajectory:
    """Let a rule teach a base model on a task, batches drawn at random.

    Args:
        rule: any rule. A rule that carries extra tensors gets them through `rule.init_extra` first.
        phi: where to start, with the task's leading dimensions and dtype.
        task: data; x [*tasks, N, n_0]. Labels reach only the rules with `needs_labels`.
        steps: number of inner steps, >= 0.
        batch_size: examples a step, 2 .. N.
        generator: source of the batches. Its state carries on, so two calls of 5 steps equal one of 10.
        record: names out of `RECORDERS`, or your own functions (phi, task) -> anything, by name.
        record_at: inner steps to record at, 0 .. steps, in any order; by default all.
        keep_graph: keep autograd's graph through all steps. Under `torch.no_grad` there is none to keep.
        threads: of PyTorch, while this runs. None takes what suits the sizes, unless `torch.set_num_threads` or
            OMP_NUM_THREADS said how many.

    Returns:
        A `Trajectory`.

    Raises:
        DivergenceError: phi stopped being finite.
        ValueError: settings out of range, unknown recordings, a task that does not fit phi, phi not finite.
    """
    phi.validate()
    _check_task(task, phi)
    check_number("steps", steps, low=0, integer=True)
    check_number("batch_size", batch_size, low=2, high=task.n_examples, integer=True)
    recorders = _recorders(record)
    wanted = check_steps(record_at, steps)
    with (
        few_threads(step_work(rule, phi.sizes, batch_size, math.prod(phi.tasks)), threads),
        torch.set_grad_enabled(keep_graph and torch.is_grad_enabled()),
    ):
        phi = rule.init_extra(phi if keep_graph else phi.detach(), generator)
        rule.check(phi, Batch(task.x, task.y))  # once, on all the data: the steps below then skip their checks
        records: dict[str, list[Any]] = {name: [] for name in recorders}
        at_steps = []
        for step in range(steps + 1):
            if step:
                phi = check_finite(rule.step(phi, _for_rule(rule, task.sample(batch_size, generator))), phi, step)
            if recorders and step in wanted:
                at_steps.append(step)
                for name, recorder in recorders.items():
                    records[name].append(recorder(phi, task))
    return Trajectory(phi, tuple(at_steps), records)


def step_work(rule: UpdateRule, sizes: Sequence[int], batch_size: int, tasks: int) -> float:
    """The work of one inner step, as `_threads.threads_for` counts it."""
    channels = getattr(getattr(rule, "settings", None), "channels", 1)  # width of a learned rule's update networks
    return inner_work(sizes, batch_size, tasks, channels if isinstance(channels, int) else 1)


def batches(task: Task, steps: int, batch_size: int, generator: torch.Generator) -> Iterator[Batch]:
    """The batches `learn` would draw, one by one and only when asked for, to be handed to `unroll`.

    Args:
        task, steps, batch_size, generator: as in `learn` (which first draws what `rule.init_extra` needs, if anything).
    """
    check_number("steps", steps, low=0, integer=True)
    check_number("batch_size", batch_size, low=2, high=task.n_examples, integer=True)
    return (task.sample(batch_size, generator) for _ in range(steps))


def check_finite(phi: Any, before: BaseModelState, step: int) -> BaseModelState:
    """Return phi after an inner step if it is finite, without checks of the other arguments.

    Args:
        phi: after the step.
        before: the phi before it, for the error.
        step: number of the step, counted from 1.

    Raises:
        DivergenceError: a number in phi is NaN or infinite.
        TypeError: phi is none.
    """
    for name, tensor in check_returned(phi).tensors():
        # a sum is quick, and finite only where every number is; large numbers alone can overflow it
        if not torch.isfinite(tensor.detach().sum()) and not torch.isfinite(tensor).all():
            raise DivergenceError(step, name, before)
    return cast(BaseModelState, phi)


def _check_task(task: Task, phi: BaseModelState) -> None:
    if task.tasks != phi.tasks:
        raise ValueError(
            f"task has leading dimensions {list(task.tasks)}; allowed: {list(phi.tasks)}, those of phi (make_task and "
            "init_state both take tasks=)"
        )
    check_input(phi, task.x, "task.x")


def check_steps(record_at: Iterable[int] | None, steps: int) -> Collection[int]:
    """The inner steps to record at: `record_at` if all of it lies in 0 .. steps, all steps where it is None."""
    if record_at is None:
        return range(steps + 1)
    return {int(check_number("record_at", at, low=0, high=steps, integer=True)) for at in record_at}


def _for_rule(rule: UpdateRule, batch: Batch) -> Batch:
    return batch if rule.needs_labels else Batch(batch.x)


def _recorders(record: Sequence[str] | Mapping[str, Recorder]) -> dict[str, Recorder]:
    if isinstance(record, Mapping):
        return dict(record)
    if isinstance(record, str):
        record = (record,)
    check_names("record", record, RECORDERS)
    return {name: RECORDERS[name] for name in record}


_guard(__name__)
