"""Raw input for a bundle from files that a user names."""

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from kerasdl.core.errors import DataError
from kerasdl.data import decode_image
from kerasdl.data.image_files import SUFFIXES


def read_inputs(paths: Sequence[Path]) -> tuple[list[str], list]:
    """Reads images, folders of images, or a .json file that holds a list of inputs.

    Returns:
        The name of each input, and the inputs: uint8 arrays (H, W, 3) for images.

    Raises:
        DataError: a file is missing, damaged or of another kind; the text names it.

    Example:
        >>> kerasdl.cli.read_inputs([])
        ([], [])
    """
    names, inputs = [], []
    for path in paths:
        for file in _files_in(path):
            found = _rows_in(file) if file.suffix == ".json" else [decode_image(file)]
            names += [str(file)] if len(found) == 1 else [f"{file}[{k}]" for k in range(len(found))]
            inputs += [each if isinstance(each, (list, np.ndarray)) else [each] for each in found]
    return names, inputs


def _rows_in(file: Path) -> list:
    try:
        rows = json.loads(file.read_text(encoding="utf-8"))
    except ValueError as error:
        raise DataError(f"{file} must hold JSON; it does not: {error}.") from None
    if not isinstance(rows, list) or not rows:
        raise DataError(f"{file} must hold a list of at least one input; got {str(rows)[:60]}.")
    arrays = [np.asarray(row) for row in rows]
    is_pixels = all(array.ndim > 1 and array.dtype.kind in "iu" for array in arrays)
    return [array.astype(np.uint8) for array in arrays] if is_pixels else rows


def _files_in(path: Path) -> list[Path]:
    if path.is_dir():
        files = sorted(file for file in path.iterdir() if file.suffix.lower() in SUFFIXES)
        if not files:
            raise DataError(f"a folder to predict must hold images {SUFFIXES}; {path} holds none.")
        return files
    if not path.is_file():
        raise DataError(f"input must be an image, a folder of images or a .json file; nothing is at {path}.")
    return [path]
