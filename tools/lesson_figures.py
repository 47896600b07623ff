"""Every picture of a lesson as SVG and PDF, for slides, handouts and papers of one's own.

    python tools/lesson_figures.py build/figures                                     all lessons, some minutes
    python tools/lesson_figures.py build/figures notebooks/05_meta_objective.ipynb

Runs a lesson's cells from top to bottom and keeps the figures that it shows, those of folded solutions as well, and
each picture of an explorer as it opens: 05-03.svg and 05-03.pdf are the third of lesson 5. `figures.md` beside them
says what each one shows.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import nbformat
from IPython.core.interactiveshell import InteractiveShell
from matplotlib import rc_context
from matplotlib.figure import Figure

from metarules import widgets
from metarules.widgets.explorer import Explorer

ROOT = Path(__file__).resolve().parents[1]


class Pictures:
    """Files of one lesson, numbered as they come.

    Args:
        folder: where they go.
        lesson: what their names begin with.
    """

    def __init__(self, folder: Path, lesson: str) -> None:
        self.folder, self.lesson = folder, lesson
        self.alts: dict[str, str] = {}  # name of the file without its ending -> what it shows

    def keep(self, figure: Figure, alt: str) -> None:
        """Write a figure, its text as text."""
        name = f"{self.lesson}-{len(self.alts) + 1:02d}"
        self.alts[name] = " ".join(alt.split())
        with rc_context({"svg.hashsalt": name, "svg.fonttype": "none"}):  # the same bytes at every run
            figure.savefig(self.folder / f"{name}.svg", metadata={"Date": None})
            figure.savefig(self.folder / f"{name}.pdf", metadata={"CreationDate": None})

    def keep_explorer(self, explorer: Explorer[Any]) -> None:
        """Write what each of an explorer's panels shows now."""
        explorer.wait()
        for name, panel in explorer.panels.items():
            film, frame = explorer.shown_film(name)
            self.keep(film.figure_at(frame), panel.alt)


def draw_lesson(path: Path, folder: Path) -> dict[str, str]:
    """Run a lesson and write its pictures.

    Returns:
        What each picture shows, by the name of its file without the ending.
    """
    pictures, shell, show = Pictures(folder, path.stem[:2]), InteractiveShell(), widgets.show

    def show_and_keep(figure: Figure, alt: str, width: int | None = None) -> Any:
        pictures.keep(figure, alt)
        return show(figure, alt, width)

    widgets.show = show_and_keep
    before = os.getcwd()
    try:
        os.chdir(path.resolve().parent)
        for cell in nbformat.read(path.name, as_version=4).cells:
            if cell.cell_type == "code":
                with contextlib.redirect_stdout(io.StringIO()):
                    done = shell.run_cell(cell.source)
                done.raise_error()
                if isinstance(done.result, Explorer):
                    pictures.keep_explorer(done.result)
                elif isinstance(done.result, widgets.IdeaMap):
                    pictures.keep(done.result.figure(), done.result.alt)
    finally:
        os.chdir(before)
        widgets.show = show
    return pictures.alts


def main(words: Sequence[str] | None = None) -> int:
    """Command line; returns 0."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path, help="folder for the pictures")
    parser.add_argument("lessons", nargs="*", type=Path, help="notebooks; all lessons by default")
    options = parser.parse_args(words)
    out = options.out.resolve()
    out.mkdir(parents=True, exist_ok=True)
    about = []
    for path in options.lessons or sorted((ROOT / "notebooks").glob("[0-9]*.ipynb")):
        alts = draw_lesson(path, out)
        about += [f"- `{name}`: {alt}" for name, alt in alts.items()]
        print(f"{path.name}: {len(alts)} pictures")
    (out / "figures.md").write_text("# Pictures of the lessons\n\n" + "\n".join(about) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
