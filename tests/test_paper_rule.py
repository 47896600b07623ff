"""`PaperRule`: identities, switches, errors, and what it is not (equivariant). Parity has its own file."""

from __future__ import annotations

import copy
import pickle
import re
from collections.abc import Callable
from typing import Any

import hypothesis.strategies as st
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from torch import Tensor

from metarules.base_model import BaseModelState, LayerState, init_state
from metarules.inner_loop import unroll
from metarules.update_rule import PAPER_INPUTS, TERMS, Batch, PaperRule, PaperRuleSettings
from metarules.update_rule.paper.networks import BatchNorm, Conv, weight_stats
from metarules.update_rule.terms import column_normalised, lowrank, standardise, symmetric

SIZES = (6, 7, 5, 4)
SMALL = PaperRuleSettings(channels=5, signals=3, readouts=2, top_channels=6, top_units=SIZES[-1], lr=0.05)


def random_rule(rule_settings: PaperRuleSettings = SMALL, seed: int = 0) -> PaperRule:
    """A rule all of whose parameters are away from zero, in float64."""
    g = torch.Generator().manual_seed(seed)
    rule = PaperRule(rule_settings, generator=g, dtype=torch.float64)
    with torch.no_grad():
        for parameter in rule.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=g, dtype=torch.float64), alpha=0.2)
    return rule


def start(*tasks: int, sizes: tuple[int, ...] = SIZES, seed: int = 1, **options: Any) -> BaseModelState:
    g = torch.Generator().manual_seed(seed)
    phi = init_state(sizes, tasks=tasks, generator=g, dtype=torch.float64, **options)
    return phi.map(lambda t: t * 10)  # weights of 0.1: far enough from zero for every term to matter


def data(*shape: int, seed: int = 2) -> Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def assert_same(a: BaseModelState, b: BaseModelState, tolerance: float = 1e-12) -> None:
    for (name, first), (_, second) in zip(a.tensors(), b.tensors(), strict=True):
        torch.testing.assert_close(first, second, rtol=tolerance, atol=tolerance, msg=lambda m, n=name: f"{n}: {m}")


def differs(a: BaseModelState, b: BaseModelState, least: float = 1e-6) -> bool:
    return any(
        float((p - q).detach().abs().max()) > least for (_, p), (_, q) in zip(a.tensors(), b.tensors(), strict=True)
    )


# --- theta ---------------------------------------------------------------------------------------------------------


def test_fresh_theta_has_the_papers_size_and_spread():
    rule = PaperRule(generator=torch.Generator().manual_seed(3))
    assert sum(p.numel() for p in rule.parameters()) == 114_670
    for module in rule.modules():
        if isinstance(module, Conv):
            kernel, c_in, _ = module.weight.shape
            sigma = (kernel * c_in) ** -0.5
            assert float(module.weight.detach().abs().max()) <= 2 * sigma * 1.0001
            spread = float(module.weight.detach().std()) / sigma
            assert 0.6 < spread < 1.1 if module.weight.numel() < 1000 else 0.85 < spread < 0.91
    for name, parameter in rule.named_parameters():
        if name.endswith((".bias", ".beta", ".offset")):
            assert not parameter.any(), name
    assert torch.equal(rule.forward_readout.coefficients, torch.full((12,), 0.1))


def test_fresh_theta_comes_from_the_generator_alone():
    def draw(generator: torch.Generator | None) -> Tensor:
        return PaperRule(SMALL, generator=generator).network.convs[0].conv.weight

    assert torch.equal(draw(torch.Generator().manual_seed(1)), draw(torch.Generator().manual_seed(1)))
    assert not torch.equal(draw(torch.Generator().manual_seed(1)), draw(torch.Generator().manual_seed(2)))
    torch.manual_seed(0)
    first = draw(None)
    torch.manual_seed(1)
    assert torch.equal(first, draw(None))


def test_a_rule_can_be_copied_pickled_saved_and_called_functionally():
    rule, phi, x = random_rule(), start(), data(5, 6)
    after = rule(phi, x)
    assert_same(after, copy.deepcopy(rule)(phi, x), 0)
    assert_same(after, pickle.loads(pickle.dumps(rule))(phi, x), 0)
    other = PaperRule(SMALL, dtype=torch.float64)
    other.load_state_dict(rule.state_dict())
    assert_same(after, other(phi, x), 0)
    theta = dict(rule.named_parameters())
    assert_same(after, torch.func.functional_call(PaperRule(SMALL, dtype=torch.float64), theta, (phi, x)), 0)


