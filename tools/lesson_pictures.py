"""Small pictures of every lesson and its widget, for the README, out of what a browser run kept.

    METARULES_SCREENSHOTS=shots make test-slow
    python tools/lesson_pictures.py shots figures/lessons

Each lesson gives three: how its page begins, and its widget in JupyterLab's light and dark theme. The pictures are of a
real page in a real browser; this only crops, shrinks and keeps 128 colours, so that all of them stay small.
"""

from __future__ import annotations

import argparse
import io
import sys
from pathlib import Path

from PIL import Image, ImageChops

ROOT = Path(__file__).resolve().parents[1]
PAGE = (760, 640)  # of the picture of a page, in pixels: the head of the lesson
WIDGET_WIDTH = 760
COLOURS = 128
KINDS = {"": ("light", "light-0"), "-widget": ("widget-light",), "-widget-dark": ("widget-dark",)}


def main(words: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Shrink a browser run's screenshots of the lessons.")
    parser.add_argument("shots", type=Path, help="folder that METARULES_SCREENSHOTS named")
    parser.add_argument("out", type=Path, help="folder for the small pictures")
    given = parser.parse_args(words)
    lessons = sorted(path.stem for path in (ROOT / "notebooks").glob("[0-9][0-9]_*.ipynb"))
    missing = [f"{lesson}{kind}" for lesson in lessons for kind in KINDS if found(given.shots, lesson, kind) is None]
    if missing:
        print(f"shots is {given.shots.name!r}, which lacks {', '.join(missing)}", file=sys.stderr)
        return 2
    given.out.mkdir(parents=True, exist_ok=True)
    for lesson in lessons:
        for kind in KINDS:
            path = found(given.shots, lesson, kind)
            assert path is not None
            small = shrunk(Image.open(path), page=not kind)
            (given.out / f"{lesson}{kind}.png").write_bytes(small)
            print(f"{lesson}{kind}.png: {len(small) // 1000} kB")
    return 0


def found(shots: Path, lesson: str, kind: str) -> Path | None:
    """The screenshot of one kind: the whole page, in pieces if it is long, or the widget alone."""
    candidates = [shots / f"{lesson}-{name}.png" for name in KINDS[kind]]
    return next((path for path in candidates if path.is_file()), None)


def shrunk(picture: Image.Image, *, page: bool) -> bytes:
    """The picture as a small PNG; of a page, its beginning."""
    picture = picture.convert("RGB")
    if not page:
        picture = without_margin(picture)
    width = PAGE[0] if page else min(WIDGET_WIDTH, picture.width)
    height = round(picture.height * width / picture.width)
    picture = picture.resize((width, height), Image.Resampling.LANCZOS)
    if page:
        picture = picture.crop((0, 0, width, min(height, PAGE[1])))
    file = io.BytesIO()
    picture.quantize(COLOURS, dither=Image.Dither.NONE).save(file, "PNG", optimize=True)
    return file.getvalue()


def without_margin(picture: Image.Image) -> Image.Image:
    """Cut off what is one colour on the right: the page is wider than the widget."""
    ground = Image.new("RGB", picture.size, picture.getpixel((picture.width - 1, picture.height // 2)))
    box = ImageChops.difference(picture, ground).getbbox()
    return picture.crop((0, 0, box[2], picture.height)) if box else picture


if __name__ == "__main__":
    sys.exit(main())
