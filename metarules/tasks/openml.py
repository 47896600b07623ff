"""Photographs and handwriting that have to be fetched once: MNIST, Fashion-MNIST and CIFAR-10, from openml.org.

scikit-learn's `fetch_openml` does it. What is read is kept beside its own cache as a small npz, since reading the
original takes half a minute each time; from then on no network is needed.
"""

from __future__ import annotations

import io
import sys
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.nn.functional import adaptive_avg_pool2d

from metarules._checks import check_choice, check_number
from metarules._files import check_source, write_atomically
from metarules._random import seeded
from metarules.tasks.dataset import Dataset, register

# our name -> theirs, version, height and width, megabytes on the way, names of the classes
SETS: dict[str, tuple[str, int, int, int, str]] = {
    "mnist": ("mnist_784", 1, 28, 15, "0 1 2 3 4 5 6 7 8 9"),
    "fashion_mnist": ("Fashion-MNIST", 1, 28, 36, "top trousers pullover dress coat sandal shirt sneaker bag boot"),
    "cifar10": ("CIFAR_10", 1, 32, 650, "aeroplane car bird cat deer dog frog horse ship lorry"),
}
GREY = np.array([0.299, 0.587, 0.114], dtype=np.float32)  # of red, green and blue: ITU-R BT.601
MOST = 60_000  # images, as all three have


@register("mnist")
def mnist(n: int = 5000, size: int = 28, seed: int = 0) -> Dataset:
    """MNIST's handwritten digits, fetched once (see the module).

    Args:
        n: number of images, 100 to 60,000.
        size: pixels each way, 8 to 28; smaller ones are means of areas.
        seed: of the choice.

    Returns:
        x [n, size * size] in [0, 1]; ten classes.

    Raises:
        ValueError: a number out of range, or neither a network nor a file of an earlier fetch.
    """
    return _images("mnist", n, size, seed)


@register("fashion_mnist")
def fashion_mnist(n: int = 5000, size: int = 28, seed: int = 0) -> Dataset:
    """Fashion-MNIST, small pictures of clothes; arguments, result and errors as `mnist`."""
    return _images("fashion_mnist", n, size, seed)


@register("cifar10")
def cifar10(n: int = 5000, size: int = 28, seed: int = 0) -> Dataset:
    """CIFAR-10's photographs, made grey; arguments, result and errors as `mnist`."""
    return _images("cifar10", n, size, seed)


def _images(name: str, n: int, size: int, seed: int) -> Dataset:
    check_number("n", n, low=100, high=MOST, integer=True)
    check_number("size", size, low=8, high=28, integer=True)
    return chosen_images(name, *fetched(name), n, size, seed, SETS[name][-1])


def chosen_images(name: str, pixels: np.ndarray, y: np.ndarray, n: int, size: int, seed: int, classes: str) -> Dataset:
    """n of the images, drawn at random, as a data set of size x size pixels in [0, 1].

    Args:
        name: of the data set.
        pixels: grey values [N, height, width], uint8.
        y: class numbers [N], int64.
        n, size, seed: as for `mnist`.
        classes: their names, with a space between two.
    """
    chosen = torch.randperm(len(y), generator=seeded(seed))[:n]
    x = adaptive_avg_pool2d(torch.from_numpy(pixels[chosen.numpy()]).float().unsqueeze(1) / 255, size).flatten(1)
    return Dataset(name, x, torch.from_numpy(y)[chosen], (size, size), tuple(classes.split()))


def fetched(name: str, folder: Path | None = None) -> tuple[np.ndarray, np.ndarray]:
    """All images of a set, from the file of an earlier fetch or from openml.org.

    Args:
        name: one of `SETS`.
        folder: of the cache; scikit-learn's own (`get_data_home`, SCIKIT_LEARN_DATA), unless given.

    Returns:
        Grey values [N, height, width], uint8, and class numbers [N], int64.

    Raises:
        ValueError: neither a network nor a file; other contents than expected.
    """
    from sklearn.datasets import get_data_home  # here, because importing scikit-learn takes a second

    check_choice("name", name, SETS)
    folder = Path(get_data_home(folder and str(folder)))
    path = folder / f"metarules-{name}.npz"
    try:
        content = io.BytesIO(check_source("the file of an earlier fetch", path).read_bytes())
        with np.load(content, allow_pickle=False) as found:
            return found["x"], found["y"]
    except FileNotFoundError:
        pass
    except Exception as error:  # cut short or damaged, in as many ways as a zip can be: it is made anew
        print(f"{path} cannot be read ({error}) and is made anew", file=sys.stderr, flush=True)
    x, y = _fetch(name, folder)
    content = io.BytesIO()
    np.savez_compressed(content, x=x, y=y)
    write_atomically(path, content.getvalue())
    return x, y


def _fetch(name: str, folder: Path) -> tuple[np.ndarray, np.ndarray]:
    from sklearn.datasets import fetch_openml

    theirs, version, side, megabytes, classes = SETS[name]
    said = f"{name}: reading {theirs} from {folder}, or from openml.org ({megabytes} MB, once; a minute or more) ..."
    print(said, file=sys.stderr, flush=True)
    how: dict[str, Any] = {"as_frame": False, "data_home": str(folder), "n_retries": 1}
    try:  # not by pandas' parser, which fails on such files and then deletes them
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "A network error occurred")  # it tries again, and then raises it
            found = fetch_openml(theirs, version=version, parser="liac-arff", **how)
    except OSError as error:
        raise ValueError(
            f"name is {name!r}, which cannot be fetched from openml.org ({error}); allowed: with a network, once, or a "
            f"data set that needs none, such as 'digits' or 'handwriting'"
        ) from error
    x, y = np.asarray(found.data, dtype=np.float32), np.asarray(found.target).astype(np.float64).astype(np.int64)
    found_here = x.shape[1], len(np.unique(y))
    if found_here not in ((side**2, len(classes.split())), (3 * side**2, len(classes.split()))):
        raise ValueError(f"{theirs} of openml.org holds {found_here} inputs and classes; allowed: those of {name}")
    grey = x if x.shape[1] == side**2 else np.tensordot(x.reshape(len(x), 3, -1), GREY, (1, 0))
    return grey.round().astype(np.uint8).reshape(-1, side, side), y
