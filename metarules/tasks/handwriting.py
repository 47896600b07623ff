"""Random handwriting as a data set: characters nobody has seen, written again and again, never twice the same.

A class is a character of a few strokes, in one style or several; an instance varies the control points, slant, aspect,
pen and place. Such data have what people's data have and letters of fonts or random decoders lack: many examples of a
class, dense enough that nearest neighbours are nearly always of one class. Ours; characters of a few strokes as an
endless source of classes: Lake, Salakhutdinov and Tenenbaum, Science 2015.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from metarules._checks import check_choice, check_number, check_pair
from metarules._random import balanced_labels, number, seeded, whole_number
from metarules.tasks.dataset import Dataset, register
from metarules.tasks.glyph_rendering import MAX_SIZE, MIN_SIZE
from metarules.tasks.latents import standardised
from metarules.tasks.pen_paths import ARC, ARC_POINTS, POLYLINE, SPLINE, curve_weights, draw_ink, draw_strokes

HANDWRITING_TARGETS = ("slant", "turn", "log_aspect", "log_pen")
MAX_CLASSES = 20

_FEW = 25  # points along a stroke: with fewer a line looks beaded
_FINER = 3  # times as many steps between them in an image that is _LARGE
_LARGE = 16  # pixels each way from which the beads would show
_NARROWEST = 0.3  # width over height, or the reverse, that a box is taken to have at least: a bar stays a bar
_LEAST_PEAK = 0.3  # thin strokes turn grey at 8x8: the darkest ink is brought to 1, but no more than about threefold
_SHORT = 1.5  # way of the pen over the image's side up to which it is as thick as drawn; a 0 takes about 2
_THINNER = 0.5  # how much thinner it is beyond: way ** -0.5; as people write small with a fine pen
_ALIKE = 0.35  # squared distance over ink of two characters below which a reader would mix them up
_USUAL_PEN = 0.08  # radius with which they are compared
_TRIES = 4  # characters drawn for each that is wanted


@dataclass(frozen=True)
class HandwritingSettings:
    """How people's hands differ. Pairs: every data set draws its own number from the range; the others: every image."""

    wobble: tuple[float, float] = (0.03, 0.09)  # spread of control points over the character's size; neat to hasty
    styles: tuple[int, int] = (1, 3)  # ways to write a character; people's 1, 4 and 7 have two or three
    style: float = 0.15  # spread of control points from style to style
    pen: tuple[float, float] = (0.05, 0.1)  # its radius over the image's side: 0.05 is MNIST's, 0.08 that of 8x8 digits
    pen_spread: float = 0.15  # spread of its logarithm
    slant: float = 0.2  # spread of the slant, width over height
    turn: float = 6.0  # spread of the turn, degrees; people keep to the line
    aspect: float = 0.15  # spread of the logarithm of width over height
    fill: tuple[float, float] = (0.75, 1.0)  # longer side over the image's: MNIST 0.71 with its margin, 8x8 digits 1
    stretch: tuple[float, float] = (0.0, 0.8)  # 0 keeps the proportions as MNIST does, 1 fills the box both ways
    shift: float = 0.02  # spread of the place, over the image's side

    def __post_init__(self) -> None:
        ranges = {"wobble": (0.0, 0.5), "pen": (0.02, 0.2), "fill": (0.4, 1.0), "stretch": (0.0, 1.0)}
        for name, (low, high) in ranges.items():
            object.__setattr__(self, name, check_pair(name, getattr(self, name), low=low, high=high))
        check_pair("styles", self.styles, low=1, high=10)
        for i, end in enumerate(self.styles):
            check_number(f"styles[{i}]", end, low=1, high=10, integer=True)
        highest = {"style": 1.0, "pen_spread": 1.0, "slant": 1.0, "turn": 180.0, "aspect": 1.0, "shift": 0.5}
        for name, high in highest.items():
            object.__setattr__(self, name, float(check_number(name, getattr(self, name), low=0.0, high=high)))


@dataclass(frozen=True)
class HandwritingSplit:
    """One side of the fixed split: the sides differ in kind, not in seed alone.

    Attributes:
        paths: what a stroke is, one of which is drawn for each data set.
        strokes: fewest and most strokes of a character.
        points: fewest and most control points of a stroke (an arc has three).
        broad: True for a calligrapher's pen, thick and thin by direction.
        restroke: True where a style writes one stroke of the character in another way altogether, instead of all
            strokes a little differently.
    """

    paths: tuple[str, ...]
    strokes: tuple[int, int]
    points: tuple[int, int]
    broad: bool
    restroke: bool


