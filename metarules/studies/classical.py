"""Which classical rule is it? A rule's change of W as a weighted sum of changes that textbooks know, by least squares.

The classical changes are Hebb, Oja, decorrelation, decay, soft competition, and the gradient of an autoencoder. Each is
brought to the same size for every neuron, as in the hand-written rules (`classic_rules.statistics.normalise_columns`),
so that a weight of 1 means the same for all. Sources: those rules' modules; the question is ours.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from metarules._checks import check_number, check_tensor
from metarules._work import Progress
from metarules.base_model import BaseModelState, forward_unchecked
from metarules.classic_rules.mixed import MixedRule, MixedSettings
from metarules.classic_rules.statistics import normalise_columns
from metarules.inner_loop import start
from metarules.studies.backward_weights import MEASURED, backprop_changes, readout_gradient
from metarules.studies.recording import check_single_task, record
from metarules.studies.trajectory import fixed_sample
from metarules.tasks import Task
from metarules.update_rule import Batch, LocalRule, UpdateRule
from metarules.update_rule.anatomy import contributions

CLASSICAL = ("Hebb", "Oja", "decorrelation", "decay", "soft competition", "autoencoder")
_TERMS = {"Hebb": "hebb", "Oja": "oja", "decorrelation": "decorr", "soft competition": "soft"}  # of `MixedRule`
STEPS = (0, 1, 2, 5, 10, 20, 50)  # inner steps at which a change is looked at


@dataclass(frozen=True, eq=False)
class Fit:
    """A change of W written as sum_k c_k T_k + rest, c by least squares. The dimensions "..." lead everywhere.

    Attributes:
        names: of the T_k.
        coefficients: c [..., k].
        r2: 1 - |rest|^2 / |change|^2, in [0, 1] [...]. There is no intercept: "all weights grow alike" is no rule.
        alone: R^2 of the best multiple of each T_k alone [..., k].
        lost: how much R^2 falls if T_k is left out and the others are fitted anew [..., k].
    """

    names: tuple[str, ...]
    coefficients: np.ndarray
    r2: np.ndarray
    alone: np.ndarray
    lost: np.ndarray

    @property
    def pairs(self) -> tuple[tuple[str, ...], np.ndarray]:
        """Names and coefficients, to be zipped."""
        return self.names, self.coefficients


@dataclass(frozen=True, eq=False)
class ClassicalFit:
    """`Fit` of every snapshot of a run, at inner steps and in layers: "..." is [snapshots, steps, L].

    Attributes:
        fit: see there.
        meta_steps: of each snapshot.
        steps: inner steps.
        backprop: cosine between the change and the supervised gradient, descended [snapshots, steps, L].
        terms: the rules' own terms, all of them; empty for rules without.
        left_over: share of each in the rest, which no classical rule explains [snapshots, steps, L, terms]. They add up
            to 1.
    """

    fit: Fit
    meta_steps: tuple[int, ...]
    steps: tuple[int, ...]
    backprop: np.ndarray
    terms: tuple[str, ...]
    left_over: np.ndarray


@torch.no_grad()
def classical_changes(phi: BaseModelState, x: Tensor, temperature: float = 0.1) -> dict[int, dict[str, Tensor]]:
    """What each classical rule would add to every W, columns brought to RMS 1.

    Args:
        phi: the base model, without leading dimensions.
        x: examples [batch, n_0].
        temperature: of the soft competition.

    Returns:
        layer l = 1 .. L -> name (`CLASSICAL`) -> [n_{l-1}, n_l].

    Example:
        >>> changes = classical_changes(phi, task.x[:100])
        >>> fit_change(rule.trace(phi, task.x[:100]).delta_W[1], changes[1]).r2
    """
    acts, mixed = forward_unchecked(phi, x), MixedRule(MixedSettings(temperature=temperature))
    gradient, found = readout_gradient(phi, x, x), {}
    for l, layer in enumerate(phi.layers, start=1):
        terms, _ = mixed.layer_change(layer.W, acts.x[l - 1], acts.z[l], acts.x[l])
        subtracted = {name: terms[term] for name, term in _TERMS.items()}
        subtracted |= {"decay": layer.W, "autoencoder": gradient[l]}
        found[l] = {name: _unit_columns(-subtracted[name]) for name in CLASSICAL}
    return found


def fit_change(change: Tensor, changes: Mapping[str, Tensor]) -> Fit:
    """Write a change of W as a weighted sum of others, by least squares.

    Args:
        change: [n_in, n_out].
        changes: name -> of the same shape.

    Returns:
        A `Fit` without leading dimensions.

    Raises:
        ValueError: nothing to fit with, or another shape.
    """
    y = check_tensor("change", change, min_dims=2).detach().double()
    if not changes:
        raise ValueError("changes is empty; allowed: at least one to fit with")
    for name, other in changes.items():
        if other.shape != y.shape:
            raise ValueError(f"changes[{name!r}] has shape {list(other.shape)}; allowed: {list(y.shape)}")
    A = torch.stack([other.detach().double().flatten() for other in changes.values()], -1)
    y = y.flatten()
    whole, sizes = float(y.square().sum()) or 1.0, A.square().sum(0)
    # gelsd: of changes along each other it takes the smallest coefficients
    c = torch.linalg.lstsq(A, y.unsqueeze(-1), driver="gelsd").solution.squeeze(-1)
    r2 = 1 - float((y - A @ c).square().sum()) / whole if y.any() else 0.0
    alone = (A.T @ y).square() / sizes.clamp_min(1e-300) / whole
    free = 1 / torch.linalg.pinv(A.T @ A, hermitian=True).diagonal()  # |what the others cannot make of T_k|^2
    lost = torch.where(sizes > 0, c.square() * free / whole, 0.0)
    return Fit(tuple(changes), c.numpy(), np.array(r2), alone.numpy(), lost.numpy())


@torch.no_grad()
def classical_fit(
    rules: Sequence[UpdateRule],
    task: Task,
    *,
    meta_steps: Sequence[int] | None = None,
    steps: Sequence[int] = STEPS,
    sizes: Sequence[int] | None = None,
    weight_std: float | None = None,
    seed: int = 0,
    progress: Progress | None = None,
    stop: threading.Event | None = None,
) -> ClassicalFit:
    """Fit the changes that rules make while they teach the same base model.

    Args:
        rules: the snapshots of a run, or any rules.
        task: a single task with labels, which serve to measure the gradient alone.
        meta_steps: what the rules are numbered by; 0, 1, 2, .. by default.
        steps: inner steps at which the change is looked at, rising.
        sizes: (n_0, .., n_L); None takes the task's inputs and layers of 32, 32, 32.
        weight_std: spread of the initial W and V; None takes what the last rule recommends.
        seed: of initial weights and batches.
        progress: called with (rules done, all).
        stop: set it to stop before the next recorded step.

    Returns:
        The `ClassicalFit`. Changes are those on the same 100 examples everywhere.

    Raises:
        Stopped: `stop` was set.
        ValueError, DivergenceError: as `learn`; numbers that are not one for each rule.
    """
    check_single_task(task)
    numbers = tuple(range(len(rules))) if meta_steps is None else tuple(meta_steps)
    if not rules or len(numbers) != len(rules):
        raise ValueError(f"meta_steps has {len(numbers)} entries; allowed: {len(rules)}, one for each rule, at least 1")
    check_number("number of steps", len(steps), low=1, integer=True)
    rows = torch.from_numpy(fixed_sample(task.n_examples, MEASURED))
    batch = Batch(task.x[rows], task.y[rows])
    terms = tuple(rules[0].settings.terms) if isinstance(rules[0], LocalRule) else ()
    looks: list[list[list[_Look]]] = []
    for done, rule in enumerate(rules, start=1):
        begun = start(rule, task, sizes=sizes, steps=steps[-1], weight_std=weight_std, seed=seed)
        states = record(rule, task, begun, tuple(steps), stop=stop).states
        looks.append([_look(rule, phi, batch, terms) for phi in states])
        if progress is not None:
            progress(done, len(rules))

    def stacked(get: Callable[[_Look], Any]) -> np.ndarray:
        return np.array([[[get(look) for look in layers] for layers in moments] for moments in looks])

    def number(field: str) -> np.ndarray:
        def get(look: _Look) -> Any:
            return getattr(look.fit, field)

        return stacked(get)

    names = looks[0][0][0].fit.names
    fit = Fit(names, number("coefficients"), number("r2"), number("alone"), number("lost"))
    backprop, left_over = stacked(lambda look: look.backprop), stacked(lambda look: look.left_over)
    return ClassicalFit(fit, numbers, tuple(steps), backprop, terms, left_over)


class _Look(NamedTuple):
    """One change of one layer."""

    fit: Fit
    backprop: float
    left_over: list[float]


def _look(rule: UpdateRule, phi: BaseModelState, batch: Batch, terms: Sequence[str]) -> list[_Look]:
    """The changes of all layers at one phi."""
    temperature = float(rule.log_temperature.exp()) if isinstance(rule, LocalRule) else 0.1
    changes, wanted = classical_changes(phi, batch.x, temperature), backprop_changes(rule, phi, batch)
    trace, looks = rule.trace(phi, batch), []
    for l, moved in trace.delta_W.items():
        fit = fit_change(moved, changes[l])
        rest = moved.double() - sum(float(c) * changes[l][name].double() for name, c in zip(*fit.pairs, strict=True))
        size = rest.square().sum().clamp_min(1e-300)  # and |rest|^2 = <rest, change>, since rest is what LS leaves
        pushes = contributions(rule, trace, l).pushes if terms else {}
        shares = [float((pushes[name] * rest).sum() / size) for name in terms]
        looks.append(_Look(fit, float(torch.cosine_similarity(moved.flatten(), -wanted[l].flatten(), 0)), shares))
    return looks


def _unit_columns(change: Tensor) -> Tensor:
    """The hand-written rules' normalisation, after a scale that makes its small number under the root count alike."""
    largest = change.abs().max()
    return normalise_columns(change / largest) if largest > 0 else change
