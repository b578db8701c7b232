"""Placement of quantizers for quantisation-aware training: Jacob et al., "Quantization and Training of Neural Networks
for Efficient Integer-Arithmetic-Only Inference" (https://arxiv.org/abs/1712.05877), sections 2 and 3.

The quantizers are TFMOT's; their places are chosen here, in one pass over the graph. TFMOT's own transforms refuse most
layers, take minutes on nets of separable convolutions, and give pooling two ranges, which no file can hold.
"""

from collections import Counter, defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum, auto
from typing import Any

import tensorflow as tf
import tf_keras

from kerasdl.core import checks

from ..keras2.custom_layers import MaskedScores, Product, WrappedKeras3Layer
from .fake_quant_layers import FIXED_RANGES, FakeQuantized, FloatBarrier, QuantizedKernel, Scaled, Shifted, kernel_name
from .graph_rewriting import Node, nodes_of, rewire

layers = tf_keras.layers

# Layers that copy values, so that the output has the range of the input.
COPYING = (
    *(layers.MaxPooling1D, layers.MaxPooling2D, layers.AveragePooling1D, layers.AveragePooling2D),
    *(layers.GlobalMaxPooling1D, layers.GlobalMaxPooling2D, layers.Flatten, layers.Reshape, layers.Permute),
    *(layers.ZeroPadding1D, layers.ZeroPadding2D, layers.Cropping1D, layers.Cropping2D, layers.RepeatVector),
    *(layers.UpSampling1D, layers.Dropout, layers.SpatialDropout1D, layers.SpatialDropout2D, layers.GaussianNoise),
)
# Layers with int8 kernels in TFLite.
COMPUTING = (
    *(layers.Add, layers.Subtract, layers.Multiply, layers.Maximum, layers.Minimum, layers.Concatenate, Product),
    *(layers.GlobalAveragePooling1D, layers.GlobalAveragePooling2D, layers.Softmax, layers.LeakyReLU, layers.PReLU),
)
COMPUTING_ACTIVATIONS = ("sigmoid", "softmax", "tanh", "gelu", "hard_silu", "leaky_relu")
FUSED_ACTIVATIONS = ("relu", "relu6")
# Layers whose last operation may have a fixed range in TFLite (tanh, sigmoid, softmax, an L2 norm). Where one is left
# in float, the converter gives that range to every tensor that is joined with its output, and then fails.
FIXED_RANGE_LAYERS = (layers.Softmax, layers.UnitNormalization, WrappedKeras3Layer)
# Activations on which the converter fails too, where their outputs are joined or copied.
FLOAT_ACTIVATIONS = ("log_softmax", "elu")
JOINING = (
    layers.Add,
    layers.Subtract,
    layers.Multiply,
    layers.Average,
    layers.Maximum,
    layers.Minimum,
    layers.Concatenate,
)
LayerNameOfPart = Callable[[str], str]
NO_KERNEL = "TFLite has no int8 kernel for it"


@dataclass(frozen=True)
class QuantizationScheme:
    """Settings of the rounding of tensors to 8 bits."""

    per_channel: bool = True
    """Whether each output channel of a convolution's kernel has a range of its own, or the kernel has one."""
    symmetric: bool = False
    """Whether activations have the same range on both sides of 0; kernels always have."""
    in_float: tuple[str, ...] = ()
    """Names of layers that stay in float; their large kernels are stored in eight bits all the same."""
    keep: tuple[str, ...] = ()
    """The structure of pruned or clustered kernels that training preserves: "zeros" (PQAT), "clusters" (CQAT), or both
    (PCQAT)."""

    def __post_init__(self):
        for name, value in (("in_float", self.in_float), ("keep", self.keep)):
            if isinstance(value, str):
                checks.refuse(f"{name} must be a tuple of names", value, f"Write ({value!r},).")
        for each in self.keep:
            checks.one_of("each of keep", each, ("zeros", "clusters"))


@dataclass(frozen=True)
class LayerPrecision:
    """Precision in which one layer of a quantised model computes."""

    layer: str
    """The name of the layer; a layer that was split into parts has a row for each part."""
    kind: str
    """The class of the layer."""
    precision: str
    """"int8" or "float"."""
    reason: str
    """The reason for the precision, where it is not the usual one; else empty."""


def fake_quantized(
    model: tf_keras.Model, scheme: QuantizationScheme, layer_name_of: LayerNameOfPart
) -> tuple[tf_keras.Model, tuple[LayerPrecision, ...]]:
    """Returns a model that computes as the int8 file of a model will, and the precision of each layer.

    Args:
        model: a tf_keras model with one operation a layer, as `bridge(model, split=True)` makes it.
        scheme: the settings of the rounding.
        layer_name_of: returns the name of the Keras 3 layer that a tf_keras layer, by name, is a part of.

    Returns:
        The model, over the same weights, and the precisions in the order of the graph.
    """
    placement = _Placement(model, scheme, layer_name_of)
    return rewire(model, placement.call), tuple(placement.precisions.values())


