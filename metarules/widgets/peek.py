"""`Peek`: the line above an explorer's pictures that shows the example behind a dot."""

from __future__ import annotations

import html

import ipywidgets as widgets

from metarules.studies.example import Example
from metarules.widgets.canvas import digit_png
from metarules.widgets.parts import WIDTH, marked
from metarules.widgets.picture import Picture

_SIDE = 40  # CSS pixels; the line is as high from the start, so that nothing jumps


class Peek(widgets.HBox):
    """An image and a few words.

    CSS classes: `metarules-peek`, and in it `metarules-peek-image` and `metarules-peek-words`.

    Args:
        invites: what it says while there is nothing to show.
    """

    def __init__(self, invites: str) -> None:
        self._invites = invites
        self.image = marked(Picture(width=_SIDE, alt="The example behind a dot, once it is clicked"), "peek-image")
        self.words = marked(widgets.HTML(), "peek-words")
        super().__init__([self.image, self.words])
        self.layout = widgets.Layout(align_items="center", max_width=WIDTH, min_height=f"{_SIDE + 4}px", grid_gap="8px")
        marked(self, "peek")
        self.clear()

    def __repr__(self) -> str:
        return "Peek()"

    def show(self, example: Example | None, where: str = "") -> None:
        """Show an example; None says that there is no dot where one clicked.

        Args:
            where: which picture was clicked, if there are several of its kind.
        """
        if example is None:
            self._say(f"No dot there. {self._invites}", None)
            return
        self._say(f"This dot{where} is {example}.", example)

    def clear(self) -> None:
        """Back to the invitation."""
        self._say(self._invites, None)

    def _say(self, words: str, example: Example | None) -> None:
        seen = example is not None and example.image is not None
        if example is not None and example.image is not None:
            self.image.value, self.image.alt = digit_png(example.image), f"The {example}, in grey pixels"
        self.image.layout.display = None if seen else "none"
        self.words.value = f'<div role="status" style="line-height: 1.4">{html.escape(words)}</div>'
