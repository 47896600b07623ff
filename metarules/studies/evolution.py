"""How a rule evolved: the snapshots of one meta-training run as a table, and what each of them does to a base model.

A run's folder holds log.csv and snapshots/000000.safetensors, 000001, 000002, 000005, 000010, 000020, .., each a rule
as `save_rule` writes it, named by its meta-step. Source: the idea of Metz et al., ICLR 2019, figures 3 and 6.
"""

from __future__ import annotations

import csv
import io
import os
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from metarules._checks import check_number, check_widths
from metarules._files import naming, read_text
from metarules._work import Progress, Stopped
from metarules.base_model import WIDTHS, forward
from metarules.evaluation.held_out import KINDS, N_SETS, few_shot
from metarules.inner_loop import DivergenceError, learn, start
from metarules.meta_training.log import COLUMNS, LOG, SNAPSHOTS, is_snapshot_step
from metarules.pretrained import load_rule
from metarules.tasks import Task
from metarules.update_rule import LocalRule

ENDING = ".safetensors"
CURVES = ("meta_step", "meta_loss", *KINDS)  # columns that every log has; a run may be validated on further kinds
UNKNOWN = float("nan")


@dataclass(frozen=True, eq=False)
class Evolution:
    """One run, seen at its snapshots.

    Attributes:
        rules: the snapshots in order, with their cards.
        meta_steps: the meta-step of each.
        minutes: of training before each; NaN where its card does not say.
        table: column -> one number for each snapshot, NaN where unknown: "meta_step", "minutes", each of `kinds`
            (validation accuracy), "lr" (inner step size), "theta_change" (RMS of theta less the first
            snapshot's), "cosine_to_final" (of theta and the last snapshot's), then the coefficient of each of
            the rules' terms, its switch included.
        log: "meta_step", "meta_loss" and each of `kinds` -> one number for each meta-step logged, NaN where the log has
            none.
    """

    rules: tuple[LocalRule, ...]
    meta_steps: tuple[int, ...]
    minutes: tuple[float, ...]
    table: Mapping[str, list[float]]
    log: Mapping[str, list[float]]

    def __repr__(self) -> str:
        return f"Evolution({len(self.rules)} snapshots, meta-steps {self.meta_steps[0]} to {self.meta_steps[-1]})"

    @property
    def kinds(self) -> tuple[str, ...]:
        """The kinds of held-out data that the run was validated on: glyphs, decoders, and handwriting or others."""
        return _kinds(self.log)

    @property
    def terms(self) -> tuple[str, ...]:
        """The terms of its rules."""
        return tuple(self.rules[0].settings.terms)

    def number_of(self, meta_step: int, name: str = "meta_step") -> int:
        """Number of the snapshot of a meta-step, from 0; `name` is what an error calls it.

        Raises:
            ValueError: there is no snapshot of it; the message lists all.
        """
        if meta_step not in self.meta_steps:
            raise ValueError(f"{name} is {meta_step!r}; allowed: {', '.join(map(str, self.meta_steps))}")
        return self.meta_steps.index(meta_step)


@dataclass(frozen=True, eq=False)
class SnapshotComparison:
    """What the snapshots of a run do to one and the same base model.

    Attributes:
        meta_steps: the meta-step of each snapshot.
        features: top layer for all examples [snapshots, *tasks, N, n_L].
        filters: first-layer weights: [snapshots, *tasks, n_1, height, width] where the task's rows are images, else
            [snapshots, *tasks, 1, n_0, n_1].
        accuracy: few-shot accuracy [snapshots, *tasks]; chance where a base model diverged.
        diverged: for each snapshot, whether one did; features and filters are then the last finite ones.
    """

    meta_steps: tuple[int, ...]
    features: Tensor
    filters: Tensor
    accuracy: Tensor
    diverged: tuple[bool, ...]


