"""The paper's rule against the authors' own TensorFlow graph, on the scale of each machine's matrix-multiply rate.

Their numbers were taken on two quiet cores whose 1536-wide float32 product ran at 194 GFLOP/s in the same minute: an
inner step of the paper's sizes 0.161 s for 14 GFLOP, each further unrolled step of the meta-gradient 0.43 s, 0.78 GB.
"""

from __future__ import annotations

from typing import Any

GFLOP = 14.0  # of an inner step, as it was counted for the original; `counting.flops` counts read-outs and terms too
MATMUL = 194.0  # GFLOP/s
FORWARD = 0.161  # s an inner step, median of 60
MORE = 0.43  # s a further unrolled step
MEMORY = 0.78e9  # bytes a further unrolled step
BOUNDS = {"now": 0.25, "now, checkpointed": 0.03}  # GB, ours


def compare(results: dict[str, Any]) -> list[tuple[str, float, float, float]]:
    """Ours, the original's, and the bound that we set ourselves, for whatever of it was measured.

    Args:
        results: what `plan.run` returned.

    Returns:
        (what, ours, original, bound) rows. Shares are of the matrix-multiply rate; seconds are scaled to the
        original's machine by it.
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
