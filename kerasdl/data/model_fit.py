"""Check of a dataset against a model's inputs, and a warning of pixels that were not scaled for it."""

from typing import Any

import keras
import numpy as np
import tensorflow as tf

from kerasdl.core import checks
from kerasdl.core.data_fit import check_fits
from kerasdl.core.errors import DataError
from kerasdl.core.keras_graph import all_layers
from kerasdl.core.registry.index import load_index

from .dataset import Dataset
from .folders.reader import DataWarning
from .trees import unpacked

SCALED = 10.0
"""Greatest value of scaled pixels, with room: the mean and deviation of ImageNet give at most 2.64."""
LEVELS = (128.0, 255.0)
"""Range of the greatest value of pixels that are surely raw, for a net of which nothing is known."""
LOOKED_AT = 64
SCALING = (keras.layers.Rescaling, keras.layers.Normalization)
# Layers without weights that leave the size of the values, and layers whose first weights suffer from it.
LEAVING = (
    keras.layers.InputLayer,
    keras.layers.Flatten,
    keras.layers.Reshape,
    keras.layers.Resizing,
    keras.layers.ZeroPadding2D,
    keras.layers.RandomFlip,
    keras.layers.RandomRotation,
    keras.layers.RandomTranslation,
    keras.layers.RandomZoom,
)
SUFFERING = (keras.layers.Conv2D, keras.layers.Dense, keras.layers.DepthwiseConv2D, keras.layers.SeparableConv2D)


def check_dataset_fits(model: Any, data: Dataset) -> None:
    """Checks that a model takes the inputs of a dataset; see `kerasdl.core.data_fit.check_fits`.

    Args:
        model: a Keras model.
        data: the dataset; of arrays the values of integer inputs are checked too.

    Raises:
        ArgumentError: an input is missing, or its shape, dtype or token ids do not fit.
        DataError: the images differ in size and no shape was requested.

    Example:
        >>> check_dataset_fits(model, as_dataset((x, y)))
    """
    spec, tensors = data.spec[0], getattr(model, "inputs", None) or ()
    if isinstance(spec, tf.RaggedTensorSpec) and len(tensors) == 1 and len(tensors[0].shape) == 4:
        hint = "Pass uint8 images in a Dataset with image_shape=, or resize them and their boxes first."
        raise DataError(f"the images of {data.name} differ in size and batches need one. {hint}")
    check_fits(model, spec, name=data.name)
    if data.any_order and not data.images:
        check_fits(model, data.source.inputs, name=data.name)


def warn_of_raw_pixels(model: Any, data: Dataset, *, targets: bool = False) -> None:
    """Warns of images with levels from 0 to 255 for a net that takes them as they are.

    Registered nets take values from -1 to 1. Other nets learn slower from large values, if at all. Nets with a
    `Rescaling` or `Normalization` before their first weights scale the levels themselves; of a net whose first layers
    are not known to leave the size of the values nothing is said. Of a pipeline the first batch is read.

    Args:
        model: a Keras model.
        data: the dataset.
        targets: whether its targets are looked at, which the net takes too, in place of its inputs.

    Example:
        >>> warn_of_raw_pixels(model, as_dataset((x, y)))
    """
    is_ours = _takes_scaled_images(model)
    if not is_ours and not _takes_images_as_they_are(model):
        return
    pixels = first_targets(data) if targets else first_inputs(data)
    if pixels is None or not pixels.size or pixels.min() < 0 or pixels.max() <= SCALED:
        return
    if not is_ours and not LEVELS[0] <= pixels.max() <= LEVELS[1]:
        return
    takes = "takes values from -1 to 1" if is_ours else "has no layer that scales them: nets learn best from -1 to 1"
    rule = f"{data.name} has pixels up to {pixels.max():.4g}, and {model.name} {takes}"
    remedy = "Map them by keras.layers.Rescaling(1 / 127.5, offset=-1), or read the images by kerasdl.data.load"
    checks.warn(f"{rule}. {remedy}.", DataWarning)


def _takes_images(model: Any) -> bool:
    inputs = getattr(model, "inputs", None) or ()
    return len(inputs) == 1 and len(inputs[0].shape) == 4 and "float" in inputs[0].dtype


def _takes_images_as_they_are(model: Any) -> bool:
    """Returns whether only layers that leave the size of the values stand before the first weights of a model."""
    if not _takes_images(model) or model.inputs[0].shape[-1] not in (1, 3):
        return False
    steps = getattr(model, "operations", model.layers)  # a division, say, is no layer
    return isinstance(next((each for each in steps if not isinstance(each, LEAVING)), None), SUFFERING)


def _takes_scaled_images(model: Any) -> bool:
    if not _takes_images(model):
        return False
    builders = {each["builder"].rpartition(":")[2] for each in load_index()["models"].values()}
    if model.name not in builders:
        return False
    for layer in all_layers(model):
        if isinstance(layer, SCALING):
            return False
        if layer.weights:
            break
    return True


def first_inputs(data: Dataset) -> np.ndarray | None:
    """Returns the inputs of the first examples, of image files the bounds of their values; None without one array."""
    if data.images:
        low, high = data.scale or (0.0, 255.0)
        return np.array([np.min(low), np.max(high)])
    return _first(data, 0)


def first_targets(data: Dataset) -> np.ndarray | None:
    """Returns the targets of the first examples; None where they are no array of numbers."""
    return None if data.images else _first(data, 1)


def _first(data: Dataset, place: int) -> np.ndarray | None:
    if data.any_order:
        array = (data.source.inputs, data.source.labels)[place]
        return array[:LOOKED_AT] if isinstance(array, np.ndarray) and array.dtype.kind in "uif" else None
    if not isinstance(data.source, tf.data.Dataset):
        return None
    batch = next(iter(data.source.take(1)), None)
    array = None if batch is None else unpacked(batch)[place]
    is_numbers = isinstance(array, tf.Tensor) and (array.dtype.is_floating or array.dtype.is_integer)
    return array.numpy()[:LOOKED_AT] if is_numbers else None
