"""`LocalRule`: symmetries, switches, start, gradients, errors."""

from __future__ import annotations

import copy
import pickle

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from metarules.base_model import NONLINEARITIES, BaseModelState, LayerState, init_state
from metarules.meta_objective import one_hot, ridge_cosine_loss
from metarules.update_rule import LOCAL_INPUTS, LOCAL_TERMS, Batch, LocalRule, LocalRuleSettings

SMALL = {"channels": 6, "signals": 3, "readouts": 2}


def shaken(**options) -> LocalRule:
    """A rule whose theta is all random, as after training: gates and bias read-outs start at zero otherwise."""
    rule = LocalRule(LocalRuleSettings(**{**SMALL, **options}), dtype=torch.float64)
    g = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for p in rule.parameters():
            p.add_(0.2 * torch.randn(p.shape, generator=g, dtype=p.dtype))
    return rule


def state(sizes=(7, 6, 5, 4), tasks=(), **options) -> BaseModelState:
    return init_state(
        sizes, tasks=tasks, generator=torch.Generator().manual_seed(1), dtype=torch.float64, **options
    ).map(lambda t: t * 30)


def inputs(*shape: int, seed: int = 2) -> torch.Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def assert_same(a: BaseModelState, b: BaseModelState, tolerance: float = 1e-11) -> None:
    for (name, ours), (_, theirs) in zip(a.tensors(), b.tensors(), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=tolerance, atol=tolerance, msg=lambda m, n=name: f"{n}: {m}")


def permuted(phi: BaseModelState, orders: list[torch.Tensor]) -> BaseModelState:
    """Reorder the units of every layer (orders[0] is the input's), W, b and V alike."""
    layers = [
        LayerState(p.W[below][:, above], p.b[above], p.V[below][:, above])
        for p, below, above in zip(phi.layers, orders[:-1], orders[1:], strict=True)
    ]
    return phi.with_layers(layers)


def orders(sizes, seed: int) -> list[torch.Tensor]:
    g = torch.Generator().manual_seed(seed)
    return [torch.randperm(n, generator=g) for n in sizes]


@given(st.lists(st.integers(2, 6), min_size=2, max_size=4), st.integers(0, 99))
@settings(max_examples=25)
def test_permuting_inputs_and_units_permutes_the_step(sizes: list[int], seed: int):
    rule, phi, x = shaken(), state(sizes), inputs(8, sizes[0])
    order = orders(sizes, seed)
    assert_same(rule(permuted(phi, order), x[:, order[0]]), permuted(rule(phi, x), order))


@given(st.integers(2, 12), st.integers(0, 99))
@settings(max_examples=25)
def test_the_order_of_examples_does_not_matter(batch: int, seed: int):
    rule, phi, x = shaken(), state(), inputs(batch, 7)
    (order,) = orders([batch], seed)
    assert_same(rule(phi, x[order]), rule(phi, x))


@pytest.mark.parametrize("tasks", [(8,), (2, 3)])
def test_many_tasks_are_single_runs(tasks):
    rule, phi, x = shaken(), state(tasks=tasks), inputs(*tasks, 9, 7)
    together = rule(phi, x)
    for index in np.ndindex(*tasks):
        assert_same(together.task(*index), rule(phi.task(*index), x[index]))


def test_v_approaches_w_by_exactly_one_minus_lr_a_step():
    rule, phi = shaken(), state()
    lr = rule.lr
    for t in range(3):
        after = rule(phi, inputs(9, 7, seed=t))
        for old, new in zip(phi.layers, after.layers, strict=True):
            torch.testing.assert_close(new.W - new.V, (1 - lr) * (old.W - old.V), rtol=1e-12, atol=1e-14)
        phi = after


