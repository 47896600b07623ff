"""The hand-written rules by name."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any, TypeVar

from metarules._checks import check_choice, check_new_name
from metarules.classic_rules.base import ClassicRule

_Rule = TypeVar("_Rule", bound=ClassicRule)

CLASSIC_RULES: dict[str, type[ClassicRule]] = {}  # name -> class, filled by `register`


def register(name: str) -> Callable[[type[_Rule]], type[_Rule]]:
    """Decorator: make a class known under `name` to `get_rule`, to the command lines and to every menu of rules.

    It may stand in any file, outside this package too, once that file is imported.

    Raises:
        TypeError: no subclass of ClassicRule.
        ValueError: a name that another class has.
    """

    def enter(rule: type[_Rule]) -> type[_Rule]:
        if not (inspect.isclass(rule) and issubclass(rule, ClassicRule)):
            raise TypeError(f"rule is {rule!r}; allowed: a subclass of ClassicRule")
        CLASSIC_RULES[check_new_name(name, CLASSIC_RULES.get(name), rule)] = rule
        return rule

    return enter


def get_rule(name: str, **settings: Any) -> ClassicRule:
    """Build a hand-written rule.

    Args:
        name: one of `CLASSIC_RULES`.
        settings: fields of the rule's settings, such as `lr`; the others keep their defaults.

    Returns:
        The rule; `rule.recommended` says how it is best run.

    Raises:
        ValueError: an unknown name, a setting the rule does not have, or a value out of range.
    """
    return CLASSIC_RULES[check_choice("rule name", name, CLASSIC_RULES)].with_settings(**settings)
