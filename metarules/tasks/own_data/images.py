"""Small images, one per example: made grey, cut to a square in the middle, and brought to one size."""

from __future__ import annotations

import io
import warnings
from collections.abc import Mapping

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from metarules.tasks.own_data.asked import Asked, Raw
from metarules.tasks.own_data.names import check_count, check_numbers, class_of

MAX_PIXELS = 25_000_000  # of one image before it is made small: a large photograph, and no decompression bomb
_FORMATS = ("PNG", "JPEG", "GIF", "BMP", "WEBP", "TIFF")


def read_images(name: str, files: Mapping[str, bytes], asked: Asked) -> Raw:
    """Read images, their class being the folder they lie in, or else the beginning of their file names.

    Each image is turned upright (EXIF), laid on white where it is transparent, made grey, cut to the largest square in
    its middle and resized to side x side pixels; black is 0 and white 1.

    Args:
        name: of the folder, for messages.
        files: "class/file.png" or "class_12.png" -> its bytes, at most 20,000.
        asked: the options; `side` is the height and width wanted.

    Raises:
        ValueError: naming the file that cannot be read, or has no class.
    """
    check_count(name, len(files))
    if asked.label not in (None, False):
        raise ValueError(f"label is {asked.label!r}; allowed for images: None, or False for images without labels")
    asked.refuse("images", "header", "separator", "decimal", "drop", "keep")
    labels = None if asked.label is False else [class_of(path) for path in files]
    side = int(asked.side)
    check_numbers(name, len(files), side**2)
    values = np.stack([_pixels(path, data, side) for path, data in files.items()])
    where = "the folders" if any("/" in path for path in files) else "the beginnings of file names"
    return Raw(name, values, labels, where, (side, side))


def _pixels(path: str, data: bytes, side: int) -> np.ndarray:
    """Grey values in [0, 1], [side * side]."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow's warning about huge images: our own limit is lower
            image: Image.Image = Image.open(io.BytesIO(data), formats=_FORMATS)
            if image.width * image.height > MAX_PIXELS:
                raise ValueError(
                    f"{path} has {image.width} x {image.height} pixels; allowed: up to {MAX_PIXELS} in all"
                )
            image.load()
            upright = ImageOps.exif_transpose(image)
    except ValueError as error:
        raise error if str(error).startswith(path) else _unreadable(path, error) from None
    except Exception as error:  # Pillow's readers raise many kinds: OSError, SyntaxError, struct.error ..
        raise _unreadable(path, error) from None
    if image.mode == "F" or (image.mode == "I" and not 0 <= np.asarray(image).min() <= np.asarray(image).max() < 2**16):
        raise ValueError(
            f"{path} has floating or 32-bit pixels, whose scale it does not say; allowed: 8 or 16 bits, or .npz"
        )
    small = ImageOps.fit(_grey(upright), (side, side), method=Image.Resampling.BOX)
    return np.asarray(small, dtype=np.float64).reshape(-1).clip(0.0, 1.0)


def _grey(image: Image.Image) -> Image.Image:
    """An image of floating numbers, 0 black and 1 white."""
    if image.mode.startswith("I"):  # 16 bits per pixel
        return Image.fromarray(np.asarray(image, dtype=np.float32) / 65535)
    if "A" in image.mode or "transparency" in image.info:
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image.convert("RGBA"))
    return Image.fromarray(np.asarray(image.convert("L"), dtype=np.float32) / 255)


def _unreadable(path: str, error: Exception) -> ValueError:
    why = "no image" if isinstance(error, UnidentifiedImageError) else str(error) or type(error).__name__
    return ValueError(f"{path} cannot be read as an image ({why}); allowed: a whole file of {', '.join(_FORMATS)}")
