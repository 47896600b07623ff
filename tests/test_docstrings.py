"""Whatever a reader can import has a docstring: modules, public functions and classes, and their public methods."""

from __future__ import annotations

import doctest
import importlib
import inspect
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

PACKAGE = Path(__file__).resolve().parents[1] / "metarules"
LEAST = 12  # characters; fewer say nothing that the name does not


def module_names() -> list[str]:
    """By file, importing nothing yet: a module that does not import then fails its own test alone."""
    paths = (path.relative_to(PACKAGE.parent).with_suffix("") for path in PACKAGE.rglob("*.py"))
    names = {".".join(path.parts).removesuffix(".__init__") for path in paths}
    return sorted(name for name in names if not name.endswith(".__main__"))  # whose import would run it


def public_things(module: Any) -> Iterator[tuple[str, Any]]:
    """(name, function or class) defined in this module, and the methods that each class itself defines."""
    for name, thing in vars(module).items():
        if name.startswith("_") or getattr(thing, "__module__", None) != module.__name__:
            continue
        if inspect.isclass(thing):
            yield name, thing
            for inner, member in vars(thing).items():
                function = member.fget if isinstance(member, property) else getattr(member, "__func__", member)
                if not inner.startswith("_") and inspect.isfunction(function) and inner in thing.__dict__:
                    yield f"{name}.{inner}", getattr(thing, inner)
        elif inspect.isfunction(thing):
            yield name, thing


def generated(thing: Any, text: str) -> bool:
    """Whether a docstring is the signature that `dataclass` writes where there is none."""
    return inspect.isclass(thing) and text.startswith(f"{thing.__name__}(")


@pytest.mark.parametrize("name", module_names())
def test_everything_public_has_a_docstring(name: str):
    module = importlib.import_module(name)
    bare = [] if len(module.__doc__ or "") >= LEAST else [f"module {name}"]
    for label, thing in public_things(module):
        text = inspect.getdoc(thing) or ""  # a method that overrides a documented one needs no words of its own
        if inspect.isclass(thing):
            text = thing.__doc__ or ""
        if len(text) < LEAST or generated(thing, text):
            bare.append(f"{name}.{label}")
    assert bare == []


@pytest.mark.parametrize("name", ["metarules.inner_loop", "metarules.estimator"])
def test_examples_give_what_they_say(name: str):
    result = doctest.testmod(importlib.import_module(name))
    assert result.attempted and not result.failed
