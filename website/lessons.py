"""Lessons as pages: stored outputs, films in place of the live widgets, solutions folded.

A notebook is changed as it is read, before MyST-NB sees it: a widget's view needs a kernel and scripts from another
host, so its stored picture stands there, with the widget's own alternative text, or a film if the lesson has one.
"""

from __future__ import annotations

import html
import json
import re
from pathlib import Path
from typing import Any

from films import Frame, record_lesson
from slides import page
from sphinx.application import Sphinx

VIEW = "application/vnd.jupyter.widget-view+json"
STATE = "application/vnd.jupyter.widget-state+json"
STILL = ("Picture()", "IdeaMap()")  # widgets that no film stands for
FILMS = "_static/films"
SLIDES = "slides"
NOTE = (
    "```{{note}}\nWhat the lesson prints and draws is here, and its films can be scrubbed. To move the controls and to "
    "solve the exercises, run it: `metarules lab`, or `make lab` in a clone. For a class: "
    '<a href="{slides}">the lesson as slides</a>.\n```'
)


def anchor(link: re.Match[str]) -> str:
    """A link to a heading, from JupyterLab's form (`#Two-snapshots`) to the form that the site shares with GitHub."""
    return "](#" + re.sub(r"[^\w-]", "", link[1].lower()) + ")"


def alt_text(state: dict[str, Any], model: str) -> str:
    """Alternative texts of a stored widget's pictures, in their order."""
    about = state.get(model, {}).get("state", {})
    children = [child.removeprefix("IPY_MODEL_") for child in about.get("children", [])]
    return " ".join(filter(None, [about.get("alt", ""), *(alt_text(state, child) for child in children)]))


def film(caption: str, frames: list[Frame], root: str) -> str:
    """A film as HTML: its last frame without scripts, all of them with `film.js`."""
    last = frames[-1]
    data = json.dumps([[f.step, f"{root}{f.path}", f.alt] for f in frames]).replace("</", r"<\/")
    return (
        f'<figure class="film"><div class="film-picture"><img src="{root}{last.path}" alt="{html.escape(last.alt)}" '
        f'width="{last.width}" height="{last.height}"></div><figcaption>{html.escape(caption)}. '
        f'<span class="film-step">Step {last.step}</span></figcaption>'
        f'<script type="application/json">{data}</script></figure>'
    )


def as_page(notebook: dict[str, Any], lesson: str, films: dict[str, list[Frame]], root: str) -> None:
    """Change a notebook in place."""
    state = notebook["metadata"].pop("widgets", {}).get(STATE, {}).get("state", {})
    waiting = list(films.items())
    for cell in notebook["cells"]:
        if cell["cell_type"] != "code":
            cell["source"] = re.sub(r"\]\(#([^)\s]+)\)", anchor, "".join(cell["source"]))
            continue
        tags = cell["metadata"].setdefault("tags", [])
        solution = "solution" in tags
        if solution:
            tags.append("hide-cell")
        for output in cell["outputs"]:
            view = output.get("data", {}).pop(VIEW, None)
            if view is None:
                continue
            alt = alt_text(state, view["model_id"])
            name = "".join(output["data"].pop("text/plain", ""))
            if waiting and not solution and name not in STILL:
                shown = "".join(film(caption, frames, root) for caption, frames in waiting)
                output["data"], waiting = {"text/html": shown}, []
            elif "image/png" in output["data"]:
                cell["metadata"]["mystnb"] = {"image": {"alt": alt or f"{name.strip('[]()')} as it opens"}}
    title = next(i for i, cell in enumerate(notebook["cells"]) if "".join(cell["source"]).startswith("# "))
    note = {
        "cell_type": "markdown",
        "id": "how-to-run",
        "metadata": {},
        "source": NOTE.format(slides=f"../{SLIDES}/{lesson}.html"),
    }
    notebook["cells"].insert(title + 1, note)
    if waiting:
        raise ValueError(f"{lesson} has films and no widget that they could stand for")


def read(app: Sphinx, docname: str, source: list[str]) -> None:
    """On reading a source file: a lesson is changed and its slides are written; any other file is left."""
    if not docname.startswith("notebooks/"):
        return
    lesson = docname.removeprefix("notebooks/")
    notebook = json.loads(source[0])
    as_page(notebook, lesson, record_lesson(lesson, Path(app.outdir) / FILMS), f"../{FILMS}/")
    source[0] = json.dumps(notebook)
    folder = Path(app.outdir) / SLIDES
    folder.mkdir(exist_ok=True)
    (folder / f"{lesson}.html").write_text(page(notebook), encoding="utf-8")


def setup(app: Sphinx) -> dict[str, Any]:
    app.connect("source-read", read)
    return {"parallel_read_safe": False, "parallel_write_safe": True}
