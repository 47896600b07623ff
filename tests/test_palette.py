"""What the lessons' pictures look like to all readers: every word can be read, colour scales keep their order.

That classes, and W, V and theta, stay apart under colour blindness is in test_plots.py.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import matplotlib
import nbformat
import numpy as np
import pytest
import torch
from matplotlib.colors import to_hex, to_rgba
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.text import Text
from test_plots import VISIONS, ciede2000, hidden_ticks, lab, linear

from metarules.plots import diversity, neuron_films, style

LESSONS = sorted((Path(__file__).parents[1] / "notebooks").glob("[0-9]*.ipynb"))
READABLE = 4.5  # WCAG 2, level AA
APART = 16  # CIEDE2000 units, as for the classes in test_plots.py
CROSSED = 0.2  # share of the ground behind a word that a line or a dot may cross


# ---- words


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


@pytest.fixture
def figures(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Figure]]:
    """All Figures made while the test runs."""
    made: list[Figure] = []
    make = Figure.__init__

    def noted(self: Figure, *args: object, **options: object) -> None:
        make(self, *args, **options)
        made.append(self)

    monkeypatch.setattr(Figure, "__init__", noted)
    yield made


def test_faint_words_are_found():
    figure = style.new_figure(4, 2)
    style.put_text(figure, 0.2, 1.5, "ink")
    style.put_text(figure, 1.2, 1.5, "4.48", color="#777777")
    style.put_text(figure, 2.2, 1.5, "thin", alpha=0.4)
    style.put_text(figure, 2.8, 1.5, "paper on paper", color=style.PAPER)
    figure.add_artist(Rectangle((0, 0), 1, 0.5, color=style.INK))
    style.put_text(figure, 0.2, 0.3, "ink on ink")
    style.put_text(figure, 0.2, 0.1, "paper on ink", color=style.PAPER)
    style.put_text(figure, 2.5, 0.3, "badge", color=style.PAPER, bbox={"facecolor": style.BACKWARD})
    style.put_text(figure, 3.2, 0.3, "faint badge", color=style.PAPER, bbox={"facecolor": style.FAINT})
    faint = {words for words, _ in faint_words(figure)}
    assert faint == {"4.48", "thin", "paper on paper", "ink on ink", "faint badge"}


@pytest.mark.slow
@pytest.mark.parametrize("lesson", LESSONS, ids=lambda path: path.stem)
def test_every_word_in_a_lessons_pictures_can_be_read(
    lesson: Path, figures: list[Figure], monkeypatch: pytest.MonkeyPatch
):
    """All its figures, and the panels of its widgets as they stand at the end of the lesson."""
    monkeypatch.chdir(lesson.parent)
    grad = torch.is_grad_enabled()  # a lesson may switch gradients off for all that follows
    names: dict[str, object] = {"__name__": "__main__", "display": lambda *shown: None}
    try:
        for cell in nbformat.read(lesson, as_version=4).cells:
            if cell.cell_type == "code":
                exec(compile(cell.source, lesson.name, "exec"), names)
    finally:
        torch.set_grad_enabled(grad)
    drawn = [figure for figure in figures if figure.axes or figure.texts]
    assert len(drawn) >= 3
    faint = {(words, ratio) for figure in drawn for words, ratio in faint_words(figure)}
    assert not faint


# ---- scales of colour


def scale(name: str, vision: str, n: int = 9) -> np.ndarray:
    """n colours of a colormap, L*a*b* as an eye with this vision sees them."""
    rgb = linear([to_hex(colour) for colour in matplotlib.colormaps[name](np.linspace(0, 1, n))])
    return lab(np.clip(rgb @ np.array(VISIONS[vision]).T, 0, 1))


@pytest.mark.parametrize("vision", VISIONS)
def test_below_zero_and_above_zero_stay_apart(vision: str):
    """The same distance from 0 on both sides: apart, and the darker the farther from 0."""
    seen = scale(style.DIVERGING, vision)
    for i in range(3):
        assert ciede2000(seen[i], seen[-1 - i]) >= APART, i
    lightness = seen[:, 0]
    assert np.all(np.diff(lightness[:5]) > 0) and np.all(np.diff(lightness[4:]) < 0)


@pytest.mark.parametrize("vision", VISIONS)
@pytest.mark.parametrize("name", [diversity._SEQUENTIAL, "Greys"])
def test_more_is_darker_or_lighter_throughout(name: str, vision: str):
    steps = np.diff(scale(name, vision)[:, 0])
    assert np.all(steps > 2) or np.all(steps < -2), steps


@pytest.mark.parametrize("vision", VISIONS)
def test_bars_of_both_signs_stay_apart(vision: str):
    seen = lab(np.clip(linear(neuron_films.signs(np.array([-1.0, 1.0]))) @ np.array(VISIONS[vision]).T, 0, 1))
    assert ciede2000(*seen) >= APART
