"""Any rule by name: shipped, hand-written, your own, a file, or the learned rule before any meta-training."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from metarules._checks import origin, shown
from metarules._words import nearest
from metarules.classic_rules import CLASSIC_RULES
from metarules.classic_rules import get_rule as classic_rule
from metarules.pretrained.folder import own_rules
from metarules.pretrained.storage import load_rule, shipped_rules, shipped_run
from metarules.update_rule import UpdateRule

START = "_start"  # after the name of a shipped rule: what it was before meta-training, which it has to beat
SUFFIX = ".safetensors"


def package_rules() -> tuple[str, ...]:
    """Names of the shipped rules, of their starts and of the hand-written rules: no rule of your own takes their place.

    Raises:
        ValueError: a hand-written rule that was registered under the name of a learned one.
    """
    learned = (*shipped_rules(), *(f"{name}{START}" for name in shipped_rules()))
    for name in learned:
        if name in CLASSIC_RULES:
            mine = origin(CLASSIC_RULES[name])
            raise ValueError(f"{mine} is registered as {name!r}, the name of a learned rule; allowed: another name")
    return (*learned, *sorted(CLASSIC_RULES))


def rule_names() -> tuple[str, ...]:
    """All names `get_rule` knows, besides paths of .safetensors files: those of the package, then your own.

    Raises:
        ValueError: as `package_rules`.
    """
    known = package_rules()
    return (*known, *(name for name in own_rules() if name not in known))


def rule_label(name: str) -> str:
    """What a table calls the rule: its name, or the file's name without its folder."""
    return Path(name).name if name.endswith(SUFFIX) else name


def get_rule(name: str, *, n_classes: int | None = None, **settings: Any) -> UpdateRule:
    """Make or load a rule.

    Args:
        name: one of `rule_names()`, or the path of a file ending in .safetensors.
        n_classes: width of the read-out of a supervised rule; the other rules take any and have no use for it.
        settings: of a hand-written rule, such as `decorr=0.8`; the others keep their defaults. A learned rule's are
            in its file.

    Returns:
        The rule, on the CPU; `rule.recommended` says how it is best run.

    Raises:
        ValueError: an unknown name (the known ones are listed), a setting the rule does not have or a value out of
            range, or a file that is no rule.
        FileNotFoundError: a path that leads nowhere.

    Example:
        rule = get_rule("hebb_decorrelation", decorr=0.8)
    """
    known = rule_names()
    if name in CLASSIC_RULES:
        rule = classic_rule(name, **settings)
        return rule if n_classes is None else rule.for_classes(n_classes)
    if not name.endswith(SUFFIX) and name not in known:
        near = nearest(name, known)
        raise ValueError(f"rule is {shown(name)}; allowed: {', '.join(known)}, or the path of a {SUFFIX} file{near}")
    if settings:
        raise ValueError(f"settings are {', '.join(settings)}; allowed for {name!r}, whose theta fits its own: none")
    trained = name.removesuffix(START)
    is_start = trained != name and trained in shipped_rules()
    return load_rule(shipped_run(trained) / "snapshots" / "000000.safetensors" if is_start else name)
