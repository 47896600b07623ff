"""Plans: presets, the options that change them, and the command that makes the same plan again."""

from __future__ import annotations

import json
import shlex
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import fields, is_dataclass, replace
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from meta_small import PLAN, changed

from metarules.meta_training import PRESETS, KeepSettings, Plan, preset
from metarules.meta_training.options import read_options
from metarules.meta_training.outer_loop import _check_fit
from metarules.meta_training.plan import option_words
from metarules.meta_training.ranks import Ranks
from metarules.pretrained import get_rule, plain
from metarules.tasks import BROAD_GLYPHS, NEAT_GLYPHS
from metarules.update_rule import LOCAL_TERMS, LocalRule, PaperRule, PaperRuleSettings

PARTS = ("train", "data", "rule", "judge", "keep")
OTHER = {
    "train.estimator": "es",
    "rule.backward_update": "fixed",
    "rule.terms": LOCAL_TERMS[::-1],
    "rule.term_scales": {"hebb": 0.5, "rbf": 0},
    "rule.input_scales": {"x": -0.5},
    "rule.bias": -0.3,
    "rule.alike_in": "top",
    "start": "local",
    "data.weights": {"shapes": 1.0, "glyphs": 2.5},
}


def leaves(settings: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """(dotted name, value) of every setting of a plan that holds no settings of its own."""
    for f in fields(settings):
        value, name = getattr(settings, f.name), prefix + f.name
        if is_dataclass(value):
            yield from leaves(value, f"{name}.")
        elif name not in ("preset", "data.glyphs"):
            yield name, value


NAMES = [name for name, _ in leaves(Plan())]


def with_value(settings: Any, name: str, value: Any) -> Any:
    first, _, rest = name.partition(".")
    return replace(settings, **{first: with_value(getattr(settings, first), rest, value) if rest else value})


def other(name: str, value: Any) -> Any:
    """An allowed value that differs from the one there."""
    if name in OTHER:
        return OTHER[name]
    if isinstance(value, bool):
        return not value
    if isinstance(value, int):
        return value + 1
    if isinstance(value, float):
        return value / 2 if value else 0.25
    if name.endswith(("usual_net", "widths", "wide")):
        return (*value, 7)
    if not isinstance(value, tuple) or isinstance(value[0], str):
        pytest.skip(f"no other value is known for {name}")
    low, high = value
    return (low, high - 1 if high - low > 1 else high + 1)


def parsed(*words: str) -> Plan:
    return read_options(["--out", "x", *words]).plan


def unboxed(capsys: pytest.CaptureFixture[str]) -> str:
    """What tyro printed on stderr, without its frame and its line breaks."""
    return " ".join(capsys.readouterr().err.replace("│", "").split())


def remade(command: str) -> Plan:
    """The plan that the real parser makes of a command."""
    words = shlex.split(command)
    assert words[:3] == ["python", "-m", "metarules.meta_training"]
    return read_options(words[3:]).plan


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
    assert remade(plan.command()) == plan


def test_unknown_presets_are_named():
    with pytest.raises(
        ValueError, match=r"^preset is 'desktop'; allowed: demo, further, gpu, laptop, neighbours, paper$"
    ):
        preset("desktop")


def test_a_rule_starts_from_the_seed():
    def start(seed: int) -> torch.Tensor:
        rule = changed(PLAN, train={"seed": seed}).make_rule()
        return torch.cat([p.detach().flatten() for p in rule.parameters()])

    assert torch.equal(start(0), start(0))
    assert not torch.equal(start(0), start(1))


def test_a_plan_may_begin_with_a_rule_and_add_terms():
    wider = changed(preset("laptop"), rule={"terms": (*LOCAL_TERMS, "slow"), "slow": 0.4})
    rule, shipped = replace(wider, start="local").make_rule(), get_rule("local")
    found, learned = (dict(r.named_parameters()) for r in (rule, shipped))
    coefficients = found.pop("forward_readout.coefficients")
    assert torch.equal(coefficients[:-1], learned["forward_readout.coefficients"])
    assert coefficients[-1].item() == pytest.approx(0.4)
    gates = found.pop("forward_readout.gates")
    assert torch.equal(gates[:, :-1], learned["forward_readout.gates"]) and not gates[:, -1].any()
    assert all(torch.equal(p, learned[name]) for name, p in found.items())
    assert wider.make_rule().forward_readout.coefficients.std() != coefficients.std()


@pytest.mark.parametrize(
    ("plan", "start", "message"),
    [
        (preset("paper"), "local", r"^start is 'local', which cannot be gone on from: other is a LocalRule; allowed"),
        (changed(PLAN, rule={"channels": 5}), "local", r"other differs in backward_.*|other differs in bias_readout, "),
        (PLAN, "hebb", r"other is a Hebb; allowed: a LocalRule"),
        (PLAN, "nowhere", r"rule is 'nowhere'; allowed: "),
    ],
)
def test_a_rule_that_cannot_be_begun_with_is_refused(plan: Plan, start: str, message: str):
    with pytest.raises(ValueError, match=message):
        replace(plan, start=start).make_rule()


# ---------------------------------------------------------------------------------------------- options and commands


@pytest.mark.parametrize("name", NAMES)
def test_every_setting_is_an_option_and_comes_back_from_the_command(name: str):
    plan = preset("laptop")
    if name == "train.objective.hinge":
        plan = with_value(plan, "train.objective.logit_scale", 0.0)
    if name == "train.groups":
        plan = with_value(plan, "train.groups_per_step", 1)
    before = dict(leaves(plan))[name]
    value = other(name, before)
    after = with_value(plan, name, value)
    assert value != before and remade(after.command()) == after
    option = f"--{name.removeprefix('train.').replace('_', '-')}"
    assert f" {option} {' '.join(option_words(value))}" in after.command()
    older = ["--set", f"{name}={before!r}"]  # as older cards say it
    assert remade(shlex.join([*shlex.split(after.command()), *older])) == plan


@settings(max_examples=15)  # each reads a command line, for a fifth of a second
@given(st.lists(st.sampled_from(NAMES), unique=True, max_size=8), st.sampled_from(["demo", "laptop", "gpu"]))
def test_commands_make_the_same_plan_again(chosen: Sequence[str], name: str):
    plan = preset(name)
    values = {setting: other(setting, dict(leaves(plan))[setting]) for setting in chosen}
    if "train.objective.hinge" in values:
        values["train.objective.logit_scale"] = 0.0
    values["train.groups"] = 2 * values.get("train.groups_per_step", plan.train.groups_per_step)
    train = {n.removeprefix("train."): v for n, v in values.items() if n.startswith("train.") and n.count(".") == 1}
    plan = changed(plan, train=train)  # at once, since some bound others
    for setting in ("train.objective.logit_scale", *values):
        if setting in values and setting.removeprefix("train.") not in train:
            plan = with_value(plan, setting, values[setting])
    assert remade(plan.command("some where/it's")) == plan


def test_deformations_of_glyphs_are_options_too():
    plan = changed(PLAN, data={"glyphs": (NEAT_GLYPHS, replace(NEAT_GLYPHS, scale=(0.5, 0.6)), BROAD_GLYPHS)})
    assert "--data.glyphs.1.scale 0.5 0.6" in plan.command()
    assert remade(plan.command()) == plan


def test_the_kind_of_rule_decides_which_settings_it_has(capsys: pytest.CaptureFixture[str]):
    plan = parsed("--preset", "paper", "--rule.kernel", "5", "--rule.term-scales", "hebb", "0", "--rule.lr", "1e-3")
    assert isinstance(plan.make_rule(), PaperRule) and plan.rule.kernel == 5
    assert remade(plan.command()) == plan
    with pytest.raises(SystemExit):
        parsed("--preset", "paper", "--rule.hebb", "3")
    assert "--rule.hebb" in capsys.readouterr().err
    local = parsed("--kind", "paper", "--rule.channels", "4")
    assert local.rule == PaperRuleSettings(channels=4) and local.train == preset("laptop").train
    assert local.command().split(" runs/local ")[1] == "--kind paper --rule.channels 4"
    assert remade(local.command()) == local
    with pytest.raises(
        ValueError, match=r"^kind is 'hebb'; allowed: local, .*, or one that a module given to --import"
    ):
        parsed("--kind", "hebb")


def test_a_shell_takes_the_command_as_it_is():
    plan = replace(changed(PLAN, train={"seed": 3}, rule={"term_scales": {"soft": 0.5}}), preset="demo")
    command = plan.command("some where/it's")
    told = subprocess.run(["sh", "-c", f"printf '%s\\n' {command}"], capture_output=True, text=True, check=True)
    assert told.stdout.splitlines() == shlex.split(command)
    assert "--truncation 1 2" in command
    assert remade(command) == plan


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("--set train.particles", "set is 'train.particles'; allowed: part.name=value, such as train.particles=16"),
        ("--particles 0", "particles is 0; allowed: a whole number in [1, inf]"),
        ("--objective.ridge 0", "ridge is 0.0; allowed: a number in (0, 1000000000000000.0]"),
        ("--truncation 4 2", "truncation[1] is 2; allowed: a whole number in [4, inf]"),
        ("--estimator newton", "estimator is 'newton'; allowed: backprop, es, pes"),
        ("--usual-net", "usual_net is (); allowed: a tuple of one layer width or more"),
        ("--rule.term-scales hep 1", "term_scales names 'hep'; allowed: "),
        ("--keep.save-every 0", "save_every is 0; allowed: a whole number in [1, inf]"),
        ("--judge.steps -1", "steps is -1; allowed: a whole number in [0, inf]"),
        ("--data.n-classes 99", "n_classes is 99; allowed: a whole number in [2, 16]"),
        ("--data.weights letters 1", "weights names 'letters'; allowed: binary, decoders, "),
        ("--import no.such.module", "--import is 'no.such.module'; allowed: a module that Python finds from here"),
    ],
)
def test_values_that_are_not_allowed_are_named(words: str, message: str, capsys: pytest.CaptureFixture[str]):
    """By an error, or where tyro met it in a part of the plan, by tyro on stderr."""
    with pytest.raises((ValueError, SystemExit)) as found:
        parsed(*words.split())
    assert message in (str(found.value) if isinstance(found.value, ValueError) else unboxed(capsys))


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("--particles 3.5", "--particles: invalid literal for int() with base 10: '3.5'"),
        ("--learning-rate 1 2", "Unrecognized options: 2"),
        ("--seed", "--seed"),
        ("--rule.softmax no", "invalid choice 'no' for argument '--rule.softmax'. Expected one of ('True', 'False')"),
        ("--truncation 4", "'--truncation'. Expected 2 values"),
        ("--data.weights glyphs", "--data.weights: 'glyphs' leaves a name without a number"),
        ("--data.weights glyphs many", "--data.weights: could not convert string to float: 'many'"),
        ("--set train.speed=3", "Unrecognized options: --speed"),
        ("--rule=3", "--rule"),
    ],
)
def test_words_that_cannot_be_read_are_named(words: str, said: str, capsys: pytest.CaptureFixture[str]):
    with pytest.raises(SystemExit) as end:
        parsed(*words.split())
    printed = unboxed(capsys)
    assert end.value.code == 2
    assert said in printed and "python -m metarules.meta_training --help" in printed


@pytest.mark.parametrize("name", ["validate_every", "save_every"])
def test_settings_of_what_is_kept_out_of_range_are_named(name: str):
    with pytest.raises(ValueError, match=f"^{name} is 0; allowed: a whole number in \\[1, inf\\]"):
        KeepSettings(**{name: 0})


def test_help_says_what_every_setting_means(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("COLUMNS", "100")
    with pytest.raises(SystemExit) as end:
        parsed("--preset", "paper", "--help")
    assert end.value.code == 0
    said = {}
    for line in capsys.readouterr().out.splitlines():
        words = line.strip("│ ").split()
        if words and words[0].startswith("--"):
            option, said[words[0].strip(",")] = words[0].strip(","), ""
        if said:
            said[option] += " " + " ".join(words)
    plan = preset("paper")
    wanted = [f"--{name.removeprefix('train.').replace('_', '-')}" for name, _ in leaves(plan)]
    wanted += ["--out", "--resume", "--set", "--preset", "--kind", "--import", "--threads", "--device"]
    short = {option: said[option] for option in wanted if len(said[option].split("(default")[0].split()) < 4}
    assert short == {}
