"""One process at a time in a run's folder: a lock that names its holder and ends with it, however that ends."""

from __future__ import annotations

import json
import os
import socket
import sys
import time
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any

NAME = "run.lock"
_BOOT = Path("/proc/sys/kernel/random/boot_id")  # Linux; the same in all containers of a machine


class LockedError(OSError):
    """Another process is at work in the folder."""


class Lock:
    """Holds a folder as a context, which makes the folder and, where nothing was put into it, takes it away again.

    The operating system locks the file and frees it when its holder ends, by `kill -9` too; what stands in the file,
    process and host, is for the message, and keeps off processes of other machines, whose locks one may not see.

    Args:
        folder: to hold.

    Raises:
        LockedError: on entering, when another process holds it.
        OSError: on entering, when the folder cannot be written.
    """

    def __init__(self, folder: Path) -> None:
        self.path = folder / NAME
        self._made: list[Path] = []
        self._handle = -1

    def __enter__(self) -> Lock:
        folder = self.path.parent
        self._made = [path for path in (folder, *folder.parents) if not path.exists()]
        folder.mkdir(parents=True, exist_ok=True)
        while True:
            handle = os.open(self.path, os.O_RDWR | os.O_CREAT, 0o666)
            try:
                locked = _lock(handle)
                holder = _read(handle, wait=locked is False)
                gone = not holder or (_from_here(holder) and (locked or not _alive(holder)))
                if locked is False or not gone:
                    raise LockedError(_held(folder, holder, sure=locked is False))
                with suppress(FileNotFoundError):
                    if os.path.samestat(os.fstat(handle), os.stat(self.path)):
                        os.ftruncate(handle, 0)
                        os.lseek(handle, 0, os.SEEK_SET)
                        os.write(handle, json.dumps(_me()).encode())
                        self._handle = handle
                        return self
            except BaseException:
                os.close(handle)
                raise
            os.close(handle)  # its holder has just ended and removed it

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if os.name == "nt":  # which removes no open file
            os.close(self._handle)
        with suppress(OSError):
            self.path.unlink()
        if os.name != "nt":
            os.close(self._handle)
        for path in self._made:
            with suppress(OSError):  # not empty
                path.rmdir()


def _me() -> dict[str, Any]:
    boot = _BOOT.read_text().strip() if _BOOT.exists() else ""
    return {
        "pid": os.getpid(),
        "host": socket.gethostname(),
        "boot": boot,
        "since": time.strftime("%Y-%m-%d %H:%M:%S %z"),
    }


def _from_here(holder: dict[str, Any]) -> bool:
    """Whether the holder was a process of this machine, as it runs now or ran before it was started anew."""
    me = _me()
    return bool(holder.get("host") == me["host"] or (me["boot"] and holder.get("boot") == me["boot"]))


def _alive(holder: dict[str, Any]) -> bool:
    """Whether a process of this machine runs still; asked only where the file system knows no locks."""
    if holder.get("boot") != _me()["boot"] or os.name == "nt":
        return False
    try:
        os.kill(int(holder["pid"]), 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True


def _lock(handle: int) -> bool | None:
    """Lock an open file: True when that is done, False when another process holds it, None where there are no locks."""
    try:
        if sys.platform == "win32":
            import msvcrt

            os.lseek(handle, 1 << 20, os.SEEK_SET)  # beyond what others read
            msvcrt.locking(handle, msvcrt.LK_NBLCK, 1)
        else:
            import fcntl

            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError):
        return False
    except OSError:
        return None
    return True


def _read(handle: int, wait: bool) -> dict[str, Any]:
    """What stands in the file; a holder that has just locked it may still have to write."""
    for _ in range(40 if wait else 1):
        with suppress(ValueError):
            os.lseek(handle, 0, os.SEEK_SET)
            found = json.loads(os.read(handle, 4096))
            if isinstance(found, dict):
                return found
        if wait:
            time.sleep(0.05)
    return {}


def _held(folder: Path, holder: dict[str, Any], sure: bool) -> str:
    who = f"process {holder.get('pid', '?')} on {holder.get('host', '?')}"
    return (
        f"out is {str(folder)!r}, in which {who} has been at work since {holder.get('since', '?')}; allowed: another "
        f"folder, or --resume when it has ended{'' if sure else f' and {NAME} there is deleted'}"
    )
