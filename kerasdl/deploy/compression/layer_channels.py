"""Channels of Keras layers: the axes of weights that hold them, and the layers that keep, merge or make channels."""

import keras
import numpy as np

L = keras.layers
A = keras.activations

_CONVOLUTION = {"kernel": {-2: "in", -1: "out"}, "bias": {-1: "out"}}
_TRANSPOSED = {"kernel": {-2: "out", -1: "in"}, "bias": {-1: "out"}}
_DEPTHWISE = {"kernel": {-2: "in"}, "bias": {-1: "out"}}
_SEPARABLE = {
    "depthwise_kernel": {-2: "in"},
    "pointwise_kernel": {-2: "middle", -1: "out"},
    "bias": {-1: "out"},
}
_NORM = {name: {-1: "out"} for name in ("gamma", "beta", "moving_mean", "moving_variance")}
_SLOPE = {"alpha": {-1: "out"}}

# Layers with weights for each channel: by weight name and axis, the side of the layer whose channels the axis holds.
AXES = {
    **dict.fromkeys((L.Dense, L.Conv1D, L.Conv2D, L.Conv3D), _CONVOLUTION),
    **dict.fromkeys((L.Conv1DTranspose, L.Conv2DTranspose, L.Conv3DTranspose), _TRANSPOSED),
    **dict.fromkeys((L.DepthwiseConv1D, L.DepthwiseConv2D), _DEPTHWISE),
    **dict.fromkeys((L.SeparableConv1D, L.SeparableConv2D), _SEPARABLE),
    L.BatchNormalization: _NORM,
    L.PReLU: _SLOPE,
}
# Layers that make new channels, and the setting that holds their number.
CHANNEL_MAKING = tuple(kind for kind, weights in AXES.items() if weights not in (_DEPTHWISE, _NORM, _SLOPE))
SETTINGS = {kind: "units" if kind is L.Dense else "filters" for kind in CHANNEL_MAKING}
RESHAPING = (L.Flatten, L.Reshape)
# Layers whose output channel depends on the same channel of the input alone.
CHANNELWISE = (
    *(L.Activation, L.ReLU, L.LeakyReLU, L.ELU, L.Identity, L.ActivityRegularization, L.Rescaling, L.Resizing),
    *(L.Dropout, L.SpatialDropout1D, L.SpatialDropout2D, L.SpatialDropout3D, L.AlphaDropout),
    *(L.GaussianDropout, L.GaussianNoise, L.RepeatVector),
    *(L.ZeroPadding1D, L.ZeroPadding2D, L.ZeroPadding3D, L.Cropping1D, L.Cropping2D, L.Cropping3D),
    *(L.UpSampling1D, L.UpSampling2D, L.UpSampling3D),
    *(L.MaxPooling1D, L.MaxPooling2D, L.MaxPooling3D, L.AveragePooling1D, L.AveragePooling2D, L.AveragePooling3D),
    *(L.GlobalMaxPooling1D, L.GlobalMaxPooling2D, L.GlobalMaxPooling3D),
    *(L.GlobalAveragePooling1D, L.GlobalAveragePooling2D, L.GlobalAveragePooling3D),
)
MERGING = (L.Add, L.Subtract, L.Multiply, L.Average, L.Maximum, L.Minimum)
MERGING_OPS = ("Add", "Subtract", "Multiply", "Divide", "TrueDivide", "Maximum", "Minimum")
CHANNELWISE_OPS = ("Relu", "Relu6", "Sigmoid", "Silu", "HardSigmoid", "HardSilu", "Tanh", "Gelu", "Elu", "Clip")
ELEMENTWISE = (
    *(A.linear, A.relu, A.relu6, A.leaky_relu, A.elu, A.selu, A.celu, A.gelu, A.silu, A.mish, A.tanh, A.sigmoid),
    *(A.softplus, A.softsign, A.exponential, A.hard_sigmoid, A.hard_silu, A.hard_tanh, A.hard_shrink, A.soft_shrink),
    *(A.log_sigmoid, A.squareplus, A.tanh_shrink, A.threshold),
)


def op_name(operation: keras.Operation) -> str | None:
    """Returns the class name of a bare operation of Keras; None of a layer or of a user's operation."""
    is_keras_op = type(operation).__module__.startswith("keras.src.ops") and not isinstance(operation, keras.Layer)
    return type(operation).__name__ if is_keras_op else None


def is_elementwise(activation: object) -> bool:
    """Tells whether an activation (None for none) is known to work on each channel by itself."""
    return activation is None or activation in ELEMENTWISE


def has_default_channels(layer: keras.Layer, x: keras.KerasTensor) -> bool:
    """Tells whether a layer treats the channels of `x` as its kind does by default."""
    if isinstance(layer, L.PReLU):
        return layer.alpha.shape[-1] == x.shape[-1]  # not one slope for all channels
    if type(layer) in AXES:
        known = {weight.name for weight in layer.weights} <= set(AXES[type(layer)])  # no LoRA, no integer weights
        return known and getattr(layer, "groups", 1) == 1 and getattr(layer, "axis", -1) in (-1, len(x.shape) - 1)
    if isinstance(layer, L.Activation):
        return is_elementwise(layer.activation)
    if isinstance(layer, L.Rescaling):
        return np.ndim(layer.scale) == np.ndim(layer.offset) == 0
    return getattr(layer, "noise_shape", None) is None
