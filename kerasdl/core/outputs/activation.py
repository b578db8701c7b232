"""Output activation of a model, logits or probabilities, read from the end of its graph."""

from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
from keras import layers

PROBABILITIES = ("softmax", "sigmoid")
RESCALED = "rescaled probabilities"
# Activations that give probabilities, and those that leave values unbounded; any other one proves nothing.
KINDS = {
    "softmax": "softmax",
    "sparsemax": "softmax",
    "sigmoid": "sigmoid",
    "hard_sigmoid": "sigmoid",
    "sparse_sigmoid": "sigmoid",
    "log_softmax": "log_softmax",
    "linear": "linear",
}
OPERATIONS = {  # bare operations of keras.ops by the name of their class
    "Softmax": "softmax",
    "Sparsemax": "softmax",
    "Sigmoid": "sigmoid",
    "HardSigmoid": "sigmoid",
    "SparseSigmoid": "sigmoid",
    "LogSoftmax": "log_softmax",
}
DENSE = (layers.Dense, layers.EinsumDense, layers.Conv1D, layers.Conv2D, layers.Conv3D)
DENSE += (layers.Conv1DTranspose, layers.Conv2DTranspose, layers.Conv3DTranspose)
DENSE += (layers.SeparableConv1D, layers.SeparableConv2D)
SAME_VALUES = (layers.Dropout, layers.SpatialDropout1D, layers.SpatialDropout2D, layers.SpatialDropout3D)
SAME_VALUES += (layers.GaussianDropout, layers.GaussianNoise, layers.AlphaDropout, layers.ActivityRegularization)
SAME_VALUES += (layers.Identity, layers.UpSampling1D, layers.UpSampling2D, layers.UpSampling3D)
SAME_VALUES += (layers.Cropping1D, layers.Cropping2D, layers.Cropping3D)
MEANS = (layers.GlobalAveragePooling1D, layers.GlobalAveragePooling2D, layers.GlobalAveragePooling3D, layers.Average)
MEANS += (layers.AveragePooling1D, layers.AveragePooling2D, layers.AveragePooling3D)
SAME_OPERATIONS = ("Cast", "Squeeze", "ExpandDims", "Identity", "StopGradient", "Reshape")
SHAPES = (layers.Reshape, layers.Flatten, layers.RepeatVector)
SCALES = (1.0, 1e2, 1e4)  # of sampled inputs: as they grow a logit leaves 0..1, and a probability goes to 0 or 1
SAMPLES, FREE_SIZE = 8, 32
SUM_TOLERANCE = 1e-3


@dataclass(frozen=True)
class OutputActivation:
    """Origin of one output of a model: the activation, and the layer that applies it."""

    kind: str | None
    """`softmax` or `sigmoid` for probabilities; `linear`, `log_softmax` or `values outside 0 to 1` for logits;
    `rescaled probabilities`, which are neither; None if unknown."""
    layer: str
    """Name of the layer or operation with that activation."""

    @property
    def gives_probabilities(self) -> bool:
        """True if the output is certainly probabilities."""
        return self.kind in PROBABILITIES

    @property
    def gives_logits(self) -> bool:
        """True if the output is certainly not probabilities."""
        return self.kind in ("linear", "log_softmax", OPEN)

    @property
    def is_rescaled(self) -> bool:
        """True if the output is probabilities on another scale, such as per cent."""
        return self.kind == RESCALED


OPEN = "values outside 0 to 1"
UNKNOWN = OutputActivation(None, "")


def output_activations(model: keras.Model, sample: Any = None) -> tuple[OutputActivation, ...]:
    """Returns the output activation of each output: softmax or sigmoid (probabilities), or linear (logits).

    The graph is followed backwards through layers that keep the values (Reshape, Flatten, Dropout, casts, nested
    models, `TimeDistributed`). Where the graph does not show it, and for subclassed models, the outputs for a sample
    decide: rows that sum to 1 are a softmax; values that stay from 0 to 1 and reach the ends as inputs grow a sigmoid.

    Args:
        model: a Keras model.
        sample: a few inputs of the model, or their specs (shape and dtype), such as `dataset.element_spec[0]`, from
            which random inputs are drawn; None takes the specs of the model's own inputs, if it has them.

    Returns:
        An `OutputActivation` for each output; one of unknown kind for a subclassed model without a sample.

    Example:
        >>> inputs = keras.Input((4,))
        >>> output_activations(keras.Model(inputs, keras.layers.Dense(3, activation="softmax", name="ends")(inputs)))
        (OutputActivation(kind='softmax', layer='ends'),)
    """
    graph = getattr(model, "outputs", None)
    ends = tuple(_end(tensor, {}) for tensor in graph) if graph else ()
    if ends and all(end.kind is not None for end in ends):
        return ends
    sampled = _sampled(model, sample)
    if not ends or len(sampled) != len(ends):
        return ends or sampled or (UNKNOWN,)
    # A graph may give probabilities for real inputs and other values for random ones.
    pairs = zip(ends, sampled, strict=True)
    return tuple(measured if end.kind is None and measured.kind != OPEN else end for end, measured in pairs)


