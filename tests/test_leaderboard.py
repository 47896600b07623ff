"""The leaderboard: its numbers are `validate`'s, its file is whole, what cannot be taken is told in a sentence."""

from __future__ import annotations

import json
import threading
from pathlib import Path

import pytest
import torch
from strangers.own_rule import OwnRule

from metarules._work import Stopped
from metarules.base_model import BaseModelState
from metarules.evaluation import baseline_features, validate
from metarules.evaluation.held_out import N_SETS, JudgeSettings, few_shot_features, held_out
from metarules.evaluation.leaderboard import BASELINES, Entry, Leaderboard
from metarules.inner_loop import start
from metarules.meta_training import meta_train
from metarules.plots.leaderboard import leaderboard_alt, leaderboard_figure
from metarules.pretrained import get_rule
from metarules.tasks import Task
from metarules.update_rule import Batch, LocalRule, UpdateRule

QUICK = JudgeSettings(tasks=2, wide=(), steps=4, batch_size=50)


@pytest.fixture(scope="module")
def tasks() -> dict[str, Task]:
    return held_out(None, QUICK.tasks)


@pytest.fixture
def board(tmp_path: Path, tasks: dict[str, Task], monkeypatch: pytest.MonkeyPatch) -> Leaderboard:
    few: dict[str, UpdateRule] = {name: get_rule(name) for name in ("hebb", "hebb_decorrelation")}
    monkeypatch.setattr(Leaderboard, "_field", lambda self: few)
    made = Leaderboard(tmp_path / "board.json", settings=QUICK)
    made._tasks = {kind: tasks[kind] for kind in made.kinds}
    return made


def test_numbers_are_those_of_validate_and_of_features(board: Leaderboard, tasks: dict[str, Task]):
    board.fill()
    assert {e.name for e in board.entries()} == {"hebb", "hebb_decorrelation", *BASELINES}
    task = tasks["handwriting"]
    wanted = validate(get_rule("hebb"), task, steps=4, batch_size=50)
    assert board["hebb"].accuracies["handwriting"] == pytest.approx(wanted.tolist(), abs=1e-4)
    generator = start(get_rule("hebb"), task, steps=4).generator
    labelled = task.sample_labelled(10, generator, N_SETS)  # the pixels of the very examples that rules are read on
    x = torch.cat([batch.x for batch in labelled], -2)
    raw = few_shot_features(x, labelled, task.n_classes)
    assert board["raw"].accuracies["handwriting"] == pytest.approx(raw.tolist(), abs=1e-4)
    assert baseline_features("raw", task.x[0]).shape == task.x[0].shape
    scores = [e.score for e in board.entries()]
    assert scores == sorted(scores, reverse=True)


def test_what_is_on_file_is_not_judged_again(board: Leaderboard, monkeypatch: pytest.MonkeyPatch):
    told: list[tuple[int, int]] = []
    board.fill(lambda done, all_: told.append((done, all_)))
    assert told[-1] == (6, 6)
    board.fill(lambda done, all_: pytest.fail("nothing is new"))
    changed = {"hebb": get_rule("hebb", lr=0.05)}
    monkeypatch.setattr(Leaderboard, "_field", lambda self: changed)
    told.clear()
    board.fill(lambda done, all_: told.append((done, all_)))
    assert told == [(1, 1)]


def test_it_can_be_stopped_and_keeps_what_it_has(board: Leaderboard):
    stop = threading.Event()
    with pytest.raises(Stopped, match="after 1 of 6"):
        board.fill(lambda done, all_: stop.set(), stop)
    assert len(board.entries()) == 1


