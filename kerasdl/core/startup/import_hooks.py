"""Import hooks: code that runs around the first import of a heavy package."""

import importlib
import importlib.abc
import importlib.util
import sys
from collections.abc import Callable, Iterable
from types import ModuleType


class _Around(importlib.abc.MetaPathFinder):
    def __init__(self, package: str, execute: Callable[[Callable[[], None]], None]):
        self.package, self.execute = package, execute

    def find_spec(self, fullname, path=None, target=None):
        if fullname != self.package:
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(fullname)
        if spec is not None:
            run = spec.loader.exec_module

            def run_around(module: ModuleType) -> None:
                self.execute(lambda: run(module))

            spec.loader.exec_module = run_around
        return spec


def around_import(package: str, execute: Callable[[Callable[[], None]], None]) -> None:
    """Wraps the first import of `package`: `execute` receives the import as a function and runs it."""
    sys.meta_path.insert(0, _Around(package, execute))


def import_after(package: str, modules: Callable[[], Iterable[str]]) -> None:
    """Imports what `modules` returns right after the first import of `package`, or now if it is imported already.

    A module that does not exist any more is left out, so that a stale index can be written again.
    """

    def then_import(run: Callable[[], None]) -> None:
        run()
        for module in modules():
            if importlib.util.find_spec(module) is not None:
                importlib.import_module(module)

    if package in sys.modules:
        then_import(lambda: None)
    else:
        around_import(package, then_import)
