"""`metarules doctor`: what is installed here, and, in a sentence each, what is wrong with it."""

from __future__ import annotations

import os
import platform
import shutil
import sys
import textwrap
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, distribution, version
from pathlib import Path

from metarules._files import print_whole, text_table
from metarules._words import Parser
from metarules.command_line.doctor_widgets import kernel, widgets

WIDTH = 79


@dataclass
class Finding:
    """What an examination found.

    Attributes:
        facts: (name, value), in the order of the table.
        troubles: what is wrong and what to do about it, a sentence or two each.
    """

    facts: list[tuple[str, str]] = field(default_factory=list)
    troubles: list[str] = field(default_factory=list)


def main(argv: Sequence[str], prog: str = "metarules doctor") -> int:
    """Examine this Python and print what was found.

    Args:
        argv: words after `doctor`.
        prog: what the command is called in its messages.

    Returns:
        Exit status: 0 if nothing is wrong, else 1.
    """
    parser = Parser(prog=prog, description="Say what is installed here, and what is wrong with it in a sentence each.")
    parser.add_argument("--quick", action="store_true", help="start no kernel, which takes some seconds")
    quick = parser.parse_args(argv).quick
    finding = Finding()
    for examine in EXAMINATIONS:
        if not (quick and examine is kernel):
            examine(finding.facts, finding.troubles)
    print_whole(report(finding))
    return int(bool(finding.troubles))


def report(finding: Finding) -> str:
    """The facts as a table, then the troubles, numbered."""
    parts = [text_table(finding.facts, left=2)]
    for number, trouble in enumerate(finding.troubles, start=1):
        lines = textwrap.wrap(trouble, WIDTH - 3, break_long_words=False, break_on_hyphens=False)
        parts.append(textwrap.indent("\n".join(lines), "   ").replace("   ", f"{number}. ".ljust(3), 1))
    parts.append("Something is wrong, see above." if finding.troubles else "Nothing is wrong.")
    return "\n\n".join(parts)


def python(facts: list[tuple[str, str]], troubles: list[str]) -> None:
    """The interpreter and the system."""
    facts.append(("Python", f"{platform.python_version()}, {sys.executable}"))
    facts.append(("system", platform.platform(terse=True)))
    found = shutil.which("jupyter")
    if found and not Path(found).resolve().is_relative_to(Path(sys.prefix).resolve()):
        troubles.append(
            f"The command jupyter on your PATH is another Python's ({found}), and what it opens may lack metarules or "
            "its widgets. Start lessons by `metarules lab`, or activate this environment first."
        )


def package(facts: list[tuple[str, str]], troubles: list[str]) -> None:
    """metarules itself: version, lessons, rules."""
    import metarules
    from metarules.command_line.lessons import lesson_names
    from metarules.pretrained import load_rule, rules_folder, shipped_rules

    facts.append(("metarules", f"{metarules.__version__}, {Path(metarules.__file__).parent}"))
    try:
        facts.append(("lessons", f"{len(lesson_names())} come with it"))
    except FileNotFoundError as error:
        troubles.append(f"There are {error}.")
    try:
        for name in shipped_rules():
            load_rule(name)
        facts.append(("rules", f"{', '.join(shipped_rules())}; yours go to {rules_folder()}"))
    except Exception as error:
        troubles.append(f"A rule of the package cannot be loaded ({error}): install metarules again.")


def requirements(facts: list[tuple[str, str]], troubles: list[str]) -> None:
    """What metarules and its lessons stand on, against the ranges that it asks for."""
    from packaging.requirements import Requirement

    try:
        wanted = distribution("metarules").requires or []
    except PackageNotFoundError:
        troubles.append("metarules is on Python's path, but not installed: install it, so that all fits together.")
        return
    for line in wanted:
        need = Requirement(line)
        lessons = need.marker is not None and need.marker.evaluate({"extra": "lessons"})
        if need.marker is not None and not lessons and not need.marker.evaluate({"extra": ""}):
            continue
        try:
            found = version(need.name)
        except PackageNotFoundError:
            asked = "'metarules[lessons]'" if lessons else f"'{need.name}{need.specifier}'"
            troubles.append(f"{need.name} is not installed: pip install {asked} brings it.")
            continue
        if not need.specifier.contains(found, prereleases=True):
            troubles.append(
                f"{need.name} is {found}; allowed: {need.specifier} (pip install '{need.name}{need.specifier}')."
            )
        elif need.name in ("numpy", "jupyterlab", "ipykernel", "ipywidgets", "anywidget"):
            facts.append((need.name, found))


def pytorch(facts: list[tuple[str, str]], troubles: list[str]) -> None:
    """Build, devices and threads of PyTorch."""
    try:
        import torch
    except Exception as error:  # a broken build fails in many ways
        troubles.append(f"PyTorch cannot be imported ({error}): install it again.")
        return
    from metarules._threads import VARIABLES, available_cores, told_threads

    build = f"CUDA {torch.version.cuda}" if torch.version.cuda else "CPU build"
    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else "no GPU in use, none needed"
    facts.append(("PyTorch", f"{torch.__version__}, {build}; {gpu}"))
    cores, told = available_cores(), told_threads()
    said = f" (told by {' or '.join(v for v in VARIABLES if os.environ.get(v))})" if told else ""
    facts.append(("threads", f"{torch.get_num_threads()}{said} on {cores} cores; lessons use 1"))
    if told and told > cores:
        troubles.append(
            f"{told} threads were asked for, but this process may use {cores} cores: every step then waits for the "
            f"slowest. Set {VARIABLES[0]} to 1 for lessons, to {cores} at most elsewhere."
        )
    try:
        torch.ones(2).numpy()
    except RuntimeError as error:
        troubles.append(f"PyTorch and NumPy do not fit together ({error}): pip install --upgrade torch numpy.")


EXAMINATIONS: tuple[Callable[[list[tuple[str, str]], list[str]], None], ...] = (
    python,
    package,
    pytorch,
    requirements,
    widgets,
    kernel,
)
