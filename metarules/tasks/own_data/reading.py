"""Read a data set of one's own from a file, a folder, or bytes that were uploaded."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import replace
from itertools import islice
from pathlib import Path, PurePath
from typing import Any

from metarules._checks import check_names
from metarules.tasks.dataset import Dataset
from metarules.tasks.own_data.arrays import read_npy, read_npz
from metarules.tasks.own_data.asked import (
    LEAST_PER_CLASS,
    MAX_BYTES,
    SIDE,
    Asked,
    Columns,
    Label,
    Raw,
    Scale,
    Shape,
)
from metarules.tasks.own_data.finish import finished
from metarules.tasks.own_data.names import IMAGE_SUFFIXES, check_count, is_image
from metarules.tasks.own_data.tables import read_table

_TABLES = (".csv", ".tsv", ".txt")
SUFFIXES = (*_TABLES, ".npy", ".npz", *IMAGE_SUFFIXES)
_LABELS = "_labels.npy"
_KINDS = "a table (.csv), arrays (.npy with _labels.npy, or .npz) or a folder of images"
_WALK = 100_000  # files of a folder that are looked at
_DEEP = 9  # levels of folders in it, so that none is left out unsaid; a link could lead round for ever


def read_dataset(
    path: str | Path,
    *,
    label: Label = None,
    drop: Columns = (),
    keep: Columns = (),
    header: bool | None = None,
    shape: Shape = "auto",
    separator: str | None = None,
    decimal: str | None = None,
    scale: Scale = "auto",
    side: int = SIDE,
    per_class: int = LEAST_PER_CLASS,
) -> Dataset:
    """Read a data set of your own: a table (.csv, .tsv, .txt), arrays (.npy, .npz) or a folder of images.

    These rules decide how a file is read; what they decided stands in the data set's `reading`, which its repr shows.
    Where two readings are plausible, the file is refused in a sentence that names both, and the option that says which.

    1. **Separator** of a table: of ``, ; | `` tab and blank, the one by which most cells are numbers, in lines of
       equally many cells. A first line ``sep=;`` is obeyed. Else `separator`.
    2. **Line 1 holds names** if none of its cells is a number, if it counts (0, 1, 2 .. or 1, 2, 3 ..), or if it
       names the labels (see 5). Else `header`.
    3. **Decimal mark**: the one that most numbers show. 94.940 is 94,940 where others have decimal commas; where all
       that could tell are such numbers (and commas do not separate cells), the file is refused. Else `decimal`. True
       and False are 1 and 0.
    4. **Left out**: empty columns; columns of whole numbers that differ in every row and leave no gap, which number the
       rows; columns of whole numbers or text that are named like an id ("Id", "patient_id", "PassengerId", "index",
       "Unnamed: 0", or a first one without a name). `keep` takes columns back, `drop` leaves out others. A column that
       grows evenly from row to row is kept, and named.
    5. **Labels**: the column called label, class, target, species, diagnosis, survived, outcome, quality, variety or
       category (in any case, with # or not; or y, unless there is an x), wherever it stands. Else, the last column if
       it alone is text. Else, the one column that is text or has few different whole numbers (2 to 60, of five rows
       each on average); where columns have no names, or numbered ones, only the first and the last count as numbers.
       Several, or none: refused. Else `label`. Labels are text as it is written: 1.1 and 1.10, 7 and 007 differ.
       Arrays have theirs in `y` (npz) or in `NAME_labels.npy`, images in the name of their folder (one for each class),
       or in the beginning of their file name (`cat_12.png`). Data without labels are welcome: `label=False`, or arrays
       that come alone. A rule learns from them, only the probe that measures features wants labels.
    6. **Features** are all other columns. Text or a missing value (empty, NA, ?, #N/A) in one of them is refused.
    7. **Images** are arrays [N, height, width], and rows of at least 8 x 8 values if their number is a square, none is
       negative, most of them span much of the same range, and their names, if any, are those of pixels (pixel12,
       pixel_0_3, 3x4, 12). Otherwise numbered names (measure_12) are refused; names of different words are a table.
       Else `shape`.
    8. **Scale**: images have one for all pixels: 0 (or the least value, if negative) becomes 0, the largest value there
       is 1. Columns of a table have one each: the 1st percentile becomes 0, the 99th 1 (least and largest value where
       these are equal), what lies beyond is cut off, so that one wild value flattens no other; a constant column
       becomes 0. Else `scale`.
    9. **Image files** are turned upright, cut to a square, made grey and `side` x `side` pixels. Files of a folder that
       are no such images are left out and counted; images that lie deeper than others are refused.

    Args:
        path: of a file or a folder.
        label: the column of labels by name or by number from 1; False for none.
        drop: columns to leave out, by name or number.
        keep: columns to keep that rule 4 leaves out.
        header: whether line 1 holds the names of columns.
        shape: (height, width) if rows are images, None if they are not.
        separator: between the cells of a table.
        decimal: "." or ",".
        scale: "columns" for a scale of its own for each, "one" for all, or the value that becomes 1.
        side: for image files, height and width wanted in pixels, 4 to 64.
        per_class: examples each class must have; the few-shot probe of all lessons wants 11.

    Returns:
        The data set, x [N, n] float32 in [0, 1] and y [N] int64, named after the file.

    Raises:
        ValueError: one sentence that names the file, the place, what is wrong and what is allowed; more than 100,000
            examples, 4,096 values each and 25 million in all, 60 classes, 100 MB (30 MB of a table) or 20,000 images.
        TypeError: a path that is none, or an option of the wrong type.

    Example:
        >>> read_dataset("iris.csv")  # doctest: +SKIP
        Dataset(iris: 150 x 4, 3 classes; labels: column 6, 'Species'; left out: column 1, 'Id' (it numbers ...
    """
    asked = Asked(label, drop, keep, header, shape, separator, decimal, scale, side, per_class)
    shown = str(path).strip()
    if not shown or "\0" in shown:
        raise ValueError(f"path is {shown!r}; allowed: {_KINDS}")
    try:
        place = Path(shown).expanduser()
        place = place if place.name.strip(".") else place.resolve()  # "." and ".." have no name
        files, notes = _folder(place) if place.is_dir() else (_file(place), ())
    except FileNotFoundError:
        raise ValueError(f"path: there is no file or folder {shown!r}; allowed: {_KINDS}") from None
    except (OSError, RuntimeError) as error:
        why = getattr(error, "strerror", None) or error
        raise ValueError(f"path: {shown!r} cannot be read ({why}); allowed: {_KINDS}") from None
    return _made(place.name or shown, files, asked, notes)


def read_files(files: Mapping[str, bytes | bytearray | memoryview], **options: Any) -> Dataset:
    """Read a data set from bytes: one table or npz, an npy with its labels, or images called class_1.png, class_2.png.

    Args:
        files: a mapping from file names to contents (bytes).
        options: as for `read_dataset`.

    Raises:
        ValueError: as `read_dataset`, or files that do not belong together.
    """
    if not files:
        raise ValueError(f"files holds no file; allowed: {_KINDS}")
    check_names("options", options, Asked.__dataclass_fields__)
    plain = {name: bytes(data) for name, data in files.items()}
    first = next((name for name in plain if not name.endswith(_LABELS)), next(iter(plain)))
    title = first if len([name for name in plain if is_image(name)]) < 2 else f"{len(plain)} images"
    return _made(title, plain, Asked(**options))


def read_bytes(name: str, data: bytes | bytearray | memoryview, **options: Any) -> Dataset:
    """Read a data set from the bytes of one file, whose name says what kind it is.

    Args:
        name: of the file, such as "flowers.csv".
        data: its content.
        options: as for `read_dataset`.

    Raises:
        ValueError, TypeError: as `read_files`.
    """
    if not name:
        raise ValueError("name is ''; allowed: that of a file, whose ending says what it holds")
    return read_files({name: data}, **options)


def _made(name: str, files: Mapping[str, bytes], asked: Asked, notes: tuple[str, ...] = ()) -> Dataset:
    raw = _raw(name, files, asked)
    title = PurePath(name).stem if PurePath(name).suffix.lower() in SUFFIXES else name
    return finished(replace(raw, notes=(*raw.notes, *notes)), title, asked)


def _raw(name: str, files: Mapping[str, bytes], asked: Asked) -> Raw:
    for path, data in files.items():
        if not data:
            raise ValueError(f"{path} is empty (0 bytes); allowed: a file with examples in it")
        if len(data) > MAX_BYTES:
            raise ValueError(f"{path} holds {len(data)} bytes; allowed: up to {MAX_BYTES}")
    if all(is_image(path) for path in files):
        from metarules.tasks.own_data.images import read_images  # here: tables and arrays need no Pillow

        return read_images(name, files, asked)
    labels = next(((path, data) for path, data in files.items() if path.endswith(_LABELS)), None)
    others = [path for path in files if labels is None or path != labels[0]] or list(files)
    if len(others) > 1:
        raise ValueError(f"{' and '.join(sorted(others)[:3])} do not belong together; allowed: {_KINDS}")
    only, suffix = others[0], PurePath(others[0]).suffix.lower()
    if suffix in _TABLES:
        return read_table(only, files[only], asked)
    if suffix == ".npz":
        return read_npz(only, files[only], asked)
    if suffix == ".npy":
        return read_npy(only, files[only], None if only.endswith(_LABELS) else labels, asked)
    raise ValueError(
        f"by its name, {only} is of a kind that is not read ({suffix or 'no suffix'}); allowed: {', '.join(SUFFIXES)}"
    )


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
    return path.read_bytes() if size else b""  # some system files of no size never end


def _folder(path: Path) -> tuple[dict[str, bytes], tuple[str, ...]]:
    """The images of a folder, or of its sub-folders, in the order of their names; and what was left out."""
    files = list(islice(_files(path, _DEEP), _WALK))
    images = [file for file in files if is_image(file.name)]
    depths = Counter(min(len(file.relative_to(path).parts) - 1, 2) for file in images)
    deepest = max(depths, default=0)
    if len(depths) > 1 or deepest > 1:
        where = {0: "in it", 1: "in folders in it", 2: "in folders of folders"}
        raise ValueError(
            f"{path.name} holds {' and '.join(f'{depths[d]} images {where[d]}' for d in sorted(depths))}, such as "
            f"{images[-1].relative_to(path).as_posix()}; allowed: all of them in it, or all in one sub-folder per class"
        )
    check_count(path.name, len(images))
    if (size := sum(item.stat().st_size for item in images)) > MAX_BYTES:
        raise ValueError(
            f"the images in {path.name} hold {size / 1e6:.0f} MB; allowed: {MAX_BYTES / 1e6:.0f} MB in all, such as "
            "copies 256 pixels wide (a camera's pictures are larger, and are shrunk here in any case)"
        )
    others = Counter(file.suffix.lower() or "without suffix" for file in files if not is_image(file.name))
    notes = (f"left out: files {', '.join(f'{kind} ({n})' for kind, n in sorted(others.items()))}",) if others else ()
    return {item.relative_to(path).as_posix(): item.read_bytes() for item in images}, notes


def _files(path: Path, depth: int) -> Iterator[Path]:
    """The files in a folder and, so many levels deep, in those in it; hidden ones are passed over."""
    for item in sorted(path.iterdir()):
        if item.name.startswith("."):
            continue
        if item.is_file():
            yield item
        elif depth and item.is_dir():
            yield from _files(item, depth - 1)
