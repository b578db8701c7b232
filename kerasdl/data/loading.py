"""Datasets by name: `load`, and the reader of each kind."""

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from kerasdl.core import checks

from .builtin import digits, glyphs, moving_digits, pictures, tabular, texts
from .dataset import Dataset
from .detection import coco, labelme, shapes, stickers, voc, yolo
from .detection.scenes import SIDE, panoptic_maps
from .folders.layout import SPLIT_FOLDERS
from .folders.reader import read_folder
from .image_files import check_levels
from .images import Scale, check_image_shape, check_scale
from .listing import DRAWN, EMOJI, FILES, LABELS, dataset_name, known_names
from .segmentation import cells, mask_folders, tfds_masks, voc_masks
from .series.named import SERIES, read_windows
from .splits import SPLITS
from .text import conll, docstrings, drawn_names, generated_pairs, questions, row_files, text_folders
from .tfds_source import read_tfds


def _pairs_of(kind: str) -> Callable[[str, int | None, int], Dataset]:
    return lambda split, size, seed: generated_pairs.draw_pairs(kind, split, size, seed=seed)


TEXT_KINDS = ("folder", "conll", "squad", *row_files.KINDS)
DRAWN_BY_NUMBER = {
    "glyphs": glyphs.read_glyphs,
    "moving_digits": moving_digits.draw_moving_digits,
    "names": lambda split, size, seed: drawn_names.draw_names(size, split=split, seed=seed),
    **{kind: _pairs_of(kind) for kind in generated_pairs.KINDS},
}
"""Readers of drawn data, from split, number and seed."""
ARGUMENTS = {
    "data_dir": (("tfds",), "data_dir is for tfds:NAME only"),
    "images": (FILES, f"images is for {', '.join(FILES)} only"),
    "levels": (("folder",), "levels is for folder:PATH only"),
    "columns": (("csv", "jsonl"), "text and label are for csv:FILE and jsonl:FILE only"),
}
"""Arguments of `load` that are for some kinds alone, and what is said of others."""


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
        name: one of `list_datasets()`, such as `digits`, `shapes:easy`, `sentiment` or `co2`; a name before a place,
            such as `folder:PATH`, `coco:FILE`, `csv:FILE` or `tfds:NAME` (`tfds:NAME#FEATURE` for boxes of that
            feature); or a folder as a `Path`, or as a text that names none of these (`./digits` where a folder has such
            a name).
        split: `train`, `validation` (also `val`, `valid`) or `test`; a folder also has `all`, tfds its own splits.
        size: number of examples; None takes all. Drawn data have any number.
        image_shape: (height, width, channels) of images; None keeps their own, (32, 32, 1) for digits and glyphs.
            Boxes are in pixels of the resized images.
        scale: values of the pixel levels 0 and 255; None gives raw uint8. It changes neither tables nor texts.
        data_dir: folder of tfds, instead of TFDS_DATA_DIR or ~/tensorflow_datasets.
        images: folder of the images of `coco`, `voc`, `yolo` and `labelme`; None is where their files say.
        labels: of `shapes` and `stickers` `boxes`, `masks` (boxes and masks of objects), `panoptic` (a map of classes
            and objects alone) or `semantic` (a map of classes alone); in maps the first class is the ground. `cells`
            have a map of classes and weights of pixels, and with `panoptic` a map of the cells too. `coco` and
            `labelme` have `boxes`, `masks` and `semantic`, `voc` has `boxes` and `semantic`;
            `tfds:oxford_iiit_pet` has its label or `semantic`.
        on_bad: `skip` leaves out damaged files of a folder, faulty boxes and bad rows of texts, with a warning that
            names them; `refuse` raises.
        seed: seed of drawn data, and of the split of a folder or of rows of texts.
        levels: the value, 1 to 65535, that is white in a folder's 16-bit files, such as 4095 if they hold 12 bits;
            None takes 65535.
        text: column or key of the texts of `csv` and `jsonl`, or two of them with a + for pairs; the name
            `csv:FILE#TEXT,LABEL` states both too.
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
    columns = None if (text, label) == ("text", "label") else (text, label)
    stated = {"data_dir": data_dir, "images": images, "levels": check_levels(levels), "columns": columns}
    _check_kind(name, kind, labels, stated)
    if rest and kind == "tfds":
        dataset = _read_tfds(rest, split, size, image_shape, data_dir, labels)
    elif rest and kind == "masks":
        dataset = mask_folders.read_masks(rest, split, size=size, on_bad=on_bad, seed=seed)
    elif rest and kind == "folder" and not text_folders.is_text_folder(Path(rest)):
        settings = {"size": size, "image_shape": image_shape, "on_bad": on_bad, "seed": seed, "levels": levels}
        dataset = read_folder(Path(rest), split, **settings)
    elif rest and kind in FILES:
        dataset = _part(_read_objects(kind, rest, split, images, on_bad, labels), size)
    elif rest and kind in TEXT_KINDS:
        dataset = _part(_read_texts(kind, rest, split, text, label, on_bad, seed), size)
    elif kind in DRAWN:
        dataset = _drawn_scenes(name, split, size, seed, image_shape, labels)
    else:
        dataset = _read_built_in(name, split, size, seed)
    if dataset.images:
        return dataset.prepared(image_shape, scale)
    if image_shape is not None:
        checks.refuse("image_shape is for images only", name)
    return dataset


