"""A fresh clone, from `make setup` to lesson 0: a path of any letters, no network, a home that cannot be written."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import psutil
import pytest
from installed import ROOT, cut_off, empty_environment, serves, started_lab


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """This repository's HEAD, beside a `.venv` that has what metarules stands on, so that pip needs no registry."""
    pytest.importorskip("hatchling", reason="the test extra has it")
    if not (ROOT / ".git").exists():
        pytest.skip("not a git checkout: there is nothing to clone")
    folder = tmp_path_factory.mktemp("Füße und λ") / "metarules"
    subprocess.run(["git", "clone", "-q", str(ROOT), str(folder)], check=True)
    empty_environment(folder / ".venv")
    return folder


@pytest.fixture
def env(tmp_path: Path) -> dict[str, str]:
    offline = {"PIP_NO_INDEX": "1", "PIP_NO_BUILD_ISOLATION": "false"}  # pip reads it as `--no-build-isolation`
    return {**cut_off(tmp_path), **offline, "METARULES_TORCH": "default"}


@pytest.mark.slow
def test_a_clone_is_set_up_and_opens_lesson_0(clone: Path, env: dict[str, str], tmp_path: Path):
    words = [sys.executable, "start.py"]
    done = subprocess.run([*words, "setup"], cwd=clone, env=env, capture_output=True, text=True)
    assert done.returncode == 0 and "Set-up done." in done.stdout, done.stdout + done.stderr
    assert json.loads((clone / ".venv" / "metarules-stamp.json").read_text(encoding="utf-8"))["root"] == str(clone)
    again = subprocess.run([*words, "setup"], cwd=clone, env=env, capture_output=True, text=True)
    assert (again.returncode, again.stdout, again.stderr) == (0, "", "")
    with started_lab([*words, "lab"], clone, env, tmp_path / "lab.log") as (process, address):
        assert address.partition("?")[0].endswith("/lab/tree/notebooks/00_start_here.ipynb")
        assert serves(address, "notebooks/00_start_here.ipynb") and serves(address, "metarules/inner_loop.py")
        below = psutil.Process(process.pid).children(recursive=True)
        process.terminate()  # ends all that it has started
        process.wait(60)
        assert psutil.wait_procs(below, 60)[1] == []
    assert "Traceback" not in (tmp_path / "lab.log").read_text(encoding="utf-8", errors="replace")
    status = subprocess.run(["git", "status", "--porcelain"], cwd=clone, capture_output=True, text=True, check=True)
    assert status.stdout == "" and not (tmp_path / "file" / "home").exists()
