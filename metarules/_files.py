"""Files that are whole or not there at all, and the tables that some of them hold."""

from __future__ import annotations

import csv
import errno
import io
import os
import re
import secrets
import shutil
import stat
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

_REFUSED = (errno.EINVAL, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP)  # what file systems without fsync answer
_HOUR = 3600.0  # seconds; no file takes that long to write


@contextmanager
def naming(argument: str, path: str | os.PathLike[str], done: str = "read") -> Iterator[None]:
    """While a user's path is opened, what the system says becomes a sentence: argument, path, why, what is allowed.

    Args:
        argument: or option, that the path was given to.
        path: as it was given.
        done: what cannot be done, "read" or "written".

    Raises:
        OSError: of the class that the system raised. One that holds a sentence already stays as it is.
        ValueError: a path that no system has.
    """
    if "\0" in str(path):
        raise ValueError(f"{argument} is {str(path)!r}; allowed: a path without the character 0")
    try:
        yield
    except OSError as error:
        if error.strerror is None:
            raise
        if isinstance(error, FileExistsError):  # which `mkdir` says of a file in the place of a folder
            error = NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR))
        allowed = "a file that is there" if done == "read" else "a path that can be written to"
        said = f"{argument} is {str(path)!r}, which cannot be {done} ({error.strerror}); allowed: {allowed}"
        named = type(error)(said)
        named.errno = error.errno
        raise named from error


def check_source(argument: str, path: str | os.PathLike[str]) -> Path:
    """Find out whether a user's file can be read.

    Returns:
        The path, "~" in it read as the home folder.

    Raises:
        OSError: it cannot, as `naming` says it.
    """
    path = Path(os.path.expanduser(path))
    with naming(argument, path):
        if not path.is_file() and not path.is_dir() and path.exists():  # a pipe would keep one waiting for ever
            raise OSError(errno.EINVAL, "no ordinary file")
        path.open("rb").close()
    return path


def read_text(path: str | os.PathLike[str], argument: str = "path") -> str:
    """The text of a user's file, in UTF-8; errors as `check_source`, and UnicodeDecodeError."""
    return check_source(argument, path).read_text(encoding="utf-8")


def write_atomically(path: str | os.PathLike[str], content: bytes, argument: str = "path") -> None:
    """Write `content` to `path` through a temporary neighbour, so that a crash or a full disk leaves the old file.

    A new file gets the mode that the umask allows, an old one keeps its own; a link stays, and the file it leads to is
    replaced; "~" is the home folder; what is no file, such as /dev/null, is written to. Neighbours that a killed
    process has left are removed.

    Args:
        path: where to; missing parent folders are made.
        content: the whole file.
        argument: what the path was given to.

    Raises:
        OSError: the folder or the file cannot be written or the disk is full, as `naming` says it; `path` is then as it
            was.
    """
    path = Path(os.path.expanduser(path))
    with naming(argument, path, "written"):
        _write(path, content)


def _write(path: Path, content: bytes) -> None:
    mode = None
    with suppress(FileNotFoundError):
        mode = path.stat().st_mode
        if not stat.S_ISREG(mode):
            _write_through(path, content)
            return
        _check_writable(path)
    path = Path(os.path.realpath(path))
    path.parent.mkdir(parents=True, exist_ok=True)
    remove_leftovers(path.parent, path.name, older_than=_HOUR)
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
    try:
        with temporary.open("xb") as file:  # not by tempfile, which lets nobody else read it, whatever the umask
            file.write(content)
            file.flush()
            _sync(file.fileno())
        if mode is not None:
            with suppress(OSError):  # some file systems have no modes
                os.chmod(temporary, stat.S_IMODE(mode))
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    sync_folder(path.parent)


def _write_through(path: Path, content: bytes) -> None:
    """Into what is no ordinary file; a pipe that nobody reads raises, and keeps nobody waiting."""
    at_once = getattr(os, "O_NONBLOCK", 0)  # Windows has none
    handle = os.open(path, os.O_WRONLY | at_once)
    with open(handle, "wb") as file:
        if at_once:
            os.set_blocking(handle, True)
        file.write(content)


