"""Folders of images and of masks with the same names: layout, splits, and the dataset of the pairs that are sound."""

import hashlib
import os
import warnings
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from kerasdl.core import checks
from kerasdl.core.errors import DataError

from ..dataset import Dataset
from ..detection.annotations import TURNED, Faults
from ..detection.scenes import SEMANTIC
from ..folders.layout import MASK_FOLDERS, SPLIT_FOLDERS, files_below, looks_like_image, subfolders
from ..folders.reader import DataWarning
from ..image_files import UnreadableError, one_line
from ..sources import Examples
from ..splits import SPLITS
from ..trees import LazyMaps
from .mask_classes import IGNORED, MOST, UNKNOWN, Colour, MaskClasses, stated_classes
from .mask_files import image_header, read_mask

REMEDY = "Mend them, or pass on_bad='skip'."
IMAGES = "images"
"""Name of the folder of images, in any case."""


@dataclass(frozen=True)
class Pair:
    """An image with its mask."""

    name: str
    """Path of both files below their folders, without suffix."""
    image: Path
    mask: Path


@dataclass(frozen=True)
class SoundPair:
    """A pair that was checked."""

    pair: Pair
    size: tuple[int, int]
    """Height and width of the upright image, and of its mask."""
    is_grey: bool
    shows_more: bool
    """True if the mask shows another class than the first."""
    leaves_out: bool
    """True if values of the mask are left out."""


def read_masks(
    folder: str | os.PathLike,
    split: str = "train",
    *,
    size: int | None = None,
    class_names: Sequence[str] | None = None,
    values: Sequence[int] | None = None,
    palette: str | os.PathLike | Mapping[str, Colour] | None = None,
    ignored: Sequence[int] = (IGNORED,),
    instances: bool = False,
    unknown: str = "refuse",
    on_bad: str = "skip",
    seed: int = 0,
) -> Dataset:
    """Returns images with maps of classes, from a folder of images and one of masks with the same names.

    The folder holds `images` and `masks` (or `annotations`, or `labels`), or `train`, `val` and `test` with these, or
    these with `train`, `val` and `test`. Without splits, a tenth of the pairs is for validation and a tenth for the
    test, by a hash of the seed and the name. Each mask of the split is decoded once here.

    A mask is a PNG, BMP or GIF file of the image's size. Its values are the classes; of an indexed file, its indices.
    Classes are named by `classes.txt` in the folder, one a line, or by `value name` in each line, such as
    `255 foreground`. With a palette, `palette.txt` (`R G B name` a line) or `palette.json` ({name: [R, G, B]}), its
    colours are the classes; those named `ignore` are left out. Without either, every mask of every split is read for
    the values that occur, and the highest one tells the number of classes.

    Args:
        folder: as above.
        split: `train`, `validation`, `test` or `all`.
        size: number of pairs, drawn by the seed; None takes all.
        class_names: names of the classes instead of those of a file.
        values: the value of each class in the masks, such as (0, 255); None is 0, 1, 2, ...
        palette: file of the palette, or name and colour (R, G, B) of each class.
        ignored: values that are left out, unless they are a class.
        instances: True reads masks that hold the numbers of objects, such as those of 16 bits: 0 is the background
            and every other value class 1.
        unknown: `refuse` makes a mask with a value or colour of no class a fault, `ignore` leaves such pixels out.
        on_bad: `skip` leaves pairs out, with one `DataWarning` that names each: a mask of another size, of unknown
            values, of 16 bits, with colours or alpha but no palette, of JPEG or WebP (blurred), with ignored pixels
            alone, a file without partner, an image whose EXIF tag turns it while its mask may not be. `refuse` raises.
        seed: 0 or more.

    Returns:
        A `Dataset` of raw images with the labels {"semantic": (H, W) uint8}: classes, and 255 for pixels left out.

    Raises:
        ArgumentError: an argument breaks its rule.
        DataError: the layout is none of these, a file of classes breaks its form, there are faults that are refused, or
            no pair is left.

    Example:
        >>> write_masks(draw_cells(2, side=64, weights=False), "cells")
        >>> image, labels = read_masks("cells", "all")[0]
        >>> image.shape, labels["semantic"].shape, labels["semantic"].dtype
        ((64, 64, 1), (64, 64), dtype('uint8'))
    """
    checks.one_of("unknown", unknown, ("refuse", "ignore"))
    checks.at_least("seed", seed, 0)
    folder = Path(folder).expanduser()
    faults = Faults(folder, on_bad, REMEDY)
    homes = _homes(folder)
    pairs = {}
    for home, folders in homes.items():
        pairs[home] = _pairs(*folders, faults if split in ("all", home) or home is None else None)
    chosen = _chosen(folder, pairs, split, size, seed)
    classes = stated_classes(folder, class_names, values, palette, ignored, instances)
    if classes is None:
        classes = _found_classes([each for part in pairs.values() for each in part], ignored, faults.place)
    return masks_dataset(f"masks:{folder}", chosen, classes, faults, unknown)


