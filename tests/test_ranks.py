"""Several processes as one: the same theta as one process would reach, and an end that says what to do.

Processes are started by hand with the variables torchrun would set, so that one can be killed without the others.
"""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import safetensors.torch
import torch
from meta_small import SMALL_RULE, TINY, trainer

from metarules.meta_training.checkpoint import load_checkpoint
from metarules.meta_training.ranks import RankError, Ranks

TESTS = Path(__file__).parent
STEPS = """
import sys
import weakref
from collections.abc import Iterator
from pathlib import Path
sys.path.insert(0, {tests!r})
import torch
torch.set_num_threads(1)
from meta_small import trainer
from metarules.meta_training.checkpoint import load_checkpoint, save_checkpoint
from metarules.meta_training.ranks import Ranks
with Ranks.from_environment() as ranks:
    joined = weakref.WeakSet([torch.distributed.group.WORLD] if ranks.size > 1 else [])
    t = trainer(torch.float64, groups=4, groups_per_step=2, ranks=ranks)
    if {load!r}:
        load_checkpoint(t, Path({load!r}))
    losses = [t.step().loss for _ in range({steps})]
    save_checkpoint(t, Path({save!r}))
    if ranks.first:
        print(*map(repr, losses))
    print("groups", sorted(t.groups), "starts", sorted(group.number for group in t.groups.values()), flush=True)
assert not joined, "its threads are still there, and may abort this process at its end"
"""


STARTED: list[subprocess.Popen[str]] = []


@pytest.fixture(autouse=True)
def nothing_is_left() -> Iterator[None]:
    """A test that fails ends its processes too."""
    yield
    for process in STARTED:
        process.kill()
        process.communicate()
    STARTED.clear()


def free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return int(taken.getsockname()[1])


def start(words: list[str], size: int = 2) -> list[subprocess.Popen[str]]:
    """`size` processes of one run."""
    shared = {**os.environ, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port()), "WORLD_SIZE": str(size)}
    shared |= {"OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo"}
    begun = [
        subprocess.Popen(
            [sys.executable, *words],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**shared, "RANK": str(rank), "LOCAL_RANK": str(rank)},
        )
        for rank in range(size)
    ]
    STARTED.extend(begun)
    return begun


def ended(processes: list[subprocess.Popen[str]]) -> list[str]:
    """What they said, after a good end."""
    said = [process.communicate(timeout=180) for process in processes]
    assert [process.returncode for process in processes] == [0] * len(processes), said
    return [out for out, _ in said]


def steps(n: int, save: Path, load: Path | None = None) -> list[str]:
    return ["-c", STEPS.format(tests=str(TESTS), steps=n, save=str(save), load=str(load or ""))]


def assert_close(a: Path, b: Path) -> None:
    """Two checkpoints hold the same numbers to 1e-10."""
    found, wanted = (safetensors.torch.load(path.read_bytes()) for path in (a, b))
    assert found.keys() == wanted.keys() and any(name.startswith("group3/") for name in wanted)
    for name, value in wanted.items():
        torch.testing.assert_close(found[name], value, rtol=1e-10, atol=1e-10, msg=lambda m, n=name: f"{n}: {m}")


# ---------------------------------------------------------------------------------------------- one process


def test_one_process_needs_no_others():
    ranks = Ranks.from_environment()
    assert (ranks.rank, ranks.size, ranks.first) == (0, 1, True)
    values = torch.ones(3)
    with ranks:
        assert ranks.sum(values) is values
        assert ranks.gather(b"mine") == [b"mine"]
    assert not torch.distributed.is_initialized()


