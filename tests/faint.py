"""Words of a picture that stand out too little from what is painted behind them; works in a lesson's kernel as well."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import to_rgba
from matplotlib.figure import Figure
from matplotlib.text import Text

READABLE = 4.5  # WCAG 2, level AA
CROSSED = 0.2  # share of the ground behind a word that a line or a dot may cross


def luminances(rgb: np.ndarray) -> np.ndarray:
    """WCAG 2's relative luminance of colours [n, 3] in [0, 1]."""
    return np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4) @ [0.2126, 0.7152, 0.0722]


def faint_words(figure: Figure) -> list[tuple[str, float]]:
    """Words of a Figure that stand out too little from most of what is really painted behind them; their contrast."""
    texts = [t for t in figure.findobj(Text) if t.get_visible() and any(map(str.isalnum, t.get_text()))]
    figure.canvas.draw()  # places everything
    renderer = figure.canvas.get_renderer()
    hidden = hidden_ticks(figure)
    places = [(t, t.get_window_extent(renderer)) for t in texts if t not in hidden]
    for text in texts:
        text.set_visible(False)
    figure.canvas.draw()
    paint = np.asarray(figure.canvas.buffer_rgba())[..., :3]
    for text in texts:
        text.set_visible(True)
    found = []
    for text, box in places:
        rows = slice(max(int(len(paint) - box.y1), 0), max(int(np.ceil(len(paint) - box.y0)), 0))
        ground = paint[rows, max(int(box.x0), 0) : max(int(np.ceil(box.x1)), 0)].reshape(-1, 3)
        *ink, alpha = to_rgba(text.get_color(), text.get_alpha())
        if (badge := text.get_bbox_patch()) is not None and badge.get_facecolor()[3] == 1:  # hidden with its word
            ground = np.uint8(np.round(255 * np.array([badge.get_facecolor()[:3]])))
        packed, counts = np.unique(ground @ [1 << 16, 1 << 8, 1], return_counts=True)
        behind = np.stack([packed >> 16, packed >> 8 & 255, packed & 255], -1) / 255
        low, high = np.sort([luminances(alpha * np.array(ink) + (1 - alpha) * behind), luminances(behind)], axis=0)
        ratios = (high + 0.05) / (low + 0.05)
        order = np.argsort(ratios)
        crossed = np.searchsorted(np.cumsum(counts[order]) / counts.sum(), CROSSED)
        ratio = float(ratios[order][crossed])
        if ratio < READABLE:
            found.append((text.get_text(), round(ratio, 2)))
    return found


def hidden_ticks(figure: Figure) -> set[Text]:
    """Labels of ticks that lie outside the limits of their axis, or on an axis that is switched off."""
    found: set[Text] = set()
    for axes in figure.findobj(Axes):
        for axis, limits in ((axes.xaxis, axes.get_xlim()), (axes.yaxis, axes.get_ylim())):
            for tick in axis.get_major_ticks():
                if not axes.axison or not min(limits) <= tick.get_loc() <= max(limits):
                    found |= {tick.label1, tick.label2}
    return found