def test_many_thetas_at_once_by_vmap():
    """What evolution strategies need: a stack of perturbed rules in one call."""
    rules = [random_rule(seed=seed) for seed in range(3)]
    phi, x = start(), data(5, 6)
    stacked, _ = torch.func.stack_module_state(rules)

    def top_weights(theta: dict[str, Tensor]) -> Tensor:
        return torch.func.functional_call(rules[0], theta, (phi, x), {}).layers[-1].W

    rules[0].check = lambda _, batch: Batch(batch)  # the checks look at values, which vmap forbids
    together = torch.func.vmap(top_weights)(stacked)
    del rules[0].check
    for rule, W in zip(rules, together, strict=True):
        torch.testing.assert_close(rule(phi, x).layers[-1].W, W, rtol=1e-12, atol=1e-12)


# --- TensorFlow's names --------------------------------------------------------------------------------------------

sizes_of_rules = st.fixed_dictionaries(
    {
        "channels": st.integers(1, 6),
        "signals": st.integers(1, 5),
        "readouts": st.integers(1, 4),
        "top_channels": st.integers(1, 6),
        "top_units": st.integers(1, 6),
        "top_layers": st.integers(0, 3),
        "hidden_layers": st.integers(0, 3),
        "kernel": st.sampled_from([1, 3, 5]),
        "top_kernel": st.sampled_from([1, 3, 7]),
        "backward_update": st.sampled_from(["identical", "separate"]),
    }
)


@settings(max_examples=20)
@given(sizes_of_rules, st.sampled_from([torch.float32, torch.float64]), st.booleans())
def test_round_trip_through_tensorflows_names_is_exact(sizes: dict[str, Any], dtype: torch.dtype, as_arrays: bool):
    rule = PaperRule(PaperRuleSettings(**sizes), dtype=dtype)
    variables: dict[str, Any] = rule.to_tf_variables()
    assert len(variables) == len(list(rule.parameters()))
    if as_arrays:
        variables = {f"{name}:0": value.numpy() for name, value in variables.items()}
    again = PaperRule.from_tf_variables(variables)
    assert again.settings == rule.settings
    for (name, a), (other, b) in zip(rule.named_parameters(), again.named_parameters(), strict=True):
        assert name == other and a.dtype == b.dtype == dtype and torch.equal(a, b)


def test_layouts_and_backward_names():
    variables = random_rule(PaperRuleSettings(channels=5, backward_update="separate")).to_tf_variables()
    root = "MoreLocalWeightUpdateProcess"
    shapes = {name.removeprefix(f"{root}/"): tuple(value.shape) for name, value in variables.items()}
    assert shapes["batch_norm/beta"] == (1, 1, 36)
    assert shapes["forward_weight_readout_coeffs/w"] == shapes["backward_weight_readout_coeffs/w"] == (12, 1)
    assert shapes["backwardlin_upper_psd_top/linear/w"] == (5, 4)
    assert "backwardlin_upper_psd_bottom/linear/w" not in shapes
    assert shapes["conv_1d/w"] == (3, 45, 5) and shapes["compute_top_delta/conv_1d/w"] == (5, 1, 64)


def test_gradients_and_parts_go_back_too():
    rule = random_rule()
    parameters = dict(rule.named_parameters())
    loss = rule(start(), data(5, 6)).layers[0].W.square().sum()
    found = torch.autograd.grad(loss, list(parameters.values()), allow_unused=True)
    gradients = dict(zip(parameters, found, strict=True))
    gone = rule.to_tf_variables(gradients)
    assert set(gone) == set(rule.to_tf_variables())
    assert gradients["bias_readout.weight"] is None
    assert not gone["MoreLocalWeightUpdateProcess/bias_readout/w"].any()
    torch.testing.assert_close(
        gone["MoreLocalWeightUpdateProcess/batch_norm/beta"].flatten(), gradients["network.norm.beta"]
    )
    part = rule.to_tf_variables({"forward_readout.coefficients": torch.arange(12.0)})
    assert list(part) == ["MoreLocalWeightUpdateProcess/forward_weight_readout_coeffs/w"]
    assert part.popitem()[1].flatten().tolist() == list(range(12))
    theta = rule.to_tf_variables()
    for value in theta.values():
        value.zero_()
    assert rule.network.convs[0].conv.weight.any()  # what was handed out is a copy


