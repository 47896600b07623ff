"""The command line of meta-training: every setting of every part of a plan is an option, by tyro."""

from __future__ import annotations

import argparse
import ast
import io
import os
from collections.abc import Iterable, Mapping, Sequence
from contextlib import redirect_stderr
from dataclasses import dataclass, fields, make_dataclass, replace
from pathlib import Path
from textwrap import fill, indent
from typing import Annotated, Any, get_origin

import tyro

from metarules._words import nearest
from metarules.meta_training.checkpoint import checkpoints, stored_plan
from metarules.meta_training.plan import PRESETS, Plan, option_words, preset
from metarules.pretrained import plain
from metarules.pretrained.kinds import KINDS, kind_of
from metarules.pretrained.own_modules import HELP, import_modules

PROGRAM = "python -m metarules.meta_training"
DESCRIPTION = (
    "Meta-train a rule; log, checkpoints, snapshots and the rule with its card go into one folder. Settings of the "
    "outer loop have plain names, all others their part's before a dot; what is shown as default are the preset's. "
    "Several processes: torchrun --nproc-per-node 2 -m metarules.meta_training --preset laptop --out runs/x"
)
START = "rule whose theta the run begins with, a name or a file; terms that it lacks begin as --rule.* says"


@dataclass(frozen=True)
class Options:
    """What a command line asks for."""

    out: Path
    plan: Plan
    resume: bool
    threads: int | None
    device: str


def read_options(arguments: Sequence[str] | None = None, prog: str = PROGRAM) -> Options:
    """Read a command line.

    Args:
        arguments: without the program's name; None takes this process's.
        prog: what the program is called in its messages.

    Raises:
        ValueError, TypeError: a setting's value that is not allowed, an unknown preset or kind, no such module.
        SystemExit: 2 for options that cannot be read, after a message on stderr; 0 after `--help`.
    """
    rest = import_modules(arguments)
    first = argparse.ArgumentParser(prog=prog, add_help=False, allow_abbrev=False)
    first.add_argument("--preset")
    first.add_argument("--kind")
    first.add_argument("--set", nargs="+", action="extend", default=[])
    first.add_argument("--out", nargs="?")
    first.add_argument("--resume", action="store_true")
    chosen, rest = first.parse_known_args(rest)
    # a run that goes on has its settings from its checkpoint; what is asked for besides is compared with them
    own = stored_plan(checkpoints(Path(chosen.out))) if chosen.resume and chosen.out and not chosen.preset else None
    start = own or preset(chosen.preset or "laptop")
    rest += [*(["--out", os.path.expanduser(chosen.out)] if chosen.out else []), *(["--resume"] * chosen.resume)]
    rule = start.rule
    if chosen.kind not in (None, kind_of(rule).name):
        if chosen.kind not in KINDS:
            known = ", ".join(KINDS)
            allowed = f"{known}, or one that a module given to --import registers{nearest(chosen.kind, KINDS)}"
            raise ValueError(f"kind is {chosen.kind!r}; allowed: {allowed}")
        rule = KINDS[chosen.kind].settings()
    # The first six have been read above, since all others depend on them; here they are for `--help`.
    off: Any = tyro.conf.FlagConversionOff  # switches are said as True or False, like all other values
    parts = {"train": start.train, "data": start.data, "rule": rule, "judge": start.judge, "keep": start.keep}
    asked_for: list[tuple[str, Any] | tuple[str, Any, Any]] = [
        _option("preset", str, f"settings to start from: {', '.join(PRESETS)}", start.preset),
        _option("kind", str, f"kind of rule to train: {', '.join(KINDS)}", kind_of(rule).name),
        _option("import", str, HELP, "", metavar="MODULE"),
        _option("set", str, "settings as older cards print them: train.seed=1 rule.channels=24", "", "NAME=VALUE ..."),
        ("out", Annotated[Path, tyro.conf.arg(help="folder for the run")]),
        _option(
            "resume", tyro.conf.FlagCreatePairsOff[bool], "go on from the folder's checkpoint, by its settings", False
        ),
        _option("threads", int | None, "threads in all; None takes a core each", None),
        _option("device", str, "cpu or cuda", "cpu"),
        ("start", Annotated[str, tyro.conf.arg(help=START)], start.start),
        *((name, Annotated[off[type(part)], _name_of(name)], part) for name, part in parts.items()),
    ]
    asked: Any = make_dataclass("Asked", asked_for, kw_only=True)  # so that the one without a default need not be first
    description = indent(fill(DESCRIPTION, 78), " ")  # tyro would join lines that begin with a letter
    with _registry:
        found = tyro.cli(asked, prog=prog, description=description, args=[*rest, *_older(chosen.set)])
    plan = Plan(found.train, found.data, found.rule, found.judge, found.keep, start.preset, found.start)
    return Options(found.out, plan, found.resume_, found.threads_, found.device_)


