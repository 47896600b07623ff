"""What `BackwardWeights` shows, computed without any widget: angles between V and W, and between what goes down both.

Sources: Lillicrap et al., Nature Communications 7 (2016), whose measure the angles are; Kolen and Pollack, ICNN (1994).
"""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType

import numpy as np
import torch
from torch import Tensor

from metarules._checks import check_choice, check_number, check_tensor
from metarules._work import Progress
from metarules.base_model import BaseModelState, LayerState, forward_unchecked
from metarules.classic_rules import get_rule
from metarules.classic_rules.backward import backprop_gradient
from metarules.evaluation import probe_splits, split_accuracy
from metarules.inner_loop import start
from metarules.meta_objective import one_hot, ridge_fit
from metarules.studies.recording import Recorded, check_single_task, record
from metarules.studies.trajectory import LABELS_PER_CLASS, N_SPLITS, fixed_sample, recording_steps
from metarules.tasks import Task
from metarules.update_rule import Batch, LocalRule, PaperRule, UpdateRule
from metarules.update_rule.learned import BACKWARD_UPDATES, LearnedRule

SUPERVISED = ("feedback_alignment", "kolen_pollack")
WAYS = (*BACKWARD_UPDATES, *SUPERVISED)
# Spread of the initial W and V. At the authors' 0.01 the learned rule's first step is many times larger than what it
# started from, and V follows W within five steps; at 0.3 the turn takes some thirty and can be watched.
WEIGHT_STD: Mapping[str, float] = MappingProxyType(
    {**dict.fromkeys(BACKWARD_UPDATES, 0.3), **dict.fromkeys(SUPERVISED, 0.01)}
)
STEPS: Mapping[str, int] = MappingProxyType({**dict.fromkeys(BACKWARD_UPDATES, 50), **dict.fromkeys(SUPERVISED, 300)})
MAX_STEPS = 1000  # inner steps a widget may be asked for
FRAMES = 25  # recorded steps, besides step 0: a frame every second step of the usual 50
MEASURED = 100  # examples on which signals and changes are compared, always the same


@dataclass(frozen=True, eq=False)
class BackwardRun(Recorded):
    """A trajectory and its angles. F recorded steps, L layers; all angles in degrees, 90 is unrelated.

    Attributes:
        task: the data.
        seed: of initial weights and batches.
        weight_std: spread of the initial W and V.
        steps: recorded inner steps, [F], from 0.
        states: phi at each of them.
        angles: between W and V of each layer, [F, L].
        signal_angles: between the signal arriving at each layer and the one that would arrive if the same rule had
            V = W, [F, L]. For feedback alignment the latter is backprop's. The top layer of a learned rule makes its
            own signal, so that its angle is 0.
        change_angles: between the rule's change of W and backprop's gradient, [F, L], see `backprop_changes`.
        accuracies: few-shot accuracy in [0, 1], [F].
        sees_labels: whether the rule was given the labels of all examples.
    """

    task: Task
    seed: int
    weight_std: float
    steps: tuple[int, ...]
    states: tuple[BaseModelState, ...]
    angles: np.ndarray
    signal_angles: np.ndarray
    change_angles: np.ndarray
    accuracies: np.ndarray
    sees_labels: bool

    def turned_at(self, layer: int, angle: float = 45.0) -> int | None:
        """First recorded step at which W and V of a layer are nearer than an angle; None if they never are."""
        below = np.flatnonzero(self.angles[:, layer - 1] < angle)
        return self.steps[int(below[0])] if below.size else None


def angle_between(one: Tensor, other: Tensor) -> float:
    """Angle between two tensors of one shape, taken as long vectors, in degrees: 0 the same direction, 90 unrelated.

    Where either is all zeros there is no direction, and the answer is 90.

    Raises:
        TypeError: not floating tensors.
        ValueError: different shapes, NaN or infinity.
    """
    a, b = check_tensor("one", one, min_dims=1), check_tensor("other", other, min_dims=1)
    if a.shape != b.shape:
        raise ValueError(f"other has shape {list(b.shape)}; allowed: {list(a.shape)}, the shape of one")
    a, b = a.detach().double().flatten(), b.detach().double().flatten()
    lengths = a.norm() * b.norm()
    if lengths == 0:
        return 90.0
    a, b = a / a.norm(), b / b.norm()
    # 2 atan2(|a - b|, |a + b|) where arccos of the cosine would lose half the digits near 0
    return float(torch.rad2deg(2 * torch.atan2((a - b).norm(), (a + b).norm())))


