"""Normal predictions of dynamics: their likelihoods, and soft bounds of their variances.

Source: https://arxiv.org/abs/1805.12114, equation 1 and appendix A.1.
"""

import tensorflow as tf


def gaussian_errors(targets: tf.Tensor, mean: tf.Tensor, log_variance: tf.Tensor) -> tf.Tensor:
    """Returns negative log-likelihoods (B,) of targets (B, D) under independent normals, without their constant."""
    return 0.5 * tf.reduce_sum(tf.square(targets - mean) * tf.exp(-log_variance) + log_variance, -1)


def soft_bounds(values: tf.Tensor, low: float, high: float) -> tf.Tensor:
    """Returns values bent smoothly into bounds, so that gradients lead back."""
    values = high - tf.nn.softplus(high - values)
    return low + tf.nn.softplus(values - low)
