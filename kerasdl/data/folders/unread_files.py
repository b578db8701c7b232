"""Unreadable files of a folder of images: those that its data lack, and the sentence that counts them."""

from collections.abc import Sequence
from pathlib import Path

from ..dataset import Dataset
from ..image_files import UnreadableError, one_line
from .layout import Layout
from .reader import inspect_files, pictures_by_split

MOST = 3
"""Files that are named."""


def unread_files(layout: Layout, split: str, data: Dataset, seed: int) -> list[Path]:
    """Returns the files of a split of a folder that are not in its data, since they cannot be read.

    Args:
        layout: the layout of the folder.
        split: the split that was read, whole, or `all`.
        data: what was read.
        seed: seed of the split of a folder without split folders.
    """
    read = set(data.source.inputs)
    found = pictures_by_split(layout, split, seed)
    return [each.path for each, home in found if split in ("all", home) and each.path not in read]


def unreadable(paths: Sequence[Path]) -> list[Path]:
    """Returns those of some image files that cannot be decoded.

    Example:
        >>> unreadable([])
        []
    """
    results = inspect_files(paths, None, None)
    return [path for path, result in zip(paths, results, strict=True) if isinstance(result, UnreadableError)]


def reading_note(count: int, unread: Sequence[Path]) -> list[str]:
    """Returns a sentence on the files that cannot be read, of `count` files; nothing where all can.

    Example:
        >>> reading_note(3, [Path("photos/b.png")])
        ['Read: 2 of 3 images; 1 cannot be read: photos/b.png.']
    """
    if not unread:
        return []
    names = [one_line(file) for file in unread[:MOST]] + ["..."] * (len(unread) > MOST)
    return [f"Read: {count - len(unread)} of {count} images; {len(unread)} cannot be read: {', '.join(names)}."]
