"""`metarules completion SHELL`: a script that completes commands and their options in bash, zsh or fish."""

from __future__ import annotations

import io
import os
import re
from collections.abc import Sequence
from contextlib import redirect_stdout

from metarules._files import print_whole
from metarules._words import Parser
from metarules.command_line import COMMANDS
from metarules.command_line import main as run

SHELLS = ("bash", "zsh", "fish")
_OPTION = re.compile(r"(?<![\w-])--[A-Za-z][\w.-]*")


def main(argv: Sequence[str], prog: str = "metarules completion") -> int:
    """Print the script.

    Args:
        argv: words after `completion`.
        prog: what the command is called in its messages.

    Returns:
        Exit status 0.
    """
    parser = Parser(
        prog=prog,
        description="Print a script that completes the commands of metarules and their options. "
        'bash: put eval "$(metarules completion bash)" into ~/.bashrc, or store the script once, which is quicker; '
        "zsh: the same in ~/.zshrc; fish: metarules completion fish > ~/.config/fish/completions/metarules.fish",
    )
    parser.add_argument("shell", choices=SHELLS)
    shell = parser.parse_args(argv).shell
    os.environ |= {"COLUMNS": "400", "NO_COLOR": "1"}  # no option shall be broken in two
    words = {name: options_of(name) for name in COMMANDS if name != "completion"} | {"completion": list(SHELLS)}
    print_whole(fish(words) if shell == "fish" else bash(words, zsh=shell == "zsh"))
    return 0


def options_of(command: str) -> list[str]:
    """The options that a command's help names."""
    text = io.StringIO()
    with redirect_stdout(text):
        if run([command, "--help"]) == 130:
            raise KeyboardInterrupt  # which the command has taken for its own
    own = {option for option in _OPTION.findall(text.getvalue()) if not option.endswith(("-", "."))}
    return sorted(own | {"--help"})


def bash(words: dict[str, list[str]], zsh: bool = False) -> str:
    """The script for bash, which zsh runs through its own emulation."""
    cases = "\n".join(f'        {name}) known="{" ".join(options)}" ;;' for name, options in words.items())
    head = "autoload -U +X bashcompinit && bashcompinit\n" if zsh else ""
    return f"""{head}_metarules() {{
    local word="${{COMP_WORDS[COMP_CWORD]}}" known=""
    COMPREPLY=()
    if [ "$COMP_CWORD" -eq 1 ]; then
        COMPREPLY=($(compgen -W "{" ".join(words)} --help --version" -- "$word"))
        return
    fi
    case "${{COMP_WORDS[1]}}" in
{cases}
    esac
    COMPREPLY=($(compgen -W "$known" -- "$word"))
}}
complete -o default -F _metarules metarules"""


def fish(words: dict[str, list[str]]) -> str:
    """The script for fish."""
    lines = [f"complete -c metarules -n __fish_use_subcommand -f -a '{name}' -d '{_what(name)}'" for name in words]
    for name, options in words.items():
        asked = f"complete -c metarules -n '__fish_seen_subcommand_from {name}'"
        lines += [f"{asked} -a '{option}'" for option in options]
    return "\n".join(lines)


def _what(name: str) -> str:
    return COMMANDS[name][1].replace("'", "\\'")
