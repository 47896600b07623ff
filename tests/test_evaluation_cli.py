"""`python -m metarules.evaluation`: its table, its JSON, its errors."""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any, cast

import pytest
import torch

import metarules.plots.__main__ as plots
from metarules._files import check_target
from metarules.base_model import BaseModelState
from metarules.classic_rules import CLASSIC_RULES
from metarules.command_line import export
from metarules.evaluation import BASELINES, Results, cli, evaluate_baseline, grid
from metarules.pretrained import save_rule
from metarules.tasks import DATASETS, Dataset
from metarules.update_rule import Batch, LocalRule, Trace, UpdateRule

FIELDS = ["data", "representation", "dim", "labels_per_class", "accuracy", "stderr", "n", "seconds"]
SMALL = shlex.split("--data glyphs --data-option n=200 --data-option n_classes=4 --splits 3 --seeds 2")
DATA = "glyphs(n=200, n_classes=4)"


def test_table_and_json_hold_the_same_rows(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    path = tmp_path / "new" / "out.json"
    arguments = shlex.split("--rule hebb_decorrelation --rule local_start --steps 2 --baselines raw pca_32 hebb")
    assert cli.main([*SMALL, *arguments, "--json", str(path)]) == 0
    printed = capsys.readouterr()
    found = json.loads(path.read_text())
    assert [list(row) for row in found["rows"]] == [FIELDS] * 5
    names = ["hebb_decorrelation", "local_start", "hebb", "raw", "pca_32"]
    assert [row["representation"] for row in found["rows"]] == names
    assert [(row["dim"], row["n"]) for row in found["rows"]] == [(32, 6), (32, 6), (32, 6), (64, 3), (32, 3)]
    assert all(row["data"] == DATA and row["labels_per_class"] == 10 for row in found["rows"])
    lines = printed.out.splitlines()
    assert lines[0].split() == FIELDS
    for line, row in zip(lines[1:6], found["rows"], strict=True):
        tail = [row["dim"], row["labels_per_class"], f"{row['accuracy']:.4f}", f"{row['stderr']:.4f}", row["n"]]
        tail.append(f"{row['seconds']:.2f}")
        assert line.removeprefix(DATA).split() == [row["representation"], *map(str, tail)]
    assert "about" in printed.err and " left" in printed.err
    assert printed.out.count("paired difference") == 2  # one comparison for each --rule
    assert "local_start - raw" in printed.out
    settings = found["settings"]
    assert settings["net"] == [64, 32, 32, 32] and settings["splits"] == 3 and settings["seeds"] == 2
    assert settings["inner"]["local_start"]["steps"] == 2  # --steps is for the rules named by --rule ...
    assert settings["inner"]["hebb"]["steps"] == 100  # ... and the others keep their own
    assert found["skipped"] == {} and str(tmp_path) not in path.read_text()
    assert Results.read_json(path).comparison("local_start") in printed.out


def test_default_baselines_are_the_cheap_ones_and_every_hand_written_rule():
    options = cli.build_parser().parse_args([])
    assert set(options.baselines) == {"raw", "random_init", "pca_32", "kmeans_32", "kmeans_64", *CLASSIC_RULES}
    assert options.data == "digits" and (options.labels_per_class, options.splits, options.seeds) == (10, 50, 4)


def test_what_rules_are_set_against():
    quick, whole = (cli.build_parser().parse_args(["--against", name]).baselines for name in ("quick", "all"))
    assert set(whole) == {*BASELINES, *CLASSIC_RULES} and set(quick) < set(whole)
    assert {"raw", "kmeans_64", "eigenmaps_32", "label_spreading", "hebb"} <= set(quick)


def test_rule_files_nets_and_labels_per_class(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    path = save_rule(LocalRule(), tmp_path / "mine.safetensors", {"recommended": {"steps": 1, "batch_size": 20}})
    arguments = ["--rule", str(path), "--no-baselines", "--net", "64-16-8", "--labels-per-class", "3"]
    out = tmp_path / "out.json"
    assert cli.main([*SMALL, *arguments, "--json", str(out)]) == 0
    (row,) = json.loads(out.read_text())["rows"]
    assert (row["representation"], row["dim"], row["labels_per_class"]) == ("mine.safetensors", 8, 3)
    settings = json.loads(out.read_text())["settings"]
    assert settings["inner"]["mine.safetensors"]["batch_size"] == 20 and settings["net"] == [64, 16, 8]
    assert str(tmp_path) not in capsys.readouterr().out + out.read_text()


def test_supervised_rules_are_explained(capsys: pytest.CaptureFixture[str]):
    assert cli.main([*SMALL, "--rule", "backprop", "--steps", "2", "--no-baselines"]) == 0
    assert cli.NOTE in capsys.readouterr().out


def test_a_file_of_ones_own_is_a_data_set(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    rows = [f"{i % 2},{2 * i},{(7 * i) % 11}" for i in range(40)]
    (tmp_path / "flowers.csv").write_text("\n".join(["kind,length,width", *rows]))
    words = [*shlex.split("--data-option label=kind --baselines raw --splits 2 --json"), str(tmp_path / "out.json")]
    assert cli.main(["--data", str(tmp_path / "flowers.csv"), *words]) == 0
    found = json.loads((tmp_path / "out.json").read_text())
    assert [row["data"] for row in found["rows"]] == ["flowers(label=kind)"]
    assert found["settings"]["net"][0] == 2 and found["settings"]["examples"] == 40
    for data, option, said in (
        (
            tmp_path / "flowers.csv",
            "colour=1",
            "--data-option names 'colour'; allowed: decimal, drop, header, keep, label, ",
        ),
        (tmp_path / "none.csv", "label=1", "--data: path: there is no file or folder "),
    ):
        with pytest.raises(SystemExit, match="2"):
            cli.main(["--data", str(data), "--data-option", option])
        assert f"error: {said}" in capsys.readouterr().err


def test_where_results_cannot_go_is_said_before_the_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any):
    (tmp_path / "file").touch()
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(cli, "_run", lambda *_: pytest.fail("work was begun"))
    monkeypatch.setattr(grid, "run_grid", lambda *_, **__: pytest.fail("work was begun"))
    refused = "which cannot be written (Not a directory); allowed: a path that can be written to"
    for words, said in (
        (["--json", "file/x.json"], f"--json is 'file/x.json', {refused}"),
        (["--csv", "file/x"], f"--csv is 'file/x', {refused}"),
        (["--csv", "x", "--json", "./x"], "--json and --csv name one file; allowed: one for each"),
        (["--net", "64-100000-100000"], "--net asks for 10000000000 numbers; allowed: at most 536,870,912"),
    ):
        with pytest.raises(SystemExit, match="2"):
            cli.main(words)
        assert f"error: {said}\n" in capsys.readouterr().err
    assert grid.main(["--out", "file/x.csv"]) == 2 and "--out is 'file/x.csv', which" in capsys.readouterr().err
    for main, words in ((plots.main, ["idea", "file/x.png"]), (export.main, ["file/x.csv"])):
        with pytest.raises(SystemExit, match="2"):
            main(words)
        assert f"', {refused}\n" in capsys.readouterr().err
    assert check_target("--json", Path("~/deep/x.json")) == tmp_path / "deep" / "x.json" and not Path("~").exists()


def test_a_data_set_that_cannot_be_judged_is_said(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    one = Dataset("one", torch.rand(30, 4), torch.zeros(30, dtype=torch.int64), None, ("a", "b"))
    for made, said in (
        (one, "--data is 'odd', with examples of one class; allowed: two classes or more"),
        (3, "what data set 'odd' returned is a int; allowed: a Dataset"),
    ):
        monkeypatch.setitem(DATASETS, "odd", cast(Any, lambda made=made: made))
        monkeypatch.setattr(cli, "load_dataset", lambda name: DATASETS[name]())  # without its annotation checked
        with pytest.raises(SystemExit, match="2"):
            cli.main(["--data", "odd"])
        assert f"error: {said}\n" in capsys.readouterr().err


def test_what_the_data_does_not_allow_is_skipped_with_its_reason(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    out = tmp_path / "out.json"
    arguments = shlex.split("--data two_moons --data-option n=100 --splits 2 --baselines raw pca_32 --json")
    assert cli.main([*arguments, str(out)]) == 0
    assert [row["dim"] for row in json.loads(out.read_text())["rows"]] == [2]
    reason = json.loads(out.read_text())["skipped"]["pca_32"]
    assert reason == "pca_32 needs 32 examples and inputs; this data has 100 and 2"
    assert reason in capsys.readouterr().err


class Exploding(UpdateRule):
    """Leaves the finite numbers."""

    def step_traced(self, phi: BaseModelState, batch: Batch) -> Trace:
        return Trace(z={}, x={}, next_state=phi.map(lambda t: t * torch.inf))


def test_a_rule_that_diverges_costs_its_row_and_the_exit_status(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.setattr(cli, "get_rule", lambda name, n_classes: Exploding())
    assert cli.main([*SMALL, "--rule", "wild", "--baselines", "raw"]) == 1
    printed = capsys.readouterr()
    assert "skipped wild: the rule diverged" in printed.err
    assert [line.split()[-7] for line in printed.out.splitlines()] == ["representation", "raw"]


def test_rows_are_kept_as_they_come(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any):
    out, seen = tmp_path / "out.json", []

    def evaluated(name: str, *arguments: Any) -> Any:
        seen.append([row.representation for row in Results.read_json(out).rows] if out.exists() else None)
        if name == "kmeans_32":
            raise KeyboardInterrupt
        return evaluate_baseline(name, *arguments)

    monkeypatch.setattr(cli, "evaluate_baseline", evaluated)
    words = [*SMALL, "--baselines", "raw", "pca_32", "kmeans_32", "kmeans_64", "--json", str(out)]
    assert cli.main(words) == 130
    assert seen == [None, ["raw"], ["raw", "pca_32"]]
    found = Results.read_json(out)
    assert [row.representation for row in found.rows] == ["raw", "pca_32"]
    assert found.skipped == dict.fromkeys(("kmeans_32", "kmeans_64"), cli.NOT_YET)
    said = capsys.readouterr()
    assert "pca_32" in said.out and "stopped after 2 of 4 rows" in said.err

    def counted(name: str, *arguments: Any) -> Any:
        seen.append(name)
        return evaluate_baseline(name, *arguments)

    monkeypatch.setattr(cli, "evaluate_baseline", counted)
    assert cli.main([*words, "--csv", str(tmp_path / "a.csv"), "--markdown", str(tmp_path / "a.md")]) == 0
    assert seen[3:] == ["kmeans_32", "kmeans_64"]  # the same command goes on where it was stopped
    whole = Results.read_json(out)
    assert [r.row for r in whole.results[:2]] == [r.row for r in found.results] and whole.skipped == {}
    assert (tmp_path / "a.csv").read_text() == whole.csv() and len(whole.csv().splitlines()) == 5
    assert (tmp_path / "a.md").read_text().startswith("| data | representation |")
    assert cli.main(words) == 0 and seen[5:] == ["raw", "pca_32", "kmeans_32", "kmeans_64"]  # nothing was left to do
    out.unlink()
    monkeypatch.setattr(cli, "evaluate_baseline", evaluate_baseline)
    monkeypatch.setattr(cli, "print_whole", lambda text: seen.append(Results.read_json(out).skipped))
    assert cli.main([*SMALL, "--baselines", "raw", "--json", str(out)]) == 0
    assert seen[-1] == {}  # written before it is printed


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("--rule nope", "--rule nope: rule is 'nope'; allowed:"),
        ("--rule none.safetensors", "--rule none.safetensors: name_or_path is 'none.safetensors', which cannot"),
        ("--rule folder/rule.pt", "allowed:"),
        ("--rule hebb --rule hebb", "--rule names 'hebb' twice"),
        ("--data nope", "--data is 'nope'; allowed: "),
        ("--data-option split", "--data-option is 'split'; allowed: KEY=VALUE"),
        ("--data glyphs --data-option split=test", "split is 'test'; allowed: all, train, validation"),
        ("--data glyphs --data-option colour=1", "names 'colour'; allowed:"),
        ("--net 64", "--net is '64'; allowed: two or more sizes such as 64-32-32-32"),
        ("--net 64-x", "--net is '64-x'; allowed: two or more sizes"),
        ("--net 32-32", "--net is '32-32'; allowed: sizes that begin with 64 for this data"),
        ("--net 64-0", "--net is 0; allowed"),
        ("--steps -1", "--steps is -1; allowed"),
        ("--steps many", "invalid int value"),
        ("--labels-per-class 0", "--labels-per-class is 0; allowed: a whole number in [1, 173]"),
        ("--labels-per-class 174", "--labels-per-class is 174; allowed: a whole number in [1, 173]"),
        ("--splits 1", "--splits is 1; allowed: a whole number in [2,"),
        ("--seeds 0", "--seeds is 0; allowed"),
        ("--seed -1", "--seed is -1; allowed"),
        ("--no-baselines", "--no-baselines leaves nothing to do without --rule"),
        ("--baselines umap", "--baselines names 'umap'; allowed: raw, "),
        ("--no-baselines --baselines raw", "not allowed with argument"),
    ],
)
def test_bad_arguments_leave_with_status_2_and_say_what_is_allowed(
    arguments: str, message: str, capsys: pytest.CaptureFixture[str]
):
    with pytest.raises(SystemExit) as left:
        cli.main(arguments.split())
    assert left.value.code == 2
    printed = capsys.readouterr()
    assert message in printed.err and printed.out == ""


def test_an_unwritable_target_is_found_out_before_the_work(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    (tmp_path / "file").write_text("")
    for target in (tmp_path, tmp_path / "file" / "out.json"):
        with pytest.raises(SystemExit) as left:
            cli.main([*SMALL, "--json", str(target)])
        assert left.value.code == 2
        assert "[1/" not in capsys.readouterr().err


def test_the_number_of_threads_is_put_back(capsys: pytest.CaptureFixture[str]):
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        cli.main([*SMALL, "--baselines", "raw"])
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)
    assert "raw" in capsys.readouterr().out


def test_the_command_runs_as_a_module(tmp_path: Path):
    out = tmp_path / "out.json"
    arguments = shlex.split("--rule hebb --steps 1 --data blobs --splits 2 --seeds 1 --baselines raw --json")
    command = [sys.executable, "-m", "metarules.evaluation", *arguments, str(out)]
    root = Path(__file__).resolve().parents[1]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[0].split() == FIELDS
    assert [row["representation"] for row in json.loads(out.read_text())["rows"]] == ["hebb", "raw"]
    wrong = subprocess.run([*command[:3], "--data", "nope"], cwd=root, capture_output=True, text=True, timeout=120)
    assert wrong.returncode == 2 and "allowed: " in wrong.stderr and "Traceback" not in wrong.stderr