def backward_rule(way: str, base: LearnedRule, n_classes: int = 10) -> UpdateRule:
    """A rule that treats V in one of six ways.

    Args:
        way: "identical", V gets the change of W; "separate", V gets a change of its own, made from V by a copy of the
            read-out that changes W (which was not meta-trained for that); "fixed", V stays as it began; "tied", V is W;
            "feedback_alignment" and "kolen_pollack", supervised and by hand: V fixed, and V with W's change and decay.
        base: the learned rule whose theta the first four ways use.
        n_classes: width of the read-out of the last two.

    Raises:
        ValueError: another way.
        TypeError: base is neither a `LocalRule` nor a `PaperRule`.
    """
    check_choice("way", way, WAYS)
    if way == "feedback_alignment":
        return get_rule("feedback_alignment", n_classes=n_classes)
    if way == "kolen_pollack":
        return get_rule("feedback_alignment", n_classes=n_classes, kolen_pollack=True, decay=0.1)
    if not isinstance(base, LocalRule | PaperRule):
        raise TypeError(f"base must be a LocalRule or a PaperRule, got {type(base).__name__}")
    kind = LocalRule if isinstance(base, LocalRule) else PaperRule
    rule = kind(replace(base.settings, backward_update=way), dtype=next(base.parameters()).dtype)
    theta = {name: value for name, value in base.state_dict().items() if not name.startswith("backward_readout.")}
    if way == "separate":
        own = getattr(base, "backward_readout", None) or base.forward_readout
        theta |= {f"backward_readout.{name}": value for name, value in own.state_dict().items()}
    rule.load_state_dict(theta)
    rule.recommended = base.recommended
    return rule


def with_transport(phi: BaseModelState) -> BaseModelState:
    """The same base model with V = W in all layers, a carried read-out's included: weight transport, as in backprop."""
    extra = {"readout_V": phi.extra["readout_W"]} if "readout_V" in phi.extra else {}
    return phi.with_layers([replace(layer, V=layer.W) for layer in phi.layers], **extra)


@torch.no_grad()
def backprop_changes(rule: UpdateRule, phi: BaseModelState, batch: Batch) -> dict[int, Tensor]:
    """Backprop's gradient of a supervised loss with respect to each W, to hold a rule's change of W against.

    For a supervised rule the loss is its own, with its own read-out. Any other rule has no labels and no read-out: the
    loss is then the squared error of the best linear (ridge) read-out of the labels from the top layer. Such a rule
    never sees this loss; labels serve to measure alone.

    Args:
        rule: any rule.
        phi: the base model.
        batch: examples with labels, y not None.

    Returns:
        Gradients [n_{l-1}, n_l], keyed by l = 1 .. L.

    Raises:
        ValueError: labels missing.
    """
    if batch.y is None:
        raise ValueError("batch.y is None; allowed: class numbers [batch], to know which way backprop would go")
    if rule.needs_labels:
        return dict(rule.trace(with_transport(phi), batch).change_W)
    return readout_gradient(phi, batch.x, one_hot(batch.y, int(batch.y.max()) + 1, phi.dtype))


@torch.no_grad()
def readout_gradient(phi: BaseModelState, x: Tensor, targets: Tensor) -> dict[int, Tensor]:
    """Gradient of the squared error of the best linear (ridge, lambda 1) read-out of targets, by each W.

    The read-out is fitted to the top layer first and then held fixed. With targets = x it is a linear decoder, and this
    is the gradient of an autoencoder whose decoder is always the best linear one.

    Args:
        phi: the base model.
        x: examples [batch, n_0].
        targets: what is read out [batch, k].

    Returns:
        Gradients [n_{l-1}, n_l], keyed by l = 1 .. L.
    """
    acts = forward_unchecked(phi, x)
    w = ridge_fit(acts.features, targets, ridge=1.0)
    error = acts.features @ w[:-1] + w[-1] - targets
    return backprop_gradient(phi, acts, error @ w[:-1].T / len(x))[0]


