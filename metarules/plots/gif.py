"""A film as an animated GIF, for slides and web pages."""

from __future__ import annotations

import io
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from PIL import Image

from metarules._checks import check_number
from metarules._files import write_atomically
from metarules.plots.film import Film

_COLOURS = 128  # of one palette for all frames: text and curves stay crisp, and the file small

_PAPER = 246  # grey levels from here on are paper


def save_gif(
    film: Film,
    path: str | os.PathLike[str],
    *,
    frames: Sequence[int] | None = None,
    milliseconds: int = 120,
    pause: int = 1500,
) -> Path:
    """Write any film as a GIF that plays for ever; the same film gives the same bytes.

    Args:
        film: see `plots.Film`.
        path: the file to write, ending in .gif; missing folders are made, an older file is replaced in one piece.
        frames: numbers of the frames, in the order in which they play; all by default.
        milliseconds: how long each is shown, 20 .. 10,000 (GIF counts in hundredths of a second).
        pause: how long the last is shown, in milliseconds.

    Returns:
        The path.

    Raises:
        ValueError: a name that does not end in .gif, no frames, or a number out of range.
        OSError: the folder cannot be written; an older file is then as it was.
    """
    target = Path(path)
    if target.suffix.lower() != ".gif":
        raise ValueError(f"path is {target.name!r}; allowed: a name ending in .gif")
    check_number("milliseconds", milliseconds, low=20, high=10_000, integer=True)
    check_number("pause", pause, low=20, high=60_000, integer=True)
    chosen: list[Any] = list(range(film.frames)) if frames is None else list(frames)
    if not chosen:
        raise ValueError("frames is empty; allowed: at least one frame")
    images = [Image.open(io.BytesIO(film.png(frame))).convert("RGB") for frame in chosen]
    palette = _palette([images[0], images[len(images) // 2], images[-1]])
    flat = [image.quantize(palette=palette, dither=Image.Dither.NONE) for image in images]
    buffer = io.BytesIO()
    durations = [milliseconds] * (len(flat) - 1) + [pause]
    duration = durations if len(flat) > 1 else pause
    flat[0].save(buffer, format="gif", save_all=True, append_images=flat[1:], duration=duration, loop=0, disposal=1)
    write_atomically(target, buffer.getvalue())
    return target


def _palette(images: Sequence[Image.Image]) -> Image.Image:
    """An image whose palette suits all of these, pure white among its colours: the paper must not turn grey."""
    width, height = images[0].size
    sheet = Image.new("RGB", (width, height * len(images)))
    for i, image in enumerate(images):
        sheet.paste(image, (0, i * height))
    reduced = sheet.quantize(_COLOURS, dither=Image.Dither.NONE)
    colours = reduced.getpalette() or []
    for i in range(0, len(colours), 3):
        if min(colours[i : i + 3]) >= _PAPER:  # Pillow looks colours up coarsely, and takes any of these for white
            colours[i : i + 3] = [255, 255, 255]
    reduced.putpalette(colours)
    return reduced
