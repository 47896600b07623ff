"""The repository itself: files that must agree with one another, and habits that no linter knows."""

from __future__ import annotations

import ast
import importlib.metadata
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
EXTRAS = PROJECT["optional-dependencies"]
HOUSE = ["README.md", "environment.yml", "notebooks", "metarules", "figures", "tests", "benchmarks", "docs"]
HOUSE += ["pyproject.toml", "Makefile"]
LONGEST_MODULE = 400  # lines, a wall; from 300 on, look whether a file holds one idea

# conda-forge's name -> PyPI's, where the two differ
CONDA_NAMES = {"pytorch-cpu": "torch", "matplotlib-base": "matplotlib", "playwright-python": "playwright"}
# what is imported -> PyPI's name, where the two differ
IMPORT_NAMES = {"sklearn": "scikit-learn", "PIL": "pillow", "yaml": "pyyaml"}
# what is imported -> the declared dependency that itself stands on it
COMES_WITH = {
    "markdown_it": "myst-nb",
    "mdit_py_plugins": "myst-nb",
    "pygments": "sphinx",
    "docutils": "sphinx",
    "IPython": "ipykernel",
    "jupyter_client": "ipykernel",
    "traitlets": "ipywidgets",
    "scipy": "scikit-learn",
    "threadpoolctl": "scikit-learn",
    "packaging": "matplotlib",
    "jupyter_core": "jupyterlab",
}

# Written so that no pattern matches its own line.
MACHINE_PATH = re.compile(r"(?<![\w.~-])/(?:home|root|work|tmp|Users|opt)/(?=\w)|\b[A-Z]:\\+(?:Users|Windows)\b")


def ranges(lines: list[str]) -> dict[str, str]:
    """Canonical name -> version range."""
    return {canonicalize_name(r.name): str(r.specifier) for r in map(Requirement, lines)}


DECLARED = ranges([*PROJECT["dependencies"], *EXTRAS["lessons"], *EXTRAS["test"]])


def tracked_files() -> list[Path]:
    """Files that git tracks or would track; none is skipped by being forgotten in `git add`."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"]
    try:
        answer = subprocess.run(command, cwd=ROOT, capture_output=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("not a git checkout: there is no list of tracked files")
    paths = (ROOT / name for name in answer.stdout.decode().split("\0") if name)
    return [path for path in paths if path.is_file()]


def python_files(*folders: str) -> list[Path]:
    return sorted(path for folder in folders for path in (ROOT / folder).rglob("*.py"))


# ---- environment.yml, pyproject.toml, constraints.txt


def environment() -> dict:
    return yaml.safe_load((ROOT / "environment.yml").read_text(encoding="utf-8"))


def test_environment_asks_for_what_pyproject_asks_for():
    lines = [line for line in environment()["dependencies"] if isinstance(line, str)]
    wanted = {}
    for line in lines:
        name, rest = re.fullmatch(r"([A-Za-z0-9_.-]+?)((?:[<>=!~].*)?)", line).groups()
        if name not in ("python", "pip"):
            wanted |= ranges([CONDA_NAMES.get(name, name) + rest])
    assert wanted == DECLARED


def test_environment_has_a_form_that_conda_and_binder_read():
    spec = environment()
    assert "python=3.11" in spec["dependencies"]  # Binder reads this form alone
    assert {"pip": ["-e ."]} in spec["dependencies"]
    assert "pip" in spec["dependencies"]
    assert spec["channels"] == ["conda-forge", "nodefaults"]


def test_every_dependency_in_environment_says_where_it_is_used():
    text = (ROOT / "environment.yml").read_text(encoding="utf-8")
    lines = text.split("\ndependencies:\n")[1].splitlines()
    bare = [line for line in lines if line.strip().startswith("- ") and not re.search(r" # \S.{8,}", line)]
    assert bare == []


def constraints() -> dict[str, str]:
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    return ranges([line for line in lines if line.strip() and not line.startswith("#")])


def test_constraints_pin_every_direct_dependency_within_its_range():
    pinned = constraints()
    for name, allowed in (DECLARED | ranges(EXTRAS["mnist"])).items():
        assert name in pinned, f"constraints.txt does not pin {name}"
        version = pinned[name].removeprefix("==")
        assert Requirement(f"{name}{allowed}").specifier.contains(version), (name, version, allowed)


def test_constraints_are_exact_and_fit_every_system():
    for name, pin in constraints().items():
        assert re.fullmatch(r"==[^=*]+", pin), f"{name} {pin} is not one exact version"
        assert Version(pin.removeprefix("==")).local is None, (
            f"{name} {pin} has a local suffix: one system alone has it"
        )


def test_what_is_pinned_runs_on_the_oldest_python():
    """Its first release: Debian 12 has 3.11.2, and one pin that wants more ends the set-up there."""
    import start

    oldest = ".".join(map(str, start.OLDEST_PYTHON)) + ".0"
    for name in constraints():
        try:
            wanted = importlib.metadata.metadata(name)["Requires-Python"]
        except importlib.metadata.PackageNotFoundError:  # another system's
            continue
        assert not wanted or SpecifierSet(wanted).contains(oldest), f"{name} wants Python {wanted}"


def test_python_versions_agree():
    import start

    assert PROJECT["requires-python"] == ">=" + ".".join(map(str, start.OLDEST_PYTHON))


@pytest.mark.parametrize(
    ("folder", "extras"),
    [
        ("metarules", ["lessons", "mnist"]),
        ("benchmarks", []),
        ("tests", ["lessons", "test"]),
        ("tools", ["lessons", "test"]),
        ("website", ["lessons", "test"]),
    ],
)
def test_everything_imported_is_declared(folder: str, extras: list[str]):
    declared = ranges([*PROJECT["dependencies"], *(line for extra in extras for line in EXTRAS[extra])])
    own = {"metarules", "benchmarks", "tests", "tools", "start", "strangers", "one_page"}
    own |= {path.stem for path in [*python_files("tests"), *python_files("website")]}
    for path in python_files(folder):
        for name in imported(path) - own - sys.stdlib_module_names:
            wanted = COMES_WITH.get(name, IMPORT_NAMES.get(name, name))
            assert canonicalize_name(wanted) in declared, f"{path.relative_to(ROOT)} imports {name}, not declared"


def imported(path: Path) -> set[str]:
    """Top-level names of the modules that a file imports anywhere."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names.add(node.module.split(".")[0])
    return names


