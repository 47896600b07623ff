"""Grids: one rule through the protocol again and again, with another net, nonlinearity, data set or number of labels.

Beside every reading of the rule stands one of the same base models untaught, on the same labelled examples, and the
paired difference. Letters, handwriting and decoders are those held out from meta-training.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from inspect import signature
from typing import Any

from metarules._checks import check_choice, check_names, check_number
from metarules._memory import peak_bytes
from metarules.base_model import NONLINEARITIES
from metarules.classic_rules import CLASSIC_RULES
from metarules.evaluation.baselines import BASELINES, UnsuitableError
from metarules.evaluation.grid_rows import GridRow as GridRow
from metarules.evaluation.grid_rows import grid_table as grid_table
from metarules.evaluation.grid_rows import merged as merged
from metarules.evaluation.grid_rows import read_grid as read_grid
from metarules.evaluation.grid_rows import write_grid as write_grid
from metarules.evaluation.leaderboard import rule_mark
from metarules.evaluation.protocol import (
    Protocol,
    evaluate_baseline,
    evaluate_features,
    evaluate_rule,
    model_tasks,
    rule_features_along,
)
from metarules.evaluation.results import Result, paired_difference, verdict
from metarules.inner_loop import DivergenceError
from metarules.meta_objective import SingularError
from metarules.pretrained.finding import get_rule
from metarules.tasks import DATASETS, Dataset, load_dataset
from metarules.update_rule import UpdateRule

TOP = 32  # units of the top layer, in every net: representations stay of one size
UNTAUGHT = "untaught"  # the same base models before the first inner step
NO_SIZE = 0  # what `size` says of data that are no images


@dataclass(frozen=True)
class Axes:
    """What a grid is made of: every combination of these values.

    Attributes:
        data: names of data sets, as for `load_dataset`; the held-out split where a set has one.
        size: pixels each way, for data that are drawn at any size.
        width: units of all layers but the top one, which has `TOP`.
        depth: layers, the top one included; a single one has `TOP` units, whatever the width.
        nonlinearity: of the base models.
        labels: labelled examples per class.
        steps: inner steps; all numbers are read along one run.
    """

    data: tuple[str, ...] = ("handwriting",)
    size: tuple[int, ...] = (8,)
    width: tuple[int, ...] = (128,)
    depth: tuple[int, ...] = (3,)
    nonlinearity: tuple[str, ...] = ("relu",)
    labels: tuple[int, ...] = (10,)
    steps: tuple[int, ...] = (100,)

    def __post_init__(self) -> None:
        for name, low, high in (("width", 2, 20_000), ("depth", 1, 50), ("labels", 1, 10_000), ("steps", 0, 100_000)):
            for value in self._values(name):
                check_number(name, value, low=low, high=high, integer=True)
        for value in self._values("size"):
            check_number("size", value, low=8, high=28, integer=True)
        check_names("data", self._values("data"), DATASETS)
        check_names("nonlinearity", self._values("nonlinearity"), NONLINEARITIES)

    def _values(self, name: str) -> tuple[Any, ...]:
        values: tuple[Any, ...] = getattr(self, name)
        if not values:
            raise ValueError(f"{name} is empty; allowed: one value or more")
        return values


@dataclass(frozen=True)
class Net:
    """Base models of a grid and the data they are taught on, as in `Axes`."""

    data: str
    size: int
    width: int
    depth: int
    nonlinearity: str

    @property
    def hidden(self) -> tuple[int, ...]:
        """Widths of the layers above the input."""
        return (*[self.width] * (self.depth - 1), TOP)


@dataclass(frozen=True)
class GridSettings:
    """How every cell is measured."""

    models: int = 2  # base models, each with its own initial weights and order of inputs
    splits: int = 20  # draws of labelled examples
    examples: int = 1000  # of a data set, labelled ones included; sets of a size of their own keep it
    seed: int = 0

    def protocol(self, net: Net, labels: int) -> Protocol:
        """The evaluation's protocol for one cell."""
        return Protocol(net.hidden, labels, self.splits, self.models, self.seed, net.nonlinearity)


