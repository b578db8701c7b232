"""The training step and the validation step of a Keras model, over public API, as compiled functions."""

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import tensorflow as tf


def has_own_train_step(model: keras.Model) -> bool:
    """Returns whether the class of a model overrides `train_step`."""
    return type(model).train_step is not keras.Model.train_step


def make_train_step(model: keras.Model, class_weights: np.ndarray | None) -> Callable[[Any], dict[str, tf.Tensor]]:
    """Returns a function from an iterator of batches to the values of one update.

    They are the loss of the batch and the global norm of its gradients before clipping, or what the model's own
    `train_step` returns.
    """
    update = model.train_step if has_own_train_step(model) else _plain_update(model)

    def step(batches):
        return update(weigh(batches.get_next(), class_weights))

    return tf.function(step, autograph=False, reduce_retracing=True)


def make_test_step(model: keras.Model) -> Callable[[Any], Any]:
    """Returns a function that takes a batch from an iterator into the model's metrics, and returns its logs."""
    own = type(model).test_step is not keras.Model.test_step
    measure = model.test_step if own else _plain_measurement(model)

    def step(batches):
        return measure(batches.get_next())

    return tf.function(step, autograph=False, reduce_retracing=True)


def weigh(batch: tuple, class_weights: np.ndarray | None) -> tuple:
    """Returns a batch with the weight of each label's class as (or multiplied into) its sample weights."""
    if class_weights is None:
        return batch
    x, y, weight = keras.utils.unpack_x_y_sample_weight(batch)
    by_class = tf.gather(class_weights, y)
    return x, y, by_class if weight is None else by_class * weight


def _plain_update(model: keras.Model) -> Callable[[tuple], dict[str, tf.Tensor]]:
    def update(batch):
        x, y, weight = keras.utils.unpack_x_y_sample_weight(batch)
        optimizer = model.optimizer
        with tf.GradientTape() as tape:
            predictions = model(x, training=True)
            loss = model.compute_loss(x, y, predictions, weight, training=True)
            scaled = optimizer.scale_loss(loss)
        variables = model.trainable_weights  # complete only after the first call of a subclassed model
        gradients = tape.gradient(scaled, variables)
        known = [tf.cast(gradient, tf.float32) for gradient in gradients if gradient is not None]
        norm = tf.linalg.global_norm(known) / optimizer.scale_loss(tf.ones_like(loss))
        optimizer.apply(gradients, variables)
        _take_in(model, x, y, predictions, weight, loss)
        return {"loss": loss, "gradient_norm": norm}

    return update


def _plain_measurement(model: keras.Model) -> Callable[[tuple], dict[str, tf.Tensor]]:
    def measure(batch):
        x, y, weight = keras.utils.unpack_x_y_sample_weight(batch)
        predictions = model(x, training=False)
        loss = model.compute_loss(x, y, predictions, weight, training=False)
        _take_in(model, x, y, predictions, weight, loss)
        return {}

    return measure


def _take_in(model: keras.Model, x: Any, y: Any, predictions: Any, weight: Any, loss: tf.Tensor) -> None:
    examples = tf.shape(keras.tree.flatten(x)[0])[0]
    for metric in model.metrics:
        if metric.name == "loss":
            metric.update_state(loss, sample_weight=examples)
    model.compute_metrics(x, y, predictions, weight)
