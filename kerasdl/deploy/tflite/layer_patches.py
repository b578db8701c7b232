"""Patches of Keras layers and functions for TFLite: the same values in operations that the converter takes."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any

import keras
import tensorflow as tf
from keras import ops
from keras.src import backend  # the functions behind keras.ops, which have no public names

from kerasdl.core.keras_graph import all_layers

from ..formulas.layer_patches import for_export
from ..formulas.patching import replaced_attributes, replaced_functions
from ..formulas.stable_ops import tflite_formulas
from .op_patches import tflite_functions
from .unrolled_rnn import unrolled_loop

CALIBRATED = ("int8", "int16x8")
# A masked score in int16: on a grid down to Keras's -1e9 all other scores would be equal; exp(-100) is small enough.
MASKED_SCORE = -100.0


@contextmanager
def for_tflite(model: keras.Model, *, quantize: str | None, unrolled: dict[str, int]) -> Iterator[None]:
    """Context manager in which operations that the converter cannot take, or takes wrong, compute in another form.

    Args:
        model: the model; its layers get their own methods back after the block.
        quantize: the kind of numbers in the file, as in `export_tflite`.
        unrolled: filled with the number of steps of each recurrent layer that is unrolled, by name.
    """
    with ExitStack() as stack:

        def patch(layer: keras.Layer, method: str, function: Callable) -> None:
            stack.enter_context(replaced_attributes(layer, **{method: function}))

        for layer in all_layers(model):
            if isinstance(layer, keras.layers.RNN) and quantize in CALIBRATED:
                patch(layer, "inner_loop", unrolled_loop(layer, unrolled))
            if isinstance(layer, keras.layers.LayerNormalization) and quantize == "int16x8":
                patch(layer, "call", _normalized(layer))
            if isinstance(layer, keras.layers.PReLU):
                patch(layer, "call", _prelu(layer))
            if isinstance(layer, keras.layers.Embedding) and quantize == "int16x8":
                patch(layer, "call", _looked_up(layer))
            if isinstance(layer, keras.layers.Softmax) and quantize == "int16x8":
                patch(layer, "call", _masked_softmax(layer))
        stack.enter_context(for_export(model, integers=quantize in CALIBRATED))
        stack.enter_context(tflite_functions())
        stack.enter_context(tflite_formulas(integers=quantize in CALIBRATED))
        masked = partial(_masked_scores, low=MASKED_SCORE if quantize == "int16x8" else None)
        stack.enter_context(replaced_functions(backend.nn, _apply_masks=masked))
        signbit = partial(_signbit, exact=quantize not in CALIBRATED)
        stack.enter_context(replaced_functions(backend.numpy, roll=_roll, signbit=signbit))
        if quantize == "int16x8":
            stack.enter_context(replaced_functions(backend.numpy, not_equal=_not_equal))
        yield


def _masked_scores(usual: Callable, scores: Any, mask: Any, is_causal: bool, *, low: float | None) -> Any:
    """Masked scores whose causal mask compares positions: TensorFlow's triangle does not convert where time is free."""
    if is_causal:
        queries, keys = ops.arange(ops.shape(scores)[-2]), ops.arange(ops.shape(scores)[-1])
        causal = ops.greater_equal(ops.reshape(queries, (1, 1, -1, 1)), ops.reshape(keys, (1, 1, 1, -1)))
        mask = causal if mask is None else ops.logical_and(ops.cast(mask, "bool"), causal)
    if mask is None or low is None:
        return usual(scores, mask, False)
    return ops.where(ops.cast(mask, "bool"), scores, low)


def _roll(usual: Callable, x: Any, shift: Any, axis: Any = None) -> Any:
    """Roll as two joined slices for each axis: the converter handles TensorFlow's roll for fixed sizes only."""
    if axis is None:
        return usual(x, shift, axis)
    axes, shifts = ([axis], [shift]) if isinstance(axis, int) else (axis, shift)
    for each, by in zip(axes, shifts, strict=True):
        size, shape = ops.shape(x)[each], x.shape
        first = (size - by % size) % size
        before, after = ([slice(None)] * len(shape) for _ in range(2))
        before[each], after[each] = slice(first, None), slice(None, first)
        x = ops.concatenate([x[tuple(before)], x[tuple(after)]], axis=each)
        x.set_shape(shape)
    return x


def _signbit(usual: Callable, x: Any, *, exact: bool) -> Any:
    """Sign bit by comparison: TFLite cannot read the bits of a float, by which keras.ops.argmax orders -0.0 before 0.0.

    Integers have one zero, and no range for the infinities of 1 / x.
    """
    x = tf.convert_to_tensor(x)
    if not x.dtype.is_floating:
        return usual(x)
    return (x < 0) | (1 / x < 0) if exact else x < 0


def _not_equal(usual: Callable, one: Any, other: Any) -> Any:
    """Inequality of ids by subtraction: NOT_EQUAL on integers stops the int16 quantiser."""
    one = tf.convert_to_tensor(one)
    return tf.cast(one - tf.cast(other, one.dtype), "bool") if one.dtype.is_integer else usual(one, other)


def _normalized(layer: keras.layers.LayerNormalization) -> Callable:
    """Returns a layer normalisation by products of differences: SQUARED_DIFFERENCE has no int16 kernel."""
    axes = [layer.axis] if isinstance(layer.axis, int) else list(layer.axis)

    def call(inputs: Any) -> Any:
        shape = [1] * len(inputs.shape)
        for axis in axes:
            shape[axis] = inputs.shape[axis]
        gap = inputs - ops.mean(inputs, axis=axes, keepdims=True)
        result = gap * ops.rsqrt(ops.mean(gap * gap, axis=axes, keepdims=True) + layer.epsilon)
        if layer.gamma is not None:
            result = result * ops.reshape(layer.gamma, shape)
        return result if layer.beta is None else result + ops.reshape(layer.beta, shape)

    return call


def _prelu(layer: keras.layers.PReLU) -> Callable:
    """Returns a PReLU in single operations where the input has more than the four dimensions that PRELU takes."""
    usual = layer.call

    def call(inputs: Any) -> Any:
        return usual(inputs) if len(inputs.shape) <= 4 else ops.relu(inputs) + layer.alpha * ops.minimum(inputs, 0)

    return call


def _looked_up(layer: keras.layers.Embedding) -> Callable:
    """Returns an embedding look-up without a test for negative ids: LESS on integers stops the int16 quantiser."""
    usual = layer.call

    def call(inputs: Any, **settings: Any) -> Any:
        if settings.get("reverse"):  # of ReversibleEmbedding, whose inputs are vectors then
            return usual(inputs, **settings)
        return tf.gather(layer.embeddings.value, inputs)

    return call


def _masked_softmax(layer: keras.layers.Softmax) -> Callable:
    usual = layer.call

    def call(inputs: Any, mask: Any = None) -> Any:
        if mask is None:
            return usual(inputs)
        mask = ops.cast(mask, "bool")
        return ops.where(mask, usual(ops.where(mask, inputs, MASKED_SCORE)), 0.0)

    return call