def grid_data(name: str, size: int, settings: GridSettings | None = None) -> Dataset:
    """The data set of a grid's cell: its held-out split, so many examples, images of that size, where it takes these.

    Args:
        name: as for `load_dataset`.
        size: pixels each way, or `NO_SIZE`.
        settings: number of examples and seed.
    """
    s = settings or GridSettings()
    takes = signature(DATASETS[check_choice("name", name, DATASETS)]).parameters
    wanted = {"n": s.examples, "size": size, "split": "validation", "seed": s.seed}
    return load_dataset(name, **{key: value for key, value in wanted.items() if key in takes})


def nets(axes: Axes) -> list[Net]:
    """The nets of a grid, each once: one layer has no width of its own, and data that are no images have no size."""
    found = []
    for data, size, nonlinearity, depth, width in itertools.product(
        axes.data, axes.size, axes.nonlinearity, axes.depth, axes.width
    ):
        sized = "size" in signature(DATASETS[data]).parameters
        found.append(Net(data, size if sized else NO_SIZE, TOP if depth == 1 else width, depth, nonlinearity))
    return list(dict.fromkeys(found))


def measure(
    net: Net,
    rules: Mapping[str, UpdateRule],
    against: Sequence[str] = (),
    *,
    labels: Sequence[int] = (10,),
    steps: Sequence[int] = (100,),
    settings: GridSettings | None = None,
    dataset: Dataset | None = None,
) -> list[GridRow]:
    """All cells of one net.

    Args:
        net: the base models.
        rules: label -> rule. A supervised one is given the labelled examples of each split, and its own steps.
        against: names of baselines and classic rules, which take as many steps as they recommend.
        labels, steps: see `Axes`.
        settings: how to measure.
        dataset: the data, drawn already; else `grid_data`.

    Returns:
        `UNTAUGHT` first, then the rules at every number of steps, then the rivals; each at every number of labels.

    Raises:
        ValueError: a class with too few examples for so many labels.
    """
    s = settings or GridSettings()
    dataset = dataset or grid_data(net.data, net.size, s)
    task = model_tasks(dataset, s.protocol(net, labels[0]))
    how: dict[str, Any] = {"sizes": (task.n_inputs, *net.hidden), "nonlinearity": net.nonlinearity, "seed": s.seed}
    anyone = next((rule for rule in rules.values() if not rule.needs_labels), UpdateRule())
    start = rule_features_along(anyone, task, [0], **how)[0][0]
    floor = {n: evaluate_features(start, UNTAUGHT, dataset, s.protocol(net, n)) for n in labels}
    rows = [_row(UNTAUGHT, net, s, n, 0, floor[n], None, "") for n in labels]
    for label, rule, own, mark in _taught(rules, against, steps, dataset.n_classes):
        if rule.needs_labels:
            for n in labels:
                found = _tried(evaluate_rule, rule, label, dataset, s.protocol(net, n))
                rows.append(_row(label, net, s, n, own[0], found, floor[n], mark))
            continue
        along = _tried(rule_features_along, rule, task, own, **how)
        for step, n in itertools.product(own, labels):
            read = along if isinstance(along, str) else _read(along[step], label, dataset, s.protocol(net, n))
            rows.append(_row(label, net, s, n, step, read, floor[n], mark))
    for name in (k for k in against if k not in CLASSIC_RULES):
        for n in labels:
            found = _tried(evaluate_baseline, name, dataset, s.protocol(net, n))
            rows.append(_row(name, net, s, n, 0, found, floor[n], name))
    return rows


def run_grid(
    axes: Axes,
    rules: Mapping[str, UpdateRule],
    against: Sequence[str] = (),
    *,
    settings: GridSettings | None = None,
    known: Sequence[GridRow] = (),
    report: Callable[[str, float, float], None] = lambda what, done, left: None,
) -> Iterator[list[GridRow]]:
    """A grid, net by net, the cheap ones first.

    Args:
        axes, rules, against, settings: see `Axes` and `measure`.
        known: rows that are there already, by an earlier call; a net of which all are known is not taught again.
        report: called before each net with what is next, and the shares of all work done and next.

    Yields:
        The rows of one net, known or measured, in the order in which they were made.

    Raises:
        ValueError: unknown rivals; a class with too few examples.
    """
    s = settings or GridSettings()
    check_names("against", against, [*BASELINES, *CLASSIC_RULES])
    have = {row.key: row for row in known}
    wanted = sorted(nets(axes), key=lambda net: _cost(net, axes))
    costs = [_cost(net, axes) for net in wanted]
    for i, net in enumerate(wanted):
        report(_called(net), sum(costs[:i]) / sum(costs), costs[i] / sum(costs))
        asked = _asked(net, axes, rules, against, s)
        if (old := [have[key] for key in asked if key in have]) and len(old) == len(asked):
            yield old
        else:
            yield measure(net, rules, against, labels=axes.labels, steps=axes.steps, settings=s)


