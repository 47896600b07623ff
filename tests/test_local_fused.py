"""The fast parts of `LocalRule` against its plain equations: values, gradients, memory."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from metarules.base_model import BaseModelState, init_state
from metarules.update_rule import Batch, LocalRule, LocalRuleSettings
from metarules.update_rule.local import fused
from metarules.update_rule.local import rule as local_rule
from metarules.update_rule.local.fused import low_rank_products, read_neurons
from metarules.update_rule.local.layout import Layout
from metarules.update_rule.local.networks import UpdateNetwork, dense
from metarules.update_rule.local.readout import WeightReadout, plain_products
from metarules.update_rule.terms import READOUTS, Readout

DOUBLE = torch.float64


def noise(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=DOUBLE)


def shaken(**options: Any) -> LocalRule:
    """A rule all of whose theta is random and matters."""
    rule = LocalRule(LocalRuleSettings(**{"channels": 6, "signals": 3, **options}), dtype=DOUBLE)
    with torch.no_grad():
        for i, p in enumerate(rule.parameters()):
            p.add_(0.2 * noise(*p.shape, seed=i))
    return rule


def state(sizes: tuple[int, ...], tasks: tuple[int, ...]) -> BaseModelState:
    phi = init_state(sizes, tasks=tasks, generator=torch.Generator().manual_seed(1), dtype=DOUBLE)
    return phi.map(lambda t: (30 * t).requires_grad_())


def loss_of(phi: BaseModelState) -> torch.Tensor:
    return sum((t * noise(*t.shape, seed=i)).sum() for i, (_, t) in enumerate(phi.tensors()))  # type: ignore[return-value]


def gradients(rule: LocalRule, phi: BaseModelState, x: torch.Tensor, plain: bool) -> list[torch.Tensor]:
    """Of two inner steps with respect to theta, phi and x."""
    after = phi
    for _ in range(2):
        after = (rule.plain() if plain else rule)(after, x)
    wanted = [*rule.parameters(), *(t for _, t in phi.tensors()), x]
    found = torch.autograd.grad(loss_of(after), wanted, allow_unused=True, materialize_grads=True)
    return list(found)


@settings(max_examples=25)
@given(
    sizes=st.lists(st.integers(2, 6), min_size=2, max_size=4),
    tasks=st.sampled_from([(), (1,), (3,), (2, 2)]),
    batch=st.integers(2, 9),
    readouts=st.integers(1, 3),
    backward=st.sampled_from(["identical", "separate", "fixed", "tied"]),
    block=st.sampled_from([1, 13, 12_800]),
)
def test_gradients_are_those_of_the_plain_path(sizes, tasks, batch, readouts, backward, block):
    rule = shaken(readouts=readouts, backward_update=backward)
    phi, x = state(tuple(sizes), tasks), noise(*tasks, batch, sizes[0], seed=3).requires_grad_()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fused, "_BLOCK", block)
        fast = gradients(rule, phi, x, plain=False)
    for ours, plain in zip(fast, gradients(rule, phi, x, plain=True), strict=True):
        torch.testing.assert_close(ours, plain, rtol=1e-9, atol=1e-9 * float(plain.abs().max()) + 1e-12)


def network() -> UpdateNetwork:
    made = UpdateNetwork(5, 2, 4, torch.Generator().manual_seed(0), DOUBLE)
    with torch.no_grad():
        made.bias_2 += 0.1
    return made


@pytest.mark.parametrize("block", [1, 12_800])
def test_read_neurons_by_finite_differences(monkeypatch: pytest.MonkeyPatch, block: int):
    monkeypatch.setattr(fused, "_BLOCK", block)
    net = network()
    inputs = [noise(*shape, seed=i).requires_grad_() for i, shape in enumerate([(3, 2, 4, 5), (2, 2, 4, 5), (4, 2, 4)])]
    heads = [(noise(4, 3, seed=7).requires_grad_(), noise(3, seed=8).requires_grad_())]

    def function(example, d, neuron, weight, bias, *theta):
        mean, read = read_neurons(example, d, neuron, net, [(weight, bias)])
        return (mean, *read)

    assert torch.autograd.gradcheck(function, (*inputs, *heads[0], *net.parameters()))


def test_read_neurons_is_the_network_and_its_readouts():
    net, example, d, neuron = network(), noise(3, 2, 4, 5), noise(2, 2, 4, 5, seed=1), noise(4, 2, 4, seed=2)
    weights = [noise(4, k, seed=k) for k in (1, 6)]
    mean, read = read_neurons(example, d, neuron, net, [(weights[0], None), (weights[1], torch.ones(6, dtype=DOUBLE))])
    h = net(torch.cat([example, d]), neuron)
    torch.testing.assert_close(mean, h.mean(-1), rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(read[0], dense(weights[0], h), rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(read[1], dense(weights[1], h) + 1, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(
    "options", [{}, {"backward_update": "separate"}, {"terms": ("rbf", "hebb", "slow"), "memory": 20}]
)
def test_one_term_at_a_time_gives_the_same_step(options: dict[str, Any], monkeypatch: pytest.MonkeyPatch):
    rule, x = shaken(**options), noise(9, 7)
    phi = rule.init_extra(state((7, 6, 5, 4), (3,)))
    with torch.no_grad():
        all_at_once = rule(phi, x)
        monkeypatch.setattr(local_rule, "LARGE", 0)
        monkeypatch.setattr(WeightReadout, "mix", lambda *_: pytest.fail("all at once"))
        for (_, a), (_, b) in zip(rule(phi, x).tensors(), all_at_once.tensors(), strict=True):
            torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-12)


MORE = {"a": Readout("upper", "lower"), "b": Readout("lower", "lower", shared=True), "c": Readout("lower", "upper")}


@pytest.mark.parametrize("tasks", [(), (3,)])
@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize("readouts", [READOUTS, READOUTS | MORE, MORE, {"rbf": READOUTS["rbf"]}, {}])
def test_low_rank_products_are_those_of_the_terms(tasks: tuple[int, ...], channels: int, readouts: dict[str, Readout]):
    layout = Layout.of(readouts)
    upper = noise(len(layout.columns["upper"]) * channels, *tasks, 4, 6).requires_grad_()
    lower = noise(len(layout.columns["lower"]) * channels, *tasks, 5, 6, seed=1).requires_grad_()
    fast, plain = (products(upper, lower, channels, layout) for products in (low_rank_products, plain_products))
    assert set(fast) == set(plain) == set(readouts)
    if not readouts:
        return
    for name, R in plain.items():
        torch.testing.assert_close(fast[name], R, rtol=1e-12, atol=1e-12)

    def total(made: dict[str, torch.Tensor]) -> torch.Tensor:
        return sum((R * noise(*R.shape, seed=len(name))).sum() for name, R in made.items())  # type: ignore[return-value]

    used = {"allow_unused": True, "materialize_grads": True}
    for a, b in zip(*(torch.autograd.grad(total(made), (upper, lower), **used) for made in (fast, plain)), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-12)


def test_the_layout_of_the_papers_terms_is_that_of_stored_rules():
    layout = Layout.of({**MORE, **dict(sorted(READOUTS.items()))})
    names = " ".join(f"{name}.{end}" for name, end in layout.columns["upper"])
    assert names == (
        "0_order.top 1_order.top rbf.top lin_upper_symm.top lin_upper_psd.top sqr_upper_symm.top "
        "lin_upper_symm.bottom sqr_upper_symm.bottom a.top c.bottom"
    )
    names = " ".join(f"{name}.{end}" for name, end in layout.columns["lower"])
    assert names == (
        "0_order.bottom 1_order.bottom rbf.bottom lin_lower_symm.bottom sqr_lower_symm.bottom lin_lower_symm.top "
        "sqr_lower_symm.top a.bottom b.top c.top"
    )
    assert layout.groups[:2] == (("0_order", "1_order", "rbf"), ("lin_upper_symm",))


def test_a_second_derivative_needs_the_plain_path():
    rule, phi, x = shaken(), state((4, 3), ()), noise(6, 4)
    W = phi.layers[0].W
    (g,) = torch.autograd.grad(loss_of(rule(phi, x)), W, create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        g.sum().backward()
    (g,) = torch.autograd.grad(loss_of(rule.plain()(phi, x)), W, create_graph=True)
    g.sum().backward()
    assert W.grad is not None and torch.isfinite(W.grad).all()


def test_works_with_torch_func():
    rule, x = shaken(), noise(6, 4)
    phi = state((4, 3), ()).detach()
    theta = {name: p.detach() for name, p in rule.named_parameters()}

    def loss(theta: dict[str, torch.Tensor]) -> torch.Tensor:
        return loss_of(torch.func.functional_call(rule, theta, (phi, x)))

    found = torch.func.grad(loss)(theta)
    expected = torch.autograd.grad(loss_of(rule(phi, x)), list(rule.parameters()))
    for name, g in zip(theta, expected, strict=True):
        torch.testing.assert_close(found[name], g, rtol=1e-10, atol=1e-12)


def test_a_step_keeps_little_for_its_gradient():
    """What the graph of one step holds: counted, so the same on every machine."""
    rule = LocalRule()
    phi = init_state((64, 32, 32, 32), tasks=(4,), generator=torch.Generator().manual_seed(0))
    x = torch.rand(4, 200, 64, generator=torch.Generator().manual_seed(1))
    bytes_of = {}
    for name, step in (("fast", rule.step), ("plain", rule.plain().step)):
        kept: dict[int, int] = {}

        def count(t: torch.Tensor, kept: dict[int, int] = kept) -> torch.Tensor:
            kept[t.untyped_storage().data_ptr()] = t.untyped_storage().nbytes()
            return t

        with torch.autograd.graph.saved_tensors_hooks(count, lambda t: t):
            after = step(phi, Batch(x))
        assert after.layers[0].W.requires_grad
        bytes_of[name] = sum(kept.values()) / 4
    assert bytes_of["fast"] < 9e6 < 2 * bytes_of["fast"] < bytes_of["plain"], bytes_of