@torch.no_grad()
def angles_at(rule: UpdateRule, phi: BaseModelState, batch: Batch) -> tuple[list[float], list[float], list[float]]:
    """Angles of every layer, 1 .. L, at one phi, in degrees.

    Returns:
        (W against V, signal against the same rule's with V = W, change of W against backprop's).
    """
    both = _stacked(phi, with_transport(phi))  # two base models in one call: a third faster than two calls
    trace = rule.trace(both, batch)
    if not trace.d:
        raise ValueError(f"rule is {rule}, which sends no signals down; allowed: a rule that does, such as 'local'")
    wanted = {l: change[1] for l, change in trace.change_W.items()}
    if not rule.needs_labels:
        wanted = backprop_changes(rule, phi, batch)
    layers = range(1, phi.depth + 1)
    return (
        [angle_between(layer.W, layer.V) for layer in phi.layers],
        [angle_between(*trace.d[l]) for l in layers],
        [angle_between(trace.change_W[l][0], wanted[l]) for l in layers],
    )


def _stacked(one: BaseModelState, other: BaseModelState) -> BaseModelState:
    """Two base models of one shape as two tasks of one state."""
    layers = [
        LayerState(*(torch.stack([getattr(p, name), getattr(q, name)]) for name in ("W", "b", "V")))
        for p, q in zip(one.layers, other.layers, strict=True)
    ]
    extra = {name: torch.stack([value, other.extra[name]]) for name, value in one.extra.items()}
    return one.with_layers(layers, **extra)


@torch.no_grad()
def follow_backward_weights(
    rule: UpdateRule,
    task: Task,
    *,
    sizes: Sequence[int] | None = None,
    steps: int = 50,
    weight_std: float = 0.3,
    seed: int = 0,
    progress: Progress | None = None,
    stop: threading.Event | None = None,
) -> BackwardRun:
    """Let a rule teach one base model and measure, along the way, how far V has turned to W and what it matters.

    Args:
        rule: any rule that sends signals down, see `backward_rule`.
        task: a single task with labels, on the CPU; a rule without `needs_labels` never sees them.
        sizes: (n_0, .., n_L); None takes the task's inputs and layers of 32, 32, 32.
        steps: inner steps, 1 .. 1000.
        weight_std: spread of the initial W and V, in (0, 10].
        seed: of initial weights and batches, from 0.
        progress: called with (recorded, all) after every recorded step.
        stop: set it to stop at the next recorded step.

    Returns:
        The `BackwardRun`, about 25 steps recorded.

    Raises:
        Stopped: `stop` was set.
        DivergenceError: phi stopped being finite.
        ValueError: settings out of range, a task with leading dimensions, a class with too few examples, a
            rule that sends no signals down.
    """
    check_single_task(task)
    check_number("steps", steps, low=1, high=MAX_STEPS, integer=True)
    check_number("weight_std", weight_std, low=0, high=10, low_open=True)
    begun = start(rule, task, sizes=sizes, steps=steps, weight_std=weight_std, seed=seed)
    splits = probe_splits(task.y, LABELS_PER_CLASS, N_SPLITS)
    if isinstance(rule, LearnedRule) and rule.settings.backward_update == "tied":
        begun = begun._replace(phi=with_transport(begun.phi))  # it reads W in V's place from the first step on
    rows = torch.from_numpy(fixed_sample(task.n_examples, MEASURED))
    batch = Batch(task.x[rows], task.y[rows])
    measured: list[tuple[list[float], list[float], list[float]]] = []

    def measure(phi: BaseModelState) -> None:
        measured.append(angles_at(rule, phi, batch))

    run = record(rule, task, begun, recording_steps(steps, FRAMES), progress=progress, stop=stop, look=measure)
    features = torch.stack([forward_unchecked(state, task.x).features for state in run.states])
    return BackwardRun(
        task=task,
        seed=seed,
        weight_std=weight_std,
        steps=run.steps,
        states=tuple(run.states),
        angles=np.array([m[0] for m in measured]),
        signal_angles=np.array([m[1] for m in measured]),
        change_angles=np.array([m[2] for m in measured]),
        accuracies=split_accuracy(features, task.y, splits).mean(-1).numpy(),
        sees_labels=rule.needs_labels,
    )
