"""How long a lesson takes a reader, counted: words, lines of code, exercises, widgets.

    python tools/minutes.py                 every lesson, beside what its head says

200 words a minute, 12 lines of code a minute, 4 minutes for an exercise and for a widget that is moved, half a one for
a picture, 1 for the map of the idea, a picture that answers a click. The long exercise is told apart, and so are the
questions at the end, the references, and all that is folded.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

import nbformat

ROOT = Path(__file__).resolve().parents[1]
WORDS, LINES = 200.0, 12.0  # a minute
EXERCISE, WIDGET = 4.0, 4.0  # minutes
PICTURES = {"Picture()": 0.5, "IdeaMap()": 1.0}  # the same, of what is shown like a widget and only looked at
VIEW = "application/vnd.jupyter.widget-view+json"
_APART = re.compile(
    r"<details>.*?</details>|^## (?:References|Five questions|Glossary|Map of the lessons)$.*?(?=^## |\Z)", re.M | re.S
)
_STATED = re.compile(r"^\*\*(\d+) minutes\*\*", re.M)


def counted(lesson: Any) -> float:
    """Minutes of a lesson, by its cells; without its long exercise."""
    minutes = 0.0
    for cell in lesson.cells:
        if cell.cell_type == "markdown":
            text = _APART.sub("", cell.source)
            long = "**Long exercise" in text
            minutes += 0.0 if long else len(text.split()) / WORDS + EXERCISE * len(re.findall(r"\*\*Exercise \d", text))
        elif cell.cell_type == "code" and not cell.source.startswith("# Solution"):
            lines = [
                line for line in cell.source.splitlines() if line.strip() and not line.startswith(("from ", "import "))
            ]
            minutes += len(lines) / LINES
            shown = [output.data["text/plain"] for output in cell.outputs if VIEW in output.get("data", {})]
            minutes += sum(PICTURES.get(name, WIDGET) for name in shown)
    return minutes


def stated(lesson: Any) -> int:
    """What the head says.

    Raises:
        ValueError: it says nothing.
    """
    found = _STATED.search(lesson.cells[0].source)
    if found is None:
        raise ValueError("the first cell holds no '**N minutes**'; allowed: a whole number of minutes")
    return int(found[1])


def main() -> int:
    """Print both for every lesson."""
    for path in sorted((ROOT / "notebooks").glob("*.ipynb")):
        lesson = nbformat.read(path, as_version=4)
        print(f"{path.name:32s} {counted(lesson):5.1f} counted, {stated(lesson):3d} stated")
    return 0


if __name__ == "__main__":
    sys.exit(main())
