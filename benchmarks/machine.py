"""What the machine is, and what it can do at best: its square matrix-multiply rate and its copy bandwidth."""

from __future__ import annotations

import os
import platform
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from metarules._threads import available_cores

MATMUL = 1536  # side of the square matrices: the size whose rate the original's speed was told against
COPY = 16 * 2**20  # float32 numbers, 64 MB: beyond the caches of a laptop
FLAGS = ("avx2", "fma", "avx512f", "avx512_bf16", "amx_tile", "asimd", "sve")  # what matrix products care about


def facts(device: str = "cpu") -> dict[str, Any]:
    """Cores, processor, versions, as plain values; no names of hosts, users or folders."""
    found: dict[str, Any] = {
        "system": platform.system(),
        "machine": platform.machine(),
        "processor": _processor(),
        "flags": _flags(),
        "cores": os.cpu_count(),
        "cores_available": available_cores(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "device": device,
    }
    if device.startswith("cuda"):
        found["gpu"] = torch.cuda.get_device_name(device)
    return found


def matmul(device: str = "cpu", side: int = MATMUL) -> tuple[Callable[[], object], float]:
    """A square float32 matrix product, and its floating-point operations."""
    a, b = torch.rand(side, side, device=device), torch.rand(side, side, device=device)
    out = torch.empty_like(a)
    return lambda: torch.mm(a, b, out=out), 2.0 * side**3


def copy(device: str = "cpu", numbers: int = COPY) -> tuple[Callable[[], object], float]:
    """A copy of one large array, and the bytes it reads and writes."""
    source = torch.rand(numbers, device=device)
    target = torch.empty_like(source)
    return lambda: target.copy_(source), 2.0 * source.nbytes


def _cpuinfo(*keys: str) -> str:
    """The first of these fields that Linux tells about its processor, or nothing."""
    path = Path("/proc/cpuinfo")
    text = path.read_text(encoding="utf-8", errors="replace") if path.is_file() else ""
    for key in keys:
        if match := re.search(rf"^{key}\s*:\s*(.+)$", text, re.MULTILINE):
            return match[1].strip()
    return ""


def _processor() -> str:
    return _cpuinfo("model name", "Model", "Hardware") or platform.processor() or platform.machine()


def _flags() -> list[str]:
    told = _cpuinfo("flags", "Features").split()
    return [flag for flag in FLAGS if flag in told]
