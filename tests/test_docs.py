"""Code in README and docs/ runs as it stands, and links within the repository lead somewhere."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")])
HEADING, BLOCK = r"^#+ ([^\n]+)$", r"^```python\n(.*?)^```$"
LINK = re.compile(r"\[[^\]]*\]\(([^)#\s]+)")


def blocks(page: Path) -> list[tuple[str, str]]:
    """(heading, code) of each block of Python, in order."""
    found, heading = [], ""
    for match in re.finditer(f"{HEADING}|{BLOCK}", page.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL):
        heading = match[1] or heading
        if match[2]:
            found.append((heading, match[2]))
    return found


BLOCKS = [pytest.param(code, id=f"{page.name}: {heading}") for page in PAGES for heading, code in blocks(page)]


def run(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("code", BLOCKS)
def test_code_of_the_pages_runs(code: str):
    """In a process of its own, since it registers names."""
    said = run(code)
    if accuracy := re.search(r"accuracy=([\d.]+)", said):  # the README's last line
        assert 0.91 < float(accuracy[1]) < 0.95


def test_the_readme_begins_with_code_and_stays_short():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert blocks(ROOT / "README.md") and "examples/one_page.py" in text
    assert len(text.encode()) < 10_000  # the rest belongs into docs/


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path):
    links = [link for link in LINK.findall(page.read_text(encoding="utf-8")) if "://" not in link]
    assert [link for link in links if not (page.parent / link).exists()] == []
