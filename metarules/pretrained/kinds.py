"""The kinds of learned rules: which class and which settings a rule file's card means by its `kind`."""

from __future__ import annotations

import dataclasses
import inspect
from dataclasses import dataclass
from typing import Any

import torch

from metarules._checks import check_new_name, origin
from metarules.pretrained.plain import check_comes_back
from metarules.update_rule import LocalRule, LocalRuleSettings, PaperRule, PaperRuleSettings, UpdateRule


@dataclass(frozen=True)
class Kind:
    """A class of rules and the dataclass of its settings."""

    name: str
    rule: type[UpdateRule]
    settings: type[Any]

    def modules(self, settings: Any) -> list[str]:
        """The modules outside this package that have to be imported before a rule with these settings can be made.

        Settings that name what other modules register, such as terms, say so by an attribute `modules`.
        """
        names = dict.fromkeys((self.rule.__module__, *getattr(settings, "modules", ())))
        return [name for name in names if not name.startswith("metarules.")]

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
        TypeError: no class of rules, a constructor of another form, or no frozen dataclass.
        ValueError: a name or settings that another class has already, or a setting without a default, or with one that
            a file would not give back as it is.

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
    try:
        inspect.signature(rule).bind(None, generator=None)
    except TypeError as error:
        raise TypeError(f"{rule.__name__}() does not fit ({error}); allowed: (settings, *, generator)") from None
    check_comes_back(settings(), settings.__name__)
    check_new_name(name, KINDS[name].rule if name in KINDS else None, rule)
    for kind in KINDS.values():
        if kind.name != name and kind.rule is rule:  # a file has to say one kind
            raise ValueError(f"rule has the kind {kind.name!r} already; allowed: a class of its own, or a subclass")
        if kind.name != name and kind.settings is settings:  # a plan's settings have to say which rule is meant
            raise ValueError(f"settings are those of kind {kind.name!r}; allowed: a class of their own, or a subclass")
    KINDS[name] = Kind(name, rule, settings)


def kind_of(rule: Any) -> Kind:
    """The kind of a rule, or of a rule's settings.

    Raises:
        TypeError: its class is registered for none.
    """
    for kind in KINDS.values():
        if type(rule) in (kind.rule, kind.settings):
            return kind
        if origin(type(rule)) in (origin(kind.rule), origin(kind.settings)):  # a notebook's cell was run again
            name = type(rule).__name__
            raise TypeError(f"rule is a {name} made before {name} was registered again; allowed: one made anew")
    known = ", ".join(kind.rule.__name__ for kind in KINDS.values())
    raise TypeError(f"rule is a {type(rule).__name__}; allowed: {known}, or a class given to register_kind")


def _is_frozen_dataclass(thing: Any) -> bool:
    made_by = getattr(thing, "__dataclass_params__", None)
    return inspect.isclass(thing) and made_by is not None and made_by.frozen


register_kind("local", LocalRule, LocalRuleSettings)
register_kind("paper", PaperRule, PaperRuleSettings)
