"""What file names tell: which files are images, and which class an image belongs to."""

from __future__ import annotations

import re
from pathlib import PurePath

IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".gif", ".bmp", ".webp")
SIDE = 16  # pixels images are brought to: four times the digits' 64 inputs, still quick to learn from
MAX_IMAGES = 20_000
_NUMBER_AT_END = re.compile(r"[\s_.-]*\(?\d+\)?$")


def is_image(name: str) -> bool:
    """Whether a file is an image by its name; hidden files, such as those some systems strew about, are not."""
    path = PurePath(name)
    return path.suffix.lower() in IMAGE_SUFFIXES and not path.name.startswith(".")


def class_of(path: str) -> str:
    """The class of an image: the folder it lies in, or else its file name without the number at its end.

    Raises:
        ValueError: a name that is a number alone.
    """
    parts = PurePath(path).parts
    found = parts[-2] if len(parts) > 1 else _NUMBER_AT_END.sub("", PurePath(path).stem)
    if not found:
        raise ValueError(f"{path} has no class in its name; allowed: class and number, such as cat_12.png or 7-003.png")
    return found


def check_count(name: str, n: int) -> None:
    """Refuse a folder without images, or with too many.

    Raises:
        ValueError: saying which.
    """
    if n == 0:
        raise ValueError(f"{name} holds no images; allowed: one sub-folder per class, with {', '.join(IMAGE_SUFFIXES)}")
    if n > MAX_IMAGES:
        raise ValueError(f"{name} holds more than {MAX_IMAGES} images; allowed: up to {MAX_IMAGES}")
