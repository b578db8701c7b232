"""Training data of `kerasdl finetune`: the split of a folder, and sentences that tell it."""

import contextlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

import kerasdl
from kerasdl.bundles.operations.finetuning import FEW, is_chosen_by_loss
from kerasdl.core import get_task
from kerasdl.core.errors import ArgumentError, DataError
from kerasdl.data import Dataset
from kerasdl.data.folders.layout import Layout, read_layout
from kerasdl.data.folders.unread_files import reading_note, unread_files, unreadable
from kerasdl.data.listing import labels_for, splits_of_boxes
from kerasdl.data.resampling import SHARE, unsplit_parts
from kerasdl.data.text.text_folders import is_text_folder
from kerasdl.data.trees import MAPS

from .application import data_name

FOLDER = "folder:"
ROWS = ("csv:", "jsonl:", "squad:")
"""Files whose rows are cut by a hash, `data.text.rows.drawn_splits`."""
QUESTIONS = "squad:"
TAGS = "conll:"
"""Files of tagged sentences, which are never cut."""
SEED = 0
"""Seed of every split of the command line, so that no command tests on training images of another."""
MOST_CLASSES = 12
"""Classes that are named."""


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


def read_training_data(
    data: str,
    validation: str | None = None,
    images: Path | None = None,
    validation_images: Path | None = None,
    labels: str | None = None,
) -> TrainingData:
    """Reads the data of a fine-tuning.

    A folder with split folders is read by them; without a validation folder, 10 per cent of each class of train are for
    validation. A folder without split folders is cut 80, 10 and 10 per cent, the last part being left to `evaluate`,
    and so are files of boxes that name no splits; with other images for validation they are read whole. Other data have
    their own splits.

    Args:
        data: a folder, or a name for `kerasdl.data.load`.
        validation: the same, of other images; None takes them from `data`.
        images: folder of the images of annotation files of boxes; None is where these say.
        validation_images: the same for `validation`; None is `images`.
        labels: as in `kerasdl.data.load`, such as `semantic` of a COCO file; None is its default.

    Raises:
        ArgumentError: an argument breaks its rule.
        DataError: the data cannot be read.
        UnknownNameError: there is no such dataset.
    """
    name = data_name(data)
    layout, settings = _layout_of(name), {"images": images, **({} if labels is None else {"labels": labels})}
    if validation is None:
        loaded = kerasdl.data.load(name, "train", seed=SEED, **settings)
        train, held, rule, unread = _split(name, layout, loaded, settings)
        found = _count(loaded, layout, unread, splits_of_boxes(name) == ())
    else:
        train, unread = _whole_or(name, "train", settings)
        others = {**settings, "images": validation_images or images}
        held, unread_too = _whole_or(data_name(validation), "validation", others)
        found = _count(train, layout, unread, splits_of_boxes(name) == ())
        rule = f"{train.size} of {data} to train, {held.size} of {validation} to validate"
        unread += unread_too
    notes = [f"{data}: {found}.", f"Split: {rule}."]
    if unread:
        read = train.size + (0 if held is None else held.size) + len(unread)
        notes += reading_note(len(layout.pictures) if validation is None else read, unread)
    if held is None:
        few = "there are fewer than three images" if _has_places(train) else "no class has three images"
        notes.append(f"No validation, since {few}: the last epoch is kept.")
    elif _has_boxes(train) and held.size < FEW:
        boxes = len(_classes_of_boxes(held))
        notes.append(f"Validation is coarse: {boxes} boxes in the images that validate, {held.size}.")
    result = TrainingData(train, held, tuple(notes))
    if result.by_loss:
        notes.append(
            f"Validation is coarse: with {held.size} images an accuracy moves in steps of {100 / held.size:.2g} "
            f"points. Below {FEW} images the loss chooses the epoch that is kept."
        )
    if alone := _with_one_image(train):
        more = ", ..." * (len(alone) > MOST_CLASSES)
        notes.append(f"Classes with one image to learn from: {', '.join(alone[:MOST_CLASSES])}{more}. Give them more.")
    return TrainingData(train, held, tuple(notes))


