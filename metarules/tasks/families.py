"""The families of data that meta-training tasks are drawn from: each is one function and its registration.

A family of your own is registered by `register_family`, in any file, and takes part in a run whose
`DistributionSettings.weights` name it.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

from metarules._checks import check_number
from metarules.tasks.binary import binary_data
from metarules.tasks.dataset import Dataset
from metarules.tasks.decoders import random_decoder
from metarules.tasks.glyph_rendering import MAX_SIZE, MIN_SIZE, GlyphSettings
from metarules.tasks.glyphs import glyphs
from metarules.tasks.handwriting import handwriting
from metarules.tasks.lifted import lifted_shapes
from metarules.tasks.mixtures import gaussian_mixture
from metarules.tasks.sparse import sparse_data

# Of the 20 held-out letters four pairs look alike once scaled to one size (K k, M m, X x, Y y), and a task draws at
# most one of each. The training letters would allow 21, but what cannot be validated is not trained.
MAX_CLASSES = 16
MOST_CLASSES = 20  # of the other families
LEAST_INPUTS = 8  # of sparse and binary data: fewer words or bits cannot tell classes apart


@dataclass(frozen=True)
class TaskForm:
    """What tasks must share to be put side by side."""

    n_inputs: int  # n_0
    n_classes: int  # classes of every task
    n_examples: int  # N of every task

    def __post_init__(self) -> None:
        check_number("n_inputs", self.n_inputs, low=2, integer=True)
        check_number("n_classes", self.n_classes, low=2, high=MOST_CLASSES, integer=True)
        check_number("n_examples", self.n_examples, low=self.n_classes, integer=True)


@dataclass(frozen=True)
class Draw:
    """What is drawn for a data set, by the same random numbers for every family; a family uses what it has use for."""

    form: TaskForm  # inputs, classes and examples: these a family must keep to
    split: str  # "train" or "validation", which families that hold something out alone are asked for
    seed: int  # of everything else that is random in the data set
    clusters: int  # in each class
    separation: float  # between the classes of a decoder's latents
    glyphs: GlyphSettings  # deformations
    inverted: bool  # ink 0 on paper 1


@dataclass(frozen=True)
class Family:
    """A family of data: how a data set of it is made, which forms it can take, whether validation knows it."""

    make: Callable[[Draw], Dataset]
    takes: Callable[[TaskForm], bool] | None = None  # None: every form
    held_out: bool = False

    def can_take(self, form: TaskForm) -> bool:
        """Whether a data set of this family can have that form."""
        return self.takes is None or self.takes(form)


FAMILIES: dict[str, Family] = {}


def register_family(
    name: str, *, takes: Callable[[TaskForm], bool] | None = None, held_out: bool = False
) -> Callable[[Callable[[Draw], Dataset]], Callable[[Draw], Dataset]]:
    """Decorator: make a function from a `Draw` to a data set known as a family of meta-training tasks.

    Args:
        name: by which `DistributionSettings.weights` name it; a family that they do not name takes no part.
        takes: whether it can take a form; None for a family that can take every form.
        held_out: whether the "validation" split holds something that the "train" split never shows. Runs whose weights
            name such a family are validated on it.

    Raises:
        ValueError: a name that another function has.

    Example:
        @register_family("mine")
        def mine(draw: Draw) -> Dataset: ...
    """

    def enter(make: Callable[[Draw], Dataset]) -> Callable[[Draw], Dataset]:
        known = FAMILIES.get(name)
        if known and _path(known.make) != _path(make):  # the same path: a notebook's cell that runs again
            raise ValueError(f"name is {name!r}, which {_path(known.make)} has; allowed: a new name")
        FAMILIES[name] = Family(make, takes, held_out)
        return make

    return enter


def _path(make: Callable[[Draw], Dataset]) -> str:
    return f"{make.__module__}.{getattr(make, '__qualname__', type(make).__qualname__)}"


def _takes_images(form: TaskForm) -> bool:
    side = math.isqrt(form.n_inputs)
    return side**2 == form.n_inputs and MIN_SIZE <= side <= MAX_SIZE


def _takes_glyphs(form: TaskForm) -> bool:
    return _takes_images(form) and form.n_classes <= MAX_CLASSES


def _many_inputs(form: TaskForm) -> bool:
    return form.n_inputs >= LEAST_INPUTS


@register_family("glyphs", takes=_takes_glyphs, held_out=True)
def _glyphs(draw: Draw) -> Dataset:
    form, side = draw.form, math.isqrt(draw.form.n_inputs)
    data = glyphs(form.n_examples, form.n_classes, side, split=draw.split, settings=draw.glyphs, seed=draw.seed)
    return replace(data, x=1 - data.x) if draw.inverted else data


@register_family("decoders", held_out=True)
def _decoders(draw: Draw) -> Dataset:
    form = draw.form
    return random_decoder(
        form.n_examples,
        form.n_classes,
        form.n_inputs,
        split=draw.split,
        clusters=draw.clusters,
        separation=draw.separation,
        seed=draw.seed,
    )


@register_family("handwriting", takes=_takes_images, held_out=True)
def _handwriting(draw: Draw) -> Dataset:
    form, side = draw.form, math.isqrt(draw.form.n_inputs)
    data = handwriting(form.n_examples, form.n_classes, side, split=draw.split, seed=draw.seed)
    return replace(data, x=1 - data.x) if draw.inverted else data


def _clustered(make: Callable[..., Dataset]) -> Callable[[Draw], Dataset]:
    """The options that mixtures, sparse and binary data share."""

    def made(draw: Draw) -> Dataset:
        form = draw.form
        return make(form.n_examples, form.n_classes, form.n_inputs, clusters=draw.clusters, seed=draw.seed)

    return made


register_family("mixtures")(_clustered(gaussian_mixture))
register_family("sparse", takes=_many_inputs)(_clustered(sparse_data))
register_family("binary", takes=_many_inputs)(_clustered(binary_data))


@register_family("shapes")
def _shapes(draw: Draw) -> Dataset:
    return lifted_shapes(draw.form.n_examples, draw.form.n_classes, draw.form.n_inputs, seed=draw.seed)
