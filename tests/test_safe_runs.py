"""Runs that cannot harm each other or end in a lie: locks, resuming, lost rows, skipped updates, other ranks."""

from __future__ import annotations

import errno
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from meta_small import PLAN, SMALL_RULE, TINY, changed, trainer
from test_meta_run import assert_same_end, broken_off, rows
from test_ranks import start

from metarules.evaluation.held_out import validate
from metarules.meta_objective import SingularError
from metarules.meta_training import MetaTrainer, Plan, preset, run
from metarules.meta_training.checkpoint import checkpoints, stored_plan
from metarules.meta_training.lock import NAME, Lock, LockedError
from metarules.meta_training.log import COLUMNS, Log
from metarules.meta_training.options import read_options
from metarules.meta_training.outer_loop import MetaStep
from metarules.meta_training.ranks import RankError, Ranks
from metarules.update_rule import LocalRule

Files = dict[str, bytes]


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("runs") / "whole"
    run(out, PLAN)
    return out


@pytest.fixture(scope="module")
def half_way(tmp_path_factory: pytest.TempPathFactory) -> Files:
    """The files of a run that was broken off after meta-step 4, its checkpoint at 3."""
    out = tmp_path_factory.mktemp("runs") / "half"
    broken_off(out, 4)
    assert not (out / NAME).exists()  # a run that ends in an error leaves no lock
    return {str(path.relative_to(out)): path.read_bytes() for path in out.rglob("*") if path.is_file()}


def unpack(files: Files, out: Path) -> Path:
    for name, content in files.items():
        (out / name).parent.mkdir(parents=True, exist_ok=True)
        (out / name).write_bytes(content)
    return out


# ---------------------------------------------------------------------------------------------- one at a time


def test_a_folder_has_one_holder_who_is_named(tmp_path: Path):
    out = tmp_path / "deep" / "run"
    with Lock(out):
        said = rf"^out is '.*run', in which process {os.getpid()} on {socket.gethostname()} has been at work since 20"
        with pytest.raises(LockedError, match=said), Lock(out):
            raise AssertionError("held twice")
        with pytest.raises(LockedError, match=r"allowed: another folder, or --resume when it has ended$"):
            run(out, PLAN)
        assert [path.name for path in out.iterdir()] == [NAME]
    assert list(tmp_path.iterdir()) == []  # what the lock alone has made goes with it
    with Lock(out):
        (out / "row").touch()
    assert [path.name for path in out.iterdir()] == ["row"]
    with pytest.raises(NotADirectoryError, match=r"^out is '.*row', a file; allowed: a folder$"):
        run(out / "row", PLAN)


def left_by(path: Path, **changed: Any) -> None:
    """A lock file whose holder was killed."""
    with Lock(path):
        text = (path / NAME).read_text()
    path.mkdir(parents=True)
    (path / NAME).write_text(json.dumps(json.loads(text) | changed))


def test_what_a_killed_process_leaves_keeps_nobody_off(tmp_path: Path):
    left_by(tmp_path / "a", pid=1)  # a process with that number runs; the lock says that it is another one
    left_by(tmp_path / "b", host="pod-2", pid=9)  # the same machine under another name: a container started anew
    left_by(tmp_path / "c", boot="another", pid=9)  # the same machine before it was started anew
    for name in "abc":
        with Lock(tmp_path / name):
            assert json.loads((tmp_path / name / NAME).read_text())["pid"] == os.getpid()
    (tmp_path / "a" / NAME).write_text("")
    with Lock(tmp_path / "a"):
        pass
    left_by(tmp_path / "d", host="node7", boot="another", pid=12)
    said = (
        r"process 12 on node7 .*; allowed: another folder, or --resume when it has ended and run\.lock there is deleted"
    )
    with pytest.raises(LockedError, match=said), Lock(tmp_path / "d"):
        raise AssertionError("taken from another machine")


