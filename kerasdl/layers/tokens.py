"""Token layers: class token, first token, learned vector, position embedding, padding mask."""

import keras
from keras import ops


@keras.saving.register_keras_serializable("kerasdl")
class ClassToken(keras.layers.Layer):
    """Class token: prepends one learned token to a sequence.

    Source: https://arxiv.org/abs/2010.11929, equation 1 (after BERT's [CLS]).

    Input:
        (B, T, D) floats.

    Returns:
        (B, T + 1, D) of the same dtype.

    Example:
        >>> ClassToken()(keras.Input((196, 192))).shape
        (None, 197, 192)
    """

    def build(self, input_shape):
        self.token = self.add_weight(shape=(1, 1, input_shape[-1]), initializer="zeros", name="token")
        self.built = True

    def call(self, inputs):
        token = ops.broadcast_to(self.token, (ops.shape(inputs)[0], 1, inputs.shape[-1]))
        return ops.concatenate([ops.cast(token, inputs.dtype), inputs], axis=1)

    def compute_output_shape(self, input_shape):
        batch, tokens, width = input_shape
        return (batch, None if tokens is None else tokens + 1, width)


@keras.saving.register_keras_serializable("kerasdl")
class FirstToken(keras.layers.Layer):
    """First token of a sequence of any length, as a classifier over `[CLS]` reads it.

    A layer of its own, since `Cropping1D` needs a known length.

    Source: https://arxiv.org/abs/1810.04805, section 3.

    Input:
        (B, T, D) floats.

    Returns:
        (B, D) of the same dtype.

    Example:
        >>> FirstToken()(keras.Input((None, 64))).shape
        (None, 64)
    """

    def call(self, inputs):
        return inputs[:, 0]

    def compute_mask(self, inputs, mask=None):
        return None

    def compute_output_shape(self, input_shape):
        batch, _, width = input_shape
        return (batch, width)


@keras.saving.register_keras_serializable("kerasdl")
class LearnedVector(keras.layers.Layer):
    """Learned vector: adds one and the same vector to each token, as a net with a single segment does.

    Source: https://arxiv.org/abs/1907.11692; the segment embedding that RoBERTa keeps of BERT.

    Input:
        (B, T, D) floats.

    Returns:
        (B, T, D) of the same dtype.

    Example:
        >>> LearnedVector()(keras.Input((20, 64))).shape
        (None, 20, 64)
    """

    def build(self, input_shape):
        initializer = keras.initializers.TruncatedNormal(stddev=0.02)
        self.table = self.add_weight(shape=(1, input_shape[-1]), initializer=initializer, name="table")
        self.built = True

    def call(self, inputs):
        return inputs + ops.cast(self.table, inputs.dtype)

    def compute_output_shape(self, input_shape):
        return input_shape


@keras.saving.register_keras_serializable("kerasdl")
class PositionEmbedding(keras.layers.Layer):
    """Position embedding: adds a learned vector to each position of a sequence of fixed length.

    Source: https://arxiv.org/abs/2010.11929, equation 1.

    Input:
        (B, T, D) floats, T known.

    Returns:
        (B, T, D) of the same dtype.

    Example:
        >>> PositionEmbedding()(keras.Input((197, 192))).shape
        (None, 197, 192)
    """

    def build(self, input_shape):
        initializer = keras.initializers.TruncatedNormal(stddev=0.02)
        self.position = self.add_weight(shape=(1, *input_shape[1:]), initializer=initializer, name="position")
        self.built = True

    def call(self, inputs):
        return inputs + ops.cast(self.position, inputs.dtype)

    def compute_output_shape(self, input_shape):
        return input_shape


@keras.saving.register_keras_serializable("kerasdl")
class PaddingMask(keras.layers.Layer):
    """Padding mask: true for each token of a padded batch that is not padding.

    A layer of its own, since `Embedding(mask_zero=True)` leaves a bare operation in the graph.

    Args:
        padding_id: the token id of the padding.

    Input:
        (B, T) integers.

    Returns:
        (B, T) booleans.

    Example:
        >>> PaddingMask()(np.array([[5, 2, 0]])).numpy()
        array([[ True,  True, False]])
    """

    def __init__(self, padding_id: int = 0, *, name: str | None = None, dtype=None, trainable: bool = True):
        super().__init__(name=name, dtype=dtype, trainable=trainable, autocast=False)
        self.padding_id = padding_id

    def call(self, inputs):
        return ops.not_equal(inputs, self.padding_id)

    def compute_output_spec(self, inputs):
        return keras.KerasTensor(inputs.shape, dtype="bool")

    def get_config(self):
        return {**super().get_config(), "padding_id": self.padding_id}
