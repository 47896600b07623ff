"""Colab, Binder, containers, workflows: they ask for what pyproject.toml asks for, and Colab's first cell works."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import nbformat
import pytest
import yaml
from installed import OFFLINE, ROOT, empty_environment, plain_environment
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from test_repo import CONDA_NAMES, EXTRAS, PROJECT, ranges

from tools import hosted

LESSONS = sorted((ROOT / "notebooks").glob("[0-9]*.ipynb"))
PYTHONS = SpecifierSet(PROJECT["requires-python"])
REPOSITORY = "https://github.com/someone/metarules"


def read(path: str) -> Any:
    return yaml.safe_load((ROOT / path).read_text(encoding="utf-8"))  # JSON is YAML too


# ---- they agree


def test_binder_gets_what_the_lessons_need_and_no_more():
    lines = [
        re.match(r"([A-Za-z0-9_.-]+)(.*)", line).groups() for line in read(".binder/environment.yml")["dependencies"]
    ]
    found = ranges([CONDA_NAMES.get(name, name) + rest for name, rest in lines if name not in ("python", "pip")])
    build = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["build-system"]["requires"]
    assert found == ranges([*PROJECT["dependencies"], *EXTRAS["lessons"], *build])
    assert dict(lines)["python"] == "=3.11" and "--no-deps" in (ROOT / ".binder/postBuild").read_text(encoding="utf-8")


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such bit")
@pytest.mark.parametrize("name", ["postBuild", "start"])
def test_binder_can_run_its_scripts(name: str):
    assert os.access(ROOT / ".binder" / name, os.X_OK)
    subprocess.run(["sh", "-n", ROOT / ".binder" / name], check=True)


def test_a_host_of_notebooks_gets_a_part_of_what_the_lessons_need():
    assert set(EXTRAS["hosted"]) <= set(EXTRAS["lessons"])
    assert {Requirement(line).name for line in EXTRAS["hosted"]} == {"ipywidgets", "anywidget"}


def test_the_container_has_a_python_that_we_support_and_sets_up_as_make_does():
    container = read(".devcontainer/devcontainer.json")
    assert re.fullmatch(r"python:(3\.\d+)-bookworm", container["image"])[1] in PYTHONS
    assert container["postCreateCommand"] == "python start.py setup"
    for path in container["customizations"]["codespaces"]["openFiles"]:
        assert (ROOT / path).exists()


def test_the_workflow_runs_ci_and_every_python_and_system():
    jobs = read(".github/workflows/tests.yml")["jobs"]
    assert {"run": ".ci/run"} in jobs["all"]["steps"]
    matrix = jobs["systems"]["strategy"]["matrix"]
    assert matrix["python"] == ["3.11", "3.12", "3.13", "3.14"] and all(v in PYTHONS for v in matrix["python"])
    assert matrix["os"] == ["ubuntu-latest", "macos-latest", "windows-latest"]
    commands = [step["run"].split()[:3] for step in jobs["systems"]["steps"] if "run" in step]
    assert commands == [["python", "start.py", "setup"], ["python", "start.py", "test"]]


@pytest.mark.parametrize(
    "path", sorted((ROOT / ".github" / "ISSUE_TEMPLATE").glob("*.yml")), ids=lambda path: path.stem
)
def test_issue_forms_have_what_a_form_needs(path: Path):
    form = yaml.safe_load(path.read_text(encoding="utf-8"))
    if path.stem == "config":
        return
    assert form["name"] and form["description"] and form["body"]
    ids = [part["id"] for part in form["body"]]
    assert len(set(ids)) == len(ids) and all(part["attributes"]["label"] for part in form["body"])


# ---- the tool


def lesson() -> Any:
    make = nbformat.v4
    result = make.new_output("execute_result", {"text/plain": "2"}, execution_count=1)
    cells = [
        make.new_markdown_cell("# Lesson 0 · A title\n\n**15 minutes** · You need: nothing.", id="a"),
        make.new_code_cell("1 + 1", id="b", execution_count=1, outputs=[result]),
        make.new_code_cell("print(3)", id="c", execution_count=2),
    ]
    return make.new_notebook(cells=cells)


def test_links_and_cell_are_put_in_once_and_renewed_when_the_address_changes():
    book = lesson()
    assert hosted.prepare(book, "00_a.ipynb", REPOSITORY)
    nbformat.validate(book)
    title, first, *_ = book.cells
    assert "colab.research.google.com/github/someone/metarules/blob/main/notebooks/00_a.ipynb" in title.source
    assert "mybinder.org/v2/gh/someone/metarules/main?labpath=notebooks%2F00_a.ipynb" in title.source
    assert (
        title.source.startswith("# Lesson 0 · A title\n\nOpen this lesson in") and "\n\n**15 minutes**" in title.source
    )
    assert f"git+{REPOSITORY}" in first.source and first.id == hosted.CELL_ID
    assert [cell.execution_count for cell in book.cells[1:]] == [1, 2, 3]
    assert book.cells[2].outputs[0].execution_count == 2
    assert not hosted.prepare(book, "00_a.ipynb", REPOSITORY)
    assert hosted.prepare(book, "00_a.ipynb", "https://github.com/other/name")
    assert "someone" not in nbformat.writes(book) and len(book.cells) == 4


def test_without_an_address_a_lesson_is_as_it_was():
    book = lesson()
    hosted.prepare(book, "00_a.ipynb", REPOSITORY)
    assert hosted.prepare(book, "00_a.ipynb", None)
    assert [dict(cell) for cell in book.cells] == [dict(cell) for cell in lesson().cells]
    assert not hosted.prepare(book, "00_a.ipynb", None)


def test_check_writes_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(hosted, "address", lambda: REPOSITORY)
    path = tmp_path / "00_a.ipynb"
    nbformat.write(lesson(), path)
    before = path.read_bytes()
    assert hosted.main(["--check", str(path)]) == 1 and path.read_bytes() == before
    assert hosted.main([str(path)]) == 0 and hosted.main(["--check", str(path)]) == 0
    assert "up to date" in capsys.readouterr().out


@pytest.mark.parametrize("path", LESSONS, ids=lambda path: path.stem)
def test_every_lesson_starts_where_the_repository_is(path: Path):
    """With the links and the cell of its address; with neither, as long as it has none."""
    book = nbformat.read(path, as_version=4)
    assert not hosted.prepare(book, path.name, hosted.address()), "run: python tools/hosted.py"


def test_no_address_is_made_up():
    """What pip, GitHub and citers are told: an address that is true, or none."""
    for url in PROJECT.get("urls", {}).values():
        assert re.fullmatch(r"https://[\w.-]+/[\w./-]+", url) and "OWNER" not in url and "example" not in url
    citation, links = read("CITATION.cff"), read(".github/ISSUE_TEMPLATE/config.yml")
    assert citation.get("repository-code", hosted.address()) == hosted.address()
    assert all(link["url"].startswith(str(hosted.address())) for link in links.get("contact_links", []))


def test_elsewhere_the_cell_does_nothing():
    from IPython.core.inputtransformer2 import TransformerManager

    source = TransformerManager().transform_cell(hosted.SOURCE.format(address=REPOSITORY))
    exec(compile(source, "cell", "exec"), {})  # `%pip` would need get_ipython, which is not there
    assert "google.colab" not in sys.modules


# ---- a mimic of Colab: a kernel with `google.colab` loaded, and neither repository nor metarules

STUB = """
import os

