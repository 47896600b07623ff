"""Results as tables in Markdown, which reads well on a terminal too."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from benchmarks.cases import VERSIONS
from benchmarks.original import compare


def report(results: dict[str, Any]) -> str:
    """All parts of a run's results that hold anything, as one text.

    Args:
        results: what `plan.run` returned, or the JSON file of it.
    """
    parts = [machine_line(results["machine"])]
    makers = (
        _steps,
        _original,
        _more,
        _memory,
        _threads,
        _products,
        _kinds,
        _processes,
        _meta_training,
        _scaling,
        _start,
    )
    parts += [maker(results) for maker in makers]
    return "\n\n".join(part for part in parts if part)


def machine_line(facts: dict[str, Any]) -> str:
    """One line about the machine."""
    where = facts.get("gpu") or f"{facts['processor']}, {facts['cores_available']} cores"
    return f"{where}, torch {facts['torch']}"


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table whose columns stand under each other; numbers to the right."""
    widths = [max(len(row[i]) for row in (head, *rows)) for i in range(len(head))]

    def line(cells: Sequence[str]) -> str:
        padded = (c.ljust(w) if i == 0 else c.rjust(w) for i, (c, w) in enumerate(zip(cells, widths, strict=True)))
        return f"| {' | '.join(padded)} |"

    rule = f"| {' | '.join('-' * w if i == 0 else '-' * (w - 1) + ':' for i, w in enumerate(widths))} |"
    return "\n".join([line(head), rule, *map(line, rows)])


def _steps(results: dict[str, Any]) -> str:
    head = ("step", "threads", "ms", "task-steps/s", "GFLOP/s", "of matmul", "GB/s", "of copy", "against yardstick")
    rows = []
    for row in results["steps"]:
        rows.append(
            (
                f"{sizes(row)}, {row['pass']}",
                str(row["threads"]),
                number(1e3 * row["seconds"]),
                number(row["task_steps_per_second"]),
                number(row["gflop_per_second"]),
                f"{row['of_matmul']:.0%}",
                number(row["gbytes_per_second"]),
                f"{row['of_copy']:.0%}",
                _spread(row),
            )
        )
    return table(head, rows) if rows else ""


def _original(results: dict[str, Any]) -> str:
    head = ("paper's sizes, scaled to the original's machine", "ours", "original", "our bound")
    rows = [(what, *(f"{number:.2f}" for number in numbers)) for what, *numbers in compare(results)]
    return table(head, rows) if rows else ""


def _more(results: dict[str, Any]) -> str:
    head = ("one more unrolled step", "threads", "s", "checkpointed, s", "yardstick, s", "matmul, GFLOP/s")
    rows = [
        (
            sizes(row),
            str(row["threads"]),
            *(number(row["seconds"][version]) for version in VERSIONS),
            number(row["matmul_gflop_per_second"]),
        )
        for row in results["more"]
    ]
    return table(head, rows) if rows else ""


def _memory(results: dict[str, Any]) -> str:
    head = ("memory of one more unrolled step", "version", "process, MB", "kept by autograd, MB")
    rows = [
        (sizes(row), row["version"], _megabytes(row["bytes_per_step"]), _megabytes(row["kept_bytes_per_step"]))
        for row in results["memory"]
    ]
    return table(head, rows) if rows else ""


def _threads(results: dict[str, Any]) -> str:
    head = ("threads, forward + backward", "ms by threads", "chosen")
    rows = [
        (sizes(row), ", ".join(f"{n}: {number(1e3 * s)}" for n, s in row["seconds"].items()), str(row["chosen"]))
        for row in results["threads"]
    ]
    return table(head, rows) if rows else ""


def _products(results: dict[str, Any]) -> str:
    head = (
        "forward + backward, and its matrix products alone",
        "threads",
        "ms",
        "products, ms",
        "yardstick, ms",
        "its products, ms",
        "products, GFLOP/s",
        "matmul, GFLOP/s",
        "faster",
        "at most",
    )
    rows = [
        (
            sizes(row),
            str(row["threads"]),
            *(number(1e3 * seconds) for seconds in row["seconds"].values()),
            number(row["gflop_per_second"]["now"]),
            number(row["matmul_gflop_per_second"]),
            *map(times, ceiling(row)),
        )
        for row in results.get("products", ())
    ]
    return table(head, rows) if rows else ""


def ceiling(row: dict[str, Any]) -> tuple[float, float]:
    """How much faster than the yardstick a step is, and would be if it were its matrix products and nothing else."""
    seconds = row["seconds"]
    products = min(seconds["products of now"], seconds["products of yardstick"])
    return seconds["yardstick"] / seconds["now"], seconds["yardstick"] / products


def _kinds(results: dict[str, Any]) -> str:
    rows = results.get("products", ())
    if not rows:
        return ""
    head = ("where the time of forward + backward goes", *rows[0]["kinds"])
    return table(head, [(sizes(row), *(f"{share:.0%}" for share in row["kinds"].values())) for row in rows])


def _processes(results: dict[str, Any]) -> str:
    ways = ("threads in each operation", "side by side", "processes of one thread")
    head = ("forward + backward, task-steps/min", "cores", *ways)
    rows = [
        (sizes(row), str(row["count"]), *(number(rate) for rate in row["task_steps_per_minute"].values()))
        for row in results.get("processes", ())
    ]
    return table(head, rows) if rows else ""


def _meta_training(results: dict[str, Any]) -> str:
    head = ("meta-training, tasks at once", "threads", "task-steps/s", "task-steps/min", "against yardstick")
    rows = [
        (
            str(row["particles"]),
            str(row["threads"]),
            number(row["task_steps_per_second"]),
            number(row["task_steps_per_minute"]),
            _spread(row),
        )
        for row in results["meta_training"]
    ]
    return table(head, rows) if rows else ""


def _scaling(results: dict[str, Any]) -> str:
    head = ("cost against", "sizes", "ms", "exponent")
    rows = [
        (
            f"{row['rule']}: {row['axis']}",
            " ".join(map(str, row["values"])),
            " ".join(number(1e3 * s) for s in row["seconds"]),
            f"{row['exponent']:.2f}",
        )
        for row in results["scaling"]
    ]
    return table(head, rows) if rows else ""


def _start(results: dict[str, Any]) -> str:
    rows = [(part, f"{seconds:.3f}") for part, seconds in results["start"].items()]
    return table(("start", "s"), rows) if rows else ""


def sizes(row: dict[str, Any]) -> str:
    """A row's rule, net, batch and tasks in words."""
    tasks = "1 task" if row["tasks"] == 1 else f"{row['tasks']} tasks"
    return f"{row['rule']} {'-'.join(map(str, row['widths']))}, batch {row['batch']}, {tasks}"


def _spread(row: dict[str, Any]) -> str:
    """A speed-up with its quartiles."""
    if row["speed_up"] is None:
        return times(None)
    low, high = row["speed_up_quartiles"]
    return f"{times(row['speed_up'])} ({low:.1f} to {high:.1f})"


def _megabytes(count: float | None) -> str:
    return "-" if count is None else number(count / 1e6)


def times(ratio: float | None) -> str:
    """A speed-up, such as "5.1 x"; "-" where none was measured."""
    return "-" if ratio is None else f"{ratio:.1f} x"


def number(value: float) -> str:
    """Three digits, and no decimals where they say nothing."""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"
