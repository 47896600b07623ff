"""The meta-objective: parity with the authors' numbers, identities, errors."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.linear_model import Ridge

from metarules.meta_objective import (
    MetaObjectiveSettings,
    one_hot,
    ridge_cosine_loss,
    ridge_cosine_score,
    ridge_fit,
)

ARCHIVE = Path(__file__).parent / "reference" / "meta_objective.npz"
VARIANTS = {
    "default": {},
    "ridge1": {"ridge": 1.0},
    "no_center_y": {"centre_targets": False},
    "pm_one_labels": {},  # the labels themselves are 2 onehot - 1
    "no_normalize_y_hat": {"normalise_predictions": False},
    "hinge": {"hinge": True},
    "normalize_act": {"normalise_features": True},
    "test_train_half": {"train_share": 0.5},
}
CASES = [("n50_f8", name) for name in VARIANTS] + [("n100_f32", "default")]


def relative_error(ours: torch.Tensor, reference: np.ndarray) -> float:
    return float(np.abs(ours.detach().numpy() - reference).max() / np.abs(reference).max())


@pytest.mark.parametrize(("size", "variant"), CASES)
def test_parity_with_the_authors_code(size: str, variant: str):
    data = np.load(ARCHIVE)
    key = f"{size}/{variant}/f64_"
    a, b = (torch.from_numpy(data[f"{size}/x_{half}"]).double().requires_grad_() for half in ("train", "test"))
    y_a, y_b = (
        one_hot(torch.from_numpy(data[f"{size}/label_{half}"]), 10, torch.float64) for half in ("train", "test")
    )
    if variant == "pm_one_labels":
        y_a, y_b = 2 * y_a - 1, 2 * y_b - 1
    options = VARIANTS[variant]
    loss = ridge_cosine_loss(a, y_a, b, y_b, **options)
    grad_a, grad_b = torch.autograd.grad(loss, (a, b))
    score = ridge_cosine_score(a, y_a, b, y_b, MetaObjectiveSettings(**options))
    ours = {
        "loss": loss,
        "dx_train": grad_a,
        "dx_test": grad_b,
        "ridge_w": score.weights,
        "y_train": score.targets_a,
        "stat_mse_test": score.error_b,
        "stat_mse_train": score.error_a,
        "stat_accuracy_test": score.accuracy_b,
        "stat_ridge_component": score.penalty,
    }
    for name, value in ours.items():
        assert relative_error(value, data[key + name]) < 1e-9, name


def batch(n: int = 12, f: int = 5, k: int = 3, seed: int = 0, *tasks: int):
    g = torch.Generator().manual_seed(seed)
    features = torch.randn(*tasks, n, f, generator=g, dtype=torch.float64)
    labels = torch.randint(k, (*tasks, n), generator=g)
    return features, one_hot(labels, k, torch.float64)


def test_ridge_fit_equals_scikit_learn():
    features, targets = batch()
    for ridge in (0.1, 3.0):
        w = ridge_fit(features, targets, ridge)
        model = Ridge(alpha=ridge).fit(features.numpy(), targets.numpy())
        np.testing.assert_allclose(w[:-1].numpy(), model.coef_.T, rtol=1e-9, atol=1e-12)
        np.testing.assert_allclose(w[-1].numpy(), model.intercept_, rtol=1e-9, atol=1e-12)


def test_gradient_equals_finite_differences():
    (a, y_a), (b, y_b) = batch(seed=1), batch(seed=2)
    a.requires_grad_()
    b.requires_grad_()
    assert torch.autograd.gradcheck(lambda p, q: ridge_cosine_loss(p, y_a, q, y_b), (a, b))


@given(st.integers(2, 6), st.integers(1, 4), st.integers(2, 3), st.integers(1, 3))
def test_tasks_are_single_runs(n: int, f: int, k: int, tasks: int):
    (a, y_a), (b, y_b) = batch(n, f, k, 1, tasks), batch(n, f, k, 2, tasks)
    together = ridge_cosine_loss(a, y_a, b, y_b)
    single = torch.stack([ridge_cosine_loss(a[i], y_a[i], b[i], y_b[i]) for i in range(tasks)])
    torch.testing.assert_close(together, single, rtol=1e-10, atol=1e-12)


def test_the_order_of_examples_and_a_rotation_of_features_do_not_matter():
    (a, y_a), (b, y_b) = batch(seed=1), batch(seed=2)
    loss = ridge_cosine_loss(a, y_a, b, y_b)
    order = torch.randperm(12, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(ridge_cosine_loss(a[order], y_a[order], b[order], y_b[order]), loss)
    turn = torch.linalg.qr(torch.randn(5, 5, generator=torch.Generator().manual_seed(3), dtype=torch.float64))[0]
    torch.testing.assert_close(ridge_cosine_loss(a @ turn, y_a, b @ turn, y_b), loss)


def test_standardised_features_make_the_loss_blind_to_scale_and_offset():
    (a, y_a), (b, y_b) = batch(seed=1), batch(seed=2)
    scale = torch.tensor([1.0, 10.0, 1e3, 2.0, 0.5], dtype=torch.float64)
    loss = ridge_cosine_loss(a, y_a, b, y_b, standardise_features=True)
    moved = ridge_cosine_loss(a * scale + 7, y_a, b * scale + 7, y_b, standardise_features=True)
    torch.testing.assert_close(moved, loss, rtol=1e-5, atol=1e-6)


def test_perfect_features_score_near_zero_and_useless_ones_high():
    targets = one_hot(torch.arange(30) % 3, 3, torch.float64)
    good = ridge_cosine_score(targets, targets, targets, targets, MetaObjectiveSettings(ridge=1e-6))
    assert good.loss < 1e-4 and good.accuracy_b == 1
    noise, y = batch(30, 2, 3, 5)
    assert ridge_cosine_loss(noise, targets, noise.flip(0), targets) > 1
    assert y.shape == targets.shape


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("value", [0.0, 1.0])
def test_constant_features_and_tiny_batches_give_finite_losses_and_gradients(dtype, value: float):
    for n in (1, 2, 20):
        a = torch.full((n, 4), value, dtype=dtype, requires_grad=True)
        y = one_hot(torch.arange(n) % 2, 2, dtype)
        for options in VARIANTS.values():
            loss = ridge_cosine_loss(a, y, a + 0, y, **options)
            (grad,) = torch.autograd.grad(loss, a)
            assert torch.isfinite(loss) and torch.isfinite(grad).all()


def test_the_logit_scale_scores_by_cross_entropy():
    (a, y_a), (b, y_b) = batch(seed=1), batch(seed=2)
    score = ridge_cosine_score(a, y_a, b, y_b, MetaObjectiveSettings(logit_scale=5.0))
    expected = torch.nn.functional.cross_entropy(5 * score.predictions_b, y_b.argmax(-1))
    torch.testing.assert_close(score.error_b, expected)
    torch.testing.assert_close(ridge_cosine_loss(a, y_a, b, y_b, logit_scale=5.0), expected + score.penalty)


def test_extra_regression_targets_are_allowed():
    (a, y_a), (b, y_b) = batch(seed=1), batch(seed=2)
    extra = a[:, :2] * 3
    loss = ridge_cosine_loss(a, torch.cat([y_a, extra], -1), b, torch.cat([y_b, b[:, :2] * 3], -1))
    assert torch.isfinite(loss)


F, Y = batch()
REFUSALS = [
    ((F[:, 0], Y, F, Y), {}, ValueError, "features_a has shape"),
    ((F, Y[:5], F, Y), {}, ValueError, "targets_a has shape"),
    ((F, Y, F[:, :2], Y), {}, ValueError, "features_b and targets_b have widths 2 and 3"),
    ((F, Y, F, Y[:, :2]), {}, ValueError, "allowed: those of batch a, 5 and 3"),
    ((F, Y.float(), F, Y), {}, ValueError, "targets_a has dtype torch.float32"),
    ((F, Y, F.float(), Y.float()), {}, ValueError, "features_b has dtype torch.float32"),
    ((F.long(), Y, F, Y), {}, TypeError, "features_a has dtype torch.int64"),
    ((F, Y.long(), F, Y), {}, TypeError, "targets_a has dtype torch.int64"),
    ((F * torch.nan, Y, F, Y), {}, ValueError, "features_a holds 60 NaN"),
    ((F, Y, F, Y / 0), {}, ValueError, "targets_b holds"),
    ((F[:0], Y[:0], F, Y), {}, ValueError, "holds no numbers"),
    ((F, Y, F, Y), {"ridge": 0.0}, ValueError, r"ridge is 0.0; allowed: a number in \(0"),
    ((F, Y, F, Y), {"ridge": -1.0}, ValueError, "ridge is -1.0"),
    ((F, Y, F, Y), {"ridge": float("nan")}, ValueError, "ridge is nan"),
    ((F, Y, F, Y), {"logit_scale": -1.0}, ValueError, "logit_scale is -1.0"),
    ((F, Y, F, Y), {"logit_scale": 5.0, "hinge": True}, ValueError, "hinge is True and logit_scale 5.0"),
    ((F, Y, F, Y), {"train_share": 1.5}, ValueError, "train_share is 1.5"),
]


@pytest.mark.parametrize(("arguments", "options", "error", "message"), REFUSALS)
def test_refusals(arguments, options, error, message: str):
    with pytest.raises(error, match=message):
        ridge_cosine_loss(*arguments, **options)


def test_ridge_fit_and_one_hot_refuse():
    with pytest.raises(ValueError, match="ridge is 0"):
        ridge_fit(F, Y, 0)
    with pytest.raises(ValueError, match="targets has shape"):
        ridge_fit(F, Y[:3])
    with pytest.raises(ValueError, match=r"labels reach from 0 to 5; allowed: 0 .. 2"):
        one_hot(torch.tensor([0, 5]), 3)
    with pytest.raises(TypeError, match=r"labels is torch\.float32"):
        one_hot(torch.ones(3), 3)
    with pytest.raises(ValueError, match="n_classes is 0"):
        one_hot(torch.zeros(3, dtype=torch.int64), 0)
