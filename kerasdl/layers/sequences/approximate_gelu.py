"""GELU by its approximation with a hyperbolic tangent, as GPT-2 and T5 compute it."""

import keras
from keras import ops


@keras.saving.register_keras_serializable("kerasdl")
class TanhGELU(keras.layers.Layer):
    """GELU by its approximation with a hyperbolic tangent: x / 2 * (1 + tanh(sqrt(2 / pi) * (x + 0.044715 x^3))).

    A layer of its own, since Keras's activation `gelu` is the exact one.

    Source: https://arxiv.org/abs/1606.08415, section 2.

    Input:
        Floats of any shape.

    Returns:
        A tensor of the same shape and dtype.

    Example:
        >>> TanhGELU()(np.array([0.0, 1.0], "float32")).numpy().round(4)
        array([0.    , 0.8412], dtype=float32)
    """

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.supports_masking = True
        self.built = True

    def call(self, inputs):
        return ops.gelu(inputs, approximate=True)

    def compute_output_shape(self, input_shape):
        return input_shape
