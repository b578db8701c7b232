"""Proposals without a network: sliding windows of several sizes, or a search on the host."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from keras import ops

from kerasdl.core import checks
from kerasdl.ops import anchor_boxes, are_boxes_large, clip_boxes, level_sizes

from ..method import Size
from .region_heads import RegionMethod


@dataclass(frozen=True)
class WindowMethod(RegionMethod):
    """Classes and boxes of proposals that no network makes: sliding windows, or the boxes of a search."""

    sides: tuple[float, ...] = (64.0, 128.0, 256.0)
    """Sides in pixels of the square windows."""
    ratios: tuple[float, ...] = (0.5, 1.0, 2.0)
    """Height / width of windows; the area stays."""
    step: float = 0.25
    """Distance of two windows, in their sides."""
    search: Callable[[np.ndarray], np.ndarray] | None = None
    """Function from an image (H, W, C), as the network takes it, to `xyxy` boxes (N, 4) in pixels, in place of windows,
    such as a selective search. It runs on the host, image by image, in training as in prediction."""
    most: int = 2000
    """Boxes of a search that count, the first ones of each image."""

    def proposals(self, images: Any) -> Any:
        """Returns the proposals (B, R, 4) of images (B, H, W, C) of known sides: `xyxy` boxes, 0 for none."""
        size = tuple(images.shape[1:3])
        if self.search is None:
            windows = ops.convert_to_tensor(self.windows(size))
            return ops.tile(windows[None], (ops.shape(images)[0], 1, 1))
        boxes = tf.numpy_function(self._searched, (images,), tf.float32)
        boxes = clip_boxes(tf.ensure_shape(boxes, (images.shape[0], self.most, 4)), size)
        return boxes * ops.cast(are_boxes_large(boxes, 1.0), "float32")[..., None]

    def windows(self, size: Size) -> np.ndarray:
        """Returns the (R, 4) windows of an image of (height, width), clipped to it."""
        found = [
            anchor_boxes(level_sizes(size, [stride]), [stride], [[side]], self.ratios)
            for side, stride in ((side, max(round(self.step * side), 1)) for side in self.sides)
        ]
        height, width = size
        return np.clip(np.concatenate(found), 0, np.array([width, height] * 2, "float32"))

    def _searched(self, images: np.ndarray) -> np.ndarray:
        boxes = np.zeros((len(images), self.most, 4), "float32")
        for row, image in zip(boxes, images, strict=True):
            found = np.asarray(self.search(image), "float32")
            if found.ndim != 2 or found.shape[1] != 4:
                checks.refuse("a search must return boxes (N, 4)", found.shape)
            row[: len(found)] = found[: self.most]
        return boxes


@keras.saving.register_keras_serializable("kerasdl")
class SlidingWindows(keras.layers.Layer):
    """Fixed boxes as the proposals of every image of a batch.

    Args:
        windows: R `xyxy` boxes in pixels.

    Input:
        (B, ...) of any kind, of which only the size of the batch is used.

    Returns:
        (B, R, 4) float32.

    Example:
        >>> SlidingWindows([[0, 0, 8, 8], [8, 0, 16, 8]])(keras.Input((4, 4, 1))).shape
        (None, 2, 4)
    """

    def __init__(self, windows, **kwargs):
        super().__init__(**kwargs)
        self.windows = windows

    def call(self, inputs):
        windows = ops.convert_to_tensor(np.array(self.windows, "float32"))
        return ops.tile(windows[None], (ops.shape(inputs)[0], 1, 1))

    def get_config(self):
        return {**super().get_config(), "windows": self.windows}
