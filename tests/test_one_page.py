"""`examples/one_page.py` is the package's rule, inner loop, meta-objective and meta-step, within 1e-10 in float64."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch
from torch import Tensor

from metarules import LocalRule, load_rule, ridge_cosine_loss, unroll
from metarules.base_model import BaseModelState, LayerState, forward
from metarules.meta_objective import one_hot

sys.path.append(str(Path(__file__).parents[1] / "examples"))
import one_page

DOUBLE = torch.float64


def shaken() -> LocalRule:
    rule = LocalRule(dtype=DOUBLE)
    g = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for p in rule.parameters():
            p.add_(0.2 * torch.randn(p.shape, generator=g, dtype=DOUBLE))
    return rule


RULES = {"start": lambda: LocalRule(dtype=DOUBLE), "shaken": shaken, "shipped": lambda: load_rule("local").to(DOUBLE)}


@pytest.fixture(params=list(RULES))
def rule(request: pytest.FixtureRequest) -> LocalRule:
    return RULES[request.param]()


def as_theta(rule: LocalRule) -> one_page.Theta:
    return {name: p.detach().clone().requires_grad_() for name, p in rule.named_parameters()}


def data() -> tuple[one_page.Phi, BaseModelState, Tensor, Tensor, Tensor]:
    torch.manual_seed(3)
    phi = [(W.double(), b.double(), V.double()) for W, b, V in one_page.new_phi([11, 9, 7, 8], 0.3)]
    state = BaseModelState(tuple(LayerState(*layer) for layer in phi))
    batches, x = torch.rand(3, 20, 11, dtype=DOUBLE), torch.rand(24, 11, dtype=DOUBLE)
    batches[..., 0] = 0.5  # a pixel that never changes
    return phi, state, batches, x, torch.arange(24) % 4


def assert_same(ours: one_page.Phi, theirs: BaseModelState) -> None:
    for layer, wanted in zip(ours, theirs.layers, strict=True):
        for t, expected in zip(layer, (wanted.W, wanted.b, wanted.V), strict=True):
            torch.testing.assert_close(t, expected, rtol=1e-10, atol=1e-10)


def test_a_new_theta_is_the_packages():
    theta = one_page.new_theta(torch.Generator().manual_seed(4))
    rule = LocalRule(generator=torch.Generator().manual_seed(4))
    wanted = dict(rule.named_parameters())
    assert set(theta) == set(wanted)
    for name, value in theta.items():
        torch.testing.assert_close(value, wanted[name], rtol=0, atol=1e-7)


def test_one_step_and_several(rule: LocalRule):
    phi, state, batches, _, _ = data()
    theta = as_theta(rule)
    assert_same(one_page.step(theta, phi, batches[0]), rule(state, batches[0]))
    assert_same(one_page.learn(theta, phi, batches), unroll(rule, state, batches, keep_graph=True))


def test_the_meta_objective_its_gradient_and_a_meta_step(rule: LocalRule):
    phi, state, batches, x, labels = data()
    after = unroll(rule, state, batches, keep_graph=True)
    f_a, f_b = forward(after, x).features.chunk(2)
    y_a, y_b = one_hot(labels, 4, DOUBLE).chunk(2)
    wanted = ridge_cosine_loss(f_a, y_a, f_b, y_b)
    theta = as_theta(rule)
    loss = one_page.meta_objective(one_page.learn(theta, phi, batches), x, labels)
    torch.testing.assert_close(loss, wanted, rtol=1e-10, atol=1e-10)
    expected = torch.autograd.grad(wanted, list(rule.parameters()))
    for p, g in zip(rule.parameters(), expected, strict=True):
        p.grad = g
    for name, g in zip(dict(rule.named_parameters()), torch.autograd.grad(loss, list(theta.values())), strict=True):
        torch.testing.assert_close(g, expected[list(theta).index(name)], rtol=1e-10, atol=1e-10)
    torch.nn.utils.clip_grad_norm_(rule.parameters(), 0.1)
    how = {"lr": 1e-3, "eps": 1e-4}  # at Adam's own 1e-8 the sign of a gradient of rounding errors would count
    torch.optim.AdamW(rule.parameters(), **how).step()
    one_page.meta_step(theta, torch.optim.AdamW(theta.values(), **how), phi, batches, x, labels)
    for name, p in rule.named_parameters():
        torch.testing.assert_close(theta[name], p, rtol=1e-10, atol=1e-10)


def test_it_prints_what_it_promises(capsys: pytest.CaptureFixture[str]):
    one_page.main()
    before, after, losses = capsys.readouterr().out.strip().splitlines()
    assert float(before.split()[-1]) < 0.7 and float(after.split()[-1]) > 0.88
    first, *_, last = (float(word) for word in losses.split(":")[1].split())
    assert last < first