def test_torchrun_says_who_is_who(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("RANK", "2")
    monkeypatch.setenv("WORLD_SIZE", "3")
    ranks = Ranks.from_environment()
    assert (ranks.rank, ranks.size, ranks.first) == (2, 3, False)


def test_the_work_is_shared_out_evenly():
    for size in (1, 2, 3, 4):
        for places in (size, 2 * size, 12 * size):
            owners = [[rank for rank in range(size) if Ranks(rank, size).handles(i, places)] for i in range(places)]
            assert all(len(found) == 1 for found in owners)
            assert [sum(found == [rank] for found in owners) for rank in range(size)] == [places // size] * size


def test_bad_numbers_are_named():
    with pytest.raises(ValueError, match=r"^rank is 2; allowed: a whole number in \[0, 1\]"):
        Ranks(2, 2)
    with pytest.raises(ValueError, match=r"^size is 0; allowed: a whole number in \[1, inf\]"):
        Ranks(0, 0)
    with pytest.raises(ValueError, match=r"^device is 'tpu'; allowed: cpu"):
        Ranks.from_environment("tpu")
    with pytest.raises(ValueError, match=r"^groups_per_step is 2; allowed: a multiple of the 3 processes"):
        trainer(groups=4, groups_per_step=2, ranks=Ranks(0, 3))


def test_each_process_keeps_its_own_groups():
    kept = [set(trainer(groups=8, groups_per_step=4, ranks=Ranks(rank, 2)).groups) for rank in range(2)]
    assert kept == [{0, 1, 4, 5}, {2, 3, 6, 7}]


def test_nobody_there_is_an_error(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("RANK", "0")
    for name in ("MASTER_ADDR", "MASTER_PORT"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(RankError, match=r"^the 2 processes of this run did not find each other \("), Ranks(0, 2):
        raise AssertionError("joined nobody")


# ---------------------------------------------------------------------------------------------- two processes


@pytest.mark.slow
def test_two_processes_are_as_good_as_one(tmp_path: Path):
    one, two, mixed = (tmp_path / f"{name}.safetensors" for name in ("one", "two", "mixed"))
    (alone,) = ended(start(steps(8, one), size=1))
    said = ended(start(steps(8, two)))
    assert_close(two, one)
    losses = [[float(word) for word in text.splitlines()[0].split()] for text in (alone, said[0])]
    assert losses[0] == pytest.approx(losses[1], rel=1e-10)
    assert [text.splitlines()[-1].split(" starts ")[0] for text in said] == ["groups [0, 2]", "groups [1, 3]"]
    starts = re.findall(r"starts \[(\d), (\d), (\d), (\d)\]", alone)
    assert sum(map(int, starts[0])) >= 3  # new starts among them
    # two, then one, and the other way round, end where one alone does
    ended(start(steps(3, mixed)))
    ended(start(steps(5, mixed, mixed), size=1))
    assert_close(mixed, one)
    ended(start(steps(3, mixed), size=1))
    ended(start(steps(5, mixed, mixed)))
    assert_close(mixed, one)


@pytest.mark.slow
def test_one_process_resumes_what_two_have_left(tmp_path: Path):
    """In this process: what the two wrote is a checkpoint like any other."""
    path = tmp_path / "two.safetensors"
    ended(start(steps(2, path)))
    t = trainer(torch.float64, groups=4, groups_per_step=2)
    load_checkpoint(t, path)
    assert t.number == 2 and sorted(t.groups) == [0, 1, 2, 3]
    assert not t.step().skipped


@pytest.mark.slow
def test_torchrun_starts_it(tmp_path: Path):
    out = tmp_path / "run"
    words = ["-m", "torch.distributed.run", "--nproc-per-node", "2", "--master-port", str(free_port())]
    words += ["-m", "metarules.meta_training", "--preset", "demo", "--out", str(out), "--meta-steps", "4"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo"}
    command = [sys.executable, *words, *TINY, *SMALL_RULE]
    done = subprocess.run(command, capture_output=True, text=True, timeout=180, env=environment)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("wrote ") == 1
    assert len((out / "log.csv").read_text().splitlines()) == 6
    assert '"processes": 2' in (out / "rule.json").read_text()


@pytest.mark.slow
@pytest.mark.parametrize("victim", [0, 1])
def test_a_process_that_is_killed_ends_the_others_and_the_run_is_resumed(victim: int, tmp_path: Path):
    out = tmp_path / "run"
    words = ["-m", "metarules.meta_training", "--preset", "demo", "--out", str(out), *TINY, *SMALL_RULE]
    processes = start([*words, "--meta-steps", "100000"])
    deadline = time.monotonic() + 180
    while not (out / "checkpoint_previous.safetensors").exists():
        assert time.monotonic() < deadline and all(process.poll() is None for process in processes)
        time.sleep(0.05)
    processes[victim].send_signal(signal.SIGKILL)
    left = processes[1 - victim]
    _, error = left.communicate(timeout=300)  # not the half hour that is left to a process that may be busy
    processes[victim].communicate()
    assert left.returncode == 2, error
    assert "error: one of the 2 processes of this run has ended or cannot be reached; start all of them" in error
    assert "--resume" in error and "Traceback" not in error
    facts = safetensors.torch.load((out / "checkpoint.safetensors").read_bytes())
    assert "theta/log_lr" in facts
    again = start([*words, "--meta-steps", "100000", "--resume"])
    changed = (out / "checkpoint.safetensors").stat().st_mtime_ns
    while (out / "checkpoint.safetensors").stat().st_mtime_ns == changed:
        assert time.monotonic() < deadline + 180 and all(process.poll() is None for process in again)
        time.sleep(0.05)
    for process in again:
        process.kill()
        process.communicate()
