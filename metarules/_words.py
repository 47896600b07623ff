"""Words that a user mistypes: the nearest known one, on command lines and in errors."""

from __future__ import annotations

import argparse
import re
import sys
import textwrap
from collections.abc import Callable, Iterable, Iterator, Sequence, Sized
from contextlib import contextmanager
from difflib import get_close_matches
from typing import Any, NoReturn

MOST_SAID = 1000  # characters of an error: values can be long, and what is allowed stands behind them
_ALIKE = 0.6  # difflib's share of letters in common; `locl` and `local` have 0.89


def nearest(word: object, known: Iterable[str]) -> str:
    """How an error ends that is about an unknown word: " (nearest: 'local')", or nothing where none is near.

    Example:
        >>> nearest("locl", ["local", "oja"])
        " (nearest: 'local')"
    """
    found = get_close_matches(word, list(known), 1, _ALIKE) if isinstance(word, str) else []
    return f" (nearest: {found[0]!r})" if found else ""


def shortened(text: str) -> str:
    """A text without its middle, if it is long."""
    return text if len(text) <= MOST_SAID else f"{text[: MOST_SAID // 2]} .. {text[-MOST_SAID // 2 :]}"


@contextmanager
def about(option: str) -> Iterator[None]:
    """Errors in what an option was given, as a ValueError that begins with the option."""
    try:
        yield
    except (ValueError, TypeError, OSError) as error:
        raise ValueError(f"{option}: {error}") from error


def exit_status(work: Callable[[], object], rows: Sized) -> int:
    """Do the work of a command line that fills `rows`: 0; 2 after an error; 130 when stopped by hand, either said."""
    try:
        work()
    except (ValueError, TypeError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print(f"stopped after {len(rows)} rows", file=sys.stderr)
        return 130
    return 0


class _Help(argparse.HelpFormatter):
    """Help whose lines end at blanks: a name or an option with hyphens stays in one piece, to be copied."""

    def _split_lines(self, text: str, width: int) -> list[str]:
        return textwrap.wrap(" ".join(text.split()), width, break_on_hyphens=False)

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        return textwrap.indent("\n".join(self._split_lines(text, width - len(indent))), indent)


class Parser(argparse.ArgumentParser):
    """An `ArgumentParser` without abbreviations that answers an unknown option or choice with the nearest known one."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**{"allow_abbrev": False, "formatter_class": _Help, **settings})

    def error(self, message: str) -> NoReturn:
        """As `ArgumentParser.error`, shortened."""
        if found := re.search(r"invalid choice: '([^']*)' \(choose from (.*)\)$", message):
            message += nearest(found[1], re.findall(r"[\w.-]+", found[2]))
        super().error(shortened(message))

    def parse_args(  # type: ignore[override]
        self, args: Sequence[str] | None = None, namespace: argparse.Namespace | None = None
    ) -> argparse.Namespace:
        """As `ArgumentParser.parse_args`."""
        found, unknown = self.parse_known_args(args, namespace)
        if unknown:
            options = (option for action in self._actions for option in action.option_strings)
            self.error(f"unknown: {' '.join(unknown)}{nearest(unknown[0].partition('=')[0], options)}")
        return found
