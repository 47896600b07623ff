"""Doors for strangers: kinds of rules, settings to JSON and back, a rule and a family of tasks of one's own."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, cast

import pytest
import strangers.own_data  # noqa: F401 (registers its data set and its family)
import torch
from meta_small import PLAN, SETTINGS, TINY, changed, fingerprint, same, seeded
from strangers.own_rule import OwnRule, OwnRuleSettings

import metarules
from metarules.base_model import BaseModelState, Batch
from metarules.evaluation import ablation, cli
from metarules.inner_loop import learn
from metarules.meta_training import MetaTrainer, Plan, run
from metarules.meta_training.__main__ import _share_cores
from metarules.meta_training.__main__ import main as meta_training_main
from metarules.meta_training.checkpoint import load_checkpoint, save_checkpoint
from metarules.meta_training.options import check_command, read_options
from metarules.meta_training.ranks import Ranks
from metarules.pretrained import KINDS, from_plain, load_rule, plain, register_kind, save_rule
from metarules.tasks import Dataset, DistributionSettings, draw_dataset, draw_tasks, load_dataset, make_task
from metarules.tasks.families import FAMILIES, register_family
from metarules.update_rule import InnerSettings, LocalRule, LocalRuleSettings, UpdateRule

ROOT = Path(__file__).resolve().parents[1]
STRANGERS = ROOT / "tests" / "strangers"
OWN_PLAN = replace(PLAN, rule=OwnRuleSettings(lr=0.05))


# The command line of meta-training, stopped by hand after its second meta-step.
STOPPED = """
import sys
from metarules.meta_training.__main__ import main
from metarules.meta_training.progress import Progress

def stop(self, step, scores):
    if step.number == 2:
        raise KeyboardInterrupt

