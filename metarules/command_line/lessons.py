"""The lessons that come with the package, and copies of them in a user's folder that never write over her changes."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import metarules
from metarules._files import naming, write_atomically

RECORD = ".metarules-lessons.json"  # in the folder: name -> digest of the lesson as it was put there
_PACKAGE = Path(metarules.__file__).parent


@dataclass(frozen=True)
class Copies:
    """What `copy_lessons` did: names of files in the folder, in order.

    Attributes:
        new: put there for the first time.
        renewed: an older edition, unchanged since it was put there, was replaced.
        kept: changed by their owner and left as they are.
        beside: the new editions of those, under names of their own.
    """

    new: tuple[str, ...]
    renewed: tuple[str, ...]
    kept: tuple[str, ...]
    beside: tuple[str, ...]


def lessons_folder() -> Path:
    """Where the package has its lessons: in itself if it was installed from a wheel, else in the repository.

    Raises:
        FileNotFoundError: neither holds one.
    """
    for folder in (_PACKAGE / "lessons", _PACKAGE.parent / "notebooks"):
        if any(folder.glob("[0-9]*.ipynb")):
            return folder
    raise FileNotFoundError(f"no lessons in {_PACKAGE}; allowed: metarules from a wheel or from a whole repository")


def lesson_names() -> list[str]:
    """File names of all lessons, lesson 0 first."""
    return sorted(path.name for path in lessons_folder().glob("[0-9]*.ipynb"))


def copy_lessons(folder: str | os.PathLike[str]) -> Copies:
    """Put the lessons into a folder of a user's, each as it is there unless she has changed it.

    A lesson that she has run or edited stays, and a new edition of it goes beside it under a name with the version.
    What was put there is known from the file `.metarules-lessons.json`.

    Args:
        folder: made if it is missing. The package's own folder of lessons is left alone.

    Returns:
        What was done.

    Raises:
        OSError: the folder, or a file in it, cannot be written, or `folder` is "".

    Example:
        copy_lessons("my lessons").new  # ("00_start_here.ipynb", ...)
    """
    if not os.fspath(folder):  # a shell's variable without a value; `Path` would take it for the folder one is in
        raise FileNotFoundError("folder is ''; allowed: a path, '.' for the folder you are in")
    source, target = lessons_folder(), Path(os.path.expanduser(folder))
    with naming("folder", target, "written"):
        target.mkdir(parents=True, exist_ok=True)
    if target.samefile(source):
        return Copies((), (), (), ())
    record = _read(target / RECORD)
    done: dict[str, list[str]] = {"new": [], "renewed": [], "kept": [], "beside": []}
    for name in lesson_names():
        lesson = (source / name).read_bytes()
        mine, latest = target / name, _digest(lesson)
        there = _digest(mine.read_bytes()) if mine.exists() else None
        if there is None or there == record.get(name) != latest:
            write_atomically(mine, lesson)
            done["renewed" if there else "new"].append(name)
        elif there != latest:
            done["kept"].append(name)
            if record.get(name) != latest and (beside := _beside(mine, lesson)):
                write_atomically(beside, lesson)
                done["beside"].append(beside.name)
        if record.get(name) != latest:
            record[name] = latest
            write_atomically(target / RECORD, (json.dumps(record, indent=1) + "\n").encode())
    return Copies(**{kind: tuple(names) for kind, names in done.items()})


def _beside(lesson: Path, content: bytes) -> Path | None:
    """A free name for a new edition, None if one with this content is there."""
    for path in _names(lesson):
        if not path.exists():
            return path
        if path.read_bytes() == content:
            return None
    raise AssertionError


def _names(lesson: Path) -> Iterator[Path]:
    stem, number = f"{lesson.stem}-{metarules.__version__}", 1
    yield lesson.with_name(f"{stem}.ipynb")
    while True:
        number += 1
        yield lesson.with_name(f"{stem}-{number}.ipynb")


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _read(path: Path) -> dict[str, str]:
    """The record; empty where there is none or it cannot be read, after which every lesson that differs is kept."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}
