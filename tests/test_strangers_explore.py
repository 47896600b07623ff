"""The doors of the package, tried from outside: a rule in one file, a rule of another kind, a widget in one file."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from strangers.bcm import BCM
from strangers.own_rule import OwnRule
from strangers.weight_lengths import WeightLengths
from torch import nn
from widget_changes import changed, css_classes, pictures, setting

from metarules.base_model import BaseModelState, LayerState
from metarules.classic_rules import CLASSIC_RULES
from metarules.evaluation import Protocol, evaluate_rule, learned_state
from metarules.pretrained import get_rule
from metarules.pretrained.finding import rule_names
from metarules.studies.menu import rules_beside
from metarules.studies.mix import OWN, OWN_LEARNED, Mix
from metarules.tasks import Task, load_dataset, make_task
from metarules.update_rule import Batch, LocalRule, LocalRuleSettings, Trace, UpdateRule
from metarules.widgets import DigitPad, InnerLoopExplorer, LayersExplorer, NeuronMicroscope, RuleMixer

SIZES = (64, 10, 6)


@pytest.fixture(scope="module")
def task() -> Task:
    return make_task(load_dataset("digits"), generator=torch.Generator().manual_seed(0))


class Nudge(UpdateRule):
    """A learned rule that is none of ours: W moves along a learned multiple of itself."""

    def __init__(self) -> None:
        super().__init__()
        self.amount = nn.Parameter(torch.tensor(0.1))

    def step_traced(self, phi: BaseModelState, batch: Batch) -> Trace:
        layers = [LayerState(p.W * (1 + self.amount), p.b, p.V) for p in phi.layers]
        return Trace(z={}, x={}, next_state=phi.with_layers(layers))


# ---- a hand-written rule


def test_a_rule_of_ones_own_is_found_and_evaluated():
    assert "bcm" in CLASSIC_RULES and "bcm" in rule_names() and isinstance(get_rule("bcm"), BCM)
    assert get_rule("bcm", lr=0.1).settings.lr == 0.1
    quick = Protocol(hidden=SIZES[1:], n_splits=2, n_models=1)
    found = evaluate_rule(get_rule("bcm"), "bcm", load_dataset("digits"), quick, steps=5)
    assert 0.1 < float(found.accuracies.mean()) < 1


@pytest.mark.parametrize("name", CLASSIC_RULES)
@pytest.mark.parametrize("kind", [InnerLoopExplorer, LayersExplorer])
def test_every_registered_rule_opens_in_every_explorer(kind: type[InnerLoopExplorer], name: str, task: Task):
    rule = get_rule(name)
    widget = kind(name, task, steps=2, sizes=SIZES)
    assert widget.rule_name == rule.label and f"{rule.label}, step 2 of 2" in widget.status.value
    assert type(widget._rules[rule.label]) is CLASSIC_RULES[name]
    phi = learned_state(rule, task, sizes=SIZES, steps=2)
    assert torch.equal(widget.state.layers[0].W, phi.layers[0].W)


@pytest.mark.parametrize("name", CLASSIC_RULES)
def test_every_registered_rule_stands_in_the_menu_of_another(name: str, task: Task):
    label = get_rule(name).label
    assert label in rules_beside(Nudge()) and label not in rules_beside(get_rule(name))
    widget = InnerLoopExplorer(Nudge(), task, steps=1, sizes=SIZES)
    assert label in widget.rule_menu.options
    widget.rule_menu.value = label
    assert (
        widget.wait(300) and widget.rule_name == label and widget.exploration.sees_labels == get_rule(name).needs_labels
    )


def test_labels_are_a_classes_own():
    class Variant(CLASSIC_RULES["hebb"]):  # type: ignore[name-defined, misc]
        """A researcher's."""

    assert Variant.label == Variant().menu_label == "Variant" and CLASSIC_RULES["hebb"].label == "Hebb"
    CLASSIC_RULES["variant"] = type("Twin", (BCM,), {"label": "BCM"})
    try:
        assert {"BCM", "BCM (variant)"} <= set(rules_beside(Nudge()))
    finally:
        del CLASSIC_RULES["variant"]


def test_a_rule_of_another_kind_goes_by_its_name(task: Task):
    for kind in (InnerLoopExplorer, LayersExplorer):
        widget = kind(Nudge(), task, steps=2, sizes=SIZES)
        assert widget.rule_name == widget.rule_menu.options[0] == "Nudge"
    pad = DigitPad(InnerLoopExplorer(BCM(), task, steps=2, sizes=SIZES))
    assert pad.wait(300) and pad.read_as is not None


