"""What the tests of the widgets share: what is seen of one, and what a change of a control changes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from metarules.widgets import Explorable


def pictures(widget: Explorable) -> dict[str, bytes]:
    return {name: panel.value for name, panel in widget.panels.items()}


def changed(widget: Explorable, act: Callable[[], Any]) -> set[str]:
    """Names of the panels whose picture an action changes."""
    before = pictures(widget)
    act()
    assert widget.wait(300)
    return {name for name, png in pictures(widget).items() if png != before[name]}


def setting(control: Any, value: Any) -> Callable[[], None]:
    return lambda: setattr(control, "value", value)


def css_classes(widget: Any) -> set[str]:
    """The CSS classes of ours, of a widget and all that stands in it."""
    own = {name for name in widget._dom_classes if name.startswith("metarules-")}
    return own.union(*(css_classes(part) for part in getattr(widget, "children", ())))
