"""The distribution of tasks a rule is meta-trained on: many kinds of data, always with permuted inputs.

Source: Metz et al., ICLR 2019, section 4 (data sets and permutations sampled per task); breadth: README, Sources.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch

from metarules._checks import check_choice, check_number
from metarules.tasks._options import check_generator, check_pair
from metarules.tasks.dataset import Dataset
from metarules.tasks.decoders import random_decoder
from metarules.tasks.glyph_rendering import BROAD_GLYPHS, NEAT_GLYPHS, GlyphSettings
from metarules.tasks.glyphs import glyphs
from metarules.tasks.making import make_task, stack_tasks
from metarules.tasks.task import Task

# Of the 20 held-out letters four pairs look alike once scaled to one size (K k, M m, X x, Y y), and a task draws at
# most one of each. The training letters would allow 21, but what cannot be validated is not trained.
MAX_CLASSES = 16


@dataclass(frozen=True)
class DistributionSettings:
    """What tasks are made of.

    Attributes:
        n_examples: N of every task.
        n_classes: classes of every task, at most 16: the held-out letters that can be told apart.
        size: images are size x size, so n_0 = size^2.
        glyph_share: probability that a task is made of glyphs rather than of a random decoder.
        inverted_share: probability that a glyph task has ink 0 on paper 1 instead of ink 1 on paper 0.
        clusters: most clusters per class of a decoder's latents.
        separation: least and most distance between classes of a decoder's latents.
        glyphs: ranges of the glyphs' deformations, one of which is drawn for each task.
    """

    n_examples: int = 1000  # ours: rendering stays below a tenth of the meta-step
    n_classes: int = 10  # paper: 10-way few-shot classification
    size: int = 8  # the laptop's images; the paper goes to 16
    glyph_share: float = 0.6  # ours: glyphs are the one kind with real shapes
    inverted_share: float = 0.25  # ours
    clusters: int = 3  # ours: a class need not be one lump
    separation: tuple[float, float] = (0.7, 1.5)  # ours: raw inputs then give few-shot accuracies of 0.45 to 0.85
    glyphs: tuple[GlyphSettings, ...] = (NEAT_GLYPHS, GlyphSettings(), BROAD_GLYPHS)  # ours: neat to spoilt

    def __post_init__(self) -> None:
        check_number("n_classes", self.n_classes, low=2, high=MAX_CLASSES, integer=True)
        check_number("n_examples", self.n_examples, low=self.n_classes, integer=True)
        check_number("size", self.size, low=8, high=28, integer=True)
        check_number("glyph_share", self.glyph_share, low=0, high=1)
        check_number("inverted_share", self.inverted_share, low=0, high=1)
        check_number("clusters", self.clusters, low=1, high=10, integer=True)
        check_pair("separation", self.separation, low=0, high=10)
        if not self.glyphs or not all(isinstance(bend, GlyphSettings) for bend in self.glyphs):
            raise ValueError(f"glyphs is {self.glyphs!r}; allowed: a tuple of one or more GlyphSettings")


def draw_dataset(settings: DistributionSettings, split: str, generator: torch.Generator) -> Dataset:
    """Draw one data set.

    Args:
        settings: see there.
        split: "train", or "validation" for held-out letters, fonts and decoder families.
        generator: a CPU torch.Generator.

    Raises:
        ValueError: an unknown split.
        TypeError: generator of a wrong type.
    """
    check_choice("split", split, ("train", "validation"))
    check_generator(generator)
    kind, tone, distance = torch.rand(3, generator=generator).tolist()
    seed = int(torch.randint(2**31, (), generator=generator))
    n_clusters = int(torch.randint(1, settings.clusters + 1, (), generator=generator))
    bend = settings.glyphs[int(torch.randint(len(settings.glyphs), (), generator=generator))]
    if kind < settings.glyph_share:
        data = glyphs(settings.n_examples, settings.n_classes, settings.size, split=split, settings=bend, seed=seed)
        if tone < settings.inverted_share:
            data = Dataset(data.name, 1 - data.x, data.y, data.shape, data.class_names)
        return data
    low, high = settings.separation
    return random_decoder(
        settings.n_examples,
        settings.n_classes,
        settings.size**2,
        split=split,
        clusters=n_clusters,
        separation=low + (high - low) * distance,
        seed=seed,
    )


class TaskPool:
    """Data sets kept ready, of which a few are replaced whenever tasks are drawn; permutations are always new.

    A data set takes longer to render than an inner step, so lives share data sets, never a permutation.
    """

    def __init__(self, settings: DistributionSettings, size: int, generator: torch.Generator, fresh: int = 2) -> None:
        """Render `size` training data sets; `fresh` of them, the oldest, are replaced at every draw.

        Raises:
            ValueError, TypeError: numbers out of range, `fresh` above `size`, no generator.
        """
        check_number("size", size, low=1, integer=True)
        check_number("fresh", fresh, low=0, high=size, integer=True)
        self.settings = settings
        self.fresh = fresh
        self.next = 0
        self.datasets = [draw_dataset(settings, "train", generator) for _ in range(size)]

    def draw(self, n: int, generator: torch.Generator) -> Task:
        """n tasks [n, N, n_0], data sets drawn with replacement.

        Raises:
            ValueError, TypeError: n below 1 or no whole number, no generator.
        """
        check_number("n", n, low=1, integer=True)
        check_generator(generator)
        for _ in range(self.fresh):
            self.datasets[self.next] = draw_dataset(self.settings, "train", generator)
            self.next = (self.next + 1) % len(self.datasets)
        chosen = torch.randint(len(self.datasets), (n,), generator=generator).tolist()
        return stack_tasks([make_task(self.datasets[i], generator=generator) for i in chosen])


def validation_tasks(settings: DistributionSettings, n: int, generator: torch.Generator, kind: str) -> Task:
    """n tasks of held-out data, [n, N, n_0].

    Args:
        settings: as for training; the share of glyphs is not used.
        n: number of tasks.
        generator: a CPU torch.Generator.
        kind: "glyphs" (held-out letters in held-out fonts) or "decoders" (held-out decoder families).

    Raises:
        ValueError: an unknown kind, n below 1.
    """
    check_choice("kind", kind, ("glyphs", "decoders"))
    check_number("n", n, low=1, integer=True)
    only = replace(settings, glyph_share=1.0 if kind == "glyphs" else 0.0)
    return stack_tasks([make_task(draw_dataset(only, "validation", generator), generator=generator) for _ in range(n)])
