"""The package as a whole: its version, and what importing it costs."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from importlib.metadata import version
from pathlib import Path

import metarules

ROOT = Path(__file__).resolve().parents[1]
LOADED_WHEN_USED = ["matplotlib", "sklearn", "ipywidgets", "anywidget", "PIL", "IPython"]


def test_version_is_said_once():
    declared = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"]
    assert metarules.__version__ == declared == version("metarules")


def test_importing_metarules_is_light():
    code = f"import sys, metarules; print([n for n in {LOADED_WHEN_USED} if n in sys.modules])"
    answer = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert answer.stdout.strip() == "[]"


def test_annotations_are_checked_while_tests_run():
    """jaxtyping's hook marks what it has wrapped; without it the suite would check no shape."""
    from metarules.base_model import forward_unchecked

    assert hasattr(forward_unchecked, "__wrapped__")
