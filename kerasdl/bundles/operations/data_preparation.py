"""Data preparation of a bundle: data of any form as input of its model."""

import dataclasses
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from kerasdl.core import checks
from kerasdl.core.registry.tasks import Task
from kerasdl.data import Dataset, as_dataset, load
from kerasdl.data.detection import letterbox
from kerasdl.data.listing import dataset_name, splits_of_boxes
from kerasdl.data.resampling import unsplit_parts

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
        return _of_arrays(data, task, settings, labels or own_labels)
    if isinstance(data, tf.data.Dataset):
        return as_dataset(data, class_names=labels)
    dataset = _named(as_dataset(read_by_name(data, split, settings)), labels)
    if task.ready is not None:
        return task.ready(dataset, settings)
    if dataset.task not in ("unknown", task.name):
        checks.refuse(f"data must be of the task {task.name}", f"{dataset.name}: {dataset.task}")
    if dataset.images:
        missing = [name for name in ("image_shape", "scale") if name not in settings]
        if missing:
            rule = f"a bundle of the task {task.name} must have {missing} among its settings to prepare raw images"
            checks.refuse(rule, f"{dataset.name} and {[*settings]}", "Pass images as its model takes them.")
        return dataset.prepared(tuple(settings["image_shape"]), tuple(settings["scale"]))
    return dataset


def read_by_name(data: Any, split: str, settings: Mapping[str, Any]) -> Any:
    """Returns data by name as a raw `Dataset`, with the white level of these settings; other data as they are."""
    if not isinstance(data, (str, os.PathLike)):
        return data
    levels = settings.get("levels") if dataset_name(data).startswith("folder:") else None
    return load(data, split, levels=levels)


def _of_arrays(data: Sequence[Any], task: Task, settings: Mapping[str, Any], labels: tuple[str, ...]) -> Dataset:
    """Returns arrays (raw x, y) or (raw x, y, weights) as a dataset that is ready for the model."""
    targets = keras.tree.map_structure(_texts, data[1]) if isinstance(data[1], Mapping) else _texts(data[1])
    kind = {"name": "arrays", "task": task.name, "class_names": labels}
    if task.ready is not None:
        return task.ready(as_dataset((data[0], targets, *data[2:]), **kind), settings)
    inputs, context = task.preprocess(data[0], settings)
    if context is not None:
        rule = f"labels of raw arrays must stay as they are; those of the task {task.name} follow its preprocessing"
        hint = "Give the task a `ready`, or pass a Dataset that is ready for the model."
        checks.refuse(rule, f"a context, {type(context).__name__}", hint)
    return as_dataset((inputs, targets, *data[2:]), **kind)


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


def representative_data(bundle: Any, data: Any) -> Any:
    """Returns data by name as a `Dataset`, read once, and other data as they are.

    Of files of boxes that name no splits it is the part that `kerasdl finetune` learns from, as of a folder.
    """
    if not isinstance(data, (str, os.PathLike)):
        return data
    name = dataset_name(data)
    loaded = load(name, levels=bundle.preprocess.get("levels") if name.startswith("folder:") else None)
    return unsplit_parts(loaded)[0] if splits_of_boxes(name) == () else loaded


def draw_samples(bundle: Any, data: Any, raw_shape: tuple | None) -> Any:
    """Returns up to 256 inputs drawn over all classes: prepared for the model, or raw pixels of `raw_shape`.

    Args:
        bundle: the bundle.
        data: data as `Bundle.evaluate` takes them, or raw inputs alone (an array, a list, a dict of arrays).
        raw_shape: shape of one raw image; None for inputs of the model.

    Returns:
        An array, or a tree of arrays where the model has several inputs, in the dtypes of the inputs.

    Raises:
        ArgumentError: raw pixels are required, but the data hold none, or the data do not fit.
    """
    if isinstance(data, (str, tuple, Dataset, tf.data.Dataset)):
        dataset = bundle.ready(data)
    else:
        inputs, _ = bundle.task.preprocess(data, bundle.preprocess)
        dataset = as_dataset(inputs, name="inputs", task=bundle.task.name)
    if raw_shape is not None:
        if not dataset.images:
            checks.refuse("with raw_shape=, representative must be images by name or Dataset", dataset.name)
        resize = letterbox if bundle.preprocess.get("letterbox") else Dataset.prepared
        dataset = resize(dataset, tuple(raw_shape), None)
    samples = dataset.sample(SAMPLES).arrays()[0]
    tensors = bundle.model.inputs
    if isinstance(samples, Mapping):
        dtypes = {tensor.name: tensor.dtype for tensor in tensors}
        return {name: _in_dtype(each, dtypes.get(name)) for name, each in samples.items()}
    if isinstance(samples, tuple):
        return tuple(_in_dtype(each, tensor.dtype) for each, tensor in zip(samples, tensors, strict=False))
    return _in_dtype(samples, tensors[0].dtype)


def _in_dtype(values: Any, dtype: str | None) -> Any:
    """Returns numbers in another dtype; texts, which the export refuses by name, as they are."""
    is_numbers = isinstance(values, np.ndarray) and values.dtype.kind not in "OUS"
    return values.astype(dtype) if is_numbers and dtype is not None else values


def public_name(name: str) -> str:
    """Returns a dataset's name without parent folders, since a card is public."""
    kind, is_path, path = name.partition(":")
    return f"{kind}:{Path(path).name}" if is_path else name
