"""Choice of the data of an evaluation: the test split, or a whole folder less the images of the training."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from kerasdl.core.errors import DataError
from kerasdl.data import Dataset, load
from kerasdl.data.folders.layout import read_layout
from kerasdl.data.loading import dataset_name

from .trained_images import seen_in_training

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


def choose_evaluation_data(bundle: Any, name: str | os.PathLike, split: str | None = None) -> EvaluationData:
    """Reads data by name to evaluate a bundle.

    Of a folder with a test folder that split is read. A folder without split folders is read whole, less the images
    that the bundle was fine-tuned on or chose its epoch by. Of other data the test split is read.

    Args:
        bundle: a `Bundle`, which has the hashes of the images of its fine-tuning.
        name: a name for `kerasdl.data.load`, or the path of a folder.
        split: the split to read, whole; None chooses as above.

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
    chosen, notes = (split, []) if split else _split_of(name) if is_folder else ("test", [])
    dataset = load(name, chosen, levels=bundle.preprocess.get("levels") if is_folder else None)
    seen = seen_in_training(bundle.extra, dataset) if is_folder else np.zeros(0, bool)
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


def _split_of(name: str) -> tuple[str, list[str]]:
    """Returns the split of a folder to measure, and what a reader should know of it."""
    splits = read_layout(Path(name.removeprefix(FOLDER)).expanduser(), "all").splits
    if not splits or "test" in splits:
        return ("test" if splits else "all"), []
    if "validation" in splits:
        return "validation", ["There is no test folder; validation images may have chosen the epoch that was kept."]
    return "train", ["There is no test folder: the images of train are measured."]
