"""The few-shot probe: its splits, its standardisation, and its accuracy against a plain scikit-learn loop."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from sklearn.linear_model import RidgeClassifierCV
from sklearn.preprocessing import StandardScaler

from metarules.evaluation import (
    Splits,
    class_accuracy,
    few_shot_accuracy,
    probe_splits,
    split_accuracy,
    split_guesses,
    split_reader,
    standardise_features,
)
from metarules.tasks import load_dataset


def blobs(n: int = 200, classes: int = 4, f: int = 6, spread: float = 1.0) -> tuple[torch.Tensor, torch.Tensor]:
    """Gaussian classes of equal size, [n, f] and [n]."""
    g = torch.Generator().manual_seed(1)
    y = torch.arange(n) % classes
    centres = torch.randn(classes, f, generator=g)
    return centres[y] + spread * torch.randn(n, f, generator=g), y


def real(name: str) -> tuple[torch.Tensor, torch.Tensor]:
    data = load_dataset(name)
    return data.x, data.y


def features_of(f: int, classes: int, n: int = 40) -> tuple[torch.Tensor, torch.Tensor]:
    return blobs(n * classes, classes, f, spread=1.5)


def changed(change: Callable[[torch.Tensor], torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
    x, y = blobs(120)
    return change(x), y


TWINS: dict[str, Callable[[], tuple[torch.Tensor, torch.Tensor]]] = {
    "digits": lambda: real("digits"),
    "letters": lambda: real("glyphs"),
    "moons": lambda: real("two_moons"),
    "one feature": lambda: features_of(1, 3),
    "two classes": lambda: features_of(5, 2),
    "more features than examples": lambda: features_of(150, 10),
    "class numbers with gaps": lambda: (blobs()[0], torch.tensor([7, 3, -2, 40])[blobs()[1]]),
    "constant features": lambda: changed(lambda x: torch.cat([x, torch.full((120, 2), 0.1)], -1)),
    "nothing but constants": lambda: changed(lambda x: torch.full_like(x, -7e5)),
    "the same feature twice": lambda: changed(lambda x: torch.cat([x, x, -x], -1)),
    "copies of examples": lambda: changed(lambda x: x[torch.arange(120) // 8]),
    "tiny": lambda: changed(lambda x: x * 1e-20),
    "ties: one yes or no": lambda: changed(lambda x: (x[:, :1] > 0).float()),
    "ties: examples that excite nothing": lambda: changed(lambda x: (x - 2).relu()),
}


@pytest.mark.parametrize("labels_per_class", [1, 3, 10])
@pytest.mark.parametrize("name", TWINS)
def test_guesses_are_those_of_scikit_learn(name: str, labels_per_class: int):
    """`RidgeClassifierCV`, fitted split by split. Only between classes of one score may rounding choose differently."""
    x, y = TWINS[name]()
    splits = probe_splits(y, labels_per_class, 4, seed=3)
    found = split_guesses(x, y, splits)
    scaled, ties = StandardScaler().fit_transform(x.double().numpy()), 0
    for labelled, rest, guesses in zip(splits.labelled, splits.rest, found, strict=True):
        model = RidgeClassifierCV(alphas=np.logspace(-2, 3, 11)).fit(scaled[labelled], y.numpy()[labelled])
        differ = guesses.numpy() != model.predict(scaled[rest])
        scores = model.decision_function(scaled[rest])[differ]
        if scores.ndim == 1:  # of two classes scikit-learn keeps one score; it is negative for the first
            scores = np.stack([scores, -scores], -1)
        best = np.sort(scores, -1)[:, -2:]
        assert np.allclose(best[:, 0], best[:, 1], rtol=0, atol=1e-12)
        ties += len(best)
    assert not ties or name.startswith("ties")
    accuracy = few_shot_accuracy(x, y, labels_per_class=labels_per_class, n_splits=4, seed=3)
    assert torch.equal(accuracy, (found == y[splits.rest]).double().mean(-1)) and accuracy.dtype == torch.float64


def test_leading_tasks_give_the_accuracies_of_single_calls():
    x, y = blobs()
    several = torch.stack([x, x.flip(0), x * 3 + 1])
    together = few_shot_accuracy(several, y, labels_per_class=3, n_splits=4)
    assert together.shape == (3, 4)
    for one, row in zip(several, together, strict=True):
        assert torch.equal(few_shot_accuracy(one, y, labels_per_class=3, n_splits=4), row)


def test_scale_and_offset_of_the_features_do_not_matter():
    x, y = blobs()
    scale = torch.logspace(-3, 3, x.shape[1], dtype=torch.float64)
    a = few_shot_accuracy(x.double(), y, labels_per_class=3, n_splits=4)
    b = few_shot_accuracy(x.double() * scale + 5, y, labels_per_class=3, n_splits=4)
    torch.testing.assert_close(a, b)


def test_splits_are_balanced_disjoint_and_complete():
    y = torch.tensor([0] * 9 + [1] * 20 + [2] * 11)[torch.randperm(40, generator=torch.Generator().manual_seed(0))]
    splits = probe_splits(y, 4, 25, seed=0)
    assert len(splits) == 25 and splits.labelled.shape == (25, 12) and splits.rest.shape == (25, 28)
    for labelled, rest in zip(splits.labelled, splits.rest, strict=True):
        assert sorted([*labelled.tolist(), *rest.tolist()]) == list(range(40))
        assert y[labelled].bincount().tolist() == [4, 4, 4]


def test_splits_depend_on_labels_and_seed_alone():
    _, y = blobs()
    a, b, c = probe_splits(y, 5, 6, seed=1), probe_splits(y, 5, 6, seed=1), probe_splits(y, 5, 6, seed=2)
    assert torch.equal(a.labelled, b.labelled) and torch.equal(a.rest, b.rest)
    assert not torch.equal(a.labelled, c.labelled)
    torch.rand(5)  # the global generator is neither read nor moved
    torch.testing.assert_close(probe_splits(y, 5, 6, seed=1).labelled, a.labelled)
    assert len({tuple(sorted(rows.tolist())) for rows in a.labelled}) == 6


def test_every_example_is_drawn_about_equally_often():
    y = torch.arange(40) % 2
    counts = probe_splits(y, 5, 2000, seed=0).labelled.flatten().bincount(minlength=40)
    assert counts.sum() == 20_000
    assert (counts - 500).abs().max() < 100  # five standard deviations of a binomial(2000, 1/4)


def test_new_examples_are_read_as_the_data_are():
    x, y = blobs()
    splits = probe_splits(y, 5, 1)
    several = torch.stack([x, x * 3 + 1])
    rest = splits.rest[0]
    scores = split_reader(several, y, splits)(several[:, rest])
    assert scores.shape == (2, len(rest), 4) and scores.dtype == torch.float64
    assert torch.equal(scores.argmax(-1), split_guesses(several, y, splits)[:, 0])
    both = probe_splits(y, 5, 2)
    alone = [split_reader(x, y, Splits(both.labelled[i : i + 1], both.rest[i : i + 1]))(x) for i in (0, 1)]
    torch.testing.assert_close(split_reader(x, y, both)(x), (alone[0] + alone[1]) / 2)


def test_accuracy_of_a_class_by_counting():
    x, y = blobs(90, classes=3)
    several, splits = torch.stack([x, x.flip(-1) ** 2]), probe_splits(y, 10, 4)
    guesses = split_guesses(several, y, splits)
    by_class = class_accuracy(guesses, y, splits)
    for task in range(2):
        for c in range(3):
            pairs = zip(guesses[task].flatten().tolist(), y[splits.rest].flatten().tolist(), strict=True)
            right = [guess == c for guess, truth in pairs if truth == c]
            assert by_class[task, c] == pytest.approx(sum(right) / len(right))
    assert torch.allclose(by_class.mean(1), split_accuracy(several, y, splits).mean(1))  # classes of one size


def test_features_without_information_give_chance():
    g = torch.Generator().manual_seed(0)
    y = torch.arange(1000) % 10
    accuracy = few_shot_accuracy(torch.randn(1000, 32, generator=g), y, n_splits=10).mean()
    assert 0.07 < accuracy < 0.13


def test_separated_classes_give_one():
    x, y = blobs(spread=0.01)
    assert few_shot_accuracy(x, y, n_splits=3).min() == 1


@pytest.mark.parametrize("constant", [0.0, 0.1, -7e5])
def test_constant_features_are_ignored_and_never_give_nan(constant: float):
    x, y = blobs()
    padded = torch.cat([x, torch.full((len(x), 2), constant)], -1)
    assert torch.equal(standardise_features(padded)[:, -2:], torch.zeros(len(x), 2, dtype=torch.float64))
    a = few_shot_accuracy(x, y, labels_per_class=3, n_splits=4)
    torch.testing.assert_close(few_shot_accuracy(padded, y, labels_per_class=3, n_splits=4), a)


def test_standardised_features_have_mean_zero_and_variance_one():
    x, _ = blobs()
    s = standardise_features(torch.stack([x, x * 100 - 3]))
    assert s.shape == (2, *x.shape) and s.dtype == torch.float64
    torch.testing.assert_close(s.mean(-2), torch.zeros(2, x.shape[1], dtype=torch.float64), atol=1e-12, rtol=0)
    torch.testing.assert_close(s.square().mean(-2), torch.ones(2, x.shape[1], dtype=torch.float64))


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"labels_per_class": 0}, ValueError, "labels_per_class is 0; allowed: a whole number in"),
        ({"labels_per_class": 50}, ValueError, "labels_per_class is 50; allowed: 1 to 49"),
        ({"n_splits": 0}, ValueError, "n_splits is 0; allowed"),
        ({"seed": -1}, ValueError, "seed is -1; allowed"),
        ({"labels": torch.zeros(200)}, TypeError, "labels is torch.float32; allowed: a tensor of whole numbers"),
        ({"labels": torch.zeros(200, dtype=torch.int64)}, ValueError, "allowed: at least two classes"),
        ({"labels": torch.zeros(2, 100, dtype=torch.int64)}, ValueError, r"labels has shape \[2, 100\]; allowed"),
        ({"labels": torch.zeros(0, dtype=torch.int64)}, ValueError, r"labels has shape \[0\]; allowed"),
        ({"features": torch.ones(199, 3)}, ValueError, r"features has shape \[199, 3\]; allowed: \[\*tasks, 200, f\]"),
        ({"features": torch.ones(200)}, ValueError, r"features has shape \[200\]; allowed: at least 2 dimensions"),
        ({"features": torch.ones(200, 3).int()}, TypeError, "features has dtype torch.int32; allowed"),
        ({"features": torch.full((200, 3), torch.nan)}, ValueError, "features holds 600 NaN or infinite values"),
    ],
)
def test_errors_name_the_argument_and_what_is_allowed(change: dict, error: type[Exception], message: str):
    x, y = blobs()
    arguments = {"features": x, "labels": y} | change
    with pytest.raises(error, match=message):
        few_shot_accuracy(**arguments)
