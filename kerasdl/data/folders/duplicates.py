"""Duplicate files: groups of equal content, found with as little reading as possible."""

import hashlib
import os
from collections import defaultdict
from collections.abc import Callable, Hashable, Sequence
from pathlib import Path

TAIL = 4096
"""Bytes at the end that are compared, for files of equal size, before the whole files."""


def equal_files(files: Sequence[Path], kinds: Sequence[Hashable]) -> list[list[int]]:
    """Returns the indices of files of equal content, one list for each content that occurs in several kinds.

    Files of the same kind are not compared. Files of distinct sizes are not opened at all; of files of equal size 4 kB
    are read, and the whole file only if these are equal too.

    Args:
        files: files to compare; empty and unreadable files have no duplicates.
        kinds: kind of each file, such as its class and split.
    """
    groups = [list(range(len(files)))]
    for measure in (_size, _tail, _digest):
        groups = [part for group in groups for part in _parted(group, files, measure)]
        groups = [group for group in groups if len({kinds[place] for place in group}) > 1]
    return sorted(groups)


def _parted(group: list[int], files: Sequence[Path], measure: Callable[[Path], Hashable]) -> list[list[int]]:
    parts = defaultdict(list)
    for place in group:
        try:
            parts[measure(files[place])].append(place)
        except OSError:
            parts[None].append(place)
    parts.pop(None, None)
    return list(parts.values())


def _size(file: Path) -> int | None:
    return file.stat().st_size or None


def _tail(file: Path) -> bytes:
    with open(file, "rb", buffering=0) as opened:
        opened.seek(max(0, os.fstat(opened.fileno()).st_size - TAIL))
        return hashlib.sha256(opened.read(TAIL)).digest()


def _digest(file: Path) -> bytes | None:
    with open(file, "rb") as opened:
        return hashlib.file_digest(opened, "sha256").digest()