def test_a_mixer_offers_the_rules_it_cannot_mix(task: Task):
    with pytest.raises(ValueError, match=r"preset is 'bcn'; allowed: .*BCM.*backprop"):
        RuleMixer(task, "bcn")
    mixer = RuleMixer(task, "bcm", steps=2, sizes=SIZES)
    assert mixer.preset_menu.value == "BCM" and "Autoencoder" not in mixer.preset_menu.options
    assert all(slider.disabled for slider in mixer.sliders.values()) and "so the sliders are off" in mixer.status.value
    assert torch.equal(mixer.state.layers[0].W, learned_state(BCM(), task, sizes=SIZES, steps=2).layers[0].W)
    mixer.preset_menu.value = OWN
    assert mixer.wait(300) and mixer.mix == Mix() and not mixer.sliders["hebb"].disabled
    mixer.reset_button.click()
    assert mixer.wait(300) and mixer.preset_menu.value == "BCM"
    assert RuleMixer(task, "oja", steps=2, sizes=SIZES).preset_menu.value == "Oja"
    assert RuleMixer(task, "backprop", steps=2, sizes=SIZES).mix.name == CLASSIC_RULES["backprop"].label


def test_a_mixer_scales_the_terms_that_its_learned_rule_has(task: Task):
    rule = LocalRule(LocalRuleSettings(terms=("hebb", "decorr_x", "covariance")))
    mixer = RuleMixer(task, "Learned", learned=rule, steps=2, sizes=SIZES)
    assert [name for name, slider in mixer.sliders.items() if not slider.disabled] == ["hebb", "decorr", "others"]
    mixer.sliders["others"].value = 0.5
    assert mixer.wait(300) and mixer.preset_menu.value == OWN_LEARNED
    scaled = rule.with_scales(terms={"covariance": 0.5})
    assert torch.equal(mixer.state.layers[0].W, learned_state(scaled, task, sizes=SIZES, steps=2).layers[0].W)


def test_a_microscope_says_when_the_only_term_is_off(task: Task):
    widget = NeuronMicroscope(LocalRule(LocalRuleSettings(terms=("soft",))), task, steps=2, sizes=SIZES, step=1)
    assert "soft does most (+100 %)" in widget.status.value
    widget.off_menu.value = "soft"
    assert widget.wait(300) and ": no term changes its weights. Few-shot" in widget.status.value


def test_where_a_rule_started_is_of_its_kind():
    rule = OwnRule()
    rule.card = {"kind": "own"}
    start = rules_beside(rule)["Where the learned rule started"]
    assert type(start) is OwnRule and start.settings == rule.settings


# ---- a widget


def test_a_widget_in_one_short_file(task: Task):
    file = Path(__file__).parent / "strangers" / "weight_lengths.py"
    assert len(file.read_text(encoding="utf-8").splitlines()) <= 100
    widget = WeightLengths(BCM(), task)
    opened, said = pictures(widget), widget.status.value

    def check(step: int, layer: int, seed: int, on: Task) -> None:
        phi = learned_state(BCM(), on, steps=step, seed=seed)
        wanted = float(phi.layers[layer - 1].W.norm(dim=0).mean())
        assert widget.step == step and widget.length == pytest.approx(wanted, rel=1e-6)
        assert f"{wanted:.2f} long" in widget.status.value and f"{wanted:.2f} long" in widget.panels["length"].alt

    check(10, 1, 0, task)
    assert changed(widget, setting(widget.slider, 4)) == {"length", "filters"}
    check(4, 1, 0, task)
    assert changed(widget, setting(widget.layer_menu, 3)) == {"length"}
    check(4, 3, 0, task)
    widget.step_button.click()
    widget.play.value = 6
    check(6, 3, 0, task)
    assert changed(widget, setting(widget.seed_box, 2)) == {"length", "filters"}
    check(10, 3, 2, task)
    assert changed(widget, setting(widget.seed_box, -1)) == set()
    assert "seed is -1" in widget.status.value and widget.seed_box.value == 2
    moons = make_task(load_dataset("two_moons", n=300), permute=False)
    assert changed(widget, lambda: widget.use(moons)) == {"length", "filters"}
    check(10, 3, 2, moons)
    assert "on two moons (300 examples, 2 classes)" in widget.status.value
    widget.reset_button.click()
    assert pictures(widget) == opened and widget.status.value == said
    assert {"metarules-play", "metarules-fold", "metarules-data-path", "metarules-layer"} <= css_classes(widget)
