"""Gradient checkpointing: a network that stores few activations and recomputes the others.

Training deep nets with sublinear memory cost, https://arxiv.org/abs/1604.06174.

Keras's own `RematScope` wraps single layers in `tf.recompute_grad`. Inside a compiled function it refuses every layer
that is called with `training=` or a mask (Dense, Dropout, BatchNormalization), and outside one Dropout draws another
mask in the second pass. A single layer also saves little, since its input must be stored.

Deviations from the paper: segments are cut where the tensors between them are smallest for the given net, not at equal
distances; the last segment is not recomputed, since the backward pass starts with it.
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

from ..trainer import functional_model

UNKNOWN_SIZE = 128
"""Size assumed for an unknown height, width or length where tensors are compared."""
BOUNDS_TRIED = 48
"""Number of bounds of the largest segment that are tried."""
RANDOM_OPERATIONS = ("Random", "Multinomial", "TruncatedNormal", "ParameterizedTruncatedNormal")
UNREPEATABLE_OPERATIONS = (
    *RANDOM_OPERATIONS,
    "StatefulUniform",
    "StatefulStandardNormal",
    "StatefulTruncatedNormal",
    "StatefulRandom",
)
"""Prefixes of TensorFlow's stateful random operations, which draw other numbers at every call."""

Values = dict[int, Any]


