"""`LocalRule` with neighbours: who they are, the terms they serve, and what must hold whatever the batch."""

from __future__ import annotations

import gc
import weakref
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from metarules import load_dataset, load_rule, save_rule
from metarules.base_model import BaseModelState, LayerState, freeze, init_state
from metarules.evaluation.stream import like_after_like
from metarules.update_rule import LOCAL_TERMS, LocalRule, LocalRuleSettings
from metarules.update_rule.local import neighbours as module
from metarules.update_rule.local import terms
from metarules.update_rule.local.neighbours import neighbour_weights, trace_weights
from metarules.update_rule.local.terms import LocalTermInputs, register_term

DOUBLE = torch.float64
SETTINGS = LocalRuleSettings(channels=6, signals=2, terms=(*LOCAL_TERMS, "slow", "covariance"))
WAYS = [
    replace(SETTINGS, alike_in=where, memory=memory) for where in ("input", "below", "top") for memory in (0, 12)
]  # of looking neighbours up
every_way = pytest.mark.parametrize("way", WAYS, ids=lambda s: f"{s.alike_in}-{s.memory}")


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def noise(*shape: int, seed: int = 3) -> Tensor:
    return torch.randn(shape, generator=seeded(seed), dtype=DOUBLE)


def rule(settings: LocalRuleSettings = SETTINGS) -> LocalRule:
    """One all of whose theta is random and matters."""
    made = LocalRule(settings, generator=seeded(1), dtype=DOUBLE)
    with torch.no_grad():
        for i, p in enumerate(made.parameters()):
            p.add_(0.2 * noise(*p.shape, seed=i))
    return made


def state(sizes: tuple[int, ...] = (7, 6, 5), tasks: tuple[int, ...] = (2,)) -> BaseModelState:
    return init_state(sizes, tasks=tasks, generator=seeded(2), dtype=DOUBLE).map(lambda t: 30 * t)


def loss_of(phi: BaseModelState) -> Tensor:
    return torch.stack([t.sin().sum() for _, t in phi.tensors()]).sum()


# ---------------------------------------------------------------------------------------------- who they are


def test_weights_average_over_the_nearest_others() -> None:
    x = torch.tensor([[0.0], [1.0], [3.0], [7.0]])
    nearest_two = torch.tensor([[0.0, 1, 1, 0], [1, 0, 1, 0], [1, 1, 0, 0], [0, 1, 1, 0]])
    assert torch.equal(neighbour_weights(x, 2) * 2, nearest_two)
    assert torch.allclose(neighbour_weights(x, 99), (1 - torch.eye(4)) / 3)  # no more than there are
    ties = torch.tensor([[0.0], [1.0], [-1.0], [5.0]])
    assert neighbour_weights(ties, 1)[0].tolist() == [0, 0.5, 0.5, 0]  # both, rather than the one that comes first
    twice = torch.tensor([[2.0], [2.0], [2.0], [9.0]])
    assert neighbour_weights(twice, 1)[0].tolist() == [0, 0.5, 0.5, 0]
    for constant in (0.0, 0.1, 1e6):
        assert torch.allclose(neighbour_weights(torch.full((5, 3), constant), 2), (1 - torch.eye(5)) / 4)


@pytest.mark.parametrize("dtype", [torch.float32, DOUBLE])
@pytest.mark.parametrize("offset", [0, 3000])
def test_they_are_exactly_those_of_the_smallest_distances(dtype: torch.dtype, offset: int) -> None:
    """Digits have whole grey values, so that distances, and ties between them, are known exactly."""
    grey = (16 * load_dataset("digits").x[:400]).round().long()
    away = (grey.unsqueeze(1) - grey).square().sum(-1)
    away.fill_diagonal_(2**40)
    near = away <= away.kthvalue(3, -1, keepdim=True).values
    assert (near.sum(-1) > 3).any()  # there are ties
    found = neighbour_weights((grey + offset).to(dtype) / 16, 3)
    assert torch.equal(found > 0, near)
    assert torch.allclose(found.sum(-1), torch.ones(400, dtype=dtype))


