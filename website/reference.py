"""The API reference out of docstrings: names of this package, each once, shapes such as [*tasks, n] as they stand."""

from __future__ import annotations

import re
from typing import Any

from sphinx.application import Sphinx

EMPHASIS = re.compile(r"(?<![\w*])\*(?=[^\s*])[^*`]*?(?<=[^\s*])\*(?![\w*])")
LITERAL = re.compile(r"``.*?``|`[^`]*`")


def escape(line: str) -> str:
    """A line of prose in which * and | are letters, except in code and where * stands on both sides of words."""
    if line.lstrip().startswith((">>>", "...")):
        return line
    kept = [match.span() for pattern in (LITERAL, EMPHASIS) for match in pattern.finditer(line)]
    inside = [any(low <= i < high for low, high in kept) for i in range(len(line))]
    return "".join(rf"\{c}" if c in "*|" and not code else c for c, code in zip(line, inside, strict=True))


def on_docstring(app: Sphinx, what: str, name: str, thing: Any, options: Any, lines: list[str]) -> None:
    if what == "module":  # its table is as wide as it is: a sign for a sign
        lines[:] = [line.replace("*", "\u2217").replace("|", "\u2223") for line in lines]
    else:
        lines[:] = map(escape, lines)


def on_member(app: Sphinx, what: str, name: str, thing: Any, skip: bool, options: Any) -> bool | None:
    """Skip what other packages define, and what a page has already."""
    home = getattr(thing, "__module__", None)
    if what == "module":
        seen = app.env.temp_data.setdefault("metarules_seen", set())
        if not str(home).startswith("metarules") or id(thing) in seen:
            return True
        seen.add(id(thing))
    return None


def setup(app: Sphinx) -> dict[str, Any]:
    app.connect("autodoc-process-docstring", on_docstring, priority=400)  # before napoleon
    app.connect("autodoc-skip-member", on_member)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