@pytest.mark.parametrize("kind", ["separate", "fixed", "tied"])
def test_other_ways_to_treat_v(kind: str):
    rule, phi, x = shaken(backward_update=kind), state(), inputs(9, 7)
    after = rule(phi, x)
    for old, new in zip(phi.layers, after.layers, strict=True):
        if kind == "fixed":
            assert torch.equal(new.V, old.V)
        elif kind == "tied":
            assert torch.equal(new.V, new.W)
            other = phi.with_layers([LayerState(p.W, p.b, p.V + 1) for p in phi.layers])
            assert_same(rule(other, x), after, 0)  # the old V plays no part
        else:
            shared = (1 - rule.lr) * (old.W - old.V)
            assert (new.W - new.V - shared).abs().max() > 1e-4
    assert (len(list(rule.parameters())) > len(list(shaken().parameters()))) == (kind == "separate")


def test_step_size_stays_within_a_factor_e():
    rule = LocalRule()
    for value in (-50.0, 0.0, 50.0):
        with torch.no_grad():
            rule.log_lr.fill_(value)
        assert 0.03 / np.e * 0.999 <= float(rule.lr.detach()) <= 0.03 * np.e * 1.001


def test_a_change_is_bounded():
    rule = shaken(hebb=100.0, decorr=-70.0)
    trace = rule.trace(state(), inputs(9, 7))
    for change in trace.change_W.values():
        assert (change.square().mean(-2).sqrt() < 2.0 + 1e-9).all()
    for change in trace.change_b.values():
        assert torch.isfinite(change).all()


def test_the_start_is_hebb_and_decorrelation():
    rule = LocalRule(LocalRuleSettings(learned=0.0, soft=0.0, bias=0.0), dtype=torch.float64)
    trace = rule.trace(state(), inputs(50, 7))
    for l, terms in trace.terms.items():

        def n(t):
            return t / torch.sqrt(1e-3 + t.square().mean(0))

        c = 0.8 * n(terms["hebb"]) + 0.9 * n(terms["decorr_x"])
        torch.testing.assert_close(trace.change_W[l], c / torch.sqrt(1 + c.square().mean(0) / 4))


def test_trace_and_step_agree_and_have_the_stated_shapes():
    rule, phi, x = shaken(), state(tasks=(2,)), inputs(2, 9, 7)
    trace = rule.trace(phi, x)
    assert_same(trace.next_state, rule(phi, x), 1e-13)  # a trace takes the plain path
    for l, (p, q) in enumerate(zip(phi.layers, trace.next_state.layers, strict=True), start=1):
        torch.testing.assert_close(q.W, (1 - rule.lr) * p.W + rule.lr * trace.delta_W[l], rtol=1e-12, atol=1e-14)
        torch.testing.assert_close(q.b, (1 - rule.lr) * p.b + rule.lr * trace.delta_b[l], rtol=1e-12, atol=1e-14)
    assert set(trace.h) == set(trace.d) == set(trace.delta) == set(trace.z) == set(trace.x) == {0, 1, 2, 3}
    assert set(trace.terms) == set(trace.change_W) == set(trace.change_b) == {1, 2, 3}
    assert (
        trace.h[1].shape == (2, 9, 6, 6) and trace.d[3].shape == (2, 9, 4, 3) and trace.delta[0].shape == (2, 9, 7, 3)
    )
    assert list(trace.terms[1]) == list(LOCAL_TERMS)
    assert all(t.shape == (2, 7, 6) for t in trace.terms[1].values()) and trace.change_b[2].shape == (2, 5)


@pytest.mark.parametrize("term", LOCAL_TERMS)
def test_a_term_can_be_switched_off(term: str):
    rule, phi, x = shaken(), state(), inputs(9, 7)
    off = rule.with_scales(terms={term: 0.0})
    with torch.no_grad():
        expected = shaken()
        expected.forward_readout.coefficients[LOCAL_TERMS.index(term)] = 0
    assert_same(off(phi, x), expected(phi, x))
    assert (off(phi, x).layers[1].W - rule(phi, x).layers[1].W).abs().max() > 1e-9


