"""Datasets by name: the table of known datasets, and `load`."""

import os
import warnings
from dataclasses import dataclass
from pathlib import Path

from kerasdl.core import checks

from .builtin import digits, glyphs, moving_digits, pictures, tabular, texts
from .dataset import Dataset
from .detection import coco, labelme, shapes, stickers, voc, yolo
from .detection.scenes import SIDE
from .folders.layout import SPLIT_FOLDERS
from .folders.reader import DataWarning, read_folder
from .image_files import check_levels
from .images import Scale, check_image_shape, check_scale
from .segmentation import cells, mask_folders, tfds_masks, voc_masks
from .series.named import SERIES, read_windows
from .splits import SPLITS
from .text import conll, docstrings, drawn_names, row_files, text_folders
from .tfds_source import read_tfds


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


def load(
    name: str | os.PathLike,
    split: str = "train",
    *,
    size: int | None = None,
    image_shape: tuple | None = None,
    scale: Scale | None = (-1.0, 1.0),
    data_dir: str | os.PathLike | None = None,
    images: str | os.PathLike | None = None,
    labels: str = "boxes",
    on_bad: str = "skip",
    seed: int = 0,
    levels: int | None = None,
    text: str = "text",
    label: str | None = "label",
) -> Dataset:
    """Reads a dataset by name, without network access.

    Splits are fixed, stratified and disjoint: 60, 20 and 20 per cent; for `emoji_kinds` 10 and 2 per class, and the
    rest. An emoji is in the same split in both styles. Texts that differ only in capitals and spaces share a split,
    as do the sentences of one product review; the splits of texts have about these sizes. `folders.read_folder`
    and `segmentation.read_masks` describe the split of a folder. Files of boxes have the splits that they name; a COCO
    file and a folder of labelme's files are one split, `train` or `all`. Tables are standardised by their train split.

    Args:
        name: one of `list_datasets()`: `digits`, `mnist`, `fashion_mnist`, `emoji`, `emoji_kinds` (both also as
            `emoji:noto`, in another style), `glyphs`, `iris`, `breast_cancer`, `wine`, `diabetes`, `sentiment` (also as
            `sentiment:score`), `shakespeare`, `austen`, `verses`, `addresses`, `shapes` (also `shapes:easy`,
            `shapes:hard`), `stickers` (also `stickers:noto`), `cells` (also `cells:colour`), `folder:PATH`,
            `coco:FILE`, `voc:PATH`, `yolo:FILE`, `labelme:PATH`, `masks:PATH`, `csv:FILE`, `jsonl:FILE`, `text:FILE`,
            `pydoc` or `tfds:NAME` (`tfds:NAME#FEATURE` for boxes of that feature); or a folder as a `Path`, or as a
            text that names none of these (`./digits` where a folder has such a name).
        split: `train`, `validation` (also `val`, `valid`) or `test`; a folder also has `all`, tfds its own splits.
        size: number of examples; None takes all. `glyphs`, `moving_digits`, `shapes`, `stickers` and `cells` draw any
            number.
        image_shape: (height, width, channels) of images; None keeps their own, (32, 32, 1) for digits and glyphs.
            Boxes are in pixels of the resized images.
        scale: values of the pixel levels 0 and 255; None gives raw uint8. It changes neither tables nor texts.
        data_dir: folder of tfds, instead of TFDS_DATA_DIR or ~/tensorflow_datasets.
        images: folder of the images of `coco`, `voc`, `yolo` and `labelme`; None is where their files say.
        labels: of `shapes` and `stickers` `boxes`, `masks` (boxes and masks of objects), `panoptic` (boxes and a map of
            objects) or `semantic` (a map of classes alone). `cells` have a map of classes and weights of pixels, and
            with `panoptic` a map of the cells too. `coco` and `labelme` have `boxes`, `masks` and `semantic`, `voc`
            has `boxes` and `semantic`; `tfds:oxford_iiit_pet` has its label or `semantic`.
        on_bad: `skip` leaves out damaged files of a folder, faulty boxes and bad rows of texts, with a warning that
            names them; `refuse` raises.
        seed: seed of drawn glyphs, shapes, stickers and cells, and of the split of a folder or of rows of texts.
        levels: the value, 1 to 65535, that is white in a folder's 16-bit files, such as 4095 if they hold 12 bits;
            None takes 65535.
        text: column or key of the texts of `csv` and `jsonl`; the name `csv:FILE#TEXT,LABEL` states both too.
        label: column or key of their labels; None reads texts alone.

    Returns:
        A `Dataset`; images in `scale`, float32; texts as strings.

    Raises:
        UnknownNameError: no such dataset.
        ArgumentError: an argument breaks its rule.
        DataError: the data are missing, damaged (`on_bad="refuse"`), not prepared, or a folder of ambiguous classes.

    Example:
        >>> load("digits", "test").size
        359
    """
    checks.one_of("on_bad", on_bad, ("skip", "refuse"))
    checks.at_least("seed", seed, 0)
    if size is not None:
        checks.at_least("size", size, 1)
    image_shape = image_shape if image_shape is None else check_image_shape(image_shape)
    scale = check_scale(scale)
    name = dataset_name(name)
    kind, _, rest = name.partition(":")
    split = split if kind == "tfds" else SPLIT_FOLDERS.get(split, split)
    if data_dir is not None and kind != "tfds":
        checks.refuse("data_dir is for tfds:NAME only", name)
    if images is not None and kind not in FILES:
        checks.refuse(f"images is for {', '.join(FILES)} only", name)
    checks.one_of(f"labels of {name}", labels, LABELS.get(kind, ("boxes",)))
    if check_levels(levels) is not None and kind != "folder":
        checks.refuse("levels is for folder:PATH only", name)
    if (text, label) != ("text", "label") and kind not in ("csv", "jsonl"):
        checks.refuse("text and label are for csv:FILE and jsonl:FILE only", name)
    if kind in row_files.KINDS and rest:
        dataset = row_files.read_row_file(kind, rest, split, text=text, label=label, on_bad=on_bad, seed=seed)
        dataset = dataset if size is None else dataset.take(size)
    elif kind == "folder" and rest and text_folders.is_text_folder(Path(rest)):
        dataset = text_folders.read_text_folder(Path(rest), split, on_bad=on_bad, seed=seed)
        dataset = dataset if size is None else dataset.take(size)
    elif kind == "folder" and rest:
        settings = {"size": size, "image_shape": image_shape, "on_bad": on_bad, "seed": seed, "levels": levels}
        dataset = read_folder(Path(rest), split, **settings)
    elif kind == "tfds" and rest:
        dataset = _read_tfds(rest, split, size, image_shape, data_dir, labels)
    elif kind in FILES and rest:
        dataset = _read_objects(kind, rest, split, images, on_bad, labels)
        dataset = dataset if size is None else dataset.take(size)
    elif kind == "masks" and rest:
        dataset = mask_folders.read_masks(rest, split, size=size, on_bad=on_bad, seed=seed)
    elif kind == "conll" and rest:
        checks.one_of(f"split of {name}, which has none,", split, ("train", "all"))
        dataset = conll.read_conll(rest)
        dataset = dataset if size is None else dataset.take(size)
    elif name == "names":
        dataset = drawn_names.draw_names(size, split=split, seed=seed)
    elif kind in DRAWN:
        dataset = _drawn_scenes(name, split, size, seed, image_shape, labels)
    else:
        dataset = _read_built_in(name, split, size, seed)
    if dataset.images:
        return dataset.prepared(image_shape, scale)
    if image_shape is not None:
        checks.refuse("image_shape is for images only", name)
    return dataset


