"""What computes in place of Keras while a model is traced for a file: the same values in operations that convert."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any

import keras
import tensorflow as tf
from keras import ops
from keras.src import backend  # the functions behind keras.ops, to which there is no public door

from kerasdl.core.keras_graph import all_layers

from ..formulas.layer_patches import for_export
from ..formulas.patching import functions, replaced
from ..formulas.stable_ops import tflite_formulas
from .op_patches import formulas
from .unrolled_rnn import steps_of

CALIBRATED = ("int8", "int16x8")
# A masked score in int16, whose grid would lose all others under Keras's -1e9: exp(-100) is no share either.
MASKED_SCORE = -100.0


@contextmanager
def for_tflite(model: keras.Model, *, quantize: str | None, unrolled: dict[str, int]) -> Iterator[None]:
    """Lets what the converter cannot take, or takes wrong, compute otherwise inside the block.

    Args:
        model: the model; its layers' own methods are brought back.
        quantize: the kind of numbers in the file.
        unrolled: filled with the recurrent layers that run as a row of steps, and how many steps each has.
    """
    with ExitStack() as stack:

        def put(layer: keras.Layer, method: str, function: Callable) -> None:
            stack.enter_context(replaced(layer, **{method: function}))

        for layer in all_layers(model):
            if isinstance(layer, keras.layers.RNN) and quantize in CALIBRATED:
                put(layer, "inner_loop", steps_of(layer, unrolled))
            if isinstance(layer, keras.layers.LayerNormalization) and quantize == "int16x8":
                put(layer, "call", _normalized(layer))
            if isinstance(layer, keras.layers.PReLU):
                put(layer, "call", _prelu(layer))
            if isinstance(layer, keras.layers.Embedding) and quantize == "int16x8":
                put(layer, "call", _looked_up(layer))
            if isinstance(layer, keras.layers.Softmax) and quantize == "int16x8":
                put(layer, "call", _masked_softmax(layer))
        stack.enter_context(for_export(model, integers=quantize in CALIBRATED))
        stack.enter_context(formulas())
        stack.enter_context(tflite_formulas(integers=quantize in CALIBRATED))
        masked = partial(_masked_scores, low=MASKED_SCORE if quantize == "int16x8" else None)
        stack.enter_context(functions(backend.nn, _apply_masks=masked))
        signbit = partial(_signbit, exact=quantize not in CALIBRATED)
        stack.enter_context(functions(backend.numpy, roll=_roll, signbit=signbit))
        if quantize == "int16x8":
            stack.enter_context(functions(backend.numpy, not_equal=_not_equal))
        yield


def _masked_scores(usual: Callable, scores: Any, mask: Any, is_causal: bool, *, low: float | None) -> Any:
    """Compares positions for a causal mask: TensorFlow's triangle does not convert where time is free."""
    if is_causal:
        queries, keys = ops.arange(ops.shape(scores)[-2]), ops.arange(ops.shape(scores)[-1])
        causal = ops.greater_equal(ops.reshape(queries, (1, 1, -1, 1)), ops.reshape(keys, (1, 1, 1, -1)))
        mask = causal if mask is None else ops.logical_and(ops.cast(mask, "bool"), causal)
    if mask is None or low is None:
        return usual(scores, mask, False)
    return ops.where(ops.cast(mask, "bool"), scores, low)


def _roll(usual: Callable, x: Any, shift: Any, axis: Any = None) -> Any:
    """Joins two slices for each axis: TFLite has no roll, and the converter writes one of fixed sizes alone."""
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
    """Compares: TFLite has no bits of a float, which keras.ops.argmax asks for to order -0.0 before 0.0.

    An integer has one zero, and no range for the infinities of 1 / x.
    """
    x = tf.convert_to_tensor(x)
    if not x.dtype.is_floating:
        return usual(x)
    return (x < 0) | (1 / x < 0) if exact else x < 0


def _not_equal(usual: Callable, one: Any, other: Any) -> Any:
    """Subtracts ids: NOT_EQUAL on integers stops the int16 quantiser."""
    one = tf.convert_to_tensor(one)
    return tf.cast(one - tf.cast(other, one.dtype), "bool") if one.dtype.is_integer else usual(one, other)


def _normalized(layer: keras.layers.LayerNormalization) -> Callable:
    """Multiplies differences with themselves: SQUARED_DIFFERENCE has no int16 kernel."""
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
    """Keeps Keras's form from becoming PRELU where that has too many dimensions: it takes four."""
    usual = layer.call

    def call(inputs: Any) -> Any:
        return usual(inputs) if len(inputs.shape) <= 4 else ops.relu(inputs) + layer.alpha * ops.minimum(inputs, 0)

    return call


def _looked_up(layer: keras.layers.Embedding) -> Callable:
    """Looks ids up without Keras's care for negative ones: LESS on integers stops the int16 quantiser."""
    return lambda ids: tf.gather(layer.embeddings.value, ids)


def _masked_softmax(layer: keras.layers.Softmax) -> Callable:
    usual = layer.call

    def call(inputs: Any, mask: Any = None) -> Any:
        if mask is None:
            return usual(inputs)
        mask = ops.cast(mask, "bool")
        return ops.where(mask, usual(ops.where(mask, inputs, MASKED_SCORE)), 0.0)

    return call
