"""Taking things away from a rule: each switch takes away what it says, and the numbers are paired with the whole."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest
import torch

from metarules.base_model import init_state
from metarules.evaluation import ablation as module
from metarules.evaluation.ablation import WHOLE, ablation, ablation_csv, ablation_table, main, rebuilt, variants
from metarules.evaluation.held_out import validate
from metarules.evaluation.stream import like_after_like
from metarules.pretrained import load_rule, save_rule
from metarules.tasks import Task
from metarules.update_rule import LOCAL_INPUTS, LOCAL_TERMS, LocalRule, LocalRuleSettings
from metarules.update_rule.anatomy import contributions, named_inputs

SMALL = {"channels": 4, "signals": 2, "readouts": 1}
HOW = {"widths": (5, 4), "steps": 3, "batch_size": 20, "labels_per_class": 3}


def shaken(**options) -> LocalRule:
    rule = LocalRule(LocalRuleSettings(**{**SMALL, **options}), dtype=torch.float64)
    g = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for p in rule.parameters():
            p.add_(0.3 * torch.randn(p.shape, generator=g, dtype=p.dtype))
    return rule


def tasks(n: int = 2, dtype: torch.dtype = torch.float64) -> Task:
    g = torch.Generator().manual_seed(1)
    y = (torch.arange(60) % 3).expand(n, 60)
    centres = torch.rand(n, 3, 6, generator=g, dtype=dtype)
    return Task(
        centres.gather(1, y.unsqueeze(-1).expand(n, 60, 6)) + torch.rand(n, 60, 6, generator=g, dtype=dtype), y, 3
    )


def phi_and_x():
    g = torch.Generator().manual_seed(2)
    return init_state((6, 5, 4), generator=g, dtype=torch.float64).map(lambda t: t * 30), torch.rand(
        12, 6, generator=g, dtype=torch.float64
    )


def test_every_term_and_input_has_its_row_and_theta_stays():
    rule = shaken()
    found = variants(rule)
    assert next(iter(found)) == WHOLE and found[WHOLE] is rule
    assert {f"term {name}" for name in LOCAL_TERMS} | {f"input {name}" for name in LOCAL_INPUTS} <= set(found)
    assert len(found) == 34
    theta = rule.state_dict()
    for what, variant in found.items():
        own = variant.state_dict()
        assert all(torch.equal(own[name], value) for name, value in theta.items()), what


def test_each_variant_changes_the_step_and_no_two_alike_but_the_same_switches():
    phi, x = phi_and_x()
    steps = {}
    for what, rule in variants(shaken()).items():
        after = rule(rule(phi, x), x)  # V that stays or is W shows in W one step later
        steps[what] = torch.cat([t.flatten() for _, t in after.tensors()])
    same = {
        frozenset({"term decorr_x", "lateral signal decorrelation (the term decorr_x)"}),
        frozenset({"input layer_stats", "lateral signal layer_stats (the input layer_stats)"}),
    }
    names = list(steps)
    for i, a in enumerate(names):
        for b in names[:i]:
            alike = torch.allclose(steps[a], steps[b], rtol=0, atol=1e-9)
            assert alike == (frozenset({a, b}) in same), f"{a} and {b}"


@pytest.mark.parametrize("name", LOCAL_TERMS)
def test_a_term_taken_away_puts_nothing_into_the_change(name: str):
    phi, x = phi_and_x()
    rule = variants(shaken())[f"term {name}"]
    parts = contributions(rule, rule.trace(phi, x), 1).parts
    assert [key for key, part in parts.items() if not part.any()] == [name]


@pytest.mark.parametrize("name", LOCAL_INPUTS)
def test_an_input_taken_away_is_zero(name: str):
    phi, x = phi_and_x()
    rule = variants(shaken())[f"input {name}"]
    trace = rule.trace(phi, x)
    moved = phi.map(lambda t: t + 0.1)  # biases start at any value but 0
    seen = named_inputs(rule, moved, trace, 1)
    assert [key for key, value in seen.items() if not value.any()] == [name]


def test_without_learned_terms_the_three_of_the_recipe_are_left():
    phi, x = phi_and_x()
    rule = variants(shaken())["terms: all but hebb, decorr_x, soft"]
    parts = contributions(rule, rule.trace(phi, x), 2).parts
    assert {key for key, part in parts.items() if part.any()} == {"hebb", "decorr_x", "soft"}


def test_backward_weights_go_the_way_they_are_said_to():
    phi, x = phi_and_x()
    found = variants(shaken())

    def after(what: str):
        return found[f"backward weights: {what}"](phi, x).layers[0]

    assert torch.equal(after("V stays random").V, phi.layers[0].V)
    tied = after("V is W")
    assert torch.equal(tied.V, tied.W)
    whole, own = found[WHOLE](phi, x).layers[0], after("V has terms of its own")
    torch.testing.assert_close(own.W, whole.W)
    assert (own.V - whole.V).abs().max() > 1e-3
    other = variants(shaken(backward_update="fixed"))
    assert "backward weights: V takes W's change" in other and "backward weights: V stays random" not in other


def test_read_outs_for_V_are_those_for_W_where_a_rule_has_none():
    rule = shaken()
    own = rebuilt(rule, backward_update="separate").backward_readout
    assert own is not None
    assert torch.equal(own.coefficients, rule.forward_readout.coefficients) and torch.equal(
        own.upper, rule.forward_readout.upper
    )
    kept = shaken(backward_update="separate")
    again = rebuilt(kept, top_signal=False).backward_readout
    assert again is not None and kept.backward_readout is not None
    assert torch.equal(again.gates, kept.backward_readout.gates), "a rule that has its own keeps them"
    assert rebuilt(kept, backward_update="tied").backward_readout is None


def test_no_top_signal_means_that_the_top_layer_is_sent_zeros():
    phi, x = phi_and_x()
    rule = shaken()
    without = rebuilt(rule, top_signal=False)
    kept, gone = rule.trace(phi, x), without.trace(phi, x)
    assert kept.d[2].any() and not gone.d[2].any() and gone.d[1].any()
    torch.testing.assert_close(gone.next_state.layers[0].W, without(phi, x).layers[0].W)
    assert [name for name, _ in rule.named_parameters()] == [name for name, _ in without.named_parameters()]


def test_rules_saved_with_and_without_the_switch_load(tmp_path: Path):
    assert load_rule("local").settings.top_signal is True, "the shipped card does not name it"
    path = save_rule(shaken(top_signal=False), tmp_path / "a.safetensors")
    assert load_rule(path).settings.top_signal is False


def test_a_rule_that_knows_neighbours_has_rows_without_and_one_of_them_in_another_order(monkeypatch):
    rule, seen = shaken(terms=("hebb", "slow"), memory=30), {}
    monkeypatch.setattr(module, "validate", lambda r, task, order, **how: seen.update({r: order}) or torch.ones(2))
    rows = {row.what for row in ablation(rule, {"a": tasks()})}
    assert rows >= set(module.NEIGHBOURS)
    assert [order for order in seen.values() if order is not None] == [like_after_like]


def test_what_a_rule_does_without_has_no_row():
    found = variants(shaken(softmax=False, top_signal=False, term_scales={"rbf": 0}, input_scales={"bias": 0}))
    gone = {"term soft", "term rbf", "input softmax", "input bias", "top signal (d^L = 0)"}
    assert not gone & set(found) and not any(what.startswith("lateral signal softmax") for what in found)


def test_rows_are_paired_with_the_whole_rule():
    rule, data = shaken(), {"glyphs": tasks(3), "decoders": tasks(2)}
    rows = {row.what: row for row in ablation(rule, data, **HOW)}
    assert list(rows) == list(variants(rule))
    assert set(rows[WHOLE].difference.values()) == {0.0}
    what = "lateral signal softmax (input softmax and term soft)"
    d = {k: validate(variants(rule)[what], t, **HOW) - validate(rule, t, **HOW) for k, t in data.items()}
    errors = {k: float(v.std()) / len(v) ** 0.5 for k, v in d.items()}
    row = rows[what]
    assert any(errors.values()), "a case that shows something"
    for kind in data:
        assert row.difference[kind] == pytest.approx(float(d[kind].mean())) and row.stderr[kind] == pytest.approx(
            errors[kind]
        )
        assert row.accuracy[kind] == pytest.approx(rows[WHOLE].accuracy[kind] + row.difference[kind])
    assert row.difference["mean"] == pytest.approx(sum(float(v.mean()) for v in d.values()) / 2)
    assert row.stderr["mean"] == pytest.approx(sum(e**2 for e in errors.values()) ** 0.5 / 2)


def test_one_task_has_no_standard_error():
    with pytest.raises(ValueError, match="number of tasks of glyphs is 1; allowed: a whole number in"):
        next(ablation(shaken(), {"glyphs": tasks(1)}, **HOW))


def test_other_rules_are_refused(unchecked_types: None):
    with pytest.raises(TypeError, match="rule is a Linear; allowed: a LocalRule"):
        variants(torch.nn.Linear(1, 1))


def test_the_command_writes_the_table_it_prints(tmp_path: Path, monkeypatch, capsys):
    monkeypatch.setattr(module, "held_out", lambda n_tasks: {"glyphs": _wide(n_tasks)})
    monkeypatch.setattr(module, "use_threads", lambda *a: 1)
    monkeypatch.setattr(torch, "set_flush_denormal", lambda on: True)
    out = tmp_path / "deep" / "a.csv"
    path = save_rule(shaken().float(), tmp_path / "small.safetensors")
    assert main(["--rule", str(path), "--out", str(out), "--tasks", "2", "--steps", "1"]) == 0
    rows = list(csv.DictReader(out.read_text().splitlines()))
    assert [row["what"] for row in rows] == list(variants(shaken()))
    assert list(rows[0]) == ["what", "glyphs", "glyphs_difference", "glyphs_stderr", "mean_difference", "mean_stderr"]
    printed = capsys.readouterr()
    assert f"{float(rows[1]['glyphs']):.3f}" in printed.out and "[34/34] top signal" in printed.err

    some = ["--only", "top", "term s", "--out", str(tmp_path / "some.csv")]
    assert main(["--rule", str(path), "--tasks", "2", "--steps", "1", *some]) == 0
    wanted = [row for row in rows if row["what"].startswith(("the whole", "top", "term s"))]
    assert list(csv.DictReader((tmp_path / "some.csv").read_text().splitlines())) == wanted and 2 < len(wanted) < 9
    capsys.readouterr()

    def stopped(text: str) -> None:
        if text.startswith("[3/"):
            raise KeyboardInterrupt

    monkeypatch.setattr(module, "_to_stderr", stopped)
    assert main(["--rule", str(path), "--out", str(out), "--tasks", "2", "--steps", "1"]) == 130
    assert list(csv.DictReader(out.read_text().splitlines())) == rows[:2]
    assert capsys.readouterr().err == "stopped after 2 rows\n"


def test_the_command_refuses_with_a_sentence(capsys):
    assert main(["--rule", "nobody"]) == 2 and "error: name_or_path is 'nobody'; allowed" in capsys.readouterr().err
    assert (
        main(["--only", "termite"]) == 2 and "only names 'termite'; allowed: beginnings of" in capsys.readouterr().err
    )
    assert main(["--tasks", "1"]) == 2 and "--tasks is 1; allowed" in capsys.readouterr().err


def test_the_table_marks_what_is_beyond_two_standard_errors():
    row = module.AblationRow
    rows = [
        row(WHOLE, {"g": 0.5}, {"g": 0.0, "mean": 0.0}, {"g": 0.0, "mean": 0.0}),
        row("a", {"g": 0.4}, {"g": -0.1, "mean": -0.1}, {"g": 0.04, "mean": 0.06}),
    ]
    line = ablation_table(rows).splitlines()[2]
    assert line.count("*") == 1 and "-0.100 ± 0.080 *" in line and "-0.100 ± 0.120" in line
    assert ablation_csv(rows).splitlines()[2] == "a,0.4000,-0.1000,0.0400,-0.1000,0.0600"


def _wide(n: int) -> Task:
    g = torch.Generator().manual_seed(1)
    return Task(torch.rand(n, 240, 6, generator=g), (torch.arange(240) % 2).expand(n, 240), 2)