def named_splits(folder: str | os.PathLike) -> tuple[str, ...]:
    """Returns the splits that have folders of their own in a folder of images and masks.

    Example:
        >>> write_masks(draw_cells(1, side=64, weights=False), "cells", "validation")
        >>> named_splits("cells")
        ('validation',)
    """
    return tuple(home for home in _homes(Path(folder).expanduser()) if home is not None)


def _homes(folder: Path) -> dict[str | None, tuple[Path, Path]]:
    """Returns the folders of images and of masks of each split; of None where there are no splits."""
    if not folder.is_dir():
        raise DataError(f"no folder {one_line(folder)}. Give the folder that holds images and masks.")
    both = _both(folder)
    if both is None:
        homes = {_split_of(each): _both(each) for each in subfolders(folder) if _split_of(each)}
    else:
        inner = [{_split_of(each): each for each in subfolders(part) if _split_of(each)} for part in both]
        homes = {split: (inner[0][split], inner[1][split]) for split in inner[0] if split in inner[1]} or {None: both}
    homes = {split: homes[split] for split in (*SPLITS, None) if homes.get(split)}
    if not homes:
        rule = f"{one_line(folder)} must hold images and {' or '.join(MASK_FOLDERS)}, or train, val and test with them"
        names = [each.name for each in subfolders(folder)]
        raise DataError(f"{rule}; got {one_line(names[:8])}. Rename them.")
    return homes


def _both(folder: Path) -> tuple[Path, Path] | None:
    """Returns the folders of images and of masks in a folder, if both are there."""
    inside = subfolders(folder)
    images = [each for each in inside if each.name.lower() == IMAGES]
    masks = [each for each in inside if each.name.lower() in MASK_FOLDERS]
    if len(masks) > 1:
        masks = [each for each in masks if any(looks_like_image(file.name) for file in files_below(each))]
    if len(images) > 1 or len(masks) > 1:
        names = [each.name for each in (*images, *masks)]
        raise DataError(f"{one_line(folder)} must hold one folder of images and one of masks; got {names}. Move one.")
    return (images[0], masks[0]) if images and masks else None


def _split_of(folder: Path) -> str | None:
    return SPLIT_FOLDERS.get(folder.name.lower())


def _pairs(images: Path, masks: Path, faults: Faults | None) -> list[Pair]:
    """Returns the pairs of two folders; files without a partner, or with two, are faults where these count."""
    sides = []
    for folder in (images, masks):
        named: dict[str, list[Path]] = {}
        for file in files_below(folder):
            if looks_like_image(file.name):
                named.setdefault(file.relative_to(folder).with_suffix("").as_posix(), []).append(file)
        sides.append(named)
    pairs = []
    for name in sorted({*sides[0], *sides[1]}):
        image, mask = (side.get(name, []) for side in sides)
        if len(image) == len(mask) == 1:
            pairs.append(Pair(name, image[0], mask[0]))
        elif faults is not None and image and mask:
            faults.add(f"{name}: several files bear the name, {[each.name for each in (*image, *mask)]}")
        elif faults is not None:
            faults.add(f"{name}: the image has no mask" if image else f"{name}: the mask has no image")
    return pairs


def _chosen(folder: Path, pairs: dict[str | None, list[Pair]], split: str, size: int | None, seed: int) -> list[Pair]:
    """Returns the pairs of a split, or `size` of them."""
    named = tuple(home for home in pairs if home is not None)
    checks.one_of(f"split of {one_line(folder)}", split, (*(named or SPLITS), "all"))
    order = lambda pair: hashlib.sha256(f"{seed}/{pair.name}".encode("utf-8", "surrogatepass")).digest()  # noqa: E731
    chosen = [each for home, part in pairs.items() if home in (split, None) or split == "all" for each in part]
    if not named and split != "all":
        drawn = sorted(chosen, key=order)
        tenth = max(1, round(len(drawn) / 10)) if len(drawn) >= 3 else 0
        ends = {"validation": (0, tenth), "test": (tenth, 2 * tenth), "train": (2 * tenth, None)}[split]
        chosen = sorted(drawn[slice(*ends)], key=lambda pair: pair.name)
    if size is not None and size > len(chosen):
        checks.refuse(f"size must be at most {len(chosen)}, the pairs of split {split!r} in {folder}", size)
    return chosen if size is None else sorted(sorted(chosen, key=order)[:size], key=lambda pair: pair.name)


