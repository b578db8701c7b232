"""Weighted sum of feature maps with learned weights."""

import keras
from keras import ops

from kerasdl.core import checks


@keras.saving.register_keras_serializable("kerasdl")
class FastNormalizedFusion(keras.layers.Layer):
    """Fast normalised fusion: a sum of feature maps, each with a learned weight, positive and of sum near 1.

    Source: EfficientDet, https://arxiv.org/abs/1911.09070, section 3.3: relu(w_i) / (epsilon + sum of relu(w_j)).

    Args:
        epsilon: positive number that keeps the division finite.

    Input:
        Two or more tensors of the same shape (B, ...).

    Returns:
        One tensor of that shape and dtype.

    Raises:
        ArgumentError: an argument breaks its range, or the inputs are fewer than two or differ in shape.

    Example:
        >>> FastNormalizedFusion()([np.zeros((1, 2)), np.ones((1, 2))]).numpy().round(3)
        array([[0.5, 0.5]], dtype=float32)
    """

    def __init__(self, epsilon: float = 1e-4, **kwargs):
        super().__init__(**kwargs)
        if not epsilon > 0:
            checks.refuse("epsilon must be positive", epsilon)
        self.epsilon = epsilon

    def build(self, input_shape):
        shapes = [tuple(shape) for shape in input_shape if isinstance(shape, (tuple, list))]
        fits = all(
            len(shape) == len(shapes[0])
            and all(a == b or None in (a, b) for a, b in zip(shape, shapes[0], strict=True))
            for shape in shapes
        )
        if len(shapes) < 2 or not fits:
            checks.refuse("the inputs must be two or more tensors of one shape", input_shape)
        self.fusion_weights = self.add_weight(shape=(len(shapes),), initializer="ones", name="fusion_weights")

    def call(self, inputs):
        weights = ops.relu(self.fusion_weights)
        shares = weights / (ops.sum(weights) + self.epsilon)
        total = inputs[0] * shares[0]
        for number, each in enumerate(inputs[1:], start=1):
            total = total + each * shares[number]
        return total

    def compute_output_shape(self, input_shape):
        return tuple(input_shape[0])

    def get_config(self):
        return {**super().get_config(), "epsilon": self.epsilon}