def check_target(option: str, path: str | os.PathLike[str]) -> Path:
    """Find out before the work, not after it, whether a file can be written; its folder is made.

    Returns:
        The path, "~" in it read as the home folder.

    Raises:
        OSError: it cannot, as `naming` says it.
    """
    path = Path(os.path.expanduser(path))
    with naming(option, path, "written"):
        path.parent.mkdir(parents=True, exist_ok=True)
        with suppress(FileNotFoundError):
            mode = path.stat().st_mode
            if stat.S_ISDIR(mode):
                raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
            _check_writable(path)
            if not stat.S_ISREG(mode):
                return path
        tempfile.TemporaryFile(dir=path.parent).close()  # `os.access` knows not all that forbids new files
    return path


def _check_writable(path: Path) -> None:
    if not os.access(path, os.W_OK):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))


def remove_leftovers(folder: Path, name: str = "", older_than: float = 0.0) -> None:
    """Remove temporary files of `write_atomically` that nobody will finish.

    Args:
        folder: where they are; there need not be any.
        name: of the file they were to become; all, unless given.
        older_than: age in seconds of those that are removed. 0 is for a folder that nobody else writes to.
    """
    ours = re.compile(rf"\.{re.escape(name) or '.+'}\.[0-9a-f]{{8}}\.tmp")
    for path in folder.glob(".*.tmp"):
        with suppress(OSError):
            if ours.fullmatch(path.name) and time.time() - path.stat().st_mtime >= older_than:
                path.unlink()


def sync_folder(folder: Path) -> None:
    """Make renames in a folder last through a power cut, where the system can."""
    with suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def _sync(handle: int) -> None:
    try:
        os.fsync(handle)
    except OSError as error:
        if error.errno not in _REFUSED:
            raise


def print_whole(text: str) -> None:
    """Print a text and see that it goes out; a reader that has gone, such as `head`, is no error."""
    try:
        print(text, flush=True)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # for what is flushed when Python ends


def csv_text(rows: Sequence[Mapping[str, str]]) -> str:
    """Rows as CSV, with the first one's keys as the head.

    Args:
        rows: one or more, all with the same keys.
    """
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def read_csv(path: str | os.PathLike[str]) -> list[dict[str, str]]:
    """Rows as `csv_text` makes them; errors as `read_text`."""
    return list(csv.DictReader(io.StringIO(read_text(path))))


def write_between_marks(path: Path, lines: str, marks: tuple[str, str]) -> None:
    """Put lines between two marks of a page.

    Raises:
        ValueError: the marks are not there, once each and in order.
    """
    text = path.read_text(encoding="utf-8")
    before, begin, rest = text.partition(marks[0])
    _, end, after = rest.partition(marks[1])
    if not begin or not end:
        raise ValueError(f"{path.name} lacks {marks[0]} .. {marks[1]}; allowed: a file with both, in this order")
    write_atomically(path, f"{before}{begin}\n{lines}\n{end}{after}".encode())


def text_table(lines: Sequence[Sequence[str]], left: int = 1) -> str:
    """Cells in columns with two spaces between.

    Args:
        lines: the head and the rows, all of one length.
        left: so many columns are aligned at their left, the others at their right.

    Returns:
        Text; where a terminal would break its lines, the columns that do not fit stand below, each part with the first.
    """
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    ends = [sum(widths[: i + 1]) + 2 * i for i in range(len(widths))]
    fit = sum(end <= shutil.get_terminal_size().columns for end in ends) if sys.stdout.isatty() else len(ends)
    if max(left, 1) < fit < len(ends):
        below = text_table([[line[0], *line[fit:]] for line in lines])
        return f"{text_table([line[:fit] for line in lines], left)}\n\n{below}"
    return "\n".join(
        "  ".join(
            cell.ljust(width) if i < left else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in lines
    )
