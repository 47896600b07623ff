"""Checks of what a caller hands in: every error names the argument, the value and what is allowed."""

from __future__ import annotations

import math
import reprlib
import sys
from collections.abc import Collection, Iterable, Mapping
from itertools import pairwise
from numbers import Integral, Real
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor

from metarules._words import nearest

MOST = 10**7  # steps, examples, units: what is more was not meant
MOST_NUMBERS = 2**29  # in one tensor: 2 GB of float32
_Kind = TypeVar("_Kind")
GENERATOR = "a torch.Generator such as torch.Generator().manual_seed(0)"
FLOATS = (torch.float32, torch.float64, torch.bfloat16, torch.float16)


def shown(value: Any) -> str:
    """A value as an error quotes it: short, whatever it is."""
    if isinstance(value, torch.Tensor):
        return f"a tensor {list(value.shape)} of {value.dtype} on {value.device}"
    if isinstance(value, np.ndarray):
        return f"an array {list(value.shape)} of {value.dtype}"
    try:
        return reprlib.repr(value)
    except Exception:  # a repr may fail: integers of more than 4,300 digits do
        return f"a {type(value).__name__}"


def check_tensor(
    name: str,
    value: Any,
    *,
    min_dims: int = 1,
    last: int | None = None,
    like: Tensor | None = None,
    finite: bool = True,
) -> Tensor:
    """Return `value` if it is a floating tensor of the wanted form, else raise.

    Args:
        name: the argument's name, quoted in the message.
        value: what the caller handed in.
        min_dims: least number of dimensions.
        last: size wanted of the last dimension, if any.
        like: a tensor whose dtype and device must be shared, if any.
        finite: refuse NaN and infinity.

    Raises:
        TypeError: not a tensor, or not floating.
        ValueError: wrong number of dimensions, size, dtype, device, or a value that is not finite.
    """
    if not isinstance(value, Tensor):
        raise TypeError(f"{name} must be a torch.Tensor, got {type(value).__name__}")
    if not value.is_floating_point():
        raise TypeError(f"{name} has dtype {value.dtype}; allowed: a floating dtype such as torch.float32")
    if value.ndim < min_dims:
        raise ValueError(
            f"{name} has shape {list(value.shape)}; allowed: at least {min_dims} dimensions ([*tasks, ...])"
        )
    if last is not None and value.shape[-1] != last:
        raise ValueError(f"{name} has shape {list(value.shape)}; allowed: a last dimension of {last}")
    if like is not None:
        if value.dtype != like.dtype:
            raise ValueError(f"{name} has dtype {value.dtype}; allowed: {like.dtype}, the dtype of the model")
        if value.device != like.device:
            raise ValueError(f"{name} is on device {value.device}; allowed: {like.device}, where the model is")
    if value.numel() == 0:
        raise ValueError(f"{name} has shape {list(value.shape)} and holds no numbers; allowed: at least one")
    if finite and not torch.isfinite(value).all():
        bad = int((~torch.isfinite(value)).sum())
        raise ValueError(f"{name} holds {bad} NaN or infinite values; allowed: finite numbers only")
    return value


def check_size(name: str, *shape: int) -> None:
    """Refuse an argument that asks for a tensor of `shape` which no memory holds.

    Raises:
        ValueError: more than `MOST_NUMBERS`.
    """
    if math.prod(shape) > MOST_NUMBERS:
        raise ValueError(f"{name} asks for {' x '.join(map(str, shape))} numbers; allowed: at most {MOST_NUMBERS:,}")


def check_fit(**given: tuple[Any, str]) -> None:
    """Refuse arrays, tensors and lists of numbers whose shapes do not fit each other, and numbers that are not finite.

    Args:
        given: argument = (value, a word for each of its dimensions): "frames 2" is one row of two for each frame. The
            same word means the same size everywhere; no size is 0.

    Raises:
        TypeError: something that holds no numbers.
        ValueError: naming the first argument that does not fit.
    """
    sizes: dict[str, int] = {}
    for name, (value, words) in given.items():
        if isinstance(value, Tensor) and value.dtype is torch.bfloat16:  # NumPy has no such numbers
            value = value.float()
        array = value.detach().cpu().numpy() if isinstance(value, Tensor) else np.asarray(value)
        if array.dtype.kind not in "biuf":
            raise TypeError(f"{name} is {shown(value)}; allowed: numbers")
        wanted = [int(word) if word.isdigit() else sizes.get(word, word) for word in words.split()]
        pairs = zip(words.split(), wanted, array.shape, strict=False)
        fits = all(size > 0 and want in (size, word) for word, want, size in pairs)
        if len(wanted) != array.ndim or not fits:
            raise ValueError(f"{name} has shape {list(array.shape)}; allowed: [{', '.join(map(str, wanted))}]")
        if not np.isfinite(array).all():
            raise ValueError(f"{name} holds NaN or infinite values; allowed: finite numbers only")
        sizes |= zip(words.split(), array.shape, strict=True)


def check_examples(name: str, value: Tensor, least: int = 2) -> Tensor:
    """Refuse a batch [*tasks, batch, units] with fewer than `least` examples.

    Raises:
        ValueError: too few examples for batch statistics to mean anything.
    """
    if value.shape[-2] < least:
        raise ValueError(
            f"{name} holds {value.shape[-2]} example(s); allowed: at least {least}, since batch statistics of fewer "
            "say nothing (freeze the model to evaluate single rows)"
        )
    return value


