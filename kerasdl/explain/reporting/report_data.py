"""Data of a report of errors: examples as they are and as a network takes them, logits, classes, pictures."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np

from kerasdl.core import checks
from kerasdl.core.outputs.activation import output_activations
from kerasdl.core.outputs.decoding import to_logits
from kerasdl.data import Dataset, as_dataset, decode_image
from kerasdl.data.pipelines import refuse_endless

LOGITS = ("linear", "log_softmax", "values outside 0 to 1")


def read_data(model: Any, network: keras.Model, data: Any, labels: Sequence[str]) -> tuple[Dataset, Dataset, tuple]:
    """Returns data as they are, the same prepared for the network, and the names of the classes."""
    if model is network:
        raw = ready = as_dataset(data)
        names = tuple(labels) or raw.class_names
    else:
        ready = model.ready(data, split="test")
        raw = data if isinstance(data, Dataset) else ready
        if labels:
            checks.refuse("labels are for a keras.Model; a bundle has its own", labels)
        names = tuple(model.labels) or ready.class_names
        if ready.class_names not in ((), names):
            hint = "Fine-tune the bundle on this data first."
            checks.refuse(f"data for a report on {model.name} must have its classes {names}", ready.class_names, hint)
    refuse_endless(f"{ready.name}, to be reported on,", ready, "Drop .repeat(), or pass data.take(n).")
    if not ready.labelled:
        checks.refuse("data for a report must have labels", ready.name)
    return raw, ready, names


def classified(
    network: keras.Model, inputs: Any, truth: Any, names: Sequence[str]
) -> tuple[np.ndarray, np.ndarray, tuple]:
    """Returns logits (N, K), true classes (N,) and a name for each class."""
    if len(network.outputs) != 1 or len(network.outputs[0].shape) != 2 or network.outputs[0].shape[-1] in (None, 1):
        shapes = [tuple(each.shape) for each in network.outputs]
        checks.refuse("a model to report on must be a classifier with one output (B, K)", shapes)
    truth = np.asarray(truth)
    if truth.ndim == 2 and truth.shape[1] == network.outputs[0].shape[-1]:  # one-hot
        if not ((truth == 0) | (truth == 1)).all() or not (truth.sum(axis=1) == 1).all():
            checks.refuse("labels must be one class an example", "several, none or soft ones")
        truth = truth.argmax(axis=1)
    truth = truth.reshape(len(truth), -1)[:, 0] if truth.size == len(truth) else truth
    classes = network.outputs[0].shape[-1]
    if truth.ndim != 1 or (truth != np.floor(truth)).any() or truth.min() < 0 or truth.max() >= classes:
        checks.refuse(f"labels must be one class an example, from 0 to {classes - 1}", f"{truth.dtype} {truth.shape}")
    outputs = np.asarray(network.predict(inputs, verbose=0))
    if not np.isfinite(outputs).all():
        checks.refuse("a model to report on must answer with finite numbers", "NaN or infinity")
    (activation,) = output_activations(network)
    is_sum_one = outputs.min() >= 0 and np.abs(outputs.sum(axis=1) - 1.0).max() < 1e-3
    if activation.kind in LOGITS or (activation.kind is None and not is_sum_one):
        kind = "logits"
    elif is_sum_one and activation.kind in ("softmax", None):
        kind = "probabilities"
    else:
        checks.refuse("a model to report on must give logits or softmax probabilities", activation.kind)
    if names and len(names) != classes:
        checks.refuse(f"labels must be names of the {classes} classes", len(names))
    names = tuple(names) or tuple(map(str, range(classes)))
    return np.asarray(to_logits(outputs, "softmax", kind), float), truth.astype(int), names


def checked_slices(slices: Mapping[str, Sequence[Any]], count: int) -> dict[str, np.ndarray]:
    """Returns the values of each slice, one for each example."""
    found = {name: np.asarray(values) for name, values in slices.items()}
    for name, values in found.items():
        if values.shape != (count,):
            checks.refuse(f"a slice must have one value for each of the {count} examples", f"{name} {values.shape}")
    return {name: values.astype(str) if values.dtype.kind == "O" else values for name, values in found.items()}


def are_images(inputs: Any) -> bool:
    """Returns whether inputs are images (B, H, W, 1 or 3)."""
    return isinstance(inputs, np.ndarray) and inputs.ndim == 4 and inputs.shape[-1] in (1, 3)


class Pictures:
    """Images of a dataset as uint8 (H, W, 1 or 3), by place."""

    def __init__(self, data: Dataset):
        self.data, self.pixels = data, None
        if data.any_order and data.images:
            return
        pixels = np.asarray(data.arrays()[0])
        if pixels.dtype != np.uint8:
            low, high = pixels.min(), pixels.max()
            pixels = ((pixels - low) / max(high - low, 1e-12) * 255).round().astype("uint8")
        self.pixels = pixels

    def __len__(self) -> int:
        return len(self.data.source.inputs if self.pixels is None else self.pixels)

    def __getitem__(self, place: int) -> np.ndarray:
        if self.pixels is not None:
            return self.pixels[place]
        raw = self.data.source.inputs[place]
        image = decode_image(raw, levels=self.data.levels) if isinstance(raw, Path) else np.asarray(raw)
        return image[..., None] if image.ndim == 2 else image
