"""Pascal VOC's maps of classes: JPEGImages, SegmentationClass, and lists in ImageSets/Segmentation."""

import os
from collections.abc import Sequence
from pathlib import Path

from kerasdl.core import checks
from kerasdl.core.errors import DataError

from ..dataset import Dataset
from ..detection.annotations import Faults, read_content
from ..detection.voc import LISTS
from ..image_files import SUFFIXES, one_line
from .mask_classes import MaskClasses, stated_classes
from .mask_folders import REMEDY, Pair, masks_dataset

CLASSES = (
    *("background", "aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow"),
    *("diningtable", "dog", "horse", "motorbike", "person", "pottedplant", "sheep", "sofa", "train", "tvmonitor"),
)
"""Classes of VOC 2007 to 2012."""


def read_voc_masks(
    folder: str | os.PathLike,
    split: str = "train",
    *,
    class_names: Sequence[str] | None = None,
    on_bad: str = "skip",
) -> Dataset:
    """Returns the images of a folder in Pascal VOC's form that have a map of classes.

    Masks are the indexed PNG files of SegmentationClass; their value 255, the border of each object, is left out. Masks
    in colours, as some tools export them, need `labelmap.txt` or another palette in the folder (see `read_masks`).

    Args:
        folder: with JPEGImages, SegmentationClass, and perhaps ImageSets/Segmentation/train.txt and so on.
        split: `train`, `validation`, `test` or `all`; without such lists, `train` and `all` take every mask.
        class_names: names of the classes, the background first; None takes those of a file in the folder, as
            `read_masks` does, or else VOC's own 21.
        on_bad: as in `read_masks`, for the same faults and for names of a list without image or mask.

    Returns:
        A `Dataset` as of `read_masks`.

    Raises:
        ArgumentError: the split is unknown, or `on_bad`.
        DataError: there are no masks, a list is missing, or faults that are refused, or no image is left.

    Example:
        >>> write_masks(draw_cells(2, side=64, weights=False), "cells")
        >>> for old, new in {"images": "JPEGImages", "masks": "SegmentationClass"}.items():
        ...     _ = Path("cells", old).rename(Path("cells", new))
        >>> read_voc_masks("cells").class_names
        ('background', 'cell')
    """
    checks.one_of("split", split, (*LISTS, "all"))
    folder = Path(folder).expanduser()
    faults = Faults(folder, on_bad, REMEDY)
    masks = {each.stem: each for each in sorted((folder / "SegmentationClass").glob("*.png"))}
    if not masks:
        raise DataError(f"{one_line(folder)} holds no SegmentationClass/*.png. Give the folder above it.")
    stems = _stems(folder, split)
    pairs = []
    for stem in masks if stems is None else stems:
        images = [folder / "JPEGImages" / f"{stem}{suffix}" for suffix in (".jpg", *SUFFIXES)]
        image = next((each for each in images if each.is_file()), None)
        if stem in masks and image is not None:
            pairs.append(Pair(stem, image, masks[stem]))
        else:
            faults.add(f"{stem}: the {'mask has no image' if stem in masks else 'image has no mask'}")
    classes = stated_classes(folder, class_names, None, None, (255,), False) or MaskClasses(CLASSES)
    return masks_dataset(f"voc:{folder}", pairs, classes, faults)


def _stems(folder: Path, split: str) -> list[str] | None:
    """Returns the names of a split; None for every mask."""
    lists = folder / "ImageSets" / "Segmentation"
    if split == "all":
        return None
    file = next((lists / f"{name}.txt" for name in LISTS[split] if (lists / f"{name}.txt").is_file()), None)
    if file is not None:
        lines = read_content(file).decode("utf-8", "replace").splitlines()
        return list(dict.fromkeys(line.split()[0] for line in lines if line.strip()))
    if split != "train" or lists.is_dir():
        raise DataError(f"{one_line(lists)} has no {LISTS[split][0]}.txt. Take another split, or 'all'.")
    return None
