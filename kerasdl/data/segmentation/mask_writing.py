"""Writer of images and maps of classes as a folder of images and one of mask PNGs."""

import os
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from PIL import Image

from kerasdl.core import checks
from kerasdl.core.errors import DataError
from kerasdl.core.files import write_text, writing

from ..dataset import Dataset
from ..detection.writing import scenes_of, write_image
from ..splits import SPLITS
from .mask_classes import IGNORED


def write_masks(dataset: Dataset, folder: str | os.PathLike, split: str | None = None) -> None:
    """Writes images and their maps of classes as images, indexed PNG masks and classes.txt.

    `read_masks` gives the same maps back, and the same images where they are PNG or keep the size of their files, which
    are then copied. Colours of the masks are those of Pascal VOC; their indices are the classes.

    Args:
        dataset: raw images with the labels {"semantic": (H, W)}.
        folder: folder to write to.
        split: `train`, `validation` or `test`, a folder below it; None writes into the folder itself.

    Raises:
        ArgumentError: the dataset has no such labels, or more (weights of pixels have no place in a mask), the split
            is unknown, or a class name would not come back from a line of classes.txt.
        DataError: a value of a map is neither a class nor 255, or the folder holds other images, masks or classes.

    Example:
        >>> write_masks(draw_cells(2, side=64, weights=False), "cells")
        >>> sorted(str(path) for path in Path("cells").rglob("*.*"))
        ['cells/classes.txt', 'cells/images/1.png', 'cells/images/2.png', 'cells/masks/1.png', 'cells/masks/2.png']
    """
    if split is not None:
        checks.one_of("split", split, SPLITS)
    labels = dataset.source.labels if dataset.any_order else None
    if isinstance(labels, Mapping) and set(labels) - {"semantic"} and "semantic" in labels:
        others = sorted(set(labels) - {"semantic"})
        checks.refuse("only semantic maps can be written as masks", others, "Leave these labels out of the dataset.")
    if odd := [each for each in dataset.class_names if each != " ".join(each.split()) or not each]:
        checks.refuse("a class name must be a line of text, with single blanks between words", odd, "Rename it.")
    folder = Path(folder)
    home = folder if split is None else folder / split
    lines = [f"{label} {name}\n" for label, name in enumerate(dataset.class_names)]
    _refuse_others(folder, home, "".join(lines))
    palette = voc_colours().ravel().tolist()
    for scene in scenes_of(dataset, ("semantic",)):
        name = write_image(scene, home / "images")
        picture = Image.fromarray(_bytes(np.asarray(scene.labels["semantic"]), len(dataset.class_names), name))
        picture.putpalette(palette)
        with writing(home / "masks" / f"{Path(name).stem}.png") as file:
            picture.save(file)
    write_text(folder / "classes.txt", "".join(lines))


def _refuse_others(folder: Path, home: Path, lines: str) -> None:
    """Refuses a folder in which two sets would mix, or whose splits have other classes."""
    for held in (home / "images", home / "masks"):
        if held.is_dir() and any(held.iterdir()):
            raise DataError(f"{held} must be empty, or two sets would mix. Write to another folder, or delete it.")
    stated = folder / "classes.txt"
    if stated.is_file() and stated.read_text(encoding="utf-8") != lines:
        raise DataError(f"{stated} must have the classes of the dataset, or its masks would mean others. Delete it.")


def _bytes(labels: np.ndarray, classes: int, name: str) -> np.ndarray:
    """Returns a map (H, W) as uint8; refuses values that are neither a class nor left out."""
    wrong = (labels != IGNORED) & ~np.isin(labels, np.arange(classes))
    if wrong.any():
        rule = f"maps must hold the classes 0 to {classes - 1}, or {IGNORED}"
        raise DataError(f"{rule}; got {labels[wrong][0]} for the image {name}. Mend the labels.")
    return labels.astype(np.uint8)


def voc_colours() -> np.ndarray:
    """Returns the 256 colours of Pascal VOC's masks, (256, 3) uint8: bits of the class spread over the channels.

    Source: `VOClabelcolormap` of the development kit, http://host.robots.ox.ac.uk/pascal/VOC/voc2012/devkit_doc.pdf.

    Example:
        >>> voc_colours()[[0, 1, 15, 255]].tolist()
        [[0, 0, 0], [128, 0, 0], [192, 128, 128], [224, 224, 192]]
    """
    labels = np.arange(256)
    colours = np.zeros((256, 3), int)
    for bit in range(8):
        for channel in range(3):
            colours[:, channel] |= (labels >> (3 * bit + channel) & 1) << 7 - bit
    return colours.astype(np.uint8)
