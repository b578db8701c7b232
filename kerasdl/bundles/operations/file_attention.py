"""Places that an exported file looks at, beside those of its bundle: occlusion through the file's own runtime."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from kerasdl.core import checks
from kerasdl.core.outputs.decoding import softmax
from kerasdl.data import prepare_images
from kerasdl.data.images import scale_pixels
from kerasdl.deploy import read_metadata
from kerasdl.explain import rank_correlation
from kerasdl.explain.occlusions import falls_of

from ..format.calibration_part import check_classifier
from .file_evaluation import MeasuredFile

HIDDEN = 128
"""Level of a hidden pixel."""


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
    """(B, H, W): how far the logarithm of the score falls where a square is hidden, in the file."""
    of_bundle: np.ndarray
    """(B, H, W): the same in the bundle."""
    answers: np.ndarray
    """(B, 2) classes that the bundle and the file name."""


def compare_attention(
    path: str | os.PathLike, images: Any, bundle: Any, *, size: int | None = None
) -> AttentionComparison:
    """Returns where an exported file looks, and where its bundle does, by occlusion.

    A file has no gradients; hiding squares of the image works in every runtime. Source:
    https://arxiv.org/abs/1311.2901, section 4.2.

    Args:
        path: a .tflite or .onnx file of a classifier of images.
        images: raw images, as `Bundle.predict` takes them.
        bundle: the `Bundle` that the file was exported from.
        size: side of the hidden square in pixels of the input; None takes a quarter of the shorter side.

    Returns:
        Maps of both, and their rank correlation for each image.

    Raises:
        ArgumentError: the bundle is no classifier of images, the file is of another kind, or `size` does not fit.
        DataError: an image cannot be read.

    Example:
        >>> bundle = kerasdl.load_bundle("digits_mobilenet")
        >>> report = bundle.export("digits.tflite")
        >>> compare_attention("digits.tflite", np.zeros((1, 8, 8, 1), "uint8"), bundle).of_file.shape
        (1, 32, 32)
    """
    path = Path(path)
    check_classifier(bundle.task, bundle.model, "compare_attention")
    file = MeasuredFile(path, read_metadata(path), bundle)
    pixels = prepare_images(images, file.shape, None, levels=bundle.preprocess.get("levels"))
    size = max(1, min(pixels.shape[1:3]) // 4) if size is None else checks.at_least("size", size, 1)
    if size > min(pixels.shape[1:3]):
        checks.refuse(f"size must be at most the shorter side of {pixels.shape[1:3]}", size)
    scale = tuple(bundle.preprocess["scale"])

    def of_bundle(levels: np.ndarray) -> np.ndarray:
        return _logs(np.asarray(bundle.model(scale_pixels(levels, scale), training=False)))

    def of_file(levels: np.ndarray) -> np.ndarray:
        (outputs,) = file.run(levels.astype("float32") if file.is_raw else scale_pixels(levels, scale)).values()
        return _logs(outputs)

    chosen = of_bundle(pixels).argmax(axis=1)
    maps = [
        falls_of(_of_classes(logs, chosen), pixels, size, max(1, size // 2), HIDDEN) for logs in (of_file, of_bundle)
    ]
    answers = np.stack([chosen, of_file(pixels).argmax(axis=1)], axis=1)
    return AttentionComparison(rank_correlation(*maps), *maps, answers)


def _of_classes(logs: Callable, chosen: np.ndarray) -> Callable:
    return lambda levels: logs(levels)[np.arange(len(levels)), chosen]


def _logs(outputs: np.ndarray) -> np.ndarray:
    """Returns logarithms of probabilities, from logits or from probabilities."""
    outputs = np.asarray(outputs, float)
    is_probability = outputs.min() >= 0 and np.allclose(outputs.sum(axis=-1), 1, atol=0.05)
    return np.log(np.maximum(outputs if is_probability else softmax(outputs), 1e-6))