def check_command(plan: Plan) -> None:
    """Find out before a run, by reading it back, whether the command on its card will make the rule's settings again.

    Raises:
        ValueError: settings of another kind that no option can say, by name.
    """
    if _reads_back(plan):
        return
    kind, wrong = kind_of(plan.rule), []
    for f in fields(plan.rule):
        value = getattr(plan.rule, f.name)
        if not _reads_back(replace(plan, rule=replace(kind.settings(), **{f.name: value}))):
            wrong.append(f"rule.{f.name} is {value!r}")
    said = "; ".join(wrong) or f"rule is {plan.rule!r}"
    raise ValueError(f"{said}, which no option can say; allowed: values that `--kind {kind.name} --help` shows how to")


def _reads_back(plan: Plan) -> bool:
    words = ["--preset", plan.preset, "--out", "x", *plan.options()]
    try:
        with redirect_stderr(io.StringIO()):
            return bool(plain(read_options(words).plan.rule) == plain(plan.rule))
    except (SystemExit, TypeError, ValueError):
        return False


def _name_of(part: str) -> Any:
    return tyro.conf.arg(name="" if part == "train" else part)


def _option(name: str, kind: Any, meaning: str, default: Any, metavar: str | None = None) -> tuple[str, Any, Any]:
    return f"{name}_", Annotated[kind, tyro.conf.arg(name=name, help=meaning, metavar=metavar)], default


def _older(changes: Iterable[str]) -> list[str]:
    """`train.truncation=(4,8)` as options: `--truncation 4 8`.

    Raises:
        ValueError: no "=".
    """
    words = []
    for change in changes:
        name, equals, text = change.partition("=")
        if not equals:
            raise ValueError(f"set is {change!r}; allowed: part.name=value, such as train.particles=16")
        try:
            value = ast.literal_eval(text)
        except (ValueError, SyntaxError):
            value = text
        words += [f"--{name.removeprefix('train.').replace('_', '-')}", *option_words(value)]
    return words


_registry = tyro.constructors.ConstructorRegistry()


@_registry.primitive_rule
def _numbers_by_name(info: Any) -> tyro.constructors.PrimitiveConstructorSpec[dict[str, float]] | None:
    """Mappings as `--data.weights glyphs 0.4 decoders 0.2`, where tyro would take the known names alone."""
    if get_origin(info.type) is not Mapping:
        return None

    def read(words: list[str]) -> dict[str, float]:
        if len(words) % 2:
            raise ValueError(f"{' '.join(words)!r} leaves a name without a number")
        return {name: float(number) for name, number in zip(words[::2], words[1::2], strict=True)}

    return tyro.constructors.PrimitiveConstructorSpec(
        nargs="*",
        metavar="NAME NUMBER ...",
        instance_from_str=read,
        is_instance=lambda value: isinstance(value, Mapping),
        str_from_instance=option_words,
    )
