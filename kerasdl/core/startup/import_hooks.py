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


class _Later(importlib.abc.MetaPathFinder):
    """Import, at the next imports, of modules that need one that is not loaded to its end yet."""

    def __init__(self, modules: list[str]):
        self.modules, self.is_busy = modules, False

    def find_spec(self, fullname, path=None, target=None):
        if not self.is_busy:
            self.is_busy = True
            self.modules = [module for module in self.modules if not _loads(module)]
            self.is_busy = False
            if not self.modules and self in sys.meta_path:
                sys.meta_path.remove(self)
        return None


def _loads(module: str) -> bool:
    """Imports a module, and tells whether it did: not where a name of a half-loaded module is not there yet."""
    try:
        importlib.import_module(module)
    except ModuleNotFoundError:
        raise
    except ImportError:
        return False
    return True


def around_import(package: str, execute: Callable[[Callable[[], None]], None]) -> None:
    """Wraps the first import of `package`: `execute` receives the import as a function and runs it."""
    sys.meta_path.insert(0, _Around(package, execute))


def import_after(package: str, modules: Callable[[], Iterable[str]]) -> None:
    """Imports what `modules` returns right after the first import of `package`, or now if it is imported already.

    A module that does not exist any more is left out, so that a stale index can be written again.
    """

    def then_import(run: Callable[[], None]) -> None:
        run()
        waiting = [
            module for module in modules() if importlib.util.find_spec(module) is not None and not _loads(module)
        ]
        if waiting:
            sys.meta_path.insert(0, _Later(waiting))

    if package in sys.modules:
        then_import(lambda: None)
    else:
        around_import(package, then_import)
