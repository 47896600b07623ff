"""The rooms of the house: imports go one way, from a room to those above it."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "metarules"
# Top to bottom, as in CONTRIBUTING.md. `tasks` stands above `inner_loop`, which draws its batches from a Task.
ORDER = (
    ("_words",),
    ("_checks", "_files", "_memory"),
    ("_arguments", "_random", "_threads"),
    ("_work", "_workers"),
    ("base_model",),
    ("update_rule",),
    ("classic_rules",),
    ("pretrained",),
    ("meta_objective",),
    ("tasks",),
    ("inner_loop",),
    ("estimator",),
    ("evaluation",),
    ("meta_training",),
    ("studies",),
    ("plots",),
    ("widgets",),
    ("exercises",),
    ("command_line",),
    ("__main__",),
)
PLACE = {room: i for i, rooms in enumerate(ORDER) for room in rooms}
FILES = sorted(p for p in PACKAGE.rglob("*.py") if p != PACKAGE / "__init__.py")


def room_of(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imported_rooms(path: Path) -> set[str]:
    rooms = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("metarules."):
            rooms.add(node.module.split(".")[1])
        elif isinstance(node, ast.ImportFrom) and node.module == "metarules":
            rooms |= {alias.name for alias in node.names if (PACKAGE / alias.name).exists()}
        elif isinstance(node, ast.Import):
            rooms |= {a.name.split(".")[1] for a in node.names if a.name.startswith("metarules.")}
    return rooms


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_a_room_imports_only_from_rooms_above_it(path: Path):
    here = room_of(path)
    assert here in PLACE, f"{here} has no place in the house: give it one here and in CONTRIBUTING.md"
    below = {room for room in imported_rooms(path) if room != here and PLACE[room] >= PLACE[here]}
    assert not below, f"{path.name} imports from {', '.join(sorted(below))}"


def test_every_room_is_in_the_plan():
    plan = (PACKAGE.parent / "CONTRIBUTING.md").read_text(encoding="utf-8")
    missing = [room for room in PLACE if not room.startswith("_") and f"`{room}" not in plan]
    assert not missing
