"""Faults that real files, real users and hard tries found, by kind, where no other file has the test."""

from __future__ import annotations

import inspect
import io
import os
import pydoc
import sys
import zipfile
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import torch

import metarules
from benchmarks.report import said
from metarules import _arguments, _files, forward, get_rule, init_state, learn, load_rule, make_task, shipped_run
from metarules.base_model import BaseModelState, freeze
from metarules.classic_rules import OjaSettings
from metarules.evaluation import evaluate_rule
from metarules.inner_loop import check_steps
from metarules.meta_objective import ridge_cosine_loss
from metarules.meta_training import MetaTrainer
from metarules.meta_training.ranks import Ranks
from metarules.plots import alignment_figure
from metarules.studies.evolution import evolution
from metarules.tasks import Dataset, read_bytes, read_dataset
from metarules.update_rule import LocalRule, LocalRuleSettings, UpdateRule
from metarules.widgets import InnerLoopExplorer, RandomNetExplorer
from tests.fuzz_values import data, task, x
from tests.meta_small import DISTRIBUTION
from tools import levers, ship

pytestmark = pytest.mark.usefixtures("unchecked_types")


def how(**changed: Any) -> dict[str, Any]:
    return {"steps": 2, "batch_size": 8, "generator": torch.Generator().manual_seed(0), **changed}


# ---- A: silently wrong


def nan_in_phi() -> BaseModelState:
    phi = init_state((6, 4, 3))
    phi.layers[0].W[0, 0] = torch.nan
    return phi


def named(**changed: Any) -> Dataset:
    return Dataset(**{**{key: getattr(data(), key) for key in ("name", "x", "y", "shape", "class_names")}, **changed})


NAN = r"W\[0\] holds 1 NaN"
TAKEN = {
    "text for a switch": (lambda: OjaSettings(subspace=cast(Any, "no")), "subspace is 'no'; allowed: True or False"),
    "settings of another kind": (
        lambda: MetaTrainer(load_rule("local"), cast(Any, LocalRuleSettings()), DISTRIBUTION),
        "settings is LocalRule.*; allowed: a MetaTrainingSettings",
    ),
    "tasks= that can be read once": (
        lambda: make_task(data(), generator=torch.Generator(), tasks=cast(Any, (n for n in (2, 3)))),
        "tasks is <generator.*; allowed: a list or tuple of a whole number",
    ),
    "a shape below zero": (lambda: named(shape=(-1, -6)), r"shape is \(-1, -6\); allowed: .*height \* width = 6"),
    "one name for two classes": (lambda: named(class_names=("a", "b", "a")), "class_names is .*; allowed: names that"),
    "NaN in phi": (lambda: learn(get_rule("hebb"), nan_in_phi(), task(), **how()), NAN),
    "NaN in phi, a step": (lambda: get_rule("hebb")(nan_in_phi(), x(9, 6)), NAN),
    "NaN in phi, traced": (lambda: get_rule("hebb").trace(nan_in_phi(), x(9, 6)), NAN),
    "NaN in phi, forward": (lambda: forward(nan_in_phi(), x(9, 6)), NAN),
    "NaN in phi, frozen": (lambda: freeze(nan_in_phi(), x(9, 6)), NAN),
    "targets too large to square": (
        lambda: ridge_cosine_loss(x(9, 4), x(9, 2) * 1e30, x(9, 4), x(9, 2)),
        "targets_a holds numbers up to .*; allowed: up to 1e",
    ),
    "layer 0": (
        lambda: alignment_figure(np.ones((2, 2)), np.ones((2, 4, 3)), np.ones((2, 4, 3)), [0, 1], layer=0),
        r"layer is 0; allowed: a whole number in \[1, 2\]",
    ),
}


@pytest.mark.parametrize("what", TAKEN)
def test_what_was_taken_and_wrong_is_refused(what: str):
    call, message = TAKEN[what]
    with pytest.raises((TypeError, ValueError), match=message):
        call()


# ---- B: lost


