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
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

_REFUSED = (errno.EINVAL, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP)  # what file systems without fsync answer
_HOUR = 3600.0  # seconds; no file takes that long to write


def write_atomically(path: Path, content: bytes) -> None:
    """Write `content` to `path` through a temporary neighbour, so that a crash or a full disk leaves the old file.

    A new file gets the mode that the umask allows, an old one keeps its own; a link stays, and the file it leads to is
    replaced; "~" is the home folder; what is no file, such as /dev/null, is written to. Neighbours that a killed
    process has left are removed.

    Args:
        path: where to; missing parent folders are made.
        content: the whole file.

    Raises:
        OSError: the folder or the file cannot be written or the disk is full; `path` is then as it was.
    """
    path = Path(os.path.expanduser(path))
    mode = path.stat().st_mode if path.exists() else None
    if mode is not None and not stat.S_ISREG(mode):
        path.write_bytes(content)
        return
    if mode is not None and not os.access(path, os.W_OK):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))
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


def check_target(option: str, path: Path) -> Path:
    """Find out before the work, not after it, whether a file can be written; its folder is made.

    Returns:
        The path, "~" in it read as the home folder.

    Raises:
        ValueError: it cannot, naming the option.
    """
    path = Path(os.path.expanduser(path))
    with suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
    there = path if path.exists() else path.parent
    if path.is_dir() or not path.parent.is_dir() or not os.access(there, os.W_OK):
        raise ValueError(f"{option} is {str(path)!r}; allowed: a file in a folder that can be written to")
    return path


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
