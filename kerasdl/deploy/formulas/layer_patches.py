"""Patches of layers while a model is traced for any file: the same values in operations that convert."""

import math
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import keras
import tensorflow as tf
from keras import ops

from kerasdl.core.keras_graph import all_layers

from .patching import replaced_attributes
from .stable_ops import exact_mean, stable_formulas

MAX_COMPARED_ENTRIES = 10_000  # of a look-up table; a larger one keeps its hash table
MAX_AXES = 6  # of a tensor whose mean LiteRT computes


@contextmanager
def for_export(model: keras.Model, *, integers: bool) -> Iterator[None]:
    """Context manager in which layers that every converter gets wrong compute in another form.

    Args:
        model: the model.
        integers: whether the file computes in integers.
    """
    with ExitStack() as stack:
        for layer in all_layers(model):
            if isinstance(layer, keras.layers.TimeDistributed):
                stack.callback(delattr, layer, "call")
                layer.call = _all_times_at_once(layer)
            if isinstance(layer, keras.layers.GroupNormalization):
                stack.enter_context(replaced_attributes(layer, _apply_normalization=_centred(layer, integers)))
            if isinstance(layer, keras.layers.IntegerLookup) and layer.vocabulary_size() <= MAX_COMPARED_ENTRIES:
                stack.callback(setattr, layer, "lookup_table", layer.lookup_table)
                layer.lookup_table = ComparedLookupTable(layer.lookup_table, layer._default_value)
        stack.enter_context(stable_formulas())
        yield


class ComparedLookupTable:
    """Look-up table of integers that compares each key with all entries: files hold no hash tables."""

    def __init__(self, table: Any, default: int):
        keys, values = table.export()
        self.keys, self.values, self.default = keys.numpy(), values.numpy(), default

    def lookup(self, keys: tf.Tensor) -> tf.Tensor:
        matches = tf.equal(keys[..., None], self.keys)
        values = tf.reduce_sum(tf.where(matches, self.values, tf.zeros_like(self.values)), axis=-1)
        return tf.where(tf.reduce_any(matches, axis=-1), values, tf.cast(self.default, values.dtype))


def _all_times_at_once(wrapper: keras.layers.TimeDistributed) -> Callable:
    """Returns a call that gives the wrapped layer (B * T, ...).

    Keras maps the layer over a free time axis, of which converters keep one step.
    """
    usual = wrapper.call

    def call(inputs: Any, training: bool = False, mask: Any = None) -> Any:
        if inputs.shape[1] is not None:
            return usual(inputs, training=training, mask=mask)
        count, time = ops.shape(inputs)[0], ops.shape(inputs)[1]
        arguments = {}
        if wrapper.layer._call_has_mask_arg and mask is not None:
            arguments["mask"] = ops.reshape(mask, (-1, *mask.shape[2:]))
        if wrapper.layer._call_has_training_arg:
            arguments["training"] = training
        outputs = wrapper.layer.call(ops.reshape(inputs, (-1, *inputs.shape[2:])), **arguments)
        return ops.reshape(outputs, (count, time, *outputs.shape[1:]))

    return call


def _centred(layer: keras.layers.GroupNormalization, integers: bool) -> Callable:
    """Returns a group normalisation that subtracts the mean before it scales: a constant image becomes exactly zero.

    All places of an image or a volume become one axis, as groups add another. Integers are normalised in this form only
    where there would be too many axes otherwise.
    """
    usual = layer._apply_normalization

    def normalized(inputs: Any, input_shape: Any) -> Any:
        if integers and len(inputs.shape) <= MAX_AXES:
            return usual(inputs, input_shape)
        shape, group = layer._create_broadcast_shape(input_shape), layer.axis
        if layer.axis in (-1, len(input_shape) - 1):
            inputs, shape, group = _one_axis_of_places(inputs), [1, 1, *shape[-2:]], 2
        axes = [axis for axis in range(1, len(shape)) if axis != group]
        mean = ops.mean(inputs, axes, keepdims=True) if integers else exact_mean(inputs, axes)
        gap = inputs - mean
        result = gap * ops.rsqrt(ops.mean(gap * gap, axis=axes, keepdims=True) + layer.epsilon)
        if layer.scale:
            result = result * ops.reshape(layer.gamma, shape)
        return result + ops.reshape(layer.beta, shape) if layer.center else result

    return normalized


def _one_axis_of_places(grouped: Any) -> Any:
    """Returns (B, ..., G, C) as (B, places, G, C)."""
    places = grouped.shape[1:-2]
    first = (-1, math.prod(places)) if None not in places else (ops.shape(grouped)[0], -1)
    return ops.reshape(grouped, (*first, *grouped.shape[-2:]))
