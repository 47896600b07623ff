"""How lessons begin and end: honest minutes at the head, five questions with folded answers before the summary."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path
from typing import Any

import nbformat
import pytest

ROOT = Path(__file__).resolve().parents[1]
LESSONS = sorted((ROOT / "notebooks").glob("*.ipynb"))


def minutes_tool() -> Any:
    spec = importlib.util.spec_from_file_location("minutes", ROOT / "tools" / "minutes.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


MINUTES = minutes_tool()


@pytest.mark.parametrize("path", LESSONS, ids=lambda path: path.stem)
def test_the_minutes_at_the_head_are_those_counted(path: Path):
    lesson = nbformat.read(path, as_version=4)
    assert abs(MINUTES.stated(lesson) - MINUTES.counted(lesson)) <= 5
    assert MINUTES.stated(lesson) % 5 == 0


def test_minutes_are_counted():
    new = nbformat.v4
    words = " ".join(["word"] * 190)
    cells = [
        new.new_markdown_cell("# Lesson\n\n**10 minutes** " + words),  # 194 words
        new.new_markdown_cell("**Exercise 1.** Do it.\n\n<details><summary>hint</summary>many words here</details>"),
        new.new_code_cell("import torch\n\n" + "x = 1\n" * 12),
        new.new_markdown_cell("**Long exercise 2.** " + words),
        new.new_code_cell("# Solution to exercise 1: unfold me\n" + "x = 1\n" * 100),
        new.new_markdown_cell(
            "## Five questions\n\n" + words + "\n\n## Summary\n\ntwo words\n\n## References\n\n" + words
        ),
    ]
    for name in ("W()", "Picture()", "IdeaMap()"):
        shown = new.new_output("display_data", {"application/vnd.jupyter.widget-view+json": {}, "text/plain": name})
        cells.append(new.new_code_cell(f"from metarules.widgets import x\n\n{name}", outputs=[shown]))
    lesson = new.new_notebook(cells=cells)
    prose = (194 + 4 + 4) / 200  # head, exercise, summary
    assert MINUTES.counted(lesson) == pytest.approx(prose + 4 + 12 / 12 + 3 / 12 + 4 + 0.5 + 1)
    assert MINUTES.stated(lesson) == 10
    with pytest.raises(ValueError, match="allowed"):
        MINUTES.stated(new.new_notebook(cells=cells[1:]))


@pytest.mark.parametrize("path", LESSONS, ids=lambda path: path.stem)
def test_five_questions_stand_before_the_summary(path: Path):
    cells = [c for c in nbformat.read(path, as_version=4).cells if c.cell_type == "markdown"]
    at = next(i for i, c in enumerate(cells) if c.source.startswith("## Five questions"))
    assert cells[at + 1].source.startswith("## Summary")
    asked, answers = cells[at].source.split("<details><summary>Answers</summary>")
    assert re.findall(r"^(\d)\. .+", asked, re.M) == re.findall(r"^(\d)\. .+", answers, re.M) == list("12345")
    assert all(len(line.split()) >= 4 for line in answers.splitlines() if re.match(r"\d\. ", line))