@pytest.mark.parametrize("name", LOCAL_INPUTS)
def test_an_input_can_be_switched_off(name: str):
    rule, phi, x = shaken(), state(), inputs(9, 7)
    off = rule.with_scales(inputs={name: 0.0})
    trace, plain = off.trace(phi, x), rule.trace(phi, x)
    assert any((trace.h[l] - plain.h[l]).abs().max() > 1e-9 for l in trace.h)
    for (_, a), (_, b) in zip(off.named_parameters(), rule.named_parameters(), strict=True):
        assert a is b


def test_with_scales_leaves_the_original_alone_and_adds_up():
    rule, phi, x = shaken(), state(), inputs(9, 7)
    before = rule(phi, x)
    twice = rule.with_scales(terms={"hebb": 0.5}).with_scales(terms={"soft": 0.0}, inputs={"x": 2.0})
    assert dict(twice.settings.term_scales) == {"hebb": 0.5, "soft": 0.0}
    assert dict(twice.settings.input_scales) == {"x": 2.0}
    assert_same(rule(phi, x), before, 0)


@pytest.mark.parametrize("switch", ["decorrelation", "layer_stats", "softmax"])
def test_lateral_signals_are_removable(switch: str):
    on, off = shaken(), shaken(**{switch: False})
    phi, x = state(), inputs(9, 7)
    assert (on(phi, x).layers[2].W - off(phi, x).layers[2].W).abs().max() > 1e-9


def test_without_lateral_signals_h_of_a_neuron_ignores_its_neighbours():
    rule = shaken(layer_stats=False, softmax=False).with_scales(inputs={"weight_stats": 0.0, "delta": 0.0})
    phi, x = state((7, 6)), inputs(9, 7)
    other = phi.layers[0].W.clone()
    other[:, 1:] += 1  # neuron 0 keeps its weights, all others change
    changed = phi.with_layers([LayerState(other, phi.layers[0].b, phi.layers[0].V)])
    a, b = rule.trace(phi, x).h[1], rule.trace(changed, x).h[1]
    torch.testing.assert_close(a[:, 0], b[:, 0])
    assert (a[:, 1] - b[:, 1]).abs().max() > 1e-6


@pytest.mark.parametrize("name", NONLINEARITIES)
def test_every_nonlinearity_depth_and_top_width_works(name: str):
    rule = shaken()
    for sizes in ((3, 2), (4, 9), (5, 4, 3, 2, 6, 8)):
        after = rule(state(sizes, nonlinearity=name), inputs(6, sizes[0]))
        assert all(torch.isfinite(t).all() for _, t in after.tensors())


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("value", [0.0, 1.0, 1e4])
def test_constant_inputs_and_tiny_batches_give_finite_steps_and_meta_gradients(dtype, value: float):
    rule = LocalRule(LocalRuleSettings(**SMALL), dtype=dtype)
    phi = init_state((4, 3, 2), dtype=dtype)
    x = torch.full((2, 4), value, dtype=dtype)
    y = one_hot(torch.tensor([0, 1]), 2, dtype)
    for _ in range(3):
        phi = rule(phi, x)
    features = phi.layers[-1].W[:2]
    loss = ridge_cosine_loss(features, y, features, y)
    grads = torch.autograd.grad(loss, list(rule.parameters()), allow_unused=True)
    assert torch.isfinite(loss)
    assert all(torch.isfinite(g).all() for g in grads if g is not None)


def test_meta_gradient_equals_finite_differences():
    rule, phi, x = shaken(), state((4, 3, 3)), inputs(6, 4)

    def loss() -> torch.Tensor:
        after = rule(rule(phi, x), x.flip(1))
        return sum((p.W * p.V).sin().sum() + p.b.sum() for p in after.layers)

    names = (
        "network.from_example",
        "forward_readout.coefficients",
        "top.from_hidden",
        "log_lr",
        "forward_readout.upper",
    )
    theta = dict(rule.named_parameters())
    grads = torch.autograd.grad(loss(), [theta[n] for n in names])
    for name, grad in zip(names, grads, strict=True):
        flat, at = theta[name].data.view(-1), int(grad.abs().argmax())
        kept, eps = float(flat[at]), 1e-8  # small steps: the rule is full of ReLU kinks
        values = []
        for sign in (1, -1):
            flat[at] = kept + sign * eps
            values.append(float(loss().detach()))
        flat[at] = kept
        assert (values[0] - values[1]) / (2 * eps) == pytest.approx(float(grad.view(-1)[at]), rel=1e-4), name


