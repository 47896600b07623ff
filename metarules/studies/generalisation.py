"""Does a rule generalise? Recorded grids of accuracies, and any of their cells taught again while one watches."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from metarules._checks import check_choice, check_number
from metarules._work import Progress, Stopped
from metarules.base_model import NONLINEARITIES
from metarules.classic_rules import CLASSIC_RULES
from metarules.evaluation import (
    BASELINES,
    Protocol,
    baseline_features,
    evaluate_features,
    evaluate_rule,
    model_tasks,
    rule_features,
    rule_features_along,
)
from metarules.evaluation.grids import TOP, UNTAUGHT, GridRow, GridSettings, Net, grid_data, read_grid
from metarules.evaluation.leaderboard import rule_mark
from metarules.evaluation.results import CLEAR, verdict
from metarules.pretrained import get_rule, shipped_rules
from metarules.tasks import Dataset, Task
from metarules.update_rule import UpdateRule

GRID = Path(__file__).parent / "recorded" / "generalisation.csv"
STEPS = 30  # inner steps of the recorded map; most of what a hundred give
LABELS = (1, 5, 10, 50)  # per class
WIDTHS, DEPTHS = (16, 32, 64, 128, 256), (1, 2, 3, 5, 8)  # what a laptop teaches in a few seconds
N_SPLITS = 20
# what menus call a data set -> its name for `load_dataset`; all but digits are held-out splits or drawn at random
DATA = {
    "handwriting": "handwriting",
    "letters": "glyphs",
    "random decoders": "random_decoder",
    "blobs": "blobs",
    "spirals": "spirals",
    "digits": "digits",
}


@dataclass(frozen=True, eq=False)
class Map:
    """Accuracies over width and depth. D depths, W widths; NaN where nothing is known.

    Attributes:
        widths, depths: of the nets.
        accuracy, above: mean accuracy, and how far it lies above the same net untaught, [D, W].
        clear: whether that is more than two paired standard errors away from 0, [D, W].
    """

    widths: tuple[int, ...]
    depths: tuple[int, ...]
    accuracy: np.ndarray
    above: np.ndarray
    clear: np.ndarray

    @property
    def known(self) -> int:
        """Number of cells that hold a number."""
        return int(np.isfinite(self.accuracy).sum())


@dataclass(frozen=True, eq=False)
class Cell:
    """One net on one data set, read along the way. F recorded steps, S draws of labels.

    Attributes:
        net: the base model; its data are named as menus name them.
        sizes: units of its layers, inputs first.
        labels: labelled examples per class.
        steps: recorded inner steps, from 0 (untaught).
        accuracies: of the rule [F, S].
        rival: name of what it is compared with; rival_accuracies: [S].
        by_labels: "rule" (at the last step), `UNTAUGHT` and the rival -> mean accuracy and standard error at each of
            `label_counts` [2, K].
        label_counts: labels per class that the data have enough examples for.
        map: what is known of other widths and depths, this cell included.
        chance: one over the number of classes.
    """

    net: Net
    sizes: tuple[int, ...]
    labels: int
    steps: tuple[int, ...]
    accuracies: np.ndarray
    rival: str
    rival_accuracies: np.ndarray
    by_labels: Mapping[str, np.ndarray]
    label_counts: tuple[int, ...]
    map: Map
    chance: float

    def against(self, frame: int) -> tuple[float, float]:
        """How far the rule at a recorded step lies above the rival, and the paired standard error."""
        gap = self.accuracies[frame] - self.rival_accuracies
        return float(gap.mean()), float(gap.std(ddof=1) / math.sqrt(len(gap)))

    def lines(self, frame: int) -> list[tuple[str, float, float, str]]:
        """The table: name, accuracy, standard error, and whether the rule lies above, level or below."""
        found = []
        for name, values in ((UNTAUGHT, self.accuracies[0]), (self.rival, self.rival_accuracies)):
            gap = self.accuracies[frame] - values
            found.append((name, *_mean(values), verdict(float(gap.mean()), _mean(gap)[1])))
        return [("rule", *_mean(self.accuracies[frame]), ""), *found]


def recorded_grid(path: Path = GRID) -> list[GridRow]:
    """The rows that come with the package, made by the commands in `recorded/README.md`."""
    return read_grid(path)


def select(rows: Sequence[GridRow], **wanted: Any) -> list[GridRow]:
    """The rows whose columns have these values; a tuple or range allows several.

    Args:
        rows: of a grid.
        wanted: column -> value.

    Example:
        >>> {row.depth for row in select(recorded_grid(), method="local", width=10_000)}
        {2, 3}
    """
    allowed = {k: v if isinstance(v, tuple | range) else (v,) for k, v in wanted.items()}
    return [row for row in rows if all(getattr(row, name) in values for name, values in allowed.items())]


def grid_map(rows: Sequence[GridRow], widths: Sequence[int] = WIDTHS, depths: Sequence[int] = DEPTHS) -> Map:
    """Rows of one method, data set, nonlinearity and number of labels and steps as a map.

    A single layer has no width of its own: its number stands at the width of the top layer.
    """
    accuracy, above, clear = (np.full((len(depths), len(widths)), value) for value in (math.nan, math.nan, False))
    for row in rows:
        if row.width in widths and row.depth in depths:
            place = depths.index(row.depth), widths.index(row.width)
            accuracy[place], above[place] = row.accuracy, row.above
            clear[place] = abs(row.above) > CLEAR * row.above_stderr
    return Map(tuple(widths), tuple(depths), accuracy, above, clear.astype(bool))


class Generalisation:
    """A rule, data sets, and what is known of the cells; what has been taught once is kept.

    Args:
        rule: any rule without labels.
        data: further data sets by name, beside `DATA`.
        rows: recorded rows; those of the package, unless given. Only those of this very rule are used.
        steps: inner steps.

    Raises:
        ValueError: a rule that needs labels; fewer than 1 step.
    """

    def __init__(
        self,
        rule: UpdateRule,
        data: Mapping[str, Dataset] | None = None,
        rows: Sequence[GridRow] | None = None,
        steps: int = STEPS,
    ) -> None:
        if rule.needs_labels:
            raise ValueError(f"rule is {type(rule).__name__}, which needs labels; allowed: rules that learn without")
        check_number("steps", steps, low=1, high=10_000, integer=True)
        mark = rule_mark(rule)
        self.rule, self.steps = rule, steps
        self.rows = [row for row in (recorded_grid() if rows is None else rows) if row.mark == mark and row.models == 1]
        self._data = dict(data or {})
        self._features: dict[tuple[Net, int], dict[int, Tensor]] = {}
        self._rivals: dict[tuple[Any, ...], Tensor] = {}  # features, or accuracies of what uses labels
        self._taught: dict[tuple[Net, int], GridRow] = {}  # by net and labels, of seed 0

    @property
    def data(self) -> tuple[str, ...]:
        """Names of the data sets, those that were handed over first."""
        return tuple(dict.fromkeys([*self._data, *DATA]))

    def dataset(self, name: str) -> Dataset:
        """A data set by the name that menus give it."""
        check_choice("data", name, self.data)
        if name not in self._data:
            self._data[name] = grid_data(DATA[name], 8)
        return self._data[name]

    def cell(
        self,
        *,
        data: str = "handwriting",
        width: int = 128,
        depth: int = 3,
        nonlinearity: str = "relu",
        labels: int = 10,
        against: str = "kmeans_64",
        seed: int = 0,
        progress: Progress | None = None,
        stop: threading.Event | None = None,
    ) -> Cell:
        """Teach one net and read it at every step.

        Args:
            data: one of `data`.
            width, depth, nonlinearity: of the base model, whose top layer has 32 units.
            labels: labelled examples per class.
            against: the rival, one of `rivals()`.
            seed: of first weights, order of inputs, batches and draws of labels. With 0 these are those of the
                recorded grid.
            progress: called with (done, all) now and then.
            stop: set it to stop after the next piece of work.

        Raises:
            Stopped: `stop` was set.
            ValueError: an unknown name, a number out of range, too few examples of a class.
            DivergenceError: phi stopped being finite.
        """
        check_number("width", width, low=2, high=1024, integer=True)
        check_number("depth", depth, low=1, high=16, integer=True)
        check_choice("nonlinearity", nonlinearity, NONLINEARITIES)
        check_choice("against", against, rivals())
        dataset = self.dataset(data)
        net = Net(data, 0, TOP if depth == 1 else width, depth, nonlinearity)
        counts = self._counts(dataset, labels)
        done, total = 0, self.steps + 2 + len(counts)

        def tell(_: int = 0) -> None:
            nonlocal done
            done += 1
            if stop is not None and stop.is_set():
                raise Stopped(f"stopped after {done} of {total} pieces of work")
            if progress is not None:
                progress(done, total)

        features = self._along(net, dataset, seed, tell)
        steps, last = tuple(features), max(features)
        accuracies = self._read(torch.cat(list(features.values())), dataset, net, labels, seed)
        tell()
        by_labels: dict[str, list[tuple[float, float]]] = {"rule": [], UNTAUGHT: [], against: []}
        rival = self._rival(against, dataset, net, labels, seed)
        ends = torch.cat([features[last], features[0]])
        for count in counts:
            new = count != labels  # the others are read already
            taught, start = self._read(ends, dataset, net, count, seed) if new else accuracies[[-1, 0]]
            other = self._rival(against, dataset, net, count, seed) if new else rival
            for name, values in (("rule", taught), (UNTAUGHT, start), (against, other)):
                by_labels[name].append(_mean(values))
            tell()
        if not seed:
            self._keep(net, labels, accuracies)
        return Cell(
            net=net,
            sizes=(dataset.x.shape[1], *net.hidden),
            labels=labels,
            steps=steps,
            accuracies=accuracies,
            rival=against,
            rival_accuracies=rival,
            by_labels={name: np.array(values).T for name, values in by_labels.items()},
            label_counts=counts,
            map=self.map(data, nonlinearity, labels),
            chance=1 / dataset.n_classes,
        )

    def map(self, data: str, nonlinearity: str, labels: int) -> Map:
        """What is known over width and depth: recorded, or taught since."""
        rows = select(self.rows, data=DATA.get(data, data), nonlinearity=nonlinearity, labels=labels, steps=self.steps)
        new = [row for (net, k), row in self._taught.items() if k == labels and _is_of(net, data, nonlinearity)]
        return grid_map([*rows, *new])

    def _along(self, net: Net, dataset: Dataset, seed: int, watch: Callable[[int], None]) -> dict[int, Tensor]:
        """Features [1, N, f] at every step of one run."""
        if (net, seed) not in self._features:
            task, how = self._models(net, dataset, seed)
            found = rule_features_along(self.rule, task, range(self.steps + 1), **how, watch=watch)
            self._features[net, seed] = {step: features for step, (features, _) in found.items()}
            while len(self._features) > _KEPT:
                self._features.pop(next(iter(self._features)))
        return self._features[net, seed]

    def _read(self, features: Tensor, dataset: Dataset, net: Net, labels: int, seed: int) -> np.ndarray:
        """Accuracies [F, S] of features [F, N, f]."""
        return evaluate_features(features, "", dataset, self._protocol(net, labels, seed)).accuracies.numpy()

    def _rival(self, name: str, dataset: Dataset, net: Net, labels: int, seed: int) -> np.ndarray:
        """Accuracies [S] of a rival on the same draws of labels."""
        if name in CLASSIC_RULES and (rule := get_rule(name, n_classes=dataset.n_classes)).needs_labels:
            key: tuple[Any, ...] = (name, net, labels, seed)
            if key not in self._rivals:
                result = evaluate_rule(rule, name, dataset, self._protocol(net, labels, seed))
                self._rivals[key] = result.accuracies.mean(0)
            return self._rivals[key].numpy()
        key = (name, net if name not in BASELINES or BASELINES[name].net else net.data, 0, seed)
        if key not in self._rivals:
            self._rivals[key] = self._rival_features(name, dataset, net, seed)
        return self._read(self._rivals[key], dataset, net, labels, seed)[0]

    def _rival_features(self, name: str, dataset: Dataset, net: Net, seed: int) -> Tensor:
        """[1, N, f]."""
        if name in BASELINES:
            return baseline_features(name, dataset.x, seed=seed, hidden=net.hidden)[None]
        task, how = self._models(net, dataset, seed)
        return rule_features(get_rule(name), task, **how)

    def _models(self, net: Net, dataset: Dataset, seed: int) -> tuple[Task, dict[str, Any]]:
        """The base model's task, and what a rule is told of the model."""
        task = model_tasks(dataset, self._protocol(net, 1, seed))
        return task, {"sizes": (task.n_inputs, *net.hidden), "nonlinearity": net.nonlinearity, "seed": seed}

    def _keep(self, net: Net, labels: int, accuracies: np.ndarray) -> None:
        (mean, error), (above, above_error) = _mean(accuracies[-1]), _mean(accuracies[-1] - accuracies[0])
        place = (net.data, net.size, net.width, net.depth, net.nonlinearity, labels, self.steps, 1, N_SPLITS, 0, 0)
        word = verdict(above, above_error)
        row = GridRow("rule", *place, mean, error, above, above_error, word, math.nan, 0, "")
        self._taught[net, labels] = row

    def _protocol(self, net: Net, labels: int, seed: int) -> Protocol:
        return GridSettings(models=1, splits=N_SPLITS, seed=seed).protocol(net, labels)

    def _counts(self, dataset: Dataset, labels: int) -> tuple[int, ...]:
        most = int(dataset.y.bincount().min()) - 1
        check_number("labels", labels, low=1, high=most, integer=True)
        return tuple(sorted({labels, *(count for count in LABELS if count <= most)}))


_KEPT = 40  # nets whose features are kept: 4 MB each


def rivals() -> tuple[str, ...]:
    """What a cell can be compared with: everything that makes features, the other shipped rules, hand-written rules."""
    made = [name for name, baseline in BASELINES.items() if not baseline.uses_labels]
    return (*made, *shipped_rules(), *sorted(CLASSIC_RULES))


def _is_of(net: Net, data: str, nonlinearity: str) -> bool:
    return net.data == data and net.nonlinearity == nonlinearity


def _mean(values: np.ndarray) -> tuple[float, float]:
    """Mean and standard error over splits."""
    return float(values.mean()), float(values.std(ddof=1) / math.sqrt(len(values)))
