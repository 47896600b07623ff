"""The rules that a lesson lets a reader choose from."""

from __future__ import annotations

import torch

from metarules._checks import check_kind
from metarules.classic_rules import CLASSIC_RULES
from metarules.pretrained import KINDS, get_rule, shipped_rules
from metarules.update_rule import UpdateRule

_KEPT: dict[str, UpdateRule] = {}  # rules of the reader's own, by what a menu calls them


def keep_rule(label: str, rule: UpdateRule) -> None:
    """Offer a rule in the menu of every explorer that is made from now on.

    Args:
        label: what the menus call it; a second rule of the same name takes the first one's place.
        rule: any rule.

    Raises:
        ValueError: an empty label.

    Example:
        >>> keep_rule("My rule", get_rule("hebb"))
    """
    if not label.strip():
        raise ValueError(f"label is {label!r}; allowed: a name for the menu")
    _KEPT[label] = as_rule(rule)


def kept_rules() -> dict[str, UpdateRule]:
    """The rules that `keep_rule` was given, by label, the newest first."""
    return dict(reversed(_KEPT.items()))


def as_rule(rule: UpdateRule | str) -> UpdateRule:
    """A rule as it is, or by its name.

    Args:
        rule: a rule, or a name as for `get_rule`.

    Raises:
        TypeError: neither.
        ValueError, FileNotFoundError: as `get_rule`.
    """
    return get_rule(rule) if isinstance(rule, str) else check_kind("rule", rule, UpdateRule)


def rules_beside(rule: UpdateRule) -> dict[str, UpdateRule]:
    """Rules to compare one with, by what a menu calls them: the reader's own, where a learned rule started, the other
    shipped rules, and all hand-written rules.

    Args:
        rule: the one to compare with; a hand-written one is not offered once more.
    """
    others = {label: mine for label, mine in kept_rules().items() if mine is not rule}
    if (start := _start(rule)) is not None:
        others["Where the learned rule started"] = start
    for name in (*shipped_rules(), *CLASSIC_RULES):
        other = get_rule(name)
        same = other.card == rule.card if other.card else type(other) is type(rule)
        if not same:
            label = other.menu_label
            others[f"{label} ({name})" if label in (*others, rule.menu_label) else label] = other
    return others


def _start(rule: UpdateRule) -> UpdateRule | None:
    """Where a learned rule's card says that meta-training began; None where it does not, or the file has gone."""
    seed = rule.card.get("seed", 0)  # theta's start was drawn from it; None where others drew it
    kinds = [kind for kind in KINDS.values() if type(rule) is kind.rule and rule.card and isinstance(seed, int)]
    if not kinds:
        return None
    start = kinds[0].make(rule.settings, torch.Generator().manual_seed(seed))
    if before := rule.card.get("plan", {}).get("start"):
        try:
            start.take(get_rule(before))
        except (ValueError, OSError):
            return None
    return start
