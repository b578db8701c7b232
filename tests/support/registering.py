"""Models and tasks of tests under names of the registry for a while."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from kerasdl.core.registry import models, tasks


@contextmanager
def registering() -> Iterator[None]:
    """What tests register inside leaves the registry in the end; what kerasdl itself registers on first use stays."""
    before = {*models._specs}, {*tasks._tasks}
    try:
        yield
    finally:
        for name in {*models._specs} - before[0]:
            if not models._specs[name].builder.startswith("kerasdl."):
                del models._specs[name], models._functions[name]
        for name in {*tasks._tasks} - before[1]:
            if not tasks._tasks[name].module.startswith("kerasdl."):
                del tasks._tasks[name]


def registered(builder: Callable, *, task: str, **settings) -> Callable:
    """Registers a model function under its own name with what every spec must say."""
    paper = settings.pop("paper", "https://arxiv.org/abs/1511.06434")
    return models.register(task=task, paper=paper, **settings)(builder)
