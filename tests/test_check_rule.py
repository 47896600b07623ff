"""`check_rule`: rules of the package keep the contract; each way to break it is one sentence that names the clause."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from strangers import bcm, own_rule
from torch import nn

from metarules.base_model import BaseModelState, LayerState, forward
from metarules.classic_rules import CLASSIC_RULES, get_rule
from metarules.classic_rules.statistics import correlation, normalise_columns, standardise
from metarules.evaluation.locality import lateral_signals
from metarules.pretrained import load_rule
from metarules.update_rule import (
    LOCAL_TERMS,
    Batch,
    FunctionRule,
    LocalRule,
    LocalRuleSettings,
    PaperRule,
    UpdateRule,
    check_rule,
)


def of_layers(change: Any) -> Any:
    """A rule whose change of a layer is a function of W, the activity below and the activity above."""

    def step(phi: BaseModelState, batch: Batch) -> BaseModelState:
        x = forward(phi, batch.x).x
        parts = zip(phi.layers, x[:-1], x[1:], strict=True)
        return phi.with_layers([LayerState(0.97 * p.W + 0.03 * change(p.W, a, b), p.b, p.V) for p, a, b in parts])

    return step


hebb = of_layers(lambda W, a, b: normalise_columns(correlation(standardise(a), standardise(b))))


class Learned(UpdateRule):
    """Hebb with one learned number, which may lose its gradient or meet a root of zero."""

    def __init__(self, how: str = "well") -> None:
        super().__init__()
        self.how, self.rate = how, nn.Parameter(torch.tensor(0.5))

    def step(self, phi: BaseModelState, batch: Batch) -> BaseModelState:
        rate = {"well": self.rate, "lost": self.rate.detach(), "root": 0.5 + (self.rate - self.rate).sqrt()}[self.how]
        return of_layers(lambda W, a, b: rate * correlation(standardise(a), standardise(b)))(phi, batch)


def in_place(phi: BaseModelState, batch: Batch) -> BaseModelState:
    for p in phi.layers:
        p.W.mul_(0.9)
    return phi


def counting() -> Any:
    count = [0]

    def step(phi: BaseModelState, batch: Batch) -> BaseModelState:
        count[0] += 1
        return phi.map(lambda t: t * (1 + 1 / count[0]))

    return step


def keeps_half(phi: BaseModelState, batch: Batch) -> BaseModelState:
    return phi.with_layers([LayerState(p.W[:, :-1], p.b, p.V) for p in phi.layers])


def of_depth_three(phi: BaseModelState, batch: Batch) -> BaseModelState:
    first, second, third = phi.layers
    return phi.with_layers([LayerState(0.9 * first.W, first.b, first.V), second, third])


BROKEN: dict[str, tuple[Any, str, str]] = {
    "a class": (LocalRule, "a rule", "wants an object: LocalRule()"),
    "a text": ("hebb", "a rule", "wants an UpdateRule or a step(phi, batch)"),
    "one argument": (lambda phi: phi, "a rule", "two arguments, phi and batch"),
    "no return": (lambda phi, batch: None, "a step", "returns None; the contract wants the phi after the step"),
    "no change": (lambda phi, batch: phi, "a step", "a step that changes W"),
    "error": (lambda phi, batch: phi.weights, "a step", "AttributeError"),
    "labels": (lambda phi, batch: batch.y.sum(), "a step", "does without batch.y"),
    "in place": (in_place, "phi untouched", "overwrites W of layer 1 of the phi it was given"),
    "counter": (counting(), "same again", "whatever the rule remembers in phi.extra"),
    "noise": (of_layers(lambda W, a, b: torch.randn_like(W)), "same again", "no random numbers"),
    "half": (keeps_half, "shapes", "wants [7, 6], the shape it had"),
    "three layers": (of_depth_three, "shapes", "on a net of 5-3"),
    "mean over tasks": (of_layers(lambda W, a, b: (a - a.mean(0)).mT @ b), "shapes", "two nets at once"),
    "T": (of_layers(lambda W, a, b: a.T @ b), "shapes", "two nets of 7-6-5-4 at once"),
    "float32": (of_layers(lambda W, a, b: (a.mT @ b).float().to(W)), "", ""),
    "dtype": (lambda phi, batch: hebb(phi, batch).to(torch.float32), "dtype", "float32 from a phi of float64"),
    "dead input": (of_layers(lambda W, a, b: (a / a.std(-2, keepdim=True)).mT @ b), "finite", "never changes"),
    "explodes": (of_layers(lambda W, a, b: 1e4 * W * (1 + W.square())), "finite", "NaN or infinity after step"),
    "first example": (of_layers(lambda W, a, b: W + a[..., :1, :].mT), "order of examples", "a batch to be a set"),
    "ranks": (
        of_layers(lambda W, a, b: a.mT @ b * torch.arange(b.shape[-1], dtype=b.dtype)),
        "order of neurons",
        "none may be told its number",
    ),
    "no gradient": (Learned("lost"), "gradients to theta", "no gradient reaches rate"),
    "wild gradient": (Learned("root"), "gradients to theta", "the gradient for rate is NaN"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_breach_is_one_sentence_that_names_what_is_wanted(name: str):
    rule, clause, words = BROKEN[name]
    check = check_rule(rule)
    if not clause:  # a detour through float32 loses digits, and keeps the contract
        assert check.passed, check
        return
    first = check.failures[0]
    assert not check.passed and first.clause == clause and words in first.sentence, check
    assert first.sentence.count("the contract wants") == 1 and "\n" not in first.sentence
    assert "breaks" in repr(check) and clause in check._repr_html_() and "Traceback" not in repr(check)


def test_rules_of_the_package_and_of_strangers_keep_the_contract():
    rules: list[Any] = [get_rule(name) for name in CLASSIC_RULES]
    rules += [load_rule("local"), bcm.BCM(), own_rule.OwnRule(), hebb, FunctionRule(hebb), Learned()]
    rules += [LocalRule(LocalRuleSettings(top_signal=False, terms=(*LOCAL_TERMS, "slow", "covariance")))]
    assert [check.rule for check in map(check_rule, rules) if not check.passed] == []
    assert check_rule(PaperRule()).failures[0].clause == "a step"  # tied to one width of the top layer


def test_the_rule_is_left_as_it_was():
    rule = Learned()
    torch.manual_seed(3)
    before = torch.get_rng_state()
    check_rule(rule)
    check_rule(BROKEN["noise"][0])
    assert float(rule.rate.detach()) == 0.5 and rule.rate.dtype == torch.float32 and rule.rate.grad is None
    assert torch.equal(torch.get_rng_state(), before)


def test_a_function_as_a_rule():
    rule = FunctionRule(hebb, "Mine")
    assert rule.menu_label == "Mine" and FunctionRule(in_place).menu_label == "in_place"
    for wrong in (LocalRule, LocalRule(), 3):
        with pytest.raises(TypeError):
            FunctionRule(wrong)


STRICT = {"layer_stats": False, "softmax": False, "top_signal": False, "input_scales": {"weight_stats": 0.0}}


@pytest.mark.parametrize(
    ("rule", "signals"),
    [
        (get_rule("hebb"), ()),
        (get_rule("oja"), ()),
        (get_rule("oja", subspace=True), ("activity",)),
        (get_rule("soft_competition"), ("activity",)),
        (get_rule("hebb_decorrelation"), ("activity", "weights")),
        (get_rule("autoencoder"), ("activity", "inputs")),
        (bcm.BCM(), ()),
        (LocalRule(), ("activity", "weights")),
        (LocalRule(LocalRuleSettings(terms=("hebb", "w_base", "0_order"), **STRICT)), ()),
        (LocalRule(LocalRuleSettings(terms=("hebb", "soft"), **{**STRICT, "softmax": True})), ("activity",)),
        (LocalRule(LocalRuleSettings(terms=("hebb", "lin_upper_psd"), **STRICT)), ("activity", "weights")),
        (LocalRule(LocalRuleSettings(terms=("hebb", "slow"), **STRICT)), ("inputs",)),
        (LocalRule(LocalRuleSettings(terms=("hebb", "slow"), alike_in="stream", **STRICT)), ()),
        (FunctionRule(of_layers(lambda W, a, b: W / W.norm(dim=(-2, -1), keepdim=True))), ("weights",)),
    ],
    ids=lambda part: "-".join(part) or "none" if isinstance(part, tuple) else getattr(part, "label", ""),
)
def test_signals_between_neurons_are_found_by_trial(rule: UpdateRule, signals: tuple[str, ...]):
    assert lateral_signals(rule) == signals


def test_a_supervised_rule_has_no_place_among_them():
    with pytest.raises(ValueError, match="needs labels"):
        lateral_signals(get_rule("backprop"))
