"""The wheel in an empty environment, with the network off: what a stranger has after `pip install`."""

from __future__ import annotations

import os
import signal
import subprocess
import zipfile
from pathlib import Path

import psutil
import pytest
from installed import build_wheel, cut_off, empty_environment, pip_install, serves, started_lab

import metarules

LESSONS = Path(metarules.__file__).parents[1] / "notebooks"
LESSON_0 = """
import json, pathlib, sys
import metarules
from IPython.core.interactiveshell import InteractiveShell
from metarules.command_line.lessons import lessons_folder

assert lessons_folder() == pathlib.Path(metarules.__file__).parent / "lessons"
shell = InteractiveShell.instance()
lesson = json.loads((lessons_folder() / "00_start_here.ipynb").read_text(encoding="utf-8"))
for cell in lesson["cells"]:
    if cell["cell_type"] == "code":
        shell.run_cell("".join(cell["source"])).raise_error()
print("all cells of lesson 0 ran")
"""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("hatchling", reason="the test extra has it")
    return build_wheel(tmp_path_factory.mktemp("wheel"))


@pytest.fixture(scope="module")
def python(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Python of an environment in a folder with a blank and an accent, with the wheel alone installed."""
    python = empty_environment(tmp_path_factory.mktemp("Füße und Hände") / "env")
    pip_install(python, str(wheel))  # the rest is there, in the ranges that the wheel asks for, or pip would say so
    return python


@pytest.fixture
def env(python: Path, tmp_path: Path) -> dict[str, str]:
    path = f"{python.parent}{os.pathsep}{os.defpath}"  # no jupyter of another Python's, as the doctor would say
    return {**cut_off(tmp_path), "PATH": path}


def run(*words: object, cwd: Path, env: dict[str, str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(list(map(str, words)), cwd=cwd, env=env, capture_output=True, text=True, timeout=600)


@pytest.mark.slow
def test_the_wheel_holds_rules_and_lessons_and_nothing_else(wheel: Path):
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        for path in LESSONS.glob("[0-9]*.ipynb"):
            assert archive.read(f"metarules/lessons/{path.name}") == path.read_bytes()
    assert "metarules/pretrained/rules/local.safetensors" in names and "metarules/py.typed" in names
    tops = {name.split("/")[0] for name in names}
    assert tops == {"metarules", f"metarules-{metarules.__version__}.dist-info"}
    assert [name for name in names if "leaderboard" in name and name.endswith(".json")] == []


@pytest.mark.slow
def test_a_rule_learns_from_the_wheel_alone(python: Path, env: dict[str, str], tmp_path: Path):
    code = "import metarules, torch; r = metarules.load_rule('local'); print(metarules.__file__)\n"
    code += "print(r(metarules.init_state((64, 32, 32)), torch.rand(20, 64)).sizes)"
    done = run(python, "-c", code, cwd=tmp_path, env=env)
    assert done.returncode == 0, done.stderr
    where, sizes = done.stdout.splitlines()
    assert Path(where).is_relative_to(python.parents[1]) and sizes == "(64, 32, 32)"


@pytest.mark.slow
def test_lesson_0_runs_from_the_wheel_alone(python: Path, env: dict[str, str], tmp_path: Path):
    done = run(python, "-c", LESSON_0, cwd=tmp_path, env=env)
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.endswith("all cells of lesson 0 ran\n")


@pytest.mark.slow
@pytest.mark.parametrize("command", [("metarules",), ("python", "-m", "metarules")], ids=" ".join)
def test_the_command_is_on_the_path(command: tuple[str, ...], python: Path, env: dict[str, str], tmp_path: Path):
    done = run(python.parent / command[0], *command[1:], "--version", cwd=tmp_path, env=env)
    assert (done.returncode, done.stdout) == (0, f"metarules {metarules.__version__}\n"), done.stderr


@pytest.mark.slow
def test_the_doctor_looks_at_this_environment(python: Path, env: dict[str, str], tmp_path: Path):
    """Everything but the home, which cannot be written, is in order."""
    done = run(python, "-m", "metarules", "doctor", cwd=tmp_path, env=env)
    assert done.returncode == 1 and "1. " in done.stdout and "2. " not in done.stdout, done.stdout
    assert "cannot be written" in done.stdout and "JUPYTER_RUNTIME_DIR" in done.stdout


@pytest.mark.slow
def test_lab_serves_lesson_0_from_a_folder_of_ones_own(python: Path, env: dict[str, str], tmp_path: Path):
    words = [str(python), "-m", "metarules", "lab", "meine Übungen"]
    with started_lab(words, tmp_path, env, tmp_path / "lab.log") as (process, address):
        assert address.partition("?")[0].endswith("/lab/tree/00_start_here.ipynb")
        assert serves(address, "00_start_here.ipynb")
        (server,) = psutil.Process(process.pid).children()
        os.kill(process.pid, signal.SIGINT)
        server.terminate()  # as after a second Ctrl+C and a yes
        assert process.wait(60) == 130
    names = {path.name for path in (tmp_path / "meine Übungen").glob("*.ipynb")}
    assert names == {path.name for path in LESSONS.glob("[0-9]*.ipynb")}
    assert not (tmp_path / "file" / "home").exists()