def evolution(folder: str | os.PathLike[str]) -> Evolution:
    """Read a run's snapshots and log.

    Args:
        folder: the run's, as given to `--out`, or `pretrained.shipped_run(name)`. The run need not be
            over.

    Raises:
        FileNotFoundError: no such folder, no log or no snapshots in it, or one of the snapshots missing.
        ValueError: a file among the snapshots that is none, snapshots that are damaged or of different rules, a log
            that is none.
    """
    folder = Path(folder)
    for name, allowed in ((SNAPSHOTS, "a folder of snapshots"), (LOG, "the log of a run")):
        with naming("folder", folder):
            found = (folder / name).exists()
        if not found:
            raise FileNotFoundError(
                f"folder is {str(folder)!r}, which holds no {name}; allowed: a run's, with {allowed}"
            )
    paths = _snapshot_paths(folder / SNAPSHOTS)
    rules = tuple(_load(path, meta_step) for meta_step, path in paths.items())
    for path, rule in zip(paths.values(), rules, strict=True):
        if rule.settings != rules[0].settings:
            raise ValueError(f"{path.name} has other settings than the first snapshot; allowed: snapshots of one run")
    log = read_log(folder / LOG)
    minutes = tuple(float(rule.card.get("minutes", UNKNOWN)) for rule in rules)
    return Evolution(rules, tuple(paths), minutes, _table(rules, tuple(paths), minutes, log), log)


@torch.no_grad()
def compare_snapshots(
    evolution: Evolution,
    task: Task,
    generator: torch.Generator,
    *,
    widths: Sequence[int] = WIDTHS,
    steps: int | None = None,
    batch_size: int | None = None,
    labels_per_class: int = 10,
    progress: Progress | None = None,
    stop: threading.Event | None = None,
) -> SnapshotComparison:
    """Let every snapshot teach the same base model: same initial weights, batches and labelled examples.

    Args:
        evolution: the snapshots.
        task: x [*tasks, N, n_0]; six times `labels_per_class` examples of every class, each part of which fits the
            read-out of `validate` in turn, to be scored on the others.
        generator: source of everything random.
        widths: of the base model's layers above the input.
        steps, batch_size: of the inner loop; None takes what the last snapshot recommends, the batch cut to N.
        labels_per_class: labelled examples of each class to fit.
        progress: called with (done, all) after every snapshot.
        stop: set it to stop before the next snapshot.

    Returns:
        A `SnapshotComparison`.

    Raises:
        Stopped: `stop` was set.
        ValueError: numbers out of range, more examples wanted than there are, a task of another dtype than theta.
    """
    check_widths("widths", tuple(widths))
    labelled = task.sample_labelled(labels_per_class, generator, N_SETS)
    sizes, last = (task.n_inputs, *widths), evolution.rules[-1]
    first, how, _ = start(last, task, sizes=sizes, steps=steps, batch_size=batch_size, generator=generator)
    seed = int(torch.randint(2**31, (), generator=generator, device=generator.device))
    features, filters, accuracy, diverged = [], [], [], []
    for done, rule in enumerate(evolution.rules):
        if stop is not None and stop.is_set():
            raise Stopped(f"stopped after {done} of {len(evolution.rules)} snapshots")
        batches = torch.Generator().manual_seed(seed)
        try:
            phi = learn(rule, first, task, steps=how.steps, batch_size=how.batch_size, generator=batches).state
            accuracy.append(few_shot(phi, labelled, task.n_classes))
            diverged.append(False)
        except DivergenceError as error:
            phi = error.last_good
            accuracy.append(torch.full(task.tasks, 1 / task.n_classes, dtype=task.x.dtype))
            diverged.append(True)
        W = phi.layers[0].W
        features.append(forward(phi, task.x).features)
        filters.append(W.unsqueeze(-3) if task.shape is None else task.image(W.mT))
        if progress is not None:
            progress(done + 1, len(evolution.rules))
    return SnapshotComparison(
        evolution.meta_steps, torch.stack(features), torch.stack(filters), torch.stack(accuracy), tuple(diverged)
    )