def _asked(
    net: Net, axes: Axes, rules: Mapping[str, UpdateRule], against: Sequence[str], s: GridSettings
) -> list[tuple[Any, ...]]:
    """Keys of the rows that `measure` would give."""
    lines: list[tuple[str, int, str]] = [(UNTAUGHT, 0, "")]
    for label, _, own, mark in _taught(rules, against, axes.steps):
        lines += [(label, step, mark) for step in own]
    lines += [(name, 0, name) for name in against if name not in CLASSIC_RULES]
    place = (net.data, net.size, net.width, net.depth, net.nonlinearity)
    how = (s.models, s.splits, _examples(net, s), s.seed)
    return [(method, *place, n, step, *how, mark) for method, step, mark in lines for n in axes.labels]


def _taught(
    rules: Mapping[str, UpdateRule], against: Sequence[str], steps: Sequence[int], n_classes: int | None = None
) -> list[tuple[str, UpdateRule, Sequence[int], str]]:
    """Label, rule, inner steps to read at and mark, of the rules and of the classic ones to compare with."""
    found = []
    for label, rule in rules.items():
        own = [rule.recommended.steps] if rule.needs_labels else steps
        found.append((label, rule, own, rule_mark(rule)))
    for name in (k for k in against if k in CLASSIC_RULES):
        rule = get_rule(name, n_classes=n_classes)
        found.append((name, rule, [rule.recommended.steps], name))
    return found


def _examples(net: Net, s: GridSettings) -> int:
    """The number of examples that is asked for, or 0 where the data set has a number of its own."""
    return s.examples if "n" in signature(DATASETS[net.data]).parameters else 0


def _tried(work: Callable[..., Any], *given: Any, **how: Any) -> Any:
    """What the work gives, or why there is no number."""
    try:
        return work(*given, **how)
    except DivergenceError:
        return "diverged"
    except SingularError:
        return "singular"
    except UnsuitableError:
        return "unsuitable"


def _read(found: tuple[Any, float], label: str, dataset: Dataset, protocol: Protocol) -> Result:
    features, seconds = found
    return evaluate_features(features, label, dataset, protocol, seconds / protocol.n_models)


def _row(
    method: str,
    net: Net,
    s: GridSettings,
    labels: int,
    steps: int,
    found: Result | str,
    floor: Result | None,
    mark: str,
) -> GridRow:
    accuracy = stderr = above = error = seconds = math.nan
    word = found if isinstance(found, str) else ""
    if isinstance(found, Result):
        accuracy, stderr = found.row.accuracy, found.row.stderr
        seconds = math.nan if found.row.seconds is None else found.row.seconds
        if floor is not None:
            above, error = paired_difference(found.accuracies, floor.accuracies)
            word = verdict(above, error)
    where = (net.data, net.size, net.width, net.depth, net.nonlinearity, labels, steps)
    how = (s.models, s.splits, _examples(net, s), s.seed)
    megabytes = round((peak_bytes() or 0) / 2**20)  # 0 where the system does not say
    return GridRow(method, *where, *how, accuracy, stderr, above, error, word, seconds, megabytes, mark)


def _cost(net: Net, axes: Axes) -> float:
    """What a net takes, roughly: its synapses and, dearer, its neurons, at every inner step."""
    inputs = net.size**2 if net.size else 64
    sizes = (inputs, *net.hidden)
    synapses = sum(a * b for a, b in itertools.pairwise(sizes))
    return (synapses + 200 * sum(sizes)) * (max(axes.steps) + 1)


def _called(net: Net) -> str:
    size = f" {net.size}x{net.size}" if net.size else ""
    return f"{net.data}{size}, {'-'.join(map(str, net.hidden))}, {net.nonlinearity}"
