"""Logits of the pixels of images: their form, their probabilities, and the classes that these choose."""

from collections.abc import Mapping
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from keras import ops

from kerasdl.core import checks
from kerasdl.core.outputs.activation import output_activations


def checked_logits(network: keras.Model, valid: bool) -> tuple:
    """Returns the shape of a network's logits; raises `ArgumentError` for a network of another form."""
    if len(network.inputs) != 1 or len(network.inputs[0].shape) != 4:
        checks.refuse("a segmenter must take one batch of images", [tuple(each.shape) for each in network.inputs])
    outputs = network.output
    if isinstance(outputs, Mapping) and set(outputs) != {"logits", "auxiliary"}:
        checks.refuse("outputs of a segmenter must be logits, and auxiliary where it has them", sorted(outputs))
    if any(each.gives_probabilities for each in output_activations(network)):
        hint = "Leave the softmax or sigmoid out: losses, predict and exported files apply it."
        checks.refuse("outputs of a segmenter must be logits", "probabilities", hint)
    shape = tuple(main_logits(outputs).shape)
    if len(shape) != 4:
        checks.refuse("logits of a segmenter must be (B, H, W, K)", shape)
    sides = list(zip(shape[1:3], network.input_shape[1:3], strict=True))
    if not valid and any(None not in pair and pair[0] != pair[1] for pair in sides):
        hint = "Resize them by kerasdl.layers.ResizeLike; or pass valid=True where they are of the middle of the image."
        checks.refuse(
            f"logits of a segmenter must have the size of its images, {network.input_shape[1:3]}", shape, hint
        )
    if valid and any(None in pair or pair[0] > pair[1] or (pair[1] - pair[0]) % 2 for pair in sides):
        checks.refuse("logits of the middle of an image must have known sides, an even number of pixels less", shape)
    return shape


def main_logits(outputs: Any) -> Any:
    """Returns the logits of a network's outputs, which may have auxiliary ones beside."""
    return outputs["logits"] if isinstance(outputs, Mapping) else outputs


def scores_of(logits: Any, multi_label: bool = False) -> Any:
    """Returns the probabilities of logits (B, H, W, K): a softmax over classes, or the sigmoid of each by itself."""
    logits = ops.cast(logits, "float32")
    return ops.sigmoid(logits) if multi_label or logits.shape[-1] == 1 else ops.softmax(logits)


def resized_scores(scores: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Returns probabilities (B, h, w, K) in another (height, width), bilinear with half-pixel centres."""
    return scores if scores.shape[1:3] == tuple(size) else np.asarray(tf.image.resize(scores, size))


def chosen_classes(scores: np.ndarray) -> np.ndarray:
    """Returns the likeliest class (H, W) of probabilities (H, W, K); of a foreground 1 above one half."""
    chosen = scores[..., 0] > 0.5 if scores.shape[-1] == 1 else scores.argmax(axis=-1)
    return chosen.astype("uint8" if scores.shape[-1] <= 256 else "uint16")
