"""What one inner step sees: a batch of examples."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True)
class Batch:
    """What one inner step sees.

    Attributes:
        x: inputs [*tasks, batch, n_0].
        y: class numbers [*tasks, batch] (int64), for the supervised rules alone; None otherwise.
        targets: numbers to regress on [*tasks, batch, k], for a meta-objective alone; every rule ignores them.
    """

    x: Tensor
    y: Tensor | None = None
    targets: Tensor | None = None