@pytest.mark.parametrize(
    ("values", "kind", "message"),
    [
        ({"hidden.nothing": torch.zeros(3)}, ValueError, r"values names 'hidden.nothing'; allowed: .*norm.beta"),
        (
            {"forward_readout.coefficients": torch.zeros(11)},
            ValueError,
            r"'forward_readout.coefficients'\] has shape \[11\]; allowed: \[12\]",
        ),
        (
            {"forward_readout.coefficients": 3.0},
            TypeError,
            r"values\['.*coefficients'\] must be a torch.Tensor, got float",
        ),
    ],
)
def test_to_tf_refuses(values: dict[str, Any], kind: type[Exception], message: str):
    with pytest.raises(kind, match=message):
        random_rule().to_tf_variables(values)


def _without(name: str) -> Callable[[dict[str, Any]], None]:
    return lambda v: v.__delitem__(f"MoreLocalWeightUpdateProcess/{name}")


def _with(name: str, value: Any) -> Callable[[dict[str, Any]], None]:
    return lambda v: v.update({f"MoreLocalWeightUpdateProcess/{name}": value})


@pytest.mark.parametrize(
    ("spoil", "kind", "message"),
    [
        (_without("bias_readout/b"), ValueError, r"missing: \S*/bias_readout/b \[1\]"),
        (_without("conv_1d/w"), ValueError, r"lacks, or .*Process/conv_1d/w.*; allowed: every variable"),
        (_without("compute_top_delta/conv_1d_5/w"), ValueError, r"missing: \S*/compute_top_delta/conv_1d_5/w"),
        (lambda v: v.clear(), ValueError, r"lacks, or .*compute_top_delta/conv_1d/w"),
        (_with("extra/w", np.zeros(3)), ValueError, r"unexpected: \S*Process/extra/w \[3\]"),
        (_with("linear/w", np.zeros(3)), ValueError, r"wrong number of dimensions, \S*Process/linear/w \[3\]"),
        (_with("bias_readout/w", np.zeros((5, 2))), ValueError, r"misshapen: \S*out/w is \[5, 2\], allowed: \[5, 1\]"),
        (_with("batch_norm/beta", np.zeros(7)), ValueError, r"misshapen: \S*norm/beta is \[7\], allowed: \[1, 1, 7\]"),
        (_with("linear/b", np.full(3, np.nan)), ValueError, r"mapping\['\S*linear/b'\] holds 3 NaN or infinite"),
        (_with("linear/b", np.zeros(3, np.float32)), ValueError, r"dtypes torch.float32, torch.float64; allowed: one"),
        (_with("linear/b", np.zeros(3, int)), TypeError, r"linear/b'\] has dtype int64; allowed: float32 or float64"),
        (_with("linear/b", torch.zeros(3).long()), TypeError, r"linear/b'\] has dtype torch.int64"),
        (_with("linear/b", "words"), TypeError, r"linear/b'\] has dtype <U5; allowed"),
    ],
)
def test_from_tf_refuses(spoil: Callable[[dict[str, Any]], None], kind: type[Exception], message: str):
    variables: dict[str, Any] = random_rule().to_tf_variables()
    spoil(variables)
    with pytest.raises(kind, match=message):
        PaperRule.from_tf_variables(variables)


def test_from_tf_lists_all_that_is_wrong_and_refuses_other_kinds():
    variables = random_rule().to_tf_variables()
    del variables["MoreLocalWeightUpdateProcess/bias_readout/b"], variables["MoreLocalWeightUpdateProcess/linear/b"]
    variables["Adam/slot"] = torch.zeros(2, dtype=torch.float64)
    with pytest.raises(ValueError, match=r"(?s)missing: .*bias_readout/b.*missing: .*linear/b.*unexpected: Adam/slot"):
        PaperRule.from_tf_variables(variables)
    with pytest.raises(TypeError):
        PaperRule.from_tf_variables([("a", np.zeros(3))])
    with pytest.raises(ValueError, match=r"unexpected: .*backward"):
        separate = random_rule(PaperRuleSettings(channels=5, backward_update="separate")).to_tf_variables()
        PaperRule.from_tf_variables(separate, backward_update="identical")


