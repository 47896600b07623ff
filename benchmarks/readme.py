"""The README's section on speed, its table written from results so that it is easy to refresh."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from benchmarks.original import compare
from benchmarks.report import ceiling, machine_line, number, sizes, table, times

BEGIN, END = "<!-- speed: begin -->", "<!-- speed: end -->"


def write(path: Path, results: dict[str, Any]) -> None:
    """Put the main lines of a run between the README's two marks.

    Args:
        path: of the README.
        results: what `plan.run` returned.

    Raises:
        ValueError: the marks are not there, once each and in order.
    """
    text = path.read_text(encoding="utf-8")
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"{path.name} lacks {BEGIN} .. {END}; allowed: a file with both, in this order")
    path.write_text(f"{before}{BEGIN}\n{lines(results)}\n{END}{after}", encoding="utf-8")


def lines(results: dict[str, Any]) -> str:
    """The main lines of a run: a table, and below it the machine.

    Args:
        results: what `plan.run` returned.
    """
    rows = [
        (
            f"{sizes(row)}: {row['pass']}",
            f"{number(row['task_steps_per_second'])} task-steps/s",
            times(row["speed_up"]),
            f"{row['of_matmul']:.0%}",
        )
        for row in results["steps"]
    ]
    rows += [
        (
            f"meta-training, {row['particles']} at once, objective included",
            f"{number(row['task_steps_per_minute'])} task-steps/min",
            times(row["speed_up"]),
            "",
        )
        for row in results["meta_training"]
    ]
    parts = [table(("", "", "against the first version", "of matmul"), rows)]
    if told := compare(results):
        head = ("the paper's sizes, seconds scaled to the original's machine", "here", "original", "bound")
        parts.append(table(head, [(what, *(f"{value:.2f}" for value in values)) for what, *values in told]))
    if measured := results.get("products"):
        columns = ("forward + backward against the first version", "here", "its matrix products alone")
        parts.append(table(columns, [(sizes(row), *map(times, ceiling(row))) for row in measured]))
    for row in results.get("processes", ()):
        n, (one, beside, several) = row["count"], map(number, row["task_steps_per_minute"].values())
        parts.append(
            f"{sizes(row)}, forward + backward, on {n} cores: {n} threads in each operation {one} task-steps/min, "
            f"{n} meta-gradients side by side in one process {beside}, {n} processes of one thread {several} together."
        )
    if results["start"]:
        parts.append("; ".join(f"`{part}`: {seconds:.2f} s" for part, seconds in results["start"].items()) + ".")
    threads = sorted({row["threads"] for row in (*results["steps"], *results["meta_training"])})
    parts.append(f"Measured on {machine_line(results['machine'])}, threads: {', '.join(map(str, threads))}.")
    return "\n\n".join(parts)
