"""Atomic writes of files and folders, written beside and renamed into place; and names like one that is missing."""

import difflib
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".jpe", ".jfif", ".bmp", ".webp", ".gif")
ALIKE = 0.75
"""Share of equal letters from which a name is taken for a misspelling of another."""


@contextmanager
def writing(path: str | os.PathLike) -> Iterator[Path]:
    """Yields a temporary path; it becomes `path` when the block succeeds, and is removed when it fails.

    The temporary file has the name of `path`, so that writers which look at the suffix work.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix=".writing-", dir=path.parent))
    try:
        yield folder / path.name
        _flush(folder / path.name)
        os.replace(folder / path.name, path)
        _flush(path.parent)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def writing_folder(path: str | os.PathLike) -> Iterator[Path]:
    """Yields an empty folder; when the block succeeds it becomes `path` and replaces the folder there.

    A folder is replaced by two renames. A kill between them leaves the old folder as `.writing-*/old` beside `path`.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    outer = Path(tempfile.mkdtemp(prefix=".writing-", dir=path.parent))
    try:
        inner = outer / "new"
        inner.mkdir()
        yield inner
        for file in inner.rglob("*"):
            _flush(file)
        replaces = path.is_dir() and not path.is_symlink()
        if replaces:
            os.replace(path, outer / "old")
        try:
            os.replace(inner, path)
        except OSError:
            if replaces:
                os.replace(outer / "old", path)
            raise
        _flush(path.parent)
    finally:
        shutil.rmtree(outer, ignore_errors=True)


def write_text(path: str | os.PathLike, text: str) -> None:
    """Writes `text` to a file as UTF-8, atomically."""
    with writing(path) as file:
        file.write_text(text, encoding="utf-8")


def write_json(path: str | os.PathLike, value: Any) -> None:
    """Writes `value` to a file as indented JSON with a final newline, atomically."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False) + "\n")


def sha256(path: str | os.PathLike) -> str:
    """Returns the SHA-256 of a file in hexadecimal."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def is_tflite(path: str | os.PathLike) -> bool:
    """Tells whether a file is of TFLite, by its identifier: with labels at its end, zip readers open it too."""
    if not os.path.isfile(path):
        return False
    with open(path, "rb") as file:
        return file.read(8)[4:] == b"TFL3"


def near_miss(path: str | os.PathLike) -> str:
    """Returns ` Did you mean 'photos'?` for a path that is missing, where its folder holds a like name; else ""."""
    path = Path(path)
    parent = path.expanduser().parent
    names = [each.name for each in parent.iterdir()] if parent.is_dir() and os.access(parent, os.R_OK) else []
    near = difflib.get_close_matches(path.name, names, n=1, cutoff=ALIKE)
    return f" Did you mean {str(path.with_name(near[0]))!r}?" if near and path.name else ""


def _flush(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
