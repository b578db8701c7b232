"""Data of any form as what a bundle's model takes."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from kerasdl.core import checks
from kerasdl.core.task import Task
from kerasdl.data import Dataset, as_dataset, load

SAMPLES = 256


def ready_data(data: Any, split: str, task: Task, settings: Mapping[str, Any], labels: tuple[str, ...]) -> Dataset:
    """Returns data resized, scaled or standardised by the settings of a bundle.

    Raises:
        ArgumentError: arrays whose labels are not among those named.
    """
    if isinstance(data, tuple):
        inputs, targets = data
        known = set(range(len(labels)))
        if labels and not set(np.unique(targets)) <= known:
            checks.refuse(f"labels must be whole numbers from 0 to {len(labels) - 1}", sorted(set(targets))[:12])
        inputs = task.preprocess(inputs, settings)
        return as_dataset((inputs, targets), name="arrays", task=task.name, class_names=labels)
    dataset = load(data, split) if isinstance(data, str) else as_dataset(data)
    if dataset.task not in ("unknown", task.name):
        checks.refuse(f"data must be of the task {task.name}", f"{dataset.name}: {dataset.task}")
    if dataset.images:
        return dataset.prepared(tuple(settings["image_shape"]), tuple(settings["scale"]))
    return dataset


def labelled(data: Any) -> Any:
    """Returns data as they are, and inputs that come alone (an array or a list) with labels of zero."""
    if isinstance(data, (str, tuple, Dataset, tf.data.Dataset)):
        return data
    return data, np.zeros(len(data), np.int32)


def draw_samples(dataset: Dataset, raw_shape: tuple | None) -> np.ndarray:
    """Returns a few hundred inputs drawn over all classes: ready for the model, or raw pixels of `raw_shape`.

    Raises:
        ArgumentError: raw pixels are asked of data that hold none.
    """
    if raw_shape is not None:
        if not dataset.images:
            checks.refuse("with raw_shape=, representative must be images by name or Dataset", dataset.name)
        dataset = dataset.prepared(tuple(raw_shape), None)
    return dataset.sample(SAMPLES).arrays()[0]


def public_name(name: str) -> str:
    """Returns a dataset's name without the folders above it: a card is meant to be shared."""
    kind, is_path, path = name.partition(":")
    return f"{kind}:{Path(path).name}" if is_path else name
