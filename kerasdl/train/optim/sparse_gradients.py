"""Gradients of embeddings: one slice for each row, however often its id occurs in a batch."""

from typing import Any

import tensorflow as tf


def folded(gradient: Any) -> Any:
    """Returns a gradient in which slices of the same row are summed; a dense one, and None, as they are.

    Keras squares and clips slices one by one: with an id twice in a batch, its Adam takes g1^2 + g2^2 for (g1 + g2)^2,
    and a norm comes out wrong likewise. Not for XLA, which knows no number of rows that depends on values.

    Args:
        gradient: a tensor, tf.IndexedSlices or None.
    """
    if not isinstance(gradient, tf.IndexedSlices):
        return gradient
    rows, places = tf.unique(gradient.indices)
    values = tf.math.unsorted_segment_sum(gradient.values, places, tf.size(rows))
    return tf.IndexedSlices(values, rows, gradient.dense_shape)
