"""Set up `.venv` once, then run one of the project's commands in it: `python start.py lab`, `python start.py test`, ...

Standard library only, so that it runs on any system before anything is installed. Words after the command are handed
on to JupyterLab, pytest, tools/notebooks.py or benchmarks. A stamp in `.venv` remembers what was installed: a second
run sets up nothing.

Environment variables:
    METARULES_TORCH        `cpu` (default): on Linux take PyTorch's CPU build; `default`: take what pip chooses by
                           itself (on Linux the CUDA build and some gigabytes).
    METARULES_TORCH_INDEX  address that PyTorch's install selector shows for your choice, to fetch PyTorch from.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import json
import os
import re
import signal
import subprocess
import sys
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parent
VENV = ROOT / ".venv"
PYTHON = VENV / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
STAMP = VENV / "metarules-stamp.json"
LESSON_0 = ROOT / "notebooks" / "00_start_here.ipynb"
OLDEST_PYTHON = (3, 11)  # as in pyproject.toml
CELL_SECONDS = 120  # a lesson's cells take under 30 s; nbval itself would wait 2,000

DURATIONS = ["--durations=10", "--durations-min=1"]
NOTHING_CHOSEN = 5  # pytest's exit status if no test fits the options

COMMANDS = {
    "setup": "set up .venv and stop",
    "lab": "open lesson 0 in JupyterLab",
    "test": "lint, types, unit tests and every notebook",
    "test-slow": "what takes minutes, and every lesson in a real browser",
    "lint": "ruff and mypy alone",
    "notebooks": "run every notebook and store its outputs (--check: only compare)",
    "site": "build the site, every lesson with its films, into build/site (two minutes)",
    "figures": "draw what the paper's figures are about, from our own numbers, into figures/paper (PNG and SVG)",
    "slides": "every lesson as slides, one HTML file each, into build/slides",
    "bench": "what a step costs on this machine, in five to ten minutes (--quick: two; --plot: with a picture)",
}


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="start.py", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    listing = "; ".join(f"{name}: {what}" for name, what in COMMANDS.items())
    parser.add_argument("command", choices=COMMANDS, help=listing)
    command = parser.parse_args(sys.argv[1:2]).command
    rest = sys.argv[2:]
    if sys.version_info < OLDEST_PYTHON:
        wanted = ".".join(map(str, OLDEST_PYTHON))
        return complain(
            f"this is Python {sys.version.split()[0]}; allowed: {wanted} or newer (make lab PYTHON=python3.12)"
        )
    if command == "lint" and {"-h", "--help"} & set(rest):
        parser.parse_args(["--help"])
    failed = set_up()
    if failed or command == "setup":
        return failed
    if command == "lab":
        return lab(rest)
    if command == "test":
        return test(rest)
    if command == "test-slow":
        return test_slow(rest)
    if command == "lint":
        return lint()
    if command == "site":
        return run_python("-m", "sphinx", "-W", "--keep-going", "-c", "website", *rest, ".", "build/site")
    if command == "slides":
        return run_python("website/slides.py", "build/slides", *rest)
    if command == "bench":
        return run_python("-m", "benchmarks", *rest)
    if command == "figures":
        return run_python("tools/paper_figures.py", *rest)
    return run_python("tools/notebooks.py", *rest)


# ---- set-up


def set_up() -> int:
    """Create `.venv` and install into it, unless its stamp says that this has been done; 0 if all is well."""
    wanted = stamp()
    found: dict[str, str] = {}
    with contextlib.suppress(OSError, ValueError, TypeError):  # none yet, or one that was cut short: it is made anew
        found = dict(json.loads(STAMP.read_text(encoding="utf-8")))
    if found == wanted and PYTHON.exists():
        return 0
    say(f"Setting up {VENV.name} (once; a few minutes and about 1.5 GB) ...")
    moved = found.get("root", str(ROOT)) != str(ROOT)
    if moved or not usable():
        try:
            venv.create(VENV, clear=True, with_pip=True, symlinks=os.name != "nt")
        except (OSError, subprocess.CalledProcessError) as error:
            return complain(f"could not create {VENV}: {error}\nOn Debian and Ubuntu: apt-get install python3-venv")
    STAMP.unlink(missing_ok=True)
    if install():
        return complain("the installation failed; see pip's message above, then run the same command again")
    quieten_lab()
    STAMP.write_text(json.dumps(wanted), encoding="utf-8")
    say("Set-up done.")
    return 0


def stamp() -> dict[str, str]:
    """What an environment that needs no further set-up was made from."""
    files = [ROOT / "pyproject.toml", ROOT / "constraints.txt"]
    return {
        "root": str(ROOT),
        "python": ".".join(map(str, sys.version_info[:2])),
        "requirements": hashlib.sha256(b"\0".join(path.read_bytes() for path in files)).hexdigest(),
        "torch": f"{torch_wanted()} {os.environ.get('METARULES_TORCH_INDEX', '')}",
    }


def usable() -> bool:
    """Whether `.venv` holds a working Python of this version with pip."""
    probe = "import sys, pip; print('.'.join(map(str, sys.version_info[:2])))"
    if not PYTHON.exists():
        return False
    answer = subprocess.run([PYTHON, "-c", probe], capture_output=True, text=True, check=False)
    return answer.returncode == 0 and answer.stdout.strip() == ".".join(map(str, sys.version_info[:2]))


def install() -> int:
    """Install the package, editable, with all its extras at the versions of constraints.txt."""
    pip = [str(PYTHON), "-m", "pip", "install", "-c", "constraints.txt"]
    if not sys.stdout.isatty():
        pip.append("-q")  # a terminal shows progress; a log needs warnings and errors, lost connections among them
    source: list[str] = []
    if index := os.environ.get("METARULES_TORCH_INDEX"):
        source = ["--extra-index-url", index]
    elif torch_wanted() == "cpu" and sys.platform == "linux" and not pip_offers_own_build():
        install_cpu_torch(pip)
    return run(*pip, *source, "-e", ".[lessons,test]")


def torch_wanted() -> str:
    """`cpu` or `default`."""
    choice = os.environ.get("METARULES_TORCH", "cpu")
    if choice not in ("cpu", "default"):
        sys.exit(complain(f"METARULES_TORCH is {choice!r}; allowed: cpu, default"))
    return choice


def pinned_torch() -> str:
    """The version of PyTorch in constraints.txt."""
    found = re.search(r"^torch==(\S+)", (ROOT / "constraints.txt").read_text(encoding="utf-8"), re.MULTILINE)
    if not found:
        sys.exit(complain("constraints.txt pins no version of torch"))
    return found[1]


def pip_offers_own_build() -> bool:
    """Whether pip, as configured here, finds a build such as `2.13.0+cpu`; it prefers those without being told."""
    command = [str(PYTHON), "-m", "pip", "index", "versions", "torch"]
    listing = subprocess.run(command, capture_output=True, text=True, check=False).stdout
    return f"{pinned_torch()}+" in listing


def install_cpu_torch(pip: list[str]) -> None:
    """Fetch the CPU build through uv, which knows PyTorch's own index by the name of the backend."""
    uv = [str(PYTHON), "-m", "uv", "pip", "install", "--python", str(PYTHON), "-c", "constraints.txt"]
    if run(*pip, "uv") or run(*uv, "--torch-backend=cpu", "torch"):
        say(
            "PyTorch's index of CPU builds could not be used, so pip takes its own choice: on most Linux machines the\n"
            "CUDA build, which works without a GPU but is some gigabytes larger. To avoid it, stop, choose Linux, Pip\n"
            "and CPU on PyTorch's install selector and set METARULES_TORCH_INDEX to the address it shows."
        )


