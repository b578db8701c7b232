"""Choice of the data of an evaluation: the test split, or whole files less the images and texts of the training."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from kerasdl.core.errors import DataError
from kerasdl.data import Dataset, load
from kerasdl.data.folders.layout import read_layout
from kerasdl.data.folders.unread_files import reading_note, unread_files
from kerasdl.data.listing import dataset_name, labels_for, splits_of_boxes
from kerasdl.data.segmentation import mask_folders
from kerasdl.data.text.text_folders import is_text_folder

from .trained_images import any_seen, seen_in_training, trained_hashes

FOLDER = "folder:"
ROWS = ("csv", "jsonl")
"""Kinds of files of labelled texts."""


@dataclass(frozen=True)
class EvaluationData:
    """Data to evaluate, with the reasons for the choice."""

    dataset: Dataset
    """The examples to measure."""
    split: str
    """The split that was read."""
    found: int | None
    """Examples in that split; None where a pipeline does not report it."""
    left_out: int
    """Images or texts left out, since the bundle was fine-tuned on them."""
    notes: tuple[str, ...] = ()
    """Sentences about the choice."""


def choose_evaluation_data(
    bundle: Any, name: str | os.PathLike, split: str | None = None, *, images: str | os.PathLike | None = None
) -> EvaluationData:
    """Reads data by name to evaluate a bundle.

    Of a folder with a test folder that split is read. A folder without split folders is read whole, less the images
    that the bundle was fine-tuned on or chose its epoch by; and so are folders of masks, annotation files of boxes
    that name no splits and tagged sentences, and files of texts, by their texts, if the bundle was fine-tuned on such.
    Of other data the test split is read.

    Args:
        bundle: a `Bundle`, which has the hashes of the images of its fine-tuning.
        name: a name for `kerasdl.data.load`, or the path of a folder.
        split: the split to read, whole; None chooses as above.
        images: folder of the images of annotation files of boxes; None is where these say.

    Returns:
        The data, and the number of images left out.

    Raises:
        ArgumentError: there is no such split.
        DataError: the data cannot be read, or the bundle was fine-tuned on every image.
        UnknownNameError: there is no such dataset.

    Example:
        >>> chosen = choose_evaluation_data(kerasdl.load_bundle("digits_mobilenet"), "digits")
        >>> chosen.split, chosen.dataset.size, chosen.left_out
        ('test', 359, 0)
    """
    name = dataset_name(name)
    is_folder = name.startswith(FOLDER)
    splits = _splits_of(name, bundle)
    chosen, notes = (split, []) if split else ("test", []) if splits is None else _chosen(splits)
    labels = labels_for(bundle.task.name if bundle.task else "", name)
    levels = bundle.preprocess.get("levels") if is_folder else None
    dataset = load(name, chosen, images=images, levels=levels, labels=labels)
    if is_folder and dataset.images:
        layout = read_layout(Path(name.removeprefix(FOLDER)).expanduser(), "all")
        unread = unread_files(layout, chosen, dataset, seed=0)
        notes += reading_note(dataset.size + len(unread), unread)
    seen = np.zeros(0, bool) if splits is None else seen_in_training(bundle.extra, dataset)
    count, noun = int(seen.sum()), "images" if dataset.images else "texts"
    whole = split is None and chosen == "all"
    if count and not whole:
        notes.append(f"{count} of these {noun} are among those of the training: the figures are too good.")
    if not count or not whole:
        return EvaluationData(dataset, chosen, dataset.size, 0, tuple(notes))
    if count == dataset.size:
        rule = f"an evaluation needs {noun} that are not those of the training; in {name.removeprefix(FOLDER)} all are"
        raise DataError(f"{rule} ({count}). Give other {noun}, or split 'all' to measure them (too good).")
    notes.append(
        f"{count} of {dataset.size} {noun} were left out, since they took part in the fine-tuning of the bundle."
    )
    rest = dataset.of_examples(dataset.source.pick(np.flatnonzero(~seen)))
    return EvaluationData(rest, chosen, dataset.size, count, tuple(notes))


def unseen_data(bundle: Any, name: str | os.PathLike) -> Dataset | None:
    """Reads a folder that a bundle never learnt from: whole, or its train folder beside one of the test.

    Args:
        bundle: a `Bundle`, which has the hashes of the images of its fine-tuning.
        name: a name for `kerasdl.data.load`, or the path of a folder.

    Returns:
        The data; None for a folder with validation images, for one that holds images of the fine-tuning, and for data
        that are no folder of images: their validation split is for such uses.

    Raises:
        DataError: the folder cannot be read.

    Example:
        >>> unseen_data(kerasdl.load_bundle("digits_mobilenet"), "digits") is None
        True
    """
    name = dataset_name(name)
    if not name.startswith(FOLDER) or is_text_folder(Path(name.removeprefix(FOLDER))):
        return None
    layout = read_layout(Path(name.removeprefix(FOLDER)).expanduser(), "all")
    if "validation" in layout.splits or any_seen(bundle.extra, [each.path for each in layout.pictures]):
        return None
    split = "train" if "train" in layout.splits else "all"
    return load(name, split, levels=bundle.preprocess.get("levels"))


def _splits_of(name: str, bundle: Any) -> tuple[str, ...] | None:
    """Returns the splits that folders and files have; None for data with splits of their own, or of a hash alone."""
    kind, _, place = name.partition(":")
    path = Path(place).expanduser()
    if kind in ROWS or (kind == "folder" and is_text_folder(path)):
        of_folders = read_layout(path, "all").splits if kind == "folder" else ()
        return of_folders or (() if len(trained_hashes(bundle.extra)) else None)
    if kind == "folder":
        return read_layout(path, "all").splits
    if kind == "conll":
        return ()
    return mask_folders.named_splits(place) if kind == "masks" else splits_of_boxes(name)


def _chosen(splits: tuple[str, ...]) -> tuple[str, list[str]]:
    """Returns the split to measure, and what a reader should know of it."""
    if not splits or "test" in splits:
        return ("test" if splits else "all"), []
    if "validation" in splits:
        return "validation", ["There is no test split; validation images may have chosen the epoch that was kept."]
    return "train", ["There is no test split: that of train is measured."]
