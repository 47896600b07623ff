"""Several processes as one: which share of the work is mine, and sums over all of them.

Processes are started by torchrun, which says in the environment who is who; without it there is one process and
nothing here does anything. On GPUs nccl carries the sums, on CPUs gloo.
"""

from __future__ import annotations

import json
import os
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import timedelta
from types import TracebackType
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from metarules._checks import check_choice, check_number

GIVEN_UP = timedelta(minutes=30)  # PyTorch's for gloo; ours: while the first process validates, the others wait
JOINING, WORKING = 20.0, 120.0  # seconds after which a process says that it waits: at the start, and later


class RankError(RuntimeError):
    """Another process of the run has ended, or cannot be reached."""


class Ranks:
    """The processes of a run. Use it as a context: it joins at the start and leaves at the end.

    Args:
        rank: of this process, 0 .. size - 1.
        size: number of processes; 1 needs no others.
        device: of the tensors that are summed, "cpu" or a CUDA device.

    Raises:
        ValueError, TypeError: numbers out of range.
        RankError: the others cannot be reached.
    """

    def __init__(self, rank: int = 0, size: int = 1, device: torch.device | str = "cpu") -> None:
        check_number("size", size, low=1, integer=True)
        check_number("rank", rank, low=0, high=size - 1, integer=True)
        self.rank, self.size, self.device = rank, size, torch.device(device)

    @classmethod
    def from_environment(cls, device: str = "cpu") -> Ranks:
        """Who this process is, as torchrun says it; alone where torchrun did not start it.

        With device "cuda" each process of a machine takes a GPU of its own.

        Raises:
            ValueError: another device than "cpu" or "cuda", no GPU, or an environment in which a number is none.
        """
        check_choice("device", device, ("cpu", "cuda") if torch.cuda.is_available() else ("cpu",))
        if device == "cuda":
            device = f"cuda:{_told('LOCAL_RANK', 0)}"
        return cls(_told("RANK", 0), _told("WORLD_SIZE", 1), device)

    def __enter__(self) -> Ranks:
        if self.size > 1:
            # torch.optim imports it, too late: it would keep the group, whose threads can abort the interpreter's end
            import torch.distributed.nn.functional  # noqa: F401

            try:
                with self._waiting(JOINING):
                    dist.init_process_group("nccl" if self.device.type == "cuda" else "gloo", timeout=GIVEN_UP)
            except (RuntimeError, ValueError) as error:
                raise RankError(f"the {self.size} processes of this run did not find each other ({error})") from error
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.size > 1 and dist.is_initialized():
            if kind is None:  # leave together: a process whose store has gone may be torn down in its own clean-up
                with suppress(RankError):
                    self.sum(torch.zeros(1))
            dist.destroy_process_group()

    @property
    def first(self) -> bool:
        """True for the one process that writes files and talks."""
        return self.rank == 0

    def handles(self, group: int, groups: int) -> bool:
        """Whether this process handles group `group` of `groups`, a multiple of `size`."""
        return group * self.size // groups == self.rank

    def sum(self, values: Tensor) -> Tensor:
        """Sum over all processes, the same bits for each.

        Raises:
            RankError: another process has ended.
        """
        if self.size == 1:
            return values
        there = values.to(self.device, copy=True)
        try:
            with self._waiting(WORKING):
                dist.all_reduce(there)
                return there.to(values.device)
        except RuntimeError as error:
            raise RankError(_gone(self.size)) from error

    def gather(self, content: bytes) -> list[bytes]:
        """Every process's bytes, in the order of ranks; all must call it, and all get them.

        Raises:
            RankError: another process has ended.
        """
        if self.size == 1:
            return [content]
        lengths = torch.zeros(self.size, dtype=torch.int64)
        lengths[self.rank] = len(content)
        lengths = self.sum(lengths)
        room = torch.zeros(self.size, int(lengths.max()), dtype=torch.uint8)
        room[self.rank, : len(content)] = torch.frombuffer(bytearray(content), dtype=torch.uint8)
        room = self.sum(room)  # zeros everywhere but in one's own row
        return [bytes(row[:n].numpy().tobytes()) for row, n in zip(room, lengths.tolist(), strict=True)]

    @contextmanager
    def _waiting(self, patience: float) -> Iterator[None]:
        """Say on stderr that others are waited for, where that takes longer than `patience` seconds."""
        said = (
            f"process {self.rank} of {self.size} has waited {patience:.0f} s for the others, which may be busy, "
            f"stopped or missing; it gives up after {GIVEN_UP.seconds // 60} minutes"
        )
        timer = threading.Timer(patience, print, (said,), {"file": sys.stderr, "flush": True})
        timer.daemon = True
        timer.start()
        try:
            yield
        finally:
            timer.cancel()

    def compare(self, facts: Mapping[str, Any]) -> None:
        """Go on only where all processes say the same; all must call it. Values are plain, for JSON.

        One that cannot go on says so under "error", and raises its own.

        Raises:
            RankError: another process says otherwise, or has an error; or has ended.
        """
        if self.size == 1:
            return
        said = [json.loads(content) for content in self.gather(json.dumps(facts).encode())]
        if "error" in facts:
            return
        for rank, theirs in enumerate(said):
            if "error" in theirs:
                raise RankError(f"process {rank} of this run cannot start: {theirs['error']}")
        for rank, theirs in enumerate(said):
            for name in sorted({*said[0], *theirs}):
                if theirs.get(name) != said[0].get(name):
                    raise RankError(
                        f"{name} is {said[0].get(name)!r} in process 0 of this run and {theirs.get(name)!r} in process "
                        f"{rank}; allowed: the same command for all, and a folder that all of them see"
                    )


def _told(name: str, otherwise: int) -> int:
    """A number that torchrun puts into the environment."""
    text = os.environ.get(name) or str(otherwise)
    if not text.isdecimal():
        raise ValueError(f"{name} is {text!r} in the environment; allowed: a whole number, as torchrun says it")
    return int(text)


def _gone(size: int) -> str:
    return (
        f"one of the {size} processes of this run has ended or cannot be reached; start all of them again with "
        "--resume to go on from the last checkpoint"
    )
