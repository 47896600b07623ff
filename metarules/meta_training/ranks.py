"""Several processes as one: which share of the work is mine, and sums over all of them.

Processes are started by torchrun, which says in the environment who is who; without it there is one process and
nothing here does anything. On GPUs nccl carries the sums, on CPUs gloo.
"""

from __future__ import annotations

import os
from contextlib import suppress
from types import TracebackType

import torch
import torch.distributed as dist
from torch import Tensor

from metarules._checks import check_choice, check_number


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

    def __init__(self, rank: int = 0, size: int = 1, device: str = "cpu") -> None:
        check_number("size", size, low=1, integer=True)
        check_number("rank", rank, low=0, high=size - 1, integer=True)
        self.rank, self.size, self.device = rank, size, torch.device(device)

    @classmethod
    def from_environment(cls, device: str = "cpu") -> Ranks:
        """Who this process is, as torchrun says it; alone where torchrun did not start it.

        With device "cuda" each process of a machine takes a GPU of its own.

        Raises:
            ValueError: another device than "cpu" or "cuda", or no GPU.
        """
        check_choice("device", device, ("cpu", "cuda") if torch.cuda.is_available() else ("cpu",))
        if device == "cuda":
            device = f"cuda:{int(os.environ.get('LOCAL_RANK', '0'))}"
        return cls(int(os.environ.get("RANK", "0")), int(os.environ.get("WORLD_SIZE", "1")), device)

    def __enter__(self) -> Ranks:
        if self.size > 1:
            # torch.optim imports it, too late: it would keep the group, whose threads can abort the interpreter's end
            import torch.distributed.nn.functional  # noqa: F401

            try:
                dist.init_process_group("nccl" if self.device.type == "cuda" else "gloo")
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
            dist.all_reduce(there)
        except RuntimeError as error:
            raise RankError(_gone(self.size)) from error
        return there.to(values.device)

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


def _gone(size: int) -> str:
    return (
        f"one of the {size} processes of this run has ended or cannot be reached; start all of them again with "
        "--resume to go on from the last checkpoint"
    )
