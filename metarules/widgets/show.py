"""Show a figure in a notebook with alternative text."""

from __future__ import annotations

from matplotlib.figure import Figure

from metarules.plots.style import DPI, figure_to_png
from metarules.widgets.picture import Picture, compact_png


def show(figure: Figure, alt: str, width: int | None = None) -> Picture:
    """A figure as a picture with alternative text, the last expression of a notebook cell.

    JupyterLab gives the images of ordinary outputs no alternative text; this one has it. It is stored as a PNG besides,
    so that a notebook read without a kernel shows it too.

    Args:
        figure: any matplotlib Figure.
        alt: what the figure shows, in a sentence or two.
        width: CSS pixels; by default the figure's own width, 100 pixels an inch.

    Raises:
        ValueError: alt is empty.
    """
    if not alt.strip():
        raise ValueError("alt is empty; allowed: a sentence that says what the figure shows")
    pixels = round(figure.get_figwidth() * DPI) if width is None else width
    return Picture(value=compact_png(figure_to_png(figure)), alt=alt, width=pixels)
