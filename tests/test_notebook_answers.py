"""Before anything is run, no lesson tells an answer: guesses are empty, solutions folded, what was measured hidden."""

from __future__ import annotations

import ast
import re
from pathlib import Path
from typing import Any

import nbformat
import pytest

ROOT = Path(__file__).resolve().parents[1]
LESSONS = sorted((ROOT / "notebooks").glob("*.ipynb"))
FIRST_LINE = re.compile(r"# Solution to exercise (\d+)\b")
STATEMENT = re.compile(r"\*\*(?:Long exercise|Exercise) (\d+)")
FOLDED_TEXT = re.compile(r"<details>.*?</details>", re.DOTALL)
MEASURED = re.compile(r"[Mm]easured: (.*)")
NUMBER = re.compile(r"(?<![\w.])\d+\.\d+")
VIEW, STATE = "application/vnd.jupyter.widget-view+json", "application/vnd.jupyter.widget-state+json"


@pytest.fixture(scope="module", params=LESSONS, ids=lambda path: path.stem)
def lesson(request: pytest.FixtureRequest) -> Any:
    return nbformat.read(request.param, as_version=4)


def is_solution(cell: Any) -> bool:
    return "solution" in cell.metadata.get("tags", [])


def hidden(cell: Any, what: str) -> bool:
    return bool(cell.metadata.get("jupyter", {}).get(what))


def visible_source(cell: Any) -> str:
    """What stands in a cell unfolded."""
    if cell.cell_type == "markdown":
        return FOLDED_TEXT.sub("", cell.source)
    return "" if hidden(cell, "source_hidden") else cell.source


def output_text(cell: Any, widgets: dict[str, Any]) -> str:
    """All words that a cell's outputs show: printed, boxes of feedback, and the texts of its widgets."""
    parts = []
    for output in cell.get("outputs", []):
        data = output.get("data", {})
        parts += [output.get("text", ""), *(data[kind] for kind in data if kind.startswith("text/"))]
        if VIEW in data:
            parts.append(widget_text(data[VIEW]["model_id"], widgets))
    return "\n".join(parts).replace("<", "\n<")  # a verdict and the picture beside it are two lines in a fold too


def widget_text(model: str, widgets: dict[str, Any]) -> str:
    """The texts of a widget and of all that it holds."""
    state = widgets.get(model, {}).get("state", {})
    texts = [state[name] for name in ("value", "description", "alt") if isinstance(state.get(name), str)]
    children = state.get("children", [])
    return "\n".join([*texts, *(widget_text(child.removeprefix("IPY_MODEL_"), widgets) for child in children)])


def widgets_of(lesson: Any) -> dict[str, Any]:
    return lesson.metadata.get("widgets", {}).get(STATE, {}).get("state", {})


def exercises(lesson: Any) -> dict[int, tuple[int, list[Any]]]:
    """Exercise -> place of its statement, and its folded cells."""
    cells, found = lesson.cells, {}
    stated = {int(n): i for i, c in enumerate(cells) if c.cell_type == "markdown" for n in STATEMENT.findall(c.source)}
    for number, at in stated.items():
        folded = [c for c in cells if is_solution(c) and int(FIRST_LINE.match(c.source)[1]) == number]
        found[number] = (at, folded)
    return found


def test_each_exercise_is_stated_and_solved(lesson: Any):
    found = exercises(lesson)
    assert len(found) >= 3 and list(found) == list(range(1, len(found) + 1))
    assert all(folded for _, folded in found.values())


def test_solutions_are_folded_and_their_first_line_says_nothing(lesson: Any):
    for cell in filter(is_solution, lesson.cells):
        assert FIRST_LINE.match(cell.source), f"{cell.id} begins with {cell.source.splitlines()[0]!r}"
        assert hidden(cell, "source_hidden") and hidden(cell, "outputs_hidden"), cell.id


