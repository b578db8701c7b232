"""Gradient checkpointing: a network that keeps few activations and computes the others twice.

Training deep nets with sublinear memory cost, https://arxiv.org/abs/1604.06174.

Keras's own `RematScope` wraps single layers in `tf.recompute_grad`. Inside a compiled function that refuses every layer
which is called with `training=` or a mask (Dense, Dropout, BatchNormalization), and outside one Dropout draws another
mask in the second pass. A layer alone also saves little, since its input has to be kept.

Deviations from the paper: segments are cut where the tensors that cross are smallest for the net at hand, not at equal
distances; the last one is kept whole, since the backward pass wants it at once.
"""

import functools
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from kerasdl.core import checks

FREE_SIZE = 128
"""Stands for a height, a width or a length that the model leaves free, where sizes are compared."""
BOUNDS = 48
"""Sizes of the largest segment that are tried."""
DRAWS = ("Random", "Multinomial", "TruncatedNormal", "ParameterizedTruncatedNormal")
UNREPEATABLE = (*DRAWS, "StatefulUniform", "StatefulStandardNormal", "StatefulTruncatedNormal", "StatefulRandom")
"""How the names of TensorFlow's operations begin that draw other numbers at every call."""

Values = dict[int, Any]


def rematerialized(model: keras.Model, segments: int | None = None) -> keras.Model:
    """Returns a model of the same layers and variables that needs less memory to train, and more time.

    In training it keeps the tensors that pass from one segment of the net to the next; what lies inside a segment is
    computed a second time when the backward pass gets there. Outputs, gradients, moving statistics, penalties and
    random state are those of the model itself: the second pass draws the same masks and changes no variable.
    Called without `training=True` it is the model itself. Save and export the model, not what is returned here.

    A model nested in another, and a composite layer such as attention, is never cut.

    Source: https://arxiv.org/abs/1604.06174, sections 3 and 4.

    Args:
        model: functional or Sequential, and built. Its layers draw random numbers by `keras.random` and assign
            Keras variables, as all of Keras's own do.
        segments: the most segments to cut the net into, 2 or more; None takes what needs least memory by the sizes of
            the tensors, about the square root of the number of layers.

    Returns:
        A functional keras.Model with the inputs and outputs of the model.

    Raises:
        ArgumentError: the model has no graph, or a `call` of its own.

    Example:
        >>> lean = rematerialized(model)
        >>> with tf.GradientTape() as tape:
        ...     loss = tf.reduce_mean(lean(x, training=True) ** 2)
        >>> gradients = tape.gradient(loss, model.trainable_variables)
        >>> len(gradients) == len(model.trainable_variables)
        True
    """
    if segments is not None:
        checks.at_least("segments", segments, 2, "None chooses the number.")
    _check_graph(model)
    return _Rematerialized(model, segments)


class _Rematerialized(keras.Model):
    """The model, with a training pass in segments."""

    def __init__(self, model: keras.Model, most: int | None):
        one = isinstance(model, keras.Sequential)
        inputs, outputs = (model.inputs[0], model.outputs[0]) if one else (model.input, model.output)
        super().__init__(inputs, outputs, name=model.name)
        # Functions, since Keras would track a model or a layer.
        self.ask_plain = lambda inputs, training, mask: model(inputs, training=training, mask=mask)
        segments = _segments(self, most)
        self.segments = tuple(tuple(node.operation.name for node in segment.nodes) for segment in segments)
        layer = _OneCall(name="segments", dtype="float32", autocast=False)
        self.pass_on = lambda *given: layer(function=lambda: _pass_on(segments, *given, layer), training=True)

    def call(self, inputs: Any, training: bool | None = None, mask: Any = None) -> Any:
        if not training:
            return self.ask_plain(inputs, training, mask)
        return super().call(inputs, training=training, mask=mask)

    def _run_through_graph(self, inputs: Any, operation_fn: Callable = lambda op: op, call_fn: Any = None) -> Any:
        flat = keras.tree.flatten(inputs)
        if call_fn is not None or any(isinstance(each, keras.KerasTensor) for each in flat):
            return super()._run_through_graph(inputs, operation_fn, call_fn)
        values = self.pass_on(dict(zip(map(id, self.inputs), flat, strict=True)), operation_fn)
        return keras.tree.pack_sequence_as(self.output, [values[id(tensor)] for tensor in self.outputs])


