"""Settings as plain values for JSON, and the way back."""

from __future__ import annotations

import dataclasses
import types
from collections.abc import Mapping
from typing import Any, TypeVar, Union, get_args, get_origin, get_type_hints

from metarules._checks import check_names

Settings = TypeVar("Settings")


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
        ValueError: no mapping, a field that the class does not have, or a value that is not allowed.
    """
    if not isinstance(values, Mapping):
        raise ValueError(f"{name} is {values!r}; allowed: fields of {settings_type.__name__} by name")
    check_names(name, values, [f.name for f in dataclasses.fields(settings_type)])  # type: ignore[arg-type]
    hints = get_type_hints(settings_type)
    try:
        return settings_type(**{key: _typed(hints[key], value, f"{key} in {name}") for key, value in values.items()})
    except (TypeError, ValueError) as error:
        raise ValueError(f"{name}: {error}") from error


def _typed(hint: Any, value: Any, name: str) -> Any:
    """A plain value as its type wants it; one that cannot be right is left for the settings' own checks."""
    origin, parts = get_origin(hint), get_args(hint)
    if origin in (Union, types.UnionType) and value is not None:  # such as `tuple[int, ...] | None`
        return _typed(next(part for part in parts if part is not types.NoneType), value, name)
    if origin is tuple and isinstance(value, list):
        each = parts if len(parts) == len(value) and Ellipsis not in parts else parts[:1] * len(value)
        return tuple(_typed(part, v, name) for part, v in zip(each, value, strict=True))
    if isinstance(hint, type) and dataclasses.is_dataclass(hint) and isinstance(value, Mapping):
        return from_plain(hint, value, name)
    return value
