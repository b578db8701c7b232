"""Bridge from a Keras 3 model to a tf_keras (Keras 2) model and back; each layer is checked on random inputs."""

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from itertools import chain, count
from typing import Any

import keras
import tensorflow as tf
import tf_keras

from kerasdl.core import checks
from kerasdl.core.errors import ExportError
from kerasdl.core.keras_graph import all_layers, check_graph, replay
from kerasdl.core.outputs.broadcast_sums import refused_sums

from ..export.tracing import TRACING_LOCK, first_line, for_inference, silenced
from ..samples.model_inputs import has_nan, structure
from .conversion import Replacement, WeightPairs, candidates
from .counterparts import NoCounterpart
from .custom_layers import WrappedKeras3Layer
from .masks import Call, Masks, PairedTensor, is_paired, symbols_in, values_in
from .verification import (
    TOLERANCE,
    LayerOutput,
    check_layer_outputs,
    largest_difference,
    layer_outputs,
    random_inputs,
)

LayerWrapper = Callable[[tf_keras.layers.Layer], tf_keras.layers.Layer]


@dataclass(frozen=True, eq=False)
class Bridge:
    """A Keras 3 model and the tf_keras model that computes the same."""

    source: keras.Model
    """The Keras 3 model."""
    model: tf_keras.Model
    """The tf_keras model, functional and flat."""
    routes: dict[str, str]
    """The kind of replacement of each operation, by name: "counterpart" (the tf_keras layer of the same kind), "parts"
    (several layers), "operation" (a layer for a bare operation), or "wrapped" (the Keras 3 layer itself)."""
    reasons: dict[str, str]
    """The reason for which an operation has no counterpart, by name, where it is wrapped."""
    pairs: WeightPairs
    """Every weight of the Keras 3 model with the tf_keras variable that takes its place."""

    def push(self) -> None:
        """Copies the Keras 3 model's weights into the tf_keras model."""
        _push(self.pairs)

    def pull(self, model: keras.Model | None = None) -> keras.Model:
        """Copies the tf_keras model's weights into a Keras 3 model of the same structure and returns that.

        Args:
            model: the model that takes the weights; None makes a copy of `source`, which stays as it is.

        Raises:
            ArgumentError: `model` has another structure.
        """
        if model is None:
            model = _clone(self.source)
        if len(model.weights) != len(self.source.weights):
            checks.refuse("model must have the structure of the bridged one", f"{len(model.weights)} weights")
        model.set_weights(self.source.get_weights())
        index_of = {id(weight): index for index, weight in enumerate(self.source.weights)}
        for weight, variable in self.pairs:
            target = model.weights[index_of[id(weight)]]
            target.assign(tf.reshape(tf.cast(tf.convert_to_tensor(variable), target.dtype), target.shape))
        return model


def bridge(model: keras.Model, *, split: bool = False, wrap: LayerWrapper | None = None) -> Bridge:
    """Rebuilds a functional or Sequential model in tf_keras, layer by layer.

    Every layer is compared with its counterpart on random inputs. A layer without a counterpart, or with one that
    computes something else, is wrapped: a tf_keras layer owns copies of its weights and calls the Keras 3 layer.

    Args:
        model: the model, functional or Sequential and built.
        split: whether layers that do several things (an activation after a product, attention) become several layers,
            as quantisation needs it.
        wrap: a function that takes each new tf_keras layer once, built and with its weights, before the layer is called
            in the graph; the layer that it returns is called in its place.

    Returns:
        The bridge, whose model computes in float32.

    Raises:
        ArgumentError: the model has no graph.
        ExportError: a layer computes something else in tf_keras, or adds along another axis than NumPy; the text names
            it.

    Example:
        >>> bridge(model).routes["head"]
        'counterpart'
    """
    check_graph(model)
    if with_nan := [layer.name for layer in all_layers(model) if has_nan(layer)]:
        raise ExportError(f"the weights of a model must be numbers; those of {with_nan[0]!r} hold NaN. Train it again.")
    with TRACING_LOCK, silenced(), for_inference(model), refused_sums(ExportError):
        builder = _Builder(model, split, wrap or (lambda layer: layer))
        bridged = builder.build()
        if wrap is None:
            builder.compare(bridged.model)
        for layer in builder.wrapped:
            _push(layer.pairs)  # again: the checks have changed the state of a stateful layer
        return bridged


