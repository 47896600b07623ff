"""Make every lesson start in Colab and Binder too: a line of links below its title, and a first cell for Colab.

    python tools/hosted.py            write both into all of notebooks/, outputs of the other cells left as they are
    python tools/hosted.py --check    write nothing; say which lessons lack them or have older ones

The cell does nothing elsewhere. The repository's address is taken from pyproject.toml (project.urls.Repository). As
long as none stands there, links would lead nowhere and the cell could install nothing: the lessons get neither.
"""

from __future__ import annotations

import argparse
import re
import sys
import tomllib
from pathlib import Path
from typing import Any
from urllib.parse import quote

import nbformat

from metarules._files import write_atomically

ROOT = Path(__file__).resolve().parents[1]
CELL_ID = "hosted-start"
BRANCH = "main"
LINKS = re.compile(r"^Open this lesson in \[Colab\]\(.*\n\n?", re.MULTILINE)
SOURCE = """\
# In Colab: install metarules and let its widgets show. Anywhere else this cell does nothing.
import sys

if "google.colab" in sys.modules:
    %pip install --quiet "metarules[hosted] @ git+{address}"
    from google.colab import output

    output.enable_custom_widget_manager()"""


def main(arguments: list[str] | None = None) -> int:
    """Command line; returns 0, or with --check the number of lessons that are out of date."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("paths", nargs="*", type=Path, help="lessons; all of notebooks/ by default")
    parser.add_argument("--check", action="store_true", help="write nothing")
    options = parser.parse_args(arguments)
    stale, repository = 0, address()
    if repository is None:
        print("pyproject.toml has no project.urls.Repository: lessons get neither links nor a cell", file=sys.stderr)
    for path in options.paths or sorted((ROOT / "notebooks").glob("[0-9]*.ipynb")):
        notebook = nbformat.read(path, as_version=4)
        changed = prepare(notebook, path.name, repository)
        if changed and not options.check:
            write_atomically(path, (nbformat.writes(notebook).rstrip("\n") + "\n").encode())
        stale += changed
        print(f"{path.name}: {('out of date' if options.check else 'stored') if changed else 'up to date'}")
    return stale if options.check else 0


def address() -> str | None:
    """The repository's web address, from pyproject.toml; None if it has none."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    found = project.get("urls", {}).get("Repository")
    return found and str(found).rstrip("/")


def prepare(notebook: Any, name: str, repository: str | None) -> bool:
    """Put links and cell into a notebook, in place of older ones; whether that changed anything.

    The cell is the first code cell, and counts as run first: the counts of all others move by one as it comes or goes.
    Without an address (None) both are taken out.
    """
    before = nbformat.writes(notebook)
    title = notebook.cells[0]
    if title.cell_type != "markdown" or not title.source.startswith("# "):
        raise ValueError(f"{name} begins with a {title.cell_type} cell; allowed: a lesson, whose title comes first")
    heading, _, rest = LINKS.sub("", title.source).partition("\n\n")
    line = f"{links(repository, name)}\n\n" if repository else ""
    title.source = f"{heading}\n\n{line}{rest}" if line or rest else heading
    source = SOURCE.format(address=repository)
    found = next((cell for cell in notebook.cells if cell.id == CELL_ID), None)
    if found is not None and repository:
        found.source = source
    elif found is not None:
        notebook.cells.remove(found)
        _count(notebook, -1)
    elif repository:
        _count(notebook, 1)
        cell = nbformat.v4.new_code_cell(source, id=CELL_ID, execution_count=1, metadata={"tags": ["hosted"]})
        notebook.cells.insert(1, cell)
    return bool(nbformat.writes(notebook) != before)


def _count(notebook: Any, more: int) -> None:
    """Move the counts of all cells that were run."""
    for cell in notebook.cells:
        if cell.cell_type == "code" and cell.execution_count is not None:
            cell.execution_count += more
            for output in cell.outputs:
                if output.output_type == "execute_result":
                    output.execution_count += more


def links(repository: str, name: str) -> str:
    """The line below the title; text, since a badge would be a picture from another host."""
    repo = repository.partition("://")[2].partition("/")[2]  # OWNER/NAME
    colab = f"https://colab.research.google.com/github/{repo}/blob/{BRANCH}/notebooks/{name}"
    binder = f"https://mybinder.org/v2/gh/{repo}/{BRANCH}?labpath={quote(f'notebooks/{name}', safe='')}"
    return f"Open this lesson in [Colab]({colab}) or [Binder]({binder}), with nothing to install."


if __name__ == "__main__":
    sys.exit(main())
