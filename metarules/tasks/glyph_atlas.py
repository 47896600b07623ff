"""Letters and digits of matplotlib's fonts, each drawn once at high resolution: the stock that glyphs are cut from."""

from __future__ import annotations

import string
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

CHARACTERS = string.ascii_uppercase + string.ascii_lowercase + string.digits

# Of matplotlib's TrueType fonts, those that hold A-Z, a-z and 0-9 as such; cmex10, cmsy10 and LastResort map these
# codes to other symbols. Whole families are held out for validation, one serif, one sans, one typewriter design, so
# that no validation font is a slanted or bold cut of a training font.
TRAIN_FONTS = (
    *("DejaVuSans", "DejaVuSans-Bold", "DejaVuSans-Oblique", "DejaVuSans-BoldOblique"),
    *("DejaVuSansMono", "DejaVuSansMono-Bold", "DejaVuSansMono-Oblique", "DejaVuSansMono-BoldOblique"),
    *("DejaVuSerif", "DejaVuSerif-Bold", "DejaVuSerif-Italic", "DejaVuSerif-BoldItalic"),
    *("cmr10", "cmb10", "cmti10", "cmmi10"),
)
VALIDATION_FONTS = ("STIXGeneral", "STIXGeneralBol", "STIXGeneralItalic", "STIXGeneralBolIta", "cmss10", "cmtt10")
FONTS = TRAIN_FONTS + VALIDATION_FONTS

CELL = 64  # pixels of an atlas cell, each way: twice the 28 pixels of the largest glyph, and a bit
INK = 56  # pixels of a glyph's longer side; the empty rim keeps interpolation off the neighbours
_POINT_SIZE = 160  # drawn at two to three times INK, then shrunk, so that edges are smooth


@dataclass(frozen=True, eq=False)
class GlyphAtlas:
    """Every character of every font, centred, its longer side scaled to INK pixels.

    Attributes:
        cells: ink from 0 to 255 [fonts, characters, CELL, CELL], uint8; order of FONTS and CHARACTERS.
        extents: width and height of the ink as parts of the longer side [fonts, characters, 2].
    """

    cells: Tensor
    extents: Tensor


@lru_cache(maxsize=1)
def glyph_atlas() -> GlyphAtlas:
    """The atlas, drawn with Pillow on first use: about a second, once in a process.

    Raises:
        FileNotFoundError: the installed matplotlib lacks one of FONTS.
    """
    from PIL import ImageFont

    paths = _font_paths()
    cells = np.zeros((len(paths), len(CHARACTERS), CELL, CELL), dtype=np.uint8)
    extents = np.zeros((len(paths), len(CHARACTERS), 2), dtype=np.float32)
    for i, path in enumerate(paths):
        # Layout.BASIC: the same pixels whether or not the Raqm library is installed
        font = ImageFont.truetype(str(path), _POINT_SIZE, layout_engine=ImageFont.Layout.BASIC)
        for j, character in enumerate(CHARACTERS):
            cells[i, j], extents[i, j] = _draw(font, character)
    return GlyphAtlas(torch.from_numpy(cells), torch.from_numpy(extents))


def _font_paths() -> list[Path]:
    import matplotlib  # here, because only glyphs need it

    folder = Path(matplotlib.get_data_path()) / "fonts" / "ttf"
    paths = [folder / f"{font}.ttf" for font in FONTS]
    missing = [path.name for path in paths if not path.is_file()]
    if missing:
        raise FileNotFoundError(f"{folder} lacks {', '.join(missing)}, which matplotlib ships; install matplotlib anew")
    return paths


def _draw(font: Any, character: str) -> tuple[np.ndarray, tuple[float, float]]:
    """One character cut out at its ink, shrunk to INK pixels and pasted into the middle of a cell."""
    from PIL import Image, ImageDraw

    canvas = Image.new("L", (3 * _POINT_SIZE, 3 * _POINT_SIZE))
    ImageDraw.Draw(canvas).text((_POINT_SIZE, _POINT_SIZE), character, fill=255, font=font)
    ink = canvas.crop(canvas.getbbox())
    longer = max(ink.size)
    width, height = (max(1, round(side * INK / longer)) for side in ink.size)
    cell = Image.new("L", (CELL, CELL))
    cell.paste(ink.resize((width, height), Image.Resampling.BOX), ((CELL - width) // 2, (CELL - height) // 2))
    return np.asarray(cell), (width / INK, height / INK)
