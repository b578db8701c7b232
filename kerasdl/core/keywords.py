"""Unknown arguments refused with a remedy: names of other libraries, settings that belong elsewhere, misspellings."""

import difflib
import functools
import inspect
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NoReturn, TypeVar

from . import checks

F = TypeVar("F", bound=Callable[..., Any])


MOST_LISTED = 12


def refuse_argument(
    owner: str, name: str, known: Iterable[str], remedies: Mapping[str, str], further: str = ""
) -> NoReturn:
    """Raises `ArgumentError` for an argument that does not exist, with its remedy or its nearest neighbour."""
    known = tuple(known)
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.6)
    hint = remedies.get(name) or (f"Did you mean {near[0]!r}?" if near else "")
    few = len(known) <= MOST_LISTED
    rule = f"{owner} takes the arguments {known}" if few else f"{owner} takes the arguments that help({owner}) lists"
    checks.refuse(rule, name, f"{hint} {further}".strip())


def explained(remedies: Callable[[], Mapping[str, str]], too_many: str = "") -> Callable[[F], F]:
    """Decorator of a function or a class whose unknown and missing arguments are refused with a remedy.

    Args:
        remedies: returns the remedy by the name of an argument that does not exist; by `NAME=` an example of one that
            must be given.
        too_many: remedy for more arguments by position than there are.

    Returns:
        A decorator; it returns the class itself, or a function of the same signature.
    """

    def decorate(target: F) -> F:
        function = target.__init__ if isinstance(target, type) else target
        parameters = inspect.signature(function).parameters
        own = {name: each for name, each in parameters.items() if name not in ("self", "cls")}
        starred = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
        required = [name for name, each in own.items() if each.default is each.empty and each.kind not in starred]
        places = sum(each.kind is not each.KEYWORD_ONLY for each in parameters.values())

        @functools.wraps(function)
        def call(*args: Any, **kwargs: Any) -> Any:
            several = too_many if len(args) > places else ""
            for name in kwargs:
                if name not in own:
                    refuse_argument(target.__name__, name, own, remedies(), several)
            if several:
                names = [name for name, each in own.items() if each.kind is not each.KEYWORD_ONLY]
                rule = f"{target.__name__} takes {' and '.join(names)} by position, all else by name"
                checks.refuse(rule, f"{len(args)} arguments", several)
            given = {*[*parameters][: len(args)], *kwargs}
            missing = [name for name in required if name not in given]
            if missing:
                ways = ", ".join(remedies().get(f"{name}=", f"{name}=...") for name in missing)
                checks.refuse(f"{target.__qualname__} must be given {' and '.join(missing)}", "none", f"Pass {ways}.")
            return function(*args, **kwargs)

        if not isinstance(target, type):
            return call
        target.__init__ = call
        return target

    return decorate