def _part(dataset: Dataset, size: int | None) -> Dataset:
    return dataset if size is None else dataset.take(size)


def _check_kind(name: str, kind: str, labels: str, stated: Mapping[str, Any]) -> None:
    """Checks that data of a kind take these labels and arguments, None where they were left out."""
    for argument, (kinds, rule) in ARGUMENTS.items():
        if stated[argument] is not None and kind not in kinds:
            checks.refuse(rule, name)
    checks.one_of(f"labels of {name}", labels, LABELS.get(kind, ("boxes",)))


def _read_texts(kind: str, place: str, split: str, text: str, label: str | None, on_bad: str, seed: int) -> Dataset:
    if kind == "folder":
        return text_folders.read_text_folder(Path(place), split, on_bad=on_bad, seed=seed)
    if kind == "conll":
        checks.one_of(f"split of conll:{place}, which has none,", split, ("train", "all"))
        return conll.read_conll(place)
    if kind == "squad":
        return questions.read_squad(place, split, on_bad=on_bad, seed=seed)
    return row_files.read_row_file(kind, place, split, text=text, label=label, on_bad=on_bad, seed=seed)


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
    known = [each for each in known_names() if each.partition(":")[0] == kind]
    checks.known_name("dataset", name, known, f"Known are {', '.join(known)}.")
    side = max((each for each in (image_shape or ())[:2] if each is not None), default=SIDE)
    settings = {"split": split, "seed": seed, "side": side}
    if kind == "cells":
        return cells.draw_cells(size, colour=way == "colour", panoptic=labels == "panoptic", **settings)
    settings |= {} if labels == "boxes" else {labels: True}
    if kind == "shapes":
        scenes = shapes.draw_shapes(size, difficulty=way or "middle", **settings)
    else:
        scenes = stickers.paste_stickers(size, style=way or pictures.STYLES[0], **settings)
    return panoptic_maps(scenes) if labels == "panoptic" else scenes


def _read_built_in(name: str, split: str, size: int | None, seed: int) -> Dataset:
    known = known_names()
    if "/" in name:
        checks.known_name("dataset or folder", name, known, f"No folder stands at {name!r}.")
    checks.known_name("dataset", name, known, f"No folder {name!r} is here. Known are {', '.join(known)}.")
    checks.one_of("split", split, SPLITS)
    if name in DRAWN_BY_NUMBER:
        return DRAWN_BY_NUMBER[name](split, size, seed)
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