Progress.watch = stop
sys.exit(main())
"""


def python(*words: str, status: int = 0) -> subprocess.CompletedProcess[str]:
    """A command as a stranger gives it, in the folder of her own files."""
    command = [sys.executable, *words]
    done = subprocess.run(command, cwd=STRANGERS, capture_output=True, text=True, check=False)
    assert done.returncode == status, done.stderr
    return done


# ---------------------------------------------------------------------------------------------- settings and JSON


@dataclass(frozen=True)
class Inner:
    """Settings within settings."""

    pair: tuple[int, float] = (1, 0.5)


@dataclass(frozen=True)
class Outer:
    """One of everything that settings may hold."""

    number: float = 1.0
    name: str = "a"
    flag: bool = True
    row: tuple[int, ...] = ()
    inner: Inner = Inner()
    inners: tuple[Inner, ...] = (Inner(), Inner((3, 2.0)))
    maybe: tuple[int, ...] | None = None
    either: int | tuple[int, ...] = (3, 4)
    bare: tuple = (1, "b")  # type: ignore[type-arg]
    scales: Mapping[str, float] = field(default_factory=dict)


@pytest.mark.parametrize(
    "settings",
    [
        Outer(),
        Outer(2, "b", False, (1, 2), Inner((7, 7)), (Inner(),), (4,), {"x": 0.5}),
        PLAN.train,
        PLAN.data,
        PLAN.judge,
    ],
    ids=lambda settings: type(settings).__name__,
)
def test_settings_come_back_from_json(settings: Any):
    assert from_plain(type(settings), json.loads(json.dumps(plain(settings))), "settings") == settings


def test_a_card_from_before_a_setting_takes_its_default():
    assert from_plain(Outer, {"number": 3, "inner": {}}, "settings") == Outer(3)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ([1], "settings is [1]; allowed: fields of Outer by name"),
        (
            {"mood": 1},
            "settings names 'mood'; allowed: bare, either, flag, inner, inners, maybe, name, number, row, scales",
        ),
        ({"inner": 3}, "settings: inner in settings is 3; allowed: fields of Inner by name"),
        ({"row": 3}, "settings: row in settings is 3; allowed: a list"),
        ({"inner": {"mood": 1}}, "settings: inner in settings names 'mood'; allowed: pair"),
    ],
)
def test_values_that_are_no_settings_are_named(values: Any, message: str):
    with pytest.raises(ValueError, match="^" + re.escape(message)):
        from_plain(Outer, values, "settings")


# ---------------------------------------------------------------------------------------------- the registry


def test_what_is_no_kind_is_refused(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("metarules.pretrained.kinds.KINDS", dict(KINDS))

    @dataclass
    class Loose:
        lr: float = 0.1

    @dataclass(frozen=True)
    class Bare:
        lr: float

    @dataclass(frozen=True)
    class Keyed:
        table: Mapping[Any, float] = field(default_factory=lambda: {1: 2.0})

    @dataclass(frozen=True)
    class Endless:
        most: float = float("inf")

    @dataclass(frozen=True)
    class Postponed:
        inner: Keyed | None = None  # a name of this function, where `get_type_hints` does not look

    class Narrow(UpdateRule):
        def __init__(self, settings: Any) -> None:
            super().__init__()

    register: Any = register_kind
    for rule, settings, error, message in (
        (Outer, Outer, TypeError, "allowed: a subclass of UpdateRule"),
        (OwnRule, Loose, TypeError, r"allowed: a class made by dataclass\(frozen=True\)"),
        (OwnRule, Outer(), TypeError, "allowed: a class"),
        (OwnRule, Bare, ValueError, "^Bare.lr has no default; allowed: a default for each setting"),
        (OwnRule, Keyed, ValueError, r"^table in Keyed is \{1: 2.0\}, of which a file keeps \{'1': 2.0\}; allowed: "),
        (OwnRule, Endless, ValueError, r"^most in Endless is inf \(.*\); allowed: finite numbers, text"),
        (OwnRule, Postponed, ValueError, r"^a type in Postponed is unknown \(name 'Keyed' .*\); allowed: types that"),
        (Narrow, Outer, TypeError, r"^Narrow\(\) does not fit .*; allowed: \(settings, \*, generator\)"),
        (OwnRule, Outer, ValueError, "^name is 'local', which .*LocalRule has already; allowed: another name"),
    ):
        with pytest.raises((error, TypeError), match=f"{message}|type") as found:
            register("local", rule, settings)
        assert isinstance(found.value, error)
    with pytest.raises(ValueError, match=r"^settings are those of kind 'local'; allowed: a class of their own"):
        register_kind("mine", OwnRule, LocalRuleSettings)
    with pytest.raises(ValueError, match=r"^rule has the kind 'own' already; allowed: a class of its own"):
        register_kind("mine", OwnRule, Outer)
    register_kind("own", OwnRule, OwnRuleSettings)  # again, as a notebook's cell does


def test_a_rule_of_no_registered_kind_is_refused_by_name(tmp_path: Path):
    class Unknown(UpdateRule):
        pass

    with pytest.raises(
        TypeError, match=r"^rule is a Unknown; allowed: .*LocalRule.*, or a class given to register_kind"
    ):
        save_rule(Unknown(), tmp_path / "rule.safetensors")
    with pytest.raises(TypeError, match=r"^rule is a InnerSettings; allowed: LocalRule, "):
        Plan(rule=InnerSettings())


def test_what_would_not_come_back_from_a_file_is_not_saved(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    rule, path = OwnRule(OwnRuleSettings(start=cast(Any, [0.8, 0.9]))), tmp_path / "own.safetensors"
    with pytest.raises(
        ValueError, match=r"start in rule.settings is \[0.8, 0.9\], of which a file keeps \(0.8, 0.9\);"
    ):
        save_rule(rule, path)
    del rule.settings
    with pytest.raises(TypeError, match=r"rule\.settings is a NoneType; allowed: an OwnRuleSettings"):
        save_rule(rule, path)
    again = type("OwnRule", (OwnRule,), {"__module__": OwnRule.__module__, "__qualname__": "OwnRule"})
    monkeypatch.setitem(KINDS, "own", replace(KINDS["own"], rule=again))  # as after a notebook's cell is run again
    with pytest.raises(
        TypeError, match=r"rule is a OwnRule made before OwnRule was registered again; allowed: one made"
    ):
        save_rule(OwnRule(), path)


def test_a_card_never_causes_an_import(tmp_path: Path):
    path = save_rule(OwnRule(), tmp_path / "own.safetensors")
    assert load_rule(path).card["modules"] == ["strangers.own_rule"]
    code = f"import metarules, sys; sys.path.insert(0, '..'); metarules.load_rule({str(path)!r})"
    said = python("-c", code, status=1).stderr.splitlines()[-1]
    assert said == (
        "ValueError: kind in own.safetensors is 'own'; allowed: local, paper; import 'strangers.own_rule' first, "
        "which the card says registers what is missing"
    )
    assert "modules" not in load_rule(save_rule(LocalRule(), path)).card


# ---------------------------------------------------------------------------------------------- a stranger's rule


def theta(rule: UpdateRule) -> torch.Tensor:
    return torch.cat([p.detach().flatten() for p in rule.parameters()])


def test_an_own_rule_lives_like_ours_in_python(tmp_path: Path):
    assert MetaTrainer(OwnRule(), SETTINGS, PLAN.data).step().gradient_norm > 0
    whole = load_rule(run(tmp_path / "whole", OWN_PLAN))
    assert isinstance(whole, OwnRule) and whole.settings == OwnRuleSettings(lr=0.05)
    assert not torch.equal(theta(whole), theta(OWN_PLAN.make_rule()))

    def stop(step: Any, scores: Any) -> None:
        if step.number == 4:
            raise InterruptedError

    with pytest.raises(InterruptedError):
        run(tmp_path / "broken", OWN_PLAN, watch=stop)
    resumed = load_rule(run(tmp_path / "broken", OWN_PLAN, resume=True))
    assert torch.equal(theta(resumed), theta(whole))
    with pytest.raises(ValueError, match=r"rule\.lr is 0\.05 there and 0\.03 here"):
        run(tmp_path / "broken", replace(PLAN, rule=OwnRuleSettings()), resume=True)
    task = make_task(load_dataset("blobs"), permute=False)
    after = learn(
        resumed,
        metarules.init_state((task.n_inputs, 4), generator=seeded()),
        task,
        steps=3,
        batch_size=20,
        generator=seeded(),
    )
    assert after.state.layers[0].W.isfinite().all()
    double = save_rule(resumed.double(), tmp_path / "double.safetensors")
    assert torch.equal(theta(load_rule(double)), theta(resumed))


def test_an_own_rule_lives_like_ours_on_the_command_line(tmp_path: Path):
    train = ["-m", "metarules.meta_training", "--import", "own_rule", "--preset", "demo", *TINY, "--meta-steps", "4"]
    train += ["--kind", "own", "--rule.lr", "0.05", "--rule.start", "0.7", "0.9", "--threads", "1", "--device", "cpu"]
    train += ["--out", str(tmp_path / "run")]
    python("-c", STOPPED, *train[2:], status=130)
    assert not (tmp_path / "run" / "snapshots" / "000004.safetensors").exists()
    python(*train, "--resume")
    card = json.loads((tmp_path / "run" / "rule.json").read_text())
    assert (card["kind"], card["modules"]) == ("own", ["own_rule"])
    assert card["settings"] == {"lr": 0.05, "start": [0.7, 0.9]}
    assert " --import own_rule --kind own " in card["command"]
    assert " --rule.lr 0.05 --rule.start 0.7 0.9 " in card["command"]
    judge = ["-m", "metarules.evaluation", "--import", "own_rule", "--rule", str(tmp_path / "run" / "rule.safetensors")]
    judge += ["--data", "blobs", "--net", "2-8-4", "--no-baselines", "--labels-per-class", "3", "--splits", "2"]
    assert "rule.safetensors" in python(*judge, "--seeds", "1", "--steps", "3").stdout


@dataclass(frozen=True)
class MomentumSettings:
    """Settings that are not as simple as ours."""

    channels: tuple[int, ...] = (8, 8)  # no width of an update network
    inner: Inner | None = None
    names: tuple[str, ...] = ()
    name: str = ""


class Momentum(OwnRule):
    """Carries a tensor of its own along, drawn at the start, under a name that weights have too."""

    def __init__(self, settings: MomentumSettings | None = None, *, generator: torch.Generator | None = None) -> None:
        super().__init__(None, generator=generator)
        self.settings: Any = settings or MomentumSettings()
        self.double()

    def init_extra(self, phi: BaseModelState, generator: torch.Generator | None = None) -> BaseModelState:
        first = phi.layers[0].W
        drawn = torch.randn(first.shape, generator=generator, dtype=first.dtype) * self.coefficients[0]
        return phi.with_layers(phi.layers, W1=0.01 * drawn)

    def step(self, phi: BaseModelState, batch: Batch) -> BaseModelState:
        moved = 0.5 * phi.extra["W1"] + self.coefficients[1] * 0.1 * phi.layers[0].W
        first = replace(phi.layers[0], W=phi.layers[0].W + 0.1 * moved)
        return phi.with_layers([first, *phi.layers[1:]], W1=moved)


class Broken(OwnRule):
    """Never finite."""

    def __init__(self, settings: Any = None, *, generator: torch.Generator | None = None) -> None:
        super().__init__(None, generator=generator)
        self.settings = settings or BrokenSettings()

    def step(self, phi: BaseModelState, batch: Batch) -> BaseModelState:
        return super().step(phi, batch).map(lambda t: t * float("nan"))


@dataclass(frozen=True)
class BrokenSettings(OwnRuleSettings):
    """Those of `OwnRule`."""


@pytest.fixture
def more_kinds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("metarules.pretrained.kinds.KINDS", known := dict(KINDS))
    monkeypatch.setattr("metarules.meta_training.options.KINDS", known)
    monkeypatch.setattr("metarules.pretrained.storage.KINDS", known)
    register_kind("momentum", Momentum, MomentumSettings)
    register_kind("broken", Broken, BrokenSettings)


@pytest.mark.parametrize("estimator", ["backprop", "pes"])
def test_a_rule_in_double_precision_that_carries_tensors_trains_and_resumes(
    more_kinds: None, tmp_path: Path, estimator: str
):
    plan = changed(replace(PLAN, rule=MomentumSettings()), train={"estimator": estimator, "horizon": (8, 16)})
    whole = MetaTrainer(plan.make_rule(), plan.train, plan.data)
    for _ in range(4):
        whole.step()
    save_checkpoint(whole, tmp_path / "checkpoint.safetensors")
    resumed = MetaTrainer(plan.make_rule(), plan.train, plan.data)
    drawn = [group.phi.extra["W1"] for group in resumed.groups.values()]
    assert all(d.std() > 0 and not d.requires_grad for d in drawn) and drawn[0].dtype == torch.float64
    load_checkpoint(resumed, tmp_path / "checkpoint.safetensors")
    assert same(fingerprint(resumed), fingerprint(whole))
    assert whole.step() == resumed.step() and same(fingerprint(resumed), fingerprint(whole))
    assert whole.skipped == 0
    assert isinstance(load_rule(run(tmp_path / "run", plan)), Momentum)
    assert _share_cores(plan, Ranks(), 1).count == 1


def test_a_run_whose_command_or_updates_are_worth_nothing_says_so(more_kinds: None, tmp_path: Path):
    check_command(replace(PLAN, rule=MomentumSettings(name="-x y", channels=())))
    for settings, message in (
        (
            MomentumSettings(inner=Inner()),
            r"^rule\.inner is Inner\(pair=\(1, 0\.5\)\), which no option can say; allowed: ",
        ),
        (MomentumSettings(names=("-a", "b")), r"^rule\.names is \('-a', 'b'\), which no option can say; allowed: "),
    ):
        with pytest.raises(ValueError, match=message):
            run(tmp_path / "none", replace(PLAN, rule=settings))
    assert not (tmp_path / "none").exists()
    with pytest.raises(ValueError, match=r"^all 6 updates were skipped, .* no rule\.safetensors was written; allowed"):
        run(tmp_path / "broken", replace(PLAN, rule=BrokenSettings()))
    assert not (tmp_path / "broken" / "rule.safetensors").exists()


def test_the_card_imports_what_registers_the_terms():
    import strangers.own_terms

    plan = replace(PLAN, rule=replace(PLAN.rule, terms=(*PLAN.rule.terms, "instar")))
    assert f" --import {strangers.own_terms.__name__} " in plan.command()


@pytest.mark.parametrize(
    ("words", "name"),
    [
        (["--import", "./my_rule.py"], "./my_rule.py"),
        (["--import", ".my_rule"], ".my_rule"),
        (["--import", "my_rule.py"], "my_rule.py"),
        (["--import="], ""),
        (["--import"], ""),
    ],
)
@pytest.mark.parametrize("main", [cli.main, ablation.main, meta_training_main])
def test_what_is_no_module_is_said_by_every_command(
    words: list[str], name: str, main: Any, capsys: pytest.CaptureFixture[str]
):
    assert main(words) == 2
    said = f"error: --import is {name!r}; allowed: a module name such as my_rule, not a path\n"
    assert capsys.readouterr().err == said


# ---------------------------------------------------------------------------------------------- a stranger's data


@pytest.mark.parametrize(
    ("made", "error", "found", "allowed"),
    [
        (lambda n, k: torch.zeros(n), TypeError, "Tensor", "a Dataset"),
        (lambda n, k: data(n, 3, k), ValueError, "36 x 3 in 3 classes", "36 x 64 in 3 classes"),
        (lambda n, k: data(n, 64, 2), ValueError, "36 x 64 in 2 classes", "36 x 64 in 3 classes"),
        (lambda n, k: data(n + 1, 64, k), ValueError, "37 x 64 in 3 classes", "36 x 64 in 3 classes"),
        (lambda n, k: data(n, 64, k, 2), ValueError, "a class of 0 examples", "12 or more in each"),
    ],
)
def test_a_family_keeps_the_form_asked_for(
    made: Any, error: type[Exception], found: str, allowed: str, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("metarules.tasks.families.FAMILIES", known := dict(FAMILIES))
    for where in ("distribution", "task_form"):
        monkeypatch.setattr(f"metarules.tasks.{where}.FAMILIES", known)
    with pytest.raises(
        ValueError, match=r"^name is 'glyphs', which metarules\.tasks\.families\._glyphs has; allowed: "
    ):
        register_family("glyphs")(made)
    register_family("odd")(lambda draw: made(draw.form.n_examples, draw.form.n_classes))
    with pytest.raises(error, match=f"family 'odd' returned (is a )?{found}; allowed: {allowed}$"):
        draw_dataset(replace(PLAN.data, weights={"odd": 1.0}), "train", seeded())


def data(n: int, n_inputs: int, n_classes: int, there: int | None = None) -> Dataset:
    y = torch.arange(n) % (there or n_classes)
    return Dataset("data", torch.rand(n, n_inputs), y, None, tuple(map(str, range(n_classes))))


def test_an_own_data_set_is_on_the_command_line_of_the_evaluation(capsys: pytest.CaptureFixture[str]):
    words = ["--import", "strangers.own_data", "--data", "waves", "--data-option", "n_inputs=9", "--net", "9-8-4"]
    assert cli.main([*words, "--rule", "hebb", "--no-baselines", "--splits", "2", "--seeds", "1", "--steps", "3"]) == 0
    assert "hebb" in capsys.readouterr().out
    assert cli.main(["--import", "strangers.no_file"]) == 2
    said = capsys.readouterr().err
    assert said.startswith("error: --import is 'strangers.no_file'; allowed: a module that Python finds from here (No ")


def test_an_own_family_takes_part_where_the_weights_name_it(tmp_path: Path):
    assert "waves" not in DistributionSettings().weights and "waves" not in PLAN.data.held_out
    plan = changed(PLAN, data={"weights": {"glyphs": 0.5, "waves": 1.0}})
    names = {draw_tasks(plan.data, None, 1, seeded(i)).name for i in range(8)}
    assert "waves" in names and plan.data.held_out == ("glyphs", "decoders", "handwriting", "waves")
    assert " --import strangers.own_data " in plan.command()
    held_out = draw_dataset(replace(plan.data, weights={"waves": 1.0}), "validation", seeded())
    same_seed = draw_dataset(replace(plan.data, weights={"waves": 1.0}), "train", seeded())
    assert held_out.x.shape == same_seed.x.shape and not torch.equal(held_out.x, same_seed.x)
    assert "waves" in load_rule(run(tmp_path / "run", plan)).card["validation"][0]
    assert ",waves," in (tmp_path / "run" / "log.csv").read_text().splitlines()[0]
    words = ["--out", "x", "--import", "strangers.own_data", "--data.weights", "glyphs", "0.5", "waves", "1"]
    assert read_options([*words, "--data.usual-share", "1"]).plan.data.weights == plan.data.weights
