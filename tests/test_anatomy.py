"""One step taken apart: the inputs give h, the contributions give change_W."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from metarules.base_model import InitSettings, init_state
from metarules.classic_rules import get_rule
from metarules.update_rule import (
    LOCAL_INPUTS,
    LOCAL_TERMS,
    PAPER_INPUTS,
    TERMS,
    LocalRule,
    LocalRuleSettings,
    PaperRule,
    PaperRuleSettings,
)
from metarules.update_rule.anatomy import contributions, named_inputs, readout_weights

SIZES = (12, 7, 9, 8)


@pytest.fixture(params=["local", "local_scaled", "paper", "paper_scaled"])
def rule(request: pytest.FixtureRequest, generator: torch.Generator) -> Any:
    if request.param.startswith("local"):
        made: Any = LocalRule(LocalRuleSettings(channels=6, signals=3), dtype=torch.float64)
        terms, inputs = {"hebb": 0.5, "rbf": 0.0}, {"softmax": 0.0, "bias": 2.0}
    else:
        sizes = {"channels": 10, "signals": 6, "readouts": 3, "top_channels": 10, "top_units": 8}
        made = PaperRule(PaperRuleSettings(**sizes), dtype=torch.float64)
        terms, inputs = {"hebb": 0.5, "rbf": 0.0}, {"unit_id": 0.0, "bias": 2.0}
    with torch.no_grad():  # a fresh theta has zeros (gates, offsets) that would hide mistakes
        for parameter in made.parameters():
            parameter.add_(0.3 * torch.randn(parameter.shape, generator=generator, dtype=torch.float64))
    return made.with_scales(terms, inputs) if request.param.endswith("scaled") else made


@pytest.fixture(params=[(), (2,)], ids=["one", "two_tasks"])
def phi(request: pytest.FixtureRequest, generator: torch.Generator) -> Any:
    settings = InitSettings(weight_std=0.3, bias_std=0.2)
    return init_state(SIZES, tasks=request.param, settings=settings, generator=generator, dtype=torch.float64)


@pytest.fixture
def trace(rule: Any, phi: Any, generator: torch.Generator) -> Any:
    return rule.trace(phi, torch.rand(11, 12, generator=generator, dtype=torch.float64))


@torch.no_grad()
def test_inputs_fed_to_the_network_give_h(rule: Any, phi: Any, trace: Any):
    for l in range(4):
        found = named_inputs(rule, phi, trace, l)
        expected = [t.expand(*trace.h[l].shape[:-1], t.shape[-1]) for t in found.values()]
        if isinstance(rule, LocalRule):
            assert tuple(found) == LOCAL_INPUTS
            per_neuron = {"batch_stats", "weight_stats", "bias"}
            example = torch.cat([t for k, t in found.items() if k not in per_neuron], -1)
            neuron = torch.cat([found[k] for k in ("batch_stats", "weight_stats", "bias")], -1).squeeze(-3)
            h = rule.network(example.movedim(-1, 0).transpose(-2, -1), rule.network.about(neuron))
            h = h.movedim(0, -1).transpose(-3, -2)
        else:
            assert set(found) == set(PAPER_INPUTS)
            h = torch.cat(expected, -1)
            for conv, unit in zip(rule.network.convs, rule.network.units, strict=True):
                h = unit(conv(h))
        assert torch.allclose(h, trace.h[l], atol=1e-12), l


@torch.no_grad()
def test_contributions_add_up_to_the_change(rule: Any, trace: Any):
    for l in (1, 2, 3):
        c = contributions(rule, trace, l)
        total = sum(c.parts.values())
        if isinstance(rule, LocalRule):
            assert tuple(c.parts) == LOCAL_TERMS == tuple(c.gates) and not c.added
            assert torch.allclose(c.bound, (1 + total.square().mean(-2, keepdim=True) / 4) ** -0.5, atol=1e-12)
            assert torch.allclose(total * c.bound, trace.change_W[l], atol=1e-12)
            assert all(bool(((g > 0) & (g < 2)).all()) for g in c.gates.values())
        else:
            assert tuple(c.parts) == (*TERMS, "offset", "keep_size") and set(c.added) == {"growth"}
        assert torch.allclose(c.change, trace.change_W[l], atol=1e-12)
        assert torch.allclose(sum(c.pushes.values()), trace.delta_W[l], atol=1e-12)
        shares = c.shares()
        assert torch.allclose(sum(shares.values()), torch.ones((), dtype=torch.float64), atol=1e-9)
        if rule.settings.term_scales:
            assert c.coefficients["rbf"] == 0 and not c.parts["rbf"].any() and not shares["rbf"].any()


@torch.no_grad()
def test_a_neuron_that_does_not_change_has_shares_of_zero(phi: Any, generator: torch.Generator):
    rule = LocalRule(dtype=torch.float64).with_scales(dict.fromkeys(LOCAL_TERMS, 0.0))
    trace = rule.trace(phi, torch.rand(11, 12, generator=generator, dtype=torch.float64))
    assert all(not share.any() for share in contributions(rule, trace, 2).shares().values())


@torch.no_grad()
def test_refusals(rule: Any, phi: Any, trace: Any):
    hebb = get_rule("hebb")
    with pytest.raises(TypeError, match=r"rule is a .*; allowed: a LocalRule or a PaperRule"):
        named_inputs(hebb, phi, trace, 1)
    with pytest.raises(TypeError, match=r"rule is a .*; allowed: a LocalRule or a PaperRule"):
        contributions(hebb, trace, 1)
    for layer in (-1, 4):
        with pytest.raises(ValueError, match=f"layer is {layer}"):
            named_inputs(rule, phi, trace, layer)
    for layer in (0, 4):
        with pytest.raises(ValueError, match=f"layer is {layer}"):
            contributions(rule, trace, layer)


@pytest.mark.parametrize("term", ["0_order"])
def test_a_product_of_readouts_by_hand(term: str, generator: torch.Generator):
    rule = LocalRule(LocalRuleSettings(channels=6, readouts=3), dtype=torch.float64)
    phi = init_state(SIZES, generator=generator, dtype=torch.float64)
    trace = rule.trace(phi, torch.rand(20, SIZES[0], generator=generator, dtype=torch.float64))
    ends = readout_weights(rule, term)
    low, up = (h @ ends[side][0] + ends[side][1] for side, h in (("lower", trace.h[1]), ("upper", trace.h[2])))
    by_hand = torch.einsum("big,bjg->ij", low, up) / (20 * 3)
    assert torch.allclose(by_hand, trace.terms[2][term], atol=1e-12)


def test_readouts_of_what_has_none():
    with pytest.raises(ValueError, match=r"'hebb'.*0_order"):
        readout_weights(LocalRule(), "hebb")
    with pytest.raises(TypeError, match="allowed: a LocalRule"):
        readout_weights(get_rule("hebb"), "0_order")
