"""Raw input for a bundle from files that a user names."""

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from kerasdl.core.errors import DataError
from kerasdl.data import decode_image

IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".webp")


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
            found = json.loads(file.read_text()) if file.suffix == ".json" else [decode_image(file)]
            names += [str(file)] if len(found) == 1 else [f"{file}[{k}]" for k in range(len(found))]
            inputs += [each if isinstance(each, (list, np.ndarray)) else [each] for each in found]
    return names, inputs


def _files_in(path: Path) -> list[Path]:
    if path.is_dir():
        files = sorted(file for file in path.iterdir() if file.suffix.lower() in IMAGE_SUFFIXES)
        if not files:
            raise DataError(f"a folder to predict must hold images {IMAGE_SUFFIXES}; {path} holds none.")
        return files
    if not path.is_file():
        raise DataError(f"input must be an image, a folder of images or a .json file; nothing is at {path}.")
    return [path]