@settings(max_examples=60)
@given(batch=st.integers(2, 12), k=st.integers(1, 6), levels=st.integers(1, 5), seed=st.integers(0, 10_000))
def test_ties_and_duplicates_are_treated_alike_in_any_order(batch: int, k: int, levels: int, seed: int) -> None:
    g = seeded(seed)
    x = torch.randint(levels, (2, batch, 3), generator=g) / 7  # few levels: many ties and duplicates
    order, units = torch.randperm(batch, generator=g), torch.randperm(3, generator=g)
    weights = neighbour_weights(x, k)
    assert torch.equal(weights[:, order][:, :, order], neighbour_weights(x[:, order][..., units], k))
    assert torch.equal(weights[1], neighbour_weights(x[1], k))
    assert weights.diagonal(dim1=-2, dim2=-1).abs().max() == 0
    assert ((weights > 0).sum(-1) >= min(k, batch - 1)).all()


def test_a_memory_holds_further_candidates_but_copies_and_empty_places() -> None:
    x = torch.tensor([[0.0], [10.0], [20.0]])
    memory, kept = torch.tensor([[1.0], [10.0], [18.0], [0.0]]), torch.tensor([True, True, True, False])
    nearest = [[0, 0, 0, 1, 0, 0, 0], [0, 0, 0, 0, 0, 1, 0], [0, 0, 0, 0, 0, 1, 0]]
    assert neighbour_weights(x, 1, memory, kept).tolist() == nearest
    empty = neighbour_weights(x, 2, memory, torch.zeros(4, dtype=torch.bool))
    assert torch.equal(empty[:, :3], neighbour_weights(x, 2)) and not empty[:, 3:].any()


def test_the_memory_keeps_the_latest_inputs() -> None:
    r = rule(replace(SETTINGS, memory=12))
    phi = r.init_extra(state())
    assert r.init_extra(phi) is phi, "what is there already stays"
    batches = [noise(2, 9, 7, seed=i) for i in range(3)]
    for i, x in enumerate(batches):
        assert phi.extra["kept"].sum(-1).tolist() == [min(9 * i, 12)] * 2
        phi = r(phi, x)
    assert torch.equal(phi.extra["memory"], torch.cat([batches[2], batches[1][:, :3]], 1))
    with pytest.raises(ValueError, match=r"phi.extra lacks memory; allowed: what rule.init_extra\(phi\) adds"):
        r(state(), batches[0])


def test_in_a_stream_the_examples_before_are_the_neighbours() -> None:
    x = noise(4, 2)
    assert trace_weights(x, 1).tolist() == [[0, 1, 0, 0], [1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0]]
    assert trace_weights(x, 2)[1:].tolist() == [[1, 0, 0, 0], [0.5, 0.5, 0, 0], [0, 0.5, 0.5, 0]]


def test_like_follows_like() -> None:
    x = noise(3, 20, 4)
    order = like_after_like(x)
    for one, places in zip(x, order.tolist(), strict=True):
        assert places[0] == 0 and sorted(places) == list(range(20))
        for i, here in enumerate(places[:-1]):
            assert places[i + 1] == min(places[i + 1 :], key=lambda j, here=here: float((one[here] - one[j]).norm()))


# ---------------------------------------------------------------------------------------------- the terms


@every_way
def test_slow_is_the_product_of_differences_and_covariance_that_of_what_others_predict(way: LocalRuleSettings) -> None:
    r, x, before = rule(way), noise(2, 9, 7), noise(2, 9, 7, seed=8)
    phi = r(r.init_extra(state()), before)
    trace = r.trace(phi, x)
    recalled = freeze(phi, x).layers(before) if way.memory else [t[:, :0] for t in trace.x.values()]
    inputs = torch.cat([x, recalled[0]], 1)
    layers = [
        (torch.cat([t, m], 1) - t.mean(1, keepdim=True)) / (t.var(1, keepdim=True, correction=0) + 1e-6).sqrt()
        for t, m in zip(trace.x.values(), recalled, strict=True)
    ]
    for l in (1, 2):
        where = {"input": inputs, "below": (inputs, layers[1])[l - 1], "top": layers[2]}[way.alike_in]
        away = torch.cdist(where[:, :9], where) + torch.eye(9, len(where[0]), dtype=DOUBLE) * 1e9
        A = torch.zeros_like(away).scatter_(-1, away.topk(3, largest=False).indices, 1 / 3)
        low, up = (t[:, :9] - A @ t for t in (layers[l - 1], layers[l]))
        torch.testing.assert_close(trace.terms[l]["slow"], low.mT @ up / 9)
        low, up = layers[l - 1][:, :9], layers[l][:, :9]
        C = up.mT @ up / 9
        C = C - torch.diag_embed(C.diagonal(dim1=-2, dim2=-1))
        torch.testing.assert_close(trace.terms[l]["covariance"], low.mT @ up @ C / 9)


