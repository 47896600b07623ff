"""Several rules side by side: same accuracy, same rule? And the curves of several runs' logs."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from metarules._checks import check_kind, check_names
from metarules.base_model import BaseModelState
from metarules.inner_loop import learn, start
from metarules.pretrained import load_rule
from metarules.studies.classical import Fit, classical_changes, fit_change
from metarules.studies.evolution import read_log
from metarules.studies.recording import check_single_task
from metarules.studies.timeline import mean_gates
from metarules.studies.trajectory import fixed_sample
from metarules.tasks import Task
from metarules.update_rule import Batch, LocalRule
from metarules.update_rule.anatomy import contributions

RECORDED = Path(__file__).with_name("recorded")  # small runs that come with the package, see its README
_STEPS, _MEASURED = 10, 100  # inner steps before rules are compared, and examples on which they are


@dataclass(frozen=True, eq=False)
class Compared:
    """Rules on one and the same base model, taught by the first of them for ten steps.

    Attributes:
        names: of the rules.
        terms: all that any of them has.
        weights: coefficient times mean gate [rules, terms]; NaN for a term that a rule does not have.
        cosines: between the rules' changes of W, mean over layers [rules, rules].
        r2: how much of each rule's change the classical rules explain, mean over layers [rules].
    """

    names: tuple[str, ...]
    terms: tuple[str, ...]
    weights: np.ndarray
    cosines: np.ndarray
    r2: np.ndarray


@torch.no_grad()
def compare_rules(rules: Mapping[str, LocalRule], task: Task, *, seed: int = 0) -> Compared:
    """Put rules side by side: the last snapshots of any number of runs (`Evolution.rules[-1]`), a start, a variant.

    Args:
        rules: name -> rule; the first one teaches the base model.
        task: a single task.
        seed: of base model and batches.

    Raises:
        ValueError: no rules.
        DivergenceError: as `learn`.
    """
    phi, batch = _ground(rules, task, seed)
    terms = tuple(dict.fromkeys(name for rule in rules.values() for name in rule.settings.terms))
    changes = {name: rule.trace(phi, batch).delta_W for name, rule in rules.items()}
    layers = range(1, phi.depth + 1)
    flat = [torch.stack([c[l].flatten() / c[l].norm() for c in changes.values()]) for l in layers]
    cosines = torch.stack([unit @ unit.T for unit in flat]).mean(0)
    r2 = []
    for name, rule in rules.items():
        known = classical_changes(phi, batch.x, float(rule.log_temperature.exp()))
        fits: list[Fit] = [fit_change(changes[name][l], known[l]) for l in layers]
        r2.append(float(np.mean([fit.r2 for fit in fits])))
    weights = np.array([_weights(rule, batch, phi, terms) for rule in rules.values()])
    return Compared(tuple(rules), terms, weights, cosines.numpy(), np.array(r2))


@torch.no_grad()
def term_cosines(rules: Mapping[str, LocalRule], task: Task, one: str, other: str, *, seed: int = 0) -> np.ndarray:
    """How alike two terms are in what they put into delta-W: their cosine in every rule and layer [rules, L].

    Args:
        rules, task, seed: as for `compare_rules`.
        one, other: names of terms that all rules have.

    Raises:
        ValueError: no rules, or no such term in one of them.
    """
    phi, batch = _ground(rules, task, seed)
    found = []
    for rule in rules.values():
        check_names("terms", (one, other), rule.settings.terms)
        trace = rule.trace(phi, batch)
        pushes = [contributions(rule, trace, l).pushes for l in range(1, phi.depth + 1)]
        found.append([float(torch.cosine_similarity(p[one].flatten(), p[other].flatten(), 0)) for p in pushes])
    return np.array(found)


def _ground(rules: Mapping[str, LocalRule], task: Task, seed: int) -> tuple[BaseModelState, Batch]:
    """The base model, taught by the first rule, and the examples on which rules are compared."""
    check_single_task(task)
    if not rules:
        raise ValueError("rules is empty; allowed: at least one")
    first = next(iter(rules.values()))
    phi, how, generator = start(first, task, steps=_STEPS, seed=seed)
    phi = learn(first, phi, task, steps=_STEPS, batch_size=how.batch_size, generator=generator).state
    return phi, Batch(task.x[torch.from_numpy(fixed_sample(task.n_examples, _MEASURED))])


def term_weights(rule: LocalRule, gates: np.ndarray) -> dict[str, float]:
    """Term -> coefficient, switch included, times mean gate [terms]."""
    coefficients = rule.forward_readout.coefficients.detach().tolist()
    scaled = zip(rule.settings.terms, coefficients, gates, strict=True)
    return {name: c * rule.settings.term_scale(name) * float(gate) for name, c, gate in scaled}


def _weights(rule: LocalRule, batch: Batch, phi: BaseModelState, terms: tuple[str, ...]) -> list[float]:
    own = term_weights(rule, mean_gates(rule, phi, batch).numpy())
    return [own.get(name, float("nan")) for name in terms]


def recorded_logs() -> dict[str, dict[str, list[float]]]:
    """The curves of the small runs that come with the package, by name, see `studies.evolution.read_log`."""
    return read_logs({log.parent.name.replace("_", " "): log.parent for log in sorted(RECORDED.glob("*/log.csv"))})


def read_logs(folders: Mapping[str, str | os.PathLike[str]]) -> dict[str, dict[str, list[float]]]:
    """The curves of any runs.

    Args:
        folders: name -> a run's folder, as given to `--out`.

    Raises:
        OSError, ValueError: as `read_log`.
    """
    return {name: read_log(Path(folder) / "log.csv") for name, folder in folders.items()}


def recorded_rules() -> dict[str, LocalRule]:
    """What those small runs ended with, by the same names."""
    paths = sorted(RECORDED.glob("*/rule.safetensors"))
    return {p.parent.name.replace("_", " "): check_kind(p.name, load_rule(p), LocalRule) for p in paths}
