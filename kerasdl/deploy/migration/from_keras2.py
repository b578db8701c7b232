"""Migration of tf_keras (Keras 2) models to Keras 3; each layer is checked on random inputs."""

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from itertools import chain, count
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf
import tf_keras
from keras import ops

from kerasdl.core import checks
from kerasdl.core.errors import ExportError
from kerasdl.layers.migrated import BearsMask

from ..export.tracing import silenced
from ..keras2.custom_layers import Product, WrappedKeras3Layer
from ..keras2.masks import PairedTensor, is_paired, symbols_in, values_in
from ..keras2.verification import (
    TOLERANCE,
    LayerOutput,
    check_layer_outputs,
    largest_difference,
    layer_outputs,
    random_inputs_for,
)
from .layer_counterparts import Custom, keras_layer
from .op_counterparts import is_function, keras_function
from .safe_loading import load_legacy


def from_tf_keras(
    model: tf_keras.Model | str | os.PathLike,
    *,
    custom_layers: Custom | None = None,
) -> keras.Model:
    """Returns a Keras 3 model that computes the same as a Keras 2 (tf_keras) model, with its weights.

    Nested models are opened. A file is not trusted: it may hold built-in layers only, no Lambda (which is Python code),
    no custom class, and no more weights than it has bytes for. If you trust a file with custom layers, load it with
    `tf_keras.models.load_model` and pass the model.

    Args:
        model: a functional or Sequential tf_keras model, or the path of an .h5 or Keras 2 .keras file that holds one.
        custom_layers: a function by the name of each layer class that Keras 3 lacks; it makes the Keras 3 layer from
            the tf_keras layer's `get_config()`. The weights of both must have the same order.

    Returns:
        A functional Keras 3 model, not compiled; its layers keep their names.

    Raises:
        ArgumentError: the model is subclassed or has not been built, or there is no such file.
        ExportError: the file breaks a rule above, or a layer has no counterpart in Keras 3; the text names it.

    Example:
        >>> again = from_tf_keras(to_tf_keras(model))
        >>> bool(np.allclose(again(images), model(images), atol=1e-5))
        True
    """
    with silenced():
        if isinstance(model, (str, os.PathLike)):
            model = load_legacy(Path(model))
        if not isinstance(model, tf_keras.Model) or not getattr(model, "_is_graph_network", False):
            checks.refuse(
                "a model must be a functional or Sequential tf_keras model, built, or the path of one",
                type(model).__module__ + "." + type(model).__name__,
                "A Keras 3 model needs no migration." if isinstance(model, keras.Model) else "",
            )
        with tf.device("/cpu:0"):
            return _Builder(model, custom_layers or {}).build()


@dataclass(frozen=True)
class _Counterpart:
    """Keras 3 layer or function that computes the same as a tf_keras layer."""

    call: Callable
    """The layer or function."""
    copy_weights: Callable[[], None] = lambda: None
    """Copies the weights, once the layer is built."""
    takes_training: bool = False
    """Whether the call takes `training`."""


