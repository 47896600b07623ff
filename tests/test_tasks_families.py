"""Kinds of data beside glyphs and plain decoders, and the regression targets of all of them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

from metarules.base_model import init_state
from metarules.inner_loop import learn
from metarules.pretrained import load_rule
from metarules.tasks import Dataset, Task, glyphs, make_task, random_decoder, stack_tasks
from metarules.tasks.binary import binary_data
from metarules.tasks.distribution import draw_from
from metarules.tasks.families import FAMILIES
from metarules.tasks.lifted import lifted_shapes
from metarules.tasks.mixtures import gaussian_mixture
from metarules.tasks.shapes_2d import FIGURES, draw_figure
from metarules.tasks.sparse import sparse_data
from metarules.tasks.task_form import DistributionSettings, TaskForm
from metarules.update_rule import Batch

Maker = Callable[..., Dataset]
MAKERS: list[Maker] = [gaussian_mixture, sparse_data, binary_data, lifted_shapes]
WITH_TARGETS: dict[str, Maker] = {
    "glyphs": glyphs,
    "decoders": random_decoder,
    "mixtures": gaussian_mixture,
    "spikes": lambda **options: sparse_data(kind="spikes", **options),
    "thresholds": lambda **options: binary_data(kind="thresholds", **options),
    "shapes": lifted_shapes,
}


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def ridge(train_x: torch.Tensor, train_t: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
    """Predictions of a ridge regression on standardised inputs."""
    mean, spread = train_x.mean(0), train_x.std(0) + 1e-2
    a, b = (train_x - mean) / spread, (x - mean) / spread
    middle = train_t.mean(0)
    kernel = a @ a.T + 10 * torch.eye(len(a))
    return b @ a.T @ torch.linalg.solve(kernel, train_t - middle) + middle


# ---------------------------------------------------------------------------------------------- each kind


@pytest.mark.parametrize("make", MAKERS)
def test_seeds_decide_and_classes_balance(make: Maker):
    a, b, other = (make(n=101, seed=seed) for seed in (3, 3, 4))
    assert torch.equal(a.x, b.x) and torch.equal(a.y, b.y) and a.name == b.name
    assert not torch.equal(a.x, other.x)
    assert sorted(torch.bincount(a.y).tolist()) == [10] * 9 + [11]
    for seed in range(8):
        x = make(n=200, seed=seed).x
        assert -1 < x.min() and x.max() < 2 and 0 < x.mean() < 1
        assert x.std(0).median() > 0.01


def test_binary_data_is_binary_and_sparse_data_is_sparse():
    for kind in ("prototypes", "thresholds"):
        for seed in range(4):
            x = binary_data(n=200, kind=kind, seed=seed).x
            assert set(x.unique().tolist()) == {0.0, 1.0}
            assert 0.2 < x.mean() < 0.8
    for kind in ("counts", "spikes"):
        active = torch.tensor([float((sparse_data(n=200, kind=kind, seed=s).x > 0).float().mean()) for s in range(8)])
        assert active.max() < 0.7 and active.mean() < 0.4
        assert sparse_data(n=200, kind=kind).x.min() == 0


@pytest.mark.parametrize("name", [name for name in DistributionSettings().weights if name != "glyphs"])
def test_ten_labels_per_class_are_neither_enough_nor_useless(name: str):
    """Raw few-shot accuracy of ten classes at the usual form; chance is 0.1."""
    right, g = [], seeded(5)
    settings = DistributionSettings()
    for _ in range(10):
        task = make_task(draw_from({name: 1.0}, settings, settings.usual_form, "train", g), permute=False)
        labelled, _ = task.sample_labelled(10, g)
        classes = torch.eye(10)[labelled.y]
        right.append((ridge(labelled.x, classes, task.x).argmax(1) == task.y).float().mean())
    accuracy = torch.stack(right)
    assert 0.4 < accuracy.median() < 0.85
    assert ((accuracy > 0.25) & (accuracy < 0.97)).sum() >= 8


@pytest.mark.parametrize(
    ("n_inputs", "n_classes", "kinds"), [(2, 2, 3), (2, 20, 3), (8, 20, 5), (64, 16, 7), (256, 2, 7), (256, 20, 6)]
)
def test_the_shipped_rule_survives_the_extremes(n_inputs: int, n_classes: int, kinds: int):
    form, settings = TaskForm(n_inputs, n_classes, 80), DistributionSettings()
    names = [name for name in settings.weights if FAMILIES[name].can_take(form)]
    assert len(names) == kinds
    sets = [draw_from({name: 1.0}, settings, form, "train", seeded(4)) for name in names]
    assert all((data.x.shape, data.n_classes) == ((80, n_inputs), n_classes) for data in sets)
    task = stack_tasks([make_task(data, generator=seeded(5)) for data in sets])
    phi = init_state((n_inputs, 16, 16), tasks=(kinds,), generator=seeded())
    after = learn(load_rule("local"), phi, task, steps=50, batch_size=40, generator=seeded()).state  # or it diverges
    assert all(layer.W.isfinite().all() and layer.W.std() > 0.05 for layer in after.layers)


@pytest.mark.usefixtures("unchecked_types")
@pytest.mark.parametrize("make", MAKERS)
@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"n_classes": 21}, ValueError, r"n_classes is 21; allowed: a whole number in \[2, 20\]"),
        ({"n": 9}, ValueError, r"n is 9; allowed: a whole number in \[10, inf\]"),
        ({"dimension": 1}, ValueError, r"dimension is 1; allowed: a whole number in \[2, inf\]"),
        ({"seed": -1}, ValueError, "seed is -1; allowed"),
        ({"n": "many"}, TypeError, "n is 'many'; allowed: a whole number"),
    ],
)
def test_options_out_of_range(make: Maker, options: dict[str, Any], error: type[Exception], message: str):
    with pytest.raises(error, match=message):
        make(**options)


def test_unknown_kinds_are_named():
    with pytest.raises(ValueError, match="kind is 'dense'; allowed: counts, spikes"):
        sparse_data(kind="dense")
    with pytest.raises(ValueError, match="kind is 'grey'; allowed: prototypes, thresholds"):
        binary_data(kind="grey")
    with pytest.raises(ValueError, match="family is 'bumps'; allowed: linear, parts"):  # held out
        lifted_shapes(family="bumps")
    with pytest.raises(ValueError, match=r"clusters is 0; allowed: a whole number in \[1, 10\]"):
        gaussian_mixture(clusters=0)


# ---------------------------------------------------------------------------------------------- targets


@pytest.mark.parametrize("name", WITH_TARGETS)
def test_targets_are_standardised_and_can_be_read_from_inputs(name: str):
    explained = []
    for seed in range(3):
        data = WITH_TARGETS[name](n=1000, seed=seed)
        assert data.targets is not None and data.targets.shape == (1000, 4)
        assert data.targets.mean(0).abs().max() < 1e-4
        assert torch.allclose(data.targets.std(0, correction=0), torch.ones(4), atol=1e-4)
        predicted = ridge(data.x[:500], data.targets[:500], data.x[500:])
        explained.append(1 - (predicted - data.targets[500:]).square().mean(0))
        shuffled = ridge(data.x[:500], data.targets[:500].roll(1, 0), data.x[500:])
        gained = 1 - (shuffled - data.targets[500:]).square().mean(0)
        assert gained.mean() < 0.05  # rows that do not match say nothing
    mean = torch.stack(explained).mean(0)
    assert (mean > 0.3).sum() >= 2 and mean.mean() > 0.25


def test_kinds_without_coefficients_have_no_targets():
    assert sparse_data(n=50, kind="counts").targets is None
    assert binary_data(n=50, kind="prototypes").targets is None


@pytest.mark.parametrize("kind", FIGURES)
def test_positions_along_and_across_a_figure_are_where_its_points_lie(kind: str):
    y = torch.zeros(4000, dtype=torch.int64)
    y[0] = 1
    exact = draw_figure(kind, y, 2, 0.0, seeded(1))[0]
    points, along, across = draw_figure(kind, y, 2, 0.01, seeded(1))
    offset = points - exact
    if kind == "blobs":
        assert torch.allclose(offset, torch.stack([along, across], -1), atol=1e-6)
        return
    order = along[1:].argsort()  # class 0 alone, from one end of its line to the other
    line, offset, across = exact[1:][order], offset[1:][order], across[1:][order]
    tangent = torch.nn.functional.normalize(line[20:] - line[:-20], dim=-1)
    middle = slice(10, -10)
    sideways = offset[middle, 0] * tangent[:, 1] - offset[middle, 1] * tangent[:, 0]
    assert torch.corrcoef(torch.stack([sideways, across[middle]]))[0, 1].abs() > 0.99
    assert across[middle].std().item() == pytest.approx(0.01, rel=0.1)


@pytest.fixture
def pair() -> Task:
    data = glyphs(n=30, n_classes=3, seed=1)
    return make_task(data, generator=seeded(), tasks=(2,))


def row_of(task: Task, x: torch.Tensor, i: int) -> int:
    """Which example of task i the inputs x are."""
    return int((task.x[i] - x).abs().sum(-1).argmin())


def test_targets_follow_their_examples(pair: Task):
    assert pair.targets is not None
    for batch in pair.sample_labelled(3, seeded(1)):
        assert batch.targets is not None and batch.targets.shape == (2, 9, 4)
        for i in range(2):
            for x, target in zip(batch.x[i], batch.targets[i], strict=True):
                assert torch.equal(target, pair.targets[i, row_of(pair, x, i)])
    for part in pair.split(0.4, seeded(2)):
        assert part.targets is not None
        for x, target in zip(part.x[1], part.targets[1], strict=True):
            assert torch.equal(target, pair.targets[1, row_of(pair, x, 1)])
    one = pair.task(1)
    assert one.targets is not None and torch.equal(one.targets, pair.targets[1])
    double = pair.to(torch.float64)
    assert double.targets is not None and double.targets.dtype == torch.float64
    assert pair.sample(5, seeded()).targets is None and pair.sample(30, seeded()).targets is None


def test_stacking_keeps_targets_where_all_agree(pair: Task):
    both = stack_tasks([pair, pair])
    assert both.targets is not None and both.targets.shape == (2, 2, 30, 4)
    plain = Task(pair.x, pair.y, 3, pair.permutation)
    fewer = Task(pair.x, pair.y, 3, pair.permutation, targets=pair.targets[..., :2])
    assert stack_tasks([pair, plain]).targets is None
    assert stack_tasks([pair, fewer]).targets is None
    assert stack_tasks([plain, plain]).targets is None
    assert plain.sample_labelled(2, seeded())[0].targets is None


def test_targets_that_do_not_fit_are_refused(pair: Task):
    x, y, targets = pair.x, pair.y, pair.targets
    with pytest.raises(ValueError, match=r"targets has shape \[2, 29, 4\]; allowed: \[2, 30, 'k'\]"):
        Task(x, y, 3, targets=targets[:, :29])
    with pytest.raises(ValueError, match=r"targets has dtype torch.float64; allowed: torch.float32"):
        Task(x, y, 3, targets=targets.double())
    with pytest.raises(ValueError, match="targets holds 240 NaN or infinite values"):
        Task(x, y, 3, targets=targets / 0)
    with pytest.raises(TypeError, match=r"targets has dtype torch.int64"):
        Dataset("mine", x[0], y[0], None, ("a", "b", "c"), targets=y)


def test_rules_ignore_targets(pair: Task):
    rule, phi = load_rule("local"), init_state((64, 8, 8), tasks=(2,), generator=seeded())
    plain, told = rule(phi, Batch(pair.x)), rule(phi, Batch(pair.x, targets=pair.targets))
    assert torch.equal(plain.layers[0].W, told.layers[0].W)
