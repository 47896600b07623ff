"""What nbval does not see: that lessons were run in order, hold their pictures, and can be read by everyone."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import nbformat
import pytest

ROOT = Path(__file__).resolve().parents[1]
LESSONS = sorted((ROOT / "notebooks").glob("*.ipynb"))
LARGEST = 1_500_000  # bytes
LONGEST_CELL = 15  # lines; cells tagged `long` are exempt
FIGURE_REPR = re.compile(r"<(?:Figure size|AxesSubplot|Axes:|matplotlib\.|PIL\.)|\bobject at 0x")
ADDRESS = re.compile(r"\b0x[0-9a-fA-F]{6,}\b")
MACHINE_PATH = re.compile(r"(?<![\w.~-])/(?:home|root|work|tmp|Users|opt)/(?=\w)|\b[A-Z]:\\+Users\b|ipykernel_\d+")
FENCE = re.compile(r"^(```|~~~).*?^\1", re.MULTILINE | re.DOTALL)
MARKDOWN_IMAGE = re.compile(r"!\[([^\]]*)\]\(")
HTML_IMAGE = re.compile(r"<img\b[^>]*>", re.IGNORECASE)
HTML_ALT = re.compile(r"""\balt\s*=\s*(?:"\s*[^"\s]|'\s*[^'\s])""", re.IGNORECASE)
REMOTE_IMAGE = re.compile(r"(?:!\[[^\]]*\]\(|<img\b[^>]*\bsrc\s*=\s*[\"']?)\s*(?:https?:)?//", re.IGNORECASE)


@pytest.fixture(params=LESSONS or [None], ids=lambda path: path.stem if path else "none")
def lesson(request: pytest.FixtureRequest) -> Any:
    """Each lesson in turn, read and checked against the notebook format."""
    if request.param is None:
        pytest.skip("notebooks/ holds no lesson yet")
    notebook = nbformat.read(request.param, as_version=4)
    nbformat.validate(notebook)
    return notebook


def code_cells(lesson: Any) -> list[Any]:
    return [cell for cell in lesson.cells if cell.cell_type == "code" and cell.source.strip()]


def tags(cell: Any) -> list[str]:
    return cell.metadata.get("tags", [])


def markdown(lesson: Any) -> str:
    """All prose, code fences taken out."""
    return FENCE.sub("", "\n\n".join(cell.source for cell in lesson.cells if cell.cell_type == "markdown"))


def texts(cell: Any) -> str:
    """All that a cell printed or showed as text; not the text that stands in for a picture where none can be shown."""
    parts = []
    for output in cell.outputs:
        data = output.get("data", {})
        parts.append(output.get("text", ""))
        parts += [value for kind, value in data.items() if kind.startswith("text/") and "image/png" not in data]
    return "\n".join(parts)


def pictures(cell: Any) -> list[str]:
    return [output.data["image/png"] for output in cell.outputs if "image/png" in output.get("data", {})]


@pytest.mark.parametrize("path", LESSONS or [None], ids=lambda path: path.stem if path else "none")
def test_size(path: Path | None):
    if path is None:
        pytest.skip("notebooks/ holds no lesson yet")
    assert path.stat().st_size < LARGEST


@pytest.mark.parametrize("path", LESSONS, ids=lambda path: path.stem)
def test_opened_and_saved_untouched_it_is_the_same_file(path: Path):
    text = path.read_text(encoding="utf-8")
    assert nbformat.writes(nbformat.reads(text, as_version=4)).rstrip() == text.rstrip()


def test_every_code_cell_was_run_in_order(lesson: Any):
    counts = [cell.execution_count for cell in code_cells(lesson)]
    assert counts == list(range(1, len(counts) + 1))


def test_cells_have_ids_and_no_times(lesson: Any):
    assert (lesson.nbformat, lesson.nbformat_minor) >= (4, 5)
    assert not [cell.id for cell in lesson.cells if "execution" in cell.metadata]


def test_no_error_is_stored(lesson: Any):
    kinds = [output.output_type for cell in code_cells(lesson) for output in cell.outputs]
    assert kinds and "error" not in kinds


def test_no_warning_or_error_text_is_stored(lesson: Any):
    loud = [cell.id for cell in code_cells(lesson) for o in cell.outputs if o.get("name") == "stderr"]
    assert loud == []


@pytest.mark.parametrize("pattern", [MACHINE_PATH, ADDRESS, FIGURE_REPR], ids=["paths", "addresses", "reprs"])
def test_nothing_of_this_machine_is_stored(lesson: Any, pattern: re.Pattern[str]):
    found = [match[0] for cell in code_cells(lesson) for match in pattern.finditer(texts(cell))]
    found += [match[0] for cell in lesson.cells for match in pattern.finditer(cell.source)]
    assert found == []


def test_headings(lesson: Any):
    levels = [len(marks) for marks in re.findall(r"^(#{1,6})\s+\S", markdown(lesson), re.MULTILINE)]
    assert levels[:1] == [1] and levels.count(1) == 1
    jumps = [(a, b) for a, b in zip(levels, levels[1:], strict=False) if b > a + 1]
    assert jumps == []


def test_the_head_says_who_and_leads_to_headings_that_are_there(lesson: Any):
    head = lesson.cells[0].source
    prose = "\n".join(cell.source for cell in lesson.cells if cell.cell_type == "markdown")
    headings = {h.replace("*", "").replace("`", "").replace(" ", "-") for h in re.findall(r"^#+ (.+)$", prose, re.M)}
    links = re.findall(r"\]\(#([^)]+)\)", head.partition("**Contents:**")[2])
    assert "*The metarules authors, " in head and len(links) >= 4 and set(links) <= headings


def test_cells_are_short(lesson: Any):
    lengths = {cell.id: len(cell.source.splitlines()) for cell in code_cells(lesson) if "long" not in tags(cell)}
    assert {name: n for name, n in lengths.items() if n > LONGEST_CELL} == {}


@pytest.mark.parametrize("path", LESSONS, ids=lambda path: path.stem)
def test_what_guards_the_prose_is_a_claim_beside_its_number(path: Path):
    """No bare `assert` in a cell that a reader sees, and no check that printed False: see `exercises.claim`."""
    lesson = nbformat.read(path, as_version=4)
    seen = [cell for cell in code_cells(lesson) if "solution" not in tags(cell)]
    asserts = [cell.id for cell in seen if re.search(r"^\s*assert\b", cell.source, re.MULTILINE)]
    failed = [cell.id for cell in seen if re.search(r"(?<!=)\bFalse\b", texts(cell))]  # not of scale=False
    assert (asserts, failed) == ([], [])


def test_images_in_prose_have_alt_text_and_are_ours(lesson: Any):
    prose = markdown(lesson)
    assert all(alt.strip() for alt in MARKDOWN_IMAGE.findall(prose))
    assert all(HTML_ALT.search(image) for image in HTML_IMAGE.findall(prose))
    assert not REMOTE_IMAGE.search(prose)


def test_pictures_are_stored(lesson: Any):
    assert any(pictures(cell) for cell in code_cells(lesson))
    empty = [cell.id for cell in code_cells(lesson) if "figure" in tags(cell) and not pictures(cell)]
    assert empty == []
