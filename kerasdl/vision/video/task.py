"""Video classification task: one label for a clip of frames."""

from collections.abc import Mapping, Sequence
from typing import Any

import keras
import numpy as np

from kerasdl.blocks import classification_task
from kerasdl.core import checks, register_task
from kerasdl.core.outputs.model_shapes import check_labels, input_shape_of

LIMIT = 2**28
"""Numbers of a clip at most."""


def clip_shape(name: str, value: Any) -> tuple[int, int, int, int]:
    """Returns `(frames, height, width, channels)`.

    Raises:
        ArgumentError: they are not four positive integers, or a clip is beyond the limit.
    """
    shape = checks.counts(name, value)
    if len(shape) != 4 or np.prod(shape, dtype=np.float64) > LIMIT:
        checks.refuse(f"{name} must be (frames, height, width, channels), up to {LIMIT} numbers", shape)
    return shape


def _check(settings: Mapping[str, Any], labels: Sequence[str], model: keras.Model) -> None:
    shape = clip_shape("clip_shape", settings.get("clip_shape"))
    if input_shape_of(model) != shape:
        checks.refuse(f"clip_shape must be the model's input {input_shape_of(model)}", shape)
    scale = settings.get("scale")
    if not isinstance(scale, (list, tuple)) or len(scale) != 2:
        checks.refuse("scale must be the values of the pixel levels 0 and 255", scale, "Such as (-1, 1).")
    for value in scale:
        checks.within("a value of scale", value, -1e6, 1e6)
    check_labels(labels, model)


def _preprocess(raw: Any, settings: Mapping[str, Any]) -> tuple[np.ndarray, None]:
    """Returns clips of pixel levels, uint8 (B, T, H, W, C), in the scale of the model."""
    clips, shape = np.asarray(raw), tuple(settings["clip_shape"])
    if clips.dtype != np.uint8 or clips.shape[1:] != shape:
        hint = "Cut or repeat frames, and resize them, before."
        checks.refuse(f"raw must be clips of pixels, uint8 (B, {', '.join(map(str, shape))})", clips.shape, hint)
    low, high = settings["scale"]
    return (low + clips.astype("float32") * ((high - low) / 255)).astype("float32"), None


def _preprocess_layers(settings: Mapping[str, Any], raw_shape: tuple) -> list[keras.Layer]:
    if tuple(raw_shape) != tuple(settings["clip_shape"]):
        checks.refuse(f"a raw clip must have the shape {tuple(settings['clip_shape'])}", tuple(raw_shape))
    low, high = settings["scale"]
    return [keras.layers.Rescaling((high - low) / 255, offset=low, name="rescale")]


def _example(model: keras.Model, batch: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    clips = rng.uniform(-1.0, 1.0, (batch, *model.input_shape[1:])).astype("float32")
    return clips, rng.integers(0, model.output_shape[-1], batch).astype("int32")


register_task(
    classification_task(
        "video_classification",
        module=__name__,
        check=_check,
        preprocess=_preprocess,
        preprocess_layers=_preprocess_layers,
        example=_example,
        summary="names what happens in a clip",
    )
)
