"""Two snapshots of a meta-training run side by side: their embeddings, filters, curves and terms, as films.

Frame number s F + f of these films is snapshot s at recorded inner step f of F: one film can be played along either.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from metarules.plots import style
from metarules.plots.embedding import separation
from metarules.plots.film import Film
from metarules.plots.filters import mosaic, smoothness
from metarules.studies.planes import turned_to
from metarules.studies.timeline import Timeline

_SIDE, _BOTTOM = 2.1, 0.12  # inches: the squares of the two snapshots
_LEFTS = (0.1, 2.3)
_DASHES = ("-", "--", ":", "-.")
KIND_COLOURS = (style.FORWARD, style.BACKWARD, style.OUTER)  # digits, letters, handwriting


class TimelineFilm(Film):
    """Base of these films.

    Args:
        timeline: see there; the snapshots shown must have been taught.
        beside: number of the snapshot to compare with.
        kind: number of the kind of data shown, see `Timeline.kinds`.
        figure, moving: as for `Film`; the corner's text is made here.
    """

    def __init__(
        self, timeline: Timeline, beside: int, kind: int, figure: Figure, corner: Any, moving: Sequence[Artist]
    ) -> None:
        self.timeline, self.beside, self.kind, self._corner = timeline, beside, kind, corner
        super().__init__(figure, len(timeline.evolution.rules) * len(timeline.steps), [*moving, corner])

    def at(self, frame: int) -> tuple[int, int]:
        """Snapshot and recorded inner step of a frame."""
        return divmod(frame, len(self.timeline.steps))

    def set_frame(self, frame: int) -> None:
        """Show a snapshot at a recorded inner step."""
        number, step = self.at(frame)
        self._corner.set_text(f"inner step {self.timeline.steps[step]}")
        self.draw(number, step)

    def draw(self, number: int, step: int) -> None:
        """Give the moving artists their data."""
        raise NotImplementedError(f"{type(self).__name__} must define draw")

    def name(self, number: int) -> str:
        """What a snapshot is called."""
        return called(self.timeline.evolution.meta_steps[number])

    def where(self, frame: int) -> str:
        """Both snapshots and the inner step, for alternative texts."""
        number, step = self.at(frame)
        return f"{self.name(self.beside)} and {self.name(number)}, at inner step {self.timeline.steps[step]}"


def called(meta_step: int) -> str:
    """What a snapshot of a meta-step is called."""
    return "before meta-training" if meta_step == 0 else f"after {meta_step:,} meta-step{'s' if meta_step > 1 else ''}"


class EmbeddingPair(TimelineFilm):
    """The top layer of one base model under two snapshots. The second cloud is turned towards the first."""

    def __init__(self, timeline: Timeline, beside: int, kind: int) -> None:
        noun = "letter" if timeline.kinds[kind] == "glyphs" else timeline.labels[kind].removesuffix("s")
        figure, corner = style.panel_figure("The top layer", f"a dot: one {noun}; a colour: one class")
        self._labels = timeline.task.y[kind].numpy()[timeline.dots]
        self._classes = np.unique(self._labels)
        self._points: dict[int, np.ndarray] = {}
        points = timeline[beside].points[:, kind]
        reach = 1.15 * float(np.abs(points).max())
        squares = self._squares = [_square(figure, left, reach) for left in _LEFTS]
        self._dots = [
            [
                style.dots(axes, np.empty((0, 2)), 7, style.class_colour(int(c)), style.class_marker(int(c)))
                for c in self._classes  # one artist a class
            ]
            for axes in squares
        ]
        self._names = _names(figure)
        moving = [*self._dots[0], *self._dots[1], *self._names]
        super().__init__(timeline, beside, kind, figure, corner, moving)

    def points(self, number: int) -> np.ndarray:
        """Of a snapshot, in the plane of the one beside [frames, dots, 2]."""
        if number not in self._points:
            own, other = (self.timeline[n].points[:, self.kind] for n in (number, self.beside))
            self._points[number] = turned_to(own, other)
        return self._points[number]

    def clouds(self, frame: int) -> list[tuple[Axes, np.ndarray]]:
        """As `Film.clouds`: under both snapshots."""
        number, step = self.at(frame)
        places = [self.points(shown)[step] for shown in (self.beside, number)]
        return list(zip(self._squares, places, strict=True))

    def draw(self, number: int, step: int) -> None:
        """Move the dots."""
        for dots, shown in zip(self._dots, (self.beside, number), strict=True):
            points = self.points(shown)[step]
            for label, of_class in zip(self._classes, dots, strict=True):
                of_class.set_data(*points[self._labels == label].T)
        _write_names(self, number)

    def alt(self, frame: int) -> str:
        """How far apart the class centres are, under both."""
        number, step = self.at(frame)
        apart = [separation(self.points(n)[step], self._labels) for n in (self.beside, number)]
        return (
            f"Two scatter plots of {len(self._labels)} {self.timeline.labels[self.kind]} by their top-layer activity: "
            f"{self.where(frame)}. Class centres are {apart[0]:.1f} and {apart[1]:.1f} times as far apart as the "
            "examples of a class."
        )


class FilterPair(TimelineFilm):
    """The first layer's filters of one base model under two snapshots; a place is the same neuron in both."""

    def __init__(self, timeline: Timeline, beside: int, kind: int) -> None:
        figure, corner = style.panel_figure("First-layer filters", "a place: the same neuron; red +, blue −")
        self._images = []
        sheet = mosaic(timeline[beside].filters[-1, kind])
        for left in _LEFTS:
            axes = style.bare(style.axes_at(figure, left, _BOTTOM, _SIDE, _SIDE), frame=False)
            look: dict[str, Any] = {"cmap": style.DIVERGING, "vmin": -1, "vmax": 1, "interpolation": "nearest"}
            self._images.append(axes.imshow(sheet, **look))
        self._names = _names(figure)
        super().__init__(timeline, beside, kind, figure, corner, [*self._images, *self._names])

    def draw(self, number: int, step: int) -> None:
        """Show both mosaics."""
        for image, shown in zip(self._images, (self.beside, number), strict=True):
            image.set_data(mosaic(self.timeline[shown].filters[step, self.kind]))
        _write_names(self, number)

    def alt(self, frame: int) -> str:
        """How far neighbouring pixels agree, under both."""
        number, step = self.at(frame)
        smooth = [smoothness(self.timeline[n].filters[step, self.kind]) for n in (self.beside, number)]
        return (
            f"Two mosaics of the first layer's filters: {self.where(frame)}. Neighbouring pixels correlate by "
            f"{smooth[0]:.2f} and {smooth[1]:.2f}."
        )


