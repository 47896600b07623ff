"""A sheet of paper to draw on, and a drawing as the few grey pixels that a network gets of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import anywidget
import numpy as np
import traitlets

from metarules.plots.style import SHARP, pixels_to_png

SIDE = 200  # CSS pixels of the sheet (the same in canvas.js), and of the picture of what is seen of it
_LINE = 208  # grey of the lines between pixels
_HOW = "Draw a digit here with the mouse or a finger; with keys, arrows move the pen, Space puts it down and lifts it"


class Canvas(anywidget.AnyWidget):
    """A sheet to draw on with mouse, pen, finger or keys.

    Traits:
        strokes: one list of points [x, y] for each time the pen was put down, in shares of the side, y downwards.
        label: what it is for, for readers who do not see it.
    """

    _css = """
.metarules-canvas canvas:focus-visible { outline: 2px solid var(--jp-ui-font-color0); outline-offset: 2px }
.metarules-pad-fold .jupyter-widget-Collapse-header { color: var(--jp-ui-font-color0) !important; }
"""
    _esm = Path(__file__).with_name("canvas.js").read_text(encoding="utf-8")
    strokes: Any = traitlets.List().tag(sync=True)
    label = traitlets.Unicode(_HOW).tag(sync=True)

    def __repr__(self) -> str:
        return "Canvas()"


def digit_png(pixels: np.ndarray) -> bytes:
    """PNG of a digit [8, 8], 0 white and 1 black, for 200 CSS pixels.

    Args:
        pixels: values in [0, 1].
    """
    side = round(SIDE * SHARP)
    grey = np.round(255 * (1 - np.clip(pixels, 0.0, 1.0))).astype(np.uint8)
    places = np.arange(side) * len(grey) // side
    large = grey[places][:, places]
    edges = np.append(np.flatnonzero(np.diff(places, prepend=-1)), side - 1)  # faint lines, so that blanks are seen
    large[edges] = np.minimum(large[edges], _LINE)
    large[:, edges] = np.minimum(large[:, edges], _LINE)
    return pixels_to_png(np.repeat(large[..., None], 3, -1))
