"""Where does a rule still work? Every combination of the values given, as one table.

python -m metarules.evaluation.grid --width 16 64 256 --depth 1 2 3 5 --out grid.csv

Each option takes one value or several. The same command goes on where it was stopped; other commands add their rows to
the same file.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

import torch

from metarules._checks import check_number
from metarules._files import check_target, print_whole
from metarules._words import Parser, about, exit_status
from metarules._work import time_left
from metarules.evaluation.cli import one_thread
from metarules.evaluation.grids import Axes, GridRow, GridSettings, grid_table, merged, read_grid, run_grid, write_grid
from metarules.pretrained import own_modules
from metarules.pretrained.finding import get_rule, rule_label

PROGRAM = "python -m metarules.evaluation.grid"
_HELP = {
    "data": "data sets by name; letters are glyphs",
    "size": "pixels each way, 8 to 28, for images drawn at any size",
    "width": "units of every layer but the top one, which has 32",
    "depth": "layers",
    "nonlinearity": "of the base models: relu, leaky_relu, silu, tanh, sigmoid, step, identity",
    "labels": "labelled examples per class",
    "steps": "inner steps, all read along one run",
}
_HOW = {
    "models": "base models, each with its own first weights and order of inputs",
    "splits": "draws of labelled examples",
    "examples": "of a data set",
    "seed": "where all chance starts",
}


def main(arguments: Sequence[str] | None = None, prog: str = PROGRAM) -> int:
    """The command line.

    Args:
        arguments: without the program's name; None takes those of this process.
        prog: what the program is called in its messages.

    Returns:
        Exit status: 0; 2 for bad arguments and files; 130 when stopped by hand, after which the rows that were done
        are shown and, with --out, kept.
    """
    rows: list[GridRow] = []
    began = time.monotonic()

    def report(what: str, done: float, next_: float) -> None:
        print(f"[{done:.0%}] {what}{time_left(began, done, 1)}", file=sys.stderr, flush=True)

    def work() -> None:
        given = build_parser(prog).parse_args(own_modules.import_modules(arguments))
        axes = Axes(**{f.name: tuple(getattr(given, f.name)) for f in fields(Axes)})
        settings = GridSettings(**{name: getattr(given, name) for name in _HOW})
        for name, low in (("models", 1), ("splits", 2), ("examples", 20), ("seed", 0)):
            check_number(f"--{name}", getattr(given, name), low=low, integer=True)
        with about("--rule"):
            rules = {rule_label(name): get_rule(name) for name in given.rule or ["local"]}
        given.out = given.out and check_target("--out", given.out)
        known = read_grid(given.out) if given.out and given.out.exists() else []
        torch.set_flush_denormal(True)  # weights that decay to nothing would slow every product down
        with one_thread():
            for found in run_grid(axes, rules, given.against, settings=settings, known=known, report=report):
                rows.extend(found)
                if given.out:
                    known = merged(known, found)
                    write_grid(given.out, known)

    status = exit_status(work, rows)
    if rows:
        print_whole(grid_table(rows))
    return status


def build_parser(prog: str = PROGRAM) -> Parser:
    """The options, with their help."""
    parser = Parser(
        prog=prog,
        description="Where does a rule still work? Every combination of the values given, as one table. An option "
        "takes one value or several. The same command goes on where it was stopped; others add rows to the same file.",
    )
    add = parser.add_argument
    add(own_modules.OPTION, metavar="MODULE", help=own_modules.HELP)
    add("--rule", nargs="+", metavar="NAME", help="rules by name or .safetensors file (default: local)")
    add("--against", nargs="+", default=[], metavar="NAME", help="baselines and hand-written rules to measure as well")
    for field in fields(Axes):
        default: Any = field.default
        kind = type(default[0])
        add(f"--{field.name}", nargs="+", type=kind, default=default, metavar=field.name[0].upper(),
            help=f"{_HELP[field.name]} (default: {default[0]})")  # fmt: skip
    for name, text in _HOW.items():
        add(
            f"--{name}",
            type=int,
            default=getattr(GridSettings, name),
            metavar="N",
            help=f"{text} (default: %(default)s)",
        )
    add(
        "--out",
        type=Path,
        metavar="FILE",
        help="CSV file, written after every net; rows that it holds are not made again",
    )
    return parser


if __name__ == "__main__":
    sys.exit(main())
