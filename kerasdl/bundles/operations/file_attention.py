"""Places that an exported file looks at, beside those of its bundle: hidden squares, Score-CAM, or Grad-CAM."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from kerasdl.core import checks
from kerasdl.core.outputs.decoding import softmax
from kerasdl.data import prepare_images
from kerasdl.data.images import scale_pixels
from kerasdl.deploy import quantize_aware, read_metadata
from kerasdl.deploy.quantization.last_maps import maps_and_outputs
from kerasdl.deploy.tflite import flatbuffer
from kerasdl.explain import grad_cam, rank_correlation
from kerasdl.explain.class_activation_maps import (
    gradients_of_maps,
    spatial_maps,
    weighed_by_gradients,
    weighed_by_scores,
)
from kerasdl.explain.occlusions import falls_of

from ..format.calibration_part import check_classifier
from .data_preparation import draw_samples, representative_data
from .file_evaluation import MeasuredFile

HIDDEN = 128
"""Level of a hidden pixel."""
METHODS = ("occlusion", "score_cam", "grad_cam")


class AttentionComparison(NamedTuple):
    """Places that decide in a file and in its bundle, for the class that the bundle names.

    Example:
        >>> bundle = kerasdl.load_bundle("digits_mobilenet")
        >>> report = bundle.export("digits.tflite")
        >>> images = [np.asarray(image) for image, _ in kerasdl.data.load("digits", "test", scale=None)[:2]]
        >>> compare_attention("digits.tflite", images, bundle).correlations.min() > 0.99
        np.True_
    """

    correlations: np.ndarray
    """(B,) rank correlation of the two maps; 1 where file and bundle look at the same places."""
    of_file: np.ndarray
    """(B, H, W): the map of the file. Of occlusion it is how far the logarithm of the score falls."""
    of_bundle: np.ndarray
    """(B, H, W): the same of the bundle."""
    answers: np.ndarray
    """(B, 2) classes that the bundle and the file name."""


def compare_attention(
    path: str | os.PathLike,
    images: Any,
    bundle: Any,
    *,
    method: str = "occlusion",
    size: int | None = None,
    representative: Any = None,
) -> AttentionComparison:
    """Returns where an exported file looks, and where its bundle does.

    A file has no gradients. `occlusion` (https://arxiv.org/abs/1311.2901, section 4.2) hides squares, and `score_cam`
    (https://arxiv.org/abs/1910.01279) all but what a channel of the bundle's last maps shows; both read the scores of
    the file from its own runtime. `grad_cam` (https://arxiv.org/abs/1610.02391) is for int8 files: it takes the
    gradients of the network that rounds as the file does, whose ranges are those of training, or are set anew.

    Args:
        path: a .tflite or .onnx file of a classifier of images.
        images: raw images, as `Bundle.predict` takes them.
        bundle: the `Bundle` that the file was exported from.
        method: occlusion, score_cam or grad_cam.
        size: with occlusion, side of the hidden square in pixels of the input; None takes a quarter of the shorter
            side.
        representative: with grad_cam, the data that calibrated the file, as `Bundle.export` takes them; a bundle of
            quantization-aware training needs none.

    Returns:
        Maps of both, and their rank correlation for each image.

    Raises:
        ArgumentError: the bundle is no classifier of images, the file is of another kind, or an argument does not fit.
        DataError: an image cannot be read.

    Example:
        >>> bundle = kerasdl.load_bundle("digits_mobilenet")
        >>> report = bundle.export("digits.tflite")
        >>> compare_attention("digits.tflite", np.zeros((1, 8, 8, 1), "uint8"), bundle).of_file.shape
        (1, 32, 32)
    """
    path = Path(path)
    checks.one_of("method", method, METHODS)
    check_classifier(bundle.task, bundle.model, "compare_attention")
    if size is not None and method != "occlusion":
        checks.refuse("size is for occlusion", f"size={size} with {method}")
    if representative is not None and method != "grad_cam":
        checks.refuse("representative is for grad_cam", f"representative with {method}")
    file = MeasuredFile(path, read_metadata(path), bundle)
    pixels = prepare_images(images, file.shape, None, levels=bundle.preprocess.get("levels"))
    scale = tuple(bundle.preprocess["scale"])

    def of_bundle(levels: np.ndarray) -> np.ndarray:
        return _logs(np.asarray(bundle.model(scale_pixels(levels, scale), training=False)))

    def of_file(levels: np.ndarray) -> np.ndarray:
        (outputs,) = file.run(levels.astype("float32") if file.is_raw else scale_pixels(levels, scale)).values()
        return _logs(outputs)

    chosen = of_bundle(pixels).argmax(axis=1)
    answers = np.stack([chosen, of_file(pixels).argmax(axis=1)], axis=1)
    scores = [_of_classes(logs, chosen) for logs in (of_file, of_bundle)]
    if method == "occlusion":
        maps = _by_squares(scores, pixels, size)
    elif method == "score_cam":
        channels = spatial_maps(bundle.model, scale_pixels(pixels, scale))
        levels = tf.constant(pixels, "float32")
        maps = [weighed_by_scores(_of_levels(score), channels, levels, HIDDEN) for score in scores]
    else:
        prepared = scale_pixels(pixels, scale)
        rounded = _rounding(bundle, path, representative)
        maps = [_grad_cam_through(rounded, prepared, chosen), grad_cam(bundle.model, prepared, chosen)]
        others = int((rounded.predict(prepared).argmax(axis=1) != answers[:, 1]).sum())
        if others:
            rule = f"{path.name} names other classes for {others} of {len(chosen)} images than the network that rounds"
            checks.warn(
                f"{rule}, whose gradients are shown: was it exported from this bundle, by these data?", UserWarning
            )
    return AttentionComparison(rank_correlation(*maps), *maps, answers)


def _by_squares(scores: list[Callable], pixels: np.ndarray, size: int | None) -> list[np.ndarray]:
    size = max(1, min(pixels.shape[1:3]) // 4) if size is None else checks.at_least("size", size, 1)
    if size > min(pixels.shape[1:3]):
        checks.refuse(f"size must be at most the shorter side of {pixels.shape[1:3]}", size)
    return [falls_of(score, pixels, size, max(1, size // 2), HIDDEN) for score in scores]


def _rounding(bundle: Any, path: Path, representative: Any) -> Any:
    """Returns the network that rounds as an int8 file of a bundle does."""
    if path.suffix != ".tflite" or not flatbuffer.computes_in_int8(path.read_bytes()):
        rule = "grad_cam is for int8 .tflite files, whose rounding has a network with gradients"
        checks.refuse(rule, path.name, "score_cam takes any file.")
    if bundle.quantized is not None:
        return bundle.quantized
    if representative is None:
        rule = "grad_cam of a file sets ranges by the data that calibrated it"
        checks.refuse(rule, None, "Pass representative=, as to export; score_cam needs none.")
    return quantize_aware(
        bundle.model, draw_samples(bundle, representative_data(bundle, representative), None), epochs=0
    )


def _grad_cam_through(rounded: Any, images: np.ndarray, chosen: np.ndarray) -> np.ndarray:
    images = tf.constant(images)
    found = gradients_of_maps(lambda each: maps_and_outputs(rounded, each), images, chosen, "the last maps")
    return weighed_by_gradients(*found, images)


def _of_levels(score: Callable) -> Callable:
    """Returns a score of images between levels, which are rounded, as an app would pass them."""
    return lambda shown: score(np.rint(shown.numpy()).astype("uint8"))


def _of_classes(logs: Callable, chosen: np.ndarray) -> Callable:
    """Returns a score of images, which may come several times over, by the logarithms of all classes."""
    return lambda levels: logs(levels)[np.arange(len(levels)), np.tile(chosen, len(levels) // len(chosen))]


def _logs(outputs: np.ndarray) -> np.ndarray:
    """Returns logarithms of probabilities, from logits or from probabilities."""
    outputs = np.asarray(outputs, float)
    is_probability = outputs.min() >= 0 and np.allclose(outputs.sum(axis=-1), 1, atol=0.05)
    return np.log(np.maximum(outputs if is_probability else softmax(outputs), 1e-6))