def _pass_on(segments: Sequence["_Segment"], values: Values, stand_in: Callable, layer: "_OneCall") -> Values:
    *several, last = segments
    for segment in several:
        given = _Twice(segment, values, stand_in, layer).run()
        values = {key: value for key, value in {**values, **given}.items() if key in segment.wanted_after}
    return _run(last.nodes, values, stand_in)


# The two passes through a segment


class _OneCall(keras.layers.Layer):
    """A function as a layer.

    Layers that it calls are not the outermost, at whose call Keras forgets penalties; without `autocast`, variables are
    read as they are, whatever the model around computes in.
    """

    def call(self, function: Callable, training: bool | None = None) -> Any:
        return function()


class _Scope(keras.StatelessScope):
    """Holds back what layers assign, and remembers what was there before."""

    def __init__(self, values: Sequence[tuple]):
        super().__init__(collect_losses=True)
        self.state_mapping = {id(variable): value for variable, value in values}
        self.before: dict[int, tuple] = {}

    def add_update(self, update: tuple) -> None:
        variable, _ = update
        if id(variable) not in self.before:
            known = self.get_current_value(variable)
            self.before[id(variable)] = (variable, tf.identity(variable.value) if known is None else known)
        super().add_update(update)


class _Twice:
    """One call of a segment, whose inside is computed again in the backward pass."""

    def __init__(self, segment: "_Segment", values: Values, stand_in: Callable, layer: _OneCall):
        self.segment, self.stand_in, self.layer = segment, stand_in, layer
        self.values = {key: values[key] for key in segment.takes}
        self.learnt = [key for key, value in self.values.items() if _has_gradient(value)]
        variables = [(variable, tf.convert_to_tensor(variable)) for variable in segment.variables()]
        self.trained = [pair for pair in variables if pair[0].trainable and _has_gradient(pair[1])]
        self.state = [pair for pair in variables if not (pair[0].trainable and _has_gradient(pair[1]))]

    def run(self) -> Values:
        """Returns what the segment gives; its layers have assigned their variables and added their penalties."""
        given, kept = {}, []
        if not self.learnt and not self.trained:
            return _run(self.segment.nodes, self.values, self.stand_in)

        @tf.custom_gradient
        def segment(*tensors):
            # The tape would keep what it sees computed here.
            unwatched = [tf.stop_gradient(tensor) for tensor in tensors]
            with _repeatable():
                results, scope = self._forward(unwatched, self.state)
            given.update(results)
            keys = [key for key, value in results.items() if _has_gradient(value)]
            kept.extend((keys, scope))

            def backward(*upstream, variables=()):
                return self._backward(tensors, upstream, keys, scope, list(variables))

            return [results[key] for key in keys] + scope.losses, backward

        tensors = [self.values[key] for key in self.learnt]
        outputs = segment(*tensors, *(value for _, value in self.trained))
        keys, scope = kept
        for key, value in zip(keys, outputs, strict=False):
            given[key] = _masked(value, given[key])
        for loss in outputs[len(keys) :]:
            self.segment.holder_of_penalties().add_loss(loss)
        for variable, _ in scope.before.values():
            variable.assign(scope.get_current_value(variable))
        return given

    def _forward(self, tensors: Sequence, state: Sequence[tuple]) -> tuple[Values, _Scope]:
        """Returns what the segment gives, and the scope that holds what it changed."""
        count = len(self.learnt)
        named = zip(self.learnt, tensors[:count], strict=True)
        values = {**self.values, **{key: _masked(tensor, self.values[key]) for key, tensor in named}}
        trained = zip((variable for variable, _ in self.trained), tensors[count:], strict=True)
        with _Scope([*trained, *state]) as scope:
            values = _run(self.segment.nodes, values, self.stand_in)
        return {key: values[key] for key in self.segment.gives}, scope

    def _backward(self, tensors: Sequence, upstream: Sequence, keys: list, first: _Scope, others: list) -> Any:
        again = _after(upstream, tensors)
        state = {id(variable): (variable, value) for variable, value in self.state} | first.before
        with tf.GradientTape() as tape:
            tape.watch(again)
            again_forward = functools.partial(self._forward, again, list(state.values()))
            results, scope = self.layer(function=again_forward, training=True)
            outputs = [results[key] for key in keys] + scope.losses
        gradients = tape.gradient(outputs, [*again, *others], output_gradients=list(upstream))
        if any(gradient is not None for gradient in gradients):
            # All at once, or earlier segments would be computed again while this one's tensors wait for a thread.
            gradients = tf.tuple(gradients)
        return (gradients[: len(again)], gradients[len(again) :]) if others else gradients


