"""Where quantisation-aware training rounds to 8 bits: Jacob et al., "Quantization and Training of Neural Networks for
Efficient Integer-Arithmetic-Only Inference" (https://arxiv.org/abs/1712.05877), sections 2 and 3.

The quantizers are TFMOT's; where they stand is decided here, in one pass over the graph. TFMOT's own transforms refuse
most layers, take minutes on nets of separable convolutions, and give pooling two ranges, which no file can hold.
"""

from collections import Counter, defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import tensorflow as tf
import tf_keras

from kerasdl.core import checks

from ..keras2.custom_layers import MaskedScores, Product, WrappedKeras3Layer
from .fake_quant_layers import FIXED_RANGES, FakeQuantized, LeftInFloat, QuantizedKernel, Scaled, Shifted, kernel_name
from .graph_rewriting import Node, nodes_of, rewire

layers = tf_keras.layers

# They copy values, so that what comes out has the range of what goes in.
COPYING = (
    *(layers.MaxPooling1D, layers.MaxPooling2D, layers.AveragePooling1D, layers.AveragePooling2D),
    *(layers.GlobalMaxPooling1D, layers.GlobalMaxPooling2D, layers.Flatten, layers.Reshape, layers.Permute),
    *(layers.ZeroPadding1D, layers.ZeroPadding2D, layers.Cropping1D, layers.Cropping2D, layers.RepeatVector),
    *(layers.UpSampling1D, layers.Dropout, layers.SpatialDropout1D, layers.SpatialDropout2D, layers.GaussianNoise),
)
# They have int8 kernels in TFLite.
COMPUTING = (
    *(layers.Add, layers.Subtract, layers.Multiply, layers.Maximum, layers.Minimum, layers.Concatenate, Product),
    *(layers.GlobalAveragePooling1D, layers.GlobalAveragePooling2D, layers.Softmax, layers.LeakyReLU, layers.PReLU),
)
COMPUTING_ACTIVATIONS = ("sigmoid", "softmax", "tanh", "gelu", "hard_silu", "leaky_relu")
FUSED_ACTIVATIONS = ("relu", "relu6")
# The last operation of these may be one to which TFLite gives a range of its own (tanh, sigmoid, softmax, an L2 norm).
# Left in float, they would hand that range on to all that is joined with them, and the converter fails.
FIXED_ENDS = (layers.Softmax, layers.UnitNormalization, WrappedKeras3Layer)
# The converter fails on these too, where they are joined or copied.
FLOAT_ENDS = ("log_softmax", "elu")
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
    """How tensors are rounded to 8 bits."""

    per_channel: bool = True
    """Whether each output channel of a convolution's kernel has a range of its own, or the kernel has one."""
    symmetric: bool = False
    """Whether activations have the same range on both sides of 0; kernels always have."""
    in_float: tuple[str, ...] = ()
    """Names of layers that stay in float; their large kernels are stored in eight bits all the same."""
    keep: tuple[str, ...] = ()
    """What training must keep of pruned or clustered kernels: "zeros" (PQAT), "clusters" (CQAT), or both (PCQAT)."""

    def __post_init__(self):
        for name, value in (("in_float", self.in_float), ("keep", self.keep)):
            if isinstance(value, str):
                checks.refuse(f"{name} must be a tuple of names", value, f"Write ({value!r},).")
        for each in self.keep:
            checks.one_of("each of keep", each, ("zeros", "clusters"))


@dataclass(frozen=True)
class LayerPrecision:
    """In what a layer of a quantised model computes."""

    layer: str
    """Its name; a layer that was split in parts has a row for each."""
    kind: str
    """Its class."""
    precision: str
    """"int8" or "float"."""
    reason: str
    """Why, where it is not the plain case."""


def fake_quantized(
    model: tf_keras.Model, scheme: QuantizationScheme, owners: LayerNameOfPart
) -> tuple[tf_keras.Model, tuple[LayerPrecision, ...]]:
    """Returns a model that computes as an int8 file of `model` will, and a row for each of its layers.

    Args:
        model: a tf_keras model with one operation a layer, as `bridge(model, split=True)` makes it.
        scheme: how tensors are rounded.
        owners: gives the name of the Keras 3 layer that a tf_keras layer, by name, is a part of.

    Returns:
        The model, over the same weights, and the rows in the order of the graph.
    """
    placement = _Placement(model, scheme, owners)
    return rewire(model, placement.call), tuple(placement.rows.values())