def rematerialized(model: keras.Model, segments: int | None = None) -> keras.Model:
    """Returns a model of the same layers and variables that needs less memory to train, and more time.

    In training it stores the tensors that pass from one segment of the net to the next; the inside of a segment is
    recomputed in the backward pass. Outputs, gradients, moving statistics, penalties and random state are those of the
    model itself: the second pass draws the same masks and changes no variable. Without `training=True` it calls the
    model itself. Save and export the model, not the result of this function.

    Nested models and composite layers such as attention are never cut.

    Source: https://arxiv.org/abs/1604.06174, sections 3 and 4.

    Args:
        model: functional or Sequential, and built. Its layers draw random numbers by `keras.random` and assign
            Keras variables, as all layers of Keras do.
        segments: the largest number of segments, 2 or more; None takes the number with least memory by the sizes of the
            tensors, about the square root of the number of layers.

    Returns:
        A functional keras.Model with the inputs and outputs of the model.

    Raises:
        ArgumentError: the model has no graph, or overrides `call`.

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
    """Copy of the graph of a model, with a training pass in segments."""

    def __init__(self, model: keras.Model, most: int | None):
        one = isinstance(model, keras.Sequential)
        inputs, outputs = (model.inputs[0], model.outputs[0]) if one else (model.input, model.output)
        super().__init__(inputs, outputs, name=model.name)
        # Functions, since Keras would track a model or a layer.
        self.plain_call = lambda inputs, training, mask: model(inputs, training=training, mask=mask)
        segments = _segments(self, most)
        self.segments = tuple(tuple(node.operation.name for node in segment.nodes) for segment in segments)
        layer = _FunctionLayer(name="segments", dtype="float32", autocast=False)
        self.segmented_call = lambda *arguments: layer(
            function=lambda: _run_segments(segments, *arguments, layer), training=True
        )

    def call(self, inputs: Any, training: bool | None = None, mask: Any = None) -> Any:
        if not training:
            return self.plain_call(inputs, training, mask)
        return super().call(inputs, training=training, mask=mask)

    def _run_through_graph(self, inputs: Any, operation_fn: Callable = lambda op: op, call_fn: Any = None) -> Any:
        flat = keras.tree.flatten(inputs)
        if call_fn is not None or any(isinstance(each, keras.KerasTensor) for each in flat):
            return super()._run_through_graph(inputs, operation_fn, call_fn)
        values = self.segmented_call(dict(zip(map(id, self.inputs), flat, strict=True)), operation_fn)
        return keras.tree.pack_sequence_as(self.output, [values[id(tensor)] for tensor in self.outputs])


def _run_segments(segments: Sequence["_Segment"], values: Values, operation_fn: Callable, layer: Any) -> Values:
    *recomputed, last = segments
    for segment in recomputed:
        outputs = _RecomputedSegment(segment, values, operation_fn, layer).run()
        values = {key: value for key, value in {**values, **outputs}.items() if key in segment.used_later}
    return _run(last.nodes, values, operation_fn)


# The two passes through a segment


class _FunctionLayer(keras.layers.Layer):
    """Layer that calls a function.

    Layers called inside it are not the outermost one, at whose call Keras clears penalties; without `autocast`,
    variables are read in their own dtype.
    """

    def call(self, function: Callable, training: bool | None = None) -> Any:
        return function()


class _RecordingScope(keras.StatelessScope):
    """Scope that holds back the assignments of layers, and records the values before."""

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


class _RecomputedSegment:
    """One call of a segment that is recomputed in the backward pass."""

    def __init__(self, segment: "_Segment", values: Values, operation_fn: Callable, layer: _FunctionLayer):
        self.segment, self.operation_fn, self.layer = segment, operation_fn, layer
        self.values = {key: values[key] for key in segment.input_keys}
        self.differentiable = [key for key, value in self.values.items() if _has_gradient(value)]
        variables = [(variable, tf.convert_to_tensor(variable)) for variable in segment.variables()]
        self.trained = [pair for pair in variables if pair[0].trainable and _has_gradient(pair[1])]
        self.state = [pair for pair in variables if not (pair[0].trainable and _has_gradient(pair[1]))]

    def run(self) -> Values:
        """Returns the outputs of the segment, after its layers have assigned variables and added penalties."""
        outputs_by_key, recorded = {}, []
        if not self.differentiable and not self.trained:
            return _run(self.segment.nodes, self.values, self.operation_fn)

        @tf.custom_gradient
        def segment(*tensors):
            # Otherwise the tape would store the tensors computed here.
            unwatched = [tf.stop_gradient(tensor) for tensor in tensors]
            with _repeatable_only():
                results, scope = self._forward(unwatched, self.state)
            outputs_by_key.update(results)
            keys = [key for key, value in results.items() if _has_gradient(value)]
            recorded.extend((keys, scope))

            def backward(*upstream, variables=()):
                return self._backward(tensors, upstream, keys, scope, list(variables))

            return [results[key] for key in keys] + scope.losses, backward

        tensors = [self.values[key] for key in self.differentiable]
        outputs = segment(*tensors, *(value for _, value in self.trained))
        keys, scope = recorded
        for key, value in zip(keys, outputs, strict=False):
            outputs_by_key[key] = _with_mask(value, outputs_by_key[key])
        for loss in outputs[len(keys) :]:
            self.segment.layer_for_penalties().add_loss(loss)
        for variable, _ in scope.before.values():
            variable.assign(scope.get_current_value(variable))
        return outputs_by_key

    def _forward(self, tensors: Sequence, state: Sequence[tuple]) -> tuple[Values, _RecordingScope]:
        """Returns the outputs of the segment, and the scope with its assignments."""
        count = len(self.differentiable)
        named = zip(self.differentiable, tensors[:count], strict=True)
        values = {**self.values, **{key: _with_mask(tensor, self.values[key]) for key, tensor in named}}
        trained = zip((variable for variable, _ in self.trained), tensors[count:], strict=True)
        with _RecordingScope([*trained, *state]) as scope:
            values = _run(self.segment.nodes, values, self.operation_fn)
        return {key: values[key] for key in self.segment.output_keys}, scope

    def _backward(self, tensors: Sequence, upstream: Sequence, keys: list, first: _RecordingScope, others: list) -> Any:
        again = _after_upstream(upstream, tensors)
        state = {id(variable): (variable, value) for variable, value in self.state} | first.before
        with tf.GradientTape() as tape:
            tape.watch(again)
            again_forward = functools.partial(self._forward, again, list(state.values()))
            results, scope = self.layer(function=again_forward, training=True)
            outputs = [results[key] for key in keys] + scope.losses
        gradients = tape.gradient(outputs, [*again, *others], output_gradients=list(upstream))
        if any(gradient is not None for gradient in gradients):
            # Together, or earlier segments would be recomputed while the tensors of this one wait for a thread.
            gradients = tf.tuple(gradients)
        return (gradients[: len(again)], gradients[len(again) :]) if others else gradients


def _after_upstream(upstream: Sequence, tensors: Sequence) -> list:
    """Returns tensors that are computed only after those of `upstream`.

    Otherwise a compiler would merge the second pass with the first. XLA ignores control dependencies, so this is a data
    dependency, on a 0 that no compiler can infer. `tf.recompute_grad` does the same for the first output alone, but the
    gradient of a long skip connection is computed long before the others.
    """
    if tf.executing_eagerly():
        return [tf.identity(tensor) for tensor in tensors]
    some = tf.reduce_any(tf.concat([tf.cast(tf.reshape(each, [-1])[:1], tf.bool) for each in upstream], 0))
    zero = tf.where(tf.equal(some, some), 0.0, float("nan"))
    return [tensor + tf.cast(zero, tensor.dtype) for tensor in tensors]


@contextmanager
def _repeatable_only() -> Iterator[None]:
    """Context manager that refuses random operations which would differ in the second pass, in a compiled function."""
    if tf.executing_eagerly():
        yield
        return
    graph = tf.compat.v1.get_default_graph()
    before = len(graph.get_operations())
    yield
    for operation in graph.get_operations()[before:]:
        if operation.op_def.is_stateful and operation.type.startswith(UNREPEATABLE_OPERATIONS):
            checks.refuse(
                "layers that are computed twice must draw random numbers by keras.random",
                f"{operation.type} in {operation.name!r}",
                "Change the layer, or train without remat.",
            )


def _run(nodes: Sequence, values: Values, operation_fn: Callable) -> Values:
    values = dict(values)
    for node in nodes:
        arguments, named = node.arguments.fill_in(values)
        outputs = keras.tree.flatten(operation_fn(node.operation)(*arguments, **named))
        values.update(zip(map(id, node.outputs), outputs, strict=False))
    return values


def _has_gradient(value: Any) -> bool:
    return isinstance(value, tf.Tensor) and (value.dtype.is_floating or value.dtype.is_complex)


def _with_mask(tensor: tf.Tensor, like: Any) -> tf.Tensor:
    """Returns a tensor with the Keras mask of another."""
    mask = getattr(like, "_keras_mask", None)
    if mask is not None:
        tensor._keras_mask = mask
    return tensor


# Where to cut


@dataclass(frozen=True)
class _Segment:
    """Consecutive calls of layers; tensors are named by the `id` of their symbols."""

    nodes: Sequence
    input_keys: Sequence[int]
    output_keys: Sequence[int]
    used_later: frozenset[int]

    def variables(self) -> list[keras.Variable]:
        """Returns the variables of all layers of the segment, each once."""
        layers = [node.operation for node in self.nodes if isinstance(node.operation, keras.layers.Layer)]
        return list({id(variable): variable for layer in layers for variable in layer.variables}.values())

    def layer_for_penalties(self) -> keras.layers.Layer:
        """Returns a layer to hold penalties; any layer of the model serves."""
        layers = (node.operation for node in self.nodes if isinstance(node.operation, keras.layers.Layer))
        inner = (each for layer in layers for each in layer._flatten_layers())
        return next(layer for layer in inner if not isinstance(layer, keras.Model))


def _check_graph(model: keras.Model) -> None:
    graphs = (keras.Sequential, functional_model())
    if not isinstance(model, graphs) or not model.built or type(model).call not in [each.call for each in graphs]:
        checks.refuse(
            "a model must be functional or Sequential, built, and have no `call` of its own",
            f"{getattr(model, 'name', model)!r}, a {type(model).__name__}",
            "Build it from layers with keras.Input and keras.Model.",
        )


def calls_in_order(model: keras.Model) -> list:
    """Returns the calls of layers in Keras's order."""
    depths = sorted(model._nodes_by_depth, reverse=True)  # Keras has no public access to them
    return [node for depth in depths for node in model._nodes_by_depth[depth] if not node.is_input]