def test_works_under_functional_call():
    rule, phi, x = shaken(), state(), inputs(9, 7)
    other = {n: p.detach() * 1.1 for n, p in rule.named_parameters()}
    moved = torch.func.functional_call(rule, other, (phi, Batch(x)))
    assert (moved.layers[0].W - rule(phi, x).layers[0].W).abs().max() > 1e-6


def test_rule_and_settings_can_be_copied_pickled_and_hashed():
    rule = shaken(term_scales={"hebb": 0.5})
    for twin in (copy.deepcopy(rule), pickle.loads(pickle.dumps(rule))):
        assert_same(twin(state(), inputs(9, 7)), rule(state(), inputs(9, 7)), 0)
        assert twin.settings == rule.settings and hash(twin.settings) == hash(rule.settings)


GOOD = inputs(9, 7)


@pytest.mark.parametrize(
    ("x", "error", "message"),
    [
        (GOOD[:, :5], ValueError, r"x has shape \[9, 5\]; allowed: a last dimension of 7"),
        (GOOD.float(), ValueError, r"x has dtype torch\.float32; allowed: torch\.float64"),
        (GOOD.long(), TypeError, r"x has dtype torch\.int64"),
        (GOOD[:1], ValueError, "holds 1 example"),
        (GOOD[:0], ValueError, "holds no numbers"),
        (GOOD * torch.nan, ValueError, "63 NaN or infinite"),
        (GOOD.expand(3, 9, 7), ValueError, r"x has shape \[3, 9, 7\]"),
        (GOOD.to("meta"), (TypeError, ValueError), "on (device )?meta"),
    ],
)
def test_calling_and_tracing_refuse(x, error, message: str):
    for call in (shaken(), shaken().trace):
        with pytest.raises(error, match=message):
            call(state(), x)


def test_theta_and_phi_must_share_a_dtype():
    with pytest.raises(ValueError, match=r"float64.*allowed.*float32|float32.*float64"):
        LocalRule()(state(), GOOD)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"channels": 0}, ValueError, "channels is 0; allowed: a whole number"),
        ({"lr": 0.0}, ValueError, "lr is 0.0"),
        ({"temperature": -1.0}, ValueError, "temperature is -1.0"),
        ({"hebb": float("nan")}, ValueError, "hebb is nan"),
        ({"backward_update": "shared"}, ValueError, "backward_update is 'shared'; allowed: fixed, identical"),
        ({"term_scales": {"heb": 1.0}}, ValueError, "term_scales names 'heb'; allowed: 0_order"),
        ({"input_scales": {"y": 1.0}}, ValueError, "input_scales names 'y'"),
        ({"term_scales": {"hebb": float("inf")}}, ValueError, "term_scales.*hebb.* is inf"),
        ({"terms": ("hebb", "heb")}, ValueError, "terms names 'heb'; allowed: 0_order, 1_order"),
        ({"terms": ("hebb", "soft", "hebb")}, ValueError, "terms is .*; allowed: one name at least, none twice"),
        ({"terms": ()}, ValueError, "none twice"),
        ({"terms": ("soft",), "term_scales": {"hebb": 1.0}}, ValueError, "term_scales names 'hebb'; allowed: soft"),
    ],
)
def test_settings_refuse(options, error, message: str):
    with pytest.raises(error, match=message):
        LocalRuleSettings(**options)


def test_unknown_scales_are_refused():
    with pytest.raises(ValueError, match="term_scales names 'rb'"):
        shaken().with_scales(terms={"rb": 0.0})
