"""What meta-training tasks are made of: settings of their distribution, and the form that tasks side by side share.

Source: Metz et al., ICLR 2019, section 4 (data sets and permutations sampled per task); breadth: README, Sources.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from metarules._checks import check_generator, check_number, check_pair
from metarules._random import log_number, whole_number
from metarules.tasks.glyph_rendering import BROAD_GLYPHS, MAX_SIZE, MIN_SIZE, NEAT_GLYPHS, GlyphSettings

# Of the 20 held-out letters four pairs look alike once scaled to one size (K k, M m, X x, Y y), and a task draws at
# most one of each. The training letters would allow 21, but what cannot be validated is not trained.
MAX_CLASSES = 16
MOST_CLASSES = 20  # of the other kinds
IMAGE_SHARE = 0.5  # ours: of the unusual forms; without it hardly one would allow glyphs
LARGEST_IMAGE = 16  # paper
WEIGHTS = ("glyph_weight", "decoder_weight", "mixture_weight", "sparse_weight", "binary_weight", "shape_weight")
_ANY_FORM = ("decoder_weight", "mixture_weight", "shape_weight")  # kinds that can be drawn in every form


@dataclass(frozen=True)
class TaskForm:
    """What tasks must share to be put side by side.

    Attributes:
        n_inputs: n_0.
        n_classes: classes of every task.
        n_examples: N of every task.
    """

    n_inputs: int
    n_classes: int
    n_examples: int

    def __post_init__(self) -> None:
        check_number("n_inputs", self.n_inputs, low=2, integer=True)
        check_number("n_classes", self.n_classes, low=2, high=MOST_CLASSES, integer=True)
        check_number("n_examples", self.n_examples, low=self.n_classes, integer=True)


@dataclass(frozen=True)
class DistributionSettings:
    """What tasks are made of.

    Attributes:
        n_examples: N of every task.
        n_classes: classes of the usual form, at most 16: the held-out letters that can be told apart.
        size: images of the usual form are size x size, so its n_0 = size^2.
        usual_share: share of groups of tasks at the usual form, the one rules are judged at; the others draw theirs.
        class_range: fewest and most classes of the other forms (log-uniform).
        input_range: fewest and most inputs of the other forms (log-uniform, half of them images of 8x8 to 16x16).
        glyph_weight, decoder_weight, mixture_weight, sparse_weight, binary_weight, shape_weight: how often each kind
            of data is drawn, in proportion, among those that a form allows.
        inverted_share: probability that a glyph task has ink 0 on paper 1 instead of ink 1 on paper 0.
        clusters: most clusters per class, in the kinds that have clusters.
        separation: least and most distance between classes of a decoder's latents.
        glyphs: ranges of the glyphs' deformations, one of which is drawn for each task.
    """

    n_examples: int = 1000  # ours: rendering stays below a tenth of the meta-step
    n_classes: int = 10  # paper: 10-way few-shot classification
    size: int = 8  # the laptop's images; the paper goes to 16
    usual_share: float = 0.75  # ours: most for what is judged, the rest for breadth
    class_range: tuple[int, int] = (2, MOST_CLASSES)  # ours: 20 classes of 1000 examples still have 50 each
    input_range: tuple[int, int] = (2, 256)  # ours: from the plane to the paper's 16x16
    glyph_weight: float = 0.4  # ours: the one kind with real shapes
    decoder_weight: float = 0.2  # ours: five families of maps
    mixture_weight: float = 0.1  # ours, as the next three: spice, so that no kind can be over-fitted to
    sparse_weight: float = 0.1
    binary_weight: float = 0.1
    shape_weight: float = 0.1
    inverted_share: float = 0.25  # ours
    clusters: int = 3  # ours: a class need not be one lump
    separation: tuple[float, float] = (0.7, 1.5)  # ours: raw inputs then give few-shot accuracies of 0.45 to 0.85
    glyphs: tuple[GlyphSettings, ...] = (NEAT_GLYPHS, GlyphSettings(), BROAD_GLYPHS)  # ours: neat to spoilt

    def __post_init__(self) -> None:
        check_number("n_classes", self.n_classes, low=2, high=MAX_CLASSES, integer=True)
        check_number("n_examples", self.n_examples, low=self.n_classes, integer=True)
        check_number("size", self.size, low=MIN_SIZE, high=MAX_SIZE, integer=True)
        for name in ("usual_share", "inverted_share"):
            check_number(name, getattr(self, name), low=0, high=1)
        _check_whole_range("class_range", self.class_range, low=2, high=MOST_CLASSES)
        _check_whole_range("input_range", self.input_range, low=2, high=MAX_SIZE**2)
        check_number("clusters", self.clusters, low=1, high=10, integer=True)
        check_pair("separation", self.separation, low=0, high=10)
        if not self.glyphs or not all(isinstance(bend, GlyphSettings) for bend in self.glyphs):
            raise ValueError(f"glyphs is {self.glyphs!r}; allowed: a tuple of one or more GlyphSettings")
        for name in WEIGHTS:
            check_number(name, getattr(self, name), low=0)
        if not any(getattr(self, name) for name in (WEIGHTS if self.usual_share == 1 else _ANY_FORM)):
            raise ValueError(
                f"{', '.join(_ANY_FORM)} are all 0; allowed: one of them above 0, for the forms that no other kind "
                "takes, or usual_share=1 and any one weight above 0"
            )
        if self.usual_share < 1 and self.class_range[1] > self.n_examples:
            raise ValueError(
                f"class_range is {self.class_range}; allowed: up to {self.n_examples} classes, which is n_examples"
            )

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
        TypeError: generator of a wrong type.
    """
    check_generator(generator)
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
