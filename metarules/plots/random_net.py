"""What a random network does to data, layer by layer: a cloud, a spectrum, batch norm at work, and the price."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes

from metarules.plots import style
from metarules.plots.film import Film

_SIDE = 2.62  # inches, of the cloud


def layer_name(layer: int, last: int) -> str:
    """What a layer is called: "input", "layer 1", .., "layer 3 (top)"."""
    if layer == 0:
        return "input"
    return f"layer {layer}{' (top)' if layer == last else ''}"


class CloudFilm(Film):
    """The examples as each layer sees them, projected onto that layer's own two main directions.

    Args:
        points: [L + 1, N, 2], the input first, each scaled to fit the frame.
        labels: class numbers [N].
        noun: what an example is called.
    """

    def __init__(self, points: np.ndarray, labels: np.ndarray, noun: str = "image") -> None:
        self.points, self.labels, self.noun = np.asarray(points, dtype=float), np.asarray(labels), noun
        figure, self._corner = style.panel_figure("Which ones look alike", f"a dot is one {noun}, its colour the class")
        axes = style.bare(style.axes_at(figure, style.PANEL[0] - _SIDE - 0.1, 0.1, _SIDE, _SIDE))
        axes.set(xlim=(-1.08, 1.08), ylim=(-1.08, 1.08))
        self._axes = axes
        words = "axes: the two\ndirections in which\nthis layer's dots\nspread most"
        style.put_text(figure, 0.12, 0.1, words, size=style.SMALL, color=style.MUTED, linespacing=1.25)
        classes = np.unique(self.labels)
        rows = -(-len(classes) // 2)
        for i, c in enumerate(classes):
            x, y = 0.2 + 0.55 * (i // rows), 2.5 - 0.24 * (i % rows)
            style.put_text(figure, x, y, style_dot(int(c)), color=style.class_colour(int(c)), size=style.CORNER)
            style.put_text(figure, x + 0.18, y, str(c), size=style.SMALL)
        self._dots = [
            style.dots(axes, np.empty((0, 2)), 9, style.class_colour(int(c)), style.class_marker(int(c)))
            for c in classes
        ]
        self._classes = classes
        super().__init__(figure, len(self.points), [*self._dots, self._corner])

    def set_frame(self, frame: int) -> None:
        """Move the dots to a layer's plane."""
        for number, dots in zip(self._classes, self._dots, strict=True):
            dots.set_data(*self.points[frame][self.labels == number].T)
        self._corner.set_text(layer_name(frame, self.frames - 1))

    def clouds(self, frame: int) -> list[tuple[Axes, np.ndarray]]:
        """As `Film.clouds`."""
        return [(self._axes, self.points[frame])]

    def alt(self, frame: int) -> str:
        """What is drawn, and of which layer."""
        return (
            f"Scatter plot of {self.points.shape[1]} {self.noun}s, coloured by class, as the "
            f"{layer_name(frame, self.frames - 1)} of a random network represents them, projected onto its two main "
            "directions."
        )


def style_dot(number: int) -> str:
    """A character that looks like the marker of a class."""
    return {"o": "●", "^": "▲", "s": "■", "D": "◆", "v": "▼", "P": "✚"}[style.class_marker(number)]  # fmt: skip


class SpectrumFilm(Film):
    """Share of a layer's variance in each principal direction, largest first, and how many directions that makes.

    Args:
        spectra: shares that add up to 1, one list per layer, the input first.
        directions: effective number of directions of each layer [L + 1].
    """

    def __init__(self, spectra: Sequence[np.ndarray], directions: Sequence[float]) -> None:
        self.spectra, self.directions = [np.asarray(s, dtype=float) for s in spectra], tuple(directions)
        figure, self._corner = style.panel_figure(
            "How many directions", "share of the variance in each principal direction"
        )
        most = max(len(s) for s in self.spectra)
        axes = style.quiet_axes(style.axes_at(figure, 0.62, 0.45, 3.7, 2.3), "direction, largest first", "share")
        axes.set(xlim=(0.2, most + 0.8), ylim=(0, 1.08 * max(float(s[0]) for s in self.spectra)))
        (self._input,) = axes.plot(
            np.arange(1, len(self.spectra[0]) + 1), self.spectra[0], color=style.MUTED, linestyle=":", linewidth=1.4
        )
        (self._line,) = axes.plot([], [], color=style.FORWARD, linewidth=2.2, marker="o", markersize=3)
        axes.legend(
            [self._input, self._line], ["input", "this layer"], fontsize=style.SMALL, frameon=False, loc="upper right"
        )
        super().__init__(figure, len(self.spectra), [self._line, self._corner])

    def set_frame(self, frame: int) -> None:
        """Draw a layer's spectrum and write its number of directions."""
        self._line.set_data(np.arange(1, len(self.spectra[frame]) + 1), self.spectra[frame])
        self._corner.set_text(f"about {self.directions[frame]:.0f}")

    def alt(self, frame: int) -> str:
        """The effective number of directions."""
        return (
            f"Curve of variance by principal direction of the {layer_name(frame, self.frames - 1)}: about "
            f"{self.directions[frame]:.0f} directions carry it; the input has about {self.directions[0]:.0f}."
        )


