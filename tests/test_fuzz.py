"""Exported callables and arguments that make no sense: each says so, names one, and neither hangs nor grows.

A call may succeed, or raise TypeError, ValueError or what its docstring announces; a TypeError or ValueError names an
argument. What callables need to work at all comes from `GOOD`, so that bad values reach what stands behind the types.
"""

from __future__ import annotations

import importlib
import inspect
import random
import re
import resource
import signal
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch

import metarules.command_line
from metarules import widgets
from metarules._checks import shown
from metarules.command_line import COMMANDS
from metarules.command_line.completion import options_of
from metarules.evaluation import BASELINES, UnsuitableError, baseline_features, baseline_guesses
from tests.fuzz_values import ALSO, BAD, FLOWERS, GOOD, data, rule, task, x

ROOMS = (
    *("base_model", "update_rule", "classic_rules", "pretrained", "meta_objective", "tasks", "inner_loop"),
    *("evaluation", "meta_training", "studies", "plots", "widgets", "exercises"),
)
SECONDS = 20  # that a call may take of this process's time
MEMORY = 2**31  # bytes that may be asked for beyond what is held at the start


class Exported(NamedTuple):
    """A public function, or a class whose arguments are checked, and what it takes."""

    name: str
    call: Callable[..., Any]
    parameters: dict[str, inspect.Parameter]


def transformed(
    rule: Any,
    hidden_layer_sizes: Any,
    n_components: Any,
    n_steps: Any,
    batch_size: Any = None,
    random_state: Any = 0,
    nonlinearity: Any = "relu",
) -> Any:
    """A transformer, whose settings `fit` checks; of its rows scikit-learn speaks itself. Raises: DivergenceError."""
    settings = (rule, hidden_layer_sizes, n_components, n_steps, batch_size, random_state, nonlinearity)
    return metarules.MetaRuleTransformer(*settings).fit(data().x.numpy())


def exported() -> list[Exported]:
    found: dict[int, Exported] = {}
    for room in ROOMS:
        module = importlib.import_module(f"metarules.{room}")
        for name, thing in vars(module).items():
            home = str(getattr(thing, "__module__", ""))
            if name.startswith("_") or not callable(thing) or not f"{home}.".startswith(f"metarules.{room}."):
                continue
            checked = thing.__init__ if inspect.isclass(thing) else thing
            if not hasattr(checked, "checks") and thing is not metarules.BaseModelState:
                continue
            parameters = dict(inspect.signature(thing).parameters)
            found.setdefault(id(thing), Exported(f"{room}.{name}", thing, parameters))
    found[0] = Exported("estimator.MetaRuleTransformer", transformed, dict(inspect.signature(transformed).parameters))
    return [one for one in found.values() if one.parameters]


def arguments(one: Exported) -> dict[str, Any]:
    """What a call needs, and what keeps it short."""
    room, name = one.name.split(".")
    given = {**GOOD[""], **GOOD.get(room, {}), **GOOD.get(name, {})}
    return {parameter: given[parameter]() for parameter in one.parameters if parameter in given}


@contextmanager
def bounds() -> Iterator[None]:
    """An end to calls that take too long or too much."""

    def late(*_: Any) -> None:
        raise TimeoutError(f"longer than {SECONDS} s")

    before, old = resource.getrlimit(resource.RLIMIT_AS), signal.signal(signal.SIGVTALRM, late)
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + MEMORY, before[1]))
    signal.setitimer(signal.ITIMER_VIRTUAL, SECONDS)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        signal.signal(signal.SIGVTALRM, old)
        resource.setrlimit(resource.RLIMIT_AS, before)


def fault(one: Exported, given: dict[str, Any], changed: str) -> str | None:
    """What is wrong with how a callable answers; None where nothing is."""
    try:
        with bounds(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            made = one.call(**given)
    except Exception as error:
        said = f"{type(error).__name__}: {error}"
        kinds = {kind.__name__ for kind in type(error).__mro__[:-3]}  # without Exception, BaseException, object
        raises = (inspect.getdoc(one.call) or "").partition("Raises:")[2]
        names = (*one.parameters, changed, *ALSO.get(one.name, ()))
        if not isinstance(error, TypeError | ValueError):
            return None if any(kind in raises for kind in kinds) else f"undocumented {said}"
        if not any(re.search(rf"\b{re.escape(name)}\b", str(error)) for name in names):
            return f"names no argument: {said}"
        return f"too long to read ({len(said)})" if len(said) > 1500 else None
    if isinstance(made, widgets.Explorable):
        made.wait()
        made.close()
    return None


@pytest.fixture
def room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, unchecked_types: None) -> None:
    """A folder to work in, and registries that are put back."""
    monkeypatch.chdir(tmp_path)
    Path("flowers.csv").write_bytes(FLOWERS)