# ---- the house


@pytest.mark.parametrize("name", HOUSE)
def test_the_house_stands(name: str):
    assert (ROOT / name).exists()


def test_licence_is_mit():
    text = (ROOT / "LICENSE").read_text(encoding="utf-8")
    assert text.startswith("MIT License") and "The metarules authors" in text
    assert PROJECT["license"] == "MIT"


def test_modules_stay_short():
    modules = python_files("metarules", "benchmarks", "tools")
    lengths = {path: len(path.read_text(encoding="utf-8").splitlines()) for path in modules}
    too_long = {str(path.relative_to(ROOT)): n for path, n in lengths.items() if n > LONGEST_MODULE}
    assert too_long == {}


def test_no_machine_paths_in_tracked_files():
    found = []
    for path in tracked_files():
        try:
            text = path.read_text(encoding="utf-8")
        except UnicodeDecodeError:
            continue  # binary: arrays and rules
        found += [f"{path.relative_to(ROOT)}: {match[0]}" for match in MACHINE_PATH.finditer(text)]
    assert found == []


def test_machine_path_pattern_knows_one_when_it_sees_one():
    for bad in ("/ho" + "me/someone/x", 'open("/tm' + 'p/x")', "C:\\Use" + "rs\\x", "C:\\\\Use" + "rs\\x"):
        assert MACHINE_PATH.search(bad), bad
    for good in ("/usr/bin/chromium", "notebooks/tmp/x", "a /work", "~/work/x", "https://example.org/home/x"):
        assert not MACHINE_PATH.search(good), good


def test_shipped_rules_are_not_ignored_by_git():
    """Hatchling leaves out of the wheel what git ignores."""
    names = ["metarules/pretrained/any.safetensors", "metarules/pretrained/any.json"]
    try:
        answer = subprocess.run(["git", "check-ignore", *names], cwd=ROOT, capture_output=True, text=True, check=False)
    except OSError:
        pytest.skip("git is not installed")
    assert answer.stdout == ""
