"""What rules are compared with: the registry of rivals, and the one call that makes their features.

A rival is registered in one file, as those in `rivals/` are: `@register_baseline("name", meaning="..")` over a
function from (x, seed, net sizes above the input) to features. Settings of a rival are chosen on held-out letters and
handwriting (`validate_baseline`), as a rule's are.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from metarules._checks import check_choice, check_examples, check_new_name, check_number, check_tensor, check_widths
from metarules._threads import few_threads
from metarules.base_model import WIDTHS

COMPONENTS = 32  # width of the base model's top layer, so that representations are of one size
MAX_SEED = 2**32 - 1  # what scikit-learn's random_state takes


class UnsuitableError(ValueError):
    """A baseline that makes no sense on this data: fewer inputs than features, or negative numbers for NMF."""


@dataclass(frozen=True)
class Baseline:
    """A way to make features, or to guess classes.

    Attributes:
        function: (x [N, n] float64, seed, net sizes above the input) -> features [N, f]; or, where it makes none but
            spreads labels, (x, classes [N] with -1 where unknown, seed) -> classes [N].
        random: whether the seed matters; if not, one run is enough.
        meaning: one line for a table's legend.
        quick: whether `--against quick` has it: seconds for a data set of the digits' size.
        uses_labels: it is given the labels of a split, and a row of its own kind: it makes no features.
        net: whether the net's sizes matter to it.
    """

    function: Callable[..., np.ndarray]
    random: bool
    meaning: str
    quick: bool = False
    uses_labels: bool = False
    net: bool = True


BASELINES: dict[str, Baseline] = {}


def register_baseline(
    name: str, *, meaning: str, random: bool = True, quick: bool = False, uses_labels: bool = False, net: bool = True
) -> Callable[[Any], Any]:
    """Decorator: put a rival under a name, for tables, command lines and the leaderboard.

    Args:
        name: of the row.
        meaning, random, quick, uses_labels, net: see `Baseline`.

    Raises:
        ValueError: a name that another function has.

    Example::

        @register_baseline("centred", meaning="inputs less their mean", random=False)
        def centred(x, seed, hidden):
            return x - x.mean(0)
    """

    def put(function: Any) -> Any:
        known = BASELINES.get(name)
        check_new_name(name, known and known.function, function)
        BASELINES[name] = Baseline(function, random, meaning, quick, uses_labels, net)
        return function

    return put


def baseline_features(name: str, x: Tensor, *, seed: int = 0, hidden: Sequence[int] = WIDTHS) -> Tensor:
    """Features of all examples, learned without labels on the same examples.

    Args:
        name: one of `BASELINES`, one that makes features.
        x: inputs [N, n].
        seed: of whatever chance is in the method.
        hidden: layer widths above the input, for the nets.

    Returns:
        [N, f], float64.

    Raises:
        TypeError: x is not a floating tensor.
        ValueError: unknown name, x not [N, n] with N >= 2, NaN or infinity, a bad seed or width;
            `UnsuitableError` where the method cannot serve this data.
    """
    baseline = BASELINES[check_choice("name", name, [k for k, b in BASELINES.items() if not b.uses_labels])]
    check_widths("hidden", tuple(hidden))
    with few_threads():
        made = baseline.function(_rows(x, seed), seed, hidden)
    return torch.from_numpy(np.ascontiguousarray(made, dtype=np.float64))


def baseline_guesses(name: str, x: Tensor, known: Tensor, *, seed: int = 0) -> Tensor:
    """Classes of all examples, guessed from those of a few.

    Args:
        name: one of `BASELINES`, one that uses labels.
        x: inputs [N, n].
        known: class numbers [N], -1 where they are not given.
        seed: of whatever chance is in the method.

    Returns:
        Class numbers [N], int64.

    Raises:
        TypeError, ValueError: as `baseline_features`.
    """
    baseline = BASELINES[check_choice("name", name, [k for k, b in BASELINES.items() if b.uses_labels])]
    with few_threads():
        return torch.from_numpy(baseline.function(_rows(x, seed), known.cpu().numpy(), seed).astype(np.int64))


def need_more_than(x: np.ndarray, name: str, least: int) -> None:
    """Refuse data of so few examples that they lack the neighbours that a rival asks for."""
    if len(x) <= least:
        raise UnsuitableError(f"{name} needs more than {least} examples; this data has {len(x)}")


def need(x: np.ndarray, name: str, components: int = COMPONENTS) -> None:
    """Refuse data of fewer examples or inputs than components.

    Raises:
        UnsuitableError: too few.
    """
    if min(x.shape) < components:
        raise UnsuitableError(
            f"{name} needs {components} examples and inputs; this data has {x.shape[0]} and {x.shape[1]}"
        )


def _rows(x: Tensor, seed: int) -> np.ndarray:
    check_examples("x", check_tensor("x", x, min_dims=2))
    if x.ndim != 2:
        raise ValueError(f"x has shape {list(x.shape)}; allowed: [N, n], one row per example")
    check_number("seed", seed, low=0, high=MAX_SEED, integer=True)
    return x.detach().cpu().double().numpy()
