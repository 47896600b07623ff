"""Results as tables in Markdown, which reads well on a terminal too; and the main ones of them for docs/speed.md."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from typing import Any

from benchmarks.cases import PASSES
from benchmarks.measure import VERSIONS
from metarules._files import text_table

MARKS = "<!-- speed: begin -->", "<!-- speed: end -->"
# The authors' own TensorFlow graph on two quiet cores whose 1536-wide float32 product ran at 194 GFLOP/s in the same
# minute: an inner step of the paper's sizes, each further unrolled step of the meta-gradient, and the memory it takes.
GFLOP = 14.0  # of an inner step, as it was counted for the original; `counting.flops` counts read-outs and terms too
MATMUL = 194.0  # GFLOP/s
FORWARD = 0.161  # s an inner step, median of 60
MORE = 0.43  # s a further unrolled step
MEMORY = 0.78e9  # bytes a further unrolled step
BOUNDS = {"now": 0.25, "now, checkpointed": 0.03}  # GB, ours


def report(results: dict[str, Any]) -> str:
    """All parts of a run's results that hold anything, as one text.

    Args:
        results: what `plan.run` returned, or the JSON file of it.
    """
    steps = [
        (
            f"{sizes(row)}, {row['pass']}",
            row["threads"],
            number(1e3 * row["seconds"]),
            number(row["task_steps_per_second"]),
            number(row["gflop_per_second"]),
            f"{row['of_matmul']:.0%}",
            _spread(row),
        )
        for row in results["steps"]
    ]
    more = [
        (
            sizes(row),
            row["threads"],
            *(number(row["seconds"].get(version)) for version in VERSIONS),
            number(row["matmul_gflop_per_second"]),
        )
        for row in results["more"]
    ]
    memory = [
        (sizes(row), row["version"], *(_megabytes(row[key]) for key in ("bytes_per_step", "kept_bytes_per_step")))
        for row in results["memory"]
    ]
    terms = [
        (sizes(row), row["term"], row["threads"], *(f"{row['ratio'][which][0]:.2f} x" for which in PASSES))
        for row in results["terms"]
    ]
    threads = [
        (sizes(row), ", ".join(f"{n}: {number(1e3 * s)}" for n, s in row["seconds"].items()), row["chosen"])
        for row in results["threads"]
    ]
    script = [
        (
            f"{row['steps']} inner steps, {load}",
            ", ".join(f"{n}: {number(s)}" for n, s in found.items()),
            f"{row['of_best'][load]:.2f} x",
        )
        for row in results["script"]
        for load, found in row["seconds"].items()
    ]
    timed = [f"{alone}{version}" for version in ("now", "first version") for alone in ("", "products of ")]
    products = [
        (
            sizes(row),
            row["threads"],
            *(number(1e3 * row["seconds"][name] if name in row["seconds"] else None) for name in timed),
            number(row["gflop_per_second"]["now"]),
            number(row["matmul_gflop_per_second"]),
            *map(times, ceiling(row)),
        )
        for row in results["products"]
    ]
    kinds = [(sizes(row), *(f"{share:.0%}" for share in row["kinds"].values())) for row in results["products"]]
    processes = [
        (sizes(row), row["count"], *map(number, row["task_steps_per_minute"].values())) for row in results["processes"]
    ]
    pace = [
        (
            row["particles"],
            row["threads"],
            number(row["task_steps_per_second"]),
            number(row["task_steps_per_minute"]),
            _spread(row),
        )
        for row in results["meta_training"]
    ]
    scaling = [
        (
            f"{row['rule']}: {row['axis']}",
            " ".join(map(str, row["values"])),
            " ".join(number(1e3 * s) for s in row["seconds"]),
            f"{row['exponent']:.2f}",
        )
        for row in results["scaling"]
    ]
    against = _against(results)
    shares = results["products"][0]["kinds"] if kinds else ()
    parts = [
        machine_line(results["machine"]),
        said(
            ("step", "threads", "ms", "task-steps/s", "GFLOP/s", "of matmul", against),
            steps,
        ),
        _original(results, ("paper's sizes, scaled to the original's machine", "ours", "original", "our bound")),
        said(("one more unrolled step", "threads", *(f"{v}, s" for v in VERSIONS), "matmul, GFLOP/s"), more),
        said(("memory of one more unrolled step", "version", "process, MB", "kept by autograd, MB"), memory),
        said(("one more term", "", "threads", *PASSES), terms),
        said(("threads, forward + backward", "ms by threads", "chosen"), threads),
        said(("a plain script", "s by OMP_NUM_THREADS", "nothing said, of the best"), script),
        said(
            (
                "forward + backward, and its matrix products alone",
                "threads",
                *(f"{name}, ms" for name in timed),
                *("products, GFLOP/s", "matmul, GFLOP/s", "faster", "at most"),
            ),
            products,
        ),
        said(("where the time of forward + backward goes", *shares), kinds),
        said(
            (
                "forward + backward, task-steps/min",
                "cores",
                *("threads in each operation", "side by side", "processes of one thread"),
            ),
            processes,
        ),
        said(("meta-training, tasks at once", "threads", "task-steps/s", "task-steps/min", against), pace),
        said(("cost against", "sizes", "ms", "exponent"), scaling),
        said(("start", "s"), [(part, f"{seconds:.3f}") for part, seconds in results["start"].items()]),
    ]
    return "\n\n".join(part for part in parts if part)


def main_lines(results: dict[str, Any]) -> str:
    """The main lines of a run for docs/speed.md: tables, and below them the machine."""
    rows = [
        (
            f"{sizes(row)}: {row['pass']}",
            f"{number(row['task_steps_per_second'])} task-steps/s",
            times(_median(row)),
            f"{row['of_matmul']:.0%}",
        )
        for row in results["steps"]
    ]
    rows += [
        (
            f"meta-training, {row['particles']} at once, objective included",
            f"{number(row['task_steps_per_minute'])} task-steps/min",
            times(_median(row)),
            "",
        )
        for row in results["meta_training"]
    ]
    columns = (f"forward + backward {_against(results)}", "here", "its matrix products alone")
    parts = [
        table(("", "", _against(results), "of matmul"), rows),
        _original(
            results, ("the paper's sizes, seconds scaled to the original's machine", "here", "original", "bound")
        ),
        table(columns, [(sizes(row), *map(times, ceiling(row))) for row in results["products"]]),
    ]
    for row in results["processes"]:
        n, (one, beside, several) = row["count"], map(number, row["task_steps_per_minute"].values())
        parts.append(
            f"{sizes(row)}, forward + backward, on {n} cores: {n} threads in each operation {one} task-steps/min, "
            f"{n} meta-gradients side by side in one process {beside}, {n} processes of one thread {several} together."
        )
    if results["start"]:
        parts.append("; ".join(f"`{part}`: {seconds:.2f} s" for part, seconds in results["start"].items()) + ".")
    threads = sorted({row["threads"] for row in (*results["steps"], *results["meta_training"])})
    parts.append(f"Measured on {machine_line(results['machine'])}, threads: {', '.join(map(str, threads))}.")
    return "\n\n".join(part for part in parts if part)


def compare(results: dict[str, Any]) -> list[tuple[str, float, float, float]]:
    """The paper's rule against the original, on the scale of each machine's matrix-multiply rate.

    Returns:
        (what, ours, original, bound) rows, the bound one that we set ourselves, for whatever of it was measured.
        Shares are of the matrix-multiply rate; seconds are scaled to the original's machine by it.
    """
    rows = []
    for row in results["steps"]:
        if row["rule"] == "paper" and row["pass"] == "forward" and row["tasks"] == 1:
            share = GFLOP / row["seconds_best"] / row["matmul_gflop_per_second"]
            rows.append(("inner step, share of the matmul rate, at least", share, GFLOP / FORWARD / MATMUL, 0.58))
    for row in results["more"]:
        if row["rule"] == "paper":
            seconds = row["seconds"]["now"] * row["matmul_gflop_per_second"] / MATMUL
            rows.append(("one more unrolled step, s, at most", seconds, MORE, 0.8 * MORE))
    for row in results["memory"]:
        bound = BOUNDS.get(row["version"])
        if row["rule"] == "paper" and bound and row["bytes_per_step"] is not None:
            how = "its memory" + row["version"].removeprefix("now")
            rows.append((f"{how}, GB, at most", row["bytes_per_step"] / 1e9, MEMORY / 1e9, bound))
    return rows


def ceiling(row: dict[str, Any]) -> tuple[float | None, float | None]:
    """How much faster than the first version a step is, and would be if it were its matrix products alone."""
    seconds = row["seconds"]
    if "first version" not in seconds:
        return None, None
    products = min(seconds["products of now"], seconds["products of first version"])
    return seconds["first version"] / seconds["now"], seconds["first version"] / products


def table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """A Markdown table whose columns stand under each other, numbers to the right; nothing without rows."""
    lines = [list(map(str, row)) for row in (head, *rows)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    padded = [
        [cell.ljust(w) if i == 0 else cell.rjust(w) for i, (cell, w) in enumerate(zip(line, widths, strict=True))]
        for line in lines
    ]
    padded.insert(1, ["-" * w if i == 0 else "-" * (w - 1) + ":" for i, w in enumerate(widths)])
    return "\n".join(f"| {' | '.join(line)} |" for line in padded) if len(lines) > 1 else ""


def said(head: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """A table for who runs this: folded where a terminal would break its lines, Markdown where it goes to a file."""
    if not rows or not sys.stdout.isatty():
        return table(head, rows)
    return text_table([list(map(str, row)) for row in (head, *rows)])


def machine_line(facts: dict[str, Any]) -> str:
    """One line about the machine."""
    where = facts.get("gpu") or f"{facts['processor']}, {facts['cores_available']} cores"
    return f"{where}, torch {facts['torch']}"


def sizes(row: dict[str, Any]) -> str:
    """A row's rule, net, batch and tasks in words."""
    tasks = "1 task" if row["tasks"] == 1 else f"{row['tasks']} tasks"
    return f"{row['rule']} {'-'.join(map(str, row['widths']))}, batch {row['batch']}, {tasks}"


def times(ratio: float | None) -> str:
    """A speed-up, such as "5.1 x"; "-" where none was measured."""
    return "-" if ratio is None else f"{ratio:.1f} x"


def number(value: float | None) -> str:
    """Three digits, and no decimals where they say nothing; "-" where nothing was measured."""
    if value is None:
        return "-"
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def _original(results: dict[str, Any], head: Sequence[str]) -> str:
    return table(head, [(what, *(f"{value:.2f}" for value in values)) for what, *values in compare(results)])


def _against(results: dict[str, Any]) -> str:
    """Head of the column that compares; it says why where there is nothing to compare with."""
    why = results["no_first_version"]
    return "against the first version" + (f" (not measured: {why})" if why else "")


def _median(row: dict[str, Any]) -> float | None:
    return row["speed_up"] and row["speed_up"][0]


def _spread(row: dict[str, Any]) -> str:
    """A speed-up with its quartiles."""
    if row["speed_up"] is None:
        return times(None)
    median, low, high = row["speed_up"]
    return f"{times(median)} ({low:.1f} to {high:.1f})"


def _megabytes(count: float | None) -> str:
    return number(None if count is None else count / 1e6)