def _after(upstream: Sequence, tensors: Sequence) -> list:
    """Returns tensors that are there only once those of `upstream` are.

    A compiler would else find the second pass equal to the first and keep that; XLA heeds no control dependencies, so
    there is one of data, on a 0 that no compiler knows to be 0. `tf.recompute_grad` does so for the first output alone,
    but the gradient of a long skip connection is there long before the others.
    """
    if tf.executing_eagerly():
        return [tf.identity(tensor) for tensor in tensors]
    some = tf.reduce_any(tf.concat([tf.cast(tf.reshape(each, [-1])[:1], tf.bool) for each in upstream], 0))
    zero = tf.where(tf.equal(some, some), 0.0, float("nan"))
    return [tensor + tf.cast(zero, tensor.dtype) for tensor in tensors]


@contextmanager
def _repeatable() -> Iterator[None]:
    """Refuses, in a compiled function, random numbers that would be others in the second pass."""
    if tf.executing_eagerly():
        yield
        return
    graph = tf.compat.v1.get_default_graph()
    before = len(graph.get_operations())
    yield
    for operation in graph.get_operations()[before:]:
        if operation.op_def.is_stateful and operation.type.startswith(UNREPEATABLE):
            checks.refuse(
                "layers that are computed twice must draw random numbers by keras.random",
                f"{operation.type} in {operation.name!r}",
                "Mend the layer, or train without remat.",
            )


def _run(nodes: Sequence, values: Values, stand_in: Callable) -> Values:
    values = dict(values)
    for node in nodes:
        arguments, named = node.arguments.fill_in(values)
        outputs = keras.tree.flatten(stand_in(node.operation)(*arguments, **named))
        values.update(zip(map(id, node.outputs), outputs, strict=False))
    return values


def _has_gradient(value: Any) -> bool:
    return isinstance(value, tf.Tensor) and (value.dtype.is_floating or value.dtype.is_complex)


def _masked(tensor: tf.Tensor, like: Any) -> tf.Tensor:
    """Gives a tensor the mask that Keras hung on another."""
    mask = getattr(like, "_keras_mask", None)
    if mask is not None:
        tensor._keras_mask = mask
    return tensor


# Where to cut


@dataclass(frozen=True)
class _Segment:
    """Some calls of layers that stand one after the other; tensors by the identity of their symbols."""

    nodes: Sequence
    takes: Sequence[int]
    gives: Sequence[int]
    wanted_after: frozenset[int]

    def variables(self) -> list[keras.Variable]:
        """Returns the variables of all layers of the segment, each once."""
        layers = [node.operation for node in self.nodes if isinstance(node.operation, keras.layers.Layer)]
        return list({id(variable): variable for layer in layers for variable in layer.variables}.values())

    def holder_of_penalties(self) -> keras.layers.Layer:
        """Returns a layer that takes penalties; which layer of a model has one makes no difference."""
        layers = (node.operation for node in self.nodes if isinstance(node.operation, keras.layers.Layer))
        inner = (each for layer in layers for each in layer._flatten_layers())
        return next(layer for layer in inner if not isinstance(layer, keras.Model))


def _check_graph(model: keras.Model) -> None:
    graphs = (keras.Sequential, _functional())
    if not isinstance(model, graphs) or not model.built or type(model).call not in [each.call for each in graphs]:
        checks.refuse(
            "a model must be functional or Sequential, built, and have no `call` of its own",
            f"{getattr(model, 'name', model)!r}, a {type(model).__name__}",
            "Build it from layers with keras.Input and keras.Model.",
        )


def _functional() -> type:
    tensor = keras.Input((1,))
    return type(keras.Model(tensor, tensor))


def _nodes(model: keras.Model) -> list:
    """Returns the calls of layers in the order in which Keras makes them."""
    depths = sorted(model._nodes_by_depth, reverse=True)  # Keras has no public way to them
    return [node for depth in depths for node in model._nodes_by_depth[depth] if not node.is_input]


def _last_uses(model: keras.Model, nodes: Sequence) -> dict[int, int]:
    """Returns the place of the last node that takes each tensor; the outputs of the model are wanted after the end."""
    last = {id(tensor): place for place, node in enumerate(nodes) for tensor in node.input_tensors}
    return last | {id(tensor): len(nodes) for tensor in model.outputs}