class NormFilm(Film):
    """Some neurons before (u) and after (z) batch norm: the middle 90% of their values over all examples.

    Args:
        u: pre-activations before batch norm, per layer [N, neurons]; for layer 0 the input itself.
        z: the same after it.
    """

    def __init__(self, u: Sequence[np.ndarray], z: Sequence[np.ndarray]) -> None:
        self.u, self.z = ([np.percentile(v, (5, 50, 95), axis=0) for v in values] for values in (u, z))
        figure, self._corner = style.panel_figure("Batch norm", "each bar: one neuron, 90% of its values, dot: median")
        n = self.u[0].shape[1]
        self._bars, self._medians = [], []
        for left, title, values in ((0.55, "before: u = xW", self.u), (2.75, "after: z", self.z)):
            reach = max(float(np.abs(v).max()) for v in values)
            axes = style.quiet_axes(style.axes_at(figure, left, 0.3, 1.62, 2.2), "")
            axes.set_title(title, fontsize=style.TEXT, color=style.INK, loc="left", pad=4)
            axes.set(xlim=(-0.6, n - 0.4), ylim=(-1.1 * reach, 1.1 * reach))
            axes.set_xticks([])
            axes.axhline(0, color=style.MUTED, linewidth=0.8)
            self._bars.append(axes.vlines(np.arange(n), 0, 0, color=style.FORWARD, linewidth=5))
            self._medians.append(axes.plot([], [], "o", color=style.PAPER, markeredgecolor=style.INK, markersize=4)[0])
        style.put_text(
            figure,
            0.55,
            0.06,
            "eight neurons (input: eight pixels); mind the two scales",
            size=style.SMALL,
            color=style.MUTED,
        )
        super().__init__(figure, len(self.u), [*self._bars, *self._medians, self._corner])

    def set_frame(self, frame: int) -> None:
        """Draw a layer's bars."""
        for values, bars, medians in zip((self.u, self.z), self._bars, self._medians, strict=True):
            low, middle, high = values[frame]
            x = np.arange(len(low))
            bars.set_segments([np.array([[i, a], [i, b]]) for i, a, b in zip(x, low, high, strict=True)])
            medians.set_data(x, middle)
        self._corner.set_text(layer_name(frame, self.frames - 1))

    def alt(self, frame: int) -> str:
        """How wide the bars are, before and after."""
        before, after = (float((v[frame][2] - v[frame][0]).mean()) for v in (self.u, self.z))
        return (
            f"Ranges of eight neurons of the {layer_name(frame, self.frames - 1)}: {before:.2f} wide on average before "
            f"batch norm, {after:.2f} after it."
        )


class DepthFilm(Film):
    """Few-shot accuracy of every layer's features, with the shown layer marked.

    Args:
        accuracies: [L + 1, n_splits], the input first.
        chance: accuracy of guessing.
    """

    def __init__(self, accuracies: np.ndarray, chance: float) -> None:
        values = np.asarray(accuracies, dtype=float)
        self.mean = values.mean(1)
        error = values.std(1, ddof=1) / np.sqrt(values.shape[1])
        figure, self._corner = style.panel_figure("Few-shot accuracy", "of each layer, 10 labels per class")
        axes = style.quiet_axes(style.axes_at(figure, 0.5, 0.45, 3.85, 2.3), "layer (0: the input)")
        layers = np.arange(len(self.mean))
        axes.set(xlim=(-0.3, len(layers) - 0.7), ylim=(0, 1.0))
        axes.set_xticks(layers)
        axes.errorbar(layers, self.mean, yerr=2 * error, color=style.FORWARD, linewidth=2, capsize=2)
        axes.axhline(chance, color=style.MUTED, linewidth=1, linestyle="--")
        axes.text(-0.25, chance + 0.02, "guessing", fontsize=style.SMALL, color=style.MUTED)
        (self._mark,) = axes.plot([], [], "o", color=style.BACKWARD, markersize=9, markeredgecolor=style.PAPER)
        super().__init__(figure, len(self.mean), [self._mark, self._corner])

    def set_frame(self, frame: int) -> None:
        """Mark a layer and write its number."""
        self._mark.set_data([frame], [self.mean[frame]])
        self._corner.set_text(f"{self.mean[frame]:.2f}")

    def alt(self, frame: int) -> str:
        """The numbers of the curve."""
        numbers = ", ".join(f"{value:.2f}" for value in self.mean)
        return f"Curve of few-shot accuracy from the input to the top layer: {numbers}; layer {frame} is marked."