# --- tasks and unrolling -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["identical", "separate", "tied"])
@pytest.mark.parametrize("tasks", [(8,), (2, 4)])
def test_eight_tasks_equal_eight_single_runs(tasks: tuple[int, ...], mode: str):
    rule = random_rule(PaperRuleSettings(**{**vars(SMALL), "backward_update": mode}))
    phi, x = start(*tasks), data(*tasks, 5, 6)
    together = rule.trace(phi, x)
    for index in np.ndindex(*tasks):
        alone = rule.trace(phi.task(*index), x[index])
        assert_same(together.next_state.task(*index), alone.next_state)
        for name in ("h", "d", "delta", "change_W", "change_b"):
            for l, value in getattr(alone, name).items():
                torch.testing.assert_close(getattr(together, name)[l][index], value, rtol=1e-11, atol=1e-11)
    shared = rule(phi, x[(0,) * len(tasks)])
    assert_same(shared.task(*(1,) * len(tasks)), rule(phi.task(*(1,) * len(tasks)), x[(0,) * len(tasks)]))


def test_two_unrolls_of_five_equal_one_of_ten():
    rule, phi = random_rule(), start()
    batches = list(data(10, 5, 6))
    assert_same(unroll(rule, unroll(rule, phi, batches[:5]), batches[5:]), unroll(rule, phi, batches), 0)


def test_step_gives_what_trace_gives_and_builds_less():
    rule, phi, x = random_rule(), start(), data(5, 6)
    calls: list[int] = []
    rule = rule.plain()  # whose modules are called, so that hooks see them
    handle = rule.delta_readout.register_forward_hook(lambda *_: calls.append(1))
    after = rule(phi, x)
    in_step = len(calls)
    trace = rule.trace(phi, x)
    handle.remove()
    assert (in_step, len(calls) - in_step) == (phi.depth, phi.depth + 1)  # a step needs no delta^0
    assert_same(after, trace.next_state, 0)
    every, above = [0, 1, 2, 3], [1, 2, 3]
    for name in ("x", "z", "d", "h", "delta"):
        assert list(getattr(trace, name)) == every
    for name in ("terms", "change_W", "change_b"):
        assert list(getattr(trace, name)) == above
    assert list(trace.terms[1]) == list(TERMS)
    assert trace.next_state.nonlinearity == phi.nonlinearity


def test_labels_are_neither_needed_nor_read():
    rule, phi, x = random_rule(), start(), data(5, 6)
    assert not rule.needs_labels
    assert_same(rule(phi, Batch(x, torch.arange(5))), rule(phi, x), 0)


# --- what becomes of V ---------------------------------------------------------------------------------------------


def with_mode(mode: str, **other: Any) -> PaperRule:
    return random_rule(PaperRuleSettings(**{**vars(SMALL), "backward_update": mode, **other}))


@settings(max_examples=15)
@given(st.floats(1e-5, 0.9), st.integers(0, 1000))
def test_with_identical_updates_the_difference_of_W_and_V_only_shrinks(lr: float, seed: int):
    rule, phi = with_mode("identical", lr=lr), start(seed=seed)
    for x in data(3, 5, 6, seed=seed):
        after = rule(phi, x)
        for p, q in zip(phi.layers, after.layers, strict=True):
            torch.testing.assert_close(q.W - q.V, (1 - lr) * (p.W - p.V), rtol=1e-13, atol=1e-14)
        phi = after


