"""Updates on minibatches of fixed data, drawn with replacement, in one compiled loop."""

from collections.abc import Callable
from typing import Any

import tensorflow as tf


def run_updates(
    update: Callable[[Any, Any], tf.Tensor], data: Any, *, batch_size: int, updates: int, key: Any
) -> tf.Tensor:
    """Returns the mean loss of updates on minibatches of data; for use in a graph.

    Args:
        update: function from a minibatch and the number of the update () int32 to its loss ().
        data: nest of tensors (B, ...).
        batch_size: rows of a minibatch.
        updates: number of updates.
        key: seed of the draws, and the number of the first one, (2,) int32.
    """
    count = tf.shape(tf.nest.flatten(data)[0])[0]

    def body(index, total):
        drawn = tf.stack([key[0], key[1] + index])
        rows = tf.random.stateless_uniform((batch_size,), drawn, 0, count, tf.int32, alg="philox")
        return index + 1, total + update(tf.nest.map_structure(lambda each: tf.gather(each, rows), data), index)

    loop = (tf.constant(0), tf.constant(0.0))
    return tf.while_loop(lambda index, _: index < updates, body, loop, parallel_iterations=1)[1] / updates
