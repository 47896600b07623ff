"""Code in README and docs/ runs as it stands, and links within the repository lead somewhere."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import start

ROOT = Path(__file__).resolve().parents[1]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")])
README = (ROOT / "README.md").read_text(encoding="utf-8")
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


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A reader's own folder, with the file that the README names."""
    rows = "".join(f"{i}.5,{i % 7},{'ab'[i % 2]}\n" for i in range(30))
    (tmp_path / "flowers.csv").write_text(f"length,width,species\n{rows}", encoding="utf-8")
    return tmp_path


def run(words: list[str], folder: Path) -> str:
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, *words], cwd=folder, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def check_ignored(folder: Path) -> None:
    """What a reader of the README makes in her clone is nothing that git asks about."""
    made = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()} - {"flowers.csv"}
    if made and (ROOT / ".git").exists():
        done = subprocess.run(["git", "check-ignore", *made], cwd=ROOT, capture_output=True, text=True, check=False)
        assert set(done.stdout.splitlines()) == made, done.stderr


@pytest.mark.parametrize("code", BLOCKS)
def test_code_of_the_pages_runs(code: str, folder: Path):
    """In a process of its own, since it registers names."""
    said = run(["-c", code], folder)
    if code in README:
        check_ignored(folder)
    if promised := re.search(r"# accuracy ([\d.]+)", code):
        accuracy = re.search(r"accuracy=([\d.]+)", said)
        assert accuracy is not None and abs(float(accuracy[1]) - float(promised[1])) < 0.01


EXTENSIONS = ("A classic rule", "A data set", "A term of `LocalRule`", "A family of meta-training tasks", "A lesson")
CELLS = """
import json
from IPython.core.interactiveshell import InteractiveShell
shell = InteractiveShell.instance()
for cell in json.load(open("my_lesson.ipynb", encoding="utf-8"))["cells"]:
    if cell["cell_type"] == "code":
        shell.run_cell("".join(cell["source"])).raise_error()
"""


def test_each_thing_that_can_be_added_has_an_example_and_the_lesson_runs(folder: Path):
    examples = dict(blocks(ROOT / "docs" / "extending.md"))
    assert set(EXTENSIONS) <= set(examples)
    assert all(len([line for line in code.splitlines() if line.strip()]) <= 30 for code in examples.values())
    run(["-c", examples["A lesson"] + CELLS], folder)


def code_of(text: str) -> list[str]:
    """What a page has in backquotes, and its lines that stand in by four."""
    return re.findall(r"`([^`\n]+)`", text.replace("```", "")) + re.findall(r"(?m)^    (\S.*)$", text)


COMMANDS = [re.sub(r"\s+#.*", "", line) for line in code_of(README)]
COMMANDS = [line for line in COMMANDS if line.startswith(("python ", "make ", ". ", "metarules "))]
RESULTS = (ROOT / "docs" / "results.md").read_text(encoding="utf-8")
CALLS = [line for line in code_of(RESULTS) if line.startswith("metarules.") and "(" in line]
SLOW = ("--json", "--against")


@pytest.mark.parametrize(
    "command",
    [pytest.param(c, marks=[pytest.mark.slow] if any(s in c for s in SLOW) else []) for c in dict.fromkeys(COMMANDS)],
)
def test_a_command_of_the_readme_runs_where_the_reader_is(command: str, folder: Path):
    """In a terminal as it says, with the environment activated; what opens or tests everything is only looked up."""
    if command.startswith("metarules "):
        opens = ["--no-browser", "--help"] if command.startswith("metarules lab") else []
        run(["-m", *command.split(), *opens], folder)
        check_ignored(folder)
    elif command.startswith("python -m"):
        run(command.split()[1:], folder)
        check_ignored(folder)
    else:  # each of these sets up, opens or tests everything: it is there, no more
        assert command == ". .venv/bin/activate" or command.split()[-1] in start.COMMANDS


@pytest.mark.parametrize("call", dict.fromkeys(CALLS))
def test_a_call_runs_after_the_import_of_metarules_alone(call: str, folder: Path):
    run(["-c", f"import metarules; assert {call} is not None"], folder)


def test_the_readme_begins_with_code_and_stays_short():
    assert blocks(ROOT / "README.md") and "examples/one_page.py" in README
    assert len(README.encode()) < 11_500  # the rest belongs into docs/


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path):
    links = [link for link in LINK.findall(page.read_text(encoding="utf-8")) if "://" not in link]
    assert [link for link in links if not (page.parent / link).exists()] == []
