"""`PaperRule`'s fast path against the modules one by one: the same numbers and meta-gradients, kept in less memory."""

from __future__ import annotations

from typing import Any

import hypothesis.strategies as st
import pytest
import torch
from hypothesis import given, settings
from torch import Tensor
from torch.autograd.graph import saved_tensors_hooks

from metarules.base_model import BaseModelState, init_state
from metarules.inner_loop import unroll
from metarules.update_rule import PaperRule, PaperRuleSettings
from metarules.update_rule.paper.autograd import (
    EXAMPLES,
    FEATURES,
    PLAIN,
    RELU_SUM,
    UNITS,
    ConvNorm,
    ReadUnits,
    SendDown,
)

TOP = 4
LIMIT = 0.25e9  # bytes for each further unrolled step at the paper's sizes; issue 4
LIMIT_CHECKPOINTED = 0.03e9  # the same with checkpointing


def random_rule(**sizes: Any) -> PaperRule:
    """A small rule all of whose parameters are away from zero, in float64."""
    g = torch.Generator().manual_seed(0)
    chosen = {
        "channels": 5,
        "signals": 3,
        "readouts": 2,
        "top_channels": 6,
        "top_units": TOP,
        "lr": 0.05,
    }
    rule = PaperRule(PaperRuleSettings(**{**chosen, **sizes}), generator=g, dtype=torch.float64)
    with torch.no_grad():
        for parameter in rule.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=g, dtype=torch.float64), alpha=0.2)
    return rule


def start(*tasks: int, seed: int = 1) -> BaseModelState:
    g = torch.Generator().manual_seed(seed)
    phi = init_state((6, 7, 5, TOP), tasks=tasks, generator=g, dtype=torch.float64)
    return phi.map(lambda t: (t * 10).requires_grad_())


def data(*shape: int, seed: int = 2) -> Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def outcome(rule: PaperRule, phi: BaseModelState, after: BaseModelState) -> list[Tensor]:
    """phi after the steps, and the gradient of a number made of it with respect to theta and the phi before."""
    loss = torch.stack([(t * t).sum() + t.sum() for _, t in after.tensors()]).sum()
    wanted = [*rule.parameters(), *(t for _, t in phi.tensors())]
    return [t for _, t in after.tensors()] + list(torch.autograd.grad(loss, wanted, materialize_grads=True))


@settings(max_examples=12)
@given(
    st.sampled_from([(), (1,), (3,), (2, 2)]),
    st.sampled_from(["identical", "separate", "tied", "fixed"]),
    st.sampled_from([0, 1, 2]),
    st.sampled_from([0, 1, 2]),
    st.sampled_from([1, 3, 5]),
    st.integers(2, 6),
    st.booleans(),
)
def test_values_and_meta_gradients_equal_those_of_the_modules_one_by_one(
    tasks: tuple[int, ...], mode: str, hidden_layers: int, top_layers: int, kernel: int, batch: int, scaled: bool
):
    rule = random_rule(
        backward_update=mode, hidden_layers=hidden_layers, top_layers=top_layers, kernel=kernel, top_kernel=kernel
    )
    if scaled:
        rule = rule.with_scales(inputs={"z": 0.5, "unit_id": 0}, terms={"hebb": 0})
    phi, xs = start(*tasks), list(data(2, *tasks, batch, 6))
    fast = outcome(rule, phi, unroll(rule, phi, xs, keep_graph=True))
    plain = outcome(rule, phi, unroll(rule.plain(), phi, xs, keep_graph=True))
    for a, b in zip(fast, plain, strict=True):  # two steps of a tiny batch magnify the last digits
        torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-9 * max(1.0, float(b.detach().abs().max())))


def test_one_step_and_its_gradient_agree_to_the_last_digits():
    rule, phi, x = random_rule(), start(2), data(2, 16, 6)
    fast = outcome(rule, phi, rule(phi, x))
    plain = outcome(rule, phi, rule.plain()(phi, x))
    largest = max(float(b.detach().abs().max()) for b in plain)
    assert max(float((a - b).detach().abs().max()) for a, b in zip(fast, plain, strict=True)) < 1e-12 * largest


def test_trace_of_the_fast_path_equals_that_of_the_modules():
    rule, phi, x = random_rule(), start(2), data(2, 5, 6)
    fast = rule.trace(phi, x)
    plain = rule.plain().trace(phi, x)
    for name in ("d", "h", "delta", "change_W", "change_b"):
        for l, value in getattr(plain, name).items():
            torch.testing.assert_close(getattr(fast, name)[l], value, rtol=1e-12, atol=1e-12)


def leaves(*shapes: tuple[int, ...]) -> list[Tensor]:
    g = torch.Generator().manual_seed(3)
    return [torch.randn(*shape, generator=g, dtype=torch.float64, requires_grad=True) for shape in shapes]


