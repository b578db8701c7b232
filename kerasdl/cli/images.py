"""Raw input for `predict` from image and JSON files, and pictures of its answers."""

import itertools
import json
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageSequence

from kerasdl.core import files
from kerasdl.core.display.mask_drawing import indexed_image
from kerasdl.core.errors import DataError
from kerasdl.data import decode_image
from kerasdl.data.folders.layout import files_below, looks_like_image
from kerasdl.data.image_files import FORMATS, SUFFIXES

VIDEOS = (".mp4", ".mov", ".avi", ".mkv", ".webm", ".m4v")


def read_inputs(
    paths: Sequence[Path], levels: int | None = None, *, frames: bool = False
) -> tuple[list[str], list, list[str]]:
    """Reads images, folders of images (at any depth), or .json files with a list of inputs.

    Args:
        paths: files and folders.
        levels: the value that is white in 16-bit image files; None for 65535.
        frames: whether every frame of an animated GIF or WebP file is an input, not its first one alone.

    Returns:
        The name of each input; the inputs, uint8 arrays (H, W, 3) for images; and a line with the reason for each
        unreadable file.

    Raises:
        DataError: a file is missing, or none can be read; the text names it.

    Example:
        >>> kerasdl.cli.read_inputs([])
        ([], [], [])
    """
    names, inputs, unread = [], [], []
    for path in paths:
        for file in _files_in(path):
            try:
                if file.suffix.lower() in VIDEOS:
                    hint = f"Write its frames by `ffmpeg -i {file.name} frames/%04d.png`, and pass the folder frames."
                    raise DataError(f"a video, which needs a codec, is not read: {file}. {hint}")
                rows = _rows_in(file) if file.suffix.lower() == ".json" else _frames_in(file, levels, frames)
            except DataError as error:
                unread.append(" ".join(str(error).split()))
                continue
            names += [str(file)] if len(rows) == 1 else [f"{file}[{k}]" for k in range(len(rows))]
            inputs += [[each] if isinstance(each, (int, float)) else each for each in rows]  # a number is a row of one
    if unread and not inputs:
        raise DataError(unread[0])
    return names, inputs, unread


def _frames_in(file: Path, levels: int | None, every: bool) -> list[np.ndarray]:
    """Returns the frames of an animation, or the image of a file alone."""
    first = decode_image(file, levels=levels)  # refuses what is no image
    with Image.open(file, formats=FORMATS) as image:
        count = getattr(image, "n_frames", 1) if every else 1
        if count == 1:
            return [first]
        if count * image.width * image.height > Image.MAX_IMAGE_PIXELS:
            size = f"{count} frames of {image.width}x{image.height} pixels"
            raise DataError(f"an animation may have {Image.MAX_IMAGE_PIXELS} pixels; {file} has {size}. Cut it.")
        try:
            return [np.asarray(frame.convert("RGB")) for frame in ImageSequence.Iterator(image)]
        except (OSError, ValueError, EOFError) as error:
            raise DataError(f"cannot read the frames of {file}: {error}. Repair or remove the file.") from None


def _rows_in(file: Path) -> list:
    try:
        rows = json.loads(file.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise DataError(f"{file} must hold JSON; it does not: {error}.") from None
    if not isinstance(rows, list) or not rows:
        raise DataError(f"{file} must hold a list of at least one input; got {str(rows)[:60]}.")
    try:
        arrays = [np.asarray(row) for row in rows]
    except ValueError:
        raise DataError(f"each input in {file} must have rows of one length; got {str(rows)[:60]}.") from None
    if not all(array.ndim > 1 and array.dtype.kind in "iu" for array in arrays):
        return rows
    low, high = min(array.min() for array in arrays), max(array.max() for array in arrays)
    if low < 0 or high > 255:
        raise DataError(f"pixels in {file} must be whole numbers from 0 to 255; got {low} to {high}.")
    return [array.astype(np.uint8) for array in arrays]


def _files_in(path: Path) -> list[Path]:
    if path.is_dir():
        files = [file for file in files_below(path) if looks_like_image(file.name)]
        if not files:
            raise DataError(f"a folder to predict must hold images {SUFFIXES}; {path} holds none.")
        return files
    if not path.is_file():
        raise DataError(f"input must be an image, a folder of images or a .json file; nothing is at {path}.")
    return [path]


def free_picture_name(name: str, taken: Collection[str]) -> str:
    """Returns the stem of a name with .png behind it, numbered where that is taken."""
    stem = Path(name).stem
    numbered = (f"{stem}.png" if number == 1 else f"{stem}_{number}.png" for number in itertools.count(1))
    return next(each for each in numbered if each not in taken)


def write_drawings(
    folder: Path, names: Sequence[str], inputs: Sequence[Any], results: Sequence[Any], bundle: Any
) -> list[str]:
    """Writes a picture of each input with its result as PNG, under the stem of its name, numbered where that repeats.

    Of a segmenter also STEM_classes.png, an indexed image whose values are the classes of the pixels.

    Args:
        folder: the folder, made if it is not there.
        names: name of each input.
        inputs: raw inputs.
        results: result of each input.
        bundle: the bundle that answered; its task draws.

    Returns:
        The names of the files.

    Example:
        >>> kerasdl.cli.write_drawings(Path("drawings"), [], [], [], None)
        []
    """
    folder.mkdir(parents=True, exist_ok=True)
    written: list[str] = []
    for name, image, result in zip(names, inputs, results, strict=True):
        file = free_picture_name(name, written)
        with files.writing(folder / file) as draft:
            Image.fromarray(bundle.task.draw(image, result, bundle.labels)).save(draft, format="PNG")
        written.append(file)
        if bundle.task.class_map is not None:
            written.append(file.replace(".png", "_classes.png"))
            with files.writing(folder / written[-1]) as draft:
                indexed_image(bundle.task.class_map(result, bundle.labels)).save(draft, format="PNG")
    return written
