"""Refusals of the workers that `kerasdl launch` starts: the same text is printed by one of them."""

import contextlib
import hashlib
import os
import sys
from pathlib import Path

from .errors import KerasdlError

FOLDER = "KERASDL_REFUSALS"
"""The environment variable that names a folder of the workers, where each text that was printed leaves its digest."""


def is_first_to_say(text: str) -> bool:
    """Returns whether no other worker has said this text; alone, always."""
    folder = os.environ.get(FOLDER)
    if folder:
        with contextlib.suppress(FileNotFoundError, PermissionError):
            try:
                Path(folder, hashlib.sha256(text.encode(errors="replace")).hexdigest()).open("x").close()
            except FileExistsError:
                return False
    return True


def say_refusals_once() -> None:
    """Lets a worker end in silence, by its exit code, over a refusal that another has printed; alone, does nothing."""
    if not os.environ.get(FOLDER):
        return
    before = sys.excepthook

    def told(kind, error, trace):
        if not issubclass(kind, KerasdlError) or is_first_to_say(f"{kind.__name__}: {error}"):
            before(kind, error, trace)

    sys.excepthook = told
