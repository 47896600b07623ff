"""Each lesson as slides: one HTML file, which opens from a memory stick and asks no host for anything.

    python website/slides.py build/slides                                     all lessons
    python website/slides.py build/slides notebooks/02_local_rules.ipynb      some of them

Which part of a lesson is a slide follows from its form; nothing is marked by hand. A heading, a question, its answer
and a picture begin one. Left out are folded text, solutions, cells that wait for the reader's answer, links to other
lessons, and what LEFT_OUT names. What is higher than a slide is parted by `static/slides.js`.
"""

from __future__ import annotations

import argparse
import html
import json
import re
import struct
import sys
from base64 import b64decode
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from markdown_it import MarkdownIt
from mathml import mathml
from mdit_py_plugins.dollarmath import dollarmath_plugin
from pygments import highlight
from pygments.formatters import HtmlFormatter
from pygments.lexers import PythonLexer

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
LEFT_OUT = ("Which exercises are solved", "References")
FOLDED = re.compile(r"<details>.*?</details>", re.DOTALL)
ONWARD = re.compile(r"<p>(Back|Next)\b")
BEGINS = re.compile(r"<p><strong>(?P<ask>Question|Exercise|Long exercise|A puzzle)|<p><strong>(Answer|The paper)")
ASKS = re.compile(r"<strong>(Question|Exercise|Long exercise)")  # anywhere in a paragraph
WAITS = re.compile(r"Your turn|exercises solved")  # in an output
GAP = re.compile(r"= None  # your|^\s*\.\.\.|return \.\.\.", re.MULTILINE)  # in a source
MARKDOWN = MarkdownIt("commonmark", {"html": True}).enable("table")
MARKDOWN.use(dollarmath_plugin, renderer=lambda text, how: mathml(text, how["display_mode"]))


@dataclass
class Slide:
    """A title, pieces of HTML below each other, and what they are: "title", "text", "ask" or "picture"."""

    title: str
    kind: str = "text"
    blocks: list[str] = field(default_factory=list)


def slides(notebook: dict[str, Any]) -> list[Slide]:
    """The slides of a lesson as `lessons.as_page` leaves it."""
    found = [Slide("", "title")]
    skipping = asked = False

    def begin(kind: str, title: str = "") -> None:
        nonlocal asked
        title, asked = title or found[-1].title, False
        if not found[-1].blocks and found[-1].kind != "title":
            found.pop()
        found.append(Slide(title, kind))

    for cell in notebook["cells"]:
        source = "".join(cell["source"])
        if cell.get("id") == "how-to-run":
            continue
        if cell["cell_type"] == "code":
            if not skipping:
                for kind, block in shown(cell, source):
                    if kind == "picture" or asked or found[-1].kind != "text":
                        begin(kind)
                    found[-1].blocks.append(block)
            continue
        for block in blocks(FOLDED.sub("", source)):
            if heading := re.fullmatch(r"<h(\d)>(.*)</h\d>", block, re.DOTALL):
                skipping = heading[2] in LEFT_OUT
                if heading[1] == "1":
                    found[0].title = heading[2]
                elif not skipping:
                    begin("text", heading[2])
            elif not skipping and not ONWARD.match(block):
                if special := BEGINS.match(block):
                    begin("ask" if special["ask"] else "text")
                elif found[-1].kind == "picture":
                    begin("text")
                found[-1].blocks.append(block)
                asked = asked or bool(ASKS.search(block))  # what is asked is not answered on the same slide
    return [slide for slide in found if slide.blocks]


def blocks(text: str) -> Iterator[str]:
    """Paragraphs, lists, tables, formulas and headings of Markdown, each as HTML, links within the course as text."""
    tokens, env, first = MARKDOWN.parse(text, {}), {}, 0
    for i, token in enumerate(tokens):
        if token.level == 0 and token.nesting <= 0:
            block = MARKDOWN.renderer.render(tokens[first : i + 1], MARKDOWN.options, env).strip()
            first = i + 1
            yield re.sub(r'<a href="(?!https?:)[^"]*">(.*?)</a>', r"\1", block, flags=re.DOTALL)


def shown(cell: dict[str, Any], source: str) -> Iterator[tuple[str, str]]:
    """What a code cell has for a slide: (kind, HTML) of its code and of what it printed, or of its picture alone."""
    printed = "".join("".join(output.get("text", "")) for output in cell["outputs"])
    data = [output.get("data", {}) for output in cell["outputs"]]
    rich = "".join("".join(each.get("text/html", "")) for each in data)
    if "solution" in cell["metadata"].get("tags", []) or WAITS.search(rich) or GAP.search(source):
        return
    pictures = ["".join(each["image/png"]).strip() for each in data if "image/png" in each]
    if pictures or "film" in rich:
        alt = html.escape(cell["metadata"].get("mystnb", {}).get("image", {}).get("alt", ""))
        for png in pictures:
            width, height = struct.unpack(">II", b64decode(png[:64])[16:24])
            yield "picture", f'<img src="data:image/png;base64,{png}" alt="{alt}" width="{width}" height="{height}">'
        if rich:
            yield "picture", rich
        return
    widest = max(map(len, source.splitlines()), default=0)
    code = highlight(source, PythonLexer(), HtmlFormatter(nowrap=True)).rstrip("\n")
    yield "text", f'<pre class="code" style="--columns: {widest}"><code>{code}</code></pre>'
    plain = printed or "".join("".join(each.get("text/plain", "")) for each in data if "text/html" not in each)
    if plain.strip():
        widest = max(map(len, plain.splitlines()))
        yield "text", f'<pre class="out" style="--columns: {widest}">{html.escape(plain.rstrip())}</pre>'
    if rich:
        yield "text", rich


def page(notebook: dict[str, Any]) -> str:
    """The deck of a lesson as one HTML file."""
    parts = []
    for i, slide in enumerate(slides(notebook)):
        level = 1 if i == 0 else 2
        body = "\n".join(slide.blocks)
        parts.append(
            f'<section class="slide {slide.kind}">\n<h{level}>{slide.title}</h{level}>\n'
            f'<div class="body">\n{body}\n</div>\n</section>'
        )
    style, film, deck = (
        (HERE / "static" / name).read_text(encoding="utf-8") for name in ("slides.css", "film.js", "slides.js")
    )
    title = " ".join(re.sub("<[^>]*>", "", parts[0].partition("</h1>")[0]).split())
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{title}</title>\n<style>\n{style}</style>\n"
        f"</head>\n<body>\n<main>\n{chr(10).join(parts)}\n</main>\n"
        f"<script>\n{film}</script>\n<script>\n{deck}</script>\n</body>\n</html>\n"
    )


def main(arguments: list[str] | None = None) -> int:
    """Command line; returns 0."""
    from lessons import as_page

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="where the decks are written")
    parser.add_argument("lessons", nargs="*", type=Path, help="notebooks; all lessons by default")
    options = parser.parse_args(arguments)
    options.folder.mkdir(parents=True, exist_ok=True)
    for path in options.lessons or sorted((ROOT / "notebooks").glob("[0-9]*.ipynb")):
        notebook = json.loads(path.read_text(encoding="utf-8"))
        as_page(notebook, path.stem, {}, "")
        (options.folder / f"{path.stem}.html").write_text(page(notebook), encoding="utf-8")
        print(f"wrote {options.folder / path.stem}.html")
    return 0


if __name__ == "__main__":
    sys.exit(main())
