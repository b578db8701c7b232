"""Folders of text files: one sub-folder a class, as for images."""

import os
from pathlib import Path

from ..dataset import Dataset
from ..folders.layout import is_clutter, looks_like_image, read_layout
from .rows import Row, fault_of, read_rows

SUFFIX = ".txt"


def is_text_folder(path: Path) -> bool:
    """Tells whether a folder holds text files in sub-folders, and no image.

    Example:
        >>> is_text_folder(Path("."))
        False
    """
    texts = False
    for folder, _, names in os.walk(path.expanduser()):
        if any(map(looks_like_image, names)):
            return False
        texts = texts or (Path(folder) != path.expanduser() and any(map(_is_text, names)))
    return texts


def read_text_folder(path: Path, split: str, *, on_bad: str, seed: int) -> Dataset:
    """Returns the texts of a split, one a file, with the name of their folder as label.

    Folders named for splits (`train`, `validation`, `test`) are these; others are divided as rows of a file are. Files
    that are not .txt are named as bad.

    Args:
        path: the folder.
        split: `train`, `validation`, `test` or `all`.
        on_bad: as in `read_rows`.
        seed: as in `read_rows`.

    Raises:
        DataError: the layout is ambiguous, or `read_rows` refuses its texts.
    """
    path = path.expanduser()
    layout = read_layout(path, split)
    rows = []
    for each in layout.pictures:
        place = each.path.relative_to(layout.root).as_posix()
        if _is_text(each.path.name):
            text = each.path.read_bytes().decode("utf-8-sig", "surrogateescape")
            rows.append(Row(place, text, each.label, fault_of(text), each.split))
        else:
            rows.append(Row(place, "", each.label, f"its suffix is not {SUFFIX}", each.split))
    return read_rows(f"folder:{path}", rows, split, on_bad=on_bad, seed=seed)


def _is_text(name: str) -> bool:
    return name.lower().endswith(SUFFIX) and not is_clutter(name)
