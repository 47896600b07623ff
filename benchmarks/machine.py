"""What the machine is, and what it can do at best: its square matrix-multiply rate."""

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


def facts(device: str = "cpu") -> dict[str, Any]:
    """Cores, processor, versions, as plain values; no names of hosts, users or folders."""
    found: dict[str, Any] = {
        "system": platform.system(),
        "machine": platform.machine(),
        "processor": _processor(),
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


def _processor() -> str:
    """The processor's name, as Linux tells it, or what Python knows."""
    path = Path("/proc/cpuinfo")
    text = path.read_text(encoding="utf-8", errors="replace") if path.is_file() else ""
    found = re.search(r"^(?:model name|Model|Hardware)\s*:\s*(.+)$", text, re.MULTILINE)
    return found[1].strip() if found else platform.processor() or platform.machine()
