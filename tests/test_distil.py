"""Distilling a rule: each row is the rule with those terms, the least missed goes first, and the file says the same."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

import metarules.evaluation.distil as module
from metarules.classic_rules import get_rule
from metarules.evaluation.distil import DistilledRow, distil, distilled_csv, main, scores, share_kept, with_terms
from metarules.evaluation.held_out import held_out, validate
from metarules.pretrained import save_rule
from metarules.tasks.distribution import DistributionSettings
from metarules.update_rule import LocalRule, LocalRuleSettings

HOW = {"steps": 2, "batch_size": 20, "widths": (6, 5), "labels_per_class": 2}


@pytest.fixture(scope="module")
def rule() -> LocalRule:
    return LocalRule(LocalRuleSettings(channels=4, signals=2, readouts=1, terms=("hebb", "decorr_x", "soft", "w_base")))


@pytest.fixture(scope="module")
def tasks():
    return held_out(DistributionSettings(n_examples=200), n_tasks=2)


def test_rows_are_measured_and_the_least_missed_goes(rule: LocalRule, tasks):
    said: list[str] = []
    rows = list(distil(rule, tasks, tasks, fewest=2, report=said.append, **HOW))
    assert [len(row.terms) for row in rows] == [4, 3, 2] and len(said) == 2
    assert rows[0].share == 1 and rows[0].dropped == ""
    for before, after in zip(rows, rows[1:], strict=False):
        assert set(before.terms) - set(after.terms) == {after.dropped}
        without = {
            name: sum(
                float(validate(with_terms(rule, [k for k in before.terms if k != name]), t, **HOW).mean())
                for t in tasks.values()
            )
            for name in before.terms
        }
        assert without[after.dropped] == max(without.values()), "chosen by an independent search"
    for row in rows:
        off = rule.with_scales(terms={k: 0.0 for k in rule.settings.terms if k not in row.terms})
        assert row.accuracy == {kind: float(validate(off, t, **HOW).mean()) for kind, t in tasks.items()}
    table = list(csv.DictReader(io.StringIO(distilled_csv(rows))))
    assert [row["number"] for row in table] == ["4", "3", "2"]
    assert table[2]["terms"].split() == list(rows[2].terms) and float(table[1]["share"]) == pytest.approx(
        rows[1].share, abs=1e-3
    )


def test_a_share_is_of_the_gain_over_untaught_models(rule: LocalRule, tasks):
    one = {
        name: {kind: torch.tensor([value]) for kind, value in zip("ab", values, strict=True)}
        for name, values in {"few": (0.75, 0.6), "whole": (0.8, 0.7), "untaught": (0.4, 0.3)}.items()
    }
    share, error = share_kept(one["few"], one["whole"], one["untaught"])
    assert share == pytest.approx(0.65 / 0.8) and math.isnan(error)  # of one task of a kind
    off = with_terms(rule, ())
    assert torch.equal(torch.tensor(list(off.settings.term_scales.values())), torch.zeros(4))
    untaught, again = (scores(each, tasks, **{**HOW, "steps": 0}) for each in (rule, off))
    assert untaught.keys() == again.keys() and all(torch.equal(untaught[kind], again[kind]) for kind in untaught)


def test_the_error_of_a_share_is_that_of_many_draws(generator: torch.Generator):
    """Tasks drawn again and again: shares scatter as the errors say, though accuracies of tasks scatter far more."""

    def drawn() -> tuple[float, float]:
        level = {kind: 0.2 * torch.randn(8, generator=generator) for kind in "ab"}  # of a task; the same for all three
        whole = {kind: 0.7 + x for kind, x in level.items()}
        few = {kind: 0.6 + x + 0.05 * torch.randn(8, generator=generator) for kind, x in level.items()}
        return share_kept(few, whole, {kind: 0.2 + x for kind, x in level.items()})

    shares, errors = torch.tensor([drawn() for _ in range(400)]).T
    assert float(shares.mean()) == pytest.approx(0.8, abs=0.01)
    assert float(errors.square().mean().sqrt()) == pytest.approx(float(shares.std()), rel=0.15)


def test_bad_input_is_named(rule: LocalRule, tasks):
    with pytest.raises(TypeError, match="rule is a Hebb; allowed: a LocalRule"):
        with_terms(get_rule("hebb"), ())
    with pytest.raises(TypeError, match="rule is a Hebb; allowed: a LocalRule"):
        next(distil(get_rule("hebb"), tasks, tasks))
    with pytest.raises(ValueError, match="nonsense"):
        with_terms(rule, ["nonsense"])
    with pytest.raises(ValueError, match="fewest is 0"):
        next(distil(rule, tasks, tasks, fewest=0))


def test_the_command_says_what_is_wrong(tmp_path: Path, capsys):
    assert main(["--rule", "nobody"]) == 2 and "'nobody'; allowed" in capsys.readouterr().err
    assert main(["--tasks", "0"]) == 2 and "--tasks is 0" in capsys.readouterr().err


def test_a_stopped_command_keeps_its_rows(tmp_path: Path, rule: LocalRule, tasks, monkeypatch, capsys):
    path, out = save_rule(rule, tmp_path / "rule.safetensors", {}), tmp_path / "few.csv"

    def begun(*_: Any, **__: Any) -> Iterator[DistilledRow]:
        yield DistilledRow(("hebb",), "", {"letters": 0.5}, 1.0, 0.0)
        raise KeyboardInterrupt

    monkeypatch.setattr(module, "held_out", lambda **_: tasks)
    monkeypatch.setattr(module, "use_threads", lambda *a: 1)
    monkeypatch.setattr(module, "distil", begun)
    assert main(["--rule", str(path), "--out", str(out)]) == 130
    said = capsys.readouterr()
    assert said.err == "stopped after 1 rows\n" and "0.5000" in said.out
    assert out.read_text() == "number,dropped,terms,letters,share,standard error\n1,,hebb,0.5000,1.000,0.000\n"


@pytest.mark.slow
def test_the_command_writes_its_file(tmp_path: Path, rule: LocalRule, capsys):
    path = save_rule(rule, tmp_path / "rule.safetensors", {})
    assert main(["--rule", str(path), "--tasks", "1", "--out", str(tmp_path / "few.csv")]) == 0
    rows = list(csv.DictReader((tmp_path / "few.csv").read_text().splitlines()))
    assert [row["number"] for row in rows] == ["4", "3", "2", "1"] and rows[0]["share"] == "1.000"
