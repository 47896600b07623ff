"""This process's memory: its peak, and freed blocks that glibc need not return to the operating system.

glibc hands large blocks back to Linux as they are freed, and every page of the next tensor then has to be fetched and
zeroed again: at the paper's sizes up to a quarter of a meta-gradient's time (`python -m benchmarks`).
"""

from __future__ import annotations

import ctypes
import re
import sys
from pathlib import Path

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # glibc's malloc.h
_LARGEST = (2**30, 2**25)  # bytes of a block that is kept; the second is the most that older versions of glibc accept
_NEVER = 2**31 - 1  # bytes free at the heap's end before it shrinks: the most that fits the call's argument


def keep_memory() -> bool:
    """Let this process keep what it frees, for its next tensors, until it ends.

    The process's size then stays at its peak: right for programs such as meta-training and the benchmarks, wrong for a
    notebook's kernel, which idles most of the time.

    Returns:
        Whether that could be asked for: True on Linux with glibc, elsewhere False and nothing changes.
    """
    if not sys.platform.startswith("linux"):
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):  # another C library
        return False
    return any(mallopt(_MMAP_THRESHOLD, size) for size in _LARGEST) and bool(mallopt(_TRIM_THRESHOLD, _NEVER))


def peak_bytes() -> int | None:
    """The largest memory this process has had so far; None where the system does not tell."""
    status = Path("/proc/self/status")
    if status.is_file():  # Linux: getrusage would add the parent's peak, which a child inherits
        found = re.search(r"^VmHWM:\s+(\d+) kB", status.read_text(encoding="utf-8"), re.MULTILINE)
        return int(found[1]) * 1024 if found else None
    try:
        import resource
    except ImportError:  # Windows
        return None
    return int(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)  # bytes on macOS
