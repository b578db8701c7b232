"""A folder of images, one sub-folder a class: damaged files are found when it is loaded, and named."""

import hashlib
import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from PIL import Image

from kerasdl.core import checks
from kerasdl.core.errors import DataError

from . import sources
from .dataset import Dataset
from .images import SUFFIXES, decode_image, to_pixels
from .splits import SPLITS

# Folders that are split already bear one of these names.
SPLIT_FOLDERS = {
    "train": "train",
    "validation": "validation",
    "valid": "validation",
    "val": "validation",
    "test": "test",
}
CLUTTER = ("thumbs.db", "desktop.ini")
REMEDY = "Mend or remove the files."


class DataWarning(UserWarning):
    """Something in the data was left out."""


def read_folder(
    path: Path, split: str, *, size: int | None, image_shape: tuple | None, on_bad: str, seed: int
) -> Dataset:
    """Returns the images of a split, classes and files in the order of their names.

    Where PATH holds `train`, `validation` (or `val`, `valid`) and `test`, these are the splits. Else 10 in 100 files
    of each class are for validation and as many for the test (one each at least where a class has three or more),
    picked by a hash of the seed and the file's name. `all` takes everything. Each file of the split is decoded once,
    here: what cannot be read is left out with one `DataWarning` that names every file, or refused.
    """
    path = path.expanduser()
    class_names, files = _find_files(path, split, seed)
    if size is not None:
        if size > len(files):
            checks.refuse(f"size must be at most {len(files)}, the files of split {split!r} in {path}", size)
        files = sorted(sorted(files, key=lambda file: _hash(seed, file[0]))[:size])
    found, bad = _inspect([file for file, _ in files], image_shape)
    if bad and on_bad == "refuse":
        raise DataError(f"{_listing(path, bad)}. {REMEDY} Or pass on_bad='skip'.")
    kept = [each for each in zip(files, found, strict=True) if each[1] is not None]
    if not kept:
        reason = _listing(path, bad) if bad else "no file stands there"
        raise DataError(f"no image for split {split!r} in {path}: {reason}. {REMEDY} Or take another split, or 'all'.")
    if bad:
        warnings.warn(f"{_listing(path, bad)}; left out. {REMEDY}", DataWarning, stacklevel=3)
    shapes = {shape for _, (shape, _) in kept}
    pixels = [image for _, (_, image) in kept if image is not None]
    return Dataset(
        name=f"folder:{path}",
        task="image_classification",
        class_names=class_names,
        input_shape=image_shape or _common_shape(shapes),
        input_dtype="uint8",
        size=len(kept),
        licence="not stated",
        seekable=True,
        scale=None,
        source=sources.Examples(
            [file for (file, _), _ in kept],
            np.array([class_names.index(name) for (_, name), _ in kept], np.int32),
            np.stack(pixels) if pixels else None,
        ),
        images=True,
    )


def _find_files(path: Path, split: str, seed: int) -> tuple[tuple[str, ...], list[tuple[Path, str]]]:
    """Returns the class names of the whole folder, and the split's (file, class name) pairs."""
    if not path.is_dir():
        raise DataError(f"no folder {path}. Give the path of a folder that holds one sub-folder a class.")
    tops = _subfolders(path)
    is_split = all(top.name.lower() in SPLIT_FOLDERS for top in tops) and any(_subfolders(top) for top in tops)
    if is_split:
        folders = [(folder, SPLIT_FOLDERS[top.name.lower()]) for top in tops for folder in _subfolders(top)]
    else:
        folders = [(folder, None) for folder in tops]
    present = sorted({belongs for _, belongs in folders}) if is_split else SPLITS
    checks.one_of("split", split, (*present, "all"))
    class_names = tuple(sorted({folder.name for folder, _ in folders}))
    if not class_names:
        raise DataError(f"{path} holds no sub-folders. Put the images of each class into one, named for the class.")
    files = []
    for folder, belongs in folders:
        if split == "all" or belongs in (None, split):
            inside = sorted(file for file in folder.iterdir() if file.is_file() and not _is_clutter(file))
            inside = inside if is_split or split == "all" else _cut(inside, split, seed)
            files += [(file, folder.name) for file in inside]
    return class_names, files


def _cut(files: list[Path], split: str, seed: int) -> list[Path]:
    """Returns a split's share of one class's files; the three shares are disjoint and cover them."""
    held_out = max(1, round(len(files) / 10)) if len(files) >= 3 else 0
    ranked = sorted(files, key=lambda file: _hash(seed, file))
    parts = {
        "validation": ranked[:held_out],
        "test": ranked[held_out : 2 * held_out],
        "train": ranked[2 * held_out :],
    }
    return sorted(parts[split])


def _inspect(files: list[Path], image_shape: tuple | None) -> tuple[list, list[DataError]]:
    """Decodes each file once; returns for each (shape, pixels or None), or None where it is bad, and what was bad.

    Pixels are kept at `image_shape` where all of them fit in memory, so that training need not decode again.
    """
    keep = image_shape is not None and None not in image_shape
    keep = keep and len(files) * int(np.prod(image_shape)) <= sources.MEMORY_LIMIT

    def read(file):
        if file.suffix.lower() not in SUFFIXES:
            return DataError(f"cannot read the image {file}: not a PNG, JPEG, BMP or WebP image")
        try:
            image = decode_image(file)
        except DataError as error:
            return error
        return image.shape, to_pixels(image, image_shape) if keep else None

    with warnings.catch_warnings(), ThreadPoolExecutor() as pool:
        # decode_image refuses such a file itself; Pillow's warning would only say it twice.
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)
        results = list(pool.map(read, files))
    bad = [result for result in results if isinstance(result, DataError)]
    return [None if isinstance(result, DataError) else result for result in results], bad


def _common_shape(shapes: set[tuple[int, ...]]) -> tuple[int | None, int | None, int]:
    """Grey where every image is, else colour; height and width where every image has the same."""
    channels = 1 if all(len(shape) == 2 for shape in shapes) else 3
    sizes = {shape[:2] for shape in shapes}
    return (*(sizes.pop() if len(sizes) == 1 else (None, None)), channels)


def _listing(path: Path, bad: list[DataError]) -> str:
    reasons = [str(error).removeprefix("cannot read the image ").replace(f"{path}/", "") for error in bad]
    return f"{len(bad)} bad file{'s' if len(bad) > 1 else ''} in {path}: {'; '.join(reasons)}"


def _subfolders(path: Path) -> list[Path]:
    return sorted(folder for folder in path.iterdir() if folder.is_dir() and not folder.name.startswith((".", "__")))


def _is_clutter(file: Path) -> bool:
    return file.name.startswith(".") or file.name.lower() in CLUTTER


def _hash(seed: int, file: Path) -> str:
    return hashlib.sha256(f"{seed}/{file.parent.name}/{file.name}".encode()).hexdigest()
