"""Read a data set of one's own from a file, a folder, or bytes that were uploaded."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path, PurePath
from typing import Any

from metarules.tasks.dataset import Dataset
from metarules.tasks.own_data.arrays import read_npy, read_npz
from metarules.tasks.own_data.finish import LEAST_PER_CLASS, MAX_BYTES, Raw, Shape, finished
from metarules.tasks.own_data.names import IMAGE_SUFFIXES, SIDE, check_count, is_image
from metarules.tasks.own_data.tables import read_table

_TABLES = (".csv", ".tsv", ".txt")
SUFFIXES = (*_TABLES, ".npy", ".npz", *IMAGE_SUFFIXES)
_LABELS = "_labels.npy"
_KINDS = "a table (.csv), arrays (.npy with _labels.npy, or .npz) or a folder of images"


def read_dataset(
    path: str | Path,
    *,
    label: str | int | None = None,
    shape: Shape = "auto",
    side: int = SIDE,
    per_class: int = LEAST_PER_CLASS,
) -> Dataset:
    """Read a data set of your own.

    - `*.csv` (.tsv, .txt): a row per example, numbers, and a column of labels: the one called "label", "class",
      "target" or "y", else the last. Line 1 may hold names. Commas, semicolons or tabs.
    - `*.npy`: [N, n] or [N, height, width]; the labels [N] lie beside it in `*_labels.npy`.
    - `*.npz`: x and y, as made by `numpy.savez("mine.npz", x=..., y=...)`.
    - a folder of images: a sub-folder for each class, or file names such as `cat_12.png`. Images are made grey and
      side x side pixels.

    Labels may be numbers or text. The rule never sees them; the few-shot probe asks for ten of each class. Values are
    scaled to [0, 1]: images by one scale for all pixels, tables column by column (see `finish.finished`).

    Args:
        path: of a file or a folder.
        label: for tables, the column of labels by name or by number from 1.
        shape: "auto" takes rows of at least 8 x 8 values, their number a square and none negative, for images; (height,
            width) says that they are, None that they are not.
        side: for images, height and width wanted in pixels.
        per_class: examples each class must have; the few-shot probe of all lessons wants 11.

    Returns:
        The data set, x [N, n] float32 in [0, 1] and y [N] int64, named after the file.

    Raises:
        ValueError: one sentence that names the file, the place, what is wrong and what is allowed.
        TypeError: a path that is none.
    """
    if not isinstance(path, str | Path):
        raise TypeError(f"path is a {type(path).__name__}; allowed: a path such as 'flowers.csv'")
    shown = str(path).strip()
    if not shown or "\0" in shown:
        raise ValueError(f"path is {shown!r}; allowed: {_KINDS}")
    try:
        place = Path(shown).expanduser()
        files = _folder(place) if place.is_dir() else _file(place)
    except FileNotFoundError:
        raise ValueError(f"there is no file or folder {shown!r}; allowed: {_KINDS}") from None
    except (OSError, RuntimeError) as error:
        raise ValueError(f"{shown!r} cannot be read ({getattr(error, 'strerror', None) or error})") from None
    return _made(place.name or shown, files, label, shape, side, per_class)


def read_files(
    files: Mapping[str, bytes | bytearray | memoryview],
    *,
    label: str | int | None = None,
    shape: Shape = "auto",
    side: int = SIDE,
    per_class: int = LEAST_PER_CLASS,
) -> Dataset:
    """Read a data set from bytes: one table or npz, an npy with its labels, or images called class_1.png, class_2.png.

    Args:
        files: a mapping from file names to contents (bytes).
        label, shape, side, per_class: as for `read_dataset`.

    Raises:
        ValueError: as `read_dataset`, or files that do not belong together.
        TypeError: anything else than names and bytes.
    """
    if not isinstance(files, Mapping):
        raise TypeError(f"files is a {type(files).__name__}; allowed: a mapping from file names to bytes")
    for name, data in files.items():
        if not isinstance(name, str) or not isinstance(data, bytes | bytearray | memoryview):
            raise TypeError(f"files[{name!r}] is a {type(data).__name__}; allowed: names (text) and contents (bytes)")
    if not files:
        raise ValueError(f"no file was given; allowed: {_KINDS}")
    plain = {name: bytes(data) for name, data in files.items()}
    first = next((name for name in plain if not name.endswith(_LABELS)), next(iter(plain)))
    title = first if len([name for name in plain if is_image(name)]) < 2 else f"{len(plain)} images"
    return _made(title, plain, label, shape, side, per_class)


def read_bytes(name: str, data: bytes | bytearray | memoryview, **options: Any) -> Dataset:
    """Read a data set from the bytes of one file, whose name says what kind it is.

    Args:
        name: of the file, such as "flowers.csv".
        data: its content.
        options: as for `read_dataset`.

    Raises:
        ValueError, TypeError: as `read_files`.
    """
    return read_files({name: data}, **options)


def _made(
    name: str, files: Mapping[str, bytes], label: str | int | None, shape: Shape, side: int, per_class: int
) -> Dataset:
    raw = _raw(name, files, label, side)
    title = PurePath(name).stem if PurePath(name).suffix.lower() in SUFFIXES else name
    return finished(raw, title, shape, per_class)


def _raw(name: str, files: Mapping[str, bytes], label: str | int | None, side: int) -> Raw:
    for path, data in files.items():
        if not data:
            raise ValueError(f"{path} is empty (0 bytes); allowed: a file with examples in it")
        if len(data) > MAX_BYTES:
            raise ValueError(f"{path} holds {len(data)} bytes; allowed: up to {MAX_BYTES}")
    if all(is_image(path) for path in files):
        from metarules.tasks.own_data.images import read_images  # here: tables and arrays need no Pillow

        return read_images(name, files, side)
    labels = next(((path, data) for path, data in files.items() if path.endswith(_LABELS)), None)
    others = [path for path in files if labels is None or path != labels[0]] or list(files)
    if len(others) > 1:
        raise ValueError(f"{' and '.join(sorted(others)[:3])} do not belong together; allowed: {_KINDS}")
    only, suffix = others[0], PurePath(others[0]).suffix.lower()
    if suffix in _TABLES:
        return read_table(only, files[only], label)
    if suffix == ".npz":
        return read_npz(only, files[only])
    if suffix == ".npy":
        return read_npy(only, files[only], None if only.endswith(_LABELS) else labels)
    raise ValueError(f"{only} is of a kind that is not read ({suffix or 'no suffix'}); allowed: {', '.join(SUFFIXES)}")


def _file(path: Path) -> dict[str, bytes]:
    """One file, and the labels beside it."""
    if path.exists() and not path.is_file():  # a device could be read for ever
        raise OSError("no ordinary file")
    found = {path.name: _content(path)}
    beside = path.with_name(f"{path.stem}{_LABELS}")
    if path.suffix.lower() == ".npy" and beside.is_file():
        found[beside.name] = _content(beside)
    return found


def _content(path: Path) -> bytes:
    size = path.stat().st_size
    if size > MAX_BYTES:
        raise ValueError(f"{path.name} holds {size} bytes; allowed: up to {MAX_BYTES}")
    return path.read_bytes()


def _folder(path: Path) -> dict[str, bytes]:
    """The images of a folder: those of its sub-folders if they hold any, else its own; in the order of their names."""
    here = sorted(item for item in path.iterdir() if not item.name.startswith("."))
    inside = [item for folder in here if folder.is_dir() for item in sorted(folder.iterdir())]
    images = [item for item in inside if is_image(item.name)] or [item for item in here if is_image(item.name)]
    images = [item for item in images if item.is_file()]
    check_count(path.name, len(images))
    if sum(item.stat().st_size for item in images) > MAX_BYTES:
        raise ValueError(f"the images in {path.name} hold more than {MAX_BYTES} bytes; allowed: up to that many in all")
    return {item.relative_to(path).as_posix(): item.read_bytes() for item in images}
