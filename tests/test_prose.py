"""The words of lessons and docs: spelling, one spelling of English, and words that help no reader."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest

ROOT = Path(__file__).resolve().parents[1]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").glob("*.md"))]
LESSONS = sorted((ROOT / "notebooks").glob("*.ipynb"))
NOT_PROSE = re.compile(  # code, formulas and addresses
    r"^(```|~~~).*?^\1|^(?: {4}|\t).*?$|`[^`\n]*`|<code>.*?</code>|\$\$.*?\$\$|\$[^$]*\$|https?://\S+|\]\([^)]*\)",
    re.MULTILINE | re.DOTALL,
)
AMERICAN = re.compile(  # titles of papers keep their own spelling: references are left out
    r"\b(?:(?:colo|behavio|neighbo|favo|hono|labo)r(?:s|ed|ing|al|hood|able|ite)?|centers?|centered|grays?|"
    r"label(?:ed|ing)|model(?:ed|ing)|travel(?:ed|ing)|cancel(?:ed|ing)|fulfills?|artifacts?|toward|"
    r"(?!siz|priz|seiz)\w+(?:iz(?:e|es|ed|ing|er|ers|ation|ations)|yz(?:e|es|ed|ing|er|ers)))\b",
    re.IGNORECASE,
)
AVOID = re.compile(
    r"\b(?:obvious(?:ly)?|trivial(?:ly)?|needless to say|of course|leverag\w+|utilis\w+|seamless(?:ly)?|delve\w*|"
    r"state-of-the-art|cutting-edge|in order to|due to the fact|basically|straightforward(?:ly)?|weighed (?:by|sum)|"
    r"(?:holds|of) no science|can be asked for|too little to go by|its like)\b",
    re.IGNORECASE,
)
ANOTHER_SYMBOL = re.compile(  # than the glossary's: l is a layer, u = xW, U and L no function, a step adds Delta W
    r"\b[lu]\^\\top|\bl_\{?b|\bU\(|\bdL\b|-\s*\\eta\s*\\,\s*\\Delta|\(S \+ [AB]\)"
)


def prose(path: Path) -> str:
    """A page's or a lesson's words, without code, formulas, addresses and references."""
    if path.suffix == ".ipynb":
        cells = nbformat.read(path, as_version=4).cells
        text = "\n\n".join(cell.source for cell in cells if cell.cell_type == "markdown")
    else:
        text = path.read_text(encoding="utf-8")
    return NOT_PROSE.sub(" ", re.sub(r"^## References$.*?(?=^## |\Z)", "", text, flags=re.MULTILINE | re.DOTALL))


@pytest.mark.parametrize("path", [*LESSONS, *PAGES], ids=lambda path: path.stem)
@pytest.mark.parametrize("unwanted", [AMERICAN, AVOID], ids=["British", "plain"])
def test_words(path: Path, unwanted: re.Pattern[str]):
    text = prose(path)
    found = [text[max(0, m.start() - 30) : m.end() + 30].replace("\n", " ") for m in unwanted.finditer(text)]
    assert found == []


@pytest.mark.parametrize("path", LESSONS, ids=lambda path: path.stem)
def test_symbols_are_those_of_the_glossary(path: Path):
    cells = nbformat.read(path, as_version=4).cells
    text = "\n".join(cell.source for cell in cells if cell.cell_type == "markdown")
    assert [text[max(0, m.start() - 30) : m.end() + 30] for m in ANOTHER_SYMBOL.finditer(text)] == []


@pytest.mark.parametrize("path", LESSONS[1:], ids=lambda path: path.stem)
def test_the_head_ends_with_the_symbols(path: Path):
    """A folded table of symbols; its names in code stand in the lesson's code or in lesson 0's glossary."""
    cells = nbformat.read(path, as_version=4).cells
    glossary = [c.source for c in nbformat.read(LESSONS[0], as_version=4).cells if c.source.startswith("## Glossary")]
    known = "\n".join([*glossary, *(cell.source for cell in cells if cell.cell_type == "code")])
    _, begun, box = cells[0].source.partition("<details><summary>Symbols of this lesson (all of them: the glossary")
    rows = [line.split(" | ") for line in box.splitlines() if line.startswith("| $")]
    assert begun and box.endswith("</details>") and len(rows) >= 4 and all(len(row) == 3 for row in rows)
    names = [name.split("[")[0].split("(")[0].split(".")[-1] for row in rows for name in re.findall("`(.+?)`", row[1])]
    assert names and [name for name in names if not re.search(rf"\b{name}\b", known)] == []


def test_spelling(tmp_path: Path):
    for path in [*LESSONS, *PAGES]:
        (tmp_path / f"{path.stem}.txt").write_text(prose(path), encoding="utf-8")
    command = [sys.executable, "-m", "codespell_lib", "--builtin", "clear,rare", str(tmp_path)]
    answer = subprocess.run(command, capture_output=True, text=True, check=False)
    assert answer.returncode == 0, answer.stdout.replace(str(tmp_path), "") + answer.stderr


@pytest.mark.parametrize("word", ["color", "neighbors", "normalized", "analyze", "toward", "optimizers", "labeled"])
def test_american_words_are_noticed(word: str):
    assert AMERICAN.search(f"a {word} here")


@pytest.mark.parametrize("word", ["size", "prize", "seized", "towards", "colour", "analyse", "central", "sizes"])
def test_british_words_pass(word: str):
    assert not AMERICAN.search(f"a {word} here")
