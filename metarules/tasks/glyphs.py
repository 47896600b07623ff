"""Rendered letters as a data set, with fonts and letters held out for validation."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch

from metarules._checks import check_choice, check_number
from metarules._random import seeded
from metarules.tasks.dataset import Dataset, register
from metarules.tasks.glyph_atlas import CHARACTERS, FONTS, TRAIN_FONTS, VALIDATION_FONTS
from metarules.tasks.glyph_rendering import PARAMETER_NAMES, GlyphSettings, check_characters, check_fonts, render_glyphs
from metarules.tasks.latents import standardised

TARGETS = PARAMETER_NAMES[:4]  # what every setting varies; noise, the paper's fourth, is off in most of ours

# A letter is held out in both cases, since c and C are one shape; of every kind of shape (round, straight, diagonal)
# some letters are on either side. Digits are in neither: scikit-learn's digits are what rules are judged by.
VALIDATION_CHARACTERS = "AEGHKMRTXY" + "aeghkmrtxy"
TRAIN_CHARACTERS = "BCDFIJLNOPQSUVWZ" + "bcdfijlnopqsuvwz"

# Characters that scaling to one size makes alike in some font; a task draws at most one of each group.
LOOK_ALIKES = (
    "Cc",
    "Oo0",
    "Pp",
    "Ss5",
    "Uu",
    "Vv",
    "Ww",
    "Xx",
    "Zz2",
    "Kk",
    "Yy",
    "Ii",
    "Jj",
    "Il1",
    "Mm",
    "gq9",
    "b6",
)


@dataclass(frozen=True)
class GlyphSplit:
    """One side of the fixed split.

    Attributes:
        fonts: font names.
        characters: the characters tasks are drawn from.
    """

    fonts: tuple[str, ...]
    characters: str


_SPLITS = {
    "train": GlyphSplit(TRAIN_FONTS, TRAIN_CHARACTERS),
    "validation": GlyphSplit(VALIDATION_FONTS, VALIDATION_CHARACTERS),
    "all": GlyphSplit(FONTS, CHARACTERS),
}


def glyph_split(split: str) -> GlyphSplit:
    """Fonts and characters of one side of the split.

    Args:
        split: "train" (16 fonts, 32 letters), "validation" (6 fonts of other families, the 20 other letters) or
            "all" (22 fonts, letters and digits).

    Raises:
        ValueError: an unknown name.
    """
    return _SPLITS[check_choice("split", split, _SPLITS)]


def draw_characters(n: int, generator: torch.Generator, characters: str | Sequence[str] = TRAIN_CHARACTERS) -> str:
    """Draw n distinct characters at random, never two that look alike (see LOOK_ALIKES).

    Args:
        n: number of characters, from 1.
        generator: a torch.Generator.
        characters: what to draw from.

    Raises:
        ValueError: more characters wanted than can be told apart.
    """
    letters = check_characters(characters)
    check_number("n", n, low=1, integer=True)
    order = torch.randperm(len(letters), generator=generator, device=generator.device).tolist()
    drawn = _first_apart(letters[i] for i in order)
    if len(drawn) < n:
        raise ValueError(
            f"n is {n}; allowed: at most {len(drawn)} of the {len(letters)} characters {''.join(letters)!r}, since "
            "characters that look alike are not drawn together"
        )
    return drawn[:n]


def _first_apart(letters: Iterable[str]) -> str:
    """The letters in order, without those that look like an earlier one."""
    kept = ""
    for letter in letters:
        if not any(letter in group and set(group) & set(kept) for group in LOOK_ALIKES):
            kept += letter
    return kept


@register("glyphs")
def glyphs(
    n: int = 2000,
    n_classes: int = 10,
    size: int = 8,
    split: str = "train",
    characters: str | Sequence[str] | None = None,
    fonts: Sequence[str] | None = None,
    settings: GlyphSettings | None = None,
    seed: int = 0,
) -> Dataset:
    """Random letters in random fonts, bent at random; drawn afresh from the seed.

    Args:
        n: number of images.
        n_classes: number of classes, whose characters are drawn from the split: 2 to 21 ("train"), 16 ("validation")
            or 40 ("all"), see `draw_characters`. Ignored where `characters` is given.
        size: pixels each way, 8 to 28.
        split: "train", "validation" or "all", see `glyph_split`.
        characters: the classes, instead of drawing them, such as "ABC" or "0123456789".
        fonts: font names, instead of those of the split.
        settings: ranges of the random map; `NEAT_GLYPHS` bends less, `BROAD_GLYPHS` spoils more.
        seed: whole number from 0.

    Returns:
        x [n, size * size] in [0, 1], ink 1 on paper 0; one class per character; targets [n, 4] named by TARGETS.

    Raises:
        ValueError: an unknown split, character or font, or a number out of range.
    """
    side = glyph_split(split)
    generator = seeded(seed)
    check_number("n_classes", n_classes, low=2, integer=True)
    classes = check_characters(
        draw_characters(n_classes, generator, side.characters) if characters is None else characters
    )
    check_number("n", n, low=len(classes), integer=True)
    images, labels, parameters = render_glyphs(
        classes, check_fonts(side.fonts if fonts is None else fonts), n, size, generator, settings
    )
    targets = standardised(parameters[:, : len(TARGETS)])
    return Dataset("glyphs", images, labels, (int(size), int(size)), classes, targets)
