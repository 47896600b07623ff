"""Colours, sizes and small helpers all pictures share, so that they look like one set and stay legible to everybody.

Pictures are object-oriented matplotlib Figures on the Agg canvas, never pyplot: a widget's callbacks may run on another
thread, and pyplot's hidden "current figure" is shared between threads.
"""

from __future__ import annotations

import io
import math
import struct
import zlib
from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import is_color_like, to_rgb
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.text import Text

from metarules._checks import check_number, shown

# Ten classes. Found by a random search that kept every pair at least 16 CIEDE2000 units apart for normal vision and for
# simulated deuteranopia and protanopia alike (tab10 manages 1, Okabe and Ito's eight 11), and off the white ground.
CLASS_COLOURS = (
    "#227cfa",  # azure
    "#840427",  # dark red
    "#a4a009",  # olive
    "#14ad9f",  # teal
    "#f54f82",  # pink
    "#1306f2",  # blue
    "#8aed89",  # mint
    "#a05a2b",  # brown
    "#d5afff",  # lilac
    "#4d4a60",  # slate
)
CLASS_MARKERS = ("o", "^", "s", "D", "v", "P")  # the next ten classes take the colours again with the next marker

FORWARD = "#0072b2"  # W, the way up: Okabe and Ito's blue
BACKWARD = "#b54800"  # V, the way down: their vermilion, darkened until it can be text
OUTER = "#5b1a6b"  # the outer loop, theta: a purple dark enough not to be taken for the blue
INK = "#1f2328"  # text
MUTED = "#57606a"  # text that stands back, still 6 to 1 on white
FAINT = "#d0d7de"  # grid lines, frames
PAPER = "#ffffff"

# Points. At 100 dots per inch a point is 1.39 pixels, so that 9.5 is the 13 pixels of JupyterLab's own controls.
CORNER, TITLE, TEXT, SMALL = 12.0, 10.5, 9.5, 8.5
DPI = 100  # one hundredth of an inch is one CSS pixel
PANEL = (4.5, 3.3)  # inches; two panels stand side by side in the 920 pixels JupyterLab leaves a notebook on a laptop
DIVERGING = "RdBu_r"  # blue below 0, white, red above: safe for red-green blindness
SHARP = (
    1.5  # a PNG has this many pixels for each CSS pixel: crisp on laptop screens, and a third faster to redraw than 2
)


def class_colour(number: int) -> str:
    """Colour of class 0, 1, 2, ..; the tenth class starts again, with another `class_marker`."""
    return CLASS_COLOURS[number % len(CLASS_COLOURS)]


