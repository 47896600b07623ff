"""Arguments of public functions, held against their annotations: one mechanism for all.

A room's last line, `guard(__name__)`, covers whatever the room exports, today's and tomorrow's. A wrong type is refused
in a sentence that names argument, value and what is allowed; so functions check ranges, and how arguments must fit
together (`metarules._checks`), but no types. Numbers of NumPy become Python's. While a public function runs, new
tensors are float32 on the CPU and nothing is cast by itself, whatever the caller has set, so that a generator's numbers
are always the same.
"""

from __future__ import annotations

import functools
import inspect
import sys
import threading
import types
import typing
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from numbers import Integral, Real
from typing import Any

import numpy as np
import torch

from metarules._checks import FLOATS, GENERATOR, MOST, MOST_NUMBERS, shown
from metarules._words import shortened

_SEE = {
    "Dataset": " (see load_dataset)",
    "Task": " (see make_task)",
    "UpdateRule": " (see load_rule and get_rule; FunctionRule makes one of a function)",
    "BaseModelState": " (see init_state)",
}

_INSIDE = threading.local()  # `another`: whether this thread is within a public function already


class _Unfit(Exception):
    """An annotation does not allow a value."""


def guard(room: str) -> None:
    """Let every public function and class of a room check the types of its arguments.

    Args:
        room: name of its module. Functions whose docstring says "without checks" are left out, and so are records of
            what others have computed: dataclasses that check nothing themselves.
    """
    for name, thing in list(vars(sys.modules[room]).items()):
        home = str(getattr(thing, "__module__", ""))
        if not f"{home}.".startswith(f"{room}.") or name.startswith("_") or "ithout checks" in str(thing.__doc__):
            continue
        if inspect.isfunction(thing):
            for module in (room, home):  # pickle looks for it at home
                if getattr(sys.modules[module], name, None) is thing:
                    setattr(sys.modules[module], name, guarded(thing))
        record = hasattr(thing, "__match_args__") and not hasattr(thing, "__post_init__")
        if inspect.isclass(thing) and not record and inspect.isfunction(init := vars(thing).get("__init__")):
            setattr(thing, "__init__", guarded(init))  # noqa: B010 (mypy knows no other way)


@functools.cache
def guarded(function: Callable[..., Any]) -> Callable[..., Any]:
    """The function with the types of its arguments checked.

    Raises:
        TypeError, ValueError: on a call, with an argument that its annotation does not allow, or a number too large.
    """
    if hasattr(function, "checks"):
        return function
    parameters = inspect.signature(function).parameters
    in_turn = [name for name, about in parameters.items() if about.kind is about.POSITIONAL_OR_KEYWORD]
    hints = functools.cache(lambda: _hints(function))

    def taken(name: str, value: Any) -> Any:
        if name not in hints() or value is parameters[name].default:
            return value
        try:
            return _taken(hints()[name], value)
        except _Unfit:
            allowed = _words(hints()[name])
            large = isinstance(value, Integral) and not isinstance(value, bool) and "number" in allowed
            raise (ValueError if large else TypeError)(f"{name} is {shown(value)}; allowed: {allowed}") from None

    @functools.wraps(function)
    def call(*args: Any, **named: Any) -> Any:
        args = (*map(taken, in_turn, args), *args[len(in_turn) :])
        named = {name: taken(name, value) for name, value in named.items()}
        if getattr(_INSIDE, "another", False):
            return function(*args, **named)
        try:
            with plain_torch():
                return function(*args, **named)
        except (TypeError, ValueError) as error:
            if (said := str(error)) != (short := shortened(said)):
                error.args = (short,)
            raise

    call.checks = True  # type: ignore[attr-defined]
    return call


@contextmanager
def plain_torch() -> Iterator[None]:
    """New tensors are float32 on the CPU and nothing is cast by itself, until the block ends."""
    if getattr(_INSIDE, "another", False):
        yield
        return
    with ExitStack() as stack:
        for kind in ("cpu", "cuda"):
            if torch.is_autocast_enabled(kind):
                stack.enter_context(torch.autocast(kind, enabled=False))
        if torch.get_default_device().type != "cpu":
            stack.enter_context(torch.device("cpu"))
        if (dtype := torch.get_default_dtype()) is not torch.float32:
            stack.callback(torch.set_default_dtype, dtype)
            torch.set_default_dtype(torch.float32)
        _INSIDE.another = True
        stack.callback(setattr, _INSIDE, "another", False)
        yield


def _hints(function: Callable[..., Any]) -> dict[str, Any]:
    """Annotations of the arguments, without those that are imported for the type checker alone."""
    function, found = inspect.unwrap(function), {}
    for name, about in inspect.signature(function).parameters.items():
        text = about.annotation
        if about.kind not in (about.VAR_POSITIONAL, about.VAR_KEYWORD) and text is not about.empty:
            with suppress(NameError):
                found[name] = eval(text, function.__globals__) if isinstance(text, str) else text
    return found | {name: "large" for name in ("seed", "frames") if found.get(name) is int}  # of a film: none is kept


