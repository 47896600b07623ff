"""The benchmarks: what is counted is right, curves are fitted right, a tiny run goes through. No time is asserted."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from benchmarks import __main__ as command_line
from benchmarks import child, counting, fitting, measure, plan, script, timing
from benchmarks import report as report_module
from benchmarks.cases import PASSES, Case, build, from_json, laptop, paper
from benchmarks.child import Child
from benchmarks.measure import Options, Sweep
from benchmarks.picture import cost_figure, fitting_figure
from benchmarks.report import MARKS, ceiling, compare, main_lines, report, table
from benchmarks.timing import Timing
from metarules._files import write_between_marks

TINY = Case("local", (6, 5, 4), batch=10, tasks=2)
TINY_PAPER = Case("paper", (9, 6, 8), batch=4, settings=(("channels", 4), ("top_units", 8)))
BRIEF = Options(threads=1, seconds=0.0, rounds=1, side=32)
TINY_PLAN = plan.Plan(
    steps=(TINY, TINY_PAPER),
    more=(TINY_PAPER,),
    terms=((TINY, "slow", 30),),
    threads=(TINY,),
    products=(TINY, TINY_PAPER),
    particles=(2,),
    sweeps=(Sweep(TINY, "tasks", (1, 2, 4)), Sweep(TINY, "batch", (5, 10))),
)


@pytest.fixture(scope="module")
def results() -> dict[str, Any]:
    """A whole run at the smallest sizes, but for what needs processes of its own, the first version among them."""
    threads = torch.get_num_threads()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(plan, "check_out", lambda folder: "not a git repository")
        found = plan.run(TINY_PLAN, BRIEF)
    torch.set_num_threads(threads)
    return found


# ---- counting


def test_flops_of_a_product_are_counted_by_hand():
    a, b = torch.rand(3, 4, 5), torch.rand(3, 5, 7)
    assert counting.flops(lambda: a @ b) == 2 * 3 * 4 * 5 * 7
    assert counting.flops(lambda: torch.relu(a)) == 0


def test_flops_of_a_base_models_part_of_a_step_are_counted_by_hand():
    """The base model's own products; the rule's come on top and grow with them in tasks."""
    case = Case("local", (6, 5, 4), batch=10)
    one = counting.flops(build(case).forward)
    assert one > 2 * 10 * (6 * 5 + 5 * 4)
    three = counting.flops(build(Case("local", (6, 5, 4), batch=10, tasks=3)).forward)
    assert three == 3 * one


def test_the_papers_step_costs_what_it_was_counted_at():
    """13.3 of the original's 14 GFLOP lie in h's convolutions: 94,720 neurons times examples, 70,080 products each."""
    counted = counting.flops(build(paper()).forward)
    hidden = 2 * 128 * (196 + 4 * 128 + 32) * 3 * (45 * 64 + 5 * 64 * 64)
    assert hidden == pytest.approx(13.3e9, rel=0.01)
    assert hidden < counted < 1.25 * hidden


def test_kept_counts_each_storage_once_and_no_parameter():
    weight = torch.rand(4, 3, requires_grad=True)
    x = torch.rand(8, 4)
    assert counting.kept(lambda: (x @ weight).sum()) == x.nbytes
    assert counting.kept(lambda: (x @ weight).square().sum()) == x.nbytes + 8 * 3 * 4
    assert counting.kept(lambda: ((x @ weight) + (x @ weight)).sum()) == x.nbytes


# ---- timing and fitting


def test_functions_take_turns():
    calls: list[str] = []
    slow = {name: timing.timer(lambda name=name: calls.append(name)) for name in "AB"}
    found = timing.interleave(slow, seconds=0.0, rounds=4)
    assert {name: len(times.rounds) for name, times in found.items()} == {"A": 4, "B": 4}
    turns = [name for i, name in enumerate(calls) if i == 0 or calls[i - 1] != name]
    assert turns == list("AB" * 5)  # a warm-up each, then four rounds
    with pytest.raises(ValueError, match="rounds is 0; allowed"):
        timing.interleave(slow, seconds=0.0, rounds=0)


def test_ratios_are_taken_within_rounds():
    """Where the machine is slow for a whole round, the ratio stays."""
    now, then = Timing((1.0, 10.0, 2.0)), Timing((5.0, 50.0, 10.0))
    assert timing.ratio(then, now) == (5.0, 5.0, 5.0)
    assert (now.median, now.best) == (2.0, 1.0)
    assert timing.ratio(Timing((1.0, 2.0, 3.0, 4.0, 5.0)), Timing((1.0,) * 5)) == (3.0, 2.0, 4.0)
    assert timing.ratio(Timing((3.0,)), Timing((1.0,))) == (3.0, 3.0, 3.0)


@given(power=st.floats(0.2, 3), factor=st.floats(1e-6, 10), n=st.integers(2, 9))
def test_an_exponent_is_recovered(power: float, factor: float, n: int):
    sizes = [2**i for i in range(n)]
    assert measure.exponent(sizes, [factor * size**power for size in sizes]) == pytest.approx(power)


def test_an_exponent_looks_at_the_upper_half_alone():
    sizes = [1, 2, 4, 8, 16, 32]
    assert measure.exponent(sizes, [7, 7, 7, 8, 16, 32]) == pytest.approx(1.0)
    with pytest.raises(ValueError, match="allowed: two or more of each"):
        measure.exponent([1], [1])
    with pytest.raises(ValueError, match="all positive"):
        measure.exponent([1, 2], [1, 0])


def test_sweeps_change_one_size():
    base = Case("local", (6, 5, 5, 4), batch=10)
    assert Sweep(base, "width", ()).case(7).widths == (6, 7, 7, 4)
    assert Sweep(base, "depth", ()).case(1).widths == (6, 5, 4)
    assert Sweep(base, "unroll", ()).case(3) == Case("local", (6, 5, 5, 4), batch=10, unroll=3)
    with pytest.raises(ValueError, match="axis is 'colour'; allowed: tasks, width"):
        Sweep(base, "colour", ()).case(3)


# ---- cases


@pytest.mark.parametrize("case", [TINY, TINY_PAPER], ids=lambda case: case.rule)
def test_checkpoints_give_the_same_and_keep_less(case: Case):
    now, frugal = (build(replace(case, checkpointed=on), dtype=torch.float64) for on in (False, True))
    torch.testing.assert_close(now.meta_gradient(), frugal.meta_gradient())
    assert counting.kept(frugal.loss) < 0.5 * counting.kept(now.loss)
    assert not now.forward().layers[0].W.requires_grad
    assert len(now.meta_gradient()) == len(list(now.rule.parameters()))
    with pytest.raises(ValueError, match="rule is 'later'; allowed"):
        build(replace(case, rule="later"))


def test_sizes_are_the_issues():
    assert laptop().widths == (64, 32, 32, 32)
    assert paper().widths == (196, 128, 128, 128, 128, 32)
    batches = {case.batch for case in plan.full().steps if case.rule == "local"}
    tasks = {case.tasks for case in plan.full().steps if case.rule == "local"}
    assert {50, 200} <= batches and {1, 8, 64, 256} <= tasks
    for sweep in (*plan.full().sweeps, *plan.quick().sweeps):
        assert [sweep.case(value) for value in sweep.values]


def test_threads_are_the_packages_choice_unless_given():
    assert Options(threads=3).threads_of(TINY) == 3
    assert Options().threads_of(TINY) == 1


# ---- a run and what is made of it


def test_a_tiny_run_fills_every_part(results: dict[str, Any]):
    assert [row["pass"] for row in results["steps"]] == list(PASSES) * 2
    for row in results["steps"]:
        assert row["seconds"] >= row["seconds_best"] > 0
        assert row["task_steps_per_second"] == pytest.approx(row["tasks"] * row["unroll"] / row["seconds"])
        assert row["of_matmul"] == pytest.approx(row["gflop"] / row["seconds_best"] / row["matmul_gflop_per_second"])
        assert row["speed_up"] is None
    forward, both = results["steps"][:2]
    assert both["gflop"] > 2 * forward["gflop"]
    assert results["meta_training"][0]["particles"] == 2
    assert [row["axis"] for row in results["scaling"]] == ["tasks", "batch"]
    assert set(results["threads"][0]["seconds"]) >= {"1"}
    (term,) = results["terms"]
    assert term["term"] == "slow, memory 30" and all(0.3 < term["ratio"][which][0] < 10 for which in PASSES)


def test_results_are_plain_json_without_names_of_hosts_or_folders(results: dict[str, Any]):
    import platform

    text = json.dumps(results)
    assert json.loads(text) == results
    assert str(Path.home()) not in text and str(Path.cwd()) not in text
    assert f'"{platform.node()}"' not in text
    assert set(results["machine"]) >= {"processor", "cores", "cores_available", "torch", "python", "device"}


def test_without_the_first_version_the_column_says_why(results: dict[str, Any]):
    for text in (report(results), main_lines(results)):
        assert "against the first version (not measured: not a git repository) |" in text
    assert table(("a", "b"), []) == ""


def test_the_report_is_a_table_for_each_part(results: dict[str, Any]):
    text = report({**results, "start": {"import torch": 1.5}})
    tables = [block for block in text.split("\n\n") if block.startswith("|")]
    assert len(tables) == 10
    for block in tables:
        lines = block.splitlines()
        assert len({line.count("|") for line in lines}) == 1 and len({len(line) for line in lines}) == 1
    assert "local 6-5-4, batch 10, 2 tasks, forward + backward" in text
    assert f"{results['scaling'][0]['exponent']:.2f}" in text


def test_the_original_is_compared_on_the_machines_own_scale():
    """A machine half as fast as theirs that takes twice their time does as well as they do."""
    common = {"rule": "paper", "tasks": 1, "matmul_gflop_per_second": report_module.MATMUL / 2}
    rows = compare(
        {
            "steps": [{**common, "pass": "forward", "seconds_best": 2 * report_module.FORWARD}],
            "more": [{**common, "seconds": {"now": 2 * report_module.MORE}}],
            "memory": [
                {"rule": "paper", "version": "now", "bytes_per_step": 0.2e9},
                {"rule": "paper", "version": "now, checkpointed", "bytes_per_step": 0.01e9},
                {"rule": "paper", "version": "first version", "bytes_per_step": 0.5e9},
            ],
        }
    )
    for _, ours, theirs, _ in rows[:2]:
        assert ours == pytest.approx(theirs)
    assert rows[0][1] == pytest.approx(0.45, abs=0.01)
    assert rows[2] == ("its memory, GB, at most", 0.2, 0.78, 0.25)
    assert rows[3] == ("its memory, checkpointed, GB, at most", 0.01, 0.78, 0.03) and len(rows) == 4


def test_the_products_of_a_function_are_all_that_is_replayed():
    a, b, bias, out = torch.rand(4, 5), torch.rand(5, 6), torch.rand(6), torch.zeros(4, 6)
    batched, image, kernel = torch.rand(3, 4, 5), torch.rand(1, 2, 8, 8), torch.rand(3, 2, 3, 3)

    def function() -> None:
        torch.relu(a @ b).sum()
        out.addmm_(a, b).mul_(2)
        torch.addmm(bias, a, b)
        batched @ torch.rand(3, 5, 2)
        torch.conv2d(image, kernel)

    alone, flop = counting.replay(function)
    assert flop == 3 * 2 * 4 * 5 * 6 + 2 * 3 * 4 * 5 * 2 + 2 * 36 * 3 * 2 * 9
    before = [t.clone() for t in (a, out)]
    with counting.Products() as noted:
        alone()
    names = [func.overloadpacket.__name__ for func, _, _ in noted.calls]
    assert names == ["mm", "addmm_", "addmm", "bmm", "convolution"]
    assert all(torch.equal(t, u) for t, u in zip((a, out), before, strict=True))  # on stand-ins, not on the data


@pytest.mark.parametrize("case", [TINY, TINY_PAPER])
def test_a_steps_products_are_those_that_are_counted(case: Case):
    function = build(case).meta_gradient
    assert counting.replay(function)[1] == counting.flops(function)


def test_kinds_of_work_share_the_time():
    a = torch.rand(400, 400)
    shares = counting.kinds(lambda: [a @ a for _ in range(50)] and None)
    assert sum(shares.values()) == pytest.approx(1)
    assert max(shares, key=lambda kind: shares[kind]) == "products"


def test_the_ceiling_is_the_first_versions_time_over_the_faster_products():
    seconds = {"now": 2.0, "products of now": 1.0, "first version": 4.0, "products of first version": 1.6}
    assert ceiling({"seconds": seconds}) == (2.0, 4.0)
    assert ceiling({"seconds": {"now": 2.0, "products of now": 1.0}}) == (None, None)


def test_a_case_comes_back_from_json():
    assert from_json(json.loads(json.dumps(asdict(TINY_PAPER)))) == TINY_PAPER


def test_the_picture_shows_every_sweep(results: dict[str, Any]):
    figure = cost_figure(results)
    assert [axes.get_xlabel() for axes in figure.axes] == ["tasks", "batch"]
    for axes, row in zip(figure.axes, results["scaling"], strict=True):
        (line,) = axes.lines
        assert list(line.get_xdata()) == row["values"]
        assert list(line.get_ydata()) == pytest.approx([1e3 * seconds for seconds in row["seconds"]])
    with pytest.raises(ValueError, match="no scaling"):
        cost_figure({**results, "scaling": []})


def test_the_command_line_shows_what_was_measured_before(
    results: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    (tmp_path / "before.json").write_text(json.dumps(results), encoding="utf-8")
    monkeypatch.setattr(command_line, "ROOT", tmp_path)
    monkeypatch.setattr(command_line, "PICTURE", tmp_path / "figures" / "cost.png")
    assert command_line.main(["--show", str(tmp_path / "before.json"), "--plot"]) == 0
    assert report(results) in capsys.readouterr().out
    assert (tmp_path / "figures" / "cost.png").read_bytes().startswith(b"\x89PNG")


def test_the_command_line_measures_and_writes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(plan, "quick", lambda: plan.Plan(threads=(TINY,)))
    monkeypatch.setattr(torch, "set_flush_denormal", lambda on: True)
    monkeypatch.setattr(command_line, "keep_memory", lambda: True)  # for the rest of the tests' process, that is
    out = tmp_path / "new" / "found.json"
    assert command_line.main(["--quick", "--threads", "1", "--json", str(out)]) == 0
    assert report(json.loads(out.read_text(encoding="utf-8"))) in capsys.readouterr().out


def test_the_pages_lines_are_written_between_the_marks(results: dict[str, Any], tmp_path: Path):
    path = tmp_path / "speed.md"
    path.write_text(f"above\n{MARKS[0]}\nold\n{MARKS[1]}\nbelow\n", encoding="utf-8")
    for _ in range(2):  # and again, without growing
        write_between_marks(path, main_lines({**results, "start": {"import torch": 1.5}}), MARKS)
        text = path.read_text(encoding="utf-8")
        assert text.startswith("above\n") and text.endswith("\nbelow\n") and "old" not in text
        assert text.count("local 6-5-4, batch 10, 2 tasks: forward + backward") == 1
        assert "`import torch`: 1.50 s" in text
    path.write_text(f"{MARKS[1]} {MARKS[0]}", encoding="utf-8")
    with pytest.raises(ValueError, match="allowed: a file with both, in this order"):
        write_between_marks(path, "", MARKS)


def test_the_page_has_its_marks():
    text = command_line.PAGE.read_text(encoding="utf-8")
    assert 0 < text.find(MARKS[0]) < text.find(MARKS[1])


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--threads", "0"], "threads is 0; allowed: 1 or more"),
        (["--device", "cuda"], "device is 'cuda'"),
        (["--show", "nowhere.json"], "--show is 'nowhere.json', which cannot be read (No such file or directory)"),
    ],
)
def test_the_command_line_refuses(words: list[str], message: str, capsys: pytest.CaptureFixture[str]):
    if "cuda" in words and torch.cuda.is_available():
        pytest.skip("there is a GPU here")
    with pytest.raises(SystemExit) as stop:
        command_line.main(words)
    assert stop.value.code == 2 and message in capsys.readouterr().err


# ---- learning beside what else one would pick


def test_fitting_fills_its_table_and_goes_on(tmp_path: Path):
    path, said = tmp_path / "rows.csv", list[str]()
    asked = {
        name: choice for name, choice in fitting.choices().items() if "25 steps, 64-32" in name or "64-" not in name
    }
    first = fitting.run(path, (150,), dict(list(asked.items())[:2]), said.append, held_out=200)
    assert len(first) == 2 and "drawing handwriting" in said
    rows = fitting.run(path, (150,), asked, held_out=200)
    assert len(rows) == len(asked) and fitting.read_rows(path)[:2] == rows[:2]
    assert all(row.seconds > 0 and 0.2 < row.accuracy < 1 and row.machine for row in rows)
    said.clear()
    assert fitting.run(path, (150,), asked, said.append, held_out=200) == fitting.read_rows(path) and said == []
    text = fitting.lines(rows)
    assert all(name in text for name in asked)
    assert len(fitting_figure(rows).axes[0].lines) == len(asked)


def some(seconds: dict[int, float]) -> list[fitting.Row]:
    return [fitting.Row("x", n, s, 0.5, 0.0, 1.0, "" if s == s else "left out") for n, s in seconds.items()]


def test_a_rule_is_cheaper_from_where_the_lines_cross():
    rule = some({10: 2.0, 100: 2.0, 1000: 2.0})
    assert fitting.cheaper_from(rule, some({10: 0.2, 100: 1.0, 1000: 4.0})) == pytest.approx(100 * 10**0.5)
    assert fitting.cheaper_from(rule, some({10: 3.0, 100: 3.0})) == 0
    assert fitting.cheaper_from(rule, some({10: 0.2, 100: 1.0, 1000: float("nan")})) == float("inf")
    assert fitting.expected(some({10: 1.0, 100: 100.0}), 1000) == (10_000.0, 10.0)
    assert fitting.expected([], 1000) == (0.0, 0.0)


# ---- what needs processes of its own


def test_a_child_answers_as_this_process_does_and_tells_that_it_failed():
    with Child(TINY_PAPER) as one:
        assert one.ask("flops", PASSES[1]) == counting.flops(build(TINY_PAPER).meta_gradient)
        assert one.ask("kept") == counting.kept(build(TINY_PAPER).loss)
        assert one.timer(PASSES[0])(2) > 0
        with pytest.raises(RuntimeError, match="ended early"):
            one.ask("nothing")


# In this process the memory that other tests gave back would be taken again, and the peak stay where it was.
PEAK = """
import torch
from benchmarks.child import forget_peak, peak_bytes
forget_peak("cpu")
before = peak_bytes()
torch.ones(16 * 2**20)
print(-1 if before is None else peak_bytes() - before)
"""


def test_a_peak_is_noticed():
    done = subprocess.run([sys.executable, "-c", PEAK], cwd=child.ROOT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    grown = int(done.stdout)
    if grown < 0:
        pytest.skip("this system does not tell a process its peak")
    assert 0.9 * 64 * 2**20 <= grown < 2 * 64 * 2**20


def test_where_there_is_no_revision_it_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(child, "ROOT", tmp_path)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    assert "not a git repository" in child.check_out(tmp_path)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert child.check_out(tmp_path) == "git is not installed"


@pytest.mark.slow
def test_the_first_version_is_measured_beside_todays(tmp_path: Path):
    """Every part that asks a child of the old revision; its rule gives today's numbers (test_first_version.py)."""
    if why := child.check_out(tmp_path):
        pytest.skip(f"no first version here: {why}")
    against = replace(BRIEF, first=tmp_path)
    for row in (measure.step(TINY, PASSES[1], against), measure.meta_training(laptop(50, 2), against)):
        median, low, high = row["speed_up"]
        assert 0 < low <= median <= high
    assert tuple(measure.one_more_step(TINY, against)["seconds"]) == measure.VERSIONS
    now, then = ceiling(measure.products(TINY_PAPER, against))
    assert now is not None and then is not None and 0 < now
    found = measure.memory(laptop(tasks=32), "first version", against)
    assert found["kept_bytes_per_step"] > 1e7
    assert 0.8 * found["kept_bytes_per_step"] < found["bytes_per_step"] < 3 * found["kept_bytes_per_step"]


