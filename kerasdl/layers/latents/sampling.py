"""Sampling layer of a latent Gaussian variable, by a mean and noise (https://arxiv.org/abs/1312.6114).

Deviations: noise is drawn with `training=True` alone; otherwise the mean acts, so that exported files are no lottery.
"""

from typing import Any

import keras
from keras import ops

from kerasdl.core import checks


@keras.saving.register_keras_serializable("kerasdl")
class GaussianSample(keras.layers.Layer):
    """Draw from N(mean, variance) in training, mean + deviation * noise; the mean otherwise.

    Source: https://arxiv.org/abs/1312.6114, section 2.4.

    Args:
        seed: seed of the noise; None draws one.
        **kwargs: arguments of every layer.

    Input:
        A list of the mean and the logarithm of the variance, both (B, ...).

    Returns:
        (B, ...) floats.

    Raises:
        ArgumentError: the inputs are not two of one shape.

    Example:
        >>> layer = GaussianSample(seed=0)
        >>> mean, log_variance = np.zeros((1, 2), "float32"), np.zeros((1, 2), "float32")
        >>> layer([mean, log_variance]).numpy().tolist(), bool(np.any(layer([mean, log_variance], training=True)))
        ([[0.0, 0.0]], True)
    """

    def __init__(self, seed: int | None = None, **kwargs: Any):
        super().__init__(**kwargs)
        self.seed = seed
        self.generator = keras.random.SeedGenerator(seed)

    def build(self, shapes):
        if len(shapes) != 2 or tuple(shapes[0]) != tuple(shapes[1]):
            checks.refuse("inputs must be mean and log_variance of one shape", shapes)

    def call(self, inputs, training=False):
        mean, log_variance = inputs
        if not training:
            return mean
        noise = keras.random.normal(ops.shape(mean), dtype=mean.dtype, seed=self.generator)
        return mean + ops.exp(0.5 * log_variance) * noise

    def compute_output_shape(self, shapes):
        return shapes[0]

    def get_config(self):
        return {**super().get_config(), "seed": self.seed}