def class_marker(number: int) -> str:
    """matplotlib marker of class 0, 1, 2, .."""
    return CLASS_MARKERS[number // len(CLASS_COLOURS) % len(CLASS_MARKERS)]


def luminance(colour: str) -> float:
    """Relative luminance of a colour in [0, 1], as WCAG 2 defines it."""
    rgb = np.array(to_rgb(colour))
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    return float(linear @ [0.2126, 0.7152, 0.0722])


def contrast(one: str, other: str) -> float:
    """Contrast ratio of two colours, 1 to 21, as WCAG 2 defines it; text wants 4.5."""
    for name, colour in {"one": one, "other": other}.items():
        if not is_color_like(colour):
            raise ValueError(f"{name} is {shown(colour)}; allowed: a colour such as '#b54800'")
    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


def text_on(ground: str) -> str:
    """Black or white, whichever reads better on this ground: 4.5 to 1 at least, whatever the ground."""
    return max(("#000000", PAPER), key=lambda colour: contrast(colour, ground))


def new_figure(width: float, height: float) -> Figure:
    """An empty Figure of width x height inches, white, on its own Agg canvas."""
    figure = Figure(figsize=(width, height), dpi=DPI, facecolor=PAPER)
    FigureCanvasAgg(figure)
    return figure


def panel_figure(title: str, subtitle: str) -> tuple[Figure, Text]:
    """A Figure of one panel's size: a heading, a quieter line below it, and in the corner what changes with the step.

    Returns:
        The Figure and the Text in its upper right corner, still empty.
    """
    figure = new_figure(*PANEL)
    width, height = PANEL
    put_text(figure, 0.1, height - 0.09, title, size=TITLE, weight="bold", va="top")
    put_text(figure, 0.1, height - 0.33, subtitle, size=SMALL, color=MUTED, va="top")
    return figure, put_text(figure, width - 0.1, height - 0.07, "", size=CORNER, weight="bold", ha="right", va="top")


def put_text(figure: Figure, x: float, y: float, text: str, *, size: float = TEXT, **style: Any) -> Text:
    """Write on a Figure, x and y in inches from its lower left corner; returns the Text."""
    width, height = figure.get_size_inches()
    return figure.text(x / width, y / height, text, fontsize=size, **{"color": INK, **style})


def axes_at(figure: Figure, left: float, bottom: float, width: float, height: float) -> Axes:
    """Axes at a place given in inches: layouts stay put, whatever is drawn in them."""
    w, h = figure.get_size_inches()
    return figure.add_axes((left / w, bottom / h, width / w, height / h))


def bare(axes: Axes, frame: bool = True) -> Axes:
    """Take ticks away; leave a faint frame, or none."""
    axes.set_xticks([])
    axes.set_yticks([])
    for spine in axes.spines.values():
        spine.set_visible(frame)
        spine.set_color(FAINT)
    return axes


def quiet_axes(axes: Axes, x: str, y: str = "") -> Axes:
    """Axes for curves: labels, a faint grid, no box."""
    axes.set_xlabel(x, fontsize=TEXT, color=INK, labelpad=2)
    axes.set_ylabel(y, fontsize=TEXT, color=INK)
    axes.tick_params(labelsize=SMALL, colors=MUTED, length=3)
    axes.grid(True, color=FAINT, linewidth=0.6)
    axes.set_axisbelow(True)
    for name, spine in axes.spines.items():
        spine.set_visible(name in ("left", "bottom"))
        spine.set_color(FAINT)
    return axes


def figure_to_png(figure: Figure, scale: float = SHARP) -> bytes:
    """Draw a Figure into PNG bytes; the same Figure gives the same bytes, with no date or version in them.

    Args:
        figure: any Figure.
        scale: pixels for each CSS pixel (a hundredth of an inch).
    """
    check_number("scale", scale, low=0.1, high=20)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=DPI * scale, metadata={"Software": None})
    return buffer.getvalue()


def pixels_to_png(pixels: np.ndarray) -> bytes:
    """PNG bytes of an image [height, width, 3 or 4], uint8; transparency is dropped.

    Written by hand, since every row may then use the same filter, the difference from the row above: 4 to 5 ms for a
    panel, where Pillow takes 8 to 15 at its fastest setting, and as small. A frame being played has four panels.
    """
    height, width = pixels.shape[:2]
    rgb = np.empty((height, width, 3), dtype=np.uint8)
    for channel in range(3):  # five times as fast as all three at once
        rgb[..., channel] = pixels[..., channel]
    rows = rgb.reshape(height, 3 * width)
    lines = np.empty((height, 1 + 3 * width), dtype=np.uint8)
    lines[:, 0] = 2  # PNG's filter "up"
    lines[0, 1:] = rows[0]
    np.subtract(rows[1:], rows[:-1], out=lines[1:, 1:])
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)  # 8 bits, RGB, not interlaced
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(lines.data, 1)), (b"IEND", b""))
    body = (struct.pack(">I", len(d)) + n + d + struct.pack(">I", zlib.crc32(n + d)) for n, d in chunks)
    return b"\x89PNG\r\n\x1a\n" + b"".join(body)


def apart(
    wanted: Sequence[float], gap: float | Sequence[float], low: float = -math.inf, high: float = math.inf
) -> list[float]:
    """Move the labels of a margin until none runs into the next; their order stays.

    Args:
        wanted: where they would be best, from the lowest up.
        gap: least distance from each to the next; one for all, or one for each.
        low, high: the first is never below `low`; the last is above `high` only if there are too many labels.

    Returns:
        Where to put them.
    """
    gaps = np.broadcast_to(gap, len(wanted))
    places: list[float] = []
    for i, place in enumerate(wanted):
        places.append(max(min(place, high - float(gaps[i:-1].sum())), low))
        low = places[-1] + float(gaps[i])
    return places