def to_tf_keras(model: keras.Model) -> tf_keras.Model:
    """Returns a Keras 3 model as a tf_keras (Keras 2) model with the same weights and outputs.

    Nested models are opened. Layers that tf_keras lacks, custom ones among them, are wrapped: such a layer of the
    tf_keras model owns copies of the weights, trains them, and calls the Keras 3 layer.

    Args:
        model: a functional or Sequential model, built.

    Returns:
        A functional tf_keras model that computes in float32. On the same inputs each of its layers computes what the
        Keras 3 layer computes, within 1e-5 of the largest value.

    Raises:
        ArgumentError: the model is subclassed, so that it has no graph.
        ExportError: a layer computes something else in tf_keras; the text names it.

    Example:
        >>> keras2_model = to_tf_keras(model)
        >>> bool(np.allclose(keras2_model(images), model(images), atol=1e-5))
        True
    """
    return bridge(model).model


@dataclass
class _Builder:
    """Builder of a bridge: runs a graph on values of Keras 3 and on tf_keras symbols at once."""

    source: keras.Model
    split: bool
    wrap: LayerWrapper
    masks: Masks = field(default_factory=Masks)
    used_names: set[str] = field(default_factory=set)
    replacements: dict[int, Replacement] = field(default_factory=dict)
    routes: dict[str, str] = field(default_factory=dict)
    reasons: dict[str, str] = field(default_factory=dict)
    pairs: WeightPairs = field(default_factory=list)
    inputs: list[tf.Tensor] = field(default_factory=list)
    layer_outputs: list[LayerOutput] = field(default_factory=list)
    wrapped: list[WrappedKeras3Layer] = field(default_factory=list)

    @tf.autograph.experimental.do_not_convert  # tf_keras would convert each layer, a third of the time
    def build(self) -> Bridge:
        self.inputs = random_inputs(self.source)
        symbols = [_input(tensor) for tensor in self.source.inputs]
        self.used_names.update(symbol.node.layer.name for symbol in symbols)
        inputs = [PairedTensor(*pair) for pair in zip(self.inputs, symbols, strict=True)]
        with tf.device("/cpu:0"):  # a GPU rounds products more coarsely
            outputs = replay(self.source, inputs, partial(partial, self.run), self.masks.put)
        packed = keras.tree.pack_sequence_as(structure(self.source), symbols)
        model = tf_keras.Model(packed, symbols_in(outputs), name=_plain(self.source.name))
        return Bridge(self.source, model, self.routes, self.reasons, self.pairs)

    @tf.autograph.experimental.do_not_convert
    def compare(self, model: tf_keras.Model) -> None:
        """Compares the whole model; each layer was compared alone, so this finds faults between layers."""
        symbols = [record.output.symbol for record in self.layer_outputs]
        with tf.device("/cpu:0"):
            check_layer_outputs(self.layer_outputs, tf_keras.Model(model.inputs, symbols)(self.inputs))

    def run(self, operation: keras.Operation, *args: Any, **kwargs: Any) -> Any:
        """Runs one operation on the values, and its replacement on the symbols."""
        kwargs.pop("training", None)  # a recorded True would augment at inference; the model's own call decides
        call = self.masks.call_of(operation, args, kwargs)
        values = _run_keras3(operation, values_in(args), values_in(kwargs))
        if id(operation) not in self.replacements:
            self.replacements[id(operation)] = self.choose(operation, call, values)
        symbols = self.replacements[id(operation)](call, symbols_in)
        flat = zip(keras.tree.flatten(values), keras.tree.flatten(symbols), strict=True)
        outputs = [PairedTensor(*pair) for pair in flat]
        self.layer_outputs += layer_outputs(operation.name, (call.args, call.kwargs), outputs)
        if isinstance(operation, keras.layers.Layer):
            self.masks.note(operation, call, outputs, partial(self.reserve_name, f"{_plain(operation.name)}_mask"))
        return keras.tree.pack_sequence_as(values, outputs)

    def choose(self, operation: keras.Operation, call: Call, values: Any) -> Replacement:
        """Returns the first replacement that computes the same values as the operation, its weights paired."""
        reasons: list[str] = []
        for make in candidates(operation, self.split):
            try:
                name, replacement = self.with_free_name(operation.name, make, call)
                pairs = _prepare(replacement, call)
                difference = largest_difference(values, replacement(call, values_in))
            except FAILURES as error:
                reasons += [first_line(error)] if error.args else []
                continue
            if difference <= TOLERANCE:
                self.add(name, replacement, pairs, reasons)
                return replacement
            reasons.append(f"off by {difference:.1e}")
        raise ExportError(
            f"layer {operation.name!r} ({type(operation).__name__}) must compute in tf_keras what it computes in "
            f"Keras 3; got {'; '.join(reasons)}. Is it random at inference, or does it call other libraries?"
        )

    def with_free_name(
        self, name: str, make: Callable[[str, Call], Replacement], call: Call
    ) -> tuple[str, Replacement]:
        """Returns a replacement whose layers' names are free, and its name: nested models may share names."""
        for copy in count():
            free = _plain(name) + (f"_{copy}" if copy else "")
            replacement = make(free, call)
            if free not in self.routes and self.used_names.isdisjoint(layer.name for layer in replacement.layers):
                break
        return free, replacement

    def reserve_name(self, name: str) -> str:
        """Returns a free name for a layer that replaces no operation, and reserves it."""
        free = next(
            free for free in chain([name], (f"{name}_{copy}" for copy in count(1))) if free not in self.used_names
        )
        self.used_names.add(free)
        return free

    def add(self, name: str, replacement: Replacement, pairs: WeightPairs, reasons: list[str]) -> None:
        """Records a replacement, and wraps its layers."""
        self.wrapped += [layer for layer in replacement.layers if isinstance(layer, WrappedKeras3Layer)]
        self.pairs += pairs
        self.routes[name] = replacement.route
        self.used_names.update(layer.name for layer in replacement.layers)
        if reasons:
            self.reasons[name] = "; ".join(dict.fromkeys(reasons))
        replacement.layers[:] = [self.wrap(layer) for layer in replacement.layers]


