"""LSTM cell with a projection of its state, and the reversal of sequences, as ELMo needs both."""

import keras
from keras import ops

from kerasdl.core import checks


@keras.saving.register_keras_serializable("kerasdl")
class ProjectedLSTMCell(keras.layers.Layer):
    """LSTM cell whose output is a linear projection of its state: few numbers go from step to step, many are kept.

    Source: https://arxiv.org/abs/1402.1128, section 2; the clipping: https://arxiv.org/abs/1602.02410, section 5.

    Deviations: no peepholes, as in ELMo.

    Args:
        units: numbers of the cell.
        projection: D, numbers of the output.
        clip: bound of the cell and of the output; None for none.

    Input:
        (B, C) floats of one step, inside `keras.layers.RNN`.

    Returns:
        (B, D) of the same dtype.

    Raises:
        ArgumentError: an argument breaks its range.

    Example:
        >>> keras.layers.RNN(ProjectedLSTMCell(64, 8), return_sequences=True)(keras.Input((10, 4))).shape
        (None, 10, 8)
    """

    def __init__(self, units: int, projection: int, clip: float | None = 3.0, **kwargs):
        super().__init__(**kwargs)
        self.units = checks.at_least("units", units, 1)
        self.projection = checks.at_least("projection", projection, 1)
        self.clip = clip if clip is None else checks.within("clip", clip, 1e-6, 1e6, "None leaves it out.")
        self.state_size, self.output_size = [self.projection, self.units], self.projection

    def build(self, input_shape):
        gates = 4 * self.units
        self.kernel = self.add_weight(shape=(input_shape[-1], gates), initializer="glorot_uniform", name="kernel")
        self.recurrent_kernel = self.add_weight(
            shape=(self.projection, gates), initializer="orthogonal", name="recurrent_kernel"
        )
        self.bias = self.add_weight(shape=(gates,), initializer=_forget_bias, name="bias")
        self.output_kernel = self.add_weight(
            shape=(self.units, self.projection), initializer="glorot_uniform", name="output_kernel"
        )
        self.built = True

    def call(self, inputs, states, training=False):
        output, cell = states
        gates = ops.matmul(inputs, self.kernel) + ops.matmul(output, self.recurrent_kernel) + self.bias
        enter, forget, candidate, leave = ops.split(gates, 4, axis=-1)
        cell = self._clipped(ops.sigmoid(forget) * cell + ops.sigmoid(enter) * ops.tanh(candidate))
        output = self._clipped(ops.matmul(ops.sigmoid(leave) * ops.tanh(cell), self.output_kernel))
        return output, [output, cell]

    def _clipped(self, values):
        return values if self.clip is None else ops.clip(values, -self.clip, self.clip)

    def get_initial_state(self, batch_size=None):
        return [ops.zeros((batch_size, size), dtype=self.compute_dtype) for size in self.state_size]

    def get_config(self):
        return {**super().get_config(), "units": self.units, "projection": self.projection, "clip": self.clip}


def _forget_bias(shape, dtype=None):
    units = shape[0] // 4
    return ops.concatenate([ops.zeros((units,), dtype), ops.ones((units,), dtype), ops.zeros((2 * units,), dtype)])


@keras.saving.register_keras_serializable("kerasdl")
class ReverseTokens(keras.layers.Layer):
    """Reversal of a sequence: its last token first, padding included.

    Input:
        (B, T, ...) of any dtype.

    Returns:
        (B, T, ...) of the same dtype.

    Example:
        >>> ReverseTokens()(np.array([[5, 2, 0]])).numpy()
        array([[0, 2, 5]])
    """

    def __init__(self, *, name: str | None = None, dtype=None, trainable: bool = True):
        super().__init__(name=name, dtype=dtype, trainable=trainable, autocast=False)
        self.supports_masking = True

    def call(self, inputs):
        return ops.flip(inputs, axis=1)

    def compute_mask(self, inputs, mask=None):
        return None  # that of the sequence before would be wrong behind the reversal

    def compute_output_spec(self, inputs):
        return keras.KerasTensor(inputs.shape, dtype=inputs.dtype)


@keras.saving.register_keras_serializable("kerasdl")
class ScalarMix(keras.layers.Layer):
    """Scalar mix: a weighted mean of the layers of a network, the weights learnt, times a learnt scale.

    scale * sum_j softmax(weights)_j h_j.

    Source: https://aclanthology.org/N18-1202, equation 1.

    Input:
        A list of tensors of equal shape.

    Returns:
        A tensor of that shape.

    Example:
        >>> ScalarMix()([np.ones((1, 2)), 3 * np.ones((1, 2))]).numpy()
        array([[2., 2.]], dtype=float32)
    """

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.supports_masking = True

    def build(self, input_shape):
        self.mix = self.add_weight(shape=(len(input_shape),), initializer="zeros", name="mix")
        self.scale = self.add_weight(shape=(), initializer="ones", name="scale")
        self.built = True

    def call(self, inputs):
        shares = ops.unstack(ops.softmax(self.mix))
        return self.scale * sum(share * each for share, each in zip(shares, inputs, strict=True))

    def compute_mask(self, inputs, mask=None):
        return None  # layers behind it take their own

    def compute_output_shape(self, input_shape):
        return input_shape[0]


@keras.saving.register_keras_serializable("kerasdl")
class TokenMask(keras.layers.Layer):
    """Token mask over characters: true for each token that has a character which is not padding.

    Args:
        padding_id: the id of the padding.

    Input:
        (B, T, C) integers, the characters of tokens.

    Returns:
        (B, T) booleans.

    Example:
        >>> TokenMask()(np.array([[[5, 2, 0], [0, 0, 0]]])).numpy()
        array([[ True, False]])
    """

    def __init__(self, padding_id: int = 0, *, name: str | None = None, dtype=None, trainable: bool = True):
        super().__init__(name=name, dtype=dtype, trainable=trainable, autocast=False)
        self.padding_id = padding_id

    def call(self, inputs):
        return ops.any(ops.not_equal(inputs, self.padding_id), axis=-1)

    def compute_output_spec(self, inputs):
        return keras.KerasTensor(inputs.shape[:-1], dtype="bool")

    def get_config(self):
        return {**super().get_config(), "padding_id": self.padding_id}
