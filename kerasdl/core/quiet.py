"""Keeps what native libraries print away from the terminal, and brings it back when something failed."""

import importlib.abc
import importlib.util
import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager

QUIETEST = "3"


@contextmanager
def quiet_stderr() -> Iterator[None]:
    """Holds back what is written to file descriptor 2, native code included; shown only if the block raises."""
    if sys.stderr is not None:
        sys.stderr.flush()
    with tempfile.TemporaryFile() as held:
        saved = os.dup(2)
        os.dup2(held.fileno(), 2)
        try:
            yield
        except BaseException:
            _restore(saved)
            held.seek(0)
            os.write(2, held.read())
            raise
        _restore(saved)


def _restore(saved: int) -> None:
    if sys.stderr is not None:
        sys.stderr.flush()
    os.dup2(saved, 2)
    os.close(saved)


class _QuietTensorFlow(importlib.abc.MetaPathFinder):
    """Holds back what TensorFlow prints while it is first imported: it logs before it reads its own log level."""

    def find_spec(self, fullname, path=None, target=None):
        if fullname != "tensorflow":
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(fullname)
        if spec is not None:
            execute = spec.loader.exec_module

            def execute_quietly(module):
                with quiet_stderr():
                    execute(module)

            spec.loader.exec_module = execute_quietly
        return spec


def silence_tensorflow() -> None:
    """Quiets TensorFlow's start, unless it is loaded already or the user has chosen a lower log level."""
    os.environ.setdefault("KERAS_BACKEND", "tensorflow")
    level = os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", QUIETEST)
    if level == QUIETEST and "tensorflow" not in sys.modules:
        sys.meta_path.insert(0, _QuietTensorFlow())
