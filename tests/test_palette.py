"""What pictures look like to all readers: words that cannot be read are found, colour scales keep their order.

That classes, and W, V and theta, stay apart under colour blindness is in test_plots.py; that every word in a lesson's
pictures can be read, in tests/browser/lesson.py.
"""

from __future__ import annotations

from pathlib import Path

import matplotlib
import numpy as np
import pytest
from faint import faint_words
from matplotlib.colors import to_hex
from matplotlib.patches import Rectangle
from test_plots import VISIONS, ciede2000, lab, linear

from metarules.plots import diversity, neuron_films, style

LESSONS = sorted((Path(__file__).parents[1] / "notebooks").glob("[0-9]*.ipynb"))
APART = 16  # CIEDE2000 units, as for the classes in test_plots.py


# ---- words


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