class _Placement:
    """The state of one pass over a graph: which tensors are rounded, and what reads them."""

    def __init__(self, model: tf_keras.Model, scheme: QuantizationScheme, owners: LayerNameOfPart):
        self.scheme, self.owners = scheme, owners
        self.rows: dict[str, LayerPrecision] = {}
        self.readers: dict[int, list[Node]] = defaultdict(list)
        for node in nodes_of(model):
            for tensor in node.keras_inputs:
                self.readers[id(tensor)].append(node)
        self.given = {id(tensor) for tensor in model.outputs}
        self.calls = Counter(id(node.layer) for node in nodes_of(model))
        self.made: dict[int, tuple[tf_keras.layers.Layer, ...]] = {}  # by the id of the layer they stand for
        self.folded: set[int] = set()
        self.named: Counter[str] = Counter()
        self.alive: list[Any] = []  # tensors that the next two know by id
        self.rounded: dict[int, Any] = {}  # what stands for a tensor, rounded; itself, where it is
        self.fusing: set[int] = set()
        self.fixed: set[int] = set()  # rounded to a range of TFLite's own, or copied from such

    def call(self, node: Node, args: tuple, kwargs: dict[str, Any]) -> Any:
        """Returns the outputs of a node in the quantised graph."""
        layer, how = node.layer, self._way(node)
        self.alive += tf.nest.flatten((args, kwargs))
        if how == self._leave:
            return self._leave(node, args, kwargs)
        outputs = how(node, *args, **{key: value for key, value in kwargs.items() if value is not None})
        if layer.name not in self.rows:
            self._note(node, "int8")
        return outputs

    def _way(self, node: Node) -> Callable:
        layer = node.layer
        if self._is_kept_in_float(layer):
            return self._leave
        if kernel_name(layer):
            return self._look_up if isinstance(layer, layers.Embedding) else self._multiply
        if isinstance(layer, (layers.BatchNormalization, layers.Rescaling)):
            return self._scale if _has_last_axis(layer) else self._leave
        if is_fusable(layer):
            return self._rectify
        if isinstance(layer, COPYING) or _copies(layer):
            return self._copy
        if isinstance(layer, layers.Add) and any(self._way(each) == self._leave for each in self._readers(node)):
            return self._leave  # the stream of a residual net with layer norms
        if isinstance(node.keras_inputs[0].node.layer, MaskedScores):
            return self._leave  # no grid of 256 steps holds both scores and a mask
        if isinstance(layer, COMPUTING) or _bilinear(layer) or _activation(layer) in COMPUTING_ACTIVATIONS:
            return self._compute if len(node.keras_inputs) == len(_tensors(node.call_args)) else self._leave
        return self._leave

    def _multiply(self, node: Node, inputs: Any) -> Any:
        norm = self._norm_behind(node)
        outputs = self._with_kernel(node.layer, norm and norm.layer)(self._round(inputs))
        if norm is not None:
            self.folded.add(id(norm.layer))
            self._note(norm, "int8", f"folded into {node.layer.name}")
        return self._close(norm or node, outputs)

    def _with_kernel(self, layer: tf_keras.layers.Layer, norm: tf_keras.layers.Layer | None) -> QuantizedKernel:
        if id(layer) not in self.made:
            settings = {"per_channel": self.scheme.per_channel, "keep": self.scheme.keep}
            self.made[id(layer)] = (QuantizedKernel(layer, norm, name=f"int8_{layer.name}", **settings),)
        return self.made[id(layer)][0]

    def _scale(self, node: Node, inputs: Any) -> Any:
        layer, name = node.layer, node.layer.name
        if id(layer) in self.folded:
            return inputs
        if id(layer) not in self.made:
            self.made[id(layer)] = Scaled(layer, name=f"{name}_scale"), Shifted(layer, name=f"{name}_shift")
        scale, shift = self.made[id(layer)]
        return self._close(node, shift(self._rounding(f"{name}_scaled")(scale(self._round(inputs)))))

    def _rectify(self, node: Node, inputs: Any) -> Any:
        inputs = inputs if id(inputs) in self.fusing else self._round(inputs)
        return self._finish(node, node.layer(inputs))

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
        ways = [(reader, self._way(reader)) for reader in self._readers(node)]
        return any(self._feeds_int8(reader) if way == self._copy else way != self._leave for reader, way in ways)

    def _compute(self, node: Node, inputs: Any) -> Any:
        rounded = tf.nest.map_structure(self._round, inputs)
        outputs = node.layer(rounded)
        if isinstance(node.layer, layers.Add):
            return self._close(node, outputs)
        outputs = self._finish(node, outputs)
        return self._stated(node, outputs) if self._shares_range(node, rounded) else outputs

    def _shares_range(self, node: Node, inputs: Any) -> bool:
        """Tells whether the converter would carry the range of one input through what is joined, and clip the rest."""
        fixed = any(id(each) in self.fixed for each in tf.nest.flatten(inputs))
        joins = isinstance(node.layer, (layers.Maximum, layers.Minimum)) or (
            isinstance(node.layer, layers.Concatenate) and fixed
        )
        return joins and any(self._way(each) == self._copy for each in self._readers(node))

    def _stated(self, node: Node, outputs: Any) -> Any:
        """Rounds a second time, behind a bar: the converter takes the second range for what copies read."""
        return self._mark(self._rounding(node.layer.name)(self._barred(outputs)))

    def _look_up(self, node: Node, inputs: Any) -> Any:
        return self._mark(self._with_kernel(node.layer, None)(inputs))

    def _leave(self, node: Node, args: tuple, kwargs: dict[str, Any]) -> Any:
        layer = node.layer
        adds = isinstance(layer, layers.Add)
        reason = "it feeds a layer that stays in float" if adds else NO_KERNEL
        if isinstance(layer, WrappedKeras3Layer):
            reason = "tf_keras has no such layer: it computes as a whole, as in Keras 3"
        self._note(node, "float", "as the scheme says" if self._is_kept_in_float(layer) else reason)
        if not (adds or isinstance(layer, (layers.Activation, layers.ELU))):  # these cannot go on in int8 anyhow
            args, kwargs = tf.nest.map_structure(self._guarded, (args, kwargs))
        if isinstance(layer, layers.BatchNormalization):
            kwargs = {**kwargs, "training": False}  # its statistics stand still, as those of all others
        outputs = layer(*args, **kwargs)
        fixed = isinstance(layer, FIXED_ENDS) or _activation(layer) in FIXED_RANGES
        barred = fixed or (_ends_in_float(layer) and any(map(self._hands_on, self._readers(node))))
        return tf.nest.map_structure(self._barred, outputs) if barred else outputs

    def _hands_on(self, node: Node) -> bool:
        return isinstance(node.layer, JOINING) or self._way(node) == self._copy

    def _guarded(self, value: Any) -> Any:
        return self._barred(value) if self._is_rounded(value) else value

    def _barred(self, value: Any) -> Any:
        return LeftInFloat()(value) if value.dtype.is_floating else value

    def _close(self, node: Node, outputs: Any) -> Any:
        """Rounds what a node gives, unless a rectifier behind it does."""
        readers = self._readers(node)
        if len(readers) == 1 and is_fusable(readers[0].layer) and id(node.outputs) not in self.given:
            self.fusing.add(id(outputs))
            self.alive.append(outputs)
            return outputs
        return self._finish(node, outputs)

    def _finish(self, node: Node, outputs: Any) -> Any:
        limits = FIXED_RANGES.get(_activation(node.layer))
        in_training = limits is None or id(node.outputs) not in self.given
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
        self.alive.append(rounded)
        self.rounded[id(rounded)] = rounded
        return rounded

    def _is_rounded(self, value: Any) -> bool:
        return self.rounded.get(id(value)) is value

    def _rounding(self, name: str, limits: Any = None, in_training: bool = True) -> FakeQuantized:
        self.named[name] += 1
        name = f"{name}_rounded" + (f"_{self.named[name]}" if self.named[name] > 1 else "")
        return FakeQuantized(limits, self.scheme.symmetric, in_training, name=name)

    def _norm_behind(self, node: Node) -> Node | None:
        readers = self._readers(node)
        if len(readers) != 1 or id(node.outputs) in self.given:
            return None
        norm = readers[0]
        once = self.calls[id(node.layer)] == self.calls[id(norm.layer)] == 1
        folds = isinstance(norm.layer, layers.BatchNormalization) and not self._is_kept_in_float(norm.layer)
        return norm if once and folds and _has_last_axis(norm.layer) else None

    def _is_kept_in_float(self, layer: tf_keras.layers.Layer) -> bool:
        return self.owners(layer.name) in self.scheme.in_float

    def _readers(self, node: Node) -> list[Node]:
        return self.readers[id(node.outputs)]

    def _note(self, node: Node, precision: str, reason: str = "") -> None:
        layer = node.layer
        kind = type(getattr(layer, "operation", layer)).__name__
        self.rows[layer.name] = LayerPrecision(layer.name, kind, precision, reason)


def is_fusable(layer: tf_keras.layers.Layer) -> bool:
    """Tells whether a layer is a rectifier that a file computes in the operation before it."""
    if isinstance(layer, layers.ReLU):
        return layer.max_value in (None, 6.0) and not layer.negative_slope and not layer.threshold
    return _activation(layer) in FUSED_ACTIVATIONS


def _activation(layer: tf_keras.layers.Layer) -> str | None:
    if isinstance(layer, layers.Softmax):
        return "softmax"
    return layer.activation.__name__ if isinstance(layer, layers.Activation) else None


def _ends_in_float(layer: tf_keras.layers.Layer) -> bool:
    return isinstance(layer, layers.ELU) or _activation(layer) in FLOAT_ENDS


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