def _found_classes(pairs: list[Pair], ignored: Sequence[int], place: str) -> MaskClasses:
    """Returns the classes that the values of all masks tell, named by their values."""

    def values(pair: Pair) -> np.ndarray:
        try:
            pixels = read_mask(pair.mask)
        except UnreadableError:
            return np.zeros(256, np.int64)
        return np.bincount(pixels.ravel(), minlength=256) if pixels.dtype == np.uint8 else np.zeros(256, np.int64)

    with warnings.catch_warnings(), ThreadPoolExecutor() as pool:
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)
        counts = sum(pool.map(values, pairs), np.zeros(256, np.int64))
    found = [value for value in np.flatnonzero(counts).tolist() if value not in ignored]
    if np.flatnonzero(counts).tolist() == [0, IGNORED]:
        note = "0 and 255 are the only values of the masks, read as background and foreground; say so in classes.txt"
        checks.warn(f"{note}: '0 background' and '255 foreground', a line each.", DataWarning)
        return MaskClasses(("background", "foreground"), (0, IGNORED), ignored=())
    last = max(found, default=0)
    if last >= MOST:
        rule = "255 stands for pixels left out in maps of classes"
        raise DataError(f"{rule}; {place} holds it as a class. State the values in classes.txt.")
    if found and len(found) < last + 1:
        note = (
            f"the masks hold {len(found)} of the values 0 to {last}, {one_line(found[:8])}, and each number is a class"
        )
        checks.warn(f"{note}. State the classes in classes.txt, 'value name' a line.", DataWarning)
    return MaskClasses(tuple(map(str, range(last + 1))), ignored=tuple(ignored))


def masks_dataset(
    name: str, pairs: Sequence[Pair], classes: MaskClasses, faults: Faults, unknown: str = "refuse"
) -> Dataset:
    """Returns the sound pairs as a dataset, each mask decoded once; the others are faults.

    Raises:
        DataError: there are faults that are refused, or no pair is left.
    """
    with warnings.catch_warnings(), ThreadPoolExecutor() as pool:
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # such files are faults
        results = list(pool.map(lambda pair: _inspected(pair, classes, unknown), pairs))
    for pair, result in zip(pairs, results, strict=True):
        if isinstance(result, str):
            faults.add(f"{pair.name}: {result}")
    faults.settle()
    sound = [each for each in results if isinstance(each, SoundPair)]
    if not sound:
        rule = f"no pair of image and mask is left of {faults.place}"
        raise DataError(f"{rule}. A mask bears the name of its image: images/cat.jpg, masks/cat.png.")
    if len(classes.names) > 1 and not any(each.shows_more for each in sound) and any(e.leaves_out for e in sound):
        note = (
            f"no mask of {faults.place} shows another class than {classes.names[0]!r}, and pixels of 255 are left out"
        )
        checks.warn(f"{note}. If 255 is a class, write '255 name' into classes.txt.", DataWarning)
    sizes = np.array([each.size for each in sound], np.int64)
    same = (sizes == sizes[0]).all()
    channels = 1 if all(each.is_grey for each in sound) else 3
    maps = LazyMaps([each.pair.mask for each in sound], _reader(classes), sizes)
    return Dataset(
        name=name,
        task=SEMANTIC,
        class_names=classes.names,
        input_shape=(*(sizes[0].tolist() if same else (None, None)), channels),
        input_dtype="uint8",
        size=len(sound),
        licence="not stated",
        seekable=True,
        scale=None,
        source=Examples([each.pair.image for each in sound], {"semantic": maps}, sizes=sizes),
        images=True,
    )


def _inspected(pair: Pair, classes: MaskClasses, unknown: str) -> SoundPair | str:
    """Returns the pair, or its fault."""
    try:
        size, turn, is_grey = image_header(pair.image)
        pixels = read_mask(pair.mask, bool(classes.colours))
        mask_turn = image_header(pair.mask)[1]
    except UnreadableError as error:
        return str(error)
    if pixels.dtype == np.uint16 and not classes.instances:
        return "a mask of 16 bits, as instance ids have; save classes in 8 bits, or pass instances=True"
    if turn != 1 and mask_turn == 1 and (pixels.shape[:2] != size or turn not in TURNED or size[0] == size[1]):
        return "the EXIF tag of the image turns it, and not its mask; save the image upright"
    if pixels.shape[:2] != size:
        return f"the mask has {pixels.shape[1]}x{pixels.shape[0]} pixels, the image {size[1]}x{size[0]}"
    labels = classes.of(pixels)
    strange = labels == UNKNOWN
    if strange.any() and unknown == "refuse":
        first, count = pixels[strange][0].tolist(), np.count_nonzero(strange)
        noun = "colour" if classes.colours else "value"
        return f"{count} pixels have the {noun} {first} or another of no class; unknown='ignore' leaves them out"
    is_left_out = strange | (labels == IGNORED)
    if is_left_out.all():
        return "every pixel of the mask is left out"
    is_of_255 = not classes.colours and bool((labels == IGNORED).any())
    return SoundPair(pair, size, is_grey, bool((labels[~is_left_out] > 0).any()), is_of_255)


def _reader(classes: MaskClasses) -> Callable[[Path], np.ndarray]:
    def read(path: Path) -> np.ndarray:
        try:
            labels = classes.of(read_mask(path, bool(classes.colours)))
        except UnreadableError as error:  # it was changed since it was checked
            raise DataError(f"cannot read the mask {one_line(path)}: {error}. Repair or remove it.") from error
        return np.where(labels == UNKNOWN, IGNORED, labels).astype(np.uint8)

    return read
