"""What becomes of one more example, say a drawing, in a base model under a rule: where it lies, and how it is read."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import normalize

from metarules.base_model import freeze
from metarules.evaluation import probe_splits, split_reader
from metarules.studies.planes import SHOWN, plane
from metarules.studies.trajectory import LABELS_PER_CLASS, N_SPLITS, Exploration


@dataclass(frozen=True, eq=False)
class Followed:
    """One more example along a trajectory. F recorded steps.

    Attributes:
        row: its inputs in the order of the data set [n_0].
        points: where it lies in the plane of the embedding [F, 2].
        scores: what the few-shot probe's read-outs say, mean over five splits [F, n_classes]: 1 is "this class", -1
            "another".
        nearest: numbers of the `SHOWN` examples nearest to it in the top layer, the nearest first [F, SHOWN]: largest
            cosine of activities, centred as in `planes.directions`.
    """

    row: Tensor
    points: np.ndarray
    scores: np.ndarray
    nearest: np.ndarray

    @property
    def read_as(self) -> np.ndarray:
        """The class with the highest score at each recorded step, [F]."""
        return self.scores.argmax(-1)


class Follower:
    """Follows examples that are no part of the data: the base model never learns from them.

    All that depends on the trajectory alone is computed when this is made, which takes half a second; an example then
    takes some milliseconds.

    Args:
        e: the trajectory.
    """

    @torch.no_grad()
    def __init__(self, e: Exploration) -> None:
        self.exploration = e
        # the base model with the batch-norm statistics of the whole data set: a row's features depend on no other row
        self._models = [freeze(state, e.task.x) for state in e.states]
        features = torch.stack([model(e.task.x) for model in self._models])
        self._middles = features.mean(1, keepdim=True)
        self._towards = normalize(features - self._middles, dim=-1)
        self._place = plane(features.numpy())
        self._read = split_reader(features, e.task.y, probe_splits(e.task.y, LABELS_PER_CLASS, N_SPLITS))

    @torch.no_grad()
    def follow(self, row: Any) -> Followed:
        """Follow one example along the trajectory.

        Args:
            row: its inputs [n_0], in the order of the data set, before the task's permutation.

        Raises:
            ValueError: another number of inputs, NaN or infinity.
        """
        task = self.exploration.task
        row = torch.as_tensor(row, dtype=task.x.dtype)
        if row.shape != (task.n_inputs,) or not torch.isfinite(row).all():
            raise ValueError(f"row has shape {list(row.shape)}; allowed: [{task.n_inputs}], finite, as the data's")
        x = row if task.permutation is None else row[task.permutation]
        features = torch.stack([model(x.unsqueeze(0)) for model in self._models])
        cosines = (self._towards @ normalize(features - self._middles, dim=-1).mT)[..., 0]
        return Followed(
            row,
            points=self._place(features.numpy())[:, 0],
            scores=self._read(features)[:, 0].numpy(),
            nearest=cosines.topk(min(SHOWN, task.n_examples)).indices.numpy(),
        )
