"""Terms of `LocalRule` as a setting: subsets, a stranger's own, and what is refused."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any, cast

import pytest
import torch
from meta_small import DISTRIBUTION, SETTINGS
from strangers.own_terms import instar
from torch import Tensor

from metarules import load_dataset, load_rule, make_task, save_rule
from metarules.base_model import BaseModelState, init_state
from metarules.meta_training import MetaTrainer
from metarules.plots.neuron_figure import term_sheet
from metarules.update_rule import LOCAL_TERMS, TERMS, LocalRule, LocalRuleSettings, PaperRule, contributions
from metarules.update_rule.local.terms import get_term, register_term
from metarules.update_rule.terms import Readout, Term, TermInputs
from metarules.widgets.neuron_microscope import NeuronMicroscope

NAMES = (*LOCAL_TERMS, "instar", "gated_hebb")


@pytest.fixture
def rule() -> LocalRule:
    return LocalRule(LocalRuleSettings(terms=NAMES, channels=4, signals=2, term_scales={"instar": 0.5}))


def state(*sizes: int) -> BaseModelState:
    return init_state(sizes, generator=torch.Generator().manual_seed(0), dtype=torch.float64).map(lambda t: 30 * t)


def test_a_strangers_terms_are_meta_trained_saved_and_loaded(rule: LocalRule, tmp_path: Path):
    assert float(rule.forward_readout.coefficients[13].detach()) == pytest.approx(0.1)
    assert float(rule.forward_readout.coefficients[14].detach()) == pytest.approx(rule.settings.learned)
    before = {name: p.detach().clone() for name, p in rule.named_parameters()}
    done = MetaTrainer(rule, SETTINGS, DISTRIBUTION).step()
    assert not done.skipped
    readout = rule.forward_readout
    moved = readout.coefficients.detach() - before["forward_readout.coefficients"]
    assert moved[13] != 0 and moved[14] != 0
    last = rule.settings.readouts  # the columns of the stranger's low-rank term lie behind all of the paper's
    assert (readout.upper - before["forward_readout.upper"])[:, -last:].all()
    save_rule(rule, tmp_path / "own.safetensors")
    again = load_rule(tmp_path / "own.safetensors")
    assert isinstance(again, LocalRule) and again.settings == rule.settings
    assert again.card["modules"] == ["strangers.own_terms"]
    assert all(torch.equal(p, dict(again.named_parameters())[name]) for name, p in rule.named_parameters())


def test_a_file_names_the_module_of_a_term_that_is_not_known(
    rule: LocalRule, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    path = save_rule(rule, tmp_path / "own.safetensors")
    monkeypatch.delitem(sys.modules, "strangers.own_terms")
    monkeypatch.setattr("metarules.update_rule.local.settings.registered_terms", lambda: LOCAL_TERMS)
    with pytest.raises(ValueError, match=r"'instar'; allowed: .*; import 'strangers.own_terms' first, which the card"):
        load_rule(path)


def test_a_strangers_terms_are_looked_at(rule: LocalRule):
    task = make_task(load_dataset("digits"), generator=torch.Generator().manual_seed(0))
    phi, x = state(64, 8, 6).to(torch.float32), task.x[:50]
    trace = rule.trace(phi, x)
    parts = contributions(rule, trace, 1)
    assert tuple(trace.terms[1]) == NAMES == tuple(parts.parts)
    w = phi.layers[0].W / (phi.layers[0].W.square().mean(0) + 1e-6).sqrt()
    share = torch.softmax(trace.z[1] / rule.settings.temperature, -1)
    torch.testing.assert_close(trace.terms[1]["instar"], w * share.mean(0))
    sheet = term_sheet(parts, 1, task)
    assert {"instar", "gated_hebb"} <= {text.get_text() for text in sheet.texts}
    microscope = NeuronMicroscope(rule, task, sizes=(64, 8, 6), steps=2, step=1)
    assert {"instar", "gated_hebb"} <= set(microscope.off_menu.options) & set(microscope.view.pushes)
    assert "each of 15 terms" in microscope.panels["terms"].alt
    microscope.off_menu.value = "instar"
    assert microscope.wait(300) and microscope.view.coefficients["instar"] == 0


@pytest.mark.parametrize("names", [("hebb",), ("soft", "decorr_x"), NAMES[::-1], ("gated_hebb", "rbf", "w_base")])
@pytest.mark.parametrize("backward_update", ["identical", "separate"])
def test_any_set_of_terms_learns_by_both_paths(names: tuple[str, ...], backward_update: str):
    rule = LocalRule(LocalRuleSettings(terms=names, channels=4, backward_update=backward_update), dtype=torch.float64)
    phi, x = state(7, 5, 4), torch.rand(9, 7, generator=torch.Generator().manual_seed(1), dtype=torch.float64)

    def outcome(rule: LocalRule) -> list[Tensor]:
        after = rule(rule(phi, x), x)
        loss = sum((t.sin().sum() for _, t in after.tensors()), torch.zeros(()))
        theta = list(rule.parameters())
        return [
            *(t for _, t in after.tensors()),
            *torch.autograd.grad(loss, theta, allow_unused=True, materialize_grads=True),
        ]

    for fast, plain in zip(outcome(rule), outcome(rule.plain()), strict=True):
        torch.testing.assert_close(fast, plain, rtol=1e-9, atol=1e-10)
    assert list(rule.trace(phi, x).terms[1]) == list(names)


def test_a_part_of_the_terms_is_the_whole_rule_without_the_others():
    whole = LocalRule(dtype=torch.float64)
    part = LocalRule(LocalRuleSettings(terms=("soft", "hebb", "decorr_x")), dtype=torch.float64)
    off = whole.with_scales({name: 0.0 for name in LOCAL_TERMS if name not in part.settings.terms})
    theta, own = whole.state_dict(), part.state_dict()
    part.load_state_dict({name: theta[name] if theta[name].shape == t.shape else t for name, t in own.items()})
    phi, x = state(7, 5, 4), torch.rand(9, 7, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    for (_, a), (_, b) in zip(part(phi, x).tensors(), off(phi, x).tensors(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-14)


def test_registering_leaves_the_papers_rule_and_the_shipped_rule_alone():
    assert len(LOCAL_TERMS) == 13 and "instar" not in LOCAL_TERMS
    shipped = load_rule("local")
    assert isinstance(shipped, LocalRule) and shipped.settings.terms == LOCAL_TERMS
    assert len(TERMS) == 12 and PaperRule().forward_readout.coefficients.shape == (12,)


def test_what_is_refused():
    assert isinstance(get_term("instar"), Term)
    again = register_term("instar", meaning="the same function, from a cell that is run twice", start=0.1)
    again(instar)

    def another(c: TermInputs) -> Tensor:
        return c.w

    with pytest.raises(ValueError, match=r"name is 'instar', which strangers\.own_terms\.instar has already"):
        register_term("instar", meaning="")(another)
    with pytest.raises(ValueError, match=r"name is 'hebb', which metarules\.update_rule\.terms\._hebb has"):
        register_term("hebb", meaning="")(another)
    with pytest.raises(TypeError, match=r"function of term 'new' does not fit .*; allowed: \('c', 'R'\)"):
        register_term("new", meaning="", lowrank=Readout("upper", "lower"))(another)
    with pytest.raises(ValueError, match="start is 'hebbb'; allowed: decorr, hebb, learned, slow, soft"):
        register_term("new", meaning="", start="hebbb")
    with pytest.raises(ValueError, match="start is nan"):
        register_term("new", meaning="", start=float("nan"))
    with pytest.raises(ValueError, match=r"lowrank\.bottom is 'below'; allowed: lower, upper"):
        register_term("new", meaning="", lowrank=Readout("upper", "below"))
    with pytest.raises(ValueError, match="shared only where top and bottom are the same side"):
        register_term("new", meaning="", lowrank=Readout("upper", "lower", shared=True))
    with pytest.raises(ValueError, match=r"term is 'new'; allowed: .*instar"):
        get_term("new")
    with pytest.raises(ValueError, match=r"terms names 'new'; allowed: .*instar"):
        LocalRuleSettings(terms=("hebb", "new"))


@pytest.mark.usefixtures("unchecked_types")
def test_terms_are_a_tuple_of_names():
    assert LocalRuleSettings(terms=cast(Any, ["hebb"])) == LocalRuleSettings(terms=("hebb",))
    for terms in (None, 3, "hebb", (3,)):
        with pytest.raises(TypeError, match=re.escape(f"terms is {terms!r}; allowed: a tuple of text")):
            LocalRuleSettings(terms=cast(Any, terms))


@pytest.mark.parametrize(("wrong", "said"), [(torch.ones(1, 5), r"has shape \[1, 5\]"), (0.5, "is 0.5")])
def test_a_term_of_another_shape_is_named(wrong: Any, said: str, rule: LocalRule):
    rule.forward_readout.named["hebb"] = Term(lambda c: wrong, "")
    with pytest.raises(ValueError, match=f"term 'hebb' {said}; allowed: a tensor of shape \\[7, 5\\], that of W"):
        rule(state(7, 5).to(torch.float32), torch.rand(9, 7))


def test_theta_of_other_terms_is_taken_by_name():
    """In whatever order; a term that this rule lacks is refused, though the shapes would fit."""
    other = LocalRule(LocalRuleSettings(terms=("hebb", "soft", "decorr_x")))
    mine = LocalRule(LocalRuleSettings(terms=("decorr_x", "slow", "hebb", "soft")))
    with torch.no_grad():
        other.forward_readout.coefficients.copy_(torch.tensor([1.0, 2.0, 3.0]))
    mine.take(other)
    assert mine.forward_readout.coefficients.tolist() == pytest.approx([3.0, 0.1, 1.0, 2.0])
    turned = LocalRule(LocalRuleSettings(terms=("soft", "decorr_x", "hebb")))
    turned.take(other)
    assert turned.forward_readout.coefficients.tolist() == [2.0, 3.0, 1.0]
    with pytest.raises(ValueError, match=r"other.settings.terms names 'soft'; allowed: decorr_x, hebb, slow"):
        LocalRule(LocalRuleSettings(terms=("hebb", "slow", "decorr_x"))).take(other)
