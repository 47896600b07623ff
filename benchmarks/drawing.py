"""What drawing 1,000 examples costs, for each kind of image task: `python -m benchmarks.drawing`.

Processor seconds of one thread, the least of five seeds, so that a busy machine changes little.
"""

from __future__ import annotations

import time

import torch

from metarules.tasks import load_dataset

KINDS = ("glyphs", "handwriting")
SPLITS = ("train", "validation")
SIZES = (8, 14, 28)  # pixels a side
REPEATS = 5


def seconds(kind: str, split: str, size: int) -> float:
    """Of drawing 1,000 examples once, the least of `REPEATS` seeds."""
    times = []
    for seed in range(REPEATS):
        began = time.process_time()
        load_dataset(kind, n=1000, size=size, split=split, seed=seed)
        times.append(time.process_time() - began)
    return min(times)


def main() -> None:
    """Print one line for each kind and split."""
    torch.set_num_threads(1)
    print(f"{'1,000 of':24}" + "".join(f"{f'{size} x {size}':>10}" for size in SIZES))
    for kind in KINDS:
        for split in SPLITS:
            print(f"{kind + ', ' + split:24}" + "".join(f"{seconds(kind, split, size):8.3f} s" for size in SIZES))


if __name__ == "__main__":
    main()