_TRAIN = HandwritingSplit((SPLINE,), (1, 2), (4, 7), broad=False, restroke=False)
_VALIDATION = HandwritingSplit((ARC, POLYLINE), (2, 3), (3, 4), broad=True, restroke=True)
_SPLITS = {"train": (_TRAIN,), "validation": (_VALIDATION,), "all": (_TRAIN, _VALIDATION)}


def handwriting_split(split: str) -> tuple[HandwritingSplit, ...]:
    """The sides of the split that data sets are drawn from.

    Args:
        split: "train" (one or two splines, a round pen), "validation" (two or three arcs or polylines, a broad pen,
            styles of another kind) or "all" (either).

    Raises:
        ValueError: an unknown name.
    """
    return _SPLITS[check_choice("split", split, _SPLITS)]


@register("handwriting")
def handwriting(
    n: int = 2000,
    n_classes: int = 10,
    size: int = 8,
    split: str = "train",
    settings: HandwritingSettings | None = None,
    seed: int = 0,
) -> Dataset:
    """Random characters written by hand; characters, hands and instances are drawn afresh from the seed.

    Args:
        n: number of images.
        n_classes: number of characters, 2 to 20.
        size: pixels each way, 8 to 28.
        split: "train", "validation" or "all", see `handwriting_split`.
        settings: how hands differ; `HandwritingSettings()` by default.
        seed: whole number from 0.

    Returns:
        x [n, size * size] in [0, 1], ink 1 on paper 0; classes balanced, in random order; targets [n, 4] named by
        HANDWRITING_TARGETS.

    Raises:
        ValueError: an unknown split, or a number out of range.
    """
    sides = handwriting_split(split)
    generator = seeded(seed)
    check_number("n_classes", n_classes, low=2, high=MAX_CLASSES, integer=True)
    check_number("n", n, low=n_classes, integer=True)
    check_number("size", size, low=MIN_SIZE, high=MAX_SIZE, integer=True)
    settings = settings or HandwritingSettings()
    side = sides[whole_number(0, len(sides) - 1, generator)]
    images, labels, parameters = _write(side, settings, int(n), int(n_classes), int(size), generator)
    names = tuple(str(c) for c in range(n_classes))
    return Dataset("handwriting", images.flatten(1), labels, (int(size), int(size)), names, standardised(parameters))


@dataclass(frozen=True)
class _Alphabet:
    """Characters of one data set.

    Attributes:
        control: control points by class and style [classes, styles, strokes, points, 2].
        weights: see `curve_weights` [classes, strokes, samples, points].
        strokes: how many of the strokes each class has [classes].
    """

    control: Tensor
    weights: Tensor
    strokes: Tensor


def _write(
    side: HandwritingSplit, s: HandwritingSettings, n: int, n_classes: int, size: int, generator: torch.Generator
) -> tuple[Tensor, Tensor, Tensor]:
    """Images [n, size, size], labels [n] and what HANDWRITING_TARGETS names [n, 4]."""
    wobble, pen, fill, stretch = (number(*span, generator) for span in (s.wobble, s.pen, s.fill, s.stretch))
    alphabet = _alphabet(side, s, n_classes, whole_number(*s.styles, generator), size >= _LARGE, generator)
    labels = balanced_labels(n, n_classes, generator)
    styles = torch.randint(alphabet.control.shape[1], (n,), generator=generator)
    spread = torch.tensor([s.slant, torch.pi * s.turn / 180, s.aspect, s.pen_spread])
    parameters = spread * torch.randn(n, 4, generator=generator).clamp(-2.5, 2.5)
    parameters[:, 3] += torch.tensor(pen).log()
    control = alphabet.control[labels, styles]
    control = control + wobble * torch.randn(control.shape, generator=generator)
    points = _bent(_curves(control, alphabet.weights[labels], alphabet.strokes[labels]), parameters)
    radius = parameters[:, 3].exp()
    placed = _placed(points, radius, fill, stretch, s.shift * torch.randn(n, 1, 2, generator=generator))
    pens = _thinned(radius, placed.unflatten(1, (alphabet.weights.shape[1], -1)), alphabet.strokes[labels])
    images = draw_ink(placed, pens, size, side.broad)
    return images / images.amax((1, 2), keepdim=True).clamp_min(_LEAST_PEAK), labels, parameters


