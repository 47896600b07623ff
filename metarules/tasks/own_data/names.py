"""What file names tell: which files are images, and which class an image belongs to."""

from __future__ import annotations

import re
from pathlib import PurePath

from metarules.tasks.own_data.asked import MAX_NUMBERS

IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".gif", ".bmp", ".webp", ".tif", ".tiff")
MAX_IMAGES = 20_000
_NUMBER_AT_END = re.compile(r"[\s_.-]*\(?\d+\)?$")
_YEAR = r"(19|20)\d\d"
_MONTH = (
    "(?<![a-z])(jan(uary)?|feb(ruary)?|mar(ch)?|apr(il)?|may|june?|july?|aug(ust)?"
    "|sept?(ember)?|oct(ober)?|nov(ember)?|dec(ember)?)(?![a-z])"
)
_DATE = re.compile(  # or another number that cameras and telephones make names of
    rf"\d{{6}}|{_YEAR}[\W_]?\d\d|{_YEAR}[\W_]*{_MONTH}|{_MONTH}[\W_]*(\d\d?[\W_]+)?{_YEAR}", re.IGNORECASE
)
_DAY_FIRST = re.compile(r"(?<!\d)(\d{1,2}[\W_]\d{1,2}[\W_](19|20)?\d\d|\d\d[\W_]\d{1,2}[\W_]\d{1,2})(?!\d)")
_CAMERAS = {
    "img",
    "dsc",
    "dscn",
    "dscf",
    "pxl",
    "mvi",
    "image",
    "screenshot",
    "dji",
    "gopr",
    "cimg",
    "imgp",
    "sam",
    "fb_img",
    "photo",
    "picture",
    "scan",
}


def is_image(name: str) -> bool:
    """Whether a file is an image by its name; hidden files, such as those some systems strew about, are not."""
    path = PurePath(name)
    return path.suffix.lower() in IMAGE_SUFFIXES and not path.name.startswith(".")


def class_of(path: str) -> str:
    """The class of an image: the folder it lies in, or else its file name without the number at its end.

    Raises:
        ValueError: a name that is a number alone, or one that cameras give.
    """
    parts = PurePath(path).parts
    if len(parts) > 1:
        return parts[-2]
    stem = PurePath(path).stem
    found = _NUMBER_AT_END.sub("", stem)
    dated = _DATE.search(found) or _DAY_FIRST.search(stem)
    if not found or dated or found.lower().strip("_-. ") in _CAMERAS:
        raise ValueError(
            f"{path} has no class in its name; allowed: class and number, such as cat_12.png or 7-003.png, or a folder "
            "for each class; label=False reads images without labels"
        )
    return found


def check_numbers(name: str, rows: int, each: int) -> None:
    """Refuse more numbers than memory and patience hold.

    Raises:
        ValueError: saying how many examples would do.
    """
    if rows * each > MAX_NUMBERS:
        most = MAX_NUMBERS // each
        raise ValueError(f"{name} holds {rows} examples of {each} numbers; allowed: up to {most} examples of this size")


def check_count(name: str, n: int) -> None:
    """Refuse a folder without images, or with too many.

    Raises:
        ValueError: saying which.
    """
    if n == 0:
        raise ValueError(f"{name} holds no images; allowed: one sub-folder per class, with {', '.join(IMAGE_SUFFIXES)}")
    if n > MAX_IMAGES:
        raise ValueError(f"{name} holds more than {MAX_IMAGES} images; allowed: up to {MAX_IMAGES}")