def _segments(model: keras.Model, most: int | None) -> list[_Segment]:
    nodes = _nodes(model)
    cuts, last = _cuts(model, nodes, most), _last_uses(model, nodes)
    inputs = [id(tensor) for tensor in model.inputs]
    found = []
    for low, high in zip([0, *cuts], [*cuts, len(nodes)], strict=True):
        inside = nodes[low:high]
        made = [id(tensor) for node in inside for tensor in node.outputs]
        taken = dict.fromkeys(id(tensor) for node in inside for tensor in node.input_tensors)
        takes = [key for key in taken if key not in made]
        gives = [key for key in made if last.get(key, -1) >= high]
        wanted = frozenset(key for key in [*inputs, *last] if last.get(key, -1) >= high)
        found.append(_Segment(inside, takes, gives, wanted))
    return found


def _cuts(model: keras.Model, nodes: Sequence, most: int | None) -> list[int]:
    """Returns the places before which to cut, so that what is kept and the largest segment are small together."""
    bytes_of, last = _sizes(model, nodes), _last_uses(model, nodes)
    made = [id(tensor) for node in nodes for tensor in node.outputs]
    sizes = np.array([bytes_of[key] for key in made])
    uses = np.array([last.get(key, -1) for key in made])
    first = np.cumsum([0, *(len(node.outputs) for node in nodes)])
    ends = np.concatenate([[0.0], np.cumsum(sizes)])[first]
    bounds = np.geomspace(max(np.diff(ends).max(), 1), max(ends[-1], 1) * 1.001, BOUNDS)
    plans = [_narrowest(sizes, uses, first, ends, bound) for bound in bounds]
    plans = [(cuts, memory) for cuts, memory in plans if most is None or len(cuts) < most]
    return min(plans, key=lambda plan: (plan[1], len(plan[0])))[0]


def _narrowest(
    sizes: np.ndarray, uses: np.ndarray, first: np.ndarray, ends: np.ndarray, bound: float
) -> tuple[list[int], float]:
    """Returns the cuts that keep least with no segment above the bound, and the memory that they need.

    Args:
        sizes: bytes of each tensor, in the order in which they are made.
        uses: the last node that takes each.
        first: the first tensor that each node makes, and the number of all.
        ends: the sum of the sizes before each node, and of all.
        bound: the most bytes of the tensors made in a segment.
    """
    count = len(first) - 1
    kept, before = np.zeros(count + 1), np.zeros(count + 1, int)
    for high in range(1, count + 1):
        low = min(int(np.searchsorted(ends, ends[high] - bound)), high - 1)
        inside = slice(first[low], first[high])
        crossing = np.where(uses[inside] >= high, sizes[inside], 0.0)  # what was made earlier is kept already
        costs = kept[low:high] + np.cumsum(crossing[::-1])[::-1][first[low:high] - first[low]]
        choice = int(np.argmin(costs))
        kept[high], before[high] = costs[choice], low + choice
    cuts, place = [], int(before[count])
    while place:
        cuts.insert(0, place)
        place = int(before[place])
    return cuts, kept[count] + np.diff(ends[[0, *cuts, count]]).max()


def _sizes(model: keras.Model, nodes: Sequence) -> dict[int, float]:
    """Returns the bytes of each tensor for one example."""
    tensors = {id(tensor): tensor for tensor in [*model.inputs, *(each for node in nodes for each in node.outputs)]}
    if any(None in tensor.shape[1:] for tensor in tensors.values()):
        tensors = _with_fixed_shapes(model, nodes) or tensors
    return {key: _bytes(tensor) for key, tensor in tensors.items()}


def _with_fixed_shapes(model: keras.Model, nodes: Sequence) -> Values | None:
    """Returns a symbol without free sizes for each tensor; None where the net does not take such sizes."""
    values = {}
    for tensor in model.inputs:
        shape = [1, *(FREE_SIZE if size is None else size for size in tensor.shape[1:])]
        values[id(tensor)] = keras.KerasTensor(shape, dtype=tensor.dtype)
    try:
        return _run(nodes, values, lambda operation: operation.compute_output_spec)
    except ValueError:
        return None


def _bytes(tensor: Any) -> float:
    elements = np.prod([size or 1 for size in tensor.shape[1:]], dtype=float)
    return float(elements * tf.as_dtype(keras.backend.standardize_dtype(tensor.dtype)).size)
