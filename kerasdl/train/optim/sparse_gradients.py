"""Sparse gradients of embeddings: slices of repeated ids summed to one slice for each row."""

from typing import Any

import tensorflow as tf


def sum_repeated_rows(gradient: Any) -> Any:
    """Returns a gradient in which slices of the same row are summed; dense gradients and None are unchanged.

    Keras squares and clips slices one by one: with an id twice in a batch, its Adam takes g1^2 + g2^2 for (g1 + g2)^2,
    and norms are wrong in the same way. XLA cannot compile this, since the number of rows depends on values.

    Args:
        gradient: a tensor, tf.IndexedSlices or None.
    """
    if not isinstance(gradient, tf.IndexedSlices):
        return gradient
    rows, indices = tf.unique(gradient.indices)
    values = tf.math.unsorted_segment_sum(gradient.values, indices, tf.size(rows))
    return tf.IndexedSlices(values, rows, gradient.dense_shape)