def _alphabet(
    side: HandwritingSplit,
    s: HandwritingSettings,
    n_classes: int,
    n_styles: int,
    large: bool,
    generator: torch.Generator,
) -> _Alphabet:
    """Characters that a reader can tell apart: of more than are needed, the first that are like none before them."""
    kind = side.paths[whole_number(0, len(side.paths) - 1, generator)]
    points = ARC_POINTS if kind == ARC else whole_number(*side.points, generator)
    many, most = _TRIES * n_classes, side.strokes[1]
    control = draw_strokes(kind, many, most, points, generator)
    step = _FINER if large else 1
    weights = curve_weights(kind, many * most, points, step * (_FEW - 1) + 1, generator).unflatten(0, (many, most))
    strokes = torch.randint(side.strokes[0], most + 1, (many,), generator=generator)
    seen = _curves(control, weights[..., ::step, :], strokes)  # the same points for images of every size
    chosen = _apart(_placed(seen, torch.full((many,), _USUAL_PEN), 1.0, 0.5), n_classes)
    control = control[chosen].unsqueeze(1).repeat(1, n_styles, 1, 1, 1)
    if side.restroke:
        other = draw_strokes(kind, n_classes * n_styles, most, points, generator).unflatten(0, (n_classes, n_styles))
        which = torch.rand(n_classes, n_styles, 1, 1, 1, generator=generator) * strokes[chosen].view(-1, 1, 1, 1, 1)
        redrawn = torch.arange(most).view(1, 1, -1, 1, 1) == which.floor()
        redrawn[:, 0] = False  # the first style is the character as it was chosen
        control = torch.where(redrawn, other, control)
    else:
        control = control + s.style * torch.randn(control.shape, generator=generator)
    return _Alphabet(control, weights[chosen], strokes[chosen])


def _apart(points: Tensor, n: int) -> Tensor:
    """Numbers [n] of the first characters unlike all chosen before; where too few are, the first of the others too."""
    drawn = draw_ink(points, torch.full((len(points),), _USUAL_PEN), MIN_SIZE, broad=False).flatten(1)
    ink = drawn.square().sum(1)
    alike = torch.cdist(drawn, drawn).square() < _ALIKE * (ink[:, None] + ink)
    chosen: list[int] = []
    for i in range(len(points)):
        if len(chosen) < n and not any(alike[i, j] for j in chosen):
            chosen.append(i)
    chosen += [i for i in range(len(points)) if i not in chosen][: n - len(chosen)]
    return torch.tensor(chosen)


def _curves(control: Tensor, weights: Tensor, strokes: Tensor) -> Tensor:
    """Points along each character [n, all samples, 2]; strokes that it lacks are its first one again."""
    points = weights @ control  # [n, strokes, samples, 2]
    lacking = torch.arange(points.shape[1]) >= strokes[:, None]
    return torch.where(lacking[..., None, None], points[:, :1], points).flatten(1, 2)


def _bent(points: Tensor, parameters: Tensor) -> Tensor:
    """Slant to the right, turn clockwise, and stretch the width, by parameters [n, 4] of HANDWRITING_TARGETS."""
    slant, turn, aspect = parameters[:, 0], parameters[:, 1], (parameters[:, 2] / 2).exp()
    cos, sin, zero = turn.cos(), turn.sin(), torch.zeros_like(turn)
    lean = torch.stack([torch.stack([aspect, -slant], -1), torch.stack([zero, 1 / aspect], -1)], -2)  # y points down
    rotate = torch.stack([torch.stack([cos, -sin], -1), torch.stack([sin, cos], -1)], -2)
    return points @ (rotate @ lean).mT


def _placed(points: Tensor, pen: Tensor, fill: float, stretch: float, shift: Tensor | float = 0.0) -> Tensor:
    """Scale characters so that their ink's box fills this much of the unit square, and put them in its middle."""
    low, high = points.amin(1, keepdim=True), points.amax(1, keepdim=True)
    span = high - low
    longer = span.amax(-1, keepdim=True).clamp_min(1e-6)
    span = torch.maximum(span, _NARROWEST * longer)
    scale = (fill - 2 * pen[:, None, None]) / (span**stretch * longer ** (1 - stretch))
    return 0.5 + scale * (points - (low + high) / 2) + shift


def _thinned(pen: Tensor, points: Tensor, strokes: Tensor) -> Tensor:
    """The pen's radius [n], less where it goes a long way [n, strokes, samples, 2]: the ink would run together."""
    parts = points.diff(dim=2).norm(dim=-1).sum(-1)
    way = (parts * (torch.arange(parts.shape[1]) < strokes[:, None])).sum(-1)
    return pen * (_SHORT / way.clamp_min(_SHORT)) ** _THINNER
