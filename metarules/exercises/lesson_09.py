"""Checks for lesson 9: what breaks the rule, pixels in another order, the best theta for words, a grid of one's own."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from metarules.base_model import forward, init_state
from metarules.evaluation import Protocol, evaluate_rule, paired_difference
from metarules.evaluation.grids import TOP
from metarules.exercises.feedback import Feedback, errors_as_hints
from metarules.exercises.prediction import predicted
from metarules.pretrained import get_rule
from metarules.tasks import Dataset, load_dataset
from metarules.update_rule import UpdateRule

_WIDTHS, _DEPTHS, _STEPS = (6, 12), (1, 2, 3), 5  # of the grid that the learner's is compared on


@predicted("the name of one of the changes to choose from")
def check_breaks(guess: Any, gains: Mapping[str, float]) -> Feedback:
    """Predict, then measure: with which change does the rule gain least over the same net untaught?

    Args:
        guess: the name of a change.
        gains: change -> accuracy above the same net untaught.
    """
    if guess not in gains:
        return Feedback(False, f"the name of a change is wanted, one of {', '.join(gains)}, and this is {guess!r}.")
    said = f"measured, above untaught: {', '.join(f'{name} {value:+.2f}' for name, value in gains.items())}."
    if guess == min(gains, key=gains.__getitem__):
        return Feedback(True, said)
    return Feedback(False, "with another one it gains less.", answer=said)


@errors_as_hints
def check_same_start(same_start: Callable[[Tensor, Tensor], Tensor]) -> Feedback:
    """First weights with which permuted inputs give the activities that the inputs gave.

    Args:
        same_start: the learner's function from W [n_0, n_1] and an order [n_0] to another W of that shape.
    """
    g = torch.Generator().manual_seed(9)
    phi = init_state((7, 5, 4), generator=g, dtype=torch.float64)
    x, order = torch.randn(30, 7, generator=g, dtype=torch.float64), torch.tensor([3, 0, 6, 1, 2, 5, 4])
    first = phi.layers[0]
    got = same_start(first.W.clone(), order)
    if not isinstance(got, Tensor) or got.shape != first.W.shape:
        shape = list(got.shape) if isinstance(got, Tensor) else type(got).__name__
        return Feedback(False, f"a W of shape {list(first.W.shape)} is wanted, and this is {shape}.")
    if torch.allclose(got, first.W[order.argsort()]):
        return Feedback(False, "this puts the rows back the other way: input i of the permuted data is input order[i].")
    new = phi.with_layers([type(first)(got, first.b, first.V), *phi.layers[1:]])
    if torch.allclose(forward(new, x[:, order]).features, forward(phi, x).features, atol=1e-9):
        return Feedback(True, "each row of W goes where its pixel goes; then nothing behind the first layer can tell.")
    return Feedback(False, "the activities differ. Which row of W belongs to which pixel?")


@predicted("the number of one of the snapshots to choose from")
def check_best_theta(guess: Any, accuracies: Mapping[int, float]) -> Feedback:
    """Predict, then measure: the snapshot of theta that teaches words best.

    Args:
        guess: the meta-step of a snapshot.
        accuracies: meta-step -> accuracy.
    """
    if guess not in accuracies:
        return Feedback(False, f"one of {', '.join(map(str, sorted(accuracies)))} is wanted, and this is {guess!r}.")
    said = f"measured: {', '.join(f'{n:,}: {a:.2f}' for n, a in sorted(accuracies.items()))}."
    if guess == max(accuracies, key=accuracies.__getitem__):
        return Feedback(True, said)
    return Feedback(
        False, "another one is better. Words are no images: what does practice on images do to it?", answer=said
    )


@errors_as_hints
def check_grid(grid: Callable[..., Any]) -> Feedback:
    """A grid of gains over untaught nets, with paired standard errors, by hand.

    Args:
        grid: the learner's function of (rule, dataset, widths, depths, steps) to two arrays [depths, widths]: how far
            above the same net untaught, and the paired standard error.
    """
    dataset = load_dataset("handwriting", n=300, split="validation", seed=3)
    rule = get_rule("hebb_decorrelation")
    got: Any = grid(rule, dataset, _WIDTHS, _DEPTHS, _STEPS)
    if not isinstance(got, (tuple, list)) or len(got) != 2:
        return Feedback(False, "two things are wanted, the gains and their standard errors.")
    above, error = (np.asarray(part, dtype=float) for part in got)
    wanted = (len(_DEPTHS), len(_WIDTHS))
    if above.shape != wanted or error.shape != wanted:
        shapes = f"{list(above.shape)} and {list(error.shape)}"
        return Feedback(False, f"{list(wanted)} is wanted of both, a row for each depth, and these are {shapes}.")
    right, right_error, apart = reference_grid(rule, dataset, _WIDTHS, _DEPTHS, _STEPS)
    if np.allclose(above, -right, atol=1e-6):
        return Feedback(False, "the signs are turned: taught less untaught is wanted.")
    if not np.allclose(above, right, atol=1e-6):
        return Feedback(
            False,
            f"one layer: {above[0, 0]:+.3f}, and {right[0, 0]:+.3f} is measured; three layers of {_WIDTHS[0]}: "
            f"{above[2, 0]:+.3f} and {right[2, 0]:+.3f}. Is the net (width, .., width, {TOP})?",
        )
    if np.allclose(error, apart, atol=1e-6):
        return Feedback(
            False, "both errors are added as if the labels were others. Take the differences split by split."
        )
    if not np.allclose(error, right_error, rtol=0.06):
        return Feedback(
            False, "the gains are right. The error: spread of the differences over the root of their number."
        )
    return Feedback(True, f"and paired errors are {np.mean(apart / right_error):.1f} times smaller than unpaired ones.")


def reference_grid(
    rule: UpdateRule, dataset: Dataset, widths: Sequence[int], depths: Sequence[int], steps: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Gains over untaught nets, paired errors, and errors as if they were not paired; [depths, widths] each."""
    found = np.zeros((3, len(depths), len(widths)))
    for i, depth in enumerate(depths):
        for j, width in enumerate(widths):
            protocol = Protocol((*[width] * (depth - 1), TOP), n_models=1, n_splits=20)
            taught, untaught = (evaluate_rule(rule, "", dataset, protocol, steps=t) for t in (steps, 0))
            gain, error = paired_difference(taught.accuracies, untaught.accuracies)
            found[:, i, j] = gain, error, np.hypot(taught.row.stderr, untaught.row.stderr)
    return found[0], found[1], found[2]
