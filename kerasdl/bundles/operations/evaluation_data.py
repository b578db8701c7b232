"""Choice of the data of an evaluation: the test split, or a whole folder less the images of the training."""

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

from .trained_images import any_seen, seen_in_training

FOLDER = "folder:"


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
    """Images left out, since the bundle was fine-tuned on them."""
    notes: tuple[str, ...] = ()
    """Sentences about the choice."""


def choose_evaluation_data(
    bundle: Any, name: str | os.PathLike, split: str | None = None, *, images: str | os.PathLike | None = None
) -> EvaluationData:
    """Reads data by name to evaluate a bundle.

    Of a folder with a test folder that split is read. A folder without split folders is read whole, less the images
    that the bundle was fine-tuned on or chose its epoch by; and so are annotation files of boxes that name no splits.
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
    splits = _splits_of(name)
    chosen, notes = (split, []) if split else ("test", []) if splits is None else _chosen(splits)
    labels = labels_for(bundle.task.name if bundle.task else "", name)
    levels = bundle.preprocess.get("levels") if is_folder else None
    dataset = load(name, chosen, images=images, levels=levels, labels=labels)
    if is_folder and dataset.images:
        layout = read_layout(Path(name.removeprefix(FOLDER)).expanduser(), "all")
        unread = unread_files(layout, chosen, dataset, seed=0)
        notes += reading_note(dataset.size + len(unread), unread)
    seen = np.zeros(0, bool) if splits is None else seen_in_training(bundle.extra, dataset)
    count = int(seen.sum())
    whole = split is None and chosen == "all"
    if count and not whole:
        notes.append(f"{count} of these images are among those of the training: the figures are too good.")
    if not count or not whole:
        return EvaluationData(dataset, chosen, dataset.size, 0, tuple(notes))
    if count == dataset.size:
        rule = f"an evaluation needs images that are not those of the training; in {name.removeprefix(FOLDER)} all are"
        raise DataError(f"{rule} ({count}). Give other images, or split 'all' to measure them (too good).")
    notes.append(
        f"{count} of {dataset.size} images were left out, since they took part in the fine-tuning of the bundle."
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
        that are no folder: their validation split is for such uses.

    Raises:
        DataError: the folder cannot be read.

    Example:
        >>> unseen_data(kerasdl.load_bundle("digits_mobilenet"), "digits") is None
        True
    """
    name = dataset_name(name)
    if not name.startswith(FOLDER):
        return None
    layout = read_layout(Path(name.removeprefix(FOLDER)).expanduser(), "all")
    if "validation" in layout.splits or any_seen(bundle.extra, [each.path for each in layout.pictures]):
        return None
    split = "train" if "train" in layout.splits else "all"
    return load(name, split, levels=bundle.preprocess.get("levels"))


def _splits_of(name: str) -> tuple[str, ...] | None:
    """Returns the splits that a folder or annotation files of boxes have; None for data with splits of their own."""
    if not name.startswith(FOLDER):
        return splits_of_boxes(name)
    return read_layout(Path(name.removeprefix(FOLDER)).expanduser(), "all").splits


def _chosen(splits: tuple[str, ...]) -> tuple[str, list[str]]:
    """Returns the split to measure, and what a reader should know of it."""
    if not splits or "test" in splits:
        return ("test" if splits else "all"), []
    if "validation" in splits:
        return "validation", ["There is no test split; validation images may have chosen the epoch that was kept."]
    return "train", ["There is no test split: the images of train are measured."]
