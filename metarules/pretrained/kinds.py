"""The kinds of learned rules: which class and which settings a rule file's card means by its `kind`."""

from __future__ import annotations

import dataclasses
import inspect
from dataclasses import dataclass
from typing import Any

import torch

from metarules.update_rule import LocalRule, LocalRuleSettings, PaperRule, PaperRuleSettings, UpdateRule


@dataclass(frozen=True)
class Kind:
    """A class of rules and the dataclass of its settings."""

    name: str
    rule: type[UpdateRule]
    settings: type[Any]

    @property
    def module(self) -> str | None:
        """The module that has to be imported before a file of this kind can be read; None for our own kinds."""
        return None if self.rule.__module__.startswith("metarules.") else self.rule.__module__

    def make(self, settings: Any, generator: torch.Generator | None = None) -> UpdateRule:
        """A rule at its start, theta drawn from `generator`."""
        return self.rule(settings, generator=generator)


KINDS: dict[str, Kind] = {}


def register_kind(name: str, rule: type[UpdateRule], settings: type[Any]) -> None:
    """Make a class of rules known, so that its rules are meta-trained, saved, loaded and evaluated as ours are.

    A file says its kind by this name and never causes an import: whoever loads it imports the module with this call
    first. On a command line `--import MODULE` does that.

    Args:
        name: what cards call it, and `--kind` of the command line.
        rule: the class; `UpdateRule` says what it has to be like.
        settings: the frozen dataclass of its settings, every field with a default.

    Raises:
        TypeError: no class of rules, or no frozen dataclass.
        ValueError: a name that another class has already, or a setting without a default.

    Example:
        register_kind("mine", MyRule, MyRuleSettings)
    """
    if not (inspect.isclass(rule) and issubclass(rule, UpdateRule)):
        raise TypeError(f"rule is {rule!r}; allowed: a subclass of UpdateRule")
    if not _is_frozen_dataclass(settings):
        raise TypeError(f"settings is {settings!r}; allowed: a class made by dataclass(frozen=True)")
    for f in dataclasses.fields(settings):
        if f.default is dataclasses.MISSING and f.default_factory is dataclasses.MISSING:
            raise ValueError(f"{settings.__name__}.{f.name} has no default; allowed: a default for each setting")
    before = KINDS.get(name)
    if before is not None and _path(before.rule) != _path(rule):  # the same path: a notebook's cell that runs again
        raise ValueError(f"name is {name!r}, which {_path(before.rule)} has already; allowed: another name")
    KINDS[name] = Kind(name, rule, settings)


def kind_of(rule: UpdateRule) -> Kind:
    """The kind that a rule's class was registered as.

    Raises:
        TypeError: it was not.
    """
    return _only("rule", rule, {kind.rule: kind for kind in KINDS.values()})


def kind_of_settings(settings: Any) -> Kind:
    """The kind that a settings class was registered for.

    Raises:
        TypeError: it was for none.
    """
    return _only("rule settings", settings, {kind.settings: kind for kind in KINDS.values()})


def _only(what: str, value: Any, by_class: dict[type[Any], Kind]) -> Kind:
    if type(value) not in by_class:
        known = ", ".join(found.__name__ for found in by_class)
        raise TypeError(f"{what} is a {type(value).__name__}; allowed: {known}, or a class given to register_kind")
    return by_class[type(value)]


def _is_frozen_dataclass(thing: Any) -> bool:
    made_by = getattr(thing, "__dataclass_params__", None)
    return inspect.isclass(thing) and made_by is not None and made_by.frozen


def _path(thing: type[Any]) -> str:
    return f"{thing.__module__}.{thing.__qualname__}"


register_kind("local", LocalRule, LocalRuleSettings)
register_kind("paper", PaperRule, PaperRuleSettings)
