"""What a caller may say about a file, the limits of what is read, and what a file held."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np

from metarules._checks import check_number

LEAST_PER_CLASS = 11  # the few-shot probe labels ten examples of each class and asks for the others
MAX_CLASSES = 60  # class colours and markers that pictures can tell apart
MAX_EXAMPLES = 100_000  # what is read within seconds
MAX_INPUTS = 4096  # an image of 64 x 64; with more, a base model of 32 units a layer is the wrong tool
MAX_NUMBERS = 25_000_000  # of one data set: as float64 on the way, with copies, under a gigabyte
MAX_BYTES = 100_000_000  # of one file, unpacked
LARGEST = 1e30  # values beyond it overflow float32, or the sums taken of them
SIDE = 16  # pixels images are brought to: four times the digits' 64 inputs, still quick to learn from
SEPARATORS = ";\t|, "  # where two do, the first: between semicolons, commas are decimal marks

UNLABELLED = (
    "label=False reads data without labels, which a rule can learn from; only the probe that measures features asks "
    "for labels"
)

Label: TypeAlias = str | int | bool | None  # True is refused
Columns: TypeAlias = str | int | Sequence[str | int]
Shape: TypeAlias = tuple[int, int] | Literal["auto"] | None
Scale: TypeAlias = float | Literal["auto", "columns", "one"]


@dataclass(frozen=True)
class Asked:
    """The options of `read_dataset`, checked; its docstring says what they mean.

    Raises:
        ValueError, TypeError: naming the option, its value and what is allowed.
    """

    label: Label = None
    drop: Columns = ()
    keep: Columns = ()
    header: bool | None = None
    shape: Shape = "auto"
    separator: str | None = None
    decimal: str | None = None
    scale: Scale = "auto"
    side: int = SIDE
    per_class: int = LEAST_PER_CLASS

    def __post_init__(self) -> None:
        check_number("per_class", self.per_class, low=1, integer=True)
        check_number("side", self.side, low=4, high=64, integer=True)
        for name, allowed in (
            ("header", (None, True, False)),
            ("separator", (None, *SEPARATORS)),
            ("decimal", (None, ".", ",")),
        ):
            if getattr(self, name) not in allowed:
                raise ValueError(f"{name} is {getattr(self, name)!r}; allowed: {', '.join(map(repr, allowed))}")
        for name in ("drop", "keep"):
            if not isinstance(getattr(self, name), str | int | list | tuple):
                raise ValueError(f"{name} is {getattr(self, name)!r}; allowed: names or numbers of columns")
        if isinstance(self.scale, bool | str) and self.scale not in ("auto", "columns", "one"):
            raise ValueError(f"scale is {self.scale!r}; allowed: 'auto', 'columns', 'one', or the value that becomes 1")
        if not isinstance(self.scale, str):
            check_number("scale", self.scale, low=0, low_open=True, high=LARGEST)

    def refuse(self, kind: str, *names: str) -> None:
        """Refuse options that mean nothing for a kind of data, rather than pass over them.

        Raises:
            ValueError: one of them was given.
        """
        for name in names:
            if getattr(self, name) != getattr(Asked, name):
                raise ValueError(f"{name} is {getattr(self, name)!r}; allowed for {kind}: nothing, it is for tables")


@dataclass(frozen=True)
class Raw:
    """What a file held, before any scaling.

    Attributes:
        name: of the file, for messages.
        values: finite numbers [N, n], float64.
        labels: what each row is called [N]; None where there are no labels.
        where: what the labels were, for messages: "column 5, 'class'".
        shape: (height, width) where rows are known to be images; None where that is still to be decided.
        names: of the columns, "" where they have none.
        notes: what else was decided, and what was left out, in words.
    """

    name: str
    values: np.ndarray
    labels: Sequence[str] | None
    where: str
    shape: tuple[int, int] | None = None
    names: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