def _with_one_image(train: Dataset) -> list[str]:
    """Returns the classes of which there is one training image."""
    labels = train.source.labels if train.images and train.any_order else None
    if not train.class_names or not isinstance(labels, np.ndarray) or labels.ndim != 1:
        return []
    counts = np.bincount(labels, minlength=len(train.class_names))
    return [name for name, count in zip(train.class_names, counts, strict=True) if count == 1]


def hold_out_validation(train: Dataset) -> tuple[Dataset, Dataset | None]:
    """Returns data without the tenth of each class that is for validation, at least one of a class of three or more."""
    if _has_places(train):
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


def _split(
    name: str, layout: Layout | None, train: Dataset, settings: Mapping[str, Any]
) -> tuple[Dataset, Dataset | None, str, list[Path]]:
    """Returns training and validation data, the rule that parted them in words, and the files that cannot be read."""
    held, source = None, "the data's own" if layout is None else "by its folders"
    unread = _unread(layout, "train", train)
    if (layout is not None and not layout.splits) or layout is None or "validation" in layout.splits:
        with contextlib.suppress(ArgumentError, DataError):  # no such split, or no class of three images
            held = kerasdl.data.load(name, "validation", seed=SEED, **settings)
            unread += _unread(layout, "validation", held)
    if layout is not None:  # files of the test too, since `evaluate` leaves them out of its count
        read = {*train.source.inputs, *([] if held is None else held.source.inputs), *unread}
        unread += unreadable([each.path for each in layout.pictures if each.path not in read])
    if layout is not None and not layout.splits:
        left = len(layout.pictures) - len(unread) - train.size - (0 if held is None else held.size)
        source = f"{left} left for `kerasdl evaluate`; 80, 10 and 10 % of each class, drawn by seed {SEED}"
    elif held is not None and name.startswith(ROWS):
        left = kerasdl.data.load(name, "test", seed=SEED, **settings).size
        share = "of all texts" if name.startswith(QUESTIONS) else "of each class"
        source = f"{left} left for `kerasdl evaluate`; 80, 10 and 10 % {share}, by a hash of the text"
    elif held is not None and name.startswith("masks:"):
        with contextlib.suppress(ArgumentError, DataError):  # no such split
            left = kerasdl.data.load(name, "test", seed=SEED, **settings).size
            source = f"{source}; {left} left for `kerasdl evaluate`"
    elif held is None and splits_of_boxes(name) == () and train.size >= 3:
        train, held, left = unsplit_parts(train)
        source = f"{left.size} left for `kerasdl evaluate`; 80, 10 and 10 %, drawn by seed {SEED}"
    elif held is None:
        train, held = hold_out_validation(train)
        source = f"10 % of {'train' if _has_places(train) else 'each class of train'}, drawn by seed {SEED}"
    rule = f"{train.size} to train, {0 if held is None else held.size} to validate ({source})"
    return train, held, rule, unread


def _has_places(train: Dataset) -> bool:
    """Tells whether images have boxes or maps, so that none has a single class."""
    return (
        train.any_order
        and isinstance(train.source.labels, Mapping)
        and not {"boxes", *MAPS}.isdisjoint(train.source.labels)
    )


def _has_boxes(data: Dataset) -> bool:
    """Tells whether images have boxes of classes."""
    labels = data.source.labels if data.any_order else None
    return isinstance(labels, Mapping) and {"boxes", "classes"} <= set(labels)


def _has_maps(data: Dataset) -> bool:
    """Tells whether images have a map of named classes each."""
    labels = data.source.labels if data.any_order else None
    return bool(data.class_names) and isinstance(labels, Mapping) and "semantic" in labels


def _layout_of(name: str) -> Layout | None:
    """Returns the layout of a folder of images; None for other data."""
    return None if not name.startswith(FOLDER) or _is_of_texts(name) else _layout_at(name)