def quieten_lab() -> None:
    """Keep this environment's JupyterLab from asking about news and looking for updates: lessons work offline."""
    settings = VENV / "share" / "jupyter" / "lab" / "settings" / "overrides.json"
    settings.parent.mkdir(parents=True, exist_ok=True)
    quiet = {"fetchNews": "false", "checkForUpdates": False}
    settings.write_text(json.dumps({"@jupyterlab/apputils-extension:notification": quiet}), encoding="utf-8")


# ---- commands


def lab(rest: list[str]) -> int:
    """Open lesson 0 where it is; the file browser shows the whole repository, so that the code is a click away."""
    if not LESSON_0.exists():
        return complain(f"{LESSON_0.relative_to(ROOT)} is missing; is this a complete copy of the repository?")
    return run_python("-m", "metarules", "lab", str(LESSON_0.parent), *rest)


def lint() -> int:
    """Run ruff and mypy, all of them even if one fails."""
    return max(
        run_python("-m", "ruff", "check"),
        run_python("-m", "ruff", "format", "--check"),
        run_python("-m", "mypy"),
    )


def test(rest: list[str]) -> int:
    """Lint and types, then unit tests and strict nbval in one pytest run, whose closing line comes last."""
    linted = lint()
    if linted:
        say("Lint or types failed, see above; the tests run all the same.")
    say("Left out here: tests marked slow or browser. `make test-slow` runs them.")
    lessons = ["notebooks"] if list((ROOT / "notebooks").glob("*.ipynb")) else []
    options = ["-m", "not slow and not browser", *side_by_side(), *DURATIONS]
    nbval = ["--nbval", "--nbval-current-env", f"--nbval-cell-timeout={CELL_SECONDS}"]
    tested = run_python("-m", "pytest", *options, *nbval, *rest, "tests", *lessons)
    return linted or tested


def test_slow(rest: list[str]) -> int:
    """What takes minutes, side by side; then the browser tests, which measure times and want a quiet machine."""
    named = any((ROOT / word.split("::")[0]).exists() for word in rest)
    browser = [] if named else ["tests/browser"]  # half a minute less than looking for them everywhere
    ends = [
        run_python("-m", "pytest", "-m", "slow and not browser", *side_by_side(), *DURATIONS, *rest),
        run_python("-m", "pytest", "-m", "browser", *DURATIONS, *rest, *browser),
    ]
    failed = [end for end in ends if end not in (0, NOTHING_CHOSEN)]
    return failed[0] if failed else min(ends)  # options of the user's may choose from one part alone


def side_by_side() -> list[str]:
    """pytest's options for as many files at once as there are cores, up to four."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return ["-n", str(min(4, cores)), "--dist", "loadfile"]


# ---- small change


def run_python(*words: str) -> int:
    """Run the environment's Python with one numerical thread (small models run slower with more)."""
    return run(str(PYTHON), *words)


def run(*words: str) -> int:
    """Run a command from the repository's root inside `.venv`, its output going where ours goes."""
    path = os.pathsep.join([str(PYTHON.parent), os.environ.get("PATH", "")])
    env = {"OMP_NUM_THREADS": "1", **os.environ, "PATH": path, "VIRTUAL_ENV": str(VENV)}
    process = subprocess.Popen(words, cwd=ROOT, env=env)
    signal.signal(signal.SIGTERM, lambda *_: process.terminate())  # ending us ends the child too
    while True:
        try:
            return process.wait()
        except KeyboardInterrupt:  # the child got it too and may ask back, as JupyterLab does
            continue


def say(message: str) -> None:
    print(message, flush=True)


def complain(message: str) -> int:
    print(f"start.py: {message}", file=sys.stderr, flush=True)
    return 1


if __name__ == "__main__":
    sys.exit(main())
