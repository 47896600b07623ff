"""What the paper's figures are about, drawn from this package's own recorded numbers, as PNG and SVG in one style.

    make figures

The numbers are those of lesson 9 (`metarules/studies/recorded/README.md` has the commands that make them).
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from matplotlib import rc_context
from matplotlib.figure import Figure

from metarules.evaluation.grids import UNTAUGHT, GridRow
from metarules.plots.generalisation import bars_figure, curves_figure, losses_figure, maps_figure
from metarules.plots.style import figure_to_png
from metarules.studies.generalisation import grid_map, recorded_grid, select
from metarules.studies.vae_curve import recorded_vae

OUT = Path("figures/paper")
DATA = {"handwriting": "held-out handwriting", "glyphs": "held-out letters"}
USUAL = {"labels": 10, "nonlinearity": "relu", "size": 8}
RIVALS = {
    "rule": "local",
    "untaught": UNTAUGHT,
    "VAE": "vae",
    "same labels": "backprop",
    "prototypical": "prototypical",
}


def rivals(rows: Sequence[GridRow]) -> Figure:
    """The rule beside a VAE, supervised learning on the same labels and a prototypical network, pixels permuted too."""
    asked = {**USUAL, "width": 128, "depth": 3, "models": 2, "steps": (0, 100, 300)}
    methods = {**RIVALS, "prototypical, permuted": "prototypical_permuted"}
    groups = {}
    for data, name in DATA.items():
        found = {label: select(rows, **asked, data=data, method=method) for label, method in methods.items()}
        last = {label: max(lines, key=lambda row: row.steps) for label, lines in found.items() if lines}
        groups[name] = {label: (row.accuracy, row.stderr) for label, row in last.items()}
    return bars_figure(groups, "64-128-128-32, ten labels per class", chance=0.1)


def sizes(rows: Sequence[GridRow]) -> Figure:
    """Accuracy over widths and depths."""
    asked = {**USUAL, "data": "handwriting", "models": 1}
    panels = {}
    for title, along, chosen in (
        (
            "Two layers, wider and wider",
            "width",
            {"depth": 2, "steps": (0, 5, 10, 30), "width": (16, 64, 256, 1024, 10_000)},
        ),
        ("128 units, deeper and deeper", "depth", {"width": (32, 128), "steps": (0, 100)}),
    ):
        series = {}
        for name, method in (("rule", "local"), ("untaught", UNTAUGHT)):
            ordered = sorted(select(rows, **asked, **chosen, method=method), key=lambda row: row.steps)
            by_place = {getattr(row, along): row for row in ordered}
            lines = [by_place[place] for place in sorted(by_place)]
            series[name] = [getattr(r, along) for r in lines], [r.accuracy for r in lines], [r.stderr for r in lines]
        panels[title] = (along, series)
    return curves_figure(panels, low=0.0)


def nonlinearities(rows: Sequence[GridRow]) -> Figure:
    """Accuracy above untaught over width and depth, for four nonlinearities."""
    asked = {"data": "handwriting", "labels": 10, "steps": 30, "models": 1, "method": "local", "size": 8}
    kinds = ("relu", "leaky_relu", "silu", "tanh", "step")
    return maps_figure({kind: grid_map(select(rows, **asked, nonlinearity=kind)) for kind in kinds}, "above")


def text(rows: Sequence[GridRow]) -> Figure:
    """Words: snapshots of theta, early to late."""
    found = select(rows, data="docstrings", steps=(0, 30))
    names = {
        r.method: f"meta-step {int(r.method[:6]):,}" if r.method.endswith(".safetensors") else r.method for r in found
    }
    return bars_figure({names[r.method]: {"accuracy": (r.accuracy, r.stderr)} for r in found}, "Docstrings", chance=0.1)


FIGURES: dict[str, Callable[[Sequence[GridRow]], Figure]] = {
    "rivals": rivals,
    "vae": lambda rows: losses_figure({DATA[name]: curve for name, curve in recorded_vae().items()}),
    "sizes": sizes,
    "nonlinearities": nonlinearities,
    "text": text,
}


def main(words: Sequence[str] | None = None) -> int:
    """Command line."""
    parser = argparse.ArgumentParser(description="Draw what the paper's figures are about from our own numbers.")
    parser.add_argument("out", type=Path, nargs="?", default=OUT, help="folder for the pictures (default: %(default)s)")
    out = parser.parse_args(words).out
    out.mkdir(parents=True, exist_ok=True)
    rows = recorded_grid()
    for name, draw in FIGURES.items():
        figure = draw(rows)
        (out / f"{name}.png").write_bytes(figure_to_png(figure))
        with rc_context({"svg.hashsalt": name, "svg.fonttype": "none"}):  # the same bytes at every run
            figure.savefig(out / f"{name}.svg", format="svg", metadata={"Date": None, "Creator": None})
        print(f"{name}.png and .svg")
    return 0


if __name__ == "__main__":
    sys.exit(main())
