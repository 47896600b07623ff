"""What `MetaObjectiveExplorer` shows, computed without any widget: two labelled batches in the plane, the
meta-objective on them, and where its gradient would have every point go."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from metarules._checks import check_choice, check_number
from metarules.base_model import forward
from metarules.inner_loop import learn, start
from metarules.meta_objective import MetaObjectiveSettings, RidgeScore, one_hot, ridge_cosine_score
from metarules.pretrained import get_rule, load_rule
from metarules.studies.example import Example, example_of
from metarules.studies.planes import main_directions
from metarules.tasks import Task, load_dataset, make_task

MOST_LABELS = 20  # K at most: more points of batch a would hide each other
SCORED = 10  # points of batch b per class, as in the authors' code
STEPS = 10  # moves along the arrows: most of what the loss can fall
RATE = 0.3  # a point moves by this times batch b's size times its gradient; by eye, for features of unit variance
LONGEST = 0.4  # of a move, same unit: where a prediction is near 0, the gradient of its direction is without bound
HALVINGS = 8  # of a move that would not lower the loss
RIDGES = tuple(10.0 ** (i / 5) for i in range(-15, 16))  # lambdas of the curve, 0.001 to 1000
TAUGHT_STEPS = 50  # half of what the rule recommends: most of the way, for an answer within two seconds
DIGITS = (4, 7, 9)  # three that random networks confuse

_Drawn = tuple[Tensor, tuple[str, ...], Tensor | None]  # points, names of classes, rows of the digits

VARIANTS: dict[str, dict[str, Any]] = {
    "Cosine distance (the paper's)": {},
    "Squared error, any length": {"normalise_predictions": False},
    "Targets not centred": {"centre_targets": False},
    "Hinge: distances above 1": {"hinge": True},
    "Cross-entropy, logit scale 5": {"logit_scale": 5.0},
}


@dataclass(frozen=True, eq=False)
class PlaneScene:
    """One state of the plane. n_a and n_b points, k classes.

    Attributes:
        points_a, points_b: features [n_a, 2], [n_b, 2].
        labels_a, labels_b: class numbers [n_a], [n_b].
        weights: of the read-out [3, k], the bias in the last row.
        moves_a, moves_b: arrows from the points, in the points' own unit.
        class_names: [k].
        loss: what the corner says.
    """

    points_a: np.ndarray
    points_b: np.ndarray
    labels_a: np.ndarray
    labels_b: np.ndarray
    weights: np.ndarray
    moves_a: np.ndarray
    moves_b: np.ndarray
    class_names: tuple[str, ...]
    loss: float


@dataclass(frozen=True, eq=False)
class Clouds:
    """Points of three classes, enough for both batches.

    Attributes:
        a: to fit [3, MOST_LABELS, 2], float64; the two axes together have unit variance.
        b: to score [3, SCORED, 2].
        class_names: what the classes are called.
        rows: of the digits that the points stand for, a's before b's [3, MOST_LABELS + SCORED]; None where points are
            all there is.
    """

    a: Tensor
    b: Tensor
    class_names: tuple[str, ...]
    rows: Tensor | None = None


@dataclass(frozen=True, eq=False)
class Descent:
    """Features before and along their way down the gradient. S moves, n_a + n_b points, R values of lambda.

    Attributes:
        settings: the objective.
        labels_a, labels_b: class numbers [n_a], [n_b].
        class_names: what the classes are called.
        path_a, path_b: features after 0 .. S moves [S + 1, n_a, 2], [S + 1, n_b, 2].
        moves_a, moves_b: the arrows: from each state to the next (after S moves: where the next one would go).
        score: the meta-objective and all its parts at every state, see `RidgeScore`.
        sweep: the same for every lambda of RIDGES, [S + 1, R].
    """

    settings: MetaObjectiveSettings
    labels_a: Tensor
    labels_b: Tensor
    class_names: tuple[str, ...]
    path_a: Tensor
    path_b: Tensor
    moves_a: Tensor
    moves_b: Tensor
    score: RidgeScore
    sweep: RidgeScore

    @property
    def targets_a(self) -> Tensor:
        """One-hot targets of batch a [n_a, 3]."""
        return one_hot(self.labels_a, len(self.class_names), self.path_a.dtype)

    @property
    def targets_b(self) -> Tensor:
        """One-hot targets of batch b [n_b, 3]."""
        return one_hot(self.labels_b, len(self.class_names), self.path_b.dtype)


def objective(variant: str, ridge: float) -> MetaObjectiveSettings:
    """Settings of a variant named in VARIANTS, with lambda = ridge > 0.

    Raises:
        ValueError: an unknown variant, or a ridge that is not positive and finite.
    """
    check_choice("variant", variant, VARIANTS)
    return MetaObjectiveSettings(ridge=ridge, **VARIANTS[variant])


@functools.lru_cache(maxsize=32)
def make_clouds(name: str, seed: int = 0) -> Clouds:
    """Points of one of the data sets of DATA.

    Raises:
        ValueError: an unknown name, a negative seed.
    """
    check_choice("data", name, DATA)
    check_number("seed", seed, low=0, high=2**31, integer=True)
    generator = torch.Generator().manual_seed(seed)
    points, names, rows = DATA[name](generator)
    points = points - points.mean((0, 1))
    points = points / points.square().mean().sqrt()
    return Clouds(points[:, :MOST_LABELS], points[:, MOST_LABELS:], names, rows)


def explore_objective(
    clouds: Clouds,
    settings: MetaObjectiveSettings | None = None,
    *,
    labels_per_class: int = 5,
    spread: float = 1.0,
    moved: Sequence[tuple[int, float, float]] = (),
    steps: int = STEPS,
) -> Descent:
    """Score two batches of points, and follow the arrows.

    One move takes every point of both batches along minus the gradient of the loss with respect to that point, by RATE
    times batch b's size times it, LONGEST at most; all moves of a state are halved until the loss falls.

    Args:
        clouds: see `make_clouds`.
        settings: of the objective, the paper's by default; features are taken as they are (no `normalise_features`
            or `standardise_features`).
        labels_per_class: K, points of batch a per class, 1 to MOST_LABELS.
        spread: times every point's distance from its class centre, in (0, 5].
        moved: points that lie elsewhere before the first move: number, counted through batch a and then batch b, x, y.
        steps: number of moves, from 0.

    Returns:
        The `Descent`.

    Raises:
        ValueError, TypeError: arguments out of range.
    """
    s = settings or MetaObjectiveSettings()
    if s.normalise_features or s.standardise_features:
        raise ValueError("settings rescale features; allowed: neither normalise_features nor standardise_features")
    check_number("labels_per_class", labels_per_class, low=1, high=MOST_LABELS, integer=True)
    check_number("spread", spread, low=0, high=5, low_open=True)
    check_number("steps", steps, low=0, high=200, integer=True)
    centres = torch.cat([clouds.a, clouds.b], 1).mean(1, keepdim=True)
    a, b = (
        (centres + spread * (points - centres)).flatten(0, 1) for points in (clouds.a[:, :labels_per_class], clouds.b)
    )
    for number, x, y in moved:
        check_number("number of a point that is moved", number, low=0, high=len(a) + len(b) - 1, integer=True)
        for name, value in (("x", x), ("y", y)):
            check_number(name, value, low=-100, high=100)
        points, row = (a, number) if number < len(a) else (b, number - len(a))
        points[row] = torch.tensor([x, y], dtype=a.dtype)
    classes = torch.arange(len(clouds.class_names))
    labels_a, labels_b = classes.repeat_interleave(labels_per_class), classes.repeat_interleave(SCORED)
    y_a, y_b = (one_hot(labels, len(classes), a.dtype) for labels in (labels_a, labels_b))
    path = []
    for _ in range(steps + 1):
        moves = arrows(a, y_a, b, y_b, s)
        path.append((a, b, *moves))
        a, b = a + moves[0], b + moves[1]
    path_a, path_b, moves_a, moves_b = (torch.stack(parts) for parts in zip(*path, strict=True))
    score = ridge_cosine_score(path_a, _spanned(y_a, path_a), path_b, _spanned(y_b, path_b), s)
    sweep = ridge_sweep(path_a, y_a, path_b, y_b, s)
    return Descent(s, labels_a, labels_b, clouds.class_names, path_a, path_b, moves_a, moves_b, score, sweep)


def arrows(a: Tensor, y_a: Tensor, b: Tensor, y_b: Tensor, settings: MetaObjectiveSettings) -> tuple[Tensor, Tensor]:
    """Where minus the gradient of the loss takes every point of both batches in one move.

    Args:
        a, b: features [n_a, f], [n_b, f].
        y_a, y_b: one-hot targets [n_a, k], [n_b, k].
        settings: of the objective.

    Returns:
        Moves [n_a, f] and [n_b, f]; zero where no step down is found.
    """
    leaves = [points.detach().clone().requires_grad_() for points in (a, b)]
    loss = ridge_cosine_score(leaves[0], y_a, leaves[1], y_b, settings).loss
    gradients = torch.autograd.grad(loss, leaves)
    moves = []
    for gradient in gradients:
        move = -RATE * len(b) * gradient
        length = move.norm(dim=-1, keepdim=True)
        moves.append(move * (LONGEST / length.clamp_min(1e-12)).clamp_max(1))
    for _ in range(HALVINGS):
        if ridge_cosine_score(a + moves[0], y_a, b + moves[1], y_b, settings).loss < loss:
            return moves[0], moves[1]
        moves = [move / 2 for move in moves]
    return torch.zeros_like(a), torch.zeros_like(b)


def ridge_sweep(a: Tensor, y_a: Tensor, b: Tensor, y_b: Tensor, settings: MetaObjectiveSettings) -> RidgeScore:
    """The objective for every lambda of RIDGES at once, lambda as a task dimension.

    Ridge regression with lambda on x is ridge regression with 1 on x / sqrt(lambda): weights grow by sqrt(lambda), so
    that predictions and lambda |w|^2 are the same.

    Args:
        a, b: features [*tasks, n_a, f], [*tasks, n_b, f].
        y_a, y_b: one-hot targets [n_a, k], [n_b, k].
        settings: of the objective; its own ridge plays no part.

    Returns:
        `RidgeScore` with leading dimensions [*tasks, R]; its weights are those of the scaled features.
    """
    scale = torch.tensor(RIDGES, dtype=a.dtype).rsqrt()[:, None, None]
    a, b = a.unsqueeze(-3) * scale, b.unsqueeze(-3) * scale
    options = {**vars(settings), "ridge": 1.0}
    return ridge_cosine_score(a, _spanned(y_a, a), b, _spanned(y_b, b), MetaObjectiveSettings(**options))


def scene_of(descent: Descent, move: int) -> PlaneScene:
    """The plane after some moves, for `plots.feature_plane`.

    Args:
        descent: see `explore_objective`.
        move: 0 .. S; negative numbers count from the end.
    """
    return PlaneScene(
        points_a=descent.path_a[move].numpy(),
        points_b=descent.path_b[move].numpy(),
        labels_a=descent.labels_a.numpy(),
        labels_b=descent.labels_b.numpy(),
        weights=descent.score.weights[move].numpy(),
        moves_a=descent.moves_a[move].numpy(),
        moves_b=descent.moves_b[move].numpy(),
        class_names=descent.class_names,
        loss=float(descent.score.loss[move]),
    )


def _spanned(targets: Tensor, features: Tensor) -> Tensor:
    """Targets [n, k] for features [*tasks, n, f]: the same for every task."""
    return targets.expand(*features.shape[:-1], targets.shape[-1])


def example_in(clouds: Clouds, labels_per_class: int, point: int) -> Example:
    """What a point of the plane stands for, counted through batch a and then batch b.

    Args:
        clouds: see `make_clouds`.
        labels_per_class: K, as for `explore_objective`.
        point: 0 .. 3 K + 3 SCORED - 1.
    """
    in_a = labels_per_class * len(clouds.class_names)
    label, place = divmod(point, labels_per_class) if point < in_a else divmod(point - in_a, SCORED)
    if clouds.rows is None:
        return Example(point, int(clouds.class_names[label]), None)
    return example_of(_digit_task(), int(clouds.rows[label, place if point < in_a else MOST_LABELS + place]))


def _round(generator: torch.Generator) -> _Drawn:
    angles = torch.tensor([0.5, 0.5 + 2 / 3, 0.5 + 4 / 3], dtype=torch.float64) * math.pi
    return _blobs(torch.stack([angles.cos(), angles.sin()], -1), 0.75, generator)


def _row(generator: torch.Generator) -> _Drawn:
    centres = torch.tensor([[-1.2, -0.25], [0.0, 0.0], [1.2, 0.25]], dtype=torch.float64)
    return _blobs(centres, 0.4, generator)


def _blobs(centres: Tensor, deviation: float, generator: torch.Generator) -> _Drawn:
    noise = torch.randn(len(centres), MOST_LABELS + SCORED, 2, generator=generator, dtype=torch.float64)
    return centres[:, None] + deviation * noise, tuple(str(c) for c in range(len(centres))), None


@functools.cache
def _digit_task() -> Task:
    return make_task(load_dataset("digits"), generator=torch.Generator().manual_seed(0))


@functools.cache
def _digit_features(teacher: str) -> tuple[Tensor, Tensor]:
    """A base model's top layer for the three digits, taught by a shipped rule or by none, with their rows."""
    generator = torch.Generator().manual_seed(0)
    rule = load_rule("local")
    task = make_task(load_dataset("digits"), generator=generator)
    phi, how, _ = start(rule, task, steps=TAUGHT_STEPS, generator=generator)
    if teacher:
        rule = get_rule(teacher)
        phi = learn(rule, phi, task, steps=how.steps, batch_size=how.batch_size, generator=generator).state
    chosen = torch.isin(task.y, torch.tensor(DIGITS)).nonzero()[:, 0]
    return forward(phi, task.x).features.detach().double()[chosen], chosen


def _digits(generator: torch.Generator, teacher: str) -> _Drawn:
    """Two principal components of one base model's features; the generator only draws which images are shown."""
    features, rows_of = _digit_features(teacher)
    y = _digit_task().y[rows_of]
    features = features - features.mean(0)
    drawn = []
    for digit in DIGITS:
        rows = (y == digit).nonzero()[:, 0]
        drawn.append(rows[torch.randperm(len(rows), generator=generator)[: MOST_LABELS + SCORED]])
    shown = torch.stack(drawn)
    return (features @ main_directions(features).T)[shown], tuple(map(str, DIGITS)), rows_of[shown]


DATA: dict[str, Callable[[torch.Generator], _Drawn]] = {
    "Three clouds": _round,
    "Three clouds in a row": _row,
    "Digits 4, 7, 9, untaught net": functools.partial(_digits, teacher=""),
    "Digits 4, 7, 9, net taught by the rule's start": functools.partial(_digits, teacher="local_start"),
    "Digits 4, 7, 9, taught net": functools.partial(_digits, teacher="local"),
}
