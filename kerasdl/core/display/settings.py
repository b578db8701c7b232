"""Text of settings classes: a repr of what differs from the defaults, and the sentence of each field for `help`."""

import ast
import dataclasses
import inspect
import sys
import textwrap
from pathlib import Path
from typing import Any, TypeVar

T = TypeVar("T", bound=type)


def short_repr(settings: Any) -> str:
    """Returns a dataclass as the call that makes it, with the fields that differ from their defaults."""
    fields = [(field, getattr(settings, field.name)) for field in dataclasses.fields(settings) if field.repr]
    parts = [f"{field.name}={value!r}" for field, value in fields if not _is_default(field, value)]
    return f"{type(settings).__name__}({', '.join(parts)})"


def _is_default(field: dataclasses.Field, value: Any) -> bool:
    if field.default is not dataclasses.MISSING:
        return value is field.default or (type(value) is type(field.default) and repr(value) == repr(field.default))
    return field.default_factory is not dataclasses.MISSING and repr(value) == repr(field.default_factory())


def with_field_sentences(settings: T) -> T:
    """Decorator of a dataclass: its docstring gets the section Attributes, from the strings that follow its fields.

    The strings are the only source; those of base classes with this decorator come first.
    """
    own = _sentences(settings)
    bases = [each.__dict__.get("_field_sentences", {}) for each in reversed(settings.__mro__)]
    settings._field_sentences = {name: text for sentences in [*bases, own] for name, text in sentences.items()}
    if settings._field_sentences:
        lines = [
            textwrap.fill(f"{name}: {text}", 116, initial_indent="    ", subsequent_indent="        ")
            for name, text in settings._field_sentences.items()
        ]
        head, mark, example = inspect.cleandoc(settings.__doc__).partition("\nExample:")
        settings.__doc__ = "\n".join([head.rstrip(), "", "Attributes:", *lines, mark + example])
    return settings


def _sentences(settings: type) -> dict[str, str]:
    """Returns the string after each field; nothing where the source is not at hand, as in a frozen application."""
    file = getattr(sys.modules.get(settings.__module__), "__file__", None)
    if file is None or not Path(file).is_file():
        return {}
    body = ast.parse(Path(file).read_text(encoding="utf-8")).body
    (code,) = [each for each in body if isinstance(each, ast.ClassDef) and each.name == settings.__name__]
    pairs = zip(code.body, code.body[1:], strict=False)
    return {
        field.target.id: " ".join(text.value.value.split())
        for field, text in pairs
        if isinstance(field, ast.AnnAssign) and isinstance(text, ast.Expr) and isinstance(text.value, ast.Constant)
    }
