"""Draw one of the project's pictures into a file: python -m metarules.plots idea figures/idea.png"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from matplotlib.figure import Figure

from metarules._files import check_target, write_atomically
from metarules.plots.idea import idea_figure
from metarules.plots.style import figure_to_png

PICTURES: dict[str, Callable[[], Figure]] = {"idea": idea_figure}


def main(words: Sequence[str] | None = None) -> int:
    """Write a picture to a PNG file; the same picture gives the same bytes."""
    parser = argparse.ArgumentParser(prog="python -m metarules.plots", description="Draw a picture into a PNG file.")
    parser.add_argument("picture", choices=PICTURES)
    parser.add_argument("out", type=Path, help="the file to write, ending in .png")
    options = parser.parse_args(words)
    if options.out.suffix != ".png":
        parser.error(f"out is {options.out.name!r}; allowed: a name ending in .png")
    try:
        check_target("out", options.out)
    except OSError as error:
        parser.error(str(error))
    write_atomically(options.out, figure_to_png(PICTURES[options.picture]()))
    print(f"wrote {options.out}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
