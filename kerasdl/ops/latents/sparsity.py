"""Penalties of codes: divergence from a share of active units, and squared norms of Jacobians in forward mode."""

from collections.abc import Callable
from typing import Any

import tensorflow as tf
from keras import ops

from kerasdl.core import checks

SMALLEST = 1e-7
"""Distance that shares keep from 0 and 1, where the divergence is infinite."""


def share_divergence(shares: Any, target: float) -> Any:
    """Returns the divergence KL(target || share) of Bernoulli variables, 0 where a unit is active as often as asked.

    Source: Ng 2011, https://web.stanford.edu/class/cs294a/sparseAutoencoder_2011new.pdf, section 3.

    Args:
        shares: (...) mean activations of units, from 0 to 1; they are kept 1e-7 away from both ends.
        target: share that a unit is to be active, above 0 and below 1.

    Returns:
        (...) floats in nats.

    Raises:
        ArgumentError: the target is out of range.

    Example:
        >>> [round(float(each), 3) for each in share_divergence([0.1, 0.5], target=0.1)]
        [0.0, 0.368]
    """
    target = checks.within("target", target, SMALLEST, 1 - SMALLEST)
    shares = ops.clip(ops.convert_to_tensor(shares), SMALLEST, 1 - SMALLEST)
    return target * ops.log(target / shares) + (1 - target) * ops.log((1 - target) / (1 - shares))


def jacobian_norms(function: Callable[[tf.Tensor], tf.Tensor], x: Any, directions: Any) -> tf.Tensor:
    """Returns the sum over directions v of the squared length of J v, J the Jacobian of a function at each example.

    Over an orthonormal basis of the inputs it is the squared Frobenius norm of J. For one direction with independent
    entries of mean 0 and variance 1, such as signs, its expectation is that norm (Hutchinson's estimate). Each
    direction is one pass in forward mode, whose cost does not depend on the size of the output.

    Source: Rifai 2011, https://icml.cc/2011/papers/455_icmlpaper.pdf, section 3.

    Args:
        function: from (B, ...) to (B, ...), each example by itself.
        x: (B, ...) floats.
        directions: (K, B, ...) floats, K directions for each example.

    Returns:
        (B,) floats of the output's dtype.

    Raises:
        ArgumentError: directions do not have the shape of x.

    Example:
        >>> double = lambda x: 2.0 * x
        >>> jacobian_norms(double, tf.zeros((1, 3)), tf.eye(3)[:, tf.newaxis]).numpy().tolist()
        [12.0]
    """
    x, directions = tf.convert_to_tensor(x), tf.convert_to_tensor(directions)
    if directions.shape.rank != x.shape.rank + 1 or not directions.shape[1:].is_compatible_with(x.shape):
        checks.refuse(f"directions must be (K, *x.shape), x {tuple(x.shape)}", tuple(directions.shape))
    total = 0.0
    for direction in tf.unstack(directions):
        with tf.autodiff.ForwardAccumulator(x, direction) as accumulator:
            outputs = function(x)
        moved = accumulator.jvp(outputs, unconnected_gradients=tf.UnconnectedGradients.ZERO)
        total += tf.reduce_sum(tf.square(moved), axis=list(range(1, len(moved.shape))))
    return total
