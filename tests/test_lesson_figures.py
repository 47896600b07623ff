"""Pictures of a lesson for lecturers: each figure and each panel of an explorer as SVG and PDF, with what it shows."""

from __future__ import annotations

from pathlib import Path

import nbformat
import pytest

from metarules import widgets
from tools import lesson_figures

CELLS = (
    "from matplotlib.figure import Figure\nfrom metarules.widgets import show\n"
    "show(Figure((2, 1)), 'An empty figure.')",
    "from metarules.widgets import IdeaMap\nIdeaMap(lesson=5)",
    "from metarules import load_dataset, make_task\nfrom metarules.widgets import InnerLoopExplorer\n"
    "task = make_task(load_dataset('two_moons', n=60), permute=False)\n"
    "explorer = InnerLoopExplorer('hebb', task, steps=2)\nexplorer",
)


def test_every_picture_of_a_lesson_is_written_as_svg_and_pdf(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    book, show = nbformat.v4.new_notebook(cells=list(map(nbformat.v4.new_code_cell, CELLS))), widgets.show
    nbformat.write(book, tmp_path / "05_a.ipynb")
    assert lesson_figures.main([str(tmp_path / "out"), str(tmp_path / "05_a.ipynb")]) == 0
    names = sorted(path.name for path in (tmp_path / "out").iterdir())
    count = (len(names) - 1) // 2
    assert count >= 5 and f"{count} pictures" in capsys.readouterr().out and widgets.show is show
    assert names == sorted(
        ["figures.md", *(f"05-{i:02d}.{kind}" for i in range(1, count + 1) for kind in ("pdf", "svg"))]
    )
    assert all((tmp_path / "out" / name).read_bytes().startswith(b"%PDF") for name in names if name.endswith("pdf"))
    assert all("</svg>" in (tmp_path / "out" / name).read_text("utf-8") for name in names if name.endswith("svg"))
    about = (tmp_path / "out" / "figures.md").read_text(encoding="utf-8")
    assert (
        "`05-01`: An empty figure." in about
        and "`05-02`: The idea in one picture." in about
        and all(len(line) > 20 for line in about.splitlines()[2:])
    )
