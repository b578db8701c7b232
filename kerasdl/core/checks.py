"""Argument checks with one form of error: the rule, the value, the remedy."""

import difflib
import math
import os
import sys
import warnings
from collections.abc import Collection, Iterable
from pathlib import Path
from typing import Any, NoReturn

from .errors import ArgumentError, UnknownNameError

PACKAGE = str(Path(__file__).parents[1]) + os.sep


def refuse(rule: str, got: Any, hint: str = "") -> NoReturn:
    """Raises `ArgumentError("<rule>; got <got>. <hint>")`."""
    raise ArgumentError(f"{rule}; got {got!r}." + (f" {hint}" if hint else ""))


def one_of(name: str, value: Any, allowed: Collection, hint: str = "") -> Any:
    """Returns `value` if it is in `allowed`, else raises `ArgumentError`."""
    if value not in allowed:
        refuse(f"{name} must be one of {tuple(allowed)}", value, hint)
    return value


def at_least(name: str, value: Any, low: int, hint: str = "") -> int:
    """Returns the integer `value` if it is `low` or more, else raises `ArgumentError`."""
    if isinstance(value, bool) or not hasattr(value, "__index__") or value < low:
        refuse(f"{name} must be an integer of {low} or more", value, hint)
    return int(value)


def counts(name: str, value: Any) -> tuple[int, ...]:
    """Returns a non-empty sequence of integers of 1 or more as a tuple, else raises `ArgumentError`."""
    numbers = value if isinstance(value, (tuple, list)) else ()
    if not numbers or any(isinstance(n, bool) or not hasattr(n, "__index__") or n < 1 for n in numbers):
        refuse(f"{name} must hold one integer or more, each of 1 or more", value)
    return tuple(map(int, numbers))


def within(name: str, value: Any, low: float, high: float, hint: str = "") -> float:
    """Returns the finite number `value` if `low <= value <= high`, else raises `ArgumentError`."""
    try:
        number = float(value)
    except (TypeError, ValueError):
        number = math.nan
    if not low <= number <= high:
        refuse(f"{name} must be a number from {low} to {high}", value, hint)
    return number


def image_shape(name: str, value: Any) -> tuple[int | None, int | None, int]:
    """Returns `(height, width, channels)`; height and width may be None, channels may not."""
    rule = f"{name} must be (height, width, channels) of positive integers, None where height or width is free"
    if not isinstance(value, (tuple, list)) or len(value) != 3:
        refuse(rule, value)
    sizes_fit = all(size is None or (hasattr(size, "__index__") and size > 0) for size in value)
    if not sizes_fit or value[2] is None:
        refuse(rule, value)
    return tuple(value)


def known_name(kind: str, name: str, known: Iterable[str], hint: str = "") -> str:
    """Returns `name` if it is known, else raises `UnknownNameError` with its nearest neighbours."""
    known = list(dict.fromkeys(known))
    if name in known:
        return name
    near = difflib.get_close_matches(str(name), known, n=3, cutoff=0.5)
    advice = f" Did you mean {' or '.join(map(repr, near))}?" if near else ""
    raise UnknownNameError(f"unknown {kind} {name!r}.{advice}" + (f" {hint}" if hint else ""))


def warn(text: str, category: type[Warning]) -> None:
    """Warns at the line that called kerasdl, which is the one that a reader can change."""
    frame, level = sys._getframe(1), 2
    while frame.f_back is not None and frame.f_code.co_filename.startswith(PACKAGE):
        frame, level = frame.f_back, level + 1
    warnings.warn(text, category, stacklevel=level)
