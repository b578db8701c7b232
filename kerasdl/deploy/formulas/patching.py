"""Replacement of functions and methods while a model is traced for a file."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

_ABSENT = object()


@contextmanager
def replaced_attributes(owner: Any, **attributes: Any) -> Iterator[None]:
    """Replacement of attributes of a module, class or layer inside the block; blocks may be nested."""
    before = {name: vars(owner).get(name, _ABSENT) for name in attributes}
    try:
        for name, value in attributes.items():
            setattr(owner, name, value)
        yield
    finally:
        for name, value in before.items():
            if value is _ABSENT:
                delattr(owner, name)
            else:
                setattr(owner, name, value)


@contextmanager
def replaced_functions(module: Any, **replacements: Callable) -> Iterator[None]:
    """Replacement of functions of a module inside the block; each replacement takes the usual one first."""
    wrapped = {name: partial(function, getattr(module, name)) for name, function in replacements.items()}
    with replaced_attributes(module, **wrapped):
        yield
