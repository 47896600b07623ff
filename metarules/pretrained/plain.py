"""Settings as plain values for JSON, and the way back."""

from __future__ import annotations

import dataclasses
import json
import types
from collections.abc import Mapping
from typing import Any, TypeVar, Union, get_args, get_origin, get_type_hints

from metarules._checks import check_names, shown

Settings = TypeVar("Settings")
_ALLOWED = (
    "finite numbers, text, True, False, None, and tuples, dataclasses and mappings (by text) of these, as its type says"
)


def plain(value: Any) -> Any:
    """Settings as plain values, ready for JSON: dataclasses and mappings become dicts, tuples lists, all the way in."""
    if dataclasses.is_dataclass(value):
        return {f.name: plain(getattr(value, f.name)) for f in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {key: plain(v) for key, v in value.items()}
    if isinstance(value, (tuple, list)):
        return [plain(v) for v in value]
    return value


def from_plain(settings_type: type[Settings], values: Any, name: str) -> Settings:
    """The inverse of `plain`: settings from what JSON kept of them; a field that is not there takes its default.

    Args:
        settings_type: a dataclass.
        values: its fields by name. Lists become tuples, and dicts dataclasses, where the fields' types say so.
        name: what an error calls the values.

    Raises:
        TypeError: no dataclass.
        ValueError: no mapping, a field that the class does not have, or a value that is not allowed.
    """
    if not dataclasses.is_dataclass(settings_type):
        raise TypeError(f"settings_type is {shown(settings_type)}; allowed: a dataclass")
    if not isinstance(values, Mapping):
        raise ValueError(f"{name} is {values!r}; allowed: fields of {settings_type.__name__} by name")
    check_names(name, values, [f.name for f in dataclasses.fields(settings_type)])
    try:
        hints = get_type_hints(settings_type)
    except NameError as error:
        known = "types that its module knows when it runs"
        raise ValueError(f"a type in {settings_type.__name__} is unknown ({error}); allowed: {known}") from error
    try:
        return settings_type(**{key: _typed(hints[key], value, f"{key} in {name}") for key, value in values.items()})
    except (TypeError, ValueError) as error:
        raise ValueError(f"{name}: {error}") from error


def check_comes_back(settings: Any, name: str) -> None:
    """Refuse settings that a file would not give back as they are.

    Raises:
        ValueError: naming the setting.
    """
    values = {}
    for f in dataclasses.fields(settings):
        value = getattr(settings, f.name)
        try:
            values[f.name] = json.loads(json.dumps(plain(value), allow_nan=False))
        except (TypeError, ValueError) as error:
            raise ValueError(f"{f.name} in {name} is {value!r} ({error}); allowed: {_ALLOWED}") from error
    again = from_plain(type(settings), values, name)
    for f in dataclasses.fields(settings):
        value, back = getattr(settings, f.name), getattr(again, f.name)
        if value != back:
            raise ValueError(f"{f.name} in {name} is {value!r}, of which a file keeps {back!r}; allowed: {_ALLOWED}")


def _typed(hint: Any, value: Any, name: str) -> Any:
    """A plain value as its type wants it; one that cannot be right is left for the settings' own checks."""
    origin, parts = get_origin(hint), get_args(hint)
    if origin in (Union, types.UnionType):  # such as `tuple[int, ...] | None`
        return next((_typed(part, value, name) for part in parts if _form(part) is _form(type(value))), value)
    if (origin or hint) is tuple:
        if not isinstance(value, list | tuple):
            raise ValueError(f"{name} is {value!r}; allowed: a list")
        each = parts if len(parts) == len(value) and Ellipsis not in parts else (parts or (Any,))[:1] * len(value)
        return tuple(_typed(part, v, name) for part, v in zip(each, value, strict=True))
    return from_plain(hint, value, name) if isinstance(hint, type) and dataclasses.is_dataclass(hint) else value


def _form(hint: Any) -> type[Any]:
    """What JSON makes of a type, as far as the way back depends on it: tuple, dict (of a dataclass too) or object."""
    kind = get_origin(hint) or hint
    if kind in (tuple, list):
        return tuple
    return dict if dataclasses.is_dataclass(kind) or (isinstance(kind, type) and issubclass(kind, Mapping)) else object