class CurvesFilm(TimelineFilm):
    """Few-shot accuracy on every kind of data, and the cosine of W and V in every layer, over the inner steps."""

    def __init__(self, timeline: Timeline, beside: int, kind: int) -> None:
        figure, corner = style.panel_figure("Accuracy, and W against V", "thick: the slider's; thin: the one beside")
        width, height, bottom = 1.72, 1.68, 0.45
        self._left = style.quiet_axes(style.axes_at(figure, 0.4, bottom, width, height), "inner step")
        right = style.quiet_axes(style.axes_at(figure, 2.68, bottom, width, height), "inner step")
        low = np.floor(10 * float(timeline[beside].accuracies.min()) - 0.5) / 10
        for axes in (self._left, right):
            style.step_axis(axes, timeline.steps)
        self._left.set(ylim=(max(low, 0.0), 1.0))
        right.set(ylim=(-0.15, 1.06), yticks=(0, 0.5, 1))
        style.put_text(figure, 0.1, 2.52, "few-shot accuracy", size=style.SMALL)
        style.put_text(figure, 2.4, 2.52, f"cosine of W and V, {timeline.labels[kind]}", size=style.SMALL)
        depth = timeline[beside].cosines.shape[-1]
        self._accuracy, self._cosine = [], []
        for k, label in enumerate(timeline.labels):
            self._left.plot(timeline.steps, timeline[beside].accuracies[:, k], color=KIND_COLOURS[k], linewidth=1)
            line = self._left.plot([], [], color=KIND_COLOURS[k], linewidth=2.6, label=label)[0]
            self._accuracy.append(line)
        for l in range(depth):
            look: dict[str, Any] = {"color": style.INK, "linestyle": _DASHES[l % len(_DASHES)]}
            right.plot(timeline.steps, timeline[beside].cosines[:, kind, l], linewidth=0.9, **look)
            self._cosine.append(right.plot([], [], linewidth=2.2, label=f"{l + 1}" if l else "layer 1", **look)[0])
        for axes, handle in ((self._left, 0.8), (right, 1.3)):
            axes.legend(
                loc="lower center", bbox_to_anchor=(0.45, 0.98), ncols=4, fontsize=style.SMALL, frameon=False,
                handlelength=handle, handletextpad=0.4, columnspacing=0.7, borderpad=0.2,
            )  # fmt: skip
        self._marks = [
            axes.plot([0, 0], axes.get_ylim(), color=style.MUTED, linewidth=1)[0] for axes in (self._left, right)
        ]
        moving = [*self._accuracy, *self._cosine, *self._marks]
        super().__init__(timeline, beside, kind, figure, corner, moving)

    def draw(self, number: int, step: int) -> None:
        """Draw the snapshot's curves and mark the step."""
        taught = self.timeline[number]
        for k, line in enumerate(self._accuracy):
            line.set_data(taught.steps, taught.accuracies[:, k])
        for l, line in enumerate(self._cosine):
            line.set_data(taught.steps, taught.cosines[:, self.kind, l])
        for mark in self._marks:
            mark.set_xdata([taught.steps[step]] * 2)

    def alt(self, frame: int) -> str:
        """The numbers in words."""
        number, step = self.at(frame)
        now, other = (self.timeline[n] for n in (number, self.beside))
        pairs = ", ".join(
            f"{label} {other.accuracies[step, k]:.2f} and {now.accuracies[step, k]:.2f}"
            for k, label in enumerate(self.timeline.labels)
        )
        cosines = ", ".join(f"{c:.2f}" for c in now.cosines[step, self.kind])
        return (
            f"Curves over the inner steps. Few-shot accuracy of {self.where(frame)}: {pairs}. Cosine of W and V by "
            f"layer, {self.name(number)}: {cosines}."
        )


