"""Real handwritten digits, 8x8, as scikit-learn ships them: the yardstick that meta-training never sees."""

from __future__ import annotations

import torch

from metarules.tasks.dataset import Dataset, register

MAX_VALUE = 16  # pixels are counts 0 .. 16 of dark dots in 4x4 blocks (scikit-learn's description of the set)


@register("digits")
def digits() -> Dataset:
    """scikit-learn's handwritten digits, in the order it ships them.

    Source: UCI "Optical Recognition of Handwritten Digits", test part, through `sklearn.datasets.load_digits`.

    Returns:
        1797 rows of 64 pixels (8x8), values / 16, in [0, 1]; ten classes.
    """
    from sklearn.datasets import load_digits  # here, because importing scikit-learn takes a second

    pixels, labels = load_digits(return_X_y=True)
    return Dataset(
        name="digits",
        x=torch.tensor(pixels / MAX_VALUE, dtype=torch.float32),
        y=torch.tensor(labels, dtype=torch.int64),
        shape=(8, 8),
        class_names=tuple("0123456789"),
    )
