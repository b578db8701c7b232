"""Decoding layer of a segmenter: logits to the class of each pixel of the image, for exported files."""

from collections.abc import Mapping
from typing import Any

import keras
import numpy as np
from keras import ops

from kerasdl.core import checks

from .logits_of_pixels import scores_of

EQUAL_SHARE = 0.999
"""Share of pixels of which a file must give the class of the model; two classes may be as good as equal in the rest."""


@keras.saving.register_keras_serializable("kerasdl")
class PixelDecoder(keras.layers.Layer):
    """Decoder of logits: probabilities, resized to the image, and of each pixel the likeliest class.

    Args:
        image_size: (height, width) of the image in pixels, to which probabilities are resized, bilinear with half-pixel
            centres; None keeps the size of the logits.

    Input:
        Logits (B, h, w, K); one channel is a foreground.

    Returns:
        A dict of `classes` (B, H, W) int32, and `scores` (B, H, W), the probability of each pixel's class.

    Raises:
        ArgumentError: the image size breaks its rule.

    Example:
        >>> PixelDecoder((40, 60))(np.zeros((1, 16, 16, 4), "float32"))["classes"].shape
        TensorShape([1, 40, 60])
    """

    def __init__(self, image_size=None, *, name=None, dtype=None, trainable=False):
        super().__init__(name=name, dtype=dtype, trainable=trainable)
        self.image_size = None if image_size is None else tuple(checks.counts("image_size", tuple(image_size)))

    def build(self, input_shape):
        self.built = True

    def call(self, logits):
        scores = scores_of(logits)
        if self.image_size is not None and self.image_size != tuple(scores.shape[1:3]):
            scores = ops.image.resize(scores, self.image_size, interpolation="bilinear")
        if scores.shape[-1] == 1:
            classes = ops.cast(scores[..., 0] > 0.5, "int32")
            return {"classes": classes, "scores": ops.maximum(scores[..., 0], 1 - scores[..., 0])}
        return {"classes": ops.cast(ops.argmax(scores, axis=-1), "int32"), "scores": ops.max(scores, axis=-1)}

    def in_order_of(self, expected: Mapping[str, Any], actual: Mapping[str, Any]) -> dict[str, np.ndarray]:
        """Returns outputs without the classes of few pixels that differ: there two of them are as good as equal.

        Args:
            expected: classes and scores of a batch, as NumPy arrays.
            actual: others of the same shapes.

        Returns:
            The second ones, with the first one's classes in each image where less than 0.1 % of the pixels differ.
        """
        classes = np.array(actual["classes"])
        few = (classes == expected["classes"]).mean(axis=(1, 2)) >= EQUAL_SHARE
        classes[few] = expected["classes"][few]
        return {**actual, "classes": classes}

    def get_config(self):
        return {**super().get_config(), "image_size": self.image_size}