def _snapshot_paths(folder: Path) -> dict[int, Path]:
    """meta-step -> file, in order; what a killed run left half-written (its name begins with a dot) is passed over."""
    found: dict[int, Path] = {}
    for path in sorted(p for p in folder.iterdir() if not p.name.startswith(".")):
        number = path.name.removesuffix(ENDING)
        if path.suffix != ENDING or len(number) < 6 or not (number.isascii() and number.isdecimal()):
            raise ValueError(
                f"{SNAPSHOTS} holds {path.name!r}; allowed: meta-steps such as 000100{ENDING}, nothing else"
            )
        found[int(number)] = path
    found = dict(sorted(found.items()))
    for wanted in filter(is_snapshot_step, range(max(found, default=0) + 1)):
        if wanted not in found:
            raise FileNotFoundError(
                f"{SNAPSHOTS} lacks {wanted:06d}{ENDING}; allowed: all of 0, 1, 2, 5, 10, 20, .. up to the last"
            )
    return found


def _load(path: Path, meta_step: int) -> LocalRule:
    rule = load_rule(path)
    if not isinstance(rule, LocalRule):
        raise ValueError(f"{path.name} holds a {type(rule).__name__}; allowed: a LocalRule")
    if rule.card.get("meta_steps") != meta_step:
        raise ValueError(
            f"{path.name} has a card of meta-step {rule.card.get('meta_steps')!r}; allowed: {meta_step}, as it is named"
        )
    return rule


def _kinds(log: Mapping[str, list[float]]) -> tuple[str, ...]:
    return tuple(name for name in log if name not in ("meta_step", "meta_loss"))


def read_log(path: str | os.PathLike[str]) -> dict[str, list[float]]:
    """The curves of a run's log.csv, as `Evolution.log`. A last line that a kill cut short is passed over.

    Raises:
        ValueError: a file that is no log, or holds a word where a number should be.
        OSError: no such file.
    """
    path = Path(path)
    reader = csv.DictReader([line for line in io.StringIO(read_text(path)) if line.endswith("\n")])
    found = reader.fieldnames or ()
    if missing := [name for name in CURVES if name not in found]:
        raise ValueError(f"{path.name} lacks the column {', '.join(missing)}; allowed: all of {', '.join(CURVES)}")
    rows = list(reader)
    wanted = [*CURVES, *(name for name in found if name not in (*CURVES, *COLUMNS))]
    return {name: [_number(path, i, name, row[name]) for i, row in enumerate(rows, start=2)] for name in wanted}


def _number(path: Path, line: int, name: str, text: str | None) -> float:
    try:
        return float(text) if text else UNKNOWN
    except ValueError:
        raise ValueError(f"{path.name}, line {line}: {name} is {text!r}; allowed: a number, or nothing") from None


def _table(
    rules: Sequence[LocalRule], meta_steps: Sequence[int], minutes: Sequence[float], log: Mapping[str, list[float]]
) -> dict[str, list[float]]:
    thetas = [torch.cat([p.detach().double().flatten() for p in rule.parameters()]) for rule in rules]
    table: dict[str, list[float]] = {"meta_step": [float(n) for n in meta_steps], "minutes": list(minutes)}
    for kind in _kinds(log):
        logged = dict(zip(log["meta_step"], log[kind], strict=True))
        table[kind] = [
            _validation(rule, kind, logged.get(n, UNKNOWN)) for rule, n in zip(rules, meta_steps, strict=True)
        ]
    table["lr"] = [float(rule.lr.detach()) for rule in rules]
    table["theta_change"] = [float((theta - thetas[0]).square().mean().sqrt()) for theta in thetas]
    final = thetas[-1]
    table["cosine_to_final"] = [float(torch.cosine_similarity(theta, final, 0)) for theta in thetas]
    for k, name in enumerate(rules[0].settings.terms):
        table[name] = [float(r.forward_readout.coefficients[k].detach()) * r.settings.term_scale(name) for r in rules]
    return table


def _validation(rule: LocalRule, kind: str, logged: float) -> float:
    """A snapshot's validation accuracy from its card, else from the log."""
    known = rule.card.get("validation")
    if not isinstance(known, Mapping) or kind not in known:
        return logged
    return float(check_number(f"validation[{kind!r}] on the card", known[kind], low=0, high=1))
