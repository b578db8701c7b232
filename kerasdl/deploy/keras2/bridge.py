"""Keras 3 models as tf_keras (Keras 2) models and back, layer by layer, each checked on numbers."""

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

from ..export.tracing import TRACING_LOCK, first_line, for_inference, silenced
from ..samples.model_inputs import has_nan, structure
from .conversion import Stand, candidates
from .counterparts import NoTwin
from .custom_layers import Carried
from .masks import Both, Call, Masks, is_both, pick
from .verification import TOLERANCE, Step, check_trail, gap_between, samples_of, steps

Place = Callable[[tf_keras.layers.Layer], tf_keras.layers.Layer]


@dataclass(frozen=True, eq=False)
class Bridge:
    """A Keras 3 model and the tf_keras model that computes the same."""

    source: keras.Model
    """The Keras 3 model."""
    model: tf_keras.Model
    """The tf_keras model, functional and flat."""
    routes: dict[str, str]
    """How each operation travelled, by name: "twin", "parts", "operation" or "carried"."""
    reasons: dict[str, str]
    """Why an operation has no twin, by name, where it is carried."""
    pairs: list[tuple[keras.Variable, tf.Variable]]
    """Every weight of the Keras 3 model with the tf_keras variable that stands for it."""

    def push(self) -> None:
        """Copies the Keras 3 model's weights into the tf_keras model."""
        _push(self.pairs)

    def pull(self, model: keras.Model | None = None) -> keras.Model:
        """Copies the tf_keras model's weights into a Keras 3 model of the same structure and returns that.

        Args:
            model: takes the weights; None makes a copy of `source`, which stays as it is.

        Raises:
            ArgumentError: `model` has another structure.
        """
        if model is None:
            model = _clone(self.source)
        if len(model.weights) != len(self.source.weights):
            checks.refuse("model must have the structure of the bridged one", f"{len(model.weights)} weights")
        model.set_weights(self.source.get_weights())
        at = {id(weight): index for index, weight in enumerate(self.source.weights)}
        for weight, variable in self.pairs:
            target = model.weights[at[id(weight)]]
            target.assign(tf.reshape(tf.cast(tf.convert_to_tensor(variable), target.dtype), target.shape))
        return model


def bridge(model: keras.Model, *, split: bool = False, place: Place | None = None) -> Bridge:
    """Rebuilds a functional or Sequential model in tf_keras, layer by layer.

    Every layer is run beside its twin on random numbers as it is made; one whose twin computes something else is
    carried instead: a tf_keras layer that owns copies of the weights and calls the Keras 3 layer.

    Args:
        model: the model, functional or Sequential and built.
        split: whether layers that do several things (an activation after a product, attention) become several layers,
            as quantisation needs it.
        place: gets each new tf_keras layer once, built and with its weights, before it is called in the graph; what it
            returns is called in the layer's stead.

    Returns:
        The bridge, whose model computes in float32.

    Raises:
        ArgumentError: the model has no graph.
        ExportError: a layer computes something else in tf_keras; the text names it.

    Example:
        >>> bridge(model).routes["head"]
        'twin'
    """
    check_graph(model)
    if sick := [layer.name for layer in all_layers(model) if has_nan(layer)]:
        raise ExportError(f"the weights of a model must be numbers; those of {sick[0]!r} hold NaN. Train it again.")
    with TRACING_LOCK, silenced(), for_inference(model):
        builder = _Builder(model, split, place or (lambda layer: layer))
        made = builder.build()
        if place is None:
            builder.compare(made.model)
        for layer in builder.carried:
            _push(layer.pairs)  # again: a stateful layer has moved on
        return made


def to_tf_keras(model: keras.Model) -> tf_keras.Model:
    """Returns a Keras 3 model as a tf_keras (Keras 2) model with the same weights and outputs.

    Nested models are opened. Layers that tf_keras lacks, custom ones among them, are carried: such a layer of the
    tf_keras model owns copies of the weights, trains them, and calls the Keras 3 layer.

    Args:
        model: a functional or Sequential model, built.

    Returns:
        A functional tf_keras model that computes in float32. On the same numbers each of its layers gives what the
        Keras 3 layer gives, within 1e-5 of the largest.

    Raises:
        ArgumentError: the model is subclassed, so that it has no graph.
        ExportError: a layer computes something else in tf_keras; the text names it.

    Example:
        >>> legacy = to_tf_keras(model)
        >>> bool(np.allclose(legacy(images), model(images), atol=1e-5))
        True
    """
    return bridge(model).model