def check_number(
    name: str,
    value: Any,
    *,
    low: float | int = -float("inf"),
    high: float | int = float("inf"),
    low_open: bool = False,
    integer: bool = False,
) -> Any:
    """Return `value` if it is a finite number (not a bool) in [low, high], or (low, high] with `low_open`.

    Raises:
        TypeError: not a number, or not a whole one where `integer`.
        ValueError: outside the range, NaN or infinite.
    """
    kind = Integral if integer else Real
    if integer and high == math.inf and isinstance(value, Integral) and int(value) > MOST and not name.endswith("seed"):
        high = MOST
    allowed = f"{'a whole number' if integer else 'a number'} in {'(' if low_open else '['}{low}, {high}]"
    if isinstance(value, bool) or not isinstance(value, kind):
        raise TypeError(f"{name} is {shown(value)}; allowed: {allowed}")
    number: Any = value
    finite = abs(number) <= sys.float_info.max
    if not finite or not (low < number if low_open else low <= number) or not number <= high:
        raise ValueError(f"{name} is {shown(value)}; allowed: {allowed}")
    return value


def check_kind(name: str, value: Any, *kinds: type[_Kind]) -> _Kind:
    """Return `value` if it is of one of these classes.

    Raises:
        TypeError: anything else.
    """
    if not isinstance(value, kinds):
        names = (kind.__name__ for kind in kinds)
        allowed = " or ".join(f"{'an' if name[0] in 'AEIOU' else 'a'} {name}" for name in names)
        raise TypeError(f"{name} is a {type(value).__name__}; allowed: {allowed}")
    return value


def check_whole(name: str, value: Any) -> Tensor:
    """Return `value` if it is a tensor of whole numbers.

    Raises:
        TypeError: anything else, True and False included.
    """
    if not isinstance(value, Tensor) or value.is_floating_point() or value.is_complex() or value.dtype == torch.bool:
        kind = getattr(value, "dtype", type(value).__name__)
        raise TypeError(f"{name} is {kind}; allowed: a tensor of whole numbers such as torch.int64")
    return value


def check_fields(settings: Any, *names: str, **limits: Any) -> None:
    """Check fields of a settings object, each as `check_number` does; `limits` are its keywords."""
    for name in names:
        check_number(name, getattr(settings, name), **limits)


def check_widths(name: str, value: Any) -> tuple[int, ...]:
    """Return `value` if it is a tuple of the widths of one layer or more.

    Raises:
        TypeError: a width that is no whole number.
        ValueError: no tuple, no layer, a width below 1, or widths whose weights no memory holds.
    """
    if not isinstance(value, tuple) or not value:
        raise ValueError(f"{name} is {value!r}; allowed: a tuple of one layer width or more")
    for width in value:
        check_number(name, width, low=1, integer=True)
    for below, above in pairwise(value):
        check_size(name, below * above)  # of W between them
    return value


def check_choice(name: str, value: Any, allowed: Collection[str]) -> str:
    """Return `value` if it is one of the names in `allowed`.

    Raises:
        ValueError: an unknown name.
    """
    if not isinstance(value, str) or value not in allowed:
        near = nearest(value, allowed)
        raise ValueError(f"{name} is {shown(value)}; allowed: {', '.join(sorted(allowed))}{near}")
    return value


def check_names(name: str, given: Iterable[str] | Mapping[str, Any], allowed: Collection[str]) -> None:
    """Refuse any name in `given` that `allowed` does not hold.

    Raises:
        ValueError: naming the unknown ones.
    """
    unknown = sorted(set(given) - set(allowed))
    if unknown:
        near = nearest(unknown[0], allowed)
        raise ValueError(f"{name} names {', '.join(map(shown, unknown))}; allowed: {', '.join(sorted(allowed))}{near}")


def check_new_name(name: Any, known: Any, new: Any) -> str:
    """Return `name` if a registry may put `new` under it.

    Args:
        name: what the function or class shall be called.
        known: what the registry has under this name, None for nothing. The same again, as when a notebook's cell is run
            twice, is fine.
        new: the function or class.

    Raises:
        ValueError: a name that is no text or an empty one, or that another function or class has.
    """
    if not isinstance(name, str) or not name.strip():
        raise ValueError(f"name is {name!r}; allowed: text that is not empty")
    if known is not None and origin(known) != origin(new):
        raise ValueError(f"name is {name!r}, which {origin(known)} has already; allowed: another name")
    return name


def origin(thing: Any) -> str:
    """Module and name of a function or class; a lambda, which shares its name with all others, has its line besides."""
    path = f"{thing.__module__}.{getattr(thing, '__qualname__', repr(thing))}"
    if not path.endswith("<lambda>"):
        return path
    return f"{path} ({thing.__code__.co_filename}, line {thing.__code__.co_firstlineno})"


def check_generator(value: Any) -> torch.Generator:
    """Return `value` if it is a torch.Generator.

    Raises:
        TypeError: anything else, None included: no random number is drawn from hidden global state.
    """
    if not isinstance(value, torch.Generator):
        raise TypeError(f"generator is {shown(value)}; allowed: {GENERATOR}")
    return value


def check_pair(name: str, value: Any, *, low: float, high: float) -> tuple[float, float]:
    """Return the range `value` = (from, to) as floats, low <= from <= to <= high.

    Raises:
        TypeError: not a pair of numbers.
        ValueError: outside [low, high], or from above to.
    """
    if not isinstance(value, tuple | list) or len(value) != 2:
        raise TypeError(f"{name} is {value!r}; allowed: a pair (from, to) of numbers in [{low}, {high}]")
    first = float(check_number(f"{name}[0]", value[0], low=low, high=high))
    last = float(check_number(f"{name}[1]", value[1], low=low, high=high))
    if first > last:
        raise ValueError(f"{name} is {value!r}; allowed: (from, to) with from <= to")
    return first, last