def tried(each: int, seed: int) -> Iterator[tuple[str, str | None]]:
    """Every parameter of every callable with some bad values, drawn at random: what was tried, and what is wrong."""
    for one in exported():
        for name, about in one.parameters.items():
            changed = "nonsense" if about.kind is about.VAR_KEYWORD else name
            draw = random.Random(f"{seed} {one.name} {changed}")  # the same values whatever else comes or goes
            for bad in draw.sample(BAD, each):
                value = bad()
                if callable(value) and changed in ("progress", "stop", "batches", "watch", "say", "order"):
                    continue  # a function of the caller's may raise what it likes
                yield (
                    f"{one.name}({changed}={shown(value)})",
                    fault(one, {**arguments(one), changed: value}, changed),
                )


def judge(each: int, seed: int, least: int) -> None:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    found = list(tried(each, seed))
    faults = [f"{call}: {wrong}" for call, wrong in found if wrong]
    assert not faults, "\n".join(faults)
    assert len(found) >= least
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert grown < 2**20  # kB: a GB


@pytest.mark.filterwarnings("ignore")
def test_a_value_that_makes_no_sense_is_named(room: None):
    judge(1, seed=0, least=600)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_many_values_that_make_no_sense_are_named(room: None):
    judge(9, seed=1, least=5000)


FOUND = {  # by trying every bad value on everything, once
    ("meta_objective.ridge_fit", "ridge"): 1e308,
    ("meta_objective.ridge_cosine_loss", "ridge"): 1e308,
    ("evaluation.mean_of_pairs", "pairs"): torch.zeros(6, 6, dtype=torch.bfloat16),
    ("evaluation.split_reader", "labels"): torch.zeros(()),
    ("evaluation.rule_features_along", "steps"): [],
    ("tasks.read_bytes", "name"): "no",
    ("inner_loop.unroll", "batches"): torch.zeros(()),
    ("studies.follow_backward_weights", "rule"): metarules.get_rule("hebb"),
}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(("name", "changed"), FOUND)
def test_a_value_that_was_not_named_once(name: str, changed: str, room: None):
    (one,) = (one for one in exported() if one.name == name)
    assert fault(one, {**arguments(one), changed: FOUND[name, changed]}, changed) is None


ODD = {
    "two rows": x(2, 6),
    "one input": x(60, 1),
    "all the same": torch.ones(60, 6),
    "large": x(60, 6) * 1e30,
    "small": x(60, 6) * 1e-30,
    "twice": x(30, 40).repeat(2, 1),
    "one feature of many varies": torch.cat([torch.zeros(60, 40), x(60, 1)], 1),
}


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", BASELINES)
def test_a_rival_of_odd_data_gives_finite_features_or_says_why(name: str):
    for what, rows in ODD.items():
        try:
            if BASELINES[name].uses_labels:
                known = torch.arange(len(rows)) % 2
                known[-1] = -1
                assert set(baseline_guesses(name, rows, known).tolist()) <= {0, 1}, what
            else:
                assert baseline_features(name, rows, hidden=(4, 3)).isfinite().all(), what
        except UnsuitableError as error:
            assert name in str(error) and len(str(error)) < 300, what


WORDS = ("", "no", "-1", "0", "1.5", "nan", "1e999", "9" * 400, "/dev/null", "a=b", "x" * 9999, "a\0b")
QUICK = {  # words that keep what a command does short, should it take the others
    "evaluate": "--rule hebb --no-baselines --data two_moons --steps 1 --splits 2 --seeds 1",
    "train": "--preset demo --out run",
    "export": "out.csv --rule hebb --data two_moons --steps 1",
    "lab": "lessons --copy-only",
    "doctor": "--quick",
    "completion": "bash",
}


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("command", COMMANDS)
def test_bad_words_of_a_command_are_answered_in_a_sentence(
    command: str, room: None, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.setattr("metarules.meta_training.__main__.run", lambda *_, **__: Path("rule"))
    for changes_all in ("set_flush_denormal", "set_num_threads"):
        monkeypatch.setattr(torch, changes_all, print)
    for option in options_of(command):
        for word in random.Random(option).sample(WORDS, 2):
            status = metarules.command_line.main([command, *QUICK.get(command, "").split(), option, word])
            said = capsys.readouterr().err
            assert status in (0, 1, 2) and "Traceback" not in said, (option, word, said)
            assert status != 2 or len(said.splitlines()[-1]) < 1500, (option, word, said)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_what_the_calls_begin_with_is_good(room: None):
    wrong = {one.name: fault(one, arguments(one), "") for one in exported()}
    assert {name: why for name, why in wrong.items() if why} == {}


def test_what_torch_is_told_to_make_by_itself_changes_no_number():
    """Another default dtype or device, or autocast, leave what a generator draws and a rule learns as they are."""

    on = task()

    def learned() -> torch.Tensor:
        made = metarules.start(rule(), on, sizes=(6, 4, 3), steps=3, batch_size=8, seed=1)
        options = {"steps": 3, "batch_size": 8, "generator": made.generator}
        return metarules.learn(rule(), made.phi, on, **options).state.layers[0].W

    wanted = learned()
    torch.set_default_dtype(torch.float64)
    try:
        found = learned()
    finally:
        torch.set_default_dtype(torch.float32)
    assert torch.equal(found, wanted)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(learned(), wanted)
    with torch.device("meta"):
        found = learned()
    assert torch.equal(found, wanted)