def test_a_step_of_slow_makes_neighbours_more_alike_and_one_of_covariance_units_less() -> None:
    """What the signs of the terms mean, in one layer whose units see two inputs."""
    g = seeded(4)
    signal = torch.randint(2, (60, 1), generator=g) * 4.0 - 2  # like follows like in the first input,
    x = torch.cat([signal, 1.9 * torch.randn(60, 1, generator=g)], -1).to(DOUBLE)  # not in the second
    weights = torch.tensor([[1.0, 0.8], [0.6, 1.0]], dtype=DOUBLE)
    phi = BaseModelState((LayerState(weights, torch.ones(2, dtype=DOUBLE), weights),))
    only = LocalRule(LocalRuleSettings(terms=("slow", "covariance"), lr=0.3), dtype=DOUBLE)

    def after(name: str) -> Tensor:
        other = "slow" if name == "covariance" else "covariance"
        W = only.with_scales({other: 0.0, name: 10.0})(phi, x).layers[0].W
        return W / W.norm(dim=0)

    before = weights / weights.norm(dim=0)
    assert (after("slow")[0] > before[0]).all()
    assert (after("covariance").prod(1).sum() - before.prod(1).sum()) < -0.01


@every_way
def test_the_fast_path_is_the_plain_one_and_gradients_agree(way: LocalRuleSettings) -> None:
    for backward in ("identical", "separate"):
        r = rule(replace(way, backward_update=backward))
        phi, x = r.init_extra(state()), noise(2, 9, 7)
        both = [step(step(phi, x), noise(2, 9, 7, seed=8)) for step in (r, r.plain())]
        theta = list(r.parameters())
        found = [
            torch.autograd.grad(loss_of(after), theta, allow_unused=True, materialize_grads=True) for after in both
        ]
        for (_, fast), (_, plain) in zip(*(after.tensors() for after in both), strict=True):
            torch.testing.assert_close(fast, plain, rtol=1e-12, atol=1e-12)
        for fast, plain in zip(*found, strict=True):
            torch.testing.assert_close(fast, plain, rtol=1e-9, atol=1e-10)


@every_way
def test_the_meta_gradient_equals_finite_differences(way: LocalRuleSettings) -> None:
    r = rule(way)
    phi, xs = r.init_extra(state()), [noise(2, 9, 7, seed=i) for i in range(3)]

    def loss() -> Tensor:
        return loss_of(r(r(r(phi, xs[0]), xs[1]), xs[2]))

    coefficients = r.forward_readout.coefficients
    found = torch.autograd.grad(loss(), coefficients)[0][-2:]
    for k in (-2, -1):
        values = []
        for step in (1e-5, -1e-5):
            with torch.no_grad():
                coefficients[k] += step
                values.append(float(loss()))
                coefficients[k] -= step
        assert abs(float(found[k])) > 1e-4
        assert (values[0] - values[1]) / 2e-5 == pytest.approx(float(found[k]), rel=1e-5)


# ---------------------------------------------------------------------------------------------- any batch


@pytest.mark.parametrize("x", [torch.zeros(2, 9, 7), torch.ones(2, 2, 7), noise(2, 3, 7)[:, [0, 0, 0]], noise(2, 2, 7)])
@pytest.mark.parametrize("dtype", [torch.float32, DOUBLE])
def test_constant_small_and_repeated_batches_give_numbers(x: Tensor, dtype: torch.dtype) -> None:
    r = rule().to(dtype)
    after = r(state().to(dtype), x.to(dtype))
    found = torch.autograd.grad(loss_of(after), list(r.parameters()), allow_unused=True, materialize_grads=True)
    assert all(t.isfinite().all() for _, t in after.tensors()) and all(g.isfinite().all() for g in found)


@settings(max_examples=40)
@given(way=st.sampled_from(WAYS), batch=st.integers(2, 9), seed=st.integers(0, 10_000))
def test_examples_and_units_can_be_permuted(way: LocalRuleSettings, batch: int, seed: int) -> None:
    r, g = rule(way), seeded(seed)
    first, x = torch.randint(3, (2, 2, batch, 7), generator=g).to(DOUBLE)  # with ties and duplicates
    phi = r(r.init_extra(state()), first)
    order, inputs, units = (torch.randperm(n, generator=g) for n in (batch, 7, 6))
    low, high = phi.layers
    moved = phi.with_layers(
        [
            LayerState(low.W[:, inputs][..., units], low.b[..., units], low.V[:, inputs][..., units]),
            LayerState(high.W[:, units], high.b, high.V[:, units]),
        ],
        **({"memory": phi.extra["memory"][..., inputs]} if way.memory else {}),
    )
    after, shuffled = r(phi, x).layers, r(moved, x[:, order][..., inputs]).layers
    torch.testing.assert_close(shuffled[0].W, after[0].W[:, inputs][..., units], rtol=1e-9, atol=1e-10)
    torch.testing.assert_close(shuffled[1].W, after[1].W[:, units], rtol=1e-9, atol=1e-10)


