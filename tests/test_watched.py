"""`watched`: a long call with progress and Stop; an interrupt ends it with a sentence, and loses nothing."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from metarules import LocalRule
from metarules._work import Stopped
from metarules.evaluation.leaderboard import Leaderboard
from metarules.meta_training import meta_train
from metarules.widgets.watched import Interrupted, Watched, kept, watched


def count(n: int, *, progress: Any, stop: threading.Event, during: Any = lambda i: None) -> list[int]:
    """Counts to n, slowly, and ends early when told to."""
    done: list[int] = []
    while len(done) < n and not stop.is_set():
        done.append(len(done))
        during(len(done))
        progress(len(done), n)
        time.sleep(0.01)
    return done


def threads() -> list[str]:
    return [t.name for t in threading.enumerate() if t.name == "metarules-worker"]


def test_it_gives_back_what_the_call_does():
    line = Watched("Counting")
    assert line.run(count, 3) == [0, 1, 2] and line.stop_button.disabled and line.progress.value == 1.0
    assert "Counting: 3 of 3 done." in line.status.value and threads() == []


def test_stop_ends_the_call_with_what_is_done():
    line = Watched("Counting")
    found = line.run(count, 1000, during=lambda i: line.stop_button.click() if i == 5 else None)
    assert found == list(range(5)) and "5 of 1000 done, then stopped; these are kept." in line.status.value


@pytest.fixture
def interrupts() -> Iterator[None]:
    """Python's own handling of an interrupt: what a shell starts in the background begins without."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("interrupts")
def test_an_interrupt_ends_the_cell_with_a_sentence_and_nothing_is_lost():
    def press(i: int) -> None:
        if i == 5:
            signal.raise_signal(signal.SIGINT)

    with pytest.raises(KeyboardInterrupt) as found:
        watched("Counting", count, 1000, during=press)
    assert isinstance(found.value, Interrupted)
    (said,) = found.value._render_traceback_()
    assert said.startswith("KeyboardInterrupt: Counting: ") and said.endswith("these are kept. kept() gives them.")
    assert kept() == list(range(len(kept()))) and 5 <= len(kept()) < 1000 and threads() == []


def test_a_closed_page_stops_the_call():
    line = Watched("Counting")

    def close(i: int) -> None:
        line._presence._deadline = time.monotonic() - 1

    assert len(line.run(count, 1000, during=close)) < 1000


def test_an_error_of_the_call_is_the_cells():
    with pytest.raises(ValueError, match="meta_steps is 0"):
        watched("Meta-training", meta_train, LocalRule(), meta_steps=0)


def test_meta_training_stops_after_the_present_step():
    line = Watched("Meta-training")

    def stopped(*arguments: Any, progress: Any, **settings: Any) -> Any:
        return meta_train(*arguments, progress=lambda *how_far: (progress(*how_far), line.stop()), **settings)

    run = line.run(stopped, LocalRule(), meta_steps=1000)
    assert len(run.steps) < 1000 and run.rule is not None


def test_a_board_that_is_stopped_keeps_its_lines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    board = Leaderboard(tmp_path / "board.json")
    line = Watched("Judging")
    judge = board._judge_rule

    def slow(*arguments: Any, **settings: Any) -> Any:
        entry = judge(*arguments, **settings)
        line.stop()
        return entry

    monkeypatch.setattr(board, "_judge_rule", slow)
    with pytest.raises(KeyboardInterrupt, match=r"Judging: 1 of \d+ done, then stopped; these are kept"):
        line.run(board.fill)
    assert len(board.entries()) == 1
    with pytest.raises(Stopped):
        board.fill(stop=_set())


def _set() -> threading.Event:
    event = threading.Event()
    event.set()
    return event
