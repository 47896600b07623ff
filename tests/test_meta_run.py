"""Whole runs on the smallest settings: what they leave, how they go on after a kill, and their command line."""

from __future__ import annotations

import csv
import importlib
import os
import random
import re
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from meta_small import DISTRIBUTION, PLAN, RULE, SMALL_RULE, TINY, changed, same, trainer
from torch import Tensor

from metarules.meta_training import Judge, Plan, preset, run
from metarules.meta_training.__main__ import main
from metarules.meta_training.card import revision
from metarules.meta_training.log import COLUMNS, Log, is_snapshot_step
from metarules.meta_training.options import read_options
from metarules.meta_training.outer_loop import MetaStep
from metarules.meta_training.progress import Progress
from metarules.pretrained import load_rule, plain
from metarules.update_rule import InnerSettings

command_line = importlib.import_module("metarules.meta_training.__main__")
progress_module = importlib.import_module("metarules.meta_training.progress")


@pytest.fixture(autouse=True)
def leave_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the command line does to memory for its whole process could not be undone."""
    monkeypatch.setattr("metarules.meta_training.__main__.keep_memory", lambda: True)


def rows(out: Path) -> list[dict[str, str]]:
    with (out / "log.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def tensors(path: Path) -> dict[str, Tensor]:
    return safetensors.torch.load(path.read_bytes())


def assert_same_end(out: Path, whole: Path) -> None:
    """Checkpoint, rule and snapshots bit for bit, and a log that differs in its minutes alone."""
    for name in ("checkpoint.safetensors", "rule.safetensors"):
        assert same(tensors(out / name), tensors(whole / name)), name
    names = sorted(path.name for path in (whole / "snapshots").iterdir())
    assert sorted(path.name for path in (out / "snapshots").glob("*.safetensors")) == names
    for name in names:
        assert same(tensors(out / "snapshots" / name), tensors(whole / "snapshots" / name)), name
    for a, b in zip(rows(whole), rows(out), strict=True):
        assert {k: v for k, v in a.items() if k != "minutes"} == {k: v for k, v in b.items() if k != "minutes"}
    minutes = [float(row["minutes"]) for row in rows(out)]
    assert minutes == sorted(minutes)


@pytest.fixture(scope="module")
def whole_run(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[tuple[int, bool]]]:
    seen: list[tuple[int, bool]] = []
    out = tmp_path_factory.mktemp("runs") / "deep" / "whole"
    done = run(out, PLAN, watch=lambda step, scores: seen.append((step.number, scores is not None)))
    assert done == out / "rule.safetensors"
    return out, seen


# ---------------------------------------------------------------------------------------------- what a run leaves


def test_a_run_leaves_log_checkpoints_snapshots_and_rule(whole_run: tuple[Path, list[tuple[int, bool]]]):
    out, seen = whole_run
    files = ["checkpoint.safetensors", "checkpoint_previous.safetensors", "log.csv", "rule.json", "rule.safetensors"]
    assert sorted(p.name for p in out.iterdir()) == [*files, "snapshots"]
    log = rows(out)
    assert tuple(log[0]) == (*COLUMNS, *Judge(DISTRIBUTION, PLAN.judge).cases)
    assert [int(row["meta_step"]) for row in log] == list(range(7))
    assert [row["meta_step"] for row in log if row["glyphs"]] == ["0", "2", "4", "6"]
    assert all(0 < float(row["meta_loss"]) < 4 and row["skipped"] == "0" for row in log[1:])
    assert seen == [(number, number % 2 == 0) for number in range(7)]


def test_snapshots_are_rules_at_log_spaced_steps(whole_run: tuple[Path, list[tuple[int, bool]]]):
    assert [n for n in range(2001) if is_snapshot_step(n)] == [0, 1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000]
    folder = whole_run[0] / "snapshots"
    names = sorted(path.name for path in folder.iterdir())
    assert names == [f"{n:06d}.safetensors" for n in (0, 1, 2, 5, 6)]  # and the last
    rules = [load_rule(folder / name) for name in names]
    assert [rule.card["meta_steps"] for rule in rules] == [0, 1, 2, 5, 6]
    assert [("validation" in rule.card) for rule in rules] == [True, False, True, False, True]
    t = trainer()
    t.rule = PLAN.make_rule()
    start = {name: p.detach() for name, p in t.rule.named_parameters()}
    found = [{name: p.detach() for name, p in rule.named_parameters()} for rule in rules]
    assert same(found[0], start)
    assert all(not same(a, b) for a, b in zip(found[:-1], found[1:], strict=True))
    saved = {k.removeprefix("average/"): v for k, v in tensors(whole_run[0] / "checkpoint.safetensors").items()}
    assert all(torch.equal(value, saved[name]) for name, value in found[-1].items())


def test_the_card_tells_how_the_rule_was_made(whole_run: tuple[Path, list[tuple[int, bool]]]):
    out, _ = whole_run
    rule, log = load_rule(out / "rule.safetensors"), rows(out)
    card = rule.card
    for part in ("train", "data", "judge", "keep", "preset"):
        assert card["plan"][part] == plain(getattr(PLAN, part))
    assert (card["settings"], card["kind"]) == (plain(RULE), "local")
    assert card["command"] == PLAN.command()
    assert (card["seed"], card["skipped"], card["digits_reads"], card["processes"]) == (0, 0, 0, 1)
    assert card["minutes"] >= 0
    assert re.fullmatch("[0-9a-f]{40}(-dirty)?|unknown", card["revision"])
    assert f"{os.cpu_count()} cores, torch {torch.__version__}" in card["machine"]
    assert card["recommended"] == plain(InnerSettings())
    validated = [row for row in log if row["glyphs"]]
    assert [p["meta_step"] for p in card["validation"]] == [0, 2, 4, 6][: len(card["validation"])]
    for point, row in zip(card["validation"], validated, strict=False):
        assert (point["glyphs"], point["decoders"]) == (float(row["glyphs"]), float(row["decoders"]))
    # the rule kept is the best of the run, by the mean of both kinds
    means = {int(row["meta_step"]): float(row["glyphs"]) + float(row["decoders"]) for row in validated[1:]}
    assert card["meta_steps"] == max(step for step, mean in means.items() if mean == max(means.values()))


def test_the_revision_is_known_in_a_checkout_alone(monkeypatch: pytest.MonkeyPatch):
    def none(*args: Any, **options: Any) -> None:
        raise FileNotFoundError("git")

    monkeypatch.setattr(subprocess, "run", none)
    assert revision() == "unknown"


def test_meta_training_never_touches_the_digits(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    import sklearn.datasets

    from metarules.tasks.dataset import DATASETS

    def forbidden(*args: Any, **options: Any) -> None:
        raise AssertionError("the digits were about to be read")

    monkeypatch.setattr(sklearn.datasets, "load_digits", forbidden)
    monkeypatch.setattr(importlib.import_module("metarules.tasks.digits"), "digits", forbidden)
    monkeypatch.setitem(DATASETS, "digits", forbidden)
    with pytest.raises(AssertionError, match="about to be read"):
        DATASETS["digits"]()
    run(tmp_path / "run", changed(PLAN, train={"meta_steps": 2}))
    named = {name for life in range(20) for name in trainer().new_group(0, life).task.name.split(" + ")}
    assert len(named) > 3 and not any("digits" in name for name in named)


# ---------------------------------------------------------------------------------------------- breaks


class PlugPulledError(Exception):
    """What a test stops a run with."""


def broken_off(out: Path, at: int, plan: Plan = PLAN) -> None:
    def pull(step: MetaStep, scores: Any) -> None:
        if step.number == at:
            raise PlugPulledError

    with pytest.raises(PlugPulledError):
        run(out, plan, watch=pull)


@pytest.mark.parametrize("at", [0, 1, 4, 6])
def test_a_run_that_was_broken_off_ends_as_if_it_had_not_been(
    at: int, whole_run: tuple[Path, list[tuple[int, bool]]], tmp_path: Path
):
    out = tmp_path / "broken"
    broken_off(out, at)
    assert len(rows(out)) == at + 1
    with (out / "log.csv").open("a") as file:
        file.write("5,0.00")  # a row that was being written
    run(out, PLAN, resume=True)
    assert_same_end(out, whole_run[0])
    run(out, resume=True)  # nothing left to do
    assert_same_end(out, whole_run[0])


def test_a_run_that_begins_with_a_rule_goes_on_without_it(
    whole_run: tuple[Path, list[tuple[int, bool]]], tmp_path: Path
):
    """A new term, and a memory that the groups carry along."""
    start = tmp_path / "start.safetensors"
    start.write_bytes((whole_run[0] / "rule.safetensors").read_bytes())
    plan = changed(PLAN, rule={"terms": (*PLAN.rule.terms, "slow"), "memory": 20})
    plan = replace(plan, start=str(start))
    run(tmp_path / "whole", plan)
    first = load_rule(tmp_path / "whole/snapshots/000000.safetensors").forward_readout.coefficients
    assert torch.equal(first[:-1], load_rule(start).forward_readout.coefficients) and first[-1].any()

    def stop(step: MetaStep, scores: object) -> None:
        if step.number == 4:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "broken", plan, watch=stop)
    start.unlink()
    run(tmp_path / "broken", plan, resume=True)
    assert_same_end(tmp_path / "broken", tmp_path / "whole")
    with pytest.raises(FileNotFoundError, match="start"):
        run(tmp_path / "again", plan)


def test_a_log_takes_up_its_whole_rows(tmp_path: Path):
    path, cases = tmp_path / "log.csv", ("glyphs", "decoders")
    scores = {"glyphs": torch.tensor([0.25, 0.75]), "decoders": torch.tensor([0.5])}
    log = Log(path, -1, cases)
    for number in range(4):
        log.write(MetaStep(number, 1.5, 0.25, 0.001, number == 2), 0.5 * number, scores if number % 2 else None)
    assert rows(tmp_path)[1] == dict(
        zip((*COLUMNS, *cases), ("1", "0.5", "1.5", "0.25", "0.001", "0", "0.5", "0.5"), strict=True)
    )
    assert [row["skipped"] for row in rows(tmp_path)] == ["0", "0", "1", "0"]
    whole = path.read_bytes()
    start = whole.rindex(b"\r\n3,") + 2
    for cut in range(start, len(whole)):  # wherever in the last row the crash came
        path.write_bytes(whole[:cut])
        again = Log(path, 3, cases)
        assert path.read_bytes() == whole[:start]
        assert (again.minutes, [point["meta_step"] for point in again.curve]) == (1.0, [1.0])
    path.write_bytes(whole)
    assert Log(path, 3, cases).curve == log.curve and path.read_bytes() == whole
    assert len(Log(path, 1, cases).curve) == 1 and len(rows(tmp_path)) == 2


KILLED = [*TINY, *SMALL_RULE, "--groups-per-step", "1", "--keep.validate-every", "5"]


def command(out: Path, meta_steps: int, *more: str) -> list[str]:
    words = [sys.executable, "-m", "metarules.meta_training", "--preset", "demo", "--out", str(out), *more]
    return [*words, "--threads", "1", "--meta-steps", str(meta_steps), *KILLED]


def kill_until_done(out: Path, meta_steps: int, kills: int, seed: int, longest: float) -> int:
    """Run, kill at random moments after the first file was written, resume until it ends; how many kills hit."""
    moments, hits = random.Random(seed), 0
    for attempt in range(kills + 1):
        more = ["--resume"] if (out / "checkpoint.safetensors").exists() else []
        with subprocess.Popen(command(out, meta_steps, *more), stderr=subprocess.PIPE, text=True) as process:
            if attempt < kills:
                before = (out / "log.csv").stat().st_mtime_ns if (out / "log.csv").exists() else 0
                while process.poll() is None:  # until it is past its imports and at work
                    if (out / "log.csv").exists() and (out / "log.csv").stat().st_mtime_ns != before:
                        break
                    time.sleep(0.01)
                time.sleep(longest * moments.random())
                hits += process.poll() is None
                process.send_signal(signal.SIGKILL)
            _, error = process.communicate(timeout=120)
        if process.returncode == 0:
            return hits
        assert process.returncode == -signal.SIGKILL, error
    raise AssertionError("the last attempt did not end the run")


def uninterrupted(out: Path, meta_steps: int) -> Path:
    options = ["--preset", "demo", "--out", str(out), "--meta-steps", str(meta_steps), *KILLED]
    torch.set_flush_denormal(True)  # as the command line does
    run(out, read_options(options).plan)
    return out


def test_a_run_that_is_killed_ends_as_if_it_had_not_been(tmp_path: Path):
    whole = uninterrupted(tmp_path / "whole", 12)
    assert kill_until_done(tmp_path / "killed", 12, kills=1, seed=1, longest=0.1) == 1
    assert_same_end(tmp_path / "killed", whole)


@pytest.mark.slow
def test_a_run_that_is_killed_again_and_again_ends_as_if_it_had_not_been(tmp_path: Path):
    whole = uninterrupted(tmp_path / "whole", 80)
    assert kill_until_done(tmp_path / "killed", 80, kills=5, seed=2, longest=0.5) >= 3
    assert_same_end(tmp_path / "killed", whole)


# ---------------------------------------------------------------------------------------------- folders refused


@pytest.mark.parametrize("name", ["log.csv", "checkpoint.safetensors", "checkpoint_previous.safetensors"])
def test_a_folder_in_use_is_refused(name: str, tmp_path: Path):
    (tmp_path / name).write_text("precious")
    with pytest.raises(FileExistsError, match="which holds a run already; allowed: another folder, or --resume"):
        run(tmp_path, PLAN)
    assert (tmp_path / name).read_text() == "precious"
    assert len(list(tmp_path.iterdir())) == 1


def test_nothing_to_resume(tmp_path: Path):
    message = r"which holds no checkpoint\.safetensors; allowed: the folder of a run"
    with pytest.raises(FileNotFoundError, match=message):
        run(tmp_path / "none", PLAN, resume=True)
    assert not (tmp_path / "none").exists()


def test_settings_that_do_not_fit_are_refused_before_anything_is_written(tmp_path: Path):
    for part in ({"judge": {"batch_size": 37}}, {"judge": {"labels_per_class": 3}}, {"train": {"labels_per_class": 9}}):
        with pytest.raises(ValueError, match="labels_per_class"):
            run(tmp_path / "none", changed(PLAN, **part))
    assert not (tmp_path / "none").exists()


# ---------------------------------------------------------------------------------------------- the command line


@pytest.fixture
def runs(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """What `main` asks `run` for, which then does the tiny run into the same folder."""
    asked: list[dict[str, Any]] = []

    def instead(out: Path, plan: Plan, **options: Any) -> Path:
        asked.append({"out": out, "plan": plan, "resume": options["resume"]})
        return run(out, changed(PLAN, train={"meta_steps": 2}), **options)

    monkeypatch.setattr(command_line, "run", instead)
    return asked


def test_the_command_line_runs_and_resumes(
    runs: list[dict[str, Any]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    out = tmp_path / "run"
    chosen = ["--seed", "3", "--truncation", "2", "4", "--learning-rate", "0.01", "--estimator", "es", "--threads", "1"]
    more = ["--rule.channels", "8", "--judge.tasks", "3", "--set", "keep.save_every=9"]  # as older cards say it
    assert main(["--out", str(out), *chosen, *more]) == 0
    said = capsys.readouterr()
    lines = said.out.splitlines()
    assert re.fullmatch(r"meta-step 0/\d+: glyphs \d\.\d{3}(, \w+ \d\.\d{3}){5}", lines[0])
    assert re.fullmatch(r"meta-step 2/\d+: loss \d\.\d{3}, glyphs \d\.\d{3}(, \w+ \d\.\d{3}){5}", lines[1])
    assert lines[2:] == [f"wrote {out / 'rule.safetensors'}"]
    assert said.err == ""
    train = {"seed": 3, "truncation": (2, 4), "learning_rate": 0.01, "estimator": "es"}
    plan = changed(preset("laptop"), train=train, rule={"channels": 8}, judge={"tasks": 3}, keep={"save_every": 9})
    assert runs[0] == {"out": out, "plan": plan, "resume": False}
    assert main(["--out", str(out)]) == 2
    assert re.match("error: out is .* which holds a run already; allowed", capsys.readouterr().err)
    assert main(["--out", str(out), "--preset", "demo", "--resume"]) == 0
    assert runs[-1] == {"out": out, "plan": preset("demo"), "resume": True}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--meta-steps", "0"], "meta_steps is 0; allowed: a whole number in [1, inf]"),
        (["--particles", "-1"], "particles is -1; allowed: a whole number in [1, inf]"),
        (["--learning-rate", "0"], "learning_rate is 0.0; allowed: a number in (0, inf]"),
        (["--threads", "0"], "threads is 0; allowed: a whole number in [1, inf]"),
        (["--preset", "desktop"], "preset is 'desktop'; allowed: demo, further, gpu, laptop, neighbours, paper"),
        (["--device", "tpu"], "device is 'tpu'; allowed: cpu"),
        (["--kind", "hebb"], "kind is 'hebb'; allowed: "),
        (["--import", "nowhere"], "--import is 'nowhere'; allowed: a module that Python finds from here"),
        (["--resume"], "out is '{out}', which holds no checkpoint.safetensors; allowed: the folder of a run"),
    ],
)
def test_bad_options_are_named_and_exit_with_2(
    arguments: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    out = tmp_path / "run"
    assert main(["--out", str(out), *arguments]) == 2
    said = capsys.readouterr()
    assert said.err.startswith("error: " + message.format(out=out))
    assert said.out == ""
    assert not out.exists()


def test_options_that_cannot_be_read_exit_with_2(capsys: pytest.CaptureFixture[str]):
    for arguments in ([], ["--out"], ["--out", "x", "--threads", "1.5"], ["--out", "x", "--speed", "9"]):
        with pytest.raises(SystemExit) as end:
            main(arguments)
        assert end.value.code == 2
        assert "python -m metarules.meta_training --help" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("error", "status", "said"),
    [
        (KeyboardInterrupt(), 130, "stopped; --out {out} --resume goes on from the last checkpoint\n"),
        (PermissionError(13, "Permission denied", "log.csv"), 2, "error: [Errno 13] Permission denied: 'log.csv'\n"),
        (OSError(28, "No space left on device"), 2, "error: [Errno 28] No space left on device\n"),
    ],
)
def test_what_ends_a_run_is_said_in_a_line(
    error: BaseException,
    status: int,
    said: str,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
):
    def ends(*args: Any, **options: Any) -> None:
        raise error

    monkeypatch.setattr(command_line, "run", ends)
    assert main(["--out", str(tmp_path)]) == status
    assert capsys.readouterr().err == said.format(out=tmp_path)


# ---------------------------------------------------------------------------------------------- progress


@pytest.mark.parametrize("terminal", [True, False])
def test_a_terminal_shows_a_bar_and_a_file_gets_lines(
    terminal: bool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.setattr(progress_module.sys.stderr, "isatty", lambda: terminal)
    with Progress(100) as progress:
        for number in range(51, 71):  # resumed
            scores = {"glyphs": torch.tensor([0.5, 0.7])} if number == 60 else None
            progress.watch(MetaStep(number, 1.25, 0.1, 0.01, False), scores)
        if terminal:
            assert (progress.bar.n, progress.bar.initial) == (70, 50)
    said = capsys.readouterr()
    assert "meta-step 60/100: loss 1.250, glyphs 0.600" in said.out
    if terminal:
        assert "/100 [" in said.err and "loss 1.250" in said.err
    else:
        assert said.err == "" and said.out.count("\n") == 1


def test_other_processes_stay_silent(capsys: pytest.CaptureFixture[str]):
    with Progress(2, quiet=True) as progress:
        progress.watch(MetaStep(1, 1.0, 0.1, 0.01, False), {"glyphs": torch.tensor([0.5])})
    said = capsys.readouterr()
    assert said.out == said.err == ""


def test_a_plan_with_one_preset_is_not_resumed_as_another(tmp_path: Path):
    broken_off(tmp_path / "run", 4)
    other = replace(PLAN, data=replace(DISTRIBUTION, clusters=2))
    with pytest.raises(ValueError, match=r"distribution\.clusters is 3 there and 2 here"):
        run(tmp_path / "run", other, resume=True)
