"""Digits drawn by hand, brought into the form of scikit-learn's digits: 8 x 8 pixels, each a count of dark dots.

Those digits were made from 32 x 32 black and white bitmaps, which NIST's programs had cut out, scaled and given strokes
of one thickness; each pixel is the number of dark dots, 0 to 16, in a block of 4 x 4 (E. Alpaydin and C. Kaynak,
Optical Recognition of Handwritten Digits, UCI Machine Learning Repository, 1998). Here, pen strokes are treated alike.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from metarules.tasks.dataset import Dataset

SIDE, BLOCK = 32, 4  # dots of the bitmap's side, and of a block's
# What follows was read off the 1797 digits: all fill the height, most are 20 to 24 dots wide, and the share of dark
# dots is 0.31 for every class, thick "1" and looped "8" alike: their strokes had been made thicker or thinner for it.
_WIDTHS = (20.0, 24.0)
_DARK = 0.305
_WIDEN = 1.5  # at most: a "1" that is a mere line stays narrow
_PENS = (0.8, 6.0)  # radius of the pen in dots, thinnest and thickest
_MOST_POINTS = 400  # of a drawing: more would only take longer
_HALVINGS = 12  # of the range of pens: to a thousandth of a dot

# Drawings to begin with: points (x, y) in shares of the sheet's side, a list for each time the pen is put down.
EXAMPLES: dict[int, list[list[list[float]]]] = {
    7: [[[0.28, 0.2], [0.72, 0.18], [0.55, 0.5], [0.44, 0.87]]],
    4: [[[0.5, 0.15], [0.28, 0.58], [0.75, 0.58]], [[0.62, 0.4], [0.6, 0.87]]],
    2: [[[0.3, 0.33], [0.35, 0.22], [0.5, 0.17], [0.66, 0.24], [0.68, 0.4], [0.55, 0.58], [0.32, 0.83], [0.74, 0.82]]],
    1: [[[0.4, 0.3], [0.53, 0.17], [0.5, 0.85]]],
}


def check_strokes(strokes: Any) -> list[np.ndarray]:
    """Strokes as arrays of points [k, 2] = (x to the right, y downwards), one for each time the pen was put down.

    Raises:
        ValueError: no points, or something else than finite pairs.
    """
    try:
        lines = [np.asarray(stroke, dtype=np.float64) for stroke in strokes]
    except (TypeError, ValueError):
        raise ValueError(f"strokes is {strokes!r:.80}; allowed: lists of points (x, y)") from None
    lines = [line for line in lines if line.size]
    if not lines:
        raise ValueError("strokes holds no points; allowed: at least one, so draw something")
    for i, line in enumerate(lines):
        if line.ndim != 2 or line.shape[1] != 2 or not np.isfinite(line).all():
            raise ValueError(f"strokes[{i}] has shape {list(line.shape)}; allowed: finite points [k, 2]")
    return lines


def draw_bitmap(strokes: Any) -> Tensor:
    """Draw strokes as NIST's programs would have cut and scaled them.

    The drawing fills the height; its width is brought to 20 to 24 dots where that takes no more than half as much
    again; it stands in the middle; the pen is as thick as makes 31 % of the dots dark, within 0.8 to 6 dots of radius.

    Args:
        strokes: points (x, y) in any unit, y downwards, in one list for each time the pen was put down.

    Returns:
        [32, 32], bool, True where it is dark.

    Raises:
        ValueError: as `check_strokes`.
    """
    lines = check_strokes(strokes)
    thin, thick = _PENS
    for _ in range(_HALVINGS):
        middle = (thin + thick) / 2
        if _inked(lines, middle).mean() < _DARK:
            thin = middle
        else:
            thick = middle
    return torch.from_numpy(_inked(lines, thick))


def bitmap_to_digit(bitmap: Tensor) -> Tensor:
    """Count the dark dots of each block of 4 x 4, and divide by 16.

    Args:
        bitmap: [32, 32], bool.

    Returns:
        A row like those of `load_dataset("digits")`: [64], float32, in [0, 1].

    Raises:
        ValueError: another shape or dtype.
    """
    if tuple(bitmap.shape) != (SIDE, SIDE) or bitmap.dtype != torch.bool:
        raise ValueError(f"bitmap has shape {list(bitmap.shape)}, {bitmap.dtype}; allowed: [32, 32], torch.bool")
    blocks = bitmap.unflatten(0, (-1, BLOCK)).unflatten(2, (-1, BLOCK))
    return blocks.sum((1, 3)).flatten().float() / BLOCK**2


def drawn_digit(strokes: Any) -> Tensor:
    """Strokes as a row like those of `load_dataset("digits")`: [64], float32, in [0, 1].

    Raises:
        ValueError: as `check_strokes`.
    """
    return bitmap_to_digit(draw_bitmap(strokes))


def drawn_dataset(rows: Sequence[Tensor], labels: Sequence[int], digits: Dataset | None = None) -> Dataset:
    """A data set of drawings, or the digits with drawings added at their end.

    Args:
        rows: k rows [64], see `drawn_digit`.
        labels: what each of them is, 0 .. 9.
        digits: the set to add them to; None makes a set of their own, of ten classes some of which may be empty.

    Raises:
        ValueError: no drawings, another number of labels, labels that are no digits.
    """
    if not len(rows) or len(rows) != len(labels):
        raise ValueError(f"rows holds {len(rows)} drawings; allowed: one for each label ({len(labels)})")
    x, y = torch.stack(list(rows)), torch.tensor(list(labels), dtype=torch.int64)
    if digits is None:
        return Dataset("my drawings", x, y, (8, 8), tuple("0123456789"))
    name = f"{digits.name} and my {len(rows)}"
    return Dataset(name, torch.cat([digits.x, x]), torch.cat([digits.y, y]), digits.shape, digits.class_names)


def _inked(lines: list[np.ndarray], pen: float) -> np.ndarray:
    """The bitmap drawn with a pen of this radius: dots whose centres are no farther from a line than that."""
    placed = _placed(lines, SIDE - 2 * pen, _WIDTHS[0] - 2 * pen, _WIDTHS[1] - 2 * pen)
    starts = np.concatenate([line[:-1] if len(line) > 1 else line for line in placed])
    ends = np.concatenate([line[1:] if len(line) > 1 else line for line in placed])
    dots = np.stack(np.meshgrid(*[np.arange(SIDE) + 0.5] * 2, indexing="xy"), -1).reshape(-1, 1, 2)
    along = ends - starts
    length = np.maximum((along**2).sum(-1), 1e-12)
    share = (((dots - starts) * along).sum(-1) / length).clip(0.0, 1.0)  # of the way to the nearest point of a segment
    distance = np.sqrt(((dots - starts - share[..., None] * along) ** 2).sum(-1).min(-1))
    return (distance <= pen).reshape(SIDE, SIDE)


def _placed(lines: list[np.ndarray], height: float, narrow: float, wide: float) -> list[np.ndarray]:
    """The lines scaled to this height, and to a width between the two if that takes no great stretch; in the middle."""
    points = np.concatenate(lines)
    low, high = points.min(0), points.max(0)
    width_0, height_0 = np.maximum(high - low, 1e-9)
    up = min(height / height_0, _WIDEN * wide / width_0)
    across = min(max(up, narrow / width_0), _WIDEN * up, wide / width_0)
    keep = -(-len(points) // _MOST_POINTS)
    thinned = [np.concatenate([line[:-1:keep], line[-1:]]) for line in lines]
    return [(line - (low + high) / 2) * [across, up] + SIDE / 2 for line in thinned]
