"""The kinds of data a task can be made of, how often each is drawn, and which forms each can take."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import torch

from metarules._random import whole_number
from metarules.tasks.binary import binary_data
from metarules.tasks.dataset import Dataset
from metarules.tasks.decoders import random_decoder
from metarules.tasks.glyph_rendering import MAX_SIZE, MIN_SIZE
from metarules.tasks.glyphs import glyphs
from metarules.tasks.lifted import lifted_shapes
from metarules.tasks.mixtures import gaussian_mixture
from metarules.tasks.sparse import sparse_data
from metarules.tasks.task_form import MAX_CLASSES, DistributionSettings, TaskForm

LEAST_INPUTS = 8  # of sparse and binary data: fewer words or bits cannot tell classes apart


@dataclass(frozen=True)
class Draw:
    """What every kind of data set is drawn from, whether it looks at all of it or not."""

    settings: DistributionSettings
    form: TaskForm
    split: str
    clusters: int
    tone: float
    distance: float
    bend: int
    seed: int


@dataclass(frozen=True)
class Family:
    """A kind of data: the setting that weighs it, the forms it can take, and how a data set of it is made."""

    weight: str
    takes: Callable[[TaskForm], bool]
    make: Callable[[Draw], Dataset]


def draw_from(
    weights: Mapping[str, float],
    settings: DistributionSettings,
    form: TaskForm,
    split: str,
    generator: torch.Generator,
) -> Dataset:
    """Draw one data set of one of several families.

    Args:
        weights: how often each is drawn, in proportion, by its name in FAMILIES.
        settings: ranges of what is drawn (not the weights).
        form: inputs, classes and examples.
        split: "train" or "validation", which "glyphs" and "decoders" alone know.
        generator: a CPU torch.Generator; the same numbers are drawn from it whatever the family.

    Raises:
        ValueError: no family with a weight above 0 can take the form.
    """
    kind, tone, distance = torch.rand(3, generator=generator).tolist()
    seed = int(torch.randint(2**31, (), generator=generator))
    n_clusters = whole_number(1, settings.clusters, generator)
    bend = whole_number(0, len(settings.glyphs) - 1, generator)
    weighed = [name for name, weight in weights.items() if weight > 0]
    able = [name for name in weighed if FAMILIES[name].takes(form)]
    if not able:
        raise ValueError(f"form is {form}; allowed: one that {' or '.join(weighed) or 'any kind of data'} can take")
    left = kind * sum(weights[name] for name in able)
    chosen = able[-1]  # where rounding leaves something over
    for name in able:
        left -= weights[name]
        if left < 0:
            chosen = name
            break
    return FAMILIES[chosen].make(Draw(settings, form, split, n_clusters, tone, distance, bend, seed))


def _takes_glyphs(form: TaskForm) -> bool:
    side = math.isqrt(form.n_inputs)
    return side**2 == form.n_inputs and MIN_SIZE <= side <= MAX_SIZE and form.n_classes <= MAX_CLASSES


def _any_form(form: TaskForm) -> bool:
    return True


def _many_inputs(form: TaskForm) -> bool:
    return form.n_inputs >= LEAST_INPUTS


def _glyphs(draw: Draw) -> Dataset:
    form, settings = draw.form, draw.settings
    side = math.isqrt(form.n_inputs)
    bend = settings.glyphs[draw.bend]
    data = glyphs(form.n_examples, form.n_classes, side, split=draw.split, settings=bend, seed=draw.seed)
    return replace(data, x=1 - data.x) if draw.tone < settings.inverted_share else data


def _decoders(draw: Draw) -> Dataset:
    form, (low, high) = draw.form, draw.settings.separation
    return random_decoder(
        form.n_examples,
        form.n_classes,
        form.n_inputs,
        split=draw.split,
        clusters=draw.clusters,
        separation=low + (high - low) * draw.distance,
        seed=draw.seed,
    )


def _clustered(make: Callable[..., Dataset]) -> Callable[[Draw], Dataset]:
    """The options that mixtures, sparse and binary data share."""

    def made(draw: Draw) -> Dataset:
        form = draw.form
        return make(form.n_examples, form.n_classes, form.n_inputs, clusters=draw.clusters, seed=draw.seed)

    return made


def _shapes(draw: Draw) -> Dataset:
    return lifted_shapes(draw.form.n_examples, draw.form.n_classes, draw.form.n_inputs, seed=draw.seed)


FAMILIES: dict[str, Family] = {
    "glyphs": Family("glyph_weight", _takes_glyphs, _glyphs),
    "decoders": Family("decoder_weight", _any_form, _decoders),
    "mixtures": Family("mixture_weight", _any_form, _clustered(gaussian_mixture)),
    "sparse": Family("sparse_weight", _many_inputs, _clustered(sparse_data)),
    "binary": Family("binary_weight", _many_inputs, _clustered(binary_data)),
    "shapes": Family("shape_weight", _any_form, _shapes),
}
HELD_OUT = ("glyphs", "decoders")  # the families that hold something out for validation
