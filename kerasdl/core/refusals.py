"""Deduplicated error messages of the workers that `kerasdl launch` starts: one worker prints each text."""

import contextlib
import hashlib
import os
import sys
from pathlib import Path

from .errors import KerasdlError

FOLDER = "KERASDL_REFUSALS"
"""Environment variable with a folder shared by the workers; each printed text leaves its digest there."""


def is_first_report(text: str) -> bool:
    """Returns whether no other worker has printed this text; a single process is always first."""
    folder = os.environ.get(FOLDER)
    if folder:
        with contextlib.suppress(FileNotFoundError, PermissionError):
            try:
                Path(folder, hashlib.sha256(text.encode(errors="replace")).hexdigest()).open("x").close()
            except FileExistsError:
                return False
    return True


def report_errors_once() -> None:
    """Silences a worker's error that another worker has printed; a single process is not affected."""
    if not os.environ.get(FOLDER):
        return
    before = sys.excepthook

    def report(kind, error, trace):
        if not issubclass(kind, KerasdlError) or is_first_report(f"{kind.__name__}: {error}"):
            before(kind, error, trace)

    sys.excepthook = report
