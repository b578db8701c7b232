"""tf_keras (Keras 2) models as Keras 3 models: a migration, each layer checked on numbers."""

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
from ..keras2.custom_layers import Carried, Product
from ..keras2.masks import Both, is_both, pick
from ..keras2.verification import TOLERANCE, Step, check_trail, fitting_samples, gap_between, steps
from .layer_counterparts import Custom, keras_layer
from .op_counterparts import is_function, keras_function
from .safe_loading import load_legacy


def from_tf_keras(
    model: tf_keras.Model | str | os.PathLike,
    *,
    custom_layers: Custom | None = None,
) -> keras.Model:
    """Brings a Keras 2 (tf_keras) model to Keras 3, with its weights; nested models are opened.

    A file is taken for a stranger's: it may hold plain layers alone, no Lambda (which is Python code), no custom class,
    and no more weights than it has bytes for. A model with custom layers is loaded by `tf_keras.models.load_model`
    from a source that is trusted, and given as such.

    Args:
        model: a functional or Sequential tf_keras model, or the path of an .h5 or Keras 2 .keras file that holds one.
        custom_layers: for each class of layers that Keras 3 has none like, by its name: what makes the Keras 3 layer
            from the tf_keras layer's `get_config()`. Its weights must stand in the same order.

    Returns:
        A functional Keras 3 model, not compiled, whose layers have the names that they had.

    Raises:
        ArgumentError: the model is subclassed or has not been built, or there is no such file.
        ExportError: the file breaks a rule above, or a layer has no like in Keras 3; the text names it.

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
class _Like:
    """What does in Keras 3 what a tf_keras layer does."""

    call: Callable
    fill: Callable[[], None] = lambda: None
    """Copies the weights, once it is built."""
    trains: bool = False
    """Whether it takes `training`."""


@dataclass
class _Builder:
    """Runs a tf_keras graph on numbers, and Keras 3 layers on symbols beside it."""

    source: tf_keras.Model
    custom: Custom
    made: dict[int, _Like] = field(default_factory=dict)
    names: set[str] = field(default_factory=set)
    trail: list[Step] = field(default_factory=list)

    def build(self) -> keras.Model:
        rows = min((layer.input_dim for layer in _tables(self.source)), default=2)
        specs = [(tuple(tensor.shape), tensor.dtype.name) for tensor in self.source.inputs]
        ids = _read_by_tables(self.source)  # whole numbers, though a model without an input layer takes floats
        pairs = zip(self.source.inputs, specs, strict=True)
        drawn = [(shape, "int32" if id(tensor) in ids else dtype) for tensor, (shape, dtype) in pairs]
        values = zip(fitting_samples(drawn, rows, self.source), specs, strict=True)
        reals = [value if value.dtype == dtype else tf.cast(value, dtype) for value, (_, dtype) in values]
        symbols = [
            keras.Input(batch_shape=shape, dtype=dtype, name=self.free(layer.name))
            for (shape, dtype), layer in zip(specs, self.source._input_layers, strict=True)
        ]
        inputs = [Both(*both) for both in zip(reals, symbols, strict=True)]
        outputs = self.replay(self.source, inputs)
        packed = keras.tree.pack_sequence_as(_structure(self.source._nested_inputs), [each.symbol for each in inputs])
        model = keras.Model(packed, pick(outputs, "symbol"), name=self.source.name)
        self.compare(inputs)
        return model

    def replay(self, model: tf_keras.Model, inputs: list[Both]) -> Any:
        """Runs the graph of a model, and those of the models nested in it."""
        found = {id(tensor): value for tensor, value in zip(model.inputs, inputs, strict=True)}
        for depth in sorted(model._nodes_by_depth, reverse=True):
            for node in model._nodes_by_depth[depth]:
                if node.is_input:
                    continue
                args, kwargs = tf.nest.map_structure(
                    lambda value: found.get(id(value), value), (node.call_args, node.call_kwargs)
                )
                outputs = self.run(node.layer, args, kwargs)
                for tensor, value in zip(tf.nest.flatten(node.outputs), keras.tree.flatten(outputs), strict=True):
                    found[id(tensor)] = value
        return keras.tree.map_structure(lambda tensor: found[id(tensor)], _structure(model._nested_outputs))

    def run(self, layer: tf_keras.layers.Layer, args: tuple, kwargs: dict) -> Any:
        """Runs one layer on the numbers, and its like on the symbols."""
        kwargs = {key: value for key, value in kwargs.items() if key != "training"}
        if isinstance(layer, tf_keras.Model) and getattr(layer, "_is_graph_network", False):
            return self.replay(layer, keras.tree.flatten(args[0]))
        masks = [(tensor, getattr(tensor, "_keras_mask", None)) for tensor in _tensors(args, kwargs)]
        with _state_kept(layer):
            # Random layers of images take training=True for granted.
            mode = {"training": False} if getattr(layer, "_expects_training_arg", False) else {}
            real = layer(*pick(args, "real"), **pick(kwargs, "real"), **mode)
        args, kwargs = _states_named(layer, args, kwargs)
        known = id(layer) in self.made
        like = self.made[id(layer)] if known else self.like(layer)
        self.made[id(layer)] = like
        symbol = like.call(*pick(args, "symbol"), **pick(kwargs, "symbol"))
        if not known:
            like.fill()
        for tensor, mask in masks:  # attention of Keras 3 takes it off
            tensor._keras_mask = mask
        mode = {"training": False} if like.trains else {}
        with keras.StatelessScope():
            _check(layer, real, like.call(*pick(args, "real"), **pick(kwargs, "real"), **mode))
        flat = zip(tf.nest.flatten(real), keras.tree.flatten(symbol), strict=True)
        outputs = [Both(*both) for both in flat]
        self.trail += steps(layer.name, (args, kwargs), outputs)
        return keras.tree.pack_sequence_as(symbol, outputs)

    def like(self, layer: tf_keras.layers.Layer) -> _Like:
        """Returns what does in Keras 3 what a tf_keras layer does."""
        if is_function(layer):
            return _Like(keras_function(layer))
        name = self.free(layer.name)
        if isinstance(layer, Carried):
            return _uncarried(layer, name)
        if type(layer) is Product:
            return _Like(
                lambda pair: ops.matmul(pair[0], ops.swapaxes(pair[1], -1, -2) if layer.transposed else pair[1])
            )
        made = keras_layer(layer, name, self.custom)
        return _Like(made, partial(_copy_weights, layer, made), trains=True)

    def free(self, name: str) -> str:
        """Returns a name for a layer that no other has: two nested models may have used the same."""
        name = name.replace("/", "_")
        free = next(free for free in chain([name], (f"{name}_{copy}" for copy in count(1))) if free not in self.names)
        self.names.add(free)
        return free

    def compare(self, inputs: list[Both]) -> None:
        """Runs the whole model; each layer was compared by itself."""
        whole = keras.Model(pick(inputs, "symbol"), [step.output.symbol for step in self.trail])
        with keras.StatelessScope():
            check_trail(self.trail, whole(pick(inputs, "real"), training=False))


def _check(layer: tf_keras.layers.Layer, expected: Any, given: Any) -> None:
    gap = gap_between(expected, given)
    if gap > TOLERANCE:
        raise ExportError(
            f"layer {layer.name!r} ({type(layer).__name__}) must compute in Keras 3 what it computes in tf_keras; got "
            f"a difference of {gap:.1e}. Pass custom_layers with a layer that computes the same."
        )


def _copy_weights(layer: tf_keras.layers.Layer, made: keras.layers.Layer) -> None:
    if isinstance(layer, tf_keras.layers.Normalization):
        return  # its mean and variance are settings
    _assign(layer, layer.weights, made.weights)


def _assign(layer: tf_keras.layers.Layer, values: list, weights: list[keras.Variable]) -> None:
    sizes, expected = [np.prod(value.shape) for value in values], [np.prod(weight.shape) for weight in weights]
    if sizes != expected:
        raise ExportError(
            f"layer {layer.name!r} ({type(layer).__name__}) must have the weights that it has in Keras 3, of sizes "
            f"{expected}; got {sizes}."
        )
    for value, weight in zip(values, weights, strict=True):
        weight.assign(tf.reshape(tf.convert_to_tensor(value), weight.shape))


def _uncarried(layer: Carried, name: str) -> _Like:
    """Returns the Keras 3 layer that a tf_keras layer carries, as a new one with the carrier's weights."""
    operation, is_layer = _copy_of(layer.operation), isinstance(layer.operation, keras.layers.Layer)
    bearing = BearsMask(name=f"{name}_masked")
    if is_layer:
        operation.name = name

    def run(inputs: Any, form: int = 0, **mode: bool) -> Any:
        tensors = list(inputs) if isinstance(inputs, (list, tuple)) else [inputs]
        if layer.method == "compute_mask":
            return layer.call_form(operation, tensors, form)
        return layer.call_form(partial(operation, **mode), tensors, form, lambda *both: bearing(list(both)))

    def fill() -> None:
        at = {id(variable): copy for variable, copy in layer.pairs}
        if at and operation is not layer.operation:
            _assign(layer, [at[id(weight)] for weight in layer.operation.weights], operation.weights)

    return _Like(run, fill, trains=is_layer and layer.method != "compute_mask")


