"""A variational autoencoder while it trains: does what it minimises and what we want of it go the same way?

    python -m metarules.studies.vae_curve

writes the small table that lesson 9 draws: loss and few-shot accuracy over its steps, on held-out data.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch

from metarules._files import csv_text, read_csv, write_atomically
from metarules.evaluation import Protocol, evaluate_features
from metarules.evaluation.grids import GridSettings, grid_data
from metarules.evaluation.rivals.reconstruction import vae
from metarules.tasks import Dataset

TABLE = Path(__file__).parent / "recorded" / "vae_curve.csv"
STEPS = (20, 50, 100, 200, 500, 1000, 2000)
HIDDEN = (128, 128, 32)
DATA = ("handwriting", "glyphs")
_MEAN_OF = 20  # last steps whose losses are averaged: one batch tells little


def follow_vae(
    dataset: Dataset, steps: Sequence[int] = STEPS, *, hidden: Sequence[int] = HIDDEN, seed: int = 0
) -> list[tuple[int, float, float, float]]:
    """Train a VAE on a data set and read its code now and then.

    Args:
        dataset: the data.
        steps: of Adam, at which it is read, rising.
        hidden: widths of the encoder, see `evaluation.rivals.reconstruction.vae`.
        seed: of weights, batches and draws of labels.

    Returns:
        For each of `steps`: the step, the loss in nats an example up to a constant, mean of the last batches, accuracy
        with ten labels a class and its standard error.
    """
    found, losses = [], []
    protocol = Protocol(tuple(hidden), n_splits=GridSettings.splits, n_models=1, seed=seed)

    def watch(step: int, loss: float, features: Callable[[], np.ndarray]) -> None:
        losses.append(loss)
        if step in steps:
            row = evaluate_features(torch.from_numpy(features())[None], "vae", dataset, protocol).row
            found.append((step, float(np.mean(losses[-_MEAN_OF:])), row.accuracy, row.stderr))

    vae(dataset.x.double().numpy(), seed, hidden, steps=max(steps), watch=watch)
    return found


def recorded_vae(path: Path = TABLE) -> dict[str, np.ndarray]:
    """Data set -> lines of (step, loss, accuracy, standard error), [K, 4]."""
    rows = read_csv(path)
    columns = ("step", "loss", "accuracy", "stderr")
    return {
        name: np.array([[float(row[c]) for c in columns] for row in rows if row["data"] == name])
        for name in dict.fromkeys(row["data"] for row in rows)
    }


def main() -> None:
    """Command line."""
    torch.set_num_threads(1)
    rows = []
    for name in DATA:
        for step, loss, accuracy, error in follow_vae(grid_data(name, 8)):
            numbers = {"loss": f"{loss:.2f}", "accuracy": f"{accuracy:.4f}", "stderr": f"{error:.4f}"}
            rows.append({"data": name, "step": str(step), **numbers})
            print(" ".join(rows[-1].values()), flush=True)
        write_atomically(TABLE, csv_text(rows).encode())


if __name__ == "__main__":
    main()