class TermsFilm(TimelineFilm):
    """What the rule's terms weigh: coefficient times mean gate, a bar a term, with the other snapshot's as a mark."""

    def __init__(self, timeline: Timeline, beside: int, kind: int) -> None:
        subtitle = "bar: coefficient x mean gate; tick: coefficient; ring: the one beside"
        figure, corner = style.panel_figure("Terms of the change of W", subtitle)
        self.terms = timeline.evolution.terms
        table = np.array([timeline.evolution.table[name] for name in self.terms])  # [terms, snapshots]
        self._coefficients = table
        bottom, height = 0.3, 2.4
        axes = style.quiet_axes(style.axes_at(figure, 1.3, bottom, 3.05, height), "")
        reach = 1.35 * float(np.abs(table).max())
        places = np.arange(len(self.terms))[::-1]
        axes.set(xlim=(-reach, reach), ylim=(-0.7, len(self.terms) - 0.3), yticks=places)
        axes.set_yticklabels(self.terms, fontsize=style.SMALL, color=style.INK)
        axes.tick_params(axis="y", length=0)
        axes.axvline(0, color=style.MUTED, linewidth=0.8)
        self._places = places
        self._bars = list(axes.barh(places, np.zeros(len(places)), height=0.62, color=style.FORWARD))
        look: dict[str, Any] = {"linestyle": "", "color": style.INK}
        (self._ticks,) = axes.plot([], [], marker="|", markersize=8, markeredgewidth=1.6, **look)
        rings: dict[str, Any] = {"marker": "o", "markersize": 5, "markerfacecolor": "none", "markeredgewidth": 1.2}
        (self._rings,) = axes.plot([], [], linestyle="", color=style.BACKWARD, **rings)
        super().__init__(timeline, beside, kind, figure, corner, [*self._bars, self._ticks, self._rings])

    def weights(self, number: int, step: int) -> np.ndarray:
        """Coefficient times mean gate of a snapshot [terms]."""
        return self._coefficients[:, number] * self.timeline[number].gates[step]

    def draw(self, number: int, step: int) -> None:
        """Set the bars and marks."""
        for bar, value in zip(self._bars, self.weights(number, step), strict=True):
            bar.set_width(value)
        self._ticks.set_data(self._coefficients[:, number], self._places)
        self._rings.set_data(self.weights(self.beside, step), self._places)

    def alt(self, frame: int) -> str:
        """The largest weights in words."""
        number, step = self.at(frame)
        values = self.weights(number, step)
        largest = ", ".join(f"{self.terms[k]} {values[k]:+.2f}" for k in np.argsort(-np.abs(values))[:5])
        return (
            f"Bars of coefficient times mean gate for every term: {self.where(frame)}. "
            f"Largest of the second: {largest}."
        )


def _square(figure: Figure, left: float, reach: float) -> Axes:
    axes = style.bare(style.axes_at(figure, left, _BOTTOM, _SIDE, _SIDE))
    axes.set(xlim=(-reach, reach), ylim=(-reach, reach))
    return axes


def _names(figure: Figure) -> list[Any]:
    """Above each square, which snapshot it shows."""
    y = _BOTTOM + _SIDE + 0.06
    colours = (style.MUTED, style.INK)
    return [
        style.put_text(figure, left, y, "", weight="bold", color=colour)
        for left, colour in zip(_LEFTS, colours, strict=True)
    ]


def _write_names(film: EmbeddingPair | FilterPair, number: int) -> None:
    for text, shown in zip(film._names, (film.beside, number), strict=True):
        text.set_text(film.name(shown))