class _Treatment(Enum):
    """Treatment of one call of a layer in the quantised graph."""

    LEAVE_IN_FLOAT = auto()
    MULTIPLY = auto()
    LOOK_UP = auto()
    SCALE = auto()
    RECTIFY = auto()
    COPY = auto()
    COMPUTE = auto()


class _Placement:
    """State of one pass over a graph: the tensors that are rounded, and the calls that read them."""

    def __init__(self, model: tf_keras.Model, scheme: QuantizationScheme, layer_name_of: LayerNameOfPart):
        self.scheme, self.layer_name_of = scheme, layer_name_of
        self.precisions: dict[str, LayerPrecision] = {}
        self.readers: dict[int, list[Node]] = defaultdict(list)
        for node in nodes_of(model):
            for tensor in node.keras_inputs:
                self.readers[id(tensor)].append(node)
        self.model_outputs = {id(tensor) for tensor in model.outputs}
        self.calls = Counter(id(node.layer) for node in nodes_of(model))
        self.treatments: dict[int, _Treatment] = {}  # by the id of the node
        self.quantized_layers: dict[int, tuple[tf_keras.layers.Layer, ...]] = {}  # by the id of the layer they replace
        self.folded: set[int] = set()
        self.name_counts: Counter[str] = Counter()
        self.referenced: list[Any] = []  # tensors whose ids stand below: no other tensor may get the same id
        self.rounded: dict[int, Any] = {}  # the rounded form of a tensor; itself, where it is rounded already
        self.awaiting_rectifier: set[int] = set()
        self.fixed: set[int] = set()  # rounded to a fixed range of TFLite, or copied from such a tensor

    def call(self, node: Node, args: tuple, kwargs: dict[str, Any]) -> Any:
        """Returns the outputs of a node in the quantised graph."""
        self.referenced += tf.nest.flatten((args, kwargs))
        treatment = self._treatment(node)
        if treatment is _Treatment.LEAVE_IN_FLOAT:
            return self._leave(node, args, kwargs)
        quantize = {
            _Treatment.MULTIPLY: self._multiply,
            _Treatment.LOOK_UP: self._look_up,
            _Treatment.SCALE: self._scale,
            _Treatment.RECTIFY: self._rectify,
            _Treatment.COPY: self._copy,
            _Treatment.COMPUTE: self._compute,
        }[treatment]
        outputs = quantize(node, *args, **{key: value for key, value in kwargs.items() if value is not None})
        if node.layer.name not in self.precisions:
            self._note(node, "int8")
        return outputs

    def _treatment(self, node: Node) -> _Treatment:
        if id(node) not in self.treatments:
            self.treatments[id(node)] = self._choose_treatment(node)
        return self.treatments[id(node)]

    def _choose_treatment(self, node: Node) -> _Treatment:
        layer = node.layer
        if self._is_kept_in_float(layer):
            return _Treatment.LEAVE_IN_FLOAT
        if kernel_name(layer):
            return _Treatment.LOOK_UP if isinstance(layer, layers.Embedding) else _Treatment.MULTIPLY
        if isinstance(layer, (layers.BatchNormalization, layers.Rescaling)):
            return _Treatment.SCALE if _has_last_axis(layer) else _Treatment.LEAVE_IN_FLOAT
        if is_fusable(layer):
            return _Treatment.RECTIFY
        if isinstance(layer, COPYING) or _copies(layer):
            return _Treatment.COPY
        if isinstance(layer, layers.Add) and any(map(self._is_left, self._readers(node))):
            return _Treatment.LEAVE_IN_FLOAT  # the stream of a residual net with layer norms
        if isinstance(node.keras_inputs[0].node.layer, MaskedScores):
            return _Treatment.LEAVE_IN_FLOAT  # no grid of 256 steps holds both scores and a mask
        has_kernel = isinstance(layer, COMPUTING) or _bilinear(layer) or _activation(layer) in COMPUTING_ACTIVATIONS
        takes_tensors_alone = len(node.keras_inputs) == len(_tensors(node.call_args))
        return _Treatment.COMPUTE if has_kernel and takes_tensors_alone else _Treatment.LEAVE_IN_FLOAT

    def _is_left(self, node: Node) -> bool:
        return self._treatment(node) is _Treatment.LEAVE_IN_FLOAT

    def _multiply(self, node: Node, inputs: Any) -> Any:
        norm = self._norm_behind(node)
        outputs = self._with_kernel(node.layer, norm and norm.layer)(self._round(inputs))
        if norm is not None:
            self.folded.add(id(norm.layer))
            self._note(norm, "int8", f"folded into {node.layer.name}")
        return self._round_unless_rectified(norm or node, outputs)

    def _with_kernel(self, layer: tf_keras.layers.Layer, norm: tf_keras.layers.Layer | None) -> QuantizedKernel:
        if id(layer) not in self.quantized_layers:
            settings = {"per_channel": self.scheme.per_channel, "keep": self.scheme.keep}
            self.quantized_layers[id(layer)] = (QuantizedKernel(layer, norm, name=f"int8_{layer.name}", **settings),)
        return self.quantized_layers[id(layer)][0]

    def _scale(self, node: Node, inputs: Any) -> Any:
        layer, name = node.layer, node.layer.name
        if id(layer) in self.folded:
            return inputs
        if id(layer) not in self.quantized_layers:
            self.quantized_layers[id(layer)] = Scaled(layer, name=f"{name}_scale"), Shifted(layer, name=f"{name}_shift")
        scale, shift = self.quantized_layers[id(layer)]
        return self._round_unless_rectified(node, shift(self._rounding(f"{name}_scaled")(scale(self._round(inputs)))))

    def _rectify(self, node: Node, inputs: Any) -> Any:
        inputs = inputs if id(inputs) in self.awaiting_rectifier else self._round(inputs)
        return self._round_output(node, node.layer(inputs))

    def _copy(self, node: Node, inputs: Any) -> Any:
        if not self._is_rounded(inputs):
            if not self._feeds_int8(node):
                self._note(node, "float", "what it copies is float")
                return node.layer(inputs)
            inputs = self._round(inputs)
        outputs = self._mark(node.layer(inputs))
        if id(inputs) in self.fixed:
            self.fixed.add(id(outputs))
        return outputs

    def _feeds_int8(self, node: Node) -> bool:
        return any(
            self._feeds_int8(reader) if self._is_copied(reader) else not self._is_left(reader)
            for reader in self._readers(node)
        )

    def _is_copied(self, node: Node) -> bool:
        return self._treatment(node) is _Treatment.COPY

    def _compute(self, node: Node, inputs: Any) -> Any:
        rounded = tf.nest.map_structure(self._round, inputs)
        outputs = node.layer(rounded)
        if isinstance(node.layer, layers.Add):
            return self._round_unless_rectified(node, outputs)
        outputs = self._round_output(node, outputs)
        return self._round_again(node, outputs) if self._shares_range(node, rounded) else outputs

    def _shares_range(self, node: Node, inputs: Any) -> bool:
        """Tells whether the converter would give the range of one input to the joined output, and clip the others."""
        fixed = any(id(each) in self.fixed for each in tf.nest.flatten(inputs))
        joins = isinstance(node.layer, (layers.Maximum, layers.Minimum)) or (
            isinstance(node.layer, layers.Concatenate) and fixed
        )
        return joins and any(map(self._is_copied, self._readers(node)))

    def _round_again(self, node: Node, outputs: Any) -> Any:
        """Rounds a second time, behind a barrier: the converter takes the second range for the layers that copy."""
        return self._mark(self._rounding(node.layer.name)(self._behind_barrier(outputs)))

    def _look_up(self, node: Node, inputs: Any) -> Any:
        return self._mark(self._with_kernel(node.layer, None)(inputs))

    def _leave(self, node: Node, args: tuple, kwargs: dict[str, Any]) -> Any:
        layer = node.layer
        adds = isinstance(layer, layers.Add)
        reason = "it feeds a layer that stays in float" if adds else NO_KERNEL
        if isinstance(layer, WrappedKeras3Layer):
            reason = "tf_keras has no such layer: it computes as a whole, as in Keras 3"
        self._note(node, "float", "as the scheme says" if self._is_kept_in_float(layer) else reason)
        if not (
            adds or isinstance(layer, (layers.Activation, layers.ELU))
        ):  # these have no int8 form that the converter could take
            args, kwargs = tf.nest.map_structure(self._behind_barrier_if_rounded, (args, kwargs))
        if isinstance(layer, layers.BatchNormalization):
            kwargs = {**kwargs, "training": False}  # its statistics do not change, as those of the folded ones
        outputs = layer(*args, **kwargs)
        fixed = isinstance(layer, FIXED_RANGE_LAYERS) or _activation(layer) in FIXED_RANGES
        needs_barrier = fixed or (_ends_in_float(layer) and any(map(self._joins_or_copies, self._readers(node))))
        return tf.nest.map_structure(self._behind_barrier, outputs) if needs_barrier else outputs

    def _joins_or_copies(self, node: Node) -> bool:
        return isinstance(node.layer, JOINING) or self._is_copied(node)

    def _behind_barrier_if_rounded(self, value: Any) -> Any:
        return self._behind_barrier(value) if self._is_rounded(value) else value

    def _behind_barrier(self, value: Any) -> Any:
        return FloatBarrier()(value) if value.dtype.is_floating else value

    def _round_unless_rectified(self, node: Node, outputs: Any) -> Any:
        """Returns the rounded outputs of a node; unrounded, where one rectifier reads them and is rounded itself."""
        readers = self._readers(node)
        if len(readers) == 1 and is_fusable(readers[0].layer) and id(node.outputs) not in self.model_outputs:
            self.awaiting_rectifier.add(id(outputs))
            self.referenced.append(outputs)
            return outputs
        return self._round_output(node, outputs)

    def _round_output(self, node: Node, outputs: Any) -> Any:
        limits = FIXED_RANGES.get(_activation(node.layer))
        in_training = limits is None or id(node.outputs) not in self.model_outputs
        rounded = self._mark(self._rounding(node.layer.name, limits, in_training)(outputs))
        if limits is not None:
            self.fixed.add(id(rounded))
        return rounded

    def _round(self, value: Any) -> Any:
        if not value.dtype.is_floating:
            return value
        if id(value) not in self.rounded:
            self.rounded[id(value)] = self._mark(self._rounding(value.node.layer.name)(value))
        return self.rounded[id(value)]

    def _mark(self, rounded: Any) -> Any:
        self.referenced.append(rounded)
        self.rounded[id(rounded)] = rounded
        return rounded

    def _is_rounded(self, value: Any) -> bool:
        return self.rounded.get(id(value)) is value

    def _rounding(self, name: str, limits: Any = None, in_training: bool = True) -> FakeQuantized:
        self.name_counts[name] += 1
        name = f"{name}_rounded" + (f"_{self.name_counts[name]}" if self.name_counts[name] > 1 else "")
        return FakeQuantized(limits, self.scheme.symmetric, in_training, name=name)

    def _norm_behind(self, node: Node) -> Node | None:
        readers = self._readers(node)
        if len(readers) != 1 or id(node.outputs) in self.model_outputs:
            return None
        norm = readers[0]
        once = self.calls[id(node.layer)] == self.calls[id(norm.layer)] == 1
        folds = isinstance(norm.layer, layers.BatchNormalization) and not self._is_kept_in_float(norm.layer)
        return norm if once and folds and _has_last_axis(norm.layer) else None

    def _is_kept_in_float(self, layer: tf_keras.layers.Layer) -> bool:
        return self.layer_name_of(layer.name) in self.scheme.in_float

    def _readers(self, node: Node) -> list[Node]:
        return self.readers[id(node.outputs)]

    def _note(self, node: Node, precision: str, reason: str = "") -> None:
        layer = node.layer
        kind = type(getattr(layer, "operation", layer)).__name__
        self.precisions[layer.name] = LayerPrecision(layer.name, kind, precision, reason)


