"""Every arrow of the idea: what it stands for, where it is drawn, and the lesson that first draws it with a formula."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from metarules._checks import shown
from metarules.plots import style

LAYERS = (1.95, 2.95, 3.95)  # x of the three layers of neurons, in inches from the left of the figure
_ENDS = (1.2, *LAYERS)
LESSONS = range(9)  # those that show the figure; lesson 0 shows it whole


@dataclass(frozen=True)
class Words:
    """A text beside an arrow: where its middle is, in inches; `look` goes to matplotlib."""

    x: float
    y: float
    text: str
    look: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Arrow:
    """One arrow, or the same arrow once for each layer.

    Args:
        says: its name in words.
        equation: as mathtext.
        tensor: what it carries, in code.
        shape: of that tensor, in the symbols of the glossary.
        lesson: where it is met.
        color: of its lines and words.
        lines: corners of each line in inches; the head is at the last one.
        words: what stands beside it.
        width: of the lines, in points.
    """

    says: str
    equation: str
    tensor: str
    shape: str
    lesson: int
    color: str
    lines: tuple[tuple[tuple[float, float], ...], ...]
    words: tuple[Words, ...]
    width: float = 1.6

    def __str__(self) -> str:
        return f"{self.says} (lesson {self.lesson}): {self.equation}; in code {self.tensor}, {self.shape}"


def _along(y: float, letter: str, beside: float, *, up: bool) -> tuple[Any, Any]:
    """Lines from layer to layer at one height, and the names of the weights beside them."""
    lines, words = [], []
    for l in (1, 2, 3):
        left, right = (_ENDS[l - 1] + 0.14, y), (_ENDS[l] - 0.14, y)
        lines.append((left, right) if up else (right, left))
        words.append(Words((left[0] + right[0]) / 2, beside, f"${letter}^{l}$", {"size": 11}))
    return tuple(lines), words


_UP, _UP_WORDS = _along(4.68, "W", 4.82, up=True)
_DOWN, _DOWN_WORDS = _along(2.55, "V", 2.36, up=False)
_RIGHT, _LEFT = {"ha": "left"}, {"ha": "right"}

ARROWS = {
    "forward": Arrow(
        "activity up",
        r"$x^l = \mathrm{relu}\,(\mathrm{norm}_B(x^{l-1} W^l) + b^l)$",
        "forward(phi, x).x[l]",
        "[B, n_l]",
        1,
        style.FORWARD,
        _UP,
        (*_UP_WORDS, Words(0.3, 4.68, "activity up", _RIGHT)),
    ),
    "activity": Arrow(
        "its activity",
        r"$\hat x = (x - \mathrm{mean}_B\,x) \,/\, \mathrm{std}_B\,x$",
        "standardise(acts.x[l])",
        "[B, n_l]",
        2,
        style.FORWARD,
        (((6.08, 4.1), (6.38, 3.77)),),
        (Words(6.02, 4.1, r"its activity $x,\ z$", _LEFT),),
    ),
    "change": Arrow(
        "change of weights",
        r"$\Delta W = \Sigma_k\, a_k\, T_k$,  e.g. Hebb's $T = (\hat x^\mathrm{low})^\top \hat x^\mathrm{up} / B$",
        "trace.delta_W[l]",
        "[n_{l-1}, n_l]",
        2,
        style.FORWARD,
        (((7.48, 3.7), (7.8, 3.95)),),
        (Words(7.87, 3.95, "change of\nits weights\n" + r"$\Delta W,\ \Delta b$", _RIGHT),),
    ),
    "statistics": Arrow(
        "weight statistics",
        r"$h^l = \mathrm{net}_\theta(e, n)$,  in $n$: $|w|$, RMS, mean, spread",
        'named_inputs(..)["weight_stats"]',
        "[1, n_l, 8]",
        3,
        style.INK,
        (((6.08, 2.8), (6.38, 3.19)),),
        (Words(6.02, 2.8, "statistics of\nits own weights", _LEFT),),
    ),
    "signal_in": Arrow(
        "signal from above",
        r"$h^l = \mathrm{net}_\theta(e, n)$,  in $e$: $x^l,\ z^l,\ d^l$, ..",
        "trace.d[l]",
        "[B, n_l, D]",
        3,
        style.BACKWARD,
        (((6.08, 3.5), (6.38, 3.5)),),
        (Words(6.02, 3.5, "signal " + r"$\delta$" + " from\nabove, through " + "$V$", _LEFT),),
    ),
    "signal_out": Arrow(
        "signal to send down",
        r"$\delta^l = d^l\, \sigma(z^l) + h^l R$",
        "trace.delta[l]",
        "[B, n_l, D]",
        3,
        style.BACKWARD,
        (((7.48, 3.275), (7.8, 3.0)),),
        (Words(7.87, 3.0, "signal " + r"$\delta$" + "\nto send\ndown", _RIGHT),),
    ),
    "backward": Arrow(
        "signals back",
        r"$d^{l-1} = \delta^l\, (V^l)^\top / \,\mathrm{RMS}$",
        "trace.d[l - 1]",
        "[B, n_{l-1}, D]",
        4,
        style.BACKWARD,
        _DOWN,
        (*_DOWN_WORDS, Words(0.3, 2.55, r"signals $\delta$ back", _RIGHT)),
    ),
    "fit": Arrow(
        "read-out is fitted",
        r"$w = (A^\top A + \lambda I')^{-1} A^\top y$,  $A = [x^L, 1]$",
        "ridge_fit(x[L], y)",
        "[n_L + 1, k]",
        5,
        style.INK,
        (((LAYERS[2], 2.66), (LAYERS[2], 1.24)),),
        (Words(LAYERS[2] - 0.08, 1.52, "top layer, after some steps", _LEFT),),
    ),
    "score": Arrow(
        "answers are scored",
        r"$\mathrm{loss} = \mathrm{mean}_b\, |\,p_b / |p_b| - y_b\,|^2 + \lambda |w|^2 / n$,  $p = A_b w$",
        "ridge_cosine_loss(..)",
        "[]",
        5,
        style.INK,
        (((5.14, 0.775), (5.68, 0.775)),),
        (),
    ),
    "again": Arrow(
        "the next step",
        r"$\phi_{t+1} = \mathrm{rule}(\phi_t, x_t; \theta)$",
        "phi = rule(phi, x)",
        "W, b, V as before",
        6,
        style.FORWARD,
        (((8.3, 4.87), (8.3, 5.02), (LAYERS[2], 5.02), (LAYERS[2], 4.74)),),
        (Words(6.3, 5.16, "next step, next batch"),),
    ),
    "gradient": Arrow(
        "gradient",
        r"$\theta \leftarrow \theta - \alpha\ \partial\,\mathrm{loss} / \partial\,\theta$",
        "grad(loss, rule.parameters())",
        "as theta",
        7,
        style.OUTER,
        (((6.93, 1.24), (6.93, 2.91)),),
        (Words(7.05, 1.55, "gradient changes " + r"$\theta$", {**_RIGHT, "weight": "bold"}),),
        2.2,
    ),
}


def arrows_of(lesson: int) -> tuple[str, ...]:
    """Names of the arrows that a lesson is the first to explain.

    Raises:
        ValueError: no lesson that shows the figure.
    """
    if lesson not in LESSONS:
        raise ValueError(f"lesson is {shown(lesson)}; allowed: a whole number from 0 to {LESSONS[-1]}")
    return tuple(name for name, arrow in ARROWS.items() if arrow.lesson == lesson)


def arrow_at(x: float, y: float, among: Sequence[str], reach: float = 0.3) -> str | None:
    """The arrow whose line or words are nearest to a place, in inches from the lower left; None if none is near."""
    near = {name: _distance(x, y, ARROWS[name]) for name in among}
    name = min(near, key=lambda name: near[name], default=None)
    return name if name is not None and near[name] <= reach else None


def _distance(x: float, y: float, arrow: Arrow) -> float:
    """From a place to the nearest line of an arrow, or to the middle of its words."""
    places = [(words.x, words.y) for words in arrow.words]
    found = [((x - a) ** 2 + (y - b) ** 2) ** 0.5 for a, b in places]
    for line in arrow.lines:
        for (a, b), (c, d) in zip(line, line[1:], strict=False):
            along = ((x - a) * (c - a) + (y - b) * (d - b)) / ((c - a) ** 2 + (d - b) ** 2)
            along = min(1.0, max(0.0, along))
            found.append(((x - a - along * (c - a)) ** 2 + (y - b - along * (d - b)) ** 2) ** 0.5)
    return min(found)
