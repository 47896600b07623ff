"""The package as a whole: its version, and what importing it costs."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from importlib.metadata import version
from pathlib import Path

import pytest
import yaml

import metarules

ROOT = Path(__file__).resolve().parents[1]
LOADED_WHEN_USED = ["matplotlib", "sklearn", "scipy", "pandas", "ipywidgets", "anywidget", "PIL", "IPython"]
FIRST_STEP = """
import torch
from metarules import init_state, load_rule
load_rule("local")(init_state((64, 32, 32)), torch.rand(20, 64))
"""


def test_version_is_said_once():
    """In metarules/__init__.py; pyproject.toml reads it there, and pages that must repeat it agree."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert "version" not in project and "version" in project["dynamic"]
    assert metarules.__version__ == version("metarules")
    assert re.fullmatch(r"\d+\.\d+\.\d+(?:(?:a|b|rc)\d+|\.dev\d+)?", metarules.__version__)
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert citation["version"] == metarules.__version__
    assert f"\n## {metarules.__version__}\n" in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("begin", ["import metarules", FIRST_STEP], ids=["import", "first step"])
def test_beginning_is_light(begin: str):
    """What plots, widgets and baselines need is loaded when they are; `make bench` tells the seconds."""
    code = f"{begin}\nimport sys\nprint([n for n in {LOADED_WHEN_USED} if n in sys.modules])"
    answer = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert answer.stdout.strip() == "[]"


def test_annotations_are_checked_while_tests_run():
    """jaxtyping's hook marks what it has wrapped; without it the suite would check no shape."""
    from metarules.base_model import forward_unchecked

    assert hasattr(forward_unchecked, "__wrapped__")


WITHOUT = """
import sys
from importlib import import_module
from pkgutil import walk_packages

class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {blocked!r}:
            raise ModuleNotFoundError(f"{{name}} is blocked")

sys.meta_path.insert(0, Blocked())
import metarules
names = [m.name for m in walk_packages(metarules.__path__, "metarules.", onerror=lambda name: None)]
for name in names:
    if not name.endswith("__main__") and name.startswith({start!r}) and not name.startswith("metarules.widgets"):
        import_module(name)
        print(name)
"""
LESSONS_NEED = ("ipywidgets", "anywidget", "traitlets", "jupyterlab", "jupyter_client", "IPython")


@pytest.mark.parametrize(
    ("start", "blocked"),
    [("metarules.", LESSONS_NEED), ("metarules.studies", (*LESSONS_NEED, "matplotlib", "PIL"))],
    ids=["all but the widgets without ipywidgets", "studies without matplotlib"],
)
def test_what_lessons_show_can_be_computed_without_what_shows_it(start: str, blocked: tuple[str, ...]):
    code = WITHOUT.format(start=start, blocked=blocked)
    answer = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert answer.returncode == 0, answer.stderr
    assert "metarules.studies.trajectory" in answer.stdout.split()