def test_fixed_and_tied_backward_weights():
    phi, x = start(), data(5, 6)
    fixed = with_mode("fixed")(phi, x)
    assert all(torch.equal(p.V, q.V) for p, q in zip(phi.layers, fixed.layers, strict=True))
    identical = with_mode("identical")(phi, x)
    assert all(torch.equal(p.W, q.W) for p, q in zip(identical.layers, fixed.layers, strict=True))
    tied = with_mode("tied")(phi, x)
    assert all(torch.equal(p.W, p.V) for p in tied.layers)
    other_V = phi.with_layers([LayerState(p.W, p.b, torch.randn_like(p.V)) for p in phi.layers])
    assert_same(tied, with_mode("tied")(other_V, x), 0)
    same = phi.with_layers([LayerState(p.W, p.b, p.W) for p in phi.layers])
    assert_same(tied, with_mode("identical")(same, x), 1e-13)


def test_separate_updates_use_their_own_readouts_and_V():
    rule, phi, x = with_mode("separate"), start(), data(5, 6)
    trace = rule.trace(phi, x)
    lr = SMALL.lr
    for l, (p, q) in enumerate(zip(phi.layers, trace.next_state.layers, strict=True), start=1):
        local = (standardise(trace.x[l - 1]), standardise(trace.x[l]), trace.h[l - 1], trace.h[l])
        change = rule.backward_readout.mix(rule.backward_readout.terms(p.V, *local)).change
        torch.testing.assert_close(q.V, p.V * (1 - lr) - lr * change)
        assert not torch.allclose(change, trace.change_W[l])
    rule.backward_readout.load_state_dict(rule.forward_readout.state_dict())
    same = phi.with_layers([LayerState(p.W, p.b, p.W) for p in phi.layers])
    assert all(torch.equal(p.W, p.V) for p in rule(same, x).layers)
    grown = sum(p.numel() for p in rule.parameters()) - sum(p.numel() for p in with_mode("identical").parameters())
    assert grown == sum(p.numel() for p in rule.forward_readout.parameters())


# --- switches ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("term", TERMS)
@pytest.mark.parametrize("factor", [0.0, 0.5])
def test_a_term_scaled_is_its_mixing_coefficient_scaled(term: str, factor: float):
    rule, phi, x = random_rule(), start(), data(5, 6)
    with torch.no_grad():
        rule.forward_readout.coefficients[TERMS.index(term)] = -1  # a positive multiple of w_base would be taken out
    before = rule(phi, x)
    scaled = rule.with_scales(terms={term: factor})(phi, x)
    assert differs(scaled, before)
    assert_same(rule(phi, x), before, 0)  # the rule it came from is as it was
    with torch.no_grad():
        rule.forward_readout.coefficients[TERMS.index(term)] *= factor
    assert_same(scaled, rule(phi, x))


CHANNELS = {"weight_stats": slice(8), "bias": 8, "x": 9, "z": 10, "unit_id": slice(11, 13), "delta": slice(13, 16)}


@pytest.mark.parametrize("name", PAPER_INPUTS)
@pytest.mark.parametrize("factor", [0.0, 0.5])
def test_an_input_scaled_is_its_channels_scaled(name: str, factor: float):
    rule, phi, x = random_rule(), start(), data(5, 6)
    before = rule(phi, x)
    scaled = rule.with_scales(inputs={name: factor})(phi, x)
    assert differs(scaled, before)
    assert_same(rule(phi, x), before, 0)
    with torch.no_grad():
        rule.network.convs[0].conv.weight[:, CHANNELS[name]] *= factor
    assert_same(scaled, rule(phi, x))


def test_scales_add_up_share_theta_and_may_be_settings():
    rule, phi, x = random_rule(), start(), data(5, 6)
    both = rule.with_scales(terms={"hebb": 0}).with_scales(inputs={"z": 0.5}).with_scales(terms={"rbf": 2})
    assert both.settings.term_scales == {"hebb": 0, "rbf": 2} and both.settings.input_scales == {"z": 0.5}
    assert all(a is b for a, b in zip(rule.parameters(), both.parameters(), strict=True))
    chosen = PaperRuleSettings(**{**vars(SMALL), "term_scales": {"hebb": 0, "rbf": 2}, "input_scales": {"z": 0.5}})
    assert_same(both(phi, x), random_rule(chosen)(phi, x), 0)
    assert_same(rule.with_scales()(phi, x), rule(phi, x), 0)
    assert_same(both.with_scales({"hebb": 1, "rbf": 1}, {"z": 1})(phi, x), rule(phi, x), 0)


