"""The idea figure of a lesson: a click or a key on an arrow gives its equation, its tensor and that tensor's shape."""

from __future__ import annotations

from typing import Any

import traitlets
from matplotlib.figure import Figure

from metarules.plots.idea import SIZE, idea_alt, idea_figure, legend_figure, legend_height, mark_figure
from metarules.plots.idea_arrows import ARROWS, arrow_at, arrows_of
from metarules.plots.style import DPI, figure_to_png
from metarules.widgets.picture import Picture, compact_png, multiplied, one_above

_NAMES = tuple(ARROWS)
# A picture that has the focus hears the arrow keys. JupyterLab would take them for its own, see `keys`.
_ESM = Picture._esm.replace(
    "export default { render };",
    """
const MOVES = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1, Home: 0 };
function renderWithKeys({ model, el }) {
  const close = render({ model, el });
  const img = el.querySelector("img");
  img.tabIndex = 0;
  const own = event => event.key in MOVES && !event.ctrlKey && !event.metaKey && !event.altKey && !event.shiftKey;
  const claim = event => {
    if (event.target === img) img.toggleAttribute("data-lm-suppress-shortcuts", own(event));
  };
  window.addEventListener("keydown", claim, true);
  img.addEventListener("keydown", event => {
    if (!own(event)) return;
    event.preventDefault();
    event.stopPropagation();
    const [places, move] = [model.get("places"), MOVES[event.key]];
    model.set("at", move ? (model.get("at") + move + places) % places : 0);
    model.save_changes();
  });
  return () => {
    window.removeEventListener("keydown", claim, true);
    close();
  };
}
export default { render: renderWithKeys };
""",
)


class IdeaMap(Picture):
    """The idea in one picture, as far as it has been explained.

    Untouched, what the lesson explains stands under the picture. A click on an arrow or its words marks the arrow and
    puts its line there, whichever lesson it belongs to; a click elsewhere brings the lesson's own back. With the focus
    on the picture the arrow keys go through the arrows, and Home brings the lesson's own back.

    Args:
        lesson: arrows explained up to this lesson are drawn strongly; None draws all so.
        width: CSS pixels; a lesson's own is smaller than the whole figure.

    Raises:
        ValueError: a lesson that does not show the figure.

    Traits:
        at: 0 where the lesson's own arrows are explained, else 1 + the number of the one arrow that is.
        places: how many values `at` has.
    """

    _esm = _ESM
    # within the picture, which is white in both themes: what lies outside an output is cut off
    _css = ".metarules-idea img:focus-visible { outline: 2px solid #1f2328; outline-offset: -2px; }"
    at = traitlets.Int(0).tag(sync=True)
    places = traitlets.Int(1 + len(_NAMES)).tag(sync=True)

    def __init__(self, lesson: int | None = None, width: int | None = None) -> None:
        self.lesson = lesson
        super().__init__(clickable=True, width=width or round((0.8 if lesson else 1.0) * SIZE[0] * DPI))
        self.add_class("metarules-idea")
        # drawn once: a click is then answered soon
        self._above = figure_to_png(idea_figure(lesson=lesson, explained=()))
        self._draw()
        self.observe(self._answer, names="clicked")
        self.observe(self._draw, names="at")

    def __repr__(self) -> str:
        return "IdeaMap()"

    @property
    def explained(self) -> tuple[str, ...]:
        """Names of the arrows whose lines stand under the picture."""
        return (_NAMES[self.at - 1],) if self.at else arrows_of(self.lesson or 0)

    def figure(self) -> Figure:
        """What is shown now, as a Figure."""
        return idea_figure(lesson=self.lesson, explained=self.explained, marked=self.explained[0] if self.at else None)

    def _answer(self, change: Any) -> None:
        across, down, _ = change["new"]
        height = SIZE[1] + legend_height(len(self.explained))
        name = arrow_at(across * SIZE[0], SIZE[1] - down * height, _NAMES)
        self.at = 0 if name is None else 1 + _NAMES.index(name)

    def _draw(self, change: Any = None) -> None:
        self.alt, names = idea_alt(self.lesson, self.explained), self.explained
        above = multiplied(self._above, figure_to_png(mark_figure(names[0]))) if self.at else self._above
        self.value = one_above(above, figure_to_png(legend_figure(names))) if names else compact_png(above)