@dataclass
class _Builder:
    """Builder of a Keras 3 model: runs a tf_keras graph on values, and Keras 3 layers on symbols at once."""

    source: tf_keras.Model
    custom: Custom
    counterparts: dict[int, _Counterpart] = field(default_factory=dict)
    used_names: set[str] = field(default_factory=set)
    layer_outputs: list[LayerOutput] = field(default_factory=list)

    def build(self) -> keras.Model:
        rows = min((layer.input_dim for layer in _tables(self.source)), default=2)
        specs = [(tuple(tensor.shape), tensor.dtype.name) for tensor in self.source.inputs]
        read_as_ids = _read_by_tables(self.source)  # whole numbers, though a model without an input layer takes floats
        pairs = zip(self.source.inputs, specs, strict=True)
        drawn = [(shape, "int32" if id(tensor) in read_as_ids else dtype) for tensor, (shape, dtype) in pairs]
        random = zip(random_inputs_for(drawn, rows, self.source), specs, strict=True)
        values = [value if value.dtype == dtype else tf.cast(value, dtype) for value, (_, dtype) in random]
        symbols = [
            keras.Input(batch_shape=shape, dtype=dtype, name=self.reserve_name(layer.name))
            for (shape, dtype), layer in zip(specs, self.source._input_layers, strict=True)
        ]
        inputs = [PairedTensor(*pair) for pair in zip(values, symbols, strict=True)]
        outputs = self.replay(self.source, inputs)
        packed = keras.tree.pack_sequence_as(
            _plain_structure(self.source._nested_inputs), [each.symbol for each in inputs]
        )
        model = keras.Model(packed, symbols_in(outputs), name=self.source.name)
        self.compare(inputs)
        return model

    def replay(self, model: tf_keras.Model, inputs: list[PairedTensor]) -> Any:
        """Runs the graph of a model, and those of the models nested in it."""
        tensors = {id(tensor): value for tensor, value in zip(model.inputs, inputs, strict=True)}
        for depth in sorted(model._nodes_by_depth, reverse=True):
            for node in model._nodes_by_depth[depth]:
                if node.is_input:
                    continue
                args, kwargs = tf.nest.map_structure(
                    lambda value: tensors.get(id(value), value), (node.call_args, node.call_kwargs)
                )
                outputs = self.run(node.layer, args, kwargs)
                for tensor, value in zip(tf.nest.flatten(node.outputs), keras.tree.flatten(outputs), strict=True):
                    tensors[id(tensor)] = value
        return keras.tree.map_structure(lambda tensor: tensors[id(tensor)], _plain_structure(model._nested_outputs))

    def run(self, layer: tf_keras.layers.Layer, args: tuple, kwargs: dict) -> Any:
        """Runs one layer on the values, and its counterpart on the symbols."""
        kwargs = {key: value for key, value in kwargs.items() if key != "training"}
        if isinstance(layer, tf_keras.Model) and getattr(layer, "_is_graph_network", False):
            return self.replay(layer, keras.tree.flatten(args[0]))
        masks = [(tensor, getattr(tensor, "_keras_mask", None)) for tensor in _values_and_symbols(args, kwargs)]
        with _state_restored(layer):
            # Random layers of images compute as in training unless told otherwise.
            mode = {"training": False} if getattr(layer, "_expects_training_arg", False) else {}
            values = layer(*values_in(args), **values_in(kwargs), **mode)
        args, kwargs = _states_named(layer, args, kwargs)
        known = id(layer) in self.counterparts
        counterpart = self.counterparts[id(layer)] if known else self.counterpart_of(layer)
        self.counterparts[id(layer)] = counterpart
        symbols = counterpart.call(*symbols_in(args), **symbols_in(kwargs))
        if not known:
            counterpart.copy_weights()
        for tensor, mask in masks:  # attention of Keras 3 takes it off
            tensor._keras_mask = mask
        mode = {"training": False} if counterpart.takes_training else {}
        with keras.StatelessScope():
            _check(layer, values, counterpart.call(*values_in(args), **values_in(kwargs), **mode))
        flat = zip(tf.nest.flatten(values), keras.tree.flatten(symbols), strict=True)
        outputs = [PairedTensor(*pair) for pair in flat]
        self.layer_outputs += layer_outputs(layer.name, (args, kwargs), outputs)
        return keras.tree.pack_sequence_as(symbols, outputs)

    def counterpart_of(self, layer: tf_keras.layers.Layer) -> _Counterpart:
        """Returns the Keras 3 layer or function that computes the same as a tf_keras layer."""
        if is_function(layer):
            return _Counterpart(keras_function(layer))
        name = self.reserve_name(layer.name)
        if isinstance(layer, WrappedKeras3Layer):
            return _unwrapped(layer, name)
        if type(layer) is Product:
            return _Counterpart(
                lambda pair: ops.matmul(pair[0], ops.swapaxes(pair[1], -1, -2) if layer.transposed else pair[1])
            )
        keras3_layer = keras_layer(layer, name, self.custom)
        return _Counterpart(keras3_layer, partial(_copy_weights, layer, keras3_layer), takes_training=True)

    def reserve_name(self, name: str) -> str:
        """Returns a name that no other layer has, and reserves it: nested models may share names."""
        name = name.replace("/", "_")
        free = next(
            free for free in chain([name], (f"{name}_{copy}" for copy in count(1))) if free not in self.used_names
        )
        self.used_names.add(free)
        return free

    def compare(self, inputs: list[PairedTensor]) -> None:
        """Compares the whole model; each layer was compared alone, so this finds faults between layers."""
        probe = keras.Model(symbols_in(inputs), [record.output.symbol for record in self.layer_outputs])
        with keras.StatelessScope():
            check_layer_outputs(self.layer_outputs, probe(values_in(inputs), training=False))


def _check(layer: tf_keras.layers.Layer, expected: Any, actual: Any) -> None:
    difference = largest_difference(expected, actual)
    if difference > TOLERANCE:
        raise ExportError(
            f"layer {layer.name!r} ({type(layer).__name__}) must compute in Keras 3 what it computes in tf_keras; got "
            f"a difference of {difference:.1e}. Pass custom_layers with a layer that computes the same."
        )


