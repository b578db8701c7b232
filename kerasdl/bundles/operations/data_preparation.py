"""Data preparation of a bundle: data of any form as input of its model."""

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from kerasdl.core import checks
from kerasdl.core.registry.tasks import Task
from kerasdl.data import Dataset, as_dataset, load

SAMPLES = 256


def ready_data(
    data: Any,
    split: str,
    task: Task,
    settings: Mapping[str, Any],
    labels: tuple[str, ...],
    own_labels: tuple[str, ...] = (),
) -> Dataset:
    """Returns data resized, scaled or standardised by the settings of a bundle.

    Args:
        data: data as in `Bundle.ready`.
        split: the split of data by name.
        task: the bundle's task.
        settings: settings of its preprocessing.
        labels: names of the classes, for data without names; empty for those of the bundle.
        own_labels: labels of the bundle.

    Raises:
        ArgumentError: the data are of another task or form, or have other classes than named.
    """
    if isinstance(data, (tuple, list)):
        if len(data) not in (2, 3):
            checks.refuse("data must be (inputs, labels) or (inputs, labels, weights)", f"{len(data)} parts")
        parts = (task.preprocess(data[0], settings)[0], _texts(data[1]), *data[2:])
        return as_dataset(parts, name="arrays", task=task.name, class_names=labels or own_labels)
    if isinstance(data, tf.data.Dataset):
        return as_dataset(data, class_names=labels)
    if isinstance(data, str):
        levels = settings.get("levels") if data.startswith("folder:") else None
        data = load(data, split, levels=levels)
    dataset = _named(as_dataset(data), labels)
    if dataset.task not in ("unknown", task.name):
        checks.refuse(f"data must be of the task {task.name}", f"{dataset.name}: {dataset.task}")
    if dataset.images:
        return dataset.prepared(tuple(settings["image_shape"]), tuple(settings["scale"]))
    return dataset


def with_levels(settings: Mapping[str, Any], data: Dataset) -> dict[str, Any]:
    """Returns preprocessing settings with the white level of 16-bit files from the training data."""
    return {**settings, "levels": data.levels} if data.levels else dict(settings)


def _named(dataset: Dataset, labels: tuple[str, ...]) -> Dataset:
    """Returns a dataset whose numbered classes are renamed to `labels`; refuses other names."""
    numbers = tuple(map(str, range(len(dataset.class_names))))
    if not labels or labels == dataset.class_names:
        return dataset
    if dataset.class_names not in ((), numbers[: len(labels)]):
        rule = f"labels must name the classes of {dataset.name}, {dataset.class_names}, in that order"
        checks.refuse(rule, labels, "Leave labels= out: the data name their own.")
    return dataclasses.replace(dataset, class_names=labels)


def _texts(targets: Any) -> np.ndarray:
    """Returns labels as an array; texts in an object array become an array of texts."""
    targets = np.asarray(targets)
    is_text = targets.dtype == object and all(isinstance(each, str) for each in targets.ravel())
    return targets.astype(str) if is_text else targets


def labelled(data: Any) -> Any:
    """Returns data with labels; inputs without labels (an array or a list) get zeros."""
    if isinstance(data, (str, tuple, Dataset, tf.data.Dataset)):
        return data
    return data, np.zeros(len(data), np.int32)


def draw_samples(dataset: Dataset, raw_shape: tuple | None) -> np.ndarray:
    """Returns up to 256 inputs drawn over all classes, prepared for the model, or raw pixels of `raw_shape`.

    Raises:
        ArgumentError: raw pixels are required, but the data hold none.
    """
    if raw_shape is not None:
        if not dataset.images:
            checks.refuse("with raw_shape=, representative must be images by name or Dataset", dataset.name)
        dataset = dataset.prepared(tuple(raw_shape), None)
    return dataset.sample(SAMPLES).arrays()[0]


def public_name(name: str) -> str:
    """Returns a dataset's name without parent folders, since a card is public."""
    kind, is_path, path = name.partition(":")
    return f"{kind}:{Path(path).name}" if is_path else name
