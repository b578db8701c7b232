"""Suppressed output of native libraries; shown only after an error."""

import os
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from .import_hooks import around_import

QUIETEST = "3"


@contextmanager
def quiet_stderr() -> Iterator[Callable[[], str]]:
    """Buffers all output to file descriptor 2, native code included, and prints it only if the block raises.

    Yields a function that returns the output so far.
    """
    if sys.stderr is not None:
        sys.stderr.flush()
    with tempfile.TemporaryFile() as buffer:
        saved = os.dup(2)
        os.dup2(buffer.fileno(), 2)

        def output() -> str:
            return os.pread(buffer.fileno(), os.fstat(buffer.fileno()).st_size, 0).decode(errors="replace")

        try:
            yield output
        except Exception:
            os.write(saved, output().encode())
            raise
        finally:
            _restore(saved)


def _restore(saved: int) -> None:
    if sys.stderr is not None:
        sys.stderr.flush()
    os.dup2(saved, 2)
    os.close(saved)


def silence_tensorflow() -> None:
    """Quiets TensorFlow's start, unless it is loaded already or the user has chosen a lower log level."""
    os.environ.setdefault("KERAS_BACKEND", "tensorflow")
    level = os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", QUIETEST)
    if level == QUIETEST and "tensorflow" not in sys.modules:
        around_import("tensorflow", _run_quietly)


def _run_quietly(run: Callable[[], None]) -> None:
    # TensorFlow logs while it is imported, before it reads its own log level.
    with quiet_stderr():
        run()
