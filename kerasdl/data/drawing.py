"""What an epoch draws beside its order: a seed for each example that is augmented and for each batch that is mixed."""

from collections.abc import Callable

import numpy as np
import tensorflow as tf

AHEAD = 8
"""Batches that are read ahead."""


def augment_seeds(seed: int, epoch: int, size: int) -> np.ndarray:
    """Returns a seed for each place in the order of an epoch, int32 (size, 2)."""
    return np.random.default_rng((seed, epoch, 1)).integers(0, 2**31, (size, 2), np.int32)


def mixing_seeds(seed: int, epoch: int, steps: int) -> np.ndarray:
    """Returns a seed for each batch of an epoch, int32 (steps, 2)."""
    return np.random.default_rng((seed, epoch, 2)).integers(0, 2**31, (steps, 2), np.int32)


def augmented(pipeline: tf.data.Dataset, augment: Callable, seeds: np.ndarray, batch_size: int) -> tf.data.Dataset:
    """Returns batches of which each image went through `augment` with a seed of its own."""

    def one(example, seed):
        image, label = example
        return tf.ensure_shape(augment(image, seed), image.shape), label

    examples = tf.data.Dataset.zip(pipeline.unbatch(), tf.data.Dataset.from_tensor_slices(seeds))
    return examples.map(one, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True).batch(batch_size)


def mixed(pipeline: tf.data.Dataset, mix: Callable, seeds: np.ndarray) -> tf.data.Dataset:
    """Returns batches of which each went through `mix` with a seed of its own."""

    @tf.autograph.experimental.do_not_convert  # which would hide what mix refuses
    def one(batch, seed):
        return mix(*batch, seed)

    batches = tf.data.Dataset.zip(pipeline, tf.data.Dataset.from_tensor_slices(seeds))
    return batches.map(one, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True)


def ready(pipeline: tf.data.Dataset) -> tf.data.Dataset:
    """Returns a pipeline that is read ahead, in order.

    Maps run on all cores, up to 16. TensorFlow could tune that, but then waits up to a minute, now and then, to close
    the pipeline: the thread that tunes may miss that it is told to end.
    """
    options = tf.data.Options()
    options.deterministic = True
    options.autotune.enabled = False
    return pipeline.prefetch(AHEAD).with_options(options)
