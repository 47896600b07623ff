"""Where your own rules live, so that `load_rule`, lessons and tables find them by name."""

from __future__ import annotations

import os
import sys
from pathlib import Path

VARIABLE = "METARULES_RULES"  # names another folder
_SUFFIX = ".safetensors"


def rules_folder() -> Path:
    """Folder of your own rules; it need not exist.

    The environment variable METARULES_RULES names it; else it is metarules/rules where the system keeps a user's data:
    $XDG_DATA_HOME or ~/.local/share on Linux, ~/Library/Application Support on macOS, %LOCALAPPDATA% on Windows.

    Example:
        save_rule(rule, rules_folder() / "mine.safetensors")  # from now on load_rule("mine")
    """
    if named := os.environ.get(VARIABLE):
        return Path(named).expanduser()
    home = os.path.expanduser("~")
    if sys.platform == "win32":
        data = os.environ.get("LOCALAPPDATA") or os.path.join(home, "AppData", "Local")
    elif sys.platform == "darwin":
        data = os.path.join(home, "Library", "Application Support")
    else:
        data = os.environ.get("XDG_DATA_HOME") or os.path.join(home, ".local", "share")
    return Path(data) / "metarules" / "rules"


def own_rules() -> tuple[str, ...]:
    """Names of the rules in `rules_folder()`, none where it cannot be read. Names of the package's rules win."""
    try:
        files = os.listdir(rules_folder())
    except (OSError, RuntimeError):  # RuntimeError: METARULES_RULES names the home of nobody
        return ()
    return tuple(sorted(name.removesuffix(_SUFFIX) for name in files if name.endswith(_SUFFIX) and name[0] != "."))