def _device(value: Any) -> bool:
    try:
        return bool(torch.empty(0, device=value).device.type != "meta")
    except (RuntimeError, TypeError, ValueError, AssertionError):  # no such device, or PyTorch was built without it
        return False


def _whole(value: Any, most: int = MOST) -> bool:
    return isinstance(value, Integral) and not isinstance(value, bool) and abs(int(value)) <= most


def _number(value: Any) -> bool:
    beyond = isinstance(value, Integral) and abs(int(value)) > sys.float_info.max
    return isinstance(value, Real) and not isinstance(value, bool) and not beyond


def _dense(value: Any) -> bool:
    dense = isinstance(value, torch.Tensor) and value.layout is torch.strided and value.device.type != "meta"
    return dense and value.numel() <= MOST_NUMBERS


# What an annotation allows, in words and as a test.
_SIMPLE: dict[Any, tuple[str, Callable[[Any], bool]]] = {
    bool: ("True or False", lambda v: isinstance(v, bool | np.bool_)),
    int: (f"a whole number up to {MOST:,}", _whole),
    "large": ("a whole number below 2^63", lambda v: _whole(v, 2**63 - 1)),
    float: ("a number", _number),
    types.NoneType: ("None", lambda v: v is None),
    torch.Tensor: (f"a torch.Tensor, dense, of at most {MOST_NUMBERS:,} numbers", _dense),
    torch.Generator: (GENERATOR, lambda v: isinstance(v, torch.Generator)),
    torch.dtype: ("a floating dtype such as torch.float32", lambda v: isinstance(v, torch.dtype) and v in FLOATS),
    torch.device: ("a device of this machine", _device),
    str: ("text", lambda v: isinstance(v, str)),
    type: ("a class", inspect.isclass),
    Callable: ("a function", callable),
    Iterable: ("a list or the like", lambda v: isinstance(v, Iterable) and not isinstance(v, str | torch.Tensor)),
}
_UNIONS = (typing.Union, types.UnionType)
_LISTS = (Sequence, list, tuple)


@functools.cache
def _parts(hint: Any) -> tuple[Any, tuple[Any, ...]]:
    """An annotation as what it is and what it is made of; a device's name must be that of a device."""
    inner = tuple(part for part in typing.get_args(hint) if part is not ...)
    return typing.get_origin(hint) or hint, tuple(i for i in inner if i is not str or torch.device not in inner)


def _taken(hint: Any, value: Any) -> Any:
    """The value, numbers of NumPy as Python's, if the annotation allows it; one that cannot be tested allows all.

    Raises:
        _Unfit: it does not.
    """
    kind, inner = _parts(hint)
    if kind in _UNIONS:
        for each in inner:
            with suppress(_Unfit):
                return _taken(each, value)
        raise _Unfit
    if kind in _SIMPLE:
        fits = _SIMPLE[kind][1](value)
    elif kind is typing.Literal:
        fits = any(type(value) is type(one) and value == one for one in inner)
    elif kind in _LISTS:
        fits = isinstance(value, (kind, list)) and not isinstance(value, str | bytes)
    else:
        anything = kind is Any or not inspect.isclass(kind) or getattr(kind, "_is_protocol", False)
        fits = anything or isinstance(value, kind)
    if not fits:
        raise _Unfit
    if isinstance(value, np.generic) and kind in (bool, int, "large", float):
        return value.item()
    if kind is Mapping:
        for pair in value.items():
            _ = [_taken(*one) for one in zip(inner, pair, strict=True)]
    if kind in _LISTS and inner:
        fixed = kind is tuple and ... not in typing.get_args(hint)
        if fixed and len(value) != len(inner):
            raise _Unfit
        found = [_taken(*one) for one in zip(inner if fixed else inner * len(value), value, strict=True)]
        return value if all(a is b for a, b in zip(found, value, strict=True)) else type(value)(found)
    return value


def _words(hint: Any) -> str:
    """What an annotation allows."""
    kind, inner = _parts(hint)
    if kind in _SIMPLE:
        return _SIMPLE[kind][0]
    if kind in _UNIONS:
        return " or ".join(dict.fromkeys(map(_words, inner)))
    if kind is typing.Literal:
        return f"one of {', '.join(map(repr, inner))}"
    name = "list or tuple" if kind is Sequence else getattr(kind, "__name__", str(kind)).lstrip("_")
    made_of = f" of {' and '.join(map(_words, inner))}" if kind in (*_LISTS, Mapping) and inner else ""
    return f"{'an' if name[0] in 'AEIOU' else 'a'} {name}{made_of}{_SEE.get(name, '')}"
