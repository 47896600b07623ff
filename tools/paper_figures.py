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
from metarules.studies.generalisation import WIDTHS, grid_map, recorded_grid, select
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
    return bars_figure(groups, "The rule and its rivals: 64-128-128-32, ten labels per class", chance=0.1)


def sizes(rows: Sequence[GridRow]) -> Figure:
    """Accuracy over widths and depths."""
    asked = {**USUAL, "data": "handwriting", "models": 1}
    wide = {"depth": 2, "steps": (0, 5, 10, 30), "width": (16, 64, 256, 1024, 10_000)}
    deep = {"width": (32, 128), "steps": (0, 100)}
    panels, steps = {}, {}
    for title, axis, along, chosen in (
        ("Two layers, wider and wider", "units in the layer below the top", "width", wide),
        ("128 units, deeper and deeper", "layers", "depth", deep),
    ):
        series = {}
        for name, method in (("rule", "local"), ("untaught", UNTAUGHT)):
            ordered = sorted(select(rows, **asked, **chosen, method=method), key=lambda row: row.steps)
            by_place = {getattr(row, along): row for row in ordered}
            lines = [by_place[place] for place in sorted(by_place)]
            series[name] = [getattr(r, along) for r in lines], [r.accuracy for r in lines], [r.stderr for r in lines]
            steps[along, name] = [(r.steps, f"{getattr(r, along):,}") for r in lines]
        panels[title] = (axis, series)
    usual = steps["width", "rule"][0][0]
    fewer = [f"{n} at {width} units" for n, width in steps["width", "rule"] if n < usual]
    left = ", ".join([f"left {usual} inner steps", *fewer])
    note = f"Held-out handwriting, ten labels per class, one base model; {left}; right {steps['depth', 'rule'][0][0]}."
    return curves_figure(panels, low=0.0, note=note)


def nonlinearities(rows: Sequence[GridRow]) -> Figure:
    """Accuracy above untaught over width and depth, for five nonlinearities."""
    asked = {"data": "handwriting", "labels": 10, "steps": 30, "models": 1, "method": "local", "size": 8}
    kinds = ("relu", "leaky_relu", "silu", "tanh", "step")
    widths = (*WIDTHS, 512, 1024)
    found = {kind: select(rows, **asked, nonlinearity=kind) for kind in kinds}
    maps = {f"{kind}: above untaught": grid_map(lines, widths) for kind, lines in found.items()}
    note = (
        "Accuracy of the rule minus that of the same net untaught: held-out handwriting, ten labels per class,\n30 "
        "inner steps, one base model. A minus: the rule does harm. ≈: within two standard errors of no difference."
    )
    return maps_figure(maps, "above", note)


def text(rows: Sequence[GridRow]) -> Figure:
    """Words: snapshots of theta, early to late."""
    found = {row.method: row for row in select(rows, data="docstrings", steps=(0, 30))}
    theta = {f"meta-step {int(m[:6]):,}": m for m in sorted(found) if m.endswith(".safetensors")}
    named = {"untaught": UNTAUGHT, **theta, "the shipped rule": "local"}
    named |= {"PCA 32": "pca_32", "k-means 64": "kmeans_64", "the 1,000 words": "raw"}
    groups = {name: {"": (found[m].accuracy, found[m].stderr)} for name, m in named.items()}
    return bars_figure(groups, "Which of ten packages is a docstring from? Ten labels per class, 30 steps", chance=0.1)


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
