"""`metarules`: one command in front of the package's command lines, each of which stays callable by itself.

metarules lab
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib import import_module

from metarules import __version__
from metarules._files import print_whole
from metarules._words import nearest

# word -> (module whose `main(words, prog)` it is, what it does); imported when asked for, since torch takes a second
COMMANDS = {
    "lab": ("metarules.command_line.lab", "copy the lessons to a folder of yours and open lesson 0"),
    "evaluate": ("metarules.evaluation.cli", "judge rules and baselines by a few labels per class"),
    "grid": ("metarules.evaluation.grid", "judge a rule on many nets, data sets and numbers of labels"),
    "train": ("metarules.meta_training.__main__", "meta-train a rule"),
    "export": ("metarules.command_line.export", "features, a network, a picture or a film, as a file"),
    "import-tf": ("metarules.pretrained.import_tf", "store the authors' released rule under a name"),
    "doctor": ("metarules.command_line.doctor", "say what is installed here, and what is wrong with it"),
    "completion": ("metarules.command_line.completion", "a script for bash, zsh or fish that completes words"),
}
HELP = f"""usage: metarules COMMAND ...

Learning rules that were learned, for representations without labels.

{chr(10).join(f"  {name:<11} {what}" for name, (_, what) in COMMANDS.items())}

`metarules COMMAND --help` shows the options of each, `metarules --version` the
version. Where `metarules` is not found, `python -m metarules` is the same.

Exit status: 0 if all went well, 1 if something asked for could not be done,
2 for words that cannot be understood, 130 when stopped by hand.
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command `metarules`.

    Args:
        argv: words without the program's name; None takes those of this process.

    Returns:
        Exit status, see `HELP`.
    """
    words = list(sys.argv[1:] if argv is None else argv)
    if words[:1] == ["help"]:
        words = [*words[1:2], "--help"]
    try:
        return _run(words)
    except SystemExit as stop:  # of a parser: 0 after --help, 2 after an error
        return stop.code if isinstance(stop.code, int) else int(stop.code is not None)
    except KeyboardInterrupt:
        print("stopped", file=sys.stderr)
        return 130
    except OSError as error:  # such as a full disk under what was to be printed
        print(f"error: {error}", file=sys.stderr)
        return 1


def _run(words: Sequence[str]) -> int:
    if words[:1] in (["-h"], ["--help"]):
        print_whole(HELP.rstrip())
        return 0
    if words[:1] == ["--version"]:
        print_whole(f"metarules {__version__}")
        return 0
    if not words or words[0] not in COMMANDS:
        asked = f"command is {words[0]!r}" if words else "no command"
        near = nearest(words[0], [*COMMANDS, "--help", "--version"]) if words else ""
        print(f"metarules: {asked}; allowed: {', '.join(COMMANDS)}{near}\nmetarules --help says more", file=sys.stderr)
        return 2
    status: int = import_module(COMMANDS[words[0]][0]).main(words[1:], prog=f"metarules {words[0]}")
    return status