def test_scales_reach_the_backward_terms_too():
    phi, x = start(), data(5, 6)
    off = with_mode("separate").with_scales(terms=dict.fromkeys(TERMS, 0))
    with torch.no_grad():
        off.forward_readout.offset.zero_()
        off.backward_readout.offset.zero_()
    lr = SMALL.lr
    for p, q in zip(phi.layers, off(phi, x).layers, strict=True):
        for before, after in ((p.W, q.W), (p.V, q.V)):  # nothing but decay and the pull along w is left
            torch.testing.assert_close(after, before * (1 - lr) + lr / 7 * column_normalised(before))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"terms": {"hebbian": 0.0}}, r"term_scales names 'hebbian'; allowed: 0_order, .*w_base"),
        ({"inputs": {"y": 0.0}}, r"input_scales names 'y'; allowed: bias, .*z"),
        ({"terms": {"hebb": float("nan")}}, r"term_scales\['hebb'\] is nan; allowed: a number in"),
        ({"inputs": {"x": float("inf")}}, r"input_scales\['x'\] is inf"),
    ],
)
def test_unknown_or_unfit_scales_are_refused(arguments: dict[str, Any], message: str):
    with pytest.raises(ValueError, match=message):
        random_rule().with_scales(**arguments)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"channels": 0}, r"channels is 0; allowed: a whole number in \[1, 1024\]"),
        ({"hidden_layers": -1}, "hidden_layers is -1"),
        ({"kernel": 4}, "kernel is 4; allowed: odd"),
        ({"lr": float("nan")}, "lr is nan"),
        ({"lr": 2.0}, r"lr is 2.0; allowed: a number in \[0, 1\]"),
        ({"backward_update": "twin"}, "backward_update is 'twin'; allowed: fixed, identical, separate, tied"),
    ],
)
def test_settings_out_of_range_are_refused(changed: dict[str, Any], message: str):
    with pytest.raises(ValueError, match=message):
        PaperRuleSettings(**changed)


# --- what it is not ------------------------------------------------------------------------------------------------


def permuted(phi: BaseModelState, orders: list[Tensor]) -> BaseModelState:
    """The same base model with the units of every layer (and the inputs) in another order."""
    layers = []
    for l, p in enumerate(phi.layers):
        rows, columns = orders[l], orders[l + 1]
        layers.append(LayerState(p.W[rows][:, columns], p.b[columns], p.V[rows][:, columns]))
    return phi.with_layers(layers)


def test_the_released_rule_depends_on_the_order_of_examples_and_of_units():
    """It convolves over the batch and over the units, and every unit has an id."""
    rule, phi, x = random_rule(), start(), data(8, 6)
    g = torch.Generator().manual_seed(5)
    after = rule(phi, x)
    assert differs(rule(phi, x[torch.randperm(8, generator=g)]), after, 1e-4)
    orders = [torch.randperm(n, generator=g) for n in SIZES]
    turned = rule(permuted(phi, orders), x[:, orders[0]])
    assert differs(turned, permuted(after, orders), 1e-4)


def test_with_kernel_one_and_no_unit_id_only_the_top_signal_knows_the_order():
    """Take those oddities away and neurons and examples can be permuted freely, but for the top layer's units."""
    rule = random_rule(PaperRuleSettings(**{**vars(SMALL), "kernel": 1, "top_kernel": 1}))
    rule = rule.with_scales(inputs={"unit_id": 0})
    phi, x = start(), data(8, 6)
    g = torch.Generator().manual_seed(5)
    after = rule(phi, x)
    assert_same(rule(phi, x[torch.randperm(8, generator=g)]), after, 1e-9)
    orders = [torch.arange(n).roll(1) for n in SIZES]
    assert differs(rule(permuted(phi, orders), x[:, orders[0]]), permuted(after, orders), 1e-4)
    orders[-1] = torch.arange(SIZES[-1])
    assert_same(rule(permuted(phi, orders), x[:, orders[0]]), permuted(after, orders), 1e-9)


# --- numerics ------------------------------------------------------------------------------------------------------


