"""Training data of `kerasdl finetune`: the split of a folder, and sentences that tell it."""

import contextlib
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

import kerasdl
from kerasdl.bundles.operations.finetuning import FEW, is_chosen_by_loss
from kerasdl.core import get_task
from kerasdl.core.errors import ArgumentError, DataError
from kerasdl.data import Dataset
from kerasdl.data.folders.layout import Layout, read_layout

from .application import data_name

FOLDER = "folder:"
SEED = 0
"""Seed of every split of the command line, so that no command tests on training images of another."""
SHARE = 0.1
MOST_CLASSES = 12


@dataclass(frozen=True)
class TrainingData:
    """Data to train and to validate on, with sentences about them."""

    train: Dataset
    """Training data."""
    validation: Dataset | None
    """Validation data; None where the classes have too few images."""
    notes: tuple[str, ...]
    """Images, classes, split and seed, and how coarse the validation is."""

    @property
    def by_loss(self) -> bool:
        """True if validation images are so few that the loss chooses the epoch, not the accuracy."""
        task = self.train.task
        return task == "image_classification" and is_chosen_by_loss(get_task(task), self.validation)


def read_training_data(data: str, validation: str | None = None) -> TrainingData:
    """Reads the data of a fine-tuning.

    A folder with split folders is read by them; without a validation folder, 10 per cent of each class of train are for
    validation. A folder without split folders is cut 80, 10 and 10 per cent, the last part being left to `evaluate`;
    with other images for validation it is read whole. Other data have their own splits.

    Args:
        data: a folder, or a name for `kerasdl.data.load`.
        validation: the same, of other images; None takes them from `data`.

    Raises:
        ArgumentError: an argument breaks its rule.
        DataError: the data cannot be read.
        UnknownNameError: there is no such dataset.
    """
    name = data_name(data)
    layout = _layout_of(name)
    if validation is None:
        train = kerasdl.data.load(name, "train", seed=SEED)
        found = _count(train, layout)
        train, held, rule = _split(name, layout, train)
    else:
        train, held = (
            _whole_or(each, split) for each, split in ((name, "train"), (data_name(validation), "validation"))
        )
        found = _count(train, layout)
        rule = f"{train.size} of {data} to train, {held.size} of {validation} to validate"
    notes = [f"{data}: {found}.", f"Split: {rule}."]
    if held is None:
        few = "there are fewer than three images" if _has_boxes(train) else "no class has three images"
        notes.append(f"No validation, since {few}: the last epoch is kept.")
    result = TrainingData(train, held, tuple(notes))
    if not result.by_loss:
        return result
    coarse = (
        f"Validation is coarse: with {held.size} images an accuracy moves in steps of {100 / held.size:.2g} points. "
        f"Below {FEW} images the loss chooses the epoch that is kept."
    )
    return TrainingData(train, held, (*notes, coarse))


def hold_out_validation(train: Dataset) -> tuple[Dataset, Dataset | None]:
    """Returns data without the tenth of each class that is for validation, at least one of a class of three or more."""
    if _has_boxes(train):
        return kerasdl.data.hold_out(train, SHARE, SEED) if train.size >= 3 else (train, None)
    if not train.any_order or not isinstance(train.source.labels, np.ndarray):
        return train, None
    labels, rng, held = train.source.labels, np.random.default_rng(SEED), []
    classes = np.unique(labels) if train.class_names else [None]
    for each in classes:
        members = rng.permutation(np.flatnonzero(labels == each) if each is not None else len(labels))
        held.extend(members[: max(1, round(len(members) * SHARE)) if len(members) >= 3 else 0])
    if not held:
        return train, None
    mask = np.isin(np.arange(train.size), held)
    parts = (train.of_examples(train.source.pick(np.flatnonzero(part))) for part in (~mask, mask))
    return tuple(parts)


def _split(name: str, layout: Layout | None, train: Dataset) -> tuple[Dataset, Dataset | None, str]:
    """Returns training and validation data, and the rule that parted them in words."""
    held, source = None, "the data's own" if layout is None else "by its folders"
    if (layout is not None and not layout.splits) or layout is None or "validation" in layout.splits:
        with contextlib.suppress(ArgumentError, DataError):  # no such split, or no class of three images
            held = kerasdl.data.load(name, "validation", seed=SEED)
    if layout is not None and not layout.splits:
        left = len(layout.pictures) - train.size - (0 if held is None else held.size)
        source = f"{left} left for `kerasdl evaluate`; 80, 10 and 10 % of each class, drawn by seed {SEED}"
    elif held is None:
        train, held = hold_out_validation(train)
        source = f"10 % of {'train' if _has_boxes(train) else 'each class of train'}, drawn by seed {SEED}"
    return train, held, f"{train.size} to train, {0 if held is None else held.size} to validate ({source})"


def _has_boxes(train: Dataset) -> bool:
    """Tells whether images have boxes, so that none has a single class."""
    return train.any_order and isinstance(train.source.labels, Mapping) and "boxes" in train.source.labels


def _layout_of(name: str) -> Layout | None:
    """Returns the layout of a folder; None for other data."""
    if not name.startswith(FOLDER):
        return None
    return read_layout(Path(name.removeprefix(FOLDER)).expanduser(), "all")


def _whole_or(name: str, split: str) -> Dataset:
    """Returns a folder without split folders whole, and a split of any other data."""
    layout = _layout_of(name)
    return kerasdl.data.load(name, "all" if layout is not None and not layout.splits else split, seed=SEED)


def _count(train: Dataset, layout: Layout | None) -> str:
    """Returns the number of images of a folder, or of training examples, and of each class in words."""
    if layout is not None:
        counts = Counter(each.label for each in layout.pictures)
    elif train.class_names and train.any_order and isinstance(train.source.labels, np.ndarray):
        counts = Counter(train.class_names[label] for label in train.source.labels)
    else:
        return f"{'' if train.size is None else f'{train.size:,} '}examples to train"
    kind = "images" if layout is not None else "examples to train"
    shown = [f"{label} {counts[label]:,}" for label in train.class_names[:MOST_CLASSES]]
    more = [f"{len(train.class_names) - MOST_CLASSES} classes more"] if len(train.class_names) > MOST_CLASSES else []
    return f"{counts.total():,} {kind} in {len(train.class_names)} classes: {', '.join(shown + more)}"