def test_the_shipped_rule_is_not_overwritten_unless_it_is_said(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    before = (shipped_run("local").parent / "local.safetensors").read_bytes()
    monkeypatch.setattr(sys, "argv", ["ship.py", "runs/nowhere"])
    with pytest.raises(SystemExit, match="2"):
        ship.main()
    assert "--name is 'local', which the package has; allowed: another name, or --replace" in capsys.readouterr().err
    assert (shipped_run("local").parent / "local.safetensors").read_bytes() == before


# ---- C: hangs, memory


def test_a_decoy_in_an_npz_does_not_hide_the_true_size(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("metarules.tasks.own_data.arrays.MAX_BYTES", 10_000)
    array, file = io.BytesIO(), io.BytesIO()
    np.save(array, np.zeros((100, 100)))
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("x", b"1")
        archive.writestr("x.npy", array.getvalue())
    with pytest.raises(ValueError, match=r"t.npz unpacks to 80128 bytes; allowed: up to 10000"):
        read_bytes("t.npz", file.getvalue())


def test_more_numbers_than_memory_holds_are_refused_at_once():
    file = io.BytesIO()
    np.savez_compressed(file, x=np.zeros((60_000, 28, 28), np.uint8), y=np.arange(60_000) % 10)  # of MNIST's shape
    with pytest.raises(ValueError, match="holds 60000 examples of 784 numbers; allowed: up to 31887 examples of this"):
        read_bytes("mnist.npz", file.getvalue())
    assert len(check_steps(None, 10**7)) == 10**7 + 1  # without a set of that size
    for refused in (
        lambda: learn(get_rule("hebb"), init_state((6, 4, 3)), task(), **how(steps=10**9)),
        lambda: LocalRule(LocalRuleSettings(channels=30_000)),
        lambda: init_state((10**6, 10**6)),
    ):
        with pytest.raises(ValueError, match=r"^(steps|channels|sizes) (is|asks for) .*; allowed: "):
            refused()


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes here")
def test_a_pipe_is_no_file(tmp_path: Path):
    os.mkfifo(tmp_path / "pipe.csv")
    os.mkfifo(tmp_path / "pipe.safetensors")
    with pytest.raises(ValueError, match=r"pipe.csv' cannot be read \(no ordinary file\)"):
        read_dataset(tmp_path / "pipe.csv")
    with pytest.raises((OSError, ValueError), match="pipe"):
        load_rule(tmp_path / "pipe.safetensors")
    if Path("/proc/kmsg").exists():
        with pytest.raises(ValueError, match="kmsg"):
            read_dataset("/proc/kmsg")


def test_an_error_while_putting_back_hides_nothing():
    explorer = InnerLoopExplorer("hebb", task(), sizes=(6, 4, 3), steps=2)

    def fail(*_: Any) -> Any:
        raise ValueError("the work")

    def fail_too() -> None:
        raise KeyError("putting back")

    explorer.start("working", fail, print, fail_too)
    assert explorer.wait(300)
    assert "the work" in explorer.status.value and explorer.progress.layout.visibility == "hidden"
    explorer.close()


# ---- D: a sentence


def test_an_empty_rank_is_no_rank(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("RANK", "")
    assert Ranks.from_environment().rank == 0
    monkeypatch.setenv("RANK", "first")
    with pytest.raises(ValueError, match="RANK is 'first' in the environment; allowed: a whole number"):
        Ranks.from_environment()


ODD_ARGUMENTS = {
    "no path": (lambda: load_rule(cast(Any, None)), "name_or_path is None; allowed: text or a Path"),
    "400 digits": (lambda: init_state((10**400, 3)), r"sizes is \(1000.*; allowed: "),
    "bfloat16": (
        lambda: ridge_cosine_loss(*(t.bfloat16() for t in (x(9, 4), x(9, 2), x(9, 4), x(9, 2)))),
        "features_a has dtype torch.bfloat16; allowed: torch.float32 or torch.float64",
    ),
    "a meta tensor": (lambda: metarules.forward(init_state((6, 3)), x(8, 6).to("meta")), "x is .* on meta; allowed: "),
    "a sparse tensor": (
        lambda: metarules.forward(init_state((6, 3)), x(8, 6).to_sparse()),
        "x is .*; allowed.*dense",
    ),
    "a plain function": (
        lambda: learn(cast(Any, lambda phi, batch: phi), init_state((6, 3)), task(), **how()),
        "rule is <function.*; allowed: an UpdateRule .*FunctionRule makes one of a function",
    ),
}


@pytest.mark.parametrize("what", ODD_ARGUMENTS)
def test_odd_arguments_are_named(what: str):
    call, message = ODD_ARGUMENTS[what]
    with pytest.raises((TypeError, ValueError), match=message):
        call()


def test_numbers_of_numpy_are_numbers():
    made = metarules.start(get_rule("hebb"), task(), sizes=(6, 3), steps=np.int64(2), seed=cast(Any, np.int64(3)))
    same = metarules.start(get_rule("hebb"), task(), sizes=(6, 3), steps=2, seed=3)
    assert torch.equal(made.phi.layers[0].W, same.phi.layers[0].W)


class Returns(UpdateRule):
    def __init__(self, made: Any) -> None:
        super().__init__()
        self.made = made

    def step(self, phi: Any, batch: Any) -> Any:
        return self.made


@pytest.mark.parametrize("made", [None, (1, 2), torch.ones(3)])
def test_a_rule_that_returns_no_phi_is_told_so(made: Any):
    for call in (
        lambda: learn(Returns(made), init_state((6, 4, 3)), task(), **how()),
        lambda: Returns(made)(init_state((6, 4, 3)), x(8, 6)),
    ):
        with pytest.raises(TypeError, match=r"the rule's step returned .*; allowed: phi, a BaseModelState"):
            call()


def test_a_rule_without_a_step_is_told_what_to_write():
    with pytest.raises(NotImplementedError, match="must define step, which returns phi, or step_traced"):
        UpdateRule()(init_state((6, 4, 3)), x(8, 6))


def test_data_of_one_feature_have_a_picture():
    one = make_task(Dataset("one", x(60, 1), torch.arange(60) % 2, None, ("a", "b")), permute=False)
    explorer = RandomNetExplorer(one, depth=1, width=4)
    assert "error" not in explorer.status.value.lower() and explorer.panels
    explorer.close()


def test_labels_that_stand_first_are_found():
    rows = "".join(f"{i % 3},{i}.5,{(7 * i) % 11}.25\n" for i in range(60))
    assert "labels: column 1;" in repr(read_bytes("t.csv", rows.encode()))


def test_a_folder_from_a_phone_is_told_what_would_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("metarules.tasks.own_data.reading.MAX_BYTES", 100)
    (tmp_path / "cat_1.jpg").write_bytes(b"\xff" * 200)
    with pytest.raises(ValueError, match="hold 0 MB; allowed: 0 MB in all, such as copies 256 pixels wide"):
        read_dataset(tmp_path)


def test_a_long_run_of_snapshots_has_a_short_repr():
    assert len(repr(evolution(shipped_run("local")))) < 100


def test_a_wide_table_fits_a_terminal(monkeypatch: pytest.MonkeyPatch):
    lines = [["what", *(f"column {i}" for i in range(12))], *([f"row {i}", *["0.1234"] * 12] for i in range(3))]
    assert "\n\n" not in _files.text_table(lines)  # a file or a pipe breaks no lines
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
    monkeypatch.setenv("COLUMNS", "60")
    for shown in (_files.text_table(lines), said(lines[0], lines[1:])):
        assert max(map(len, shown.splitlines())) <= 60
        assert all(f"column {i}" in shown for i in range(12)) and shown.count("row 2") > 1


def test_a_table_of_levers_that_is_stopped_keeps_its_rows(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    class Stopped:
        cases = ("glyphs",)
        judged = 0

        def __init__(self, *settings: object) -> None:
            pass

        def __call__(self, rule: UpdateRule) -> dict[str, torch.Tensor]:
            Stopped.judged += 1
            if Stopped.judged > 4:
                raise KeyboardInterrupt
            return {"glyphs": torch.linspace(0.5, 0.6, levers.TASKS)}

    for lever in list(levers.LEVERS)[:3]:
        for seed in (0, 1):
            metarules.save_rule(LocalRule(), levers.folder(tmp_path, lever, seed) / "rule.safetensors")
    monkeypatch.setattr(levers, "Judge", Stopped)
    monkeypatch.setattr(levers, "TABLE", tmp_path / "table.csv")
    monkeypatch.setattr(sys, "argv", ["levers.py", "--table-only", "--out", str(tmp_path)])
    assert levers.main() == 130
    assert "stopped after 2 rows" in (told := capsys.readouterr()).err and len(told.out.splitlines()) == 2
    assert len((tmp_path / "table.csv").read_text().splitlines()) == 3


# ---- the mechanism itself


def test_signatures_and_docstrings_are_those_of_the_functions():
    """For readers in notebooks and for the tools that make pages of documentation."""
    found = inspect.signature(evaluate_rule)
    assert list(found.parameters)[:3] == ["rule", "name", "dataset"] and found.return_annotation == "Result"
    assert evaluate_rule.__module__ == "metarules.evaluation.protocol" and evaluate_rule.__name__ == "evaluate_rule"
    assert "Put a rule through the protocol." in pydoc.render_doc(evaluate_rule, renderer=pydoc.plaintext)
    assert "def evaluate_rule(" in inspect.getsource(evaluate_rule)
    assert next(iter(inspect.signature(MetaTrainer).parameters)) == "rule" and inspect.getdoc(MetaTrainer.__init__)


def test_an_inner_step_meets_no_check_of_types(monkeypatch: pytest.MonkeyPatch):
    counted: list[str] = []
    taken = _arguments._taken
    monkeypatch.setattr(_arguments, "_taken", lambda hint, value: [counted.append(str(hint)), taken(hint, value)][1])
    calls = []
    for steps in (2, 12):
        counted.clear()
        learn(get_rule("local"), init_state((6, 4, 3)), task(), **how(steps=steps))
        calls.append(len(counted))
    assert calls[0] == calls[1] > 0
