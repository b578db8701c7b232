"""Datasets by name: the table of those that `load` knows, and what a name means."""

import os
from dataclasses import dataclass
from pathlib import Path

from kerasdl.core import checks

from .builtin import digits, glyphs, pictures, tabular, texts
from .detection import shapes, stickers, voc, yolo
from .folders.reader import DataWarning
from .segmentation import cells, mask_folders
from .series.named import SERIES
from .text import docstrings, drawn_names, generated_pairs, row_files


@dataclass(frozen=True)
class Entry:
    """Entry of the table of datasets that `load` knows."""

    name: str
    """Name that `load` takes."""
    what: str
    """Contents."""
    size: str
    """Number of examples, over all splits."""
    licence: str
    """The terms under which it may be used."""


ENTRIES = (
    Entry("digits", "handwritten digits 0-9, real, 8x8 scaled up to 32x32 grey", "1797", digits.LICENCE),
    Entry("mnist", "handwritten digits 0-9, 28x28 grey", "5000", pictures.GREY["mnist"][1]),
    Entry("fashion_mnist", "10 kinds of clothes, 28x28 grey", "10000", pictures.GREY["fashion_mnist"][1]),
    Entry("emoji", "9 categories of emoji, 64x64 colour; emoji:noto in another style", "1906", pictures.EMOJI_LICENCE),
    Entry("emoji_kinds", "5 kinds of emoji, 10 of each to train on; emoji_kinds:noto", "230", pictures.EMOJI_LICENCE),
    Entry("glyphs", "letters A-Z in 23 fonts, drawn on the spot, 32x32 grey", "unlimited", glyphs.LICENCE),
    Entry("moving_digits", "digits that move, 8 frames of 32x32; the motion is the class", "unlimited", digits.LICENCE),
    Entry("iris", "3 species of iris from 4 measures", "150", tabular.TABLES["iris"].licence),
    Entry("breast_cancer", "benign or malignant from 30 measures", "569", tabular.TABLES["breast_cancer"].licence),
    Entry("wine", "3 cultivars of wine from 13 measures", "178", tabular.TABLES["wine"].licence),
    Entry("diabetes", "progress of diabetes, a figure, from 10 measures", "442", tabular.TABLES["diabetes"].licence),
    Entry(
        "sentiment",
        "sentences of reviews, good or bad; sentiment:score from -4 to 4",
        "14178",
        texts.LICENCES["sentiment"],
    ),
    Entry("shakespeare", "passages of 37 plays and 5 poems, by work", "9685", texts.LICENCES["shakespeare"]),
    Entry("austen", "passages of Jane Austen's six novels, by novel", "7819", texts.LICENCES["austen"]),
    Entry("verses", "Bible verses in English with their Spanish", "31077", texts.LICENCES["verses"]),
    Entry("addresses", "addresses of the USA with a tag for each token", "1513", texts.LICENCES["addresses"]),
    Entry("pydoc", "docstrings of this Python, by 11 parts of the library", "as installed", docstrings.LICENCE),
    Entry(
        "shapes", "scenes of 6 shapes with boxes, 128x128 colour; also shapes:easy, :hard", "unlimited", shapes.LICENCE
    ),
    Entry(
        "stickers", "emoji of 5 kinds over photos, with boxes, 128x128; stickers:noto", "unlimited", stickers.LICENCE
    ),
    Entry(
        "cells",
        "pictures of touching cells with maps of classes, 128x128 grey; cells:colour",
        "unlimited",
        cells.LICENCE,
    ),
    Entry("names", "drawn sentences with tags of people, places, companies", "unlimited", drawn_names.LICENCE),
    Entry("dates", "dates in twenty ways of writing, with their ISO form", "unlimited", generated_pairs.LICENCE),
    Entry("arithmetic", "sums and differences of numbers up to 999", "unlimited", generated_pairs.LICENCE),
    Entry("copy", "words of 1 to 12 letters with themselves", "unlimited", generated_pairs.LICENCE),
    Entry("reverse", "words of 1 to 12 letters, and read from behind", "unlimited", generated_pairs.LICENCE),
    Entry("folder:PATH", "your images, or text files, one sub-folder a class", "as found", "yours"),
    Entry("csv:FILE", "your texts, with a column of labels", "as found", "yours"),
    Entry("jsonl:FILE", "your texts, an object with text and label a line", "as found", "yours"),
    Entry("text:FILE", "your texts, one a line, without labels", "as found", "yours"),
    Entry("co2", "windows of carbon dioxide in the air, weekly 1958-2001", "2105", SERIES["co2"].licence),
    Entry("sunspots", "windows of sunspots a year, 1700-2008", "246", SERIES["sunspots"].licence),
    Entry(
        "sea_temperature", "windows of the sea off Peru, monthly 1950-2010", "663", SERIES["sea_temperature"].licence
    ),
    Entry("seasonal", "windows of a drawn series of trend, season and noise", "531", SERIES["seasonal"].licence),
    Entry("random_walk", "windows of drawn prices without anything to learn", "958", SERIES["seasonal"].licence),
    Entry("coco:FILE", "images with boxes, of a COCO file (JSON)", "as found", "yours"),
    Entry("voc:PATH", "images with boxes, of a folder in Pascal VOC's form", "as found", "yours"),
    Entry("yolo:FILE", "images with boxes, of a data.yaml in YOLO's form", "as found", "yours"),
    Entry("labelme:PATH", "images with boxes, of a folder of labelme's files", "as found", "yours"),
    Entry("masks:PATH", "images with maps of classes, of a folder of images and one of masks", "as found", "yours"),
    Entry("conll:FILE", "tagged tokens of a file in CoNLL's columns; conll:FILE#2,4", "as found", "yours"),
    Entry("squad:FILE", "questions about texts with answers, of a file in SQuAD's form (JSON)", "as found", "yours"),
    Entry("tfds:NAME", "what tensorflow-datasets has prepared on this machine", "as found", "as its card says"),
)

