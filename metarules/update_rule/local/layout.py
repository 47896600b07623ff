"""Where the read-outs of h lie in the parameters of a `LocalRule`, for whatever terms it has."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor

from metarules.update_rule.terms import READOUTS, SIDES, Readout

_ENDS = {"upper": ("top", "bottom"), "lower": ("bottom", "top")}  # what comes first in each side's columns


@dataclass(frozen=True)
class Layout:
    """Which columns of a side's read-outs serve which low-rank matrix; each takes as many as `settings.readouts`.

    Attributes:
        readouts: name of a term -> its `Readout`.
        columns: side -> (name, end) in order.
        groups: names whose read-outs lie side by side, so that one batched matrix product serves them all.
    """

    readouts: Mapping[str, Readout]
    columns: Mapping[str, tuple[tuple[str, str], ...]]
    groups: tuple[tuple[str, ...], ...]

    @classmethod
    def of(cls, readouts: Mapping[str, Readout]) -> Layout:
        """The layout for these read-outs: the paper's first, in its own order, then any others as given."""
        own = [name for name in READOUTS if name in readouts]
        others = [name for name in readouts if name not in READOUTS]
        columns = {
            side: tuple(
                (name, end)
                for names in (own, others)
                for end in _ENDS[side]
                for name in names
                if readouts[name].ends.get(end) == side
            )
            for side in SIDES
        }
        groups: list[list[str]] = []
        for name in (*own, *others):
            ends = readouts[name].ends.items()
            for group in groups:
                last = group[-1]
                if readouts[last] == readouts[name] and all(
                    columns[side].index((name, end)) == columns[side].index((last, end)) + 1 for end, side in ends
                ):
                    group.append(name)
                    break
            else:
                groups.append([name])
        return cls(dict(readouts), columns, tuple(map(tuple, groups)))

    def part(self, names: tuple[str, ...], end: str, upper: Tensor, lower: Tensor, channels: int) -> Tensor:
        """The read-outs of a group at one end, a view [names x channels, *tasks, n, batch]."""
        readout = self.readouts[names[0]]
        end = "top" if readout.shared else end
        side = readout.ends[end]
        start = self.columns[side].index((names[0], end)) * channels
        return (upper if side == "upper" else lower)[start : start + len(names) * channels]