def spread(points: np.ndarray, least: float, rounds: int = 60, fixed: np.ndarray | None = None) -> np.ndarray:
    """Push labels apart until no two are nearer than `least`, or the rounds are over. Deterministic.

    Args:
        points: where the labels would like to be, [k, 2].
        least: smallest distance wanted.
        rounds: how often every pair that is too near is pushed apart.
        fixed: places that stay [m, 2], from which the labels are pushed away as well.

    Returns:
        Where to put them, [k, 2].
    """
    moved = np.array(points, dtype=float)
    angles = np.arange(len(moved))
    moved += 1e-6 * least * np.stack([np.cos(angles), np.sin(angles)], -1)  # two at one place need a direction
    for _ in range(rounds):
        gap = moved[:, None] - moved[None]
        distance = np.linalg.norm(gap, axis=-1) + np.eye(len(moved))
        push = np.clip(least * 1.01 - distance, 0, None) * (1 - np.eye(len(moved)))
        shift = 0.5 * ((push / np.maximum(distance, 1e-12))[..., None] * gap).sum(1)
        if fixed is not None:
            gap = moved[:, None] - fixed[None]
            distance = np.maximum(np.linalg.norm(gap, axis=-1, keepdims=True), 1e-12)
            shift += (np.clip(least * 1.01 - distance, 0, None) / distance * gap).sum(1)
        if not shift.any():
            break
        moved += shift
    return moved


def dots(axes: Axes, points: np.ndarray, size: float, colour: str, marker: str = "o") -> Line2D:
    """Dots that move: what `Axes.scatter` draws, in a third of its time; `Line2D.set_data(*points.T)` moves them.

    Args:
        axes: where.
        points: [n, 2].
        size: area in square points, as for `Axes.scatter`.
        colour, marker: of all of them.
    """
    return axes.plot(*points.T, linestyle="", marker=marker, markersize=math.sqrt(size), color=colour, mew=0)[0]


def on_pixels(axes: Axes, points: np.ndarray) -> np.ndarray:
    """The points [n, 2] of the axes' data nearest to these that lie on whole pixels of a film's frame."""
    grid = axes.transData.transform(points) * (DPI * SHARP / axes.figure.dpi)
    return axes.transData.inverted().transform(np.round(grid) / (DPI * SHARP / axes.figure.dpi))


def superscript(number: int) -> str:
    """A whole number from 0 as superscript letters: 3 -> ³. Plain text draws ten times faster than mathtext."""
    return str(number).translate(str.maketrans("0123456789", "⁰¹²³⁴⁵⁶⁷⁸⁹"))


def step_axis(axes: Axes, steps: Sequence[int]) -> tuple[Axes, tuple[int, ...]]:
    """Make x an axis of inner steps: a little room on both sides, so that marks at the ends are not cut.

    Where the steps lie denser at the start (`studies.trajectory.early_steps`) it is a scale of square roots.

    Args:
        axes: where.
        steps: of the frames, rising.

    Returns:
        Both, for `Film.step_axes`.
    """
    steps, span = tuple(steps), max(steps[-1] - steps[0], 1)
    if steps[0] != 0 or len(steps) < 4 or 2 * (steps[1] - steps[0]) > steps[-2] - steps[-3]:
        axes.set_xlim(steps[0] - 0.03 * span, steps[-1] + 0.03 * span)
        return axes, steps
    axes.set_xscale("function", functions=(_root, _square))
    end = 1.03**2 * span
    ticks = [0]
    for tick in (t * 10**power for power in range(6) for t in (1, 2, 5)):
        if tick <= span and math.sqrt(tick) - math.sqrt(ticks[-1]) >= 0.14 * math.sqrt(span):
            ticks.append(tick)
    axes.set(xlim=(-end * 0.03**2, end), xticks=ticks, xticklabels=[f"{tick:,}" for tick in ticks])
    axes.minorticks_off()
    axes.set_xlabel(f"{axes.get_xlabel()} (wider at the start)")
    return axes, steps


def _root(x: np.ndarray) -> np.ndarray:
    return np.sign(x) * np.sqrt(np.abs(x))


def _square(x: np.ndarray) -> np.ndarray:
    return np.sign(x) * np.square(x)