def finite_with_gradients(rule: PaperRule, phi: BaseModelState, x: Tensor, steps: int = 2) -> None:
    phi0 = phi.map(lambda t: t.clone().requires_grad_())
    after = unroll(rule, phi0, [x] * steps, keep_graph=True)
    loss = torch.stack([t.sum() + t.square().sum() for _, t in after.tensors()]).sum()
    wanted = [*rule.parameters(), *(t for _, t in phi0.tensors())]
    assert torch.isfinite(loss)
    gradients = torch.autograd.grad(loss, wanted)
    assert all(torch.isfinite(g).all() for g in gradients)


def constant(x: Tensor) -> Tensor:
    return torch.full_like(x, 0.3)


@pytest.mark.parametrize("mode", ["identical", "separate"])
@pytest.mark.parametrize("change", [constant, torch.zeros_like, lambda x: x * 1e6, lambda x: x * 1e-12])
@pytest.mark.parametrize("batch", [2, 5])
@pytest.mark.parametrize("weights", [0.0, 1.0, 1e-10])
def test_degenerate_data_and_weights_stay_finite(
    mode: str, change: Callable[[Tensor], Tensor], batch: int, weights: float
):
    finite_with_gradients(with_mode(mode), start().map(lambda t: t * weights), change(data(batch, 6)))


def test_fresh_theta_stays_finite_in_float32():
    rule = PaperRule(SMALL)
    phi = init_state(SIZES)
    finite_with_gradients(rule, phi, torch.zeros(2, 6))
    finite_with_gradients(rule, phi, data(2, 6).float(), steps=5)


@pytest.mark.parametrize("nonlinearity", ["tanh", "step", "leaky_relu"])
def test_other_nonlinearities_depths_and_widths(nonlinearity: str):
    rule = random_rule()
    for sizes in ((6, 4), (6, 1, 4), (3, 9, 2, 8, 4)):
        phi = start(2, sizes=sizes, nonlinearity=nonlinearity)
        after = rule(phi, data(2, 5, sizes[0]))
        assert after.sizes == sizes and after.nonlinearity == nonlinearity
        assert all(torch.isfinite(t).all() for _, t in after.tensors())


def test_gradient_of_a_step_equals_finite_differences():
    """With respect to theta and to W, on a smooth base model; steps of 1e-8 keep clear of the ReLUs' kinks."""
    rule, phi, x = random_rule(), start(nonlinearity="tanh"), data(5, 6)
    g = torch.Generator().manual_seed(4)
    probe = [torch.randn(t.shape, dtype=torch.float64, generator=g) for _, t in phi.tensors()]

    def value() -> Tensor:
        return sum(((t * p).sum() for (_, t), p in zip(rule(phi, x).tensors(), probe, strict=True)), torch.zeros(()))

    parameters = [*rule.parameters(), phi.layers[0].W.requires_grad_(), phi.layers[1].V.requires_grad_()]
    directions = [torch.randn(p.shape, dtype=torch.float64, generator=g) for p in parameters]
    slope = sum((a * d).sum() for a, d in zip(torch.autograd.grad(value(), parameters), directions, strict=True))
    eps = 1e-8
    with torch.no_grad():
        ends = []
        for sign in (1, -2):
            for p, d in zip(parameters, directions, strict=True):
                p.add_(d, alpha=sign * eps)
            ends.append(float(value()))
    assert (ends[0] - ends[1]) / (2 * eps) == pytest.approx(float(slope), rel=1e-5)


# --- parts ---------------------------------------------------------------------------------------------------------


