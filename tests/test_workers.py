"""Threads side by side: the same numbers whatever their count, errors and denormal numbers included."""

from __future__ import annotations

import threading

import pytest
import torch
from meta_small import DISTRIBUTION, PLAN, RULE, fingerprint, same, seeded, trainer

from metarules._workers import Workers
from metarules.meta_training import Judge
from metarules.update_rule import LocalRule


def test_work_is_shared_and_comes_back_in_order():
    seen: set[str] = set()
    both = threading.Barrier(2, timeout=300)

    def square(n: int) -> int:
        both.wait()  # passes only where two are at work at once
        seen.add(threading.current_thread().name)
        return n * n

    assert Workers(2).map(square, range(6)) == [n * n for n in range(6)]
    assert len(seen) == 2 and threading.current_thread().name not in seen


@pytest.mark.parametrize("items", [[], [3]])
def test_little_work_stays_where_it_is(items: list[int]):
    here = threading.current_thread()
    assert Workers(4).map(lambda n: (n, threading.current_thread() is here), items) == [(n, True) for n in items]


def test_an_error_in_a_worker_is_raised():
    def fail(n: int) -> None:
        raise LookupError(f"item {n}")

    with pytest.raises(LookupError, match="item 0"):
        Workers(2).map(fail, range(3))


@pytest.mark.parametrize("flush", [True, False])
def test_workers_treat_denormal_numbers_as_the_caller_does(flush: bool):
    if not torch.set_flush_denormal(flush):
        pytest.skip("this processor cannot flush denormal numbers")
    try:
        tiny = torch.full((1,), 2.0**-130)
        assert Workers(2).map(lambda _: bool(tiny * 0.5), range(2)) == [not flush] * 2
    finally:
        torch.set_flush_denormal(False)


@pytest.mark.parametrize("estimator", ["backprop", "es", "pes"])
def test_meta_training_is_the_same_bit_for_bit_with_any_number_of_workers(estimator: str):
    alone = trainer(groups=4, groups_per_step=4, estimator=estimator)
    shared = trainer(groups=4, groups_per_step=4, estimator=estimator)
    shared.workers = Workers(3)
    for _ in range(6):
        assert alone.step() == shared.step()
    assert same(fingerprint(alone), fingerprint(shared))


def test_validation_is_the_same_with_two_workers():
    rule = LocalRule(RULE, generator=seeded(1))
    assert same(Judge(DISTRIBUTION, PLAN.judge)(rule), Judge(DISTRIBUTION, PLAN.judge, workers=Workers(2))(rule))


@pytest.mark.parametrize("count", [0, -1])
def test_a_wrong_number_of_workers_is_named(count: int):
    with pytest.raises(ValueError, match=f"count is {count}; allowed: a whole number"):
        Workers(count)