def gives_probabilities(model: keras.Model, sample: Any = None) -> bool:
    """Returns whether the first output of a model is probabilities, so that no softmax or sigmoid may follow.

    Args:
        model: a Keras model.
        sample: as in `output_activations`.
    """
    return output_activations(model, sample)[0].gives_probabilities


def _end(tensor: Any, outer: dict[int, tuple]) -> OutputActivation:
    """Returns the activation behind a tensor of a graph; `outer` maps a nested model's inputs to its arguments."""
    operation, node, place = getattr(tensor, "_keras_history", (None, 0, 0))  # Keras has no public name for it
    if operation is None or isinstance(operation, layers.InputLayer):
        return _end(*outer[id(tensor)]) if id(tensor) in outer else UNKNOWN
    sources = operation._inbound_nodes[node].input_tensors
    if isinstance(operation, keras.Model):
        if not getattr(operation, "outputs", None):
            return UNKNOWN
        inside = {id(own): (each, outer) for own, each in zip(operation.inputs, sources, strict=False)}
        return _end(operation.outputs[place], inside)
    kind = _own_kind(operation, len(tensor.shape))
    if kind == "linear" and (getattr(operation, "kernel_constraint", None) is not None or _mixes_classes(sources[0])):
        return UNKNOWN
    if kind is not None:
        return OutputActivation(kind, operation.name)
    return _through(operation, tensor, sources, outer)


def _mixes_classes(source: Any) -> bool:
    """Returns whether the input of a linear layer is a softmax, which it may turn into another distribution."""
    before = getattr(source, "_keras_history", (None,))[0]
    return before is not None and _own_kind(before, len(source.shape)) == "softmax"


def _own_kind(operation: Any, rank: int) -> str | None:
    """Returns the kind of values that an operation gives for any input, or None."""
    if isinstance(operation, (layers.TimeDistributed, layers.SpectralNormalization)):
        inner = operation.layer
        if isinstance(inner, keras.Model):
            return output_activations(inner)[0].kind
        return _own_kind(inner, rank)
    if isinstance(operation, layers.Softmax):
        return "softmax" if operation.axis in (-1, rank - 1) else None
    if isinstance(operation, layers.Activation):
        kind = _activation(operation.activation)
        return None if kind == "linear" else kind
    if isinstance(operation, DENSE):
        return _activation(operation.activation)
    kind = None if isinstance(operation, keras.Layer) else OPERATIONS.get(type(operation).__name__)
    return kind if getattr(operation, "axis", -1) in (-1, rank - 1) else None


def _activation(activation: Any) -> str | None:
    if activation is None:
        return "linear"
    if isinstance(activation, layers.Softmax):
        return "softmax" if activation.axis == -1 else None
    for name, kind in KINDS.items():
        if activation in (getattr(keras.activations, name), getattr(keras.ops, name, None)):
            return kind
    return None


def _through(operation: Any, tensor: Any, sources: list, outer: dict[int, tuple]) -> OutputActivation:
    """Returns the activation before an operation that keeps probabilities and logits as they are."""
    if not _may_keep(operation):
        return UNKNOWN
    ends = [_end(each, outer) for each in sources]
    kinds = {end.kind for end in ends}
    if isinstance(operation, layers.Concatenate) and kinds <= set(PROBABILITIES):
        return OutputActivation("sigmoid", ends[0].layer)  # a row sums to more than 1
    if len(kinds) != 1 or not kinds.isdisjoint({None, RESCALED}):
        return UNKNOWN
    if isinstance(operation, layers.Rescaling) and kinds != {"linear"}:
        if not np.any(operation.offset) and np.all(np.equal(operation.scale, 1)):
            return ends[0]
        return OutputActivation(RESCALED, operation.name) if kinds <= set(PROBABILITIES) else UNKNOWN
    if isinstance(operation, (*MEANS, layers.Concatenate)) and kinds == {"log_softmax"}:
        return UNKNOWN
    if kinds == {"softmax"} and tensor.shape[-1] != sources[0].shape[-1]:
        return OutputActivation("sigmoid", ends[0].layer) if isinstance(operation, SHAPES) else UNKNOWN
    return ends[0]


