"""`metarules lab`: the lessons in a folder of the user's, and JupyterLab on lesson 0."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from difflib import get_close_matches
from importlib.util import find_spec
from pathlib import Path

from metarules._words import Parser
from metarules.command_line import lessons
from metarules.command_line.lessons import Copies, copy_lessons, lesson_names

FOLDER = "metarules-lessons"
# Lessons work offline: JupyterLab shall neither ask about news nor look for updates.
QUIET = ("--LabApp.news_url=None", "--LabApp.check_for_updates_class=jupyterlab.NeverCheckForUpdate")
UPLOAD = 120_000_000  # bytes of a message: the largest file that `read_dataset` takes; over 10 MB, Jupyter hangs up
# where JupyterLab, IPython and matplotlib write
PLACES = ("JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR", "JUPYTER_RUNTIME_DIR", "IPYTHONDIR", "MPLCONFIGDIR")


def main(argv: Sequence[str], prog: str = "metarules lab") -> int:
    """Copy the lessons and run JupyterLab until it ends.

    Args:
        argv: words after `lab`.
        prog: what the command is called in its messages.

    Returns:
        Exit status: 0; 1 if the folder cannot be written or JupyterLab is missing or fails; 2 for words that neither
        this command nor JupyterLab understands; 130 when stopped by hand.
    """
    words = list(argv)
    parser = build_parser(prog)
    if "--copy-only" in words:
        parser.parse_args(words)  # nothing is handed on
    elif not words or words[0].startswith("-"):
        words.insert(0, FOLDER)
    options, handed_on = parser.parse_known_args(words)
    if any(typos := get_close_matches(word, ["--copy-only"], cutoff=0.8) for word in handed_on):
        parser.error(f"unknown: {' '.join(handed_on)} (nearest: {typos[0]!r})")
    try:
        copies = copy_lessons(options.folder)
    except OSError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    folder = Path(os.path.expanduser(options.folder)).resolve()
    say(copies, folder)
    if options.copy_only:
        return 0
    if find_spec("jupyterlab") is None:
        print("error: JupyterLab is not installed here; pip install 'metarules[lessons]' brings it", file=sys.stderr)
        return 1
    return open_lab(folder, handed_on)


def build_parser(prog: str) -> Parser:
    """The options, with their help."""
    parser = Parser(
        prog=prog,
        usage=f"{prog} [FOLDER] [--copy-only] [options of JupyterLab]",
        description="Copy the lessons to a folder of yours and open lesson 0 in JupyterLab. Lessons that you have "
        "changed stay as they are; a new edition is put beside them.",
        epilog="All other options, such as --no-browser or --port 8890, are handed on to JupyterLab.",
    )
    where = "where your copies are, made if missing (default: %(default)s)"
    parser.add_argument("folder", metavar="FOLDER", nargs="?", default=FOLDER, help=where)
    parser.add_argument("--copy-only", action="store_true", help="copy the lessons and stop")
    return parser


def say(copies: Copies, folder: Path) -> None:
    """Tell what is in the folder now."""
    if copies.new:
        print(f"{len(copies.new)} lessons copied to {folder}")
    if copies.renewed:
        print(f"replaced by newer editions: {', '.join(copies.renewed)}")
    if copies.kept:
        print(f"yours, kept as they are: {', '.join(copies.kept)}")
    if copies.beside:
        print(f"new editions beside yours: {', '.join(copies.beside)}")
    sys.stdout.flush()


def open_lab(folder: Path, options: Sequence[str]) -> int:
    """Run JupyterLab on lesson 0 in `folder`, with one numerical thread unless the environment says otherwise.

    Its file browser shows the folder; around the repository's own lessons the repository, so that code is a click away.
    """
    top = folder.parent if folder.samefile(lessons.lessons_folder()) else folder
    first = (folder / lesson_names()[0]).relative_to(top).as_posix()
    root = ["--allow-root"] if sys.platform == "linux" and os.geteuid() == 0 else []  # it refuses root otherwise
    places = [f"--ServerApp.root_dir={top}", f"--LabApp.default_url=/lab/tree/{first}"]  # what it prints leads there
    places.append(f"--ServerApp.tornado_settings={{'websocket_max_message_size': {UPLOAD}}}")
    command = [sys.executable, "-m", "jupyterlab", *places, *QUIET, *root, *options]
    with tempfile.TemporaryDirectory(prefix="metarules-") as spare:
        env = {"OMP_NUM_THREADS": "1", **os.environ, **other_places(spare)}
        process = subprocess.Popen(command, cwd=top, env=env)
        before = signal.signal(signal.SIGTERM, lambda *_: process.terminate())  # ending us ends the child too
        interrupted = False
        try:
            while True:
                try:
                    status = process.wait()
                except KeyboardInterrupt:  # JupyterLab got it too, and may ask back
                    interrupted = True
                else:
                    return 130 if interrupted else status if status in (0, 2) else 1
        finally:
            signal.signal(signal.SIGTERM, before)


def other_places(spare: str) -> dict[str, str]:
    """Where Jupyter shall write if it cannot write at home: variable -> folder in `spare`; nothing if all is well."""
    from jupyter_core.paths import jupyter_config_dir, jupyter_data_dir, jupyter_runtime_dir

    try:
        for place in (jupyter_config_dir(), jupyter_data_dir(), jupyter_runtime_dir()):
            os.makedirs(place, exist_ok=True)
            with tempfile.TemporaryFile(dir=place):
                pass
    except OSError as error:
        print(f"{error.filename or place} cannot be written: Jupyter keeps its settings in a temporary folder instead")
        return {name: os.path.join(spare, name.lower()) for name in PLACES}
    return {}