def test_tasks_side_by_side_are_single_runs() -> None:
    for way in WAYS:
        r, x = rule(way), noise(2, 9, 7)
        phi = r(r.init_extra(state()), noise(2, 9, 7, seed=8))
        both = r(phi, x)
        for i in range(2):
            torch.testing.assert_close(r(phi.task(i), x[i]).layers[0].W, both.layers[0].W[i])


# ---------------------------------------------------------------------------------------------- on and off


def test_they_are_looked_up_once_a_step_and_only_for_a_term_that_asks(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []
    look_up = module.neighbour_weights
    monkeypatch.setattr(module, "neighbour_weights", lambda x, k, *memory: asked.append(k) or look_up(x, k, *memory))
    phi, x = state(), noise(2, 9, 7)
    LocalRule(dtype=DOUBLE)(phi, x)
    LocalRule(LocalRuleSettings(terms=("hebb", "covariance")), dtype=DOUBLE)(phi, x)
    assert not asked
    several = LocalRuleSettings(terms=("slow", "hebb"), backward_update="separate", neighbours=2)
    LocalRule(several, dtype=DOUBLE)(phi, x)
    assert asked == [2]


def test_what_was_looked_up_ends_with_the_step(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without waiting for a collection: a step's graph hangs on it."""
    looked: list[weakref.ref[module.Neighbours]] = []
    make = module.Neighbours.__init__

    def watched(self: module.Neighbours, *given: Any) -> None:
        looked.append(weakref.ref(self))
        make(self, *given)

    monkeypatch.setattr(module.Neighbours, "__init__", watched)
    gc.disable()
    try:
        rule()(state(), noise(2, 9, 7))
        assert len(looked) == 1 and looked[0]() is None
    finally:
        gc.enable()


def test_off_it_is_the_rule_of_before_and_files_know_it(tmp_path: Path) -> None:
    plain = LocalRule(generator=seeded(1), dtype=DOUBLE)
    off = LocalRule(LocalRuleSettings(terms=SETTINGS.terms), generator=seeded(1), dtype=DOUBLE)
    off = off.with_scales({"slow": 0.0, "covariance": 0.0})
    phi, x = state(), noise(2, 9, 7)
    assert off.forward_readout.coefficients[-2:].tolist() == pytest.approx([0.1, 0.1])
    for (_, a), (_, b) in zip(plain(phi, x).tensors(), off(phi, x).tensors(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-12)
    save_rule(rule(), tmp_path / "r.safetensors", {"note": "test"})
    assert load_rule(tmp_path / "r.safetensors").settings == SETTINGS
    shipped = load_rule("local").settings
    assert shipped.terms == LOCAL_TERMS and shipped.neighbours == 3


def test_another_term_may_ask_for_neighbours(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(terms, "_REGISTRY", dict(terms._REGISTRY))
    seen: list[tuple[Tensor, Tensor]] = []

    @register_term("watch", meaning="looks on")
    def watch(c: LocalTermInputs) -> Tensor:
        seen.append((c.upper, c.upper_apart))
        return c.w

    LocalRule(LocalRuleSettings(terms=("watch",), neighbours=8), dtype=DOUBLE)(state(), noise(2, 9, 7))
    for activity, apart in seen:  # the others of a centred activity have minus an eighth of it for their mean
        torch.testing.assert_close(apart, activity * 9 / 8)
    assert len(seen) == 2


def test_settings_refuse() -> None:
    with pytest.raises(ValueError, match=r"neighbours is 0; allowed: a whole number in \[1, 1024\]"):
        LocalRuleSettings(neighbours=0)
    with pytest.raises(ValueError, match="alike_in is 'above'; allowed: below, input, stream, top"):
        LocalRuleSettings(alike_in="above")
    with pytest.raises(ValueError, match="memory is 9 with alike_in stream"):
        LocalRuleSettings(alike_in="stream", memory=9)
    with pytest.raises(ValueError, match="memory is -1; allowed"):
        LocalRuleSettings(memory=-1)
