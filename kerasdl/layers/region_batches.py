"""Regions of images as a batch of their own, so that layers of one image run on each region, and back."""

import keras
from keras import ops

from kerasdl.core import checks


@keras.saving.register_keras_serializable("kerasdl")
class RegionsToBatch(keras.layers.Layer):
    """Batch of all regions of all images, on which convolutions run as on images.

    Input:
        (B, R, ...), the features of R regions of each image.

    Returns:
        (B * R, ...) of the same dtype, the regions of the first image first.

    Raises:
        ArgumentError: the input has no axis of regions, or another side than the number of regions is unknown.

    Example:
        >>> RegionsToBatch()(keras.Input((100, 14, 14, 256))).shape
        (None, 14, 14, 256)
    """

    def call(self, inputs):
        return ops.reshape(inputs, (-1, *inputs.shape[2:]))

    def compute_output_shape(self, input_shape):
        if len(input_shape) < 3 or None in input_shape[2:]:
            checks.refuse("features of regions must be (B, R, ...) of known sides", tuple(input_shape))
        return (None, *input_shape[2:])


@keras.saving.register_keras_serializable("kerasdl")
class BatchToRegions(keras.layers.Layer):
    """Regions of each image, from a batch of the regions of all images: the inverse of `RegionsToBatch`.

    Input:
        Two tensors: (B * R, ...), and any of the shape (B, R, ...), of which only B and R are used.

    Returns:
        (B, R, ...) of the first one's dtype.

    Raises:
        ArgumentError: a side of the first tensor is unknown.

    Example:
        >>> BatchToRegions()([keras.Input((28, 28, 91)), keras.Input((100, 4))]).shape
        (None, 100, 28, 28, 91)
    """

    def call(self, inputs):
        regions, like = inputs
        sides = regions.shape[1:]
        if like.shape[1] is not None:
            return ops.reshape(regions, (-1, like.shape[1], *sides))
        return ops.reshape(regions, (*ops.shape(like)[:2], *sides))

    def compute_output_shape(self, input_shape):
        regions, like = input_shape
        if None in regions[1:]:
            checks.refuse("features of regions must have known sides", tuple(regions))
        return (*like[:2], *regions[1:])