def _copy_weights(layer: tf_keras.layers.Layer, keras3_layer: keras.layers.Layer) -> None:
    if isinstance(layer, tf_keras.layers.Normalization):
        return  # its mean and variance are settings
    _assign(layer, layer.weights, keras3_layer.weights)


def _assign(layer: tf_keras.layers.Layer, values: list, weights: list[keras.Variable]) -> None:
    sizes, expected = [np.prod(value.shape) for value in values], [np.prod(weight.shape) for weight in weights]
    if sizes != expected:
        raise ExportError(
            f"layer {layer.name!r} ({type(layer).__name__}) must have weights of the sizes that it has in Keras 3, "
            f"{expected}; got {sizes}."
        )
    for value, weight in zip(values, weights, strict=True):
        weight.assign(tf.reshape(tf.convert_to_tensor(value), weight.shape))


def _unwrapped(layer: WrappedKeras3Layer, name: str) -> _Counterpart:
    """Returns a copy of the Keras 3 layer inside a wrapper, with the wrapper's weights."""
    operation, is_layer = _copy_of(layer.operation), isinstance(layer.operation, keras.layers.Layer)
    mask_layer = BearsMask(name=f"{name}_masked")
    if is_layer:
        operation.name = name

    def run(inputs: Any, form: int = 0, **mode: bool) -> Any:
        tensors = list(inputs) if isinstance(inputs, (list, tuple)) else [inputs]
        if layer.method == "compute_mask":
            return layer.call_form(operation, tensors, form)
        return layer.call_form(partial(operation, **mode), tensors, form, lambda *pair: mask_layer(list(pair)))

    def copy_weights() -> None:
        copies = {id(variable): copy for variable, copy in layer.pairs}
        if copies and operation is not layer.operation:
            _assign(layer, [copies[id(weight)] for weight in layer.operation.weights], operation.weights)

    return _Counterpart(run, copy_weights, takes_training=is_layer and layer.method != "compute_mask")


def _copy_of(operation: keras.Operation) -> keras.Operation:
    if not getattr(operation, "weights", None):
        return operation  # as it is: the function of a Lambda layer is not read from a configuration
    copy = type(operation).from_config(operation.get_config())
    for each in copy._flatten_layers():
        if each.compute_dtype in ("float16", "bfloat16"):
            each.dtype_policy = "float32"  # in which the wrapper computes
    return copy


@contextmanager
def _state_restored(layer: tf_keras.layers.Layer) -> Iterator[None]:
    """Context manager after which the state of a stateful layer is as before."""
    stateful = getattr(layer, "stateful", False) or getattr(getattr(layer, "operation", None), "stateful", False)
    variables = layer.non_trainable_variables if stateful else []
    values = [variable.numpy() for variable in variables]
    yield
    for variable, value in zip(variables, values, strict=True):
        variable.assign(value)
    if isinstance(layer, tf_keras.layers.RNN) and stateful:
        layer.reset_states()


def _states_named(layer: tf_keras.layers.Layer, args: tuple, kwargs: dict) -> tuple[tuple, dict]:
    """Returns the arguments of a call with initial states by name: tf_keras lists them among the inputs."""
    recurrent = isinstance(layer, (tf_keras.layers.RNN, tf_keras.layers.Bidirectional))
    if not recurrent or not args or not isinstance(args[0], (list, tuple)):
        return args, kwargs
    first, *states = args[0]
    return (first,), {**kwargs, "initial_state": states}


def _values_and_symbols(args: tuple, kwargs: dict) -> Iterator[Any]:
    for each in keras.tree.flatten((args, kwargs)):
        if is_paired(each):
            yield from (each.value, each.symbol)


def _tables(model: tf_keras.Model) -> list[tf_keras.layers.Embedding]:
    layers = model._flatten_layers(include_self=False)  # tf_keras has no public name for it
    return [layer for layer in layers if isinstance(layer, tf_keras.layers.Embedding)]


def _read_by_tables(model: tf_keras.Model) -> set[int]:
    """Returns the ids of the tensors that an Embedding of a model reads."""
    tables = [layer for layer in model.layers if isinstance(layer, tf_keras.layers.Embedding)]
    nodes = [node for layer in tables for node in layer.inbound_nodes]
    return {id(tensor) for node in nodes for tensor in tf.nest.flatten(node.keras_inputs)}


def _plain_structure(nested: Any) -> Any:
    """Returns a structure of plain lists and dicts in place of the tracked classes of tf_keras."""
    if isinstance(nested, Mapping):
        return {key: _plain_structure(value) for key, value in nested.items()}
    return [_plain_structure(value) for value in nested] if isinstance(nested, (list, tuple)) else nested