@dataclass
class _Builder:
    """Runs a graph on numbers and on tf_keras symbols at once."""

    source: keras.Model
    split: bool
    place: Place
    masks: Masks = field(default_factory=Masks)
    taken: set[str] = field(default_factory=set)
    stands: dict[int, Stand] = field(default_factory=dict)
    routes: dict[str, str] = field(default_factory=dict)
    reasons: dict[str, str] = field(default_factory=dict)
    pairs: list[tuple[keras.Variable, tf.Variable]] = field(default_factory=list)
    inputs: list[tf.Tensor] = field(default_factory=list)
    trail: list[Step] = field(default_factory=list)
    carried: list[Carried] = field(default_factory=list)

    def build(self) -> Bridge:
        self.inputs = samples_of(self.source)
        symbols = [_input(tensor) for tensor in self.source.inputs]
        self.taken.update(symbol.node.layer.name for symbol in symbols)
        inputs = [Both(*both) for both in zip(self.inputs, symbols, strict=True)]
        with tf.device("/cpu:0"):  # a GPU rounds products more coarsely
            outputs = replay(self.source, inputs, partial(partial, self.run), self.masks.put)
        packed = keras.tree.pack_sequence_as(structure(self.source), symbols)
        model = tf_keras.Model(packed, pick(outputs, "symbol"), name=_plain(self.source.name))
        return Bridge(self.source, model, self.routes, self.reasons, self.pairs)

    def compare(self, model: tf_keras.Model) -> None:
        """Runs the whole model; each layer was compared by itself, so that this finds what went astray between them."""
        symbols = [step.output.symbol for step in self.trail]
        with tf.device("/cpu:0"):
            check_trail(self.trail, tf_keras.Model(model.inputs, symbols)(self.inputs))

    def run(self, operation: keras.Operation, *args: Any, **kwargs: Any) -> Any:
        """Runs one operation on the numbers, and what stands for it on the symbols."""
        kwargs.pop("training", None)  # a recorded True would augment at inference; the model's own call decides
        call = self.masks.call_of(operation, args, kwargs)
        real = _run_real(operation, pick(args, "real"), pick(kwargs, "real"))
        if id(operation) not in self.stands:
            self.stands[id(operation)] = self.choose(operation, call, real)
        symbol = self.stands[id(operation)](call, "symbol")
        flat = zip(keras.tree.flatten(real), keras.tree.flatten(symbol), strict=True)
        outputs = [Both(*both) for both in flat]
        self.trail += steps(operation.name, (call.args, call.kwargs), outputs)
        if isinstance(operation, keras.layers.Layer):
            self.masks.note(operation, call, outputs, partial(self.claim, f"{_plain(operation.name)}_mask"))
        return keras.tree.pack_sequence_as(real, outputs)

    def choose(self, operation: keras.Operation, call: Call, real: Any) -> Stand:
        """Returns the first that computes on the numbers what the operation computes, its weights paired."""
        reasons: list[str] = []
        for make in candidates(operation, self.split):
            try:
                name, stand = self.named(operation.name, make, call)
                pairs = _prepare(stand, call)
                gap = gap_between(real, stand(call, "real"))
            except FAILURES as error:
                reasons += [first_line(error)] if error.args else []
                continue
            if gap <= TOLERANCE:
                self.take(name, stand, pairs, reasons)
                return stand
            reasons.append(f"off by {gap:.1e}")
        raise ExportError(
            f"layer {operation.name!r} ({type(operation).__name__}) must compute in tf_keras what it computes in "
            f"Keras 3; got {'; '.join(reasons)}. Is it random at inference, or does it call other libraries?"
        )

    def named(self, name: str, make: Callable[[str, Call], Stand], call: Call) -> tuple[str, Stand]:
        """Makes a stand whose layers' names are free: two nested models may have used the same."""
        for copy in count():
            free = _plain(name) + (f"_{copy}" if copy else "")
            stand = make(free, call)
            if free not in self.routes and self.taken.isdisjoint(layer.name for layer in stand.layers):
                break
        return free, stand

    def claim(self, name: str) -> str:
        """Returns a free name for a layer that stands for no operation, and takes it."""
        free = next(free for free in chain([name], (f"{name}_{copy}" for copy in count(1))) if free not in self.taken)
        self.taken.add(free)
        return free

    def take(self, name: str, stand: Stand, pairs: list, reasons: list[str]) -> None:
        """Gives the stand its place in the model."""
        self.carried += [layer for layer in stand.layers if isinstance(layer, Carried)]
        self.pairs += pairs
        self.routes[name] = stand.route
        self.taken.update(layer.name for layer in stand.layers)
        if reasons:
            self.reasons[name] = "; ".join(dict.fromkeys(reasons))
        stand.layers[:] = [self.place(layer) for layer in stand.layers]


FAILURES = (NoTwin, ArithmeticError, TypeError, ValueError, NotImplementedError, AttributeError, tf.errors.OpError)


def _prepare(stand: Stand, call: Call) -> list[tuple[keras.Variable, tf.Variable]]:
    """Builds a stand's layers for the shapes of the symbols, copies the weights in and returns their pairs."""
    if len(stand.layers) == len(call.args) == 1 and is_both(call.args[0]):
        with tf.name_scope(stand.layers[0].name):  # the name that a variable has where a call builds its layer
            stand.layers[0].build(call.args[0].symbol.shape)
    else:
        stand(call, "real")
    pairs = stand.weights()
    _push(pairs)
    return pairs


def _push(pairs: list[tuple[keras.Variable, tf.Variable]]) -> None:
    for weight, variable in pairs:
        variable.assign(tf.reshape(tf.cast(weight.value, variable.dtype), variable.shape))


def _run_real(operation: keras.Operation, args: tuple, kwargs: dict) -> Any:
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