FILES = ("coco", "voc", "yolo", "labelme")
DRAWN = ("shapes", "stickers", "cells")
LABELS = {
    "shapes": ("boxes", "masks", "panoptic", "semantic"),
    "stickers": ("boxes", "masks", "panoptic", "semantic"),
    "cells": ("boxes", "semantic", "panoptic"),
    "coco": ("boxes", "masks", "semantic"),
    "labelme": ("boxes", "masks", "semantic"),
    "voc": ("boxes", "semantic"),
    "tfds": ("boxes", "semantic"),
}
"""Labels that `load` gives of each kind of data, the default first."""
OF_TASK = {"semantic_segmentation": "semantic", "panoptic_segmentation": "panoptic"}
"""Labels that the models of a task learn from, where data have several kinds."""
EMOJI = {"emoji": pictures.read_emoji, "emoji_kinds": pictures.read_emoji_kinds}


def labels_for(task: str, name: str | os.PathLike) -> str:
    """Returns the labels that `load` must give of data for a task; the data's default where they have no others.

    Example:
        >>> labels_for("semantic_segmentation", "coco:cats.json"), labels_for("object_detection", "shapes")
        ('semantic', 'boxes')
    """
    kinds = LABELS.get(dataset_name(name).partition(":")[0], ("boxes",))
    return OF_TASK[task] if OF_TASK.get(task) in kinds else kinds[0]


def list_datasets() -> list[Entry]:
    """Returns the datasets that `load` knows, with name, contents, size and licence.

    Example:
        >>> [entry.name for entry in list_datasets()][:2]
        ['digits', 'mnist']
    """
    return list(ENTRIES)


def known_names() -> list[str]:
    """Returns the names of embedded and drawn data, those with a style or a difficulty too."""
    styles = [f"{name}:{style}" for name in EMOJI for style in pictures.STYLES]
    levels = [f"shapes:{level}" for level in shapes.DIFFICULTIES]
    levels += [*(f"stickers:{style}" for style in pictures.STYLES), "cells:colour"]
    return [*(entry.name for entry in ENTRIES), *styles, *levels, texts.SCORES]


def dataset_name(name: str | os.PathLike) -> str:
    """Returns the name of a dataset as `load` understands it: `folder:PATH` for a folder.

    Args:
        name: a name, or a folder as a path or a text. A text that is both is the dataset, with a `DataWarning`.

    Returns:
        The name; a text that is neither, as it is.

    Example:
        >>> dataset_name("digits"), dataset_name(Path("photos"))
        ('digits', 'folder:photos')
    """
    if isinstance(name, os.PathLike):
        return f"folder:{os.fspath(name)}"
    name = str(name)
    is_named, is_folder = name in known_names(), Path(name).expanduser().is_dir()
    if is_named and is_folder:
        text = f"{name!r} is the embedded dataset, not the folder of that name here: pass './{name}' for the folder"
        checks.warn(f"{text}.", DataWarning)
    kinds = ("folder", "masks", "tfds", "conll", "squad", *FILES, *row_files.KINDS)
    is_name = is_named or name.partition(":")[0] in kinds
    return f"folder:{name}" if is_folder and not is_name else name


def splits_of_boxes(name: str) -> tuple[str, ...] | None:
    """Returns the splits that a data set of boxes or masks names; empty where it is one split, None for other data.

    Example:
        >>> splits_of_boxes("coco:shapes.json"), splits_of_boxes("digits")
        ((), None)
    """
    kind, _, place = name.partition(":")
    if kind in ("voc", "yolo"):
        return {"voc": voc, "yolo": yolo}[kind].named_splits(place)
    if kind == "masks":
        return mask_folders.named_splits(place) or None
    return () if kind in FILES else None