def test_guesses_start_empty(lesson: Any):
    for cell in lesson.cells:
        if cell.cell_type != "code" or is_solution(cell):
            continue
        for node in ast.walk(ast.parse(cell.source)):
            names = [t.id for t in getattr(node, "targets", []) if isinstance(t, ast.Name)]
            if isinstance(node, ast.Assign) and names and names[0].startswith("my_") and "# your " in cell.source:
                values = node.value.values if isinstance(node.value, ast.Dict) else [node.value]
                assert {ast.literal_eval(v) for v in values} <= {None, ...}, f"{cell.id}: {ast.unparse(node)}"


def test_no_verdict_is_stored_but_your_turn(lesson: Any):
    boxes = [
        (cell.id, output.data["text/html"])
        for cell in lesson.cells
        if not hidden(cell, "outputs_hidden")
        for output in cell.get("outputs", [])
        if "border-left: 4px" in output.get("data", {}).get("text/html", "")
    ]
    assert boxes and [where for where, box in boxes if "<strong>Your turn.</strong>" not in box] == []


def test_no_visible_line_of_code_is_a_line_of_a_solution_to_come(lesson: Any):
    for number, (at, folded) in exercises(lesson).items():
        cells = lesson.cells[at : lesson.cells.index(folded[0])]
        own = [cell for cell in cells if "..." in cell.source or "metarules.exercises" in cell.source]
        seen = {line.strip() for cell in cells if cell not in own for line in visible_source(cell).splitlines()}
        for line in "\n".join(cell.source for cell in folded).splitlines():
            if "return" in line or "=" in line.split("(")[0]:
                assert line.strip() not in seen or len(line.strip()) < 25, f"exercise {number}: {line}"


def test_nothing_measured_shows_before_it_is_guessed(lesson: Any):
    widgets, cells = widgets_of(lesson), lesson.cells
    for number, (at, folded) in exercises(lesson).items():
        given = visible_source(cells[at])
        told = "\n".join(output_text(cell, widgets) for cell in folded)
        values = {v for line in MEASURED.findall(told) for v in NUMBER.findall(line) if v not in given}
        for cell in cells[at + 1 : cells.index(folded[-1])]:
            shown = "" if hidden(cell, "outputs_hidden") else output_text(cell, widgets)
            shown += visible_source(cell)
            assert not MEASURED.search(shown), f"exercise {number}, {cell.id} tells what was measured"
            assert not values & set(NUMBER.findall(shown)), f"exercise {number}, {cell.id}: {values}"


@pytest.mark.parametrize("path", LESSONS, ids=lambda path: path.stem)
def test_a_solution_that_tells_what_was_measured_stays_folded_when_it_is_run(path: Path):
    """JupyterLab shows a folded cell's output as soon as the cell is run, and Run All runs them all."""
    solutions = filter(is_solution, nbformat.read(path, as_version=4).cells)
    outputs = [(cell.id, output) for cell in solutions for output in cell.outputs]
    told = [(where, o) for where, o in outputs if MEASURED.search(o.get("text", "") + str(o.get("data", {})))]
    assert told
    assert [where for where, o in told if not o.get("data", {}).get("text/html", "").startswith("<details>")] == []


def test_the_test_would_notice():
    """A guess that is told, in a lesson made up for it."""
    v4 = nbformat.v4
    fold = {"jupyter": {"source_hidden": True, "outputs_hidden": True}, "tags": ["solution"]}
    cells = [
        v4.new_markdown_cell("**Exercise 1: predict.** The untaught net has 0.60."),
        v4.new_code_cell("x", outputs=[v4.new_output("stream", text="after: 0.94")]),
        v4.new_code_cell("# Solution to exercise 1: unfold me\nx", metadata=fold),
    ]
    cells[2].outputs = [v4.new_output("execute_result", {"text/html": "Measured: 0.60 before, 0.94 after."})]
    with pytest.raises(AssertionError, match=r"0\.94"):
        test_nothing_measured_shows_before_it_is_guessed(v4.new_notebook(cells=cells))
