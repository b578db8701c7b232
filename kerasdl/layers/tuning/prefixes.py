"""Learned prefixes of a sequence, and the padding of masks and biases that goes with them."""

from typing import Any

import keras
from keras import ops

from kerasdl.core import checks


@keras.saving.register_keras_serializable("kerasdl")
class LearnedPrefix(keras.layers.Layer):
    """Learned prefix: prepends learned vectors to a sequence, the same for each example.

    The mask of the sequence, where it has one, counts the prefix.

    Source: prefix tuning, https://arxiv.org/abs/2101.00190, section 4; prompt tuning, https://arxiv.org/abs/2104.08691.

    Args:
        length: L, vectors, 1 or more.
        deviation: standard deviation of the vectors at first.
        seed: seed of the vectors.

    Input:
        (B, T, ...) floats, all sizes behind T known.

    Returns:
        (B, L + T, ...) of the same dtype.

    Raises:
        ArgumentError: an argument breaks its range.

    Example:
        >>> LearnedPrefix(4)(keras.Input((10, 8))).shape
        (None, 14, 8)
    """

    def __init__(self, length: int, deviation: float = 0.02, seed: int = 0, **kwargs: Any):
        super().__init__(**kwargs)
        self.length, self.seed, self.supports_masking = checks.at_least("length", length, 1), seed, True
        self.deviation = checks.within("deviation", deviation, 0.0, 100.0)

    def build(self, input_shape):
        initializer = keras.initializers.RandomNormal(stddev=self.deviation, seed=self.seed)
        shape = (1, self.length, *input_shape[2:])
        self.prefix = self.add_weight(shape=shape, initializer=initializer, name="prefix")
        self.built = True

    def call(self, inputs):
        prefix = ops.broadcast_to(self.prefix, (ops.shape(inputs)[0], *self.prefix.shape[1:]))
        return ops.concatenate([ops.cast(prefix, inputs.dtype), inputs], axis=1)

    def compute_output_shape(self, input_shape):
        batch, length, *rest = input_shape
        return (batch, None if length is None else length + self.length, *rest)

    def compute_mask(self, inputs, previous_mask=None):
        return (
            None if previous_mask is None else ops.pad(previous_mask, ((0, 0), (self.length, 0)), constant_values=True)
        )

    def get_config(self):
        return {**super().get_config(), "length": self.length, "deviation": self.deviation, "seed": self.seed}


@keras.saving.register_keras_serializable("kerasdl")
class PrefixPadding(keras.layers.Layer):
    """Padding of a mask or bias of attention for a prefix of keys: ones, or zeros, before its last axis.

    Args:
        length: L, keys of the prefix, 1 or more.
        value: number of each: 1, seen, of a mask; 0 of a bias.

    Input:
        (..., S) booleans or numbers.

    Returns:
        (..., L + S) of the same dtype.

    Raises:
        ArgumentError: `length` is below 1.

    Example:
        >>> PrefixPadding(4)(keras.Input((10,), dtype="bool")).shape
        (None, 14)
    """

    def __init__(self, length: int, value: int = 1, **kwargs: Any):
        super().__init__(autocast=False, **kwargs)
        self.length, self.value = checks.at_least("length", length, 1), checks.one_of("value", value, (0, 1))

    def call(self, inputs):
        front = ops.full((*(ops.shape(inputs)[axis] for axis in range(len(inputs.shape) - 1)), self.length), self.value)
        return ops.concatenate([ops.cast(front, inputs.dtype), inputs], axis=-1)

    def compute_output_spec(self, inputs):
        *rest, length = inputs.shape
        return keras.KerasTensor((*rest, None if length is None else length + self.length), dtype=inputs.dtype)

    def get_config(self):
        config = {key: value for key, value in super().get_config().items() if key != "autocast"}
        return {**config, "length": self.length, "value": self.value}
