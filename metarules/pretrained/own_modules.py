"""Modules of a user's own, which a command line imports before it looks at anything else."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from importlib import import_module

OPTION = "--import"
HELP = (
    "a module of your own to import first, so that the kinds of rules, terms, hand-written rules, data sets and "
    "families of tasks it registers are known; may be repeated"
)


def import_modules(arguments: Sequence[str] | None) -> list[str]:
    """Import what `--import MODULE` names anywhere in the arguments, in their order; None takes this process's.

    Returns:
        The other arguments.

    Raises:
        ValueError: no such module, or no module's name. What goes wrong inside one is its own error.
    """
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument(OPTION, dest="modules", action="append", nargs="?", const="", default=[])
    found, rest = parser.parse_known_args(sys.argv[1:] if arguments is None else arguments)
    for name in found.modules:
        if not all(name.split(".")) or name.endswith(".py") or "/" in name or "\\" in name:
            raise ValueError(f"{OPTION} is {name!r}; allowed: a module name such as my_rule, not a path")
        try:
            import_module(name)
        except ModuleNotFoundError as error:
            if not name.startswith(error.name or name):  # a module that this one imports
                raise
            raise ValueError(f"{OPTION} is {name!r}; allowed: a module that Python finds from here ({error})") from None
    return rest
