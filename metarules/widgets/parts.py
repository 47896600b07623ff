"""Ready-made parts: rows, the fold, and the boxes and menus that stand in it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import ipywidgets as widgets

from metarules.widgets.picture import Picture

PREFIX = "metarules"  # of the CSS classes, by which tests and style sheets find the parts
WIDTH = "920px"  # two panels and the gap between them


def marked(widget: Any, name: str) -> Any:
    """Give a widget the CSS class `metarules-NAME`, and give it back."""
    widget.add_class(f"{PREFIX}-{name}")
    return widget


def row(parts: Sequence[widgets.Widget]) -> widgets.HBox:
    """Controls side by side."""
    layout = widgets.Layout(flex_flow="row wrap", align_items="center", max_width=WIDTH)
    return widgets.HBox(list(parts), layout=layout)


def folded(parts: Sequence[widgets.Widget], title: str) -> widgets.Accordion:
    """Controls out of sight until the title is clicked."""
    inside = widgets.HBox(list(parts), layout=widgets.Layout(flex_flow="row wrap"))
    fold = widgets.Accordion([inside], titles=[title], selected_index=None)
    fold.layout = widgets.Layout(max_width=WIDTH, margin="2px 0")
    return fold


def pictures(parts: Sequence[widgets.Widget]) -> widgets.HBox:
    """Pictures side by side, two in a row down to a column of 612 pixels: they shrink before they wrap.

    A picture of more than half the width has a row of its own.
    """
    for part in parts:
        if isinstance(part, Picture):
            least = "300px" if 2 * part.width <= int(WIDTH.removesuffix("px")) else "100%"
            part.layout.flex, part.layout.min_width, part.layout.max_width = f"1 1 {least}", "0", f"{part.width}px"
    layout = widgets.Layout(flex_flow="row wrap", grid_gap="12px", max_width=WIDTH)
    return widgets.HBox(list(parts), layout=layout)


def wide(label: int = 150, width: int = 430) -> dict[str, Any]:
    """Style of a control with a label of `label` pixels; by default two of them fill a row of the fold."""
    return {"style": {"description_width": f"{label}px"}, "layout": widgets.Layout(width=f"{width}px")}


def number(text: str, value: int = 0, **style: Any) -> widgets.IntText:
    """A box for a whole number, which counts once it is typed to the end."""
    return widgets.IntText(value=value, description=text, continuous_update=False, **(style or wide()))


def menu(text: str, options: Sequence[Any], value: Any, **style: Any) -> widgets.Dropdown:
    """A menu of options, each a text or a (text, value)."""
    return widgets.Dropdown(description=text, options=options, value=value, **(style or wide()))


def layer_menu(text: str, depth: int, value: int) -> widgets.Dropdown:
    """A menu of the layers 1 .. depth."""
    return menu(text, [(f"layer {l}", l) for l in range(1, depth + 1)], value)
