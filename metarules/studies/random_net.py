"""A random base model taken apart, layer by layer: what lesson 1 and `RandomNetExplorer` show."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from metarules._checks import check_number
from metarules.base_model import BaseModelState, InitSettings, forward, init_state
from metarules.evaluation import probe_splits, split_accuracy
from metarules.studies.planes import main_directions
from metarules.studies.recording import check_single_task
from metarules.studies.trajectory import DOTS, LABELS_PER_CLASS, N_SPLITS, fixed_sample
from metarules.tasks import Task

TOP = 32  # units of the top layer, as in all lessons
MAX_DEPTH, MAX_WIDTH = 8, 256  # what a widget answers within two seconds
_NEURONS = 8  # whose batch norm is shown


@dataclass(frozen=True, eq=False)
class RandomNet:
    """A random base model and what its layers make of a task. L layers, N examples; layer 0 is the input.

    Attributes:
        task: the data.
        phi: the base model.
        dots: which examples the dots are [n_dots].
        labels: their class numbers [n_dots].
        accuracies: few-shot accuracy of each layer [L + 1, n_splits].
        directions: effective number of directions of each layer [L + 1]: exp of the entropy of its spectrum.
        spectra: share of variance by principal direction, one array per layer.
        points: dots in each layer's own plane, within [-1, 1] [L + 1, n_dots, 2].
        u, z: eight neurons of each layer before and after batch norm, one [N, 8] array per layer.
    """

    task: Task
    phi: BaseModelState
    dots: np.ndarray
    labels: np.ndarray
    accuracies: np.ndarray
    directions: tuple[float, ...]
    spectra: tuple[np.ndarray, ...]
    points: np.ndarray
    u: tuple[np.ndarray, ...]
    z: tuple[np.ndarray, ...]


@torch.no_grad()
def random_net(task: Task, depth: int = 5, width: int = 128, nonlinearity: str = "relu", seed: int = 0) -> RandomNet:
    """Draw a random base model and look at every layer; nothing is learned.

    Args:
        task: a single task.
        depth: layers, 1 to 8; the top one has 32 units.
        width: units of the others, 2 to 256.
        nonlinearity: see `metarules.base_model.NONLINEARITIES`.
        seed: of the weights.

    Raises:
        ValueError: a number out of range, an unknown nonlinearity, a task with leading dimensions.
    """
    check_number("depth", depth, low=1, high=MAX_DEPTH, integer=True)
    check_number("width", width, low=2, high=MAX_WIDTH, integer=True)
    check_number("seed", seed, low=0, high=2**31, integer=True)
    check_single_task(task)
    phi = init_state(
        (task.n_inputs, *[width] * (depth - 1), TOP),
        nonlinearity=nonlinearity,
        settings=InitSettings(weight_std=1.0, bias_std=0.0),
        generator=torch.Generator().manual_seed(seed),
        dtype=task.x.dtype,
    )
    acts = forward(phi, task.x)
    splits = probe_splits(task.y, LABELS_PER_CLASS, N_SPLITS)
    spectra = [_spectrum(x) for x in acts.x]
    dots = fixed_sample(task.n_examples, DOTS)
    before = [task.x, *(x @ layer.W for x, layer in zip(acts.x[:-1], phi.layers, strict=True))]
    return RandomNet(
        task=task,
        phi=phi,
        dots=dots,
        labels=task.y.numpy()[dots],
        accuracies=torch.stack([split_accuracy(x, task.y, splits) for x in acts.x]).numpy(),
        directions=tuple(float(torch.exp(torch.special.entr(s).sum())) for s in spectra),
        spectra=tuple(s.numpy() for s in spectra),
        points=np.stack([_plane(x)[dots] for x in acts.x]),
        u=tuple(_some(value) for value in before),
        z=tuple(_some(value) for value in acts.z),
    )


def _some(values: Tensor) -> np.ndarray:
    """The first eight neurons, over their joint spread, so that layers can be drawn on one scale."""
    return values[:, :_NEURONS].numpy()


def _spectrum(x: Tensor) -> Tensor:
    """Share of the variance in each principal direction, largest first."""
    power = torch.linalg.svdvals((x - x.mean(0)).double()).square()
    return power / power.sum().clamp_min(1e-30)


def _plane(x: Tensor) -> np.ndarray:
    """Rows on the two main directions, scaled so that all but a few outliers lie in [-1, 1]."""
    centred = (x - x.mean(0)).double()
    points = centred @ main_directions(centred).T
    points = torch.nn.functional.pad(points, (0, 2 - points.shape[1]))  # one feature is a line
    scale = torch.quantile(points.abs().amax(1), 0.99).clamp_min(1e-12)
    return (points / scale).clamp(-1, 1).numpy()
