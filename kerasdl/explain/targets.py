"""Scores that are explained: a class, a class for each example, or a function of the outputs."""

from collections.abc import Callable, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from kerasdl.core import checks
from kerasdl.core.keras_graph import replay

CHUNK, NUMBERS = 64, 2**21
"""Examples that are computed at once, and numbers in them: 13 images of 224 x 224 x 3."""
SURE = 1.0 - 1e-5
"""Probability from which on float32 keeps less than three digits of a gradient of a softmax."""
Target = int | Sequence[int] | Callable[[Any], Any] | None
"""A class, one for each example, a function from outputs to (B,) scores, or None for the likeliest class."""


def network_and_inputs(model: Any, inputs: Any) -> tuple[keras.Model, tf.Tensor]:
    """Returns the network of a model, which may be a bundle, and one batch of its inputs as floats.

    Raises:
        ArgumentError: it is neither a Keras model nor a bundle; the inputs of a bundle are raw images; or as
            `float_inputs`.
    """
    network = network_of(model)
    refuse_raw(model, inputs)
    return network, float_inputs(network, inputs)


def refuse_raw(model: Any, inputs: Any) -> None:
    """Refuses images for a bundle that are pixel levels, of any dtype, where its network takes another scale.

    Raises:
        ArgumentError: they are uint8, or further outside of the scale than it is wide.
    """
    scale = None if isinstance(model, keras.Model) else getattr(model, "preprocess", {}).get("scale")
    array = np.asarray(inputs)
    if scale is None or tuple(scale) == (0.0, 255.0) or array.dtype.kind not in "fiub" or not array.size:
        return
    low, high = scale
    if array.dtype == np.uint8 or array.max() > 2.0 * high - low or array.min() < 2.0 * low - high:
        hint = f"Take kerasdl.data.prepare_images(images, image_shape, {tuple(scale)})."
        found = f"pixel levels, {array.dtype} to {array.max():.4g}"
        checks.refuse("images for a bundle must be prepared as its network takes them", found, hint)


def at_once(x: tf.Tensor) -> int:
    """Returns how many examples like those of a batch are computed at once, so that large ones fit into memory."""
    return max(1, min(CHUNK, NUMBERS // int(np.prod(x.shape[1:]))))


def warn_of_sure_shares(outputs: Any) -> None:
    """Warns where outputs are probabilities of nearly 1, whose gradients are lost in rounding."""
    if keras.tree.is_nested(outputs) or len(outputs.shape) != 2 or outputs.shape[1] < 2:
        return
    shares = np.asarray(tf.cast(outputs, "float32"))
    if shares.min() >= 0 and np.abs(shares.sum(axis=1) - 1.0).max() < 1e-3 and shares.max() > SURE:
        rule = "the model gives probabilities, and one of nearly 1 has a gradient of rounding errors"
        checks.warn(f"{rule}. Explain the layer before its softmax: keras.Model(model.input, logits).", UserWarning)


def network_of(model: Any) -> keras.Model:
    """Returns the network of a model, which may be a bundle.

    Raises:
        ArgumentError: it is neither a Keras model nor an object with one.
    """
    network = model if isinstance(model, keras.Model) else getattr(model, "model", None)
    if not isinstance(network, keras.Model):
        checks.refuse("model must be a keras.Model or a bundle", type(model).__name__)
    return network


def float_inputs(model: keras.Model, inputs: Any) -> tf.Tensor:
    """Returns one batch of inputs of a network as floats.

    Raises:
        ArgumentError: the network has several inputs, takes other shapes or whole numbers, or a number is not finite.
    """
    if len(model.inputs or ()) != 1:
        checks.refuse("a model to explain must be functional, with one input", len(model.inputs or ()))
    expected = model.inputs[0]
    if not keras.backend.is_float_dtype(expected.dtype):
        hint = "Explain the part behind the embedding: keras.Model(embedding.output, model.output)."
        checks.refuse("inputs to explain must be floats, which have gradients", expected.dtype, hint)
    array = fitting_array(inputs, expected)
    if not np.isfinite(array).all():
        checks.refuse("inputs to explain must be finite", "NaN or infinity")
    return tf.convert_to_tensor(array, expected.dtype)


def fitting_array(inputs: Any, expected: keras.KerasTensor) -> np.ndarray:
    """Returns one batch of numbers that has the shape of an input.

    Raises:
        ArgumentError: it has another shape, holds no example, or something else than numbers.
    """
    array = np.asarray(inputs)
    fits = array.ndim == len(expected.shape) and array.dtype.kind in "fiub"
    if not fits or any(side not in (None, size) for side, size in zip(expected.shape, array.shape, strict=True)):
        hint = "Give one example a first axis, x[None]; images are prepared as the model takes them."
        checks.refuse(f"inputs must be numbers {expected.shape}", f"{array.dtype} of shape {array.shape}", hint)
    if not len(array):
        checks.refuse("inputs must hold one example or more", array.shape)
    return array


def scores_of(outputs: Any, target: Target) -> tf.Tensor:
    """Returns the score (B,) of each example that a target means.

    Raises:
        ArgumentError: the target does not fit the outputs.
    """
    if callable(target):
        scores = tf.convert_to_tensor(target(outputs))
        leaf = keras.tree.flatten(outputs)[0]
        if scores.shape != leaf.shape[:1]:
            checks.refuse("a target function must return one score for each example (B,)", tuple(scores.shape))
        return scores
    if keras.tree.is_nested(outputs) or len(outputs.shape) != 2:
        shapes = keras.tree.map_structure(lambda each: tuple(each.shape), outputs)
        hint = "Pass target= a function from the outputs to one score for each example."
        checks.refuse("outputs must be (B, K) for a class as target", shapes, hint)
    count, classes = outputs.shape
    chosen = tf.argmax(outputs, axis=-1) if target is None else tf.convert_to_tensor(np.asarray(target))
    if target is not None:
        numbers = np.asarray(target)
        if numbers.shape not in ((), (count,)) or numbers.dtype.kind not in "iu":
            checks.refuse(f"target must be a class, or one for each of the {count} examples", target)
        if numbers.min() < 0 or numbers.max() >= classes:
            checks.refuse(f"target must be classes from 0 to {classes - 1}", target)
    places = tf.broadcast_to(tf.cast(chosen, "int32"), (count,))
    return tf.gather(outputs, places, batch_dims=1)


def fixed_target(model: keras.Model, inputs: tf.Tensor, target: Target) -> Target:
    """Returns the likeliest class of each example where no target is given, so that changed inputs keep it."""
    if target is not None:
        return target
    outputs = model(inputs, training=False)
    scores_of(outputs, None)
    return tf.argmax(outputs, axis=-1).numpy()


def run_with(network: keras.Model, x: tf.Tensor, substitute: Callable[[keras.Operation], Callable]) -> Any:
    """Returns the outputs of a network in inference, nested models included.

    Args:
        network: a functional model of one input.
        x: (B, ...) inputs.
        substitute: returns the function to call in place of an operation; its arguments say already that a layer runs
            in inference.
    """

    def inference(operation: keras.Operation) -> Callable:
        run = substitute(operation)
        settings = {"training": False} if getattr(operation, "_call_has_training_arg", False) else {}  # not public
        return lambda *args, **kwargs: run(*args, **{**kwargs, **settings})

    return replay(network, [x], inference)