def _copy_of(operation: keras.Operation) -> keras.Operation:
    if not getattr(operation, "weights", None):
        return operation  # as it is: the function of a Lambda layer is not read from a configuration
    copy = type(operation).from_config(operation.get_config())
    for each in copy._flatten_layers():
        if each.compute_dtype in ("float16", "bfloat16"):
            each.dtype_policy = "float32"  # in which the carrier computes
    return copy


@contextmanager
def _state_kept(layer: tf_keras.layers.Layer) -> Iterator[None]:
    """Brings the state of a stateful layer back after the block."""
    stateful = getattr(layer, "stateful", False) or getattr(getattr(layer, "operation", None), "stateful", False)
    variables = layer.non_trainable_variables if stateful else []
    values = [variable.numpy() for variable in variables]
    yield
    for variable, value in zip(variables, values, strict=True):
        variable.assign(value)
    if isinstance(layer, tf_keras.layers.RNN) and stateful:
        layer.reset_states()


def _states_named(layer: tf_keras.layers.Layer, args: tuple, kwargs: dict) -> tuple[tuple, dict]:
    """Returns a call's arguments with initial states by name, which tf_keras adds to a recurrent layer's input."""
    recurrent = isinstance(layer, (tf_keras.layers.RNN, tf_keras.layers.Bidirectional))
    if not recurrent or not args or not isinstance(args[0], (list, tuple)):
        return args, kwargs
    first, *states = args[0]
    return (first,), {**kwargs, "initial_state": states}


def _tensors(args: tuple, kwargs: dict) -> Iterator[Any]:
    for each in keras.tree.flatten((args, kwargs)):
        if is_both(each):
            yield from (each.real, each.symbol)


def _tables(model: tf_keras.Model) -> list[tf_keras.layers.Embedding]:
    layers = model._flatten_layers(include_self=False)  # tf_keras has no public name for it
    return [layer for layer in layers if isinstance(layer, tf_keras.layers.Embedding)]


def _read_by_tables(model: tf_keras.Model) -> set[int]:
    """Returns the ids of the tensors that an Embedding of a model reads."""
    tables = [layer for layer in model.layers if isinstance(layer, tf_keras.layers.Embedding)]
    nodes = [node for layer in tables for node in layer.inbound_nodes]
    return {id(tensor) for node in nodes for tensor in tf.nest.flatten(node.keras_inputs)}


def _structure(nested: Any) -> Any:
    """Returns a structure without the list and dict classes that tf_keras tracks."""
    if isinstance(nested, Mapping):
        return {key: _structure(value) for key, value in nested.items()}
    return [_structure(value) for value in nested] if isinstance(nested, (list, tuple)) else nested