def test_without_locks_of_the_system_a_living_process_keeps_others_off(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def refuses(*_: Any) -> None:
        raise OSError(errno.ENOSYS, "Function not implemented")

    monkeypatch.setattr("fcntl.flock", refuses)
    left_by(tmp_path / "a", pid=os.getppid())
    with pytest.raises(LockedError, match=f"process {os.getppid()} on "), Lock(tmp_path / "a"):
        raise AssertionError("taken from the living")
    left_by(tmp_path / "b", pid=2**22 + 1)
    with Lock(tmp_path / "b"):
        pass


@pytest.mark.slow
def test_three_processes_on_one_folder_and_the_death_of_its_holder(tmp_path: Path):
    out = tmp_path / "run"
    words = [sys.executable, "-m", "metarules.meta_training", "--out", str(out)]
    first = [*words, "--preset", "demo", "--threads", "1", "--meta-steps", "100000", *TINY, *SMALL_RULE]
    three = [subprocess.Popen(first, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) for _ in range(3)]
    deadline = time.monotonic() + 400
    while (
        sum(process.poll() is None for process in three) > 1 or not (out / "checkpoint_previous.safetensors").exists()
    ):
        assert time.monotonic() < deadline and any(process.poll() is None for process in three)
        time.sleep(0.1)
    (holder,) = (process for process in three if process.poll() is None)
    for process in three:
        if process is not holder:
            _, said = process.communicate()
            assert process.returncode == 2 and f"in which process {holder.pid} on {socket.gethostname()}" in said
    holder.send_signal(signal.SIGKILL)
    holder.communicate()
    before = len((out / "log.csv").read_text().splitlines())
    # no option but the folder, since the run's settings are its own
    with subprocess.Popen([*words, "--resume", "--threads", "1"], stderr=subprocess.PIPE, text=True) as again:
        while len((out / "log.csv").read_text().splitlines()) < before + 4:
            assert time.monotonic() < deadline and again.poll() is None
            time.sleep(0.1)
        again.kill()
    steps = [row["meta_step"] for row in rows(out)]
    assert steps == [str(number) for number in range(len(steps))]


# ---------------------------------------------------------------------------------------------- going on


def test_a_run_goes_on_by_its_own_settings(half_way: Files, finished: Path, tmp_path: Path):
    out = unpack(half_way, tmp_path / "run")
    (out / ".log.csv.0123abcd.tmp").touch()  # left by a killed process
    assert stored_plan(checkpoints(out)) == PLAN
    assert read_options(["--out", str(out), "--resume"]).plan == PLAN
    assert read_options(["--out", str(out), "--resume", "--seed", "7"]).plan == changed(PLAN, train={"seed": 7})
    assert read_options(["--out", str(out), "--resume", "--preset", "demo"]).plan.preset == "demo"
    assert read_options(["--out", str(out)]).plan == preset("laptop")
    given = read_options(["--out", str(out), "--resume"])
    run(given.out, given.plan, resume=given.resume)
    assert_same_end(out, finished)
    assert not (out / ".log.csv.0123abcd.tmp").exists()


@pytest.mark.parametrize(("part", "other"), [("judge", {"tasks": 3}), ("keep", {"validate_every": 3})])
def test_a_run_is_judged_and_kept_as_it_was(part: str, other: dict[str, int], half_way: Files, tmp_path: Path):
    (name, value) = next(iter(other.items()))
    with pytest.raises(
        ValueError, match=rf"other settings: {part}\.{name} is 2 there and {value} here; allowed: the s"
    ):
        run(unpack(half_way, tmp_path), changed(PLAN, **{part: other}), resume=True)


def test_a_plan_of_an_unknown_kind_says_what_to_import(tmp_path: Path):
    values = PLAN.to_plain()
    assert Plan.from_plain(json.loads(json.dumps(values))) == PLAN
    with pytest.raises(ValueError, match=r"kind in plan is 'mine'; allowed: .*; give --import my_rule, as its command"):
        Plan.from_plain(values | {"kind": "mine", "imports": ["--import", "my_rule"]})


def test_a_rule_that_is_gone_is_no_good_end(finished: Path, tmp_path: Path):
    files = {str(p.relative_to(finished)): p.read_bytes() for p in finished.rglob("*") if p.is_file()}
    out = unpack(files, tmp_path / "run")
    (out / "rule.safetensors").unlink()
    best = Log(out / "log.csv", 6, tuple(c for c in rows(out)[0] if c not in COLUMNS)).best
    assert best in (2, 4, 6)
    if best == 6:
        run(out, PLAN, resume=True)
        assert (out / "rule.safetensors").read_bytes() == files["rule.safetensors"]
    else:
        said = rf"lacks rule\.safetensors, the best theta so far, of meta-step {best}; allowed: that file put back"
        with pytest.raises(FileNotFoundError, match=said):
            run(out, PLAN, resume=True)


def comma(text: str) -> str:
    """As a spreadsheet saves it where people write 0,5."""
    return "\ufeff" + text.replace(",", ";").replace(".", ",")


@pytest.mark.parametrize(
    "change",
    [comma, lambda text: "", lambda text: text[: len(text) // 2], lambda text: "a,b\n1,2\n", None],
    ids=["spreadsheet", "empty", "cut", "foreign", "gone"],
)
def test_a_log_that_was_changed_is_made_anew(
    change: Callable[[str], str] | None, half_way: Files, finished: Path, tmp_path: Path
):
    out = unpack(half_way, tmp_path / "run")
    if change is None:
        (out / "log.csv").unlink()
    else:
        (out / "log.csv").write_bytes(change(half_way["log.csv"].decode()).encode())
    run(out, PLAN, resume=True)
    assert_same_end(out, finished)


def test_a_log_that_a_spreadsheet_holds_gets_its_rows_later(finished: Path, tmp_path: Path, monkeypatch: Any):
    out, told, held = tmp_path / "run", [], [True]
    real = Path.open

    def opened(path: Path, mode: str = "r", *more: Any, **options: Any) -> Any:
        if held[0] and "log.csv" in path.name and mode != "r" and (out / "log.csv").exists():
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return real(path, mode, *more, **options)

    monkeypatch.setattr(Path, "open", opened)
    seen: list[int] = []

    def watch(step: MetaStep, scores: Any) -> None:
        seen.append(len(rows(out)))
        held[0] = step.number < 3

    run(out, PLAN, watch=watch, say=told.append)
    assert seen[:4] == [0, 0, 0, 0] and seen[4] == 5
    assert len(told) == 1 and f"{str(out / 'log.csv')!r}, which cannot be written (Permission denied)" in told[0]
    assert_same_end(out, finished)


# ---------------------------------------------------------------------------------------------- skipped updates


def skipping(monkeypatch: pytest.MonkeyPatch, numbers: set[int]) -> None:
    """Groups diverge in these meta-steps, counted from 0."""
    real = MetaTrainer._truncation

    def truncation(self: MetaTrainer, index: int) -> Any:
        return None if self.number in numbers else real(self, index)

    monkeypatch.setattr(MetaTrainer, "_truncation", truncation)


def test_a_run_that_skipped_most_of_its_updates_fails(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    skipping(monkeypatch, {0, 1, 2, 4})
    for resume in (False, True):
        with pytest.raises(
            ValueError, match=r"^4 of 6 updates were skipped, .*; allowed: a rule whose steps stay finite"
        ):
            run(tmp_path, PLAN, resume=resume)
    assert [row["skipped"] for row in rows(tmp_path)] == list("0111010")


def test_a_run_that_skipped_some_says_so(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    skipping(monkeypatch, {2, 3})
    told: list[str] = []
    seen: list[int] = []
    run(tmp_path, PLAN, say=told.append, watch=lambda step, scores: seen.append(step.skipped_so_far))
    assert told == ["2 of 6 updates were skipped, since no finite meta-gradient was found"]
    assert seen == [0, 0, 0, 1, 2, 2, 2]


def test_the_best_validation_is_one_after_an_update(tmp_path: Path):
    log = Log(tmp_path / "log.csv", -1, ("glyphs",))
    for number, accuracy in enumerate((0.9, 0.8, 0.5, 0.6, 0.6, 0.4)):
        assert log.best == {0: None, 1: None, 2: None, 3: 2, 4: 3, 5: 4}[number]
        log.write(MetaStep(number, 1.0, 0.1, 0.01, number == 1), 0.0, {"glyphs": torch.tensor([accuracy])})


def test_a_singular_fit_is_the_divergence_of_one_group(monkeypatch: pytest.MonkeyPatch):
    def singular(*_: Any) -> Any:
        return torch.linalg.cholesky(-torch.eye(3))

    with pytest.raises(SingularError):
        singular()
    t = trainer()
    with monkeypatch.context() as patched:
        patched.setattr("metarules.meta_training.unrolls.score_in_turn", singular)
        before = t.groups[0].number
        assert t.step().skipped and t.groups[0].number == before + 1
    assert not t.step().skipped
    monkeypatch.setattr("metarules.evaluation.held_out.score_in_turn", singular)
    task = t.groups[1].task
    chance = validate(LocalRule(PLAN.rule), task, widths=(4,), steps=1, batch_size=6, labels_per_class=1)
    assert chance.tolist() == pytest.approx([1 / task.n_classes] * len(task.x))


# ---------------------------------------------------------------------------------------------- several processes


class Told(Ranks):
    """The first of some processes, which are told to it."""

    def __init__(self, *others: Mapping[str, Any]) -> None:
        super().__init__(0, 1 + len(others))
        self.others = others

    def gather(self, content: bytes) -> list[bytes]:
        return [content, *(json.dumps(facts).encode() for facts in self.others)]


def test_processes_that_differ_do_not_begin():
    mine = {"meta-step": 3, "train.seed": 0}
    Told(mine, mine).compare(mine)
    said = r"^train\.seed is 0 in process 0 of this run and 1 in process 2; allowed: the same command for all, and a"
    with pytest.raises(RankError, match=said):
        Told(mine, mine | {"train.seed": 1}).compare(mine)
    with pytest.raises(RankError, match=r"^meta-step is 3 in process 0 of this run and None in process 1"):
        Told({"train.seed": 0}).compare(mine)
    with pytest.raises(RankError, match=r"^process 1 of this run cannot start: no checkpoint"):
        Told({"error": "no checkpoint"}).compare(mine)
    Told(mine).compare({"error": "its own error follows"})


def test_a_process_says_that_it_waits(capsys: pytest.CaptureFixture[str]):
    said, end = "", time.monotonic() + 300
    with Ranks(1, 2)._waiting(0.01):
        while not said and time.monotonic() < end:
            time.sleep(0.01)
            said = capsys.readouterr().err
    assert re.match(r"process 1 of 2 has waited \d+ s for the others, which may be busy, stopped", said)


@pytest.mark.slow
def test_processes_with_other_settings_or_another_folder_end_at_once(tmp_path: Path):
    words = ["--preset", "demo", *TINY, *SMALL_RULE, "--meta-steps", "4", "--out", str(tmp_path / "a")]
    code = "import os, sys; from metarules.meta_training.__main__ import main; sys.exit(main(sys.argv[1:] + [{}]))"
    for more, said in (("'--seed', os.environ['RANK']", "train.seed is"), ("'--resume'", "holds no checkpoint")):
        processes = start(["-c", code.format(more), *words])
        ended = [process.communicate(timeout=300) for process in processes]
        assert [process.returncode for process in processes] == [2, 2], ended
        assert all(said in error for _, error in ended), ended
    assert not list(tmp_path.glob("a/*"))
