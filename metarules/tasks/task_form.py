"""Settings of the distribution of meta-training tasks, and the form that tasks side by side share.

Source: Metz et al., ICLR 2019, section 4 (data sets and permutations sampled per task); breadth: CONTRIBUTING, Sources.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import torch

from metarules._checks import check_fields, check_names, check_number, check_pair
from metarules._random import log_number, whole_number
from metarules.tasks.families import FAMILIES, MAX_CLASSES, MOST_CLASSES, TaskForm
from metarules.tasks.glyph_rendering import BROAD_GLYPHS, MAX_SIZE, MIN_SIZE, NEAT_GLYPHS, GlyphSettings

IMAGE_SHARE = 0.5  # ours: of the unusual forms; without it hardly one would allow glyphs
LARGEST_IMAGE = 16  # paper
# ours: letters and handwriting most, the families with real shapes; then decoders, five kinds of maps; the others are
# spice, so that no family can be over-fitted to
WEIGHTS = {
    "glyphs": 0.3,
    "handwriting": 0.3,
    "decoders": 0.2,
    "mixtures": 0.1,
    "sparse": 0.1,
    "binary": 0.1,
    "shapes": 0.1,
}


@dataclass(frozen=True)
class DistributionSettings:
    """What tasks are made of."""

    # N of every task; ours: rendering stays below a tenth of the meta-step
    n_examples: int = 1000
    # classes of the usual form, at most 16, the held-out letters that can be told apart; paper: 10-way classification
    n_classes: int = 10
    # images of the usual form are size x size, so its n_0 = size^2; the laptop's images, the paper goes to 16
    size: int = 8
    # share of groups of tasks at the usual form, the one rules are judged at, the others draw theirs; ours: most for
    # what is judged, the rest for breadth
    usual_share: float = 0.75
    # fewest and most classes of the other forms (log-uniform); ours: 20 classes of 1000 examples still have 50 each
    class_range: tuple[int, int] = (2, MOST_CLASSES)
    # fewest and most inputs of the other forms (log-uniform, half of them images of 8x8 to 16x16); ours: from the plane
    # to the paper's 16x16
    input_range: tuple[int, int] = (2, 256)
    # how often each family is drawn, in proportion, among those that a form allows: glyphs, decoders, handwriting,
    # mixtures, sparse, binary, shapes, or one of your own; one that is not named takes no part
    weights: Mapping[str, float] = field(default_factory=lambda: dict(WEIGHTS), hash=False)
    # probability that a glyph task has ink 0 on paper 1 instead of ink 1 on paper 0; ours
    inverted_share: float = 0.25
    # most clusters per class, in the families that have clusters; ours: a class need not be one lump
    clusters: int = 3
    # least and most distance between classes of a decoder's latents; ours: the few-shot accuracy of raw inputs is then
    # between 0.45 and 0.85
    separation: tuple[float, float] = (0.7, 1.5)
    # ranges of the glyphs' deformations, one of which is drawn for each task; ours: neat to spoilt
    glyphs: tuple[GlyphSettings, ...] = (NEAT_GLYPHS, GlyphSettings(), BROAD_GLYPHS)

    def __post_init__(self) -> None:
        check_number("n_classes", self.n_classes, low=2, high=MAX_CLASSES, integer=True)
        check_number("n_examples", self.n_examples, low=self.n_classes, integer=True)
        check_number("size", self.size, low=MIN_SIZE, high=MAX_SIZE, integer=True)
        check_fields(self, "usual_share", "inverted_share", low=0, high=1)
        _check_whole_range("class_range", self.class_range, low=2, high=MOST_CLASSES)
        _check_whole_range("input_range", self.input_range, low=2, high=MAX_SIZE**2)
        check_number("clusters", self.clusters, low=1, high=10, integer=True)
        check_pair("separation", self.separation, low=0, high=10)
        if not self.glyphs or not all(isinstance(bend, GlyphSettings) for bend in self.glyphs):
            raise ValueError(f"glyphs is {self.glyphs!r}; allowed: a tuple of one or more GlyphSettings")
        object.__setattr__(self, "weights", dict(self.weights))
        check_names("weights", self.weights, FAMILIES)
        for name, weight in self.weights.items():
            check_number(f"weights[{name!r}]", weight, low=0)
        enough = [name for name, family in FAMILIES.items() if self.usual_share == 1 or family.takes is None]
        if not any(self.weights.get(name) for name in enough):
            raise ValueError(
                f"weights is {self.weights}; allowed: one of {', '.join(enough)} above 0, for the forms that no other "
                "family takes, or usual_share=1 and any one weight above 0"
            )
        if self.usual_share < 1 and self.class_range[1] > self.n_examples:
            raise ValueError(
                f"class_range is {self.class_range}; allowed: up to {self.n_examples} classes, which is n_examples"
            )

    @property
    def held_out(self) -> tuple[str, ...]:
        """The families that rules are validated on: ours, and others that hold something out and have a weight."""
        known = WEIGHTS.keys() | self.weights.keys()
        return tuple(name for name, family in FAMILIES.items() if family.held_out and name in known)

    @property
    def usual_form(self) -> TaskForm:
        """The form that rules are judged at."""
        return TaskForm(self.size**2, self.n_classes, self.n_examples)


def draw_form(settings: DistributionSettings, generator: torch.Generator) -> TaskForm:
    """Draw what the tasks of a group share: the usual form with probability `usual_share`, else one of its own.

    Args:
        settings: see there.
        generator: a CPU torch.Generator.

    Raises:
        TypeError: generator of the wrong type.
    """
    usual, image = torch.rand(2, generator=generator).tolist()
    n_classes = _log_whole(*settings.class_range, generator)
    n_inputs = _log_whole(*settings.input_range, generator)
    if usual < settings.usual_share:
        return settings.usual_form
    low, high = settings.input_range
    sides = [side for side in range(MIN_SIZE, LARGEST_IMAGE + 1) if low <= side**2 <= high]
    if sides and image < IMAGE_SHARE:
        n_inputs = sides[whole_number(0, len(sides) - 1, generator)] ** 2
    return TaskForm(n_inputs, n_classes, settings.n_examples)


def _log_whole(low: int, high: int, generator: torch.Generator) -> int:
    """A whole number from low to high; the logarithm is drawn evenly from half below low to half above high."""
    return min(high, max(low, round(log_number(low - 0.5, high + 0.5, generator))))


def _check_whole_range(name: str, value: tuple[int, int], *, low: int, high: int) -> None:
    check_pair(name, value, low=low, high=high)
    for i, end in enumerate(value):
        check_number(f"{name}[{i}]", end, low=low, high=high, integer=True)
