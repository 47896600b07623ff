"""What a timing waits for: things that come true in the page."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple


class Condition(NamedTuple):
    """Something that comes true in the page; a name and settings of `conditions` in harness.js."""

    kind: str
    settings: Mapping[str, Any]


def pictures_change(selector: str) -> Condition:
    """Every image at the selector shows another, fully loaded picture than when the timing began."""
    return Condition("pictures", {"selector": selector})


def text_changes(selector: str) -> Condition:
    """The text at the selector is another than when the timing began."""
    return Condition("text", {"selector": selector, "pattern": None})


def text_matches(selector: str, pattern: str) -> Condition:
    """The text at the selector matches a JavaScript regular expression."""
    return Condition("text", {"selector": selector, "pattern": pattern})


def visible(selector: str, wanted: bool = True) -> Condition:
    """Something at the selector can be seen, or nothing can."""
    return Condition("visible", {"selector": selector, "wanted": wanted})


def js(source: str) -> Condition:
    """A JavaScript function without arguments gives true."""
    return Condition("js", {"source": source})
