"""Plans: presets, changes by name, and the command that makes the same plan again."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
from collections.abc import Sequence
from dataclasses import fields, is_dataclass, replace
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from meta_small import PLAN

from metarules.meta_training import PRESETS, KeepSettings, Plan, preset
from metarules.meta_training.__main__ import _parser, _plan
from metarules.meta_training.outer_loop import _check_fit
from metarules.meta_training.plan import names
from metarules.meta_training.ranks import Ranks
from metarules.pretrained import plain
from metarules.update_rule import LOCAL_TERMS, LocalRule, PaperRule

CHOICES = {"train.estimator": "es", "rule.backward_update": "fixed", "rule.terms": LOCAL_TERMS[::-1]}
SCALES = {"rule.term_scales": {"hebb": 0.5, "rbf": 0}, "rule.input_scales": {"x": 0.5}}
IN_PYTHON_ALONE = "data.glyphs"


def leaf(plan: Any, name: str) -> Any:
    for part in name.split("."):
        plan = getattr(plan, part)
    return plan


def other(name: str, value: Any) -> Any:
    """An allowed value that differs from the one there."""
    if name in CHOICES | SCALES:
        return (CHOICES | SCALES)[name]
    if isinstance(value, bool):
        return not value
    if isinstance(value, int):
        return value + 1
    if isinstance(value, float):
        return value / 2 if value else 0.25
    if name.endswith(("usual_net", "widths")):
        return (*value, 7)
    low, high = value
    return (low, high - 1 if high - low > 1 else high + 1)


def settable() -> list[str]:
    return [name for name in names() if name != IN_PYTHON_ALONE]


def parsed(command: str) -> Plan:
    """The plan that the real parser makes of a command."""
    words = shlex.split(command)
    assert words[:3] == ["python", "-m", "metarules.meta_training"]
    return _plan(_parser().parse_args(words[3:]))


# ---------------------------------------------------------------------------------------------- presets


@pytest.mark.parametrize("name", sorted(PRESETS))
def test_presets_are_whole_plans(name: str):
    plan = preset(name)
    assert plan.preset == name
    assert json.loads(json.dumps(plain(plan))) == plain(plan)
    rule = plan.make_rule()
    for processes in (1, plan.train.groups_per_step):
        _check_fit(rule, plan.train, plan.data, Ranks(0, processes))
    n, per_class = plan.data.n_examples, plan.data.n_examples // plan.data.n_classes
    assert plan.judge.batch_size <= n and 6 * plan.judge.labels_per_class <= per_class
    assert type(rule) is (PaperRule if name == "paper" else LocalRule)
    if name == "paper":
        assert plan.judge.widths[-1] == plan.train.usual_net[-1] == plan.rule.top_units
        assert plan.train.top == (plan.rule.top_units, plan.rule.top_units)
    assert plan.command() == f"python -m metarules.meta_training --preset {name} --out runs/local"
    assert parsed(plan.command()) == plan


def test_unknown_presets_are_named():
    with pytest.raises(ValueError, match=r"^preset is 'desktop'; allowed: demo, gpu, laptop, paper$"):
        preset("desktop")


def test_a_rule_starts_from_the_seed():
    def start(seed: int) -> torch.Tensor:
        rule = PLAN.with_values([f"train.seed={seed}"]).make_rule()
        return torch.cat([p.detach().flatten() for p in rule.parameters()])

    assert torch.equal(start(0), start(0))
    assert not torch.equal(start(0), start(1))


# ---------------------------------------------------------------------------------------------- changes by name


def test_every_setting_has_a_name():
    plan, found = Plan(), set(names())
    assert {name.split(".")[0] for name in found} == {"train", "data", "rule", "judge", "keep"}
    for part in ("train", "data", "rule", "judge", "keep", "train.objective"):
        settings = leaf(plan, part)
        wanted = {f"{part}.{f.name}" for f in fields(settings) if not is_dataclass(getattr(settings, f.name))}
        assert wanted <= found
    assert len(found) > 60


@pytest.mark.parametrize("name", settable())
def test_every_setting_is_changed_by_its_name_and_comes_back_from_the_command(name: str):
    plan = Plan()
    if name == "train.objective.hinge":
        plan = plan.with_values(["train.objective.logit_scale=0"])
    if name == "train.groups":
        plan = plan.with_values(["train.groups_per_step=1"])
    value = other(name, leaf(plan, name))
    changed = plan.with_values([f"{name}={value}"])
    assert leaf(changed, name) == value != leaf(plan, name)
    assert type(leaf(changed, name)) is type(leaf(plan, name))
    assert changed.with_values([f" {name} = {leaf(plan, name)!r} "]) == plan
    assert parsed(changed.command()) == changed
    untouched = [n for n in names() if n != name]
    assert [leaf(changed, n) for n in untouched] == [leaf(plan, n) for n in untouched]


@given(st.lists(st.sampled_from(settable()), unique=True, max_size=8), st.sampled_from(["demo", "laptop", "gpu"]))
def test_commands_make_the_same_plan_again(chosen: Sequence[str], name: str):
    plan = preset(name)
    values = {setting: other(setting, leaf(plan, setting)) for setting in chosen}
    if "train.objective.hinge" in values:
        values["train.objective.logit_scale"] = 0
    values["train.groups"] = 2 * values.get("train.groups_per_step", plan.train.groups_per_step)
    plan = plan.with_values([f"{setting}={value}" for setting, value in values.items()])
    assert parsed(plan.command("some where/it's")) == plan


def test_settings_that_bound_each_other_change_at_once():
    for changes in (["train.groups=9", "train.groups_per_step=3"], ["train.groups_per_step=3", "train.groups=9"]):
        plan = preset("laptop").with_values(changes)
        assert (plan.train.groups, plan.train.groups_per_step) == (9, 3)
    assert preset("laptop").with_values(["train.seed=1", "train.seed=2"]).train.seed == 2


def test_the_papers_rule_has_its_own_settings():
    plan = preset("paper").with_values(["rule.kernel=5", "rule.term_scales={'hebb': 0}", "rule.lr=1e-3"])
    rule = plan.make_rule()
    assert isinstance(rule, PaperRule) and rule.settings.kernel == 5
    assert parsed(plan.command()) == plan
    with pytest.raises(ValueError, match=r"^set names 'rule.hebb'; allowed: .*rule\.signals"):
        plan.with_values(["rule.hebb=3"])


def test_a_shell_takes_the_command_as_it_is():
    plan = PLAN.with_values(["train.seed=3", "rule.term_scales={'soft': 0.5}", "train.objective.ridge=1.5"])
    command = replace(plan, preset="demo").command("some where/it's")
    told = subprocess.run(["sh", "-c", f"printf '%s\\n' {command}"], capture_output=True, text=True, check=True)
    assert told.stdout.splitlines() == shlex.split(command)
    assert "train.truncation=(1,2)" in told.stdout.splitlines()
    assert parsed(command) == replace(plan, preset="demo")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("train.particles", "set is 'train.particles'; allowed: part.name=value, such as train.particles=16"),
        ("particles=3", "set names 'particles'; allowed: data, judge, keep, rule, train"),
        ("preset=demo", "set names 'preset'; allowed: data, judge, keep, rule, train"),
        ("=3", "set names ''; allowed: data, judge, keep, rule, train"),
        ("train.speed=3", "set names 'train.speed'; allowed: train.average, train.batch_size"),
        ("train.objective.rigde=3", "set names 'train.objective.rigde'; allowed: train.objective.centre_targets"),
        ("train.seed.x=3", "set names 'train.seed.x'; allowed: train.average"),
        ("train.objective=3", "set names 'train.objective'; allowed: one of its settings, such as train.objective."),
        ("rule=3", "set names 'rule'; allowed: one of its settings, such as rule.channels"),
        ("data.glyphs=3", "set names 'data.glyphs', which holds settings of its own; allowed: in a Plan made in"),
        ("train.particles=0", "particles is 0; allowed: a whole number in [1, inf]"),
        ("train.objective.ridge=0", "ridge is 0; allowed: a number in (0, inf]"),
        ("train.truncation=(4,2)", "truncation[1] is 2; allowed: a whole number in [4, inf]"),
        ("train.estimator=newton", "estimator is 'newton'; allowed: backprop, es, pes"),
        ("rule.term_scales={'hep':1}", "term_scales names 'hep'; allowed: "),
        ("keep.save_every=0", "save_every is 0; allowed: a whole number in [1, inf]"),
        ("judge.steps=-1", "steps is -1; allowed: a whole number in [0, inf]"),
        ("data.n_classes=99", "n_classes is 99; allowed: a whole number in [2, 16]"),
    ],
)
def test_wrong_changes_are_named(change: str, message: str):
    with pytest.raises(ValueError, match="^" + re.escape(message)):
        Plan().with_values([change])


@pytest.mark.parametrize(
    "change",
    [
        "train.particles=3.5",
        "train.particles=many",
        "train.learning_rate=(1,2)",
        "train.seed=",
        "train.clip=True",
        "rule.channels=None",
        "rule.softmax=no",
        "train.usual_net=32",
        "train.truncation=4",
        "judge.widths=32",
        "train.seed={[]:1}",
        "train.seed=" + "(" * 500,
    ],
)
def test_values_of_a_wrong_type_are_refused(change: str):
    """By the settings' own checks, or where those of the annotations are switched on, by these."""
    with pytest.raises((TypeError, ValueError)) as found:
        Plan().with_values([change])
    assert change.partition("=")[0].split(".")[-1] in str(found.value)


def test_switches_are_true_or_false():
    with pytest.raises(TypeError, match=r"^rule\.softmax is 'no'; allowed: True or False$"):
        Plan().with_values(["rule.softmax=no"])
    assert Plan().with_values(["rule.softmax=False"]).rule.softmax is False


@pytest.mark.parametrize("name", ["validate_every", "save_every"])
def test_settings_of_what_is_kept_out_of_range_are_named(name: str):
    with pytest.raises(ValueError, match=f"^{name} is 0; allowed: a whole number in \\[1, inf\\]"):
        KeepSettings(**{name: 0})


def test_settings_are_plain_data_all_the_way():
    """A card and a checkpoint hold them as JSON."""
    for settings in (PLAN.train, PLAN.data, PLAN.keep, PLAN.judge, PLAN.rule, PLAN):
        assert json.loads(json.dumps(plain(settings))) == plain(settings)
        assert set(plain(settings)) == {f.name for f in fields(settings)}
