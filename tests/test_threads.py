"""How many threads: few for little work, never more than cores, and whatever the user asked for; memory kept."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
import threading
from collections.abc import Iterator
from types import SimpleNamespace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from metarules import _memory, _threads
from metarules._threads import available_cores, threads_for, use_threads
from metarules._work import Worker

LAPTOP = {"widths": (64, 32, 32, 32), "batch_size": 200}
PAPER = {"widths": (196, 128, 128, 128, 128, 32), "batch_size": 128, "channels": 64}


@pytest.fixture
def restored(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """PyTorch's threads put back; no variable says how many."""
    for name in _threads.VARIABLES:
        monkeypatch.delenv(name, raising=False)
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@given(work=st.floats(0, 1e15), cores=st.integers(1, 64))
def test_never_more_threads_than_cores_and_never_none(work: float, cores: int):
    assert 1 <= threads_for(work, cores, {}) <= min(cores, _threads.MOST)


@given(work=st.floats(0, 1e12), cores=st.integers(1, 63))
def test_more_work_or_more_cores_never_mean_fewer_threads(work: float, cores: int):
    here = threads_for(work, cores, {})
    assert threads_for(2 * work, cores, {}) >= here
    assert threads_for(work, cores + 1, {}) >= here


@pytest.mark.parametrize(("told", "threads"), [("3", 3), (" 40 ", 40), ("2,4", 2), ("0", 8), ("many", 8), ("", 8)])
def test_the_users_own_number_decides(told: str, threads: int):
    assert threads_for(1e12, 8, {"OMP_NUM_THREADS": told}) == threads


def test_mkls_variable_counts_where_openmps_is_not_set():
    assert threads_for(1e12, 8, {"MKL_NUM_THREADS": "5"}) == 5
    assert threads_for(1e12, 8, {"MKL_NUM_THREADS": "5", "OMP_NUM_THREADS": "2"}) == 2


@pytest.mark.parametrize(
    ("size", "threads"),
    [(LAPTOP, 1), ({**LAPTOP, "tasks": 8}, 1), ({**LAPTOP, "tasks": 64}, 8), (PAPER, 5)],
    ids=["lesson", "meta-training", "many tasks", "paper"],
)
def test_sizes_we_know_on_eight_cores(size: dict, threads: int, restored: None, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(_threads, "available_cores", lambda: 8)
    assert use_threads(**size) == threads == torch.get_num_threads()


def test_a_given_number_is_used_and_checked(restored: None, unchecked_types: None):
    assert use_threads(**LAPTOP, threads=2) == torch.get_num_threads() == 2
    with pytest.raises(ValueError, match="threads is 0; allowed"):
        use_threads(**LAPTOP, threads=0)
    with pytest.raises(TypeError, match=r"threads is 1\.5; allowed"):
        use_threads(**LAPTOP, threads=1.5)


def test_only_cores_that_this_process_may_use_are_counted(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("os.cpu_count", lambda: 12)
    monkeypatch.setattr("os.sched_getaffinity", lambda _: {0, 5, 7}, raising=False)
    monkeypatch.setenv("LOKY_MAX_CPU_COUNT", "9")
    assert available_cores() == 3


def in_a_script(code: str, **environment: str) -> str:
    """What a plain script prints, in which nobody has said anything; the work is too little to be shared out."""
    told = {name: value for name, value in os.environ.items() if name not in _threads.VARIABLES}
    words = [sys.executable, "-c", TEACH + code]
    done = subprocess.run(words, env={**told, **environment}, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


TEACH = """
import torch
from metarules import get_rule, learn, start
from metarules.tasks import Task
own = torch.get_num_threads()
def seen(**options):
    rule, task = get_rule("hebb"), Task(torch.rand(20, 4), torch.arange(20) % 2, 2)
    phi, how, generator = start(rule, task, sizes=(4, 3))
    record = {"threads": lambda phi, task: torch.get_num_threads()}
    options |= {"steps": 1, "batch_size": 8, "generator": generator, "record": record}
    return learn(rule, phi, task, **options).records["threads"][-1]
"""


@pytest.mark.skipif(available_cores() < 2, reason="one core, one thread")
def test_who_says_nothing_gets_one_thread_and_whoever_speaks_decides():
    mine = "torch.set_num_threads(5); print(seen(), torch.get_num_threads())"
    assert in_a_script(f"print(seen(), torch.get_num_threads() == own, seen(threads=3)); {mine}").split() == [
        *("1", "True", "3"),  # and it is put back
        *("5", "5"),
    ]
    assert in_a_script("print(seen())", OMP_NUM_THREADS="2") == "2"


def test_a_worker_takes_one_thread_and_survives_a_rule_that_exits(monkeypatch: pytest.MonkeyPatch, restored: None):
    monkeypatch.setattr(_threads, "said_threads", lambda: False)
    torch.set_num_threads(2)
    ends: list[tuple[object, BaseException | None]] = []
    worker = Worker(threading.RLock())
    for work in (lambda *_: torch.get_num_threads(), lambda *_: sys.exit(3)):
        worker.start(work, lambda *end: ends.append(end), print)
        assert worker.wait(300)
    assert ends[0] == (1, None) and isinstance(ends[1][1], SystemExit)


# ---- memory


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="glibc's alone")
def test_glibc_grants_the_wish():
    child = "from metarules._memory import keep_memory; print(keep_memory())"  # lasts as long as its process
    assert subprocess.run([sys.executable, "-c", child], capture_output=True, text=True, check=True).stdout == "True\n"


def test_nothing_is_asked_of_other_systems(monkeypatch: pytest.MonkeyPatch):
    def refuse(name: object) -> None:
        raise AssertionError("asked")

    monkeypatch.setattr(_memory.ctypes, "CDLL", refuse)
    monkeypatch.setattr(_memory.sys, "platform", "darwin")
    assert _memory.keep_memory() is False


def test_another_c_library_is_left_alone(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(_memory.ctypes, "CDLL", lambda name: object())
    assert _memory.keep_memory() is False


def test_an_older_glibc_is_asked_for_what_it_accepts(monkeypatch: pytest.MonkeyPatch):
    asked: list[tuple[int, int]] = []

    def mallopt(which: int, value: int) -> int:
        asked.append((which, value))
        return int(value != 2**30)

    monkeypatch.setattr(_memory.sys, "platform", "linux")
    monkeypatch.setattr(_memory.ctypes, "CDLL", lambda name: SimpleNamespace(mallopt=mallopt))
    assert _memory.keep_memory() is True
    assert asked == [(-3, 2**30), (-3, 2**25), (-1, 2**31 - 1)]