FAILURES = (
    *(NoCounterpart, ArithmeticError, TypeError, ValueError, NotImplementedError, AttributeError),
    tf.errors.OpError,
)


def _prepare(replacement: Replacement, call: Call) -> WeightPairs:
    """Builds a replacement's layers for the shapes of the symbols, copies the weights in and returns their pairs."""
    if len(replacement.layers) == len(call.args) == 1 and is_paired(call.args[0]):
        (layer,) = replacement.layers
        with tf.name_scope(layer.name):  # the name that a variable has where a call builds its layer
            layer.build(call.args[0].symbol.shape)
    else:
        replacement(call, values_in)
    pairs = replacement.weights()
    _push(pairs)
    return pairs


def _push(pairs: WeightPairs) -> None:
    for weight, variable in pairs:
        variable.assign(tf.reshape(tf.cast(weight.value, variable.dtype), variable.shape))


def _run_keras3(operation: keras.Operation, args: tuple, kwargs: dict) -> Any:
    if not isinstance(operation, keras.layers.Layer):
        return operation(*args, **kwargs)
    with keras.StatelessScope():  # a stateful layer stays as it is
        return operation(*args, **kwargs, training=False)


def _clone(model: keras.Model) -> keras.Model:
    try:
        return keras.models.clone_model(model)
    except (TypeError, ValueError, NotImplementedError) as error:
        checks.refuse("the source must be made of layers that get_config describes", first_line(error), "Pass model=.")


def _input(tensor: keras.KerasTensor) -> Any:
    dtype = "float32" if tensor.dtype in ("float16", "bfloat16") else tensor.dtype
    return tf_keras.Input(batch_shape=tensor.shape, dtype=dtype, name=_plain(tensor.name))


def _plain(name: str) -> str:
    return re.sub(r"[^A-Za-z0-9_.]", "_", name).lstrip("_.") or "layer"