@pytest.mark.parametrize("axis", [UNITS, EXAMPLES])
@pytest.mark.parametrize(
    ("feed", "shapes"),
    [
        (PLAIN, [(2, 3, 4, 2)]),
        (RELU_SUM, [(2, 3, 4, 2), (2,)]),
        (RELU_SUM, [(2, 3, 4, 2), (2,), (2, 3, 4, 2), (2,)]),
        (FEATURES, [(2, 3, 1, 2), (2, 3, 4), (2, 3, 4), (2, 3, 4, 1), (5,)]),
    ],
)
def test_gradients_of_first_and_second_order(axis: int, feed: Any, shapes: list[tuple[int, ...]]):
    weight, bias, *kept = leaves((3, 7 if feed is FEATURES else 2, 2), (2,), *shapes)

    def block(*tensors: Tensor) -> Tensor:
        return ConvNorm.apply(axis, feed, *tensors)[0]

    assert torch.autograd.gradcheck(block, (weight, bias, *kept), eps=1e-7, atol=1e-6)
    assert torch.autograd.gradgradcheck(block, (weight, bias, *kept), eps=1e-7, atol=1e-5)


def test_gradients_of_first_and_second_order_of_the_signal_sent_down():
    tensors = leaves((3, 4, 2), (3, 4), (3, 4, 5), (5, 2), (2,), (6, 3))
    assert torch.autograd.gradcheck(lambda *t: SendDown.apply(*t)[0], tensors, eps=1e-7, atol=1e-6)
    assert torch.autograd.gradgradcheck(lambda *t: SendDown.apply(*t)[0], tensors, eps=1e-7, atol=1e-5)


def test_read_outs_and_their_gradients_of_first_and_second_order():
    h, weight, bias = leaves((2, 3, 4, 5), (5, 6), (6,))
    read = ReadUnits.apply(h, weight, bias)
    torch.testing.assert_close(read, (h @ weight + bias).transpose(-2, -1), rtol=1e-12, atol=1e-12)
    assert torch.autograd.gradcheck(ReadUnits.apply, (h, weight, bias), eps=1e-7, atol=1e-6)
    assert torch.autograd.gradgradcheck(ReadUnits.apply, (h, weight, bias), eps=1e-7, atol=1e-5)


def test_the_gradient_of_h_lies_in_memory_as_h_does():
    """Otherwise every pass over both takes ten times as long."""
    h, weight, bias = leaves((3, 4, 5), (5, 6), (6,))
    (gradient,) = torch.autograd.grad(ReadUnits.apply(h, weight, bias).square().sum(), h)
    assert gradient.stride() == h.stride()


# --- checkpoints and memory ----------------------------------------------------------------------------------------


@settings(max_examples=10)
@given(st.integers(1, 5), st.integers(1, 6), st.sampled_from([(), (2,)]))
def test_checkpoints_change_no_bit_of_the_gradient(every: int, steps: int, tasks: tuple[int, ...]):
    rule, phi, xs = random_rule(), start(*tasks), list(data(steps, *tasks, 5, 6))
    kept = outcome(rule, phi, unroll(rule, phi, xs, keep_graph=True))
    again = outcome(rule, phi, unroll(rule, phi, iter(xs), keep_graph=True, checkpoint_every=every))
    assert all(torch.equal(a, b) for a, b in zip(kept, again, strict=True))


def test_checkpoints_without_a_graph_do_nothing():
    rule, phi, xs = random_rule(), start(), list(data(3, 5, 6))
    after = unroll(rule, phi, xs, checkpoint_every=2)
    assert not any(t.requires_grad for _, t in after.tensors())
    assert all(
        torch.equal(a, b) for (_, a), (_, b) in zip(after.tensors(), unroll(rule, phi, xs).tensors(), strict=True)
    )
    with pytest.raises(ValueError, match=r"checkpoint_every is 0; allowed: a whole number in \[1, inf\]"):
        unroll(rule, phi, xs, checkpoint_every=0)


def bytes_kept(steps: int, **options: Any) -> int:
    """Bytes autograd keeps for an unroll at the paper's sizes: every storage once."""
    rule, phi = PaperRule(), init_state((196, 128, 128, 128, 128, 32))
    x = torch.rand(128, 196, generator=torch.Generator().manual_seed(0))
    kept: dict[int, Tensor] = {}

    def keep(t: Tensor) -> Tensor:
        kept[t.untyped_storage().data_ptr()] = t
        return t

    with saved_tensors_hooks(keep, lambda t: t):
        unroll(rule, phi, [x] * steps, keep_graph=True, **options)
    return sum(t.untyped_storage().nbytes() for t in kept.values())


def test_memory_of_a_further_step_at_the_papers_sizes():
    assert bytes_kept(2) - bytes_kept(1) < LIMIT
    assert bytes_kept(3, checkpoint_every=1) - bytes_kept(2, checkpoint_every=1) < LIMIT_CHECKPOINTED