def test_entering_prizes_and_differences(board: Leaderboard):
    board.fill()
    rule = OwnRule()
    standing = board.enter(rule, " two numbers ")
    assert standing.entry is not None and standing.entry.numbers == 2 and standing.entry.own
    assert f"two numbers stands {[e.name for e in board.entries()].index('two numbers') + 1} of 7" in repr(standing)
    prizes = board.prizes()
    assert prizes["best strictly local rule"].name == "hebb" and prizes["best rule"].is_rule
    mean, error = board.difference("two numbers", "raw")
    one, other = (
        torch.tensor([a for v in board[n].accuracies.values() for a in v]).double() for n in ("two numbers", "raw")
    )
    gaps = one - other
    assert mean == pytest.approx(float(gaps.mean())) and error == pytest.approx(float(gaps.std() / len(gaps) ** 0.5))
    assert board.enter(LocalRule(), "two numbers").entry is not None and len(board.entries()) == 7  # its own line, anew
    text = board.table()
    assert "two numbers *" in text and "best strictly local rule: hebb" in text and "(baseline)" in text
    board.remove("two numbers")
    assert len(board.entries()) == 6
    with pytest.raises(ValueError, match="two numbers"):
        board.remove("two numbers")


def broken(phi: BaseModelState, batch: Batch) -> None:
    return None


def test_what_is_not_taken_is_told_in_a_sentence(board: Leaderboard):
    for rule, name, words in (
        (broken, "mine", "the step returns None"),
        (get_rule("backprop"), "mine", "needs labels"),
        (OwnRule(), "hebb", "belongs to a rule of this package"),
        (OwnRule(), "raw", "belongs to a rule of this package"),
        (OwnRule(), "", "1 to 40 letters"),
        (OwnRule(), "x" * 41, "1 to 40 letters"),
    ):
        standing = board.enter(rule, name)
        assert standing.entry is None and words in repr(standing)
        assert repr(standing).startswith("Not ranked") and not board.path.exists()


def test_a_file_that_is_none_or_was_judged_otherwise_is_left_alone(board: Leaderboard):
    board.enter(OwnRule(), "mine")
    whole = board.path.read_text()
    with pytest.raises(ValueError, match=r"judged with tasks 2.*allowed: tasks 3"):
        Leaderboard(board.path, settings=JudgeSettings(tasks=3, wide=(), steps=4, batch_size=50))
    with pytest.raises(ValueError, match="kinds"):
        Leaderboard(board.path, kinds=("digits",))
    for damaged in (whole[:50], "[]", json.dumps({"format": 2}), whole.replace('"accuracies"', '"a"')):
        board.path.write_text(damaged)
        with pytest.raises(ValueError, match="cannot be read"):
            board.entries()
        with pytest.raises(ValueError, match="cannot be read"):
            board.enter(OwnRule(), "mine")
        assert board.path.read_text() == damaged
    assert [p.name for p in board.path.parent.iterdir()] == [board.path.name]  # no temporary file is left


def test_its_picture():
    entries = [
        Entry("a rule of mine, a name too long", {"glyphs": (0.5, 0.7), "handwriting": (0.8,)}, 2, (), True, "x"),
        Entry("raw", {"glyphs": (0.4, 0.5), "handwriting": (0.6,)}, None, None, False, "raw"),
    ]
    assert leaderboard_figure(entries, {"best rule": entries[0]}).get_figwidth() == pytest.approx(9.12)
    assert "from a rule of mine" in leaderboard_alt(entries, {}) and "with 0.70 down to raw" in leaderboard_alt(
        entries, {}
    )
    with pytest.raises(ValueError, match="at least"):
        leaderboard_figure([])


def test_meta_training_in_one_call():
    rule = OwnRule()
    before = rule.coefficients.detach().clone()
    told: list[tuple[int, int]] = []
    run = meta_train(rule, 2, learning_rate=0.05, progress=lambda done, all_: told.append((done, all_)))
    assert told == [(1, 2), (2, 2)] and len(run.losses) == 2 and all(torch.isfinite(torch.tensor(run.losses)))
    assert torch.equal(rule.coefficients, before) and isinstance(run.rule, OwnRule)
    assert not torch.equal(run.rule.coefficients, before)
    again = meta_train(rule, 2, learning_rate=0.05)
    assert torch.equal(again.rule.coefficients, run.rule.coefficients)
    stop = threading.Event()
    assert len(meta_train(rule, 9, progress=lambda done, all_: stop.set(), stop=stop).steps) == 1
    with pytest.raises(TypeError):
        meta_train(broken)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="no theta"):
        meta_train(get_rule("hebb"), 1)
    with pytest.raises(ValueError, match="meta_steps"):
        meta_train(rule, 0)
