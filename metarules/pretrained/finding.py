"""Finding a rule by name: shipped, hand-written, a file, or the learned rule before any meta-training."""

from __future__ import annotations

from pathlib import Path

from metarules.classic_rules import CLASSIC_RULES, get_rule
from metarules.pretrained import load_rule, shipped_rules, shipped_run
from metarules.update_rule import UpdateRule

LOCAL_START = "local_start"  # what the shipped `local` was before meta-training: what a learned rule has to beat
SUFFIX = ".safetensors"


def rule_names() -> tuple[str, ...]:
    """All names `find_rule` knows, besides paths of .safetensors files."""
    return (*shipped_rules(), LOCAL_START, *sorted(CLASSIC_RULES))


def rule_label(name: str) -> str:
    """What a table calls the rule: its name, or the file's name without its folder."""
    return Path(name).name if name.endswith(SUFFIX) else name


def find_rule(name: str, n_classes: int = 10) -> UpdateRule:
    """Make or load a rule.

    Args:
        name: one of `rule_names()`, or the path of a file ending in .safetensors.
        n_classes: width of the read-out of a supervised rule.

    Returns:
        The rule, on the CPU.

    Raises:
        ValueError: an unknown name (the known ones are listed), or a file that is no rule.
        FileNotFoundError: a path that leads nowhere.
    """
    if name.endswith(SUFFIX) or name in shipped_rules():
        return load_rule(name)
    if name == LOCAL_START:
        return load_rule(shipped_run("local") / "snapshots" / "000000.safetensors")
    if name not in CLASSIC_RULES:
        raise ValueError(f"rule is {name!r}; allowed: {', '.join(rule_names())}, or the path of a {SUFFIX} file")
    return get_rule(name).for_classes(n_classes)