def _may_keep(operation: Any) -> bool:
    if isinstance(operation, layers.Activation):
        return _activation(operation.activation) == "linear"
    if isinstance(operation, keras.Layer):
        return isinstance(operation, (*SAME_VALUES, *SHAPES, *MEANS, layers.Concatenate, layers.Rescaling))
    return type(operation).__name__ in SAME_OPERATIONS


def _sampled(model: keras.Model, sample: Any) -> tuple[OutputActivation, ...]:
    """Returns the activations that the outputs for a few inputs show."""
    if sample is None and getattr(model, "inputs", None):
        sample = model.inputs[0] if len(model.inputs) == 1 else model.input
    stateful = any(
        getattr(layer, "stateful", False) for layer in model._flatten_layers()
    )  # a call would change its states
    if sample is None or stateful or not model.built:
        return ()
    rng = np.random.default_rng(0)
    try:
        few = keras.tree.map_structure(lambda each: _few(each, rng), sample)
        answers = [_answers(model, few, scale) for scale in SCALES]
    except Exception:  # the same error reaches the user when the model runs on real data
        return ()
    kinds = [_kind_of([array for array, _ in each], each[0][1]) for each in zip(*answers, strict=True)]
    return tuple(OutputActivation(kind, model.name) for kind in kinds)


def _few(each: Any, rng: np.random.Generator) -> Any:
    """Returns the first examples of an array, or random ones for a spec."""
    if hasattr(each, "__array__") and not isinstance(each, keras.KerasTensor):
        return each[:SAMPLES]
    first, *rest = each.shape
    shape = (SAMPLES if first is None else first, *(FREE_SIZE if size is None else size for size in rest))
    dtype = keras.backend.standardize_dtype(each.dtype)
    if keras.backend.is_float_dtype(dtype):
        return rng.normal(size=shape).astype("float32")
    return rng.integers(0, 256 if dtype == "uint8" else 2, shape).astype(dtype)  # pixels; other integers are token ids


def _answers(model: keras.Model, inputs: Any, scale: float) -> list[tuple[np.ndarray, bool]]:
    """Returns each output, and whether Keras stored its logits, as its softmax and sigmoid do."""

    def grown(x: Any) -> Any:
        x = keras.ops.convert_to_tensor(x)
        return x * scale if keras.backend.is_float_dtype(x.dtype) else x

    outputs = model(keras.tree.map_structure(grown, inputs), training=False)
    # Keras has no public name for the logits; its own losses read them there.
    known = [getattr(each, "_keras_logits", None) is not None for each in keras.tree.flatten(outputs)]
    arrays = [np.asarray(keras.ops.convert_to_numpy(each), "float64") for each in keras.tree.flatten(outputs)]
    return list(zip(arrays, known, strict=True))


def _kind_of(values: list[np.ndarray], known: bool) -> str | None:
    """Returns the kind of output, judged by its values for inputs of growing scale."""
    first, together = values[0], np.concatenate([value.ravel() for value in values])
    if first.ndim < 2 or not np.isfinite(first).all():
        return None
    if first.min() < 0 or first.max() > 1 + SUM_TOLERANCE:
        return OPEN if first.min() < -SUM_TOLERANCE or first.max() > 1 + SUM_TOLERANCE else None
    if first.shape[-1] > 1 and np.abs(first.sum(axis=-1) - 1).max() <= SUM_TOLERANCE:
        return "softmax"
    bounded = np.isfinite(together).all() and together.min() >= 0 and together.max() <= 1
    # A linear layer after a bounded one may stay from 0 to 1 by chance, but does not reach the ends.
    at_ends = np.mean(np.minimum(values[-1], 1 - values[-1]) < SUM_TOLERANCE) > 0.8
    return "sigmoid" if bounded and (known or (at_ends and np.ptp(together) > 0.5)) else None
