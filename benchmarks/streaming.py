"""Rows that fit no memory, through the transformer: `python -m benchmarks.streaming ROWS` in a process of its own.

The rows are random numbers in a file, read as a `numpy.memmap`. Beside `partial_fit`, the features of all rows are
timed against scikit-learn's PCA of as many inputs, which takes fewer multiply-adds.
"""

from __future__ import annotations

import json
import math
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from metarules._memory import peak_bytes

ROOT = Path(__file__).resolve().parents[1]
FEATURES = 64
COMPONENTS = 32


def streaming(rows: Sequence[int]) -> dict[str, Any]:
    """Measure several numbers of rows, each in a process of its own.

    Args:
        rows: how many, two numbers at least.

    Returns:
        "rows", "seconds" of `partial_fit`, "exponent" by which they grow with rows, "peak" bytes above what the imports
        take, and for the most rows "transform": seconds of features, of PCA's, and how many times its multiply-adds.
    """
    found = []
    for n in rows:
        command = [sys.executable, "-m", "benchmarks.streaming", str(n)]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
        found.append(json.loads(done.stdout))
    seconds = [row["seconds"] for row in found]
    slope = np.polyfit([math.log(n) for n in rows], [math.log(s) for s in seconds], 1)[0]
    peak = [row["peak"] for row in found]
    return {
        "rows": list(rows),
        "seconds": seconds,
        "exponent": slope,
        "peak": peak,
        "transform": found[-1]["transform"],
    }


def measure(n: int) -> dict[str, Any]:
    """One number of rows, in this process; "peak" means something in a fresh one alone."""
    from sklearn.decomposition import PCA

    from metarules import MetaRuleTransformer

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "rows.npy"
        header = {"descr": np.dtype(np.float32).str, "fortran_order": False, "shape": (n, FEATURES)}
        with path.open("wb") as file:  # not by a memmap, whose pages would count as this process's before it begins
            np.lib.format.write_array_header_1_0(file, header)
            for i in range(0, n, 10_000):
                part = np.random.default_rng(i).random((min(10_000, n - i), FEATURES), dtype=np.float32)
                file.write(part.tobytes())
        model = MetaRuleTransformer(n_components=COMPONENTS, random_state=0)
        model.partial_fit(np.random.default_rng(0).random((400, FEATURES), dtype=np.float32))  # loads what loads late
        before = peak_bytes()
        x = np.load(path, mmap_mode="r")
        begun = time.process_time()
        model.partial_fit(x)
        seconds, after = time.process_time() - begun, peak_bytes()
        peak = math.nan if before is None or after is None else after - before
        pca = PCA(COMPONENTS).fit(x[:5000])
        ours, theirs = (_timed(transform, x) for transform in (model.transform, pca.transform))
    products = sum(weight.size for weight in model.coefs_) / (FEATURES * COMPONENTS)
    return {"seconds": seconds, "peak": peak, "transform": {"ours": ours, "pca": theirs, "products": products}}


def _timed(transform: Any, x: np.ndarray) -> float:
    begun = time.process_time()
    transform(x)
    return time.process_time() - begun


if __name__ == "__main__":
    print(json.dumps(measure(int(sys.argv[1]))))