def _last_uses(model: keras.Model, nodes: Sequence) -> dict[int, int]:
    """Returns the index of the last node that uses each tensor; outputs of the model count as used after the end."""
    last = {id(tensor): place for place, node in enumerate(nodes) for tensor in node.input_tensors}
    return last | {id(tensor): len(nodes) for tensor in model.outputs}


def _segments(model: keras.Model, most: int | None) -> list[_Segment]:
    nodes = calls_in_order(model)
    cuts, last = _cut_positions(model, nodes, most), _last_uses(model, nodes)
    inputs = [id(tensor) for tensor in model.inputs]
    segments = []
    for low, high in zip([0, *cuts], [*cuts, len(nodes)], strict=True):
        inside = nodes[low:high]
        produced = [id(tensor) for node in inside for tensor in node.outputs]
        used = dict.fromkeys(id(tensor) for node in inside for tensor in node.input_tensors)
        input_keys = [key for key in used if key not in produced]
        output_keys = [key for key in produced if last.get(key, -1) >= high]
        wanted = frozenset(key for key in [*inputs, *last] if last.get(key, -1) >= high)
        segments.append(_Segment(inside, input_keys, output_keys, wanted))
    return segments


def _cut_positions(model: keras.Model, nodes: Sequence, most: int | None) -> list[int]:
    """Returns the indices of the nodes before which to cut, for the least memory in all."""
    bytes_of, last = _sizes(model, nodes), _last_uses(model, nodes)
    produced = [id(tensor) for node in nodes for tensor in node.outputs]
    sizes = np.array([bytes_of[key] for key in produced])
    uses = np.array([last.get(key, -1) for key in produced])
    first = np.cumsum([0, *(len(node.outputs) for node in nodes)])
    ends = np.concatenate([[0.0], np.cumsum(sizes)])[first]
    bounds = np.geomspace(max(np.diff(ends).max(), 1), max(ends[-1], 1) * 1.001, BOUNDS_TRIED)
    plans = [_best_cuts(sizes, uses, first, ends, bound) for bound in bounds]
    plans = [(cuts, memory) for cuts, memory in plans if most is None or len(cuts) < most]
    return min(plans, key=lambda plan: (plan[1], len(plan[0])))[0]