def _is_of_texts(name: str) -> bool:
    return name.startswith(FOLDER) and is_text_folder(Path(name.removeprefix(FOLDER)))


def _layout_at(name: str) -> Layout:
    return read_layout(Path(name.removeprefix(FOLDER)).expanduser(), "all")


def _whole_or(name: str, split: str, settings: Mapping[str, Any]) -> tuple[Dataset, list[Path]]:
    """Returns a data set without splits whole, or a split of another, and the files of folders that cannot be read."""
    layout = _layout_of(name)
    split = "all" if _splits_of(name, layout) == () else split
    data = kerasdl.data.load(name, split, seed=SEED, **settings)
    return data, _unread(layout, split, data)


def _splits_of(name: str, layout: Layout | None) -> tuple[str, ...] | None:
    """Returns the splits that data name; empty where they are one, None for data with splits of their own."""
    if layout is not None:
        return layout.splits
    if name.startswith((*ROWS, TAGS)):
        return ()
    if _is_of_texts(name):
        return _layout_at(name).splits
    return splits_of_boxes(name) or () if name.startswith("masks:") else splits_of_boxes(name)


def _unread(layout: Layout | None, split: str, data: Dataset) -> list[Path]:
    """Returns the files of a split of a folder that cannot be read; none of other data."""
    return [] if layout is None else unread_files(layout, split, data, SEED)


def _count(train: Dataset, layout: Layout | None, unread: list[Path], whole: bool) -> str:
    """Returns the number of images of a folder, or of training examples, and of each class in words.

    Args:
        train: the data.
        layout: the layout of a folder.
        unread: files of the folder that cannot be read.
        whole: whether the data are images with boxes before they are split.
    """
    boxes = ""
    if layout is not None:
        left_out = set(unread)
        counts = Counter(each.label for each in layout.pictures if each.path not in left_out)
    elif train.class_names and _has_boxes(train):
        counts = Counter(train.class_names[label] for label in _classes_of_boxes(train))
        boxes = f"{train.size:,} {'images' if whole else 'images to train'} with "
    elif train.class_names and train.any_order and isinstance(train.source.labels, np.ndarray):
        counts = Counter(train.class_names[label] for label in train.source.labels)
    else:
        of_maps = (
            f" with maps of {len(train.class_names)} classes: {_listed(train.class_names)}" if _has_maps(train) else ""
        )
        return (
            f"{'' if train.size is None else f'{train.size:,} '}{'images' if of_maps else 'examples'} to train{of_maps}"
        )
    kind = "boxes" if boxes else "images" if layout is not None else "examples to train"
    shown = _listed([f"{label} {counts[label]:,}" for label in train.class_names])
    return f"{boxes}{counts.total():,} {kind} in {len(train.class_names)} classes: {shown}"


def _listed(classes: Sequence[str]) -> str:
    """Returns the first classes in words, and the number of the rest."""
    more = [f"{len(classes) - MOST_CLASSES} classes more"] if len(classes) > MOST_CLASSES else []
    return ", ".join([*classes[:MOST_CLASSES], *more])


def _classes_of_boxes(data: Dataset) -> np.ndarray:
    """Returns the class of each box of some images, (N,)."""
    classes = data.source.labels["classes"]
    return np.asarray(getattr(classes, "values", classes)).ravel()


def calibration_data(data: str | None, images: Path | None = None, task: str = "") -> Dataset | None:
    """Reads the data that calibrate an exported file: those that `finetune` learns from, so that others can judge it.

    Args:
        data: a folder, or a name for `kerasdl.data.load`; None reads none, and returns None.
        images: folder of the images of annotation files of boxes; None is where these say.
        task: the task of the bundle that is exported.

    Raises:
        DataError: the data cannot be read.
        UnknownNameError: there is no such dataset.
    """
    if data is None:
        return None
    name = data_name(data)
    loaded = kerasdl.data.load(name, "train", images=images, labels=labels_for(task, name))
    return unsplit_parts(loaded)[0] if splits_of_boxes(name) == () else loaded