class output:
    @staticmethod
    def enable_custom_widget_manager():
        open(os.environ["METARULES_TEST_MARK"], "a").write("enabled\\n")
"""
RUN = """
import sys
import nbformat
from nbclient import NotebookClient

book = nbformat.read(sys.argv[1], as_version=4)
NotebookClient(book, timeout=600, kernel_name="python3").execute()
nbformat.write(book, sys.argv[1])
"""


@pytest.mark.slow
def test_lesson_0_runs_in_colab(tmp_path: Path):
    """Lesson 0 with its first cell, all of it; git takes this repository's HEAD for the one at the address."""
    pytest.importorskip("hatchling", reason="the test extra has it")
    if not (ROOT / ".git").exists():
        pytest.skip("not a git checkout: there is nothing to install from")
    python = empty_environment(tmp_path / "colab")
    stubs, kernels, work = (tmp_path / name for name in ("stubs", "jupyter/kernels/python3", "content"))
    for folder in (stubs / "google", kernels, work):
        folder.mkdir(parents=True)
    (stubs / "google" / "colab.py").write_text(STUB, encoding="utf-8")
    (stubs / "sitecustomize.py").write_text(f"{OFFLINE}\nimport google.colab\n", encoding="utf-8")
    argv = [str(python), "-m", "ipykernel_launcher", "-f", "{connection_file}"]
    spec = {"argv": argv, "display_name": "Python 3", "language": "python"}
    (kernels / "kernel.json").write_text(json.dumps(spec), encoding="utf-8")
    book = nbformat.read(LESSONS[0], as_version=4)
    hosted.prepare(book, LESSONS[0].name, REPOSITORY)
    nbformat.write(book, work / "lesson.ipynb")
    env = plain_environment(
        PYTHONPATH=str(stubs),
        JUPYTER_PATH=str(tmp_path / "jupyter"),
        METARULES_TEST_MARK=str(tmp_path / "mark"),
        GIT_CONFIG_COUNT="1",
        GIT_CONFIG_KEY_0=f"url.{ROOT.as_uri()}.insteadOf",
        GIT_CONFIG_VALUE_0=REPOSITORY,
        PIP_NO_INDEX="1",
        PIP_NO_BUILD_ISOLATION="false",  # pip reads it as `--no-build-isolation`
    )
    assert subprocess.run([python, "-c", "import metarules"], env=env, cwd=work, capture_output=True).returncode == 1
    words = [python, "-c", RUN, "lesson.ipynb"]
    done = subprocess.run(words, env=env, cwd=work, capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, done.stderr[-3000:]
    assert (tmp_path / "mark").read_text() == "enabled\n"
    cells = nbformat.read(work / "lesson.ipynb", as_version=4).cells
    assert sum("image/png" in o.get("data", {}) for c in cells if c.cell_type == "code" for o in c.outputs) >= 1
