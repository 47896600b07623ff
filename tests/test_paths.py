"""A user's path that cannot be read or written: a sentence that names the argument, the path, why, and what would do.

The places stand for what systems refuse even to root: another thing in the way, no such place, a name too long, links
in a circle, a file system of the kernel's own.
"""

from __future__ import annotations

import functools
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from metarules import MetaRuleTransformer, get_rule, load_rule
from metarules.command_line import main
from metarules.command_line.lessons import copy_lessons
from metarules.evaluation import Leaderboard, Results
from metarules.evaluation.grid_rows import GridRow, read_grid, write_grid
from metarules.meta_training import run
from metarules.pretrained import read_tf_checkpoint, save_rule
from metarules.pretrained.import_tf import rule_of_checkpoint
from metarules.studies.evolution import evolution, read_log
from metarules.studies.generalisation import recorded_grid
from metarules.studies.live_record import load_run, load_table
from metarules.studies.truncation_bias import load_bias, save_bias
from metarules.studies.vae_curve import recorded_vae
from metarules.tasks import read_dataset
from tests.fuzz_values import data

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="links and pipes are made")

LONG = "a" * 300
UNREADABLE = ("folder", "file/x", LONG, "loop", "none", "pipe", "nul\0")
UNWRITABLE = ("folder", "file/x", LONG, "loop", "nul\0", *(["/proc/x/y"] if sys.platform == "linux" else []))

# name -> (ending, argument, call); folders of images and checkpoints name what they lack, and where
READERS: dict[str, tuple[str, str, Callable[[Any], Any]]] = {
    "load_rule": (".safetensors", "name_or_path", load_rule),
    "MetaRuleTransformer.load": (".safetensors", "path", MetaRuleTransformer.load),
    "Results.read_json": (".json", "path", Results.read_json),
    "Leaderboard": (".json", "path", Leaderboard),
    "read_grid": (".csv", "path", read_grid),
    "read_dataset": (".csv", "", read_dataset),
    "read_log": (".csv", "path", read_log),
    "load_table": (".csv", "path", load_table),
    "recorded_vae": (".csv", "path", recorded_vae),
    "load_run": (".json", "path", load_run),
    "load_bias": (".json", "path", load_bias),
    "evolution": ("", "folder", evolution),
    "read_tf_checkpoint": (".zip", "", read_tf_checkpoint),
    "rule_of_checkpoint": (".zip", "", rule_of_checkpoint),
    "run, to resume": ("", "out", lambda path: run(path, resume=True)),
}


def fitted() -> MetaRuleTransformer:
    return MetaRuleTransformer("hebb", (4,), 3, n_steps=1).fit(data().x.numpy())


WRITERS: dict[str, tuple[str, str, Callable[[Any], Any]]] = {
    "save_rule": (".safetensors", "path", lambda path: save_rule(load_rule("local"), path)),
    "MetaRuleTransformer.save": (".safetensors", "path", lambda path: fitted().save(path)),
    "Results.write_json": (".json", "path", lambda path: Results(()).write_json(path)),
    "Leaderboard.fill": (".json", "path", lambda path: Leaderboard(path).fill()),
    "Leaderboard.enter": (".json", "path", lambda path: Leaderboard(path).enter(get_rule("hebb"), "mine")),
    "write_grid": (".csv", "path", lambda path: write_grid(path, grid_rows())),
    "save_bias": (".json", "path", lambda path: save_bias((), path)),
    "run": ("", "out", run),
    "copy_lessons": ("", "folder", copy_lessons),
}
COMMANDS: dict[str, tuple[str, int, tuple[str, ...]]] = {  # words -> (ending, status, places)
    "evaluate --rank @": (".json", 2, UNREADABLE),
    "evaluate --rule @": (".safetensors", 2, UNREADABLE),
    "evaluate --data @": (".csv", 2, UNREADABLE),
    "evaluate --json @": (".json", 2, UNWRITABLE),
    "evaluate --csv @": (".csv", 2, UNWRITABLE),
    "evaluate --markdown @": (".md", 2, UNWRITABLE),
    "grid --rule @": (".safetensors", 2, UNREADABLE),
    "grid --out @": (".csv", 2, UNWRITABLE),
    "train --out @": ("", 2, UNWRITABLE),
    "train --resume --out @": ("", 2, UNREADABLE),
    "train --out new --start @": (".safetensors", 2, UNREADABLE),
    "export @": (".csv", 2, UNWRITABLE),
    "export x.csv --rule @": (".safetensors", 2, UNREADABLE),
    "export x.csv --data @": (".csv", 2, UNREADABLE),
    "import-tf @": (".zip", 1, UNREADABLE),
    "lab @ --copy-only": ("", 1, UNWRITABLE),
}


@functools.cache
def grid_rows() -> list[GridRow]:
    return recorded_grid()[:1]


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").touch()
    return tmp_path


def made(place: str, ending: str) -> str:
    """A path of that kind; a run's folder may be there and be empty."""
    name = f"{place}{ending}"
    if place == "folder" and ending:
        Path(name).mkdir()
    elif place == "folder":
        Path(name).touch()
    elif place == "loop":
        os.symlink(name, name)
    elif place == "pipe":
        os.mkfifo(name)
    return name


@pytest.mark.parametrize("place", UNREADABLE)
@pytest.mark.parametrize("name", READERS)
def test_what_cannot_be_read_is_said(name: str, place: str, here: Path):
    ending, argument, call = READERS[name]
    path = made(place, ending)
    if (name, place) == ("Leaderboard", "none"):  # a new board
        return
    with pytest.raises((OSError, ValueError)) as caught:
        call(Path(path))
    check(str(caught.value), path, argument)


@pytest.mark.parametrize("place", UNWRITABLE)
@pytest.mark.parametrize("name", WRITERS)
def test_what_cannot_be_written_is_said(name: str, place: str, here: Path):
    ending, argument, call = WRITERS[name]
    path = made(place, ending)
    with pytest.raises((OSError, ValueError)) as caught:
        call(Path(path))
    check(str(caught.value), path, argument)


def test_lessons_are_not_copied_to_where_one_happens_to_be(here: Path, capsys: pytest.CaptureFixture[str]):
    assert main(["lab", "", "--copy-only"]) == 1
    assert "folder is ''; allowed: a path" in capsys.readouterr().err
    assert [path.name for path in here.iterdir()] == ["file"]


def check(said: str, path: str, argument: str) -> None:
    assert "Errno" not in said and "allowed: " in said and said.count("cannot be") <= 1
    assert argument in said
    assert Path(path).name[:200] in said.replace("\\x00", "\0")


@pytest.mark.parametrize("words", COMMANDS)
def test_a_command_line_says_it_and_ends_with_its_status(words: str, here: Path, capsys: pytest.CaptureFixture[str]):
    ending, status, places = COMMANDS[words]
    for place in places:
        if "\0" in place:  # which no command line can hold
            continue
        path = made(place, ending)
        assert main(words.replace("@", path).split()) == status, path
        said = capsys.readouterr().err
        check(said.splitlines()[-1], path, "")
        assert "Traceback" not in said