@settings(max_examples=15)
@given(st.sampled_from([1, 3, 5]), st.sampled_from([-3, -2]), st.integers(1, 6), st.integers(1, 6), st.booleans())
def test_convolution_against_its_definition(kernel: int, axis: int, p: int, q: int, scaled: bool):
    g = torch.Generator().manual_seed(kernel)
    conv = Conv(kernel, 3, 2, axis).double()
    with torch.no_grad():
        conv.weight.normal_(generator=g)
        conv.bias.normal_(generator=g)
    a = torch.randn(2, p, q, 3, dtype=torch.float64, generator=g)
    scale = torch.tensor([0.0, 0.5, 2.0], dtype=torch.float64) if scaled else None
    moved = (a if scale is None else a * scale).movedim(axis, 0)
    wanted = torch.zeros(*moved.shape[:-1], 2, dtype=torch.float64) + conv.bias
    for i in range(len(moved)):
        for k in range(kernel):
            j = i + k - kernel // 2
            if 0 <= j < len(moved):
                wanted[i] = wanted[i] + moved[j] @ conv.weight[k]
    torch.testing.assert_close(conv(a, scale), wanted.movedim(0, axis), rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(conv(a[0], scale), wanted.movedim(0, axis)[0], rtol=1e-12, atol=1e-12)


def test_batch_norm_is_per_task_and_channel():
    norm = BatchNorm(3).double()
    a = data(4, 5, 6, 3) * torch.arange(1, 5, dtype=torch.float64)[:, None, None, None]
    out = norm(a)
    wanted = (a - a.mean((1, 2), keepdim=True)) / torch.sqrt(a.var((1, 2), unbiased=False, keepdim=True) + 1e-3)
    torch.testing.assert_close(out, wanted)


def test_weight_stats_of_an_edge_layer_repeat_those_it_has():
    W = data(6, 7)
    inner, bottom, top = weight_stats(W, data(7, 5)), weight_stats(None, W.T), weight_stats(W, None)
    assert inner.shape == bottom.shape == top.shape == (7, 8)
    torch.testing.assert_close(top[:, :4], top[:, 4:])
    torch.testing.assert_close(bottom, top)
    torch.testing.assert_close(inner.square().mean(), torch.ones((), dtype=torch.float64), rtol=1e-5, atol=0)


@settings(max_examples=15)
@given(st.integers(1, 4), st.integers(1, 5), st.integers(1, 5), st.integers(1, 3), st.sampled_from([(), (2,), (2, 3)]))
def test_lowrank_against_its_definition(batch: int, i: int, j: int, channels: int, tasks: tuple[int, ...]):
    top, bottom = data(*tasks, batch, j, channels), data(*tasks, batch, i, channels, seed=8)
    wanted = torch.einsum("...big,...bjg->...ij", bottom, top) / (batch * channels)
    torch.testing.assert_close(lowrank(top, bottom), wanted)
    square = lowrank(top, top.flip(-1))
    M = symmetric(square)
    torch.testing.assert_close(M, M.transpose(-2, -1))
    assert not M.diagonal(dim1=-2, dim2=-1).any()


# --- errors --------------------------------------------------------------------------------------------------------


def test_dtypes_must_agree_and_the_message_says_how():
    phi, x = start(), data(5, 6)
    single = PaperRule(SMALL)
    message = r"phi has dtype torch.float64; allowed: torch.float32, .*rule.to\(torch.float64\).*arrays' dtype"
    with pytest.raises(ValueError, match=message):
        single(phi, x)
    assert single.to(torch.float64)(phi, x).dtype == torch.float64
    with pytest.raises(ValueError, match=r"x has dtype torch.float32; allowed: torch.float64"):
        random_rule()(phi, x.float())


@pytest.mark.parametrize(
    ("phi", "x", "message"),
    [
        (start(sizes=(6, 7, 5)), data(5, 6), r"phi has a top layer of 5 units; allowed: 4, .*settings.top_units"),
        (start(), data(5, 7), r"x has shape \[5, 7\]; allowed: a last dimension of 6"),
        (start(), data(6), r"x has shape \[6\]; allowed: at least 2 dimensions"),
        (start(), data(1, 6), r"x holds 1 example\(s\); allowed: at least 2"),
        (start(), data(0, 6), r"x has shape \[0, 6\] and holds no numbers"),
        (start(3), data(2, 5, 6), r"x has shape \[2, 5, 6\]; allowed: \[3, 'batch', 6\]"),
        (start(), data(5, 6) * float("nan"), r"x holds 30 NaN or infinite values"),
    ],
)
@pytest.mark.parametrize("method", ["__call__", "trace"])
def test_unfit_input_is_refused(phi: BaseModelState, x: Tensor, message: str, method: str):
    with pytest.raises(ValueError, match=message):
        getattr(random_rule(), method)(phi, x)


def test_other_kinds_of_input_are_refused():
    with pytest.raises(TypeError):
        random_rule()("phi", data(5, 6))
    with pytest.raises(TypeError, match=re.escape("x has dtype torch.int64")):
        random_rule()(start(), torch.ones(5, 6, dtype=torch.int64))
