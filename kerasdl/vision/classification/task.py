"""Image classification task: one label per image."""

from collections.abc import Mapping, Sequence
from typing import Any

import keras
import numpy as np

from kerasdl.blocks import classification_task
from kerasdl.core import checks, register_task
from kerasdl.core.outputs.model_shapes import check_labels, input_shape_of
from kerasdl.data import prepare_images
from kerasdl.data.image_files import check_levels
from kerasdl.data.letterboxing import GREY, place_in

MAX_SIDE = 8192


def check_images(settings: Mapping[str, Any], labels: Sequence[str], model: keras.Model) -> None:
    """Checks preprocessing settings and labels against a model; raises `ArgumentError`."""
    check_image_settings(settings, model)
    check_labels(labels, model)


def check_image_settings(settings: Mapping[str, Any], model: keras.Model, *, boxed: bool = False) -> None:
    """Checks preprocessing settings against the image input of a model; raises `ArgumentError`.

    Args:
        settings: the settings.
        model: a model of one image.
        boxed: whether the task knows letterboxes.
    """
    if checks.one_of("letterbox", settings.get("letterbox", False), (False, True)) and not boxed:
        checks.refuse("letterbox is for detectors; models of other tasks take stretched images", True)
    input_shape = input_shape_of(model)
    shape = checks.image_shape("image_shape", settings.get("image_shape"))
    fits = len(input_shape) == 3 and all(side in (None, size) for side, size in zip(input_shape, shape, strict=True))
    if None in shape or max(shape) > MAX_SIDE or not fits:
        checks.refuse(f"image_shape must fit the model's input {input_shape}, sides known, up to {MAX_SIDE}", shape)
    scale = settings.get("scale")
    if not isinstance(scale, (list, tuple)) or len(scale) != 2:
        checks.refuse("scale must be the values of the pixel levels 0 and 255", scale, "Such as (-1, 1).")
    for bound in scale:
        values = bound if isinstance(bound, (list, tuple)) else [bound]
        if len(values) not in (1, shape[2]):
            checks.refuse(f"a bound of scale must be a number, or one for each of the {shape[2]} channels", bound)
        for value in values:
            checks.within("a value of scale", value, -1e6, 1e6)
    check_levels(settings.get("levels"))


def prepared(raw: Any, settings: Mapping[str, Any]) -> tuple[np.ndarray, None]:
    """Returns raw images as input of the model, and no context."""
    shape, scale = tuple(settings["image_shape"]), tuple(settings["scale"])
    return prepare_images(raw, shape, scale, levels=settings.get("levels")), None


def preparing_layers(settings: Mapping[str, Any], raw_shape: tuple) -> list[keras.Layer]:
    """Returns layers that do the same inside a graph, for raw images of one shape."""
    height, width, channels = settings["image_shape"]
    rule = f"a raw image must be (height, width, {channels}), all known"
    whole = all(isinstance(size, int) and size > 0 for size in raw_shape)
    if len(raw_shape) != 3 or raw_shape[2] != channels or not whole:
        checks.refuse(rule, raw_shape)
    low, high = (np.asarray(bound, float) for bound in settings["scale"])
    factor, layers = (high - low) / 255.0, []
    place = place_in(raw_shape[:2], (height, width), settings.get("letterbox", False))
    if tuple(raw_shape[:2]) != place[:2]:
        # The filter of `prepare_images`, which also rounds to whole levels after the columns and after the rows.
        layers.append(keras.layers.Resizing(*place[:2], antialias=True, name="resize"))
    if place[:2] != (height, width):  # borders are padded with zeros, so grey is brought to zero before
        borders = ((place.top, height - place.height - place.top), (place.left, width - place.width - place.left))
        layers.append(keras.layers.Rescaling(1.0, offset=float(-GREY), name="grey_as_zero"))
        layers.append(keras.layers.ZeroPadding2D(borders, name="borders"))
        low = low + GREY * factor
    return [*layers, keras.layers.Rescaling(factor.tolist(), offset=low.tolist(), name="rescale")]


def _example(model: keras.Model, batch: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    shape = [32 if side is None else side for side in model.input_shape[1:]]
    images = rng.uniform(-1.0, 1.0, (batch, *shape)).astype("float32")
    return images, rng.integers(0, model.output_shape[-1], batch).astype("int32")


register_task(
    classification_task(
        "image_classification",
        module=__name__,
        check=check_images,
        preprocess=prepared,
        preprocess_layers=preparing_layers,
        example=_example,
        summary="names what an image shows",
    )
)
