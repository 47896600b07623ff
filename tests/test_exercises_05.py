"""Lesson 5's exercises: right answers pass, listed wrong ones get a hint and never a traceback."""

from __future__ import annotations

import pytest
import torch
from torch.nn.functional import cosine_similarity, normalize

from metarules.exercises.lesson_05 import check_distance, check_meta_loss, check_ridge, check_strong_ridge
from metarules.meta_objective import ridge_fit


def with_ones(x):
    return torch.cat([x, torch.ones_like(x[:, :1])], 1)


def by_solving(x, y, ridge):
    A, free = with_ones(x), torch.eye(x.shape[1] + 1, dtype=x.dtype)
    free[-1, -1] = 0
    return torch.linalg.solve(A.T @ A + ridge * free, A.T @ y)


def by_centring(x, y, ridge):
    """Another road: centre both, fit without a bias, put it back."""
    a, b = x - x.mean(0), y - y.mean(0)
    w = torch.linalg.inv(a.T @ a + ridge * torch.eye(x.shape[1], dtype=x.dtype)) @ a.T @ b
    return torch.cat([w, (y.mean(0) - x.mean(0) @ w)[None]])


def test_right_ridges_pass():
    for fit in (by_solving, by_centring, ridge_fit):
        assert check_ridge(fit).right


@pytest.mark.parametrize(
    ("fit", "hint"),
    [
        (lambda x, y, r: by_solving(x, y, 0.0), "where is lambda"),
        (
            lambda x, y, r: torch.linalg.solve(
                with_ones(x).T @ with_ones(x) + r * torch.eye(3, dtype=x.dtype), with_ones(x).T @ y
            ),
            "penalise the bias",
        ),
        (lambda x, y, r: torch.linalg.solve(x.T @ x + r * torch.eye(2, dtype=x.dtype), x.T @ y), "bias is missing"),
        (lambda x, y, r: by_solving(x, y, r).roll(1, 0), "last row"),
        (lambda x, y, r: by_solving(x, y, r).T[:2], "bias is missing"),
        (lambda x, y, r: by_solving(x, y, 10 * r), "numbers are not"),
        (lambda x, y, r: y, "f + 1 rows"),
        (lambda x, y, r: None, "NoneType"),
        (lambda x, y, r: x @ y, "stopped with RuntimeError"),
    ],
)
def test_wrong_ridges_get_a_hint(fit, hint: str):
    answer = check_ridge(fit)
    assert not answer.right and hint in answer.message


def test_the_measured_share_is_right():
    assert all(check_strong_ridge(guess, 0.73, 0.73).right for guess in (0.73, 0.7, 0.8))


@pytest.mark.parametrize(
    ("guess", "hint"),
    [(0.33, "more than that"), (0.95, "less than that"), ("half", "a number such as"), (None, "your guess")],
)
def test_wrong_shares_get_a_hint(guess, hint: str):
    answer = check_strong_ridge(guess, 0.73, 0.73)
    assert not answer.right and hint in answer.message


def test_right_distances_pass():
    assert check_distance(lambda p, y: (2 - 2 * cosine_similarity(p, y, dim=1)).mean()).right
    assert check_distance(lambda p, y: float((normalize(p, dim=1) - y).square().sum(1).mean())).right


@pytest.mark.parametrize(
    ("distance", "hint"),
    [
        (lambda p, y: (1 - cosine_similarity(p, y, dim=1)).mean(), "half of it"),
        (lambda p, y: cosine_similarity(p, y, dim=1).mean(), "cosine itself"),
        (lambda p, y: (p - y).square().sum(1).mean(), "squared error"),
        (lambda p, y: (2 - 2 * (p * y).sum(1)).mean(), "not of length 1"),
        (lambda p, y: 2 - 2 * cosine_similarity(p, y, dim=1), "mean over rows"),
        (lambda p, y: 0.0, "expand"),
        (lambda p, y: None, "stopped with TypeError"),
    ],
)
def test_wrong_distances_get_a_hint(distance, hint: str):
    answer = check_distance(distance)
    assert not answer.right and hint in answer.message


def meta_loss(x_a, y_a, x_b, y_b, lam, *, unit=True, cost=1.0, over=None, bias=False):
    w = ridge_fit(x_a, y_a, lam)
    p = with_ones(x_b) @ w
    p = normalize(p, dim=1) if unit else p
    paid = (w if bias else w[:-1]).square().sum()
    return (p - y_b).square().sum(1).mean() + cost * lam * paid / (over or len(x_a))


@pytest.mark.parametrize(
    ("how", "right", "hint"),
    [
        ({}, True, "both gradients"),
        ({"cost": 0.0}, False, "is missing"),
        ({"over": 1}, False, "divided by n"),
        ({"bias": True}, False, "costs nothing"),
        ({"unit": False}, False, "length 1"),
        ({"cost": 7.0}, False, "another number"),
    ],
)
def test_the_whole_objective(how, right: bool, hint: str):
    feedback = check_meta_loss(lambda *given: meta_loss(*given, **how))
    assert feedback.right is right and hint in feedback.message, feedback


def test_the_whole_objective_must_have_its_gradient():
    assert "no gradient" in check_meta_loss(lambda *given: meta_loss(*given).detach()).message
    assert "one number" in check_meta_loss(lambda *given: 0.5).message
    cut = lambda a, y_a, b, y_b, lam: meta_loss(a.detach(), y_a, b, y_b, lam) + 0 * a.sum()  # noqa: E731
    assert "cut off" in check_meta_loss(cut).message
