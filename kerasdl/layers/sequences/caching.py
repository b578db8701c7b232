"""Cache of keys or values of a decoder that writes token after token: places of fixed number, one written at a time."""

from typing import Any

import keras
from keras import ops

from kerasdl.core import checks


@keras.saving.register_keras_serializable("kerasdl")
class CacheWrite(keras.layers.Layer):
    """Cache with one place of each sequence replaced, of a size that does not grow.

    Input:
        [cache (B, P, N, H), entry (B, 1, N, H), position (B,) integers from 0 to P - 1]; at another position nothing
        is written.

    Returns:
        The next cache (B, P, N, H), of the cache's dtype.

    Example:
        >>> CacheWrite()([np.zeros((1, 3, 1, 1)), np.ones((1, 1, 1, 1)), np.array([1])]).numpy().ravel()
        array([0., 1., 0.], dtype=float32)
    """

    def call(self, inputs):
        cache, entry, position = inputs
        written = ops.arange(ops.shape(cache)[1], dtype="int32")[None] == ops.cast(position, "int32")[:, None]  # (B, P)
        return ops.where(written[:, :, None, None], ops.cast(entry, cache.dtype), cache)

    def compute_output_spec(self, inputs):
        return keras.KerasTensor(inputs[0].shape, dtype=inputs[0].dtype)


@keras.saving.register_keras_serializable("kerasdl")
class CachePlaces(keras.layers.Layer):
    """Places of a cache, and those that a token at a position may see: its own and all before.

    Args:
        places: P, the places of the cache.

    Input:
        (B,) integers, the position of each token.

    Returns:
        Places 0, 1, ... (B, P) in int32, and booleans (B, P).

    Raises:
        ArgumentError: `places` is below 1.

    Example:
        >>> CachePlaces(3)(np.array([1]))[1].numpy()
        array([[ True,  True, False]])
    """

    def __init__(self, places: int, **kwargs: Any):
        super().__init__(autocast=False, **kwargs)
        self.places = checks.at_least("places", places, 1)

    def call(self, inputs):
        position = ops.cast(inputs, "int32")[:, None]
        places = ops.zeros_like(position) + ops.arange(self.places, dtype="int32")[None]
        return places, places <= position

    def compute_output_spec(self, inputs):
        shape = (inputs.shape[0], self.places)
        return keras.KerasTensor(shape, dtype="int32"), keras.KerasTensor(shape, dtype="bool")

    def get_config(self):
        return {**super().get_config(), "places": self.places}
