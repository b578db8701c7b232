"""Wording of advice: the arguments of Python, or the options of the command line where that one runs."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

_options: dict[str, str] = {}


@contextmanager
def command_line(options: Mapping[str, str]) -> Iterator[None]:
    """Context manager of the command line: its options by the words for them in Python."""
    _options.update(options)
    try:
        yield
    finally:
        _options.clear()


def spelled(text: str) -> str:
    """Returns a text in which options stand in the place of arguments, where the command line runs."""
    for argument, option in _options.items():
        text = text.replace(argument, option)
    return text