def is_fusable(layer: tf_keras.layers.Layer) -> bool:
    """Tells whether a layer is a rectifier that the file fuses with the operation before it."""
    if isinstance(layer, layers.ReLU):
        return layer.max_value in (None, 6.0) and not layer.negative_slope and not layer.threshold
    return _activation(layer) in FUSED_ACTIVATIONS


def _activation(layer: tf_keras.layers.Layer) -> str | None:
    if isinstance(layer, layers.Softmax):
        return "softmax"
    return layer.activation.__name__ if isinstance(layer, layers.Activation) else None


def _ends_in_float(layer: tf_keras.layers.Layer) -> bool:
    return isinstance(layer, layers.ELU) or _activation(layer) in FLOAT_ACTIVATIONS


def _copies(layer: tf_keras.layers.Layer) -> bool:
    nearest = isinstance(layer, layers.UpSampling2D) and layer.interpolation == "nearest"
    return nearest or _activation(layer) == "linear"


def _bilinear(layer: tf_keras.layers.Layer) -> bool:
    return isinstance(layer, layers.UpSampling2D) and layer.interpolation == "bilinear"


def _has_last_axis(layer: tf_keras.layers.Layer) -> bool:
    if isinstance(layer, layers.Rescaling):
        return True
    return list(layer.axis) in ([-1], [layer.input_spec.ndim - 1])


def _tensors(values: Any) -> list[Any]:
    return [each for each in tf.nest.flatten(values) if tf_keras.backend.is_keras_tensor(each)]