def _known_names() -> list[str]:
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
    is_named, is_folder = name in _known_names(), Path(name).expanduser().is_dir()
    if is_named and is_folder:
        text = f"{name!r} is the embedded dataset, not the folder of that name here: pass './{name}' for the folder"
        warnings.warn(f"{text}.", DataWarning, stacklevel=3)
    is_name = is_named or name.partition(":")[0] in ("folder", "masks", "tfds", "conll", *FILES, *row_files.KINDS)
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


def _read_tfds(name: str, split: str, size: int | None, image_shape: tuple | None, data_dir, labels: str) -> Dataset:
    if labels == "semantic":
        return tfds_masks.read_tfds_masks(name, split, size=size, image_shape=image_shape, data_dir=data_dir)
    return read_tfds(name, split, size=size, data_dir=data_dir)


def _read_objects(
    kind: str, place: str, split: str, images: str | os.PathLike | None, on_bad: str, labels: str
) -> Dataset:
    if kind == "voc" and labels == "semantic":
        if images is not None:
            checks.refuse("images is for boxes of voc; semantic maps lie beside JPEGImages", images)
        return voc_masks.read_voc_masks(place, split, on_bad=on_bad)
    if kind == "voc":
        return voc.read_voc(place, split, images=images, on_bad=on_bad)
    if kind == "yolo":
        return yolo.read_yolo(place, split, images=images, on_bad=on_bad)
    hint = "Load the file of that split, or divide by kerasdl.data.hold_out."
    checks.one_of(f"split of {kind}:{place}, which has none,", split, ("train", "all"), hint)
    read = coco.read_coco if kind == "coco" else labelme.read_labelme
    return read(place, images=images, on_bad=on_bad, **({} if labels == "boxes" else {labels: True}))


def _drawn_scenes(
    name: str, split: str, size: int | None, seed: int, image_shape: tuple | None, labels: str
) -> Dataset:
    kind, _, way = name.partition(":")
    known = [each for each in _known_names() if each.partition(":")[0] == kind]
    checks.known_name("dataset", name, known, f"Known are {', '.join(known)}.")
    side = max((each for each in (image_shape or ())[:2] if each is not None), default=SIDE)
    settings = {"split": split, "seed": seed, "side": side}
    if kind == "cells":
        return cells.draw_cells(size, colour=way == "colour", panoptic=labels == "panoptic", **settings)
    settings |= {} if labels == "boxes" else {labels: True}
    if kind == "shapes":
        return shapes.draw_shapes(size, difficulty=way or "middle", **settings)
    return stickers.paste_stickers(size, style=way or pictures.STYLES[0], **settings)


def _read_built_in(name: str, split: str, size: int | None, seed: int) -> Dataset:
    known = _known_names()
    if "/" in name:
        checks.known_name("dataset or folder", name, known, f"No folder stands at {name!r}.")
    checks.known_name("dataset", name, known, f"Known are {', '.join(known)}; a folder {name!r} is not there.")
    checks.one_of("split", split, SPLITS)
    if name == "glyphs":
        return glyphs.read_glyphs(split, size, seed)
    if name == "moving_digits":
        return moving_digits.draw_moving_digits(split, size, seed)
    base, _, style = name.partition(":")
    if base in EMOJI:
        dataset = EMOJI[base](split, style or pictures.STYLES[0])
    elif name in pictures.GREY:
        dataset = pictures.read_grey(name, split)
    elif base in texts.LICENCES:
        dataset = texts.read_text(name, split)
    elif name == "pydoc":
        dataset = docstrings.read_docstrings(split, seed=seed)
    elif name in SERIES:
        dataset = read_windows(name, split, seed)
    elif name == "digits":
        dataset = digits.read_digits(split)
    else:
        dataset = tabular.read_table(name, split)
    return dataset if size is None else dataset.take(size)
