"""Sparse, non-negative data: word counts of short texts, and units that are mostly silent. Ours.

The paper tests its rule on bags of words, where an image-trained theta fails (Metz et al., ICLR 2019, section 5.3).
"""

from __future__ import annotations

import torch
from torch import Tensor

from metarules._random import log_number, number, whole_number
from metarules.tasks.dataset import Dataset
from metarules.tasks.decoders import light
from metarules.tasks.latents import N_TARGETS, clustered_latents, random_map
from metarules.tasks.mixtures import one_kind

# Ranges drawn from, per data set; ours, tuned so that ten labels per class and raw inputs give 0.3 to 0.95.
ZIPF = (0.3, 1.0)  # the k-th word comes k^-a as often as the first; natural text has 1
TOPIC = (0.5, 1.0)  # how far a class's words depart from all texts', in log frequency
CHATTER = 0.8  # the same for the topics that texts of all classes share
LENGTH = (0.3, 1.5)  # words of a text over words of the vocabulary
SILENT = (0.7, 0.95)  # share of spikes that are 0
SEPARATION = (0.7, 1.6)  # of the spikes' latents


def sparse_data(
    n: int = 1000,
    n_classes: int = 10,
    dimension: int = 64,
    clusters: int = 1,
    kind: str | None = None,
    seed: int = 0,
) -> Dataset:
    """Few active inputs, none negative.

    Args:
        n: number of examples.
        n_classes: 2 to 20.
        dimension: inputs, from 2.
        clusters: topics or clusters per class, 1 to 10.
        kind: "counts" (texts of a class share topics; frequencies of words fall as Zipf's) or "spikes" (random maps of
            clustered latents that pass a threshold); None draws one.
        seed: whole number from 0; all ranges of this module are drawn from it too.

    Returns:
        x [n, dimension] in [0, 1], most of it 0; classes balanced; targets [n, 4] for spikes, the first four latents.

    Raises:
        TypeError, ValueError: an unknown kind, an option of the wrong type or out of range.
    """
    sizes = {"n": n, "n_classes": n_classes, "dimension": dimension, "clusters": clusters}
    return one_kind("sparse", {"counts": _counts, "spikes": _spikes}, kind, seed, **sizes)


def _counts(
    y: Tensor, n_classes: int, dimension: int, clusters: int, generator: torch.Generator
) -> tuple[Tensor, None]:
    """log(1 + count) of every word in every text, [n, dimension]."""
    n = len(y)
    rank = torch.randperm(dimension, generator=generator) + 1
    common = -number(*ZIPF, generator) * rank.log()
    topics = number(*TOPIC, generator) * torch.randn(n_classes * clusters, dimension, generator=generator)
    shared = CHATTER * torch.randn(5, dimension, generator=generator)
    moods = torch.softmax(2 * torch.randn(n, 5, generator=generator), -1)
    which = y * clusters + torch.randint(clusters, y.shape, generator=generator)
    often = torch.softmax(common + topics[which] + moods @ shared, -1)
    # at least 8 words: shorter texts over a tiny vocabulary would be empty as often as not
    length = max(8.0, log_number(*LENGTH, generator) * dimension)
    lengths = length * torch.exp(0.3 * torch.randn(n, 1, generator=generator))
    return light(torch.poisson(lengths * often, generator=generator).log1p()), None


def _spikes(
    y: Tensor, n_classes: int, dimension: int, clusters: int, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """What passes a threshold of every unit's own, [n, dimension]."""
    separation = number(*SEPARATION, generator)
    z = clustered_latents(y, n_classes, whole_number(4, 12, generator), clusters, separation, generator)
    h = random_map(z, dimension, generator)
    h = h + 0.3 * torch.randn(h.shape, generator=generator)
    low, high = SILENT
    silent = low + (high - low) * torch.rand(dimension, generator=generator)
    rows = (silent * (len(h) - 1)).long().clamp_max(len(h) - 2)  # at least one example passes
    thresholds = h.sort(0).values.gather(0, rows[None])
    return light(torch.relu(h - thresholds)), z[:, :N_TARGETS]