def _best_cuts(
    sizes: np.ndarray, uses: np.ndarray, first: np.ndarray, ends: np.ndarray, bound: float
) -> tuple[list[int], float]:
    """Returns the cuts with the least stored memory and no segment above a bound, and the memory that they need.

    Args:
        sizes: bytes of each tensor, in the order of the nodes.
        uses: index of the last node that uses each tensor.
        first: index of the first tensor of each node, and the number of tensors.
        ends: sum of the sizes before each node, and of all.
        bound: the most bytes of the tensors of a segment.
    """
    count = len(first) - 1
    stored, before = np.zeros(count + 1), np.zeros(count + 1, int)
    for high in range(1, count + 1):
        low = min(int(np.searchsorted(ends, ends[high] - bound)), high - 1)
        inside = slice(first[low], first[high])
        crossing = np.where(uses[inside] >= high, sizes[inside], 0.0)  # earlier tensors are stored already
        costs = stored[low:high] + np.cumsum(crossing[::-1])[::-1][first[low:high] - first[low]]
        choice = int(np.argmin(costs))
        stored[high], before[high] = costs[choice], low + choice
    cuts, place = [], int(before[count])
    while place:
        cuts.insert(0, place)
        place = int(before[place])
    return cuts, stored[count] + np.diff(ends[[0, *cuts, count]]).max()


def _sizes(model: keras.Model, nodes: Sequence) -> dict[int, float]:
    """Returns the bytes of each tensor for one example."""
    tensors = {id(tensor): tensor for tensor in [*model.inputs, *(each for node in nodes for each in node.outputs)]}
    if any(None in tensor.shape[1:] for tensor in tensors.values()):
        tensors = _with_fixed_shapes(model, nodes) or tensors
    return {key: _bytes(tensor) for key, tensor in tensors.items()}


def _with_fixed_shapes(model: keras.Model, nodes: Sequence) -> Values | None:
    """Returns a symbol with a fixed shape for each tensor; None where the net does not accept such sizes."""
    values = {}
    for tensor in model.inputs:
        shape = [1, *(UNKNOWN_SIZE if size is None else size for size in tensor.shape[1:])]
        values[id(tensor)] = keras.KerasTensor(shape, dtype=tensor.dtype)
    try:
        return _run(nodes, values, lambda operation: operation.compute_output_spec)
    except ValueError:
        return None


def _bytes(tensor: Any) -> float:
    elements = np.prod([size or 1 for size in tensor.shape[1:]], dtype=float)
    return float(elements * tf.as_dtype(keras.backend.standardize_dtype(tensor.dtype)).size)
