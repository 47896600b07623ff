"""Text without a download: which installed package does a docstring come from? Bags of the commonest words.

The packages are those that this one needs; their files are read, never imported. Other versions of them give other
texts, so numbers from this data are good to a few hundredths only.
"""

from __future__ import annotations

import ast
import random
import re
from collections import Counter
from collections.abc import Iterator
from functools import cache
from importlib.util import find_spec
from pathlib import Path

import torch

from metarules._checks import check_number
from metarules._random import seeded
from metarules.tasks.dataset import Dataset, register

PACKAGES = (
    "numpy", "scipy", "sklearn", "matplotlib", "torch", "IPython", "joblib", "PIL", "ipywidgets", "jupyter_server",
)  # fmt: skip
_WORD = re.compile(r"[a-z]{2,}")
_FEWEST = 25  # words of a docstring
_ENOUGH = 300  # docstrings of a package, after which no more of its files are read


@register("docstrings")
def docstrings(n: int = 1000, words: int = 1000, seed: int = 0) -> Dataset:
    """Docstrings of ten packages; an input says whether the docstring holds that word.

    Args:
        n: number of docstrings, 20 to 1,500, as many of each package; a package with too few gives all it has.
        words: how many words count, 10 to 5,000: the commonest of these docstrings, names of the packages left out.
        seed: of the choice.

    Returns:
        x [n, words], 0 or 1, the commonest word first; one class for each package.

    Raises:
        ValueError: a number out of range, or fewer than two of the packages installed.
    """
    check_number("n", n, low=20, high=1500, integer=True)
    check_number("words", words, low=10, high=5000, integer=True)
    generator = seeded(seed)
    each = -(-n // len(PACKAGES))
    chosen: list[tuple[int, frozenset[str]]] = []
    names = [name for name in PACKAGES if len(_texts(name)) >= 2]
    if len(names) < 2:
        raise ValueError(f"installed are {', '.join(names) or 'none'} of {', '.join(PACKAGES)}; allowed: two at least")
    for y, name in enumerate(names):
        texts = _texts(name)
        order = torch.randperm(len(texts), generator=generator).tolist()[:each]
        chosen += [(y, texts[i]) for i in order]
    taken = [chosen[i] for i in torch.randperm(len(chosen), generator=generator).tolist()[:n]]
    counts = Counter(word for _, text in taken for word in text if word not in _NAMES)
    known = [word for word, _ in sorted(counts.items(), key=lambda item: (-item[1], item[0]))[:words]]
    x = torch.zeros(len(taken), words)
    places = {word: i for i, word in enumerate(known)}
    for row, (_, text) in enumerate(taken):
        x[row, [places[word] for word in text if word in places]] = 1.0
    return Dataset("docstrings", x, torch.tensor([y for y, _ in taken]), None, tuple(names))


_NAMES = {name.lower() for name in PACKAGES} | {"np", "plt", "mpl", "pil", "scikit", "jupyter", "pytorch", "ipython"}


@cache
def _texts(package: str) -> list[frozenset[str]]:
    """The docstrings of a package as sets of words, each once, in a fixed order; none where it is not installed."""
    spec = find_spec(package)
    folders = [] if spec is None else list(spec.submodule_search_locations or [])
    paths = [(path.relative_to(folder).as_posix(), path) for folder in folders for path in Path(folder).rglob("*.py")]
    files = [path for name, path in sorted(paths) if "test" not in name]
    random.Random(0).shuffle(files)
    found: dict[frozenset[str], None] = {}
    for path in files:
        found |= dict.fromkeys(_of_file(path))
        if len(found) >= _ENOUGH:
            break
    return list(found)


def _of_file(path: Path) -> Iterator[frozenset[str]]:
    """The docstrings of a file that have words enough."""
    try:
        tree = ast.parse(path.read_text(encoding="utf-8"))
    except (OSError, SyntaxError, UnicodeDecodeError, ValueError):
        return
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            words = _WORD.findall((ast.get_docstring(node, clean=False) or "").lower())
            if len(words) >= _FEWEST:
                yield frozenset(words)
