"""Glyph images of any small size: random affine maps of the atlas, many at once.

Source of the idea: Metz et al., ICLR 2019, section 4.2 and appendix: rendered fonts, shifted, rotated and made noisy,
the coefficients serving as further regression targets. The ranges are ours.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from metarules._checks import check_names, check_number, check_pair
from metarules._random import balanced_labels, log_uniform, uniform
from metarules.tasks.glyph_atlas import CELL, CHARACTERS, FONTS, INK, glyph_atlas

MIN_SIZE, MAX_SIZE = 8, 28  # pixels each way
PARAMETER_NAMES = ("shift_x", "shift_y", "rotation", "log_scale", "shear", "log_gamma", "blur", "noise", "inverted")

_CHUNK = 512  # images per call of grid_sample: keeps the working set inside a core's cache
_LEAST_PEAK = 0.2 * 255  # thin strokes turn grey at 8x8: the darkest ink is brought to 1, but no more than fivefold
_BLUR_PER_PASS = 0.5  # variance in pixels^2 one pass of the three-tap blur may add (2/3 is where it stops smoothing)


@dataclass(frozen=True)
class GlyphSettings:
    """How far glyphs are bent and spoilt; every image draws its own coefficients evenly from these ranges."""

    # Defaults as wide as those of our early experiments: ten labels per class and raw 8x8 pixels then give 0.5 to 0.55.
    scale: tuple[float, float] = (0.6, 1.0)  # longer side of the ink over the image's side
    shift: float = 0.15  # largest shift each way, over the image's side, as far as the frame leaves room
    rotation: float = 20.0  # largest rotation, degrees
    shear: float = 0.2  # largest horizontal shear, width over height; an italic's slant is 0.2 to 0.3
    gamma: tuple[float, float] = (1.0, 1.0)  # ink ** gamma, drawn log-evenly: below 1 fattens, above 1 thins
    blur: tuple[float, float] = (0.0, 0.0)  # standard deviation of a Gaussian blur, pixels of the image
    noise: tuple[float, float] = (0.0, 0.0)  # standard deviation of Gaussian noise on every pixel
    invert: float = 0.0  # probability that ink and paper are exchanged

    def __post_init__(self) -> None:
        ranges = {"scale": (0.4, 1.0), "gamma": (0.2, 5.0), "blur": (0.0, 3.0), "noise": (0.0, 1.0)}
        for name, (low, high) in ranges.items():
            object.__setattr__(self, name, check_pair(name, getattr(self, name), low=low, high=high))
        for name, high in {"shift": 0.5, "rotation": 180.0, "shear": 1.0, "invert": 1.0}.items():
            object.__setattr__(self, name, float(check_number(name, getattr(self, name), low=0.0, high=high)))


# Hardly bent: easy to read at 8x8, and about as hard to tell apart as handwritten digits (0.75 against 0.86).
NEAT_GLYPHS = GlyphSettings(scale=(0.7, 0.95), shift=0.1, rotation=10.0, shear=0.15)
# Breadth for meta-training: rules trained on clean glyphs alone soon over-fit to them (CONTRIBUTING, Sources).
# Inversion is a matter of a whole task there: `dataclasses.replace(BROAD_GLYPHS, invert=1.0)`.
BROAD_GLYPHS = GlyphSettings(gamma=(0.5, 1.6), blur=(0.0, 0.8), noise=(0.0, 0.15))


def render_glyphs(
    characters: str | Sequence[str],
    fonts: Sequence[str],
    n: int,
    size: int,
    generator: torch.Generator,
    settings: GlyphSettings | None = None,
) -> tuple[Tensor, Tensor, Tensor]:
    """Render n images of random characters in random fonts, each with its own affine map.

    Args:
        characters: the classes, of A-Z a-z 0-9, none twice.
        fonts: names out of FONTS, none twice.
        n: number of images, from 1.
        size: pixels each way, 8 to 28.
        generator: a CPU torch.Generator.
        settings: ranges of the coefficients; `GlyphSettings()` by default.

    Returns:
        images [n, size * size], float32 in [0, 1], ink 1 on paper 0, never cut off by the frame;
        labels [n], int64, positions in `characters`, balanced, in random order;
        parameters [n, 9], float32, named by PARAMETER_NAMES, the affine ones first: shifts over the image's side
        (right and down), rotation in radians (clockwise), log of the scale, shear, then log gamma, blur and noise
        (standard deviations) and 1.0 where inverted. What the settings switch off is constant.

    Raises:
        ValueError: an unknown or repeated character or font, n or size out of range.
    """
    letters = check_characters(characters)
    check_fonts(fonts)
    check_number("n", n, low=1, integer=True)
    check_number("size", size, low=MIN_SIZE, high=MAX_SIZE, integer=True)
    if generator.device.type != "cpu":
        raise ValueError(f"generator is on device {generator.device}; allowed: cpu, where glyphs are rendered")
    settings = settings or GlyphSettings()

    atlas = glyph_atlas()
    labels = balanced_labels(n, len(letters), generator)
    rows = torch.tensor([FONTS.index(f) for f in fonts])[torch.randint(len(fonts), (n,), generator=generator)]
    columns = torch.tensor([CHARACTERS.index(c) for c in letters])[labels]
    parameters, theta = _fit_into_frame(_draw_parameters(n, settings, generator), atlas.extents[rows, columns])
    # four samples a pixel each way for the smallest images, two for the largest, averaged: no aliasing
    oversample = 4 if size <= 12 else 3 if size <= 20 else 2
    images = torch.empty(n, size, size)
    for i in range(0, n, _CHUNK):
        part = slice(i, i + _CHUNK)
        cells = atlas.cells[rows[part], columns[part]].unsqueeze(1).float()
        if oversample * size <= CELL // 2:
            cells = F.avg_pool2d(cells, 2)
        grid = F.affine_grid(theta[part], [len(cells), 1, oversample * size, oversample * size], align_corners=False)
        fine = F.grid_sample(cells, grid, mode="bilinear", padding_mode="zeros", align_corners=False)
        images[part] = F.avg_pool2d(fine, oversample).squeeze(1)
    images = images / images.amax((1, 2), keepdim=True).clamp_min(_LEAST_PEAK)
    return _spoil(images, parameters, settings, generator).flatten(1), labels, parameters


def check_characters(characters: Any) -> tuple[str, ...]:
    """Return the characters one by one if each is of A-Z a-z 0-9 and none comes twice, else raise ValueError."""
    letters = tuple(characters) if isinstance(characters, str | Sequence) else (characters,)
    if not letters:
        raise ValueError(f"characters is {characters!r}; allowed: at least one of {CHARACTERS}")
    for letter in letters:
        if not isinstance(letter, str) or len(letter) != 1 or letter not in CHARACTERS:
            raise ValueError(f"characters holds {letter!r}; allowed: single characters of {CHARACTERS}")
    if len(set(letters)) < len(letters):
        raise ValueError(f"characters is {''.join(letters)!r}; allowed: no character twice")
    return letters


def check_fonts(fonts: Any) -> tuple[str, ...]:
    """Return the font names if each is in FONTS and none comes twice, else raise ValueError."""
    names = tuple(fonts) if isinstance(fonts, Sequence) and not isinstance(fonts, str) else ()
    if not names:
        raise ValueError(f"fonts is {fonts!r}; allowed: a list or tuple of at least one of {', '.join(FONTS)}")
    check_names("fonts", map(str, names), FONTS)
    if len(set(names)) < len(names):
        raise ValueError(f"fonts is {names!r}; allowed: no font twice")
    return names


def _draw_parameters(n: int, settings: GlyphSettings, generator: torch.Generator) -> Tensor:
    """Coefficients [n, 9] in the order of PARAMETER_NAMES; before the frame is looked at."""
    turn = math.radians(settings.rotation)
    columns = [
        uniform(n, -1.0, 1.0, generator) * settings.shift,
        uniform(n, -1.0, 1.0, generator) * settings.shift,
        uniform(n, -turn, turn, generator),
        log_uniform(n, *settings.scale, generator).log(),
        uniform(n, -settings.shear, settings.shear, generator),
        log_uniform(n, *settings.gamma, generator).log(),
        uniform(n, *settings.blur, generator),
        uniform(n, *settings.noise, generator),
        (torch.rand(n, generator=generator) < settings.invert).float(),
    ]
    return torch.stack(columns, dim=1)


def _fit_into_frame(parameters: Tensor, extents: Tensor) -> tuple[Tensor, Tensor]:
    """Shrink and shift less where a glyph's bent bounding box would leave the frame.

    Args:
        parameters: coefficients [n, 9].
        extents: width and height of the ink over its longer side [n, 2].

    Returns:
        the coefficients used [n, 9]; theta [n, 2, 3] for `affine_grid`, from the frame back to the atlas cell. Both
        have their origin in the middle and reach from -1 to 1.
    """
    shift, angle, log_scale, shear = parameters[:, :2], parameters[:, 2], parameters[:, 3], parameters[:, 4]
    cos, sin = angle.cos(), angle.sin()
    turn = torch.stack([torch.stack([cos, -sin], -1), torch.stack([sin, cos], -1)], -2)
    lean = torch.eye(2).repeat(len(angle), 1, 1)
    lean[:, 0, 1] = -shear  # rows point down: a positive shear moves the top to the right
    forward = log_scale.exp()[:, None, None] * (turn @ lean)
    reach = (forward.abs() @ extents.unsqueeze(-1)).squeeze(-1)  # half width and height of the bounding box
    shrink = 1 / reach.amax(-1).clamp_min(1.0)
    room = 1 - shrink[:, None] * reach
    move = torch.clamp(2 * shift, -room, room)
    back = torch.linalg.inv(shrink[:, None, None] * forward)
    used = torch.cat([move / 2, angle[:, None], (log_scale + shrink.log())[:, None], parameters[:, 4:]], dim=1)
    theta = (INK / CELL) * torch.cat([back, -back @ move.unsqueeze(-1)], dim=-1)
    return used, theta


def _spoil(images: Tensor, parameters: Tensor, settings: GlyphSettings, generator: torch.Generator) -> Tensor:
    """Gamma, blur, inversion and noise, in this order, on images [n, size, size]; the result is cut to [0, 1]."""
    gamma, blur, noise, inverted = (column[:, None, None] for column in parameters[:, 5:].unbind(1))
    if settings.gamma != (1.0, 1.0):
        images = images ** gamma.exp()
    passes = math.ceil(settings.blur[1] ** 2 / _BLUR_PER_PASS)
    for _ in range(passes):
        side = blur.square() / (2 * passes)  # taps (side, 1 - 2 side, side) have variance 2 side
        for dim in (1, 2):
            first, last = images.narrow(dim, 0, 1), images.narrow(dim, -1, 1)  # the rim repeats: paper stays paper
            wide = torch.cat([first, images, last], dim)
            size = images.shape[dim]
            images = (1 - 2 * side) * images + side * (wide.narrow(dim, 0, size) + wide.narrow(dim, 2, size))
    if settings.invert > 0:
        images = torch.where(inverted > 0, 1 - images, images)
    if settings.noise[1] > 0:
        images = images + noise * torch.randn(images.shape, generator=generator)
    return images.clamp(0.0, 1.0)