@pytest.mark.slow
def test_processes_take_turns_with_threads():
    found = measure.processes(TINY, Options(threads=2, seconds=0.02, rounds=2))
    assert found["count"] == 2 and found["tasks"] == 2
    assert tuple(found["task_steps_per_minute"]) == ("threads", "workers", "processes")
    assert min(found["task_steps_per_minute"].values()) > 0


@pytest.mark.slow
def test_the_start_is_measured_in_parts():
    found = measure.start(children=1)
    assert tuple(found) == measure.PARTS and all(seconds > 0 for seconds in found.values())


def test_a_plain_script_is_measured_quiet_and_busy(monkeypatch: pytest.MonkeyPatch):
    """Its seconds, which depend on the machine, stand in docs/speed.md; here a clock that goes by the way alone."""
    monkeypatch.setattr(script, "available_cores", lambda: 2)
    monkeypatch.setattr(script, "_seconds", lambda way, steps: steps * {"nothing": 3.0, "1": 2.0, "2": 4.0}[way])
    row = script.plain_script(20, rounds=2)
    assert row["seconds"] == {load: {"nothing": 60.0, "1": 40.0, "2": 80.0} for load in ("quiet", "busy")}
    assert row["of_best"] == {"quiet": 1.5, "busy": 1.5}
