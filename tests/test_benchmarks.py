"""The benchmarks: what is counted is right, curves are fitted right, a tiny run goes through. No time is asserted."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from benchmarks import __main__ as command_line
from benchmarks import (
    counting,
    machine,
    memory,
    original,
    outer,
    plan,
    processes,
    products,
    readme,
    scaling,
    starting,
    steps,
    timing,
)
from benchmarks.cases import VERSIONS, Case, build, from_json, laptop, paper
from benchmarks.picture import cost_figure
from benchmarks.report import ceiling, report
from benchmarks.steps import PASSES, Options
from benchmarks.timing import Timing

TINY = Case("local", (6, 5, 4), batch=10, tasks=2)
TINY_PAPER = Case("paper", (9, 6, 8), batch=4, settings=(("channels", 4), ("top_units", 8)))
PARTS = ("steps", "more", "memory", "threads", "products", "processes", "meta_training", "scaling")
BRIEF = Options(threads=1, seconds=0.0, rounds=1, side=32)
TINY_PLAN = plan.Plan(
    steps=(TINY, TINY_PAPER),
    more=(TINY_PAPER,),
    threads=(TINY,),
    products=(TINY, TINY_PAPER),
    particles=(2,),
    sweeps=(scaling.Sweep(TINY, "tasks", (1, 2, 4)), scaling.Sweep(TINY, "batch", (5, 10))),
)


@pytest.fixture(scope="module")
def results() -> dict[str, Any]:
    """A whole run at the smallest sizes, but for what needs processes of its own."""
    threads = torch.get_num_threads()
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
    one = counting.flops(build(case, "yardstick").forward)
    assert one > 2 * 10 * (6 * 5 + 5 * 4)
    three = counting.flops(build(Case("local", (6, 5, 4), batch=10, tasks=3), "yardstick").forward)
    assert three == 3 * one


def test_the_papers_step_costs_what_it_was_counted_at():
    """13.3 of the original's 14 GFLOP lie in h's convolutions: 94,720 neurons times examples, 70,080 products each."""
    counted = counting.flops(build(paper(), "yardstick").forward)
    hidden = 2 * 128 * (196 + 4 * 128 + 32) * 3 * (45 * 64 + 5 * 64 * 64)
    assert hidden == pytest.approx(13.3e9, rel=0.01)
    assert hidden < counted < 1.25 * hidden


def test_traffic_counts_what_is_read_and_written_once():
    a, b = torch.rand(8, 4), torch.rand(8, 4)
    size = a.nbytes
    assert counting.traffic(lambda: a + b) == 3 * size
    assert counting.traffic(lambda: a.t().reshape(-1, 1)) == 2 * size  # the copy that reshape has to make
    assert counting.traffic(lambda: a.t()[:2].unsqueeze(0)) == 0  # views
    assert counting.traffic(lambda: a + a[:1]) == 2 * size + size / 8  # the row is read once, however often used
    assert counting.traffic(lambda: torch.empty(100, 100)) == 0
    assert counting.traffic(lambda: a.add_(b)) == 3 * size


def test_kept_counts_each_storage_once_and_no_parameter():
    weight = torch.rand(4, 3, requires_grad=True)
    x = torch.rand(8, 4)
    assert counting.kept(lambda: (x @ weight).sum()) == x.nbytes
    assert counting.kept(lambda: (x @ weight).square().sum()) == x.nbytes + 8 * 3 * 4
    assert counting.kept(lambda: ((x @ weight) + (x @ weight)).sum()) == x.nbytes


# ---- timing and fitting


def test_functions_take_turns():
    calls: list[str] = []
    slow = {name: lambda name=name: calls.append(name) for name in "AB"}
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
    assert Timing((1.0, 2.0, 3.0, 4.0, 5.0)).quartiles() == (2.0, 4.0)
    assert Timing((3.0,)).quartiles() == (3.0, 3.0)


@given(power=st.floats(0.2, 3), factor=st.floats(1e-6, 10), n=st.integers(2, 9))
def test_an_exponent_is_recovered(power: float, factor: float, n: int):
    sizes = [2**i for i in range(n)]
    assert scaling.exponent(sizes, [factor * size**power for size in sizes]) == pytest.approx(power)


def test_an_exponent_looks_at_the_upper_half_alone():
    sizes = [1, 2, 4, 8, 16, 32]
    assert scaling.exponent(sizes, [7, 7, 7, 8, 16, 32]) == pytest.approx(1.0)
    with pytest.raises(ValueError, match="allowed: two or more of each"):
        scaling.exponent([1], [1])
    with pytest.raises(ValueError, match="all positive"):
        scaling.exponent([1, 2], [1, 0])


def test_sweeps_change_one_size():
    base = Case("local", (6, 5, 5, 4), batch=10)
    assert scaling.Sweep(base, "width", ()).case(7).widths == (6, 7, 7, 4)
    assert scaling.Sweep(base, "depth", ()).case(1).widths == (6, 5, 4)
    assert scaling.Sweep(base, "unroll", ()).case(3) == Case("local", (6, 5, 5, 4), batch=10, unroll=3)
    with pytest.raises(ValueError, match="axis is 'colour'; allowed: tasks, width"):
        scaling.Sweep(base, "colour", ()).case(3)


# ---- cases


@pytest.mark.parametrize("case", [TINY, TINY_PAPER], ids=lambda case: case.rule)
def test_both_versions_get_the_same_problem(case: Case):
    now, frugal, then = (build(case, version, dtype=torch.float64) for version in VERSIONS)
    torch.testing.assert_close(now.loss(), then.loss(), rtol=1e-10, atol=0.0)
    torch.testing.assert_close(now.meta_gradient(), frugal.meta_gradient())
    assert counting.kept(frugal.loss) < 0.5 * counting.kept(now.loss)
    assert not now.forward().layers[0].W.requires_grad
    assert len(now.meta_gradient()) == len(list(now.rule.parameters()))
    with pytest.raises(ValueError, match="'later'"):
        build(case, "later")


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
    assert results["format"] == plan.FORMAT
    assert [row["pass"] for row in results["steps"]] == list(PASSES) * 2
    for row in results["steps"]:
        assert row["seconds"] >= row["seconds_best"] > 0
        assert row["task_steps_per_second"] == pytest.approx(row["tasks"] * row["unroll"] / row["seconds"])
        assert row["of_matmul"] == pytest.approx(row["gflop"] / row["seconds_best"] / row["matmul_gflop_per_second"])
        assert row["speed_up_quartiles"][0] <= row["speed_up"] <= row["speed_up_quartiles"][1]
    forward, both = results["steps"][:2]
    assert both["gflop"] > 2 * forward["gflop"] and both["gbytes_moved"] > forward["gbytes_moved"]
    assert results["meta_training"][0]["particles"] == 2
    assert [row["axis"] for row in results["scaling"]] == ["tasks", "batch"]
    assert set(results["threads"][0]["seconds"]) >= {"1"}


def test_results_are_plain_json_without_names_of_hosts_or_folders(results: dict[str, Any]):
    import platform

    text = json.dumps(results)
    assert json.loads(text) == results
    assert str(Path.home()) not in text and str(Path.cwd()) not in text
    assert f'"{platform.node()}"' not in text
    assert set(results["machine"]) >= {"processor", "flags", "cores", "cores_available", "torch", "python", "device"}


def test_without_the_yardstick_its_entries_are_empty():
    row = steps.measure(TINY, PASSES[0], BRIEF, against=False)
    assert row["speed_up"] is row["yardstick_seconds"] is None
    parts = {**{part: [] for part in PARTS}, "steps": [row], "start": {}}
    assert report({"machine": machine.facts(), **parts}).endswith(" - |")


def test_the_report_is_a_table_for_each_part(results: dict[str, Any]):
    text = report({**results, "start": {"import torch": 1.5}})
    tables = [block for block in text.split("\n\n") if block.startswith("|")]
    assert len(tables) == 9
    for block in tables:
        lines = block.splitlines()
        assert len({line.count("|") for line in lines}) == 1 and len({len(line) for line in lines}) == 1
    assert "local 6-5-4, batch 10, 2 tasks, forward + backward" in text
    assert f"{results['scaling'][0]['exponent']:.2f}" in text


def test_the_original_is_compared_on_the_machines_own_scale():
    """A machine half as fast as theirs that takes twice their time does as well as they do."""
    common = {"rule": "paper", "tasks": 1, "matmul_gflop_per_second": original.MATMUL / 2}
    rows = original.compare(
        {
            "steps": [{**common, "pass": "forward", "seconds_best": 2 * original.FORWARD}],
            "more": [{**common, "seconds": {"now": 2 * original.MORE}}],
            "memory": [
                {"rule": "paper", "version": "now", "bytes_per_step": 0.2e9},
                {"rule": "paper", "version": "now, checkpointed", "bytes_per_step": 0.01e9},
                {"rule": "paper", "version": "yardstick", "bytes_per_step": 0.5e9},
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

    alone, flop = products.replay(function)
    assert flop == 3 * 2 * 4 * 5 * 6 + 2 * 3 * 4 * 5 * 2 + 2 * 36 * 3 * 2 * 9
    before = [t.clone() for t in (a, out)]
    with products.Products() as noted:
        alone()
    names = [func.overloadpacket.__name__ for func, _, _ in noted.calls]
    assert names == ["mm", "addmm_", "addmm", "bmm", "convolution"]
    assert all(torch.equal(t, u) for t, u in zip((a, out), before, strict=True))  # on stand-ins, not on the data


@pytest.mark.parametrize("case", [TINY, TINY_PAPER])
def test_the_yardsticks_products_are_those_that_are_counted(case: Case):
    function = build(case, "yardstick").meta_gradient
    assert products.replay(function)[1] == counting.flops(function)


def test_kinds_of_work_share_the_time():
    a = torch.rand(400, 400)
    shares = products.kinds(lambda: [a @ a for _ in range(50)] and None)
    assert sum(shares.values()) == pytest.approx(1)
    assert max(shares, key=lambda kind: shares[kind]) == "products"


def test_the_ceiling_is_the_yardsticks_time_over_the_faster_products():
    seconds = {"now": 2.0, "products of now": 1.0, "yardstick": 4.0, "products of yardstick": 1.6}
    assert ceiling({"seconds": seconds}) == (2.0, 4.0)


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


def test_the_readmes_lines_are_written_between_the_marks(results: dict[str, Any], tmp_path: Path):
    path = tmp_path / "README.md"
    path.write_text(f"above\n{readme.BEGIN}\nold\n{readme.END}\nbelow\n", encoding="utf-8")
    for _ in range(2):  # and again, without growing
        readme.write(path, {**results, "start": {"import torch": 1.5}})
        text = path.read_text(encoding="utf-8")
        assert text.startswith("above\n") and text.endswith("\nbelow\n") and "old" not in text
        assert text.count("local 6-5-4, batch 10, 2 tasks: forward + backward") == 1
        assert "`import torch`: 1.50 s" in text
    path.write_text(f"{readme.END} {readme.BEGIN}", encoding="utf-8")
    with pytest.raises(ValueError, match="allowed: a file with both, in this order"):
        readme.write(path, results)


def test_the_readme_has_its_marks():
    text = (Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8")
    assert 0 < text.find(readme.BEGIN) < text.find(readme.END)


@pytest.mark.parametrize(
    ("words", "message"),
    [(["--threads", "0"], "threads is 0; allowed: 1 or more"), (["--device", "cuda"], "device is 'cuda'")],
)
def test_the_command_line_refuses(words: list[str], message: str, capsys: pytest.CaptureFixture[str]):
    if "cuda" in words and torch.cuda.is_available():
        pytest.skip("there is a GPU here")
    with pytest.raises(SystemExit) as stop:
        command_line.main(words)
    assert stop.value.code == 2 and message in capsys.readouterr().err


def test_meta_trainings_pace_goes_through_its_own_unroll(monkeypatch: pytest.MonkeyPatch):
    seen: list[tuple[Any, ...]] = []

    def watched(own: Any) -> Any:
        def call(*given: Any) -> Any:
            seen.append(given)
            return own(*given)

        return call

    monkeypatch.setattr(outer, "truncated_loss", watched(outer.truncated_loss))
    monkeypatch.setattr(outer.yardstick, "truncated_loss", watched(outer.yardstick.truncated_loss))
    monkeypatch.setattr(outer, "LENGTH", 1)
    row = outer.measure(3, BRIEF)
    assert {type(given[0]).__module__.split(".")[0] for given in seen} == {"metarules", "benchmarks"}
    assert all(given[1].phi.tasks == (3,) and given[1].step == 0 for given in seen)
    assert row["task_steps_per_minute"] == pytest.approx(60 * 3 * outer.LENGTH / row["seconds"])


# ---- what needs processes of its own


def test_processes_take_turns_with_threads():
    found = processes.measure(TINY, Options(threads=2, seconds=0.02, rounds=2))
    assert found["count"] == 2 and found["tasks"] == 2
    assert tuple(found["task_steps_per_minute"]) == ("threads", "workers", "processes")
    assert min(found["task_steps_per_minute"].values()) > 0


def test_a_child_that_fails_is_told():
    with pytest.raises(RuntimeError, match="ended early"):
        processes.measure(Case("nothing", (6, 5), batch=3), BRIEF)


def test_a_peak_is_noticed():
    memory._forget_peak("cpu")
    before = memory.peak_bytes()
    if before is None:
        pytest.skip("this system does not tell a process its peak")
    torch.ones(16 * 2**20)
    after = memory.peak_bytes()
    assert after is not None and after - before >= 0.9 * 64 * 2**20


@pytest.mark.slow
def test_memory_of_a_step_is_at_least_what_autograd_keeps():
    case = laptop(tasks=32)
    found = memory.per_step(case, "yardstick", threads=1)
    assert found["kept_bytes_per_step"] > 1e7
    assert 0.8 * found["kept_bytes_per_step"] < found["bytes_per_step"] < 3 * found["kept_bytes_per_step"]


@pytest.mark.slow
def test_the_start_is_measured_in_parts():
    found = starting.measure(children=1)
    assert tuple(found) == starting.PARTS and all(seconds > 0 for seconds in found.values())
