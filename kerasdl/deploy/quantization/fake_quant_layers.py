"""Fake-quantisation layers of tf_keras: TFMOT's quantizers on kernels, activations and batch norms."""

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import tensorflow as tf
import tf_keras

from ..tfmot import MovingAvgQuantize, tfmot

quantizers = tfmot.quantization.keras.quantizers

BITS = 8
DECAY = 0.9  # of the moving ranges, about 10 batches
KERNELS = {
    tf_keras.layers.DepthwiseConv2D: "depthwise_kernel",
    tf_keras.layers.Conv2D: "kernel",
    tf_keras.layers.Conv2DTranspose: "kernel",
    tf_keras.layers.Dense: "kernel",
    tf_keras.layers.Embedding: "embeddings",
}
# Output ranges of the int8 kernels of TFLite that do not depend on the input.
FIXED_RANGES = {"sigmoid": (0.0, 255 / 256), "softmax": (0.0, 255 / 256), "tanh": (-1.0, 127 / 128)}


def kernel_name(layer: tf_keras.layers.Layer) -> str | None:
    """Returns the attribute that holds the kernel of a layer with an int8 form; None for other layers."""
    return KERNELS.get(type(layer))


class MovingRange(quantizers.MovingAverageQuantizer):
    """Quantizer whose range follows the last batches.

    TFMOT's own follows the last 1,000, so that a short fine-tuning cuts off whatever grows.
    """

    def __call__(self, inputs: tf.Tensor, training: bool, weights: dict, **_: Any) -> tf.Tensor:
        """Rounds, and in training moves the range."""
        settings = {"num_bits": self.num_bits, "symmetric": self.symmetric, "narrow_range": self.narrow_range}
        ranges = weights["min_var"], weights["max_var"]
        return MovingAvgQuantize(inputs, *ranges, ema_decay=DECAY, is_training=training, **settings)


class FakeQuantized(tf_keras.layers.Layer):
    """Layer that rounds a tensor to 8 bits, within a moving range or a fixed one.

    Args:
        limits: the fixed range; None follows the data.
        symmetric: whether the range is the same on both sides of 0.
        in_training: whether it rounds in training too; not for probabilities whose logarithm a loss takes, as rounding
            makes zeros.
    """

    def __init__(
        self,
        limits: tuple[float, float] | None = None,
        symmetric: bool = False,
        in_training: bool = True,
        **settings: Any,
    ):
        super().__init__(**settings)
        self.limits, self.symmetric, self.in_training = limits, symmetric, in_training
        self.supports_masking = True
        self.quantizer = (
            MovingRange(BITS, per_axis=False, symmetric=symmetric, narrow_range=False)
            if limits is None
            else quantizers.FixedQuantizer(BITS, *limits, narrow_range=False)
        )
        self.record_ranges(None)

    def record_ranges(self, ranges: list | None) -> None:
        """Appends the least and greatest value of each batch to a list, and rounds nothing; None ends that."""
        object.__setattr__(self, "recorded_ranges", ranges)  # tf_keras would track a list

    def set_range(self) -> None:
        """Sets the range to the mean of the recorded ranges."""
        if self.limits is None and self.recorded_ranges:
            lows, highs = zip(*self.recorded_ranges, strict=True)
            low, high = min(0.0, sum(lows) / len(lows)), max(0.0, sum(highs) / len(highs))
            high = high if high > low else 1.0  # all values were zeros, which any range holds
            if self.symmetric:
                low, high = -max(-low, high), max(-low, high)
            self.take_limits(low, high)

    def limits_now(self) -> tuple[float, float]:
        """Returns the least and the greatest value of the range that follows the data."""
        return float(self.range["min_var"]), float(self.range["max_var"])

    def take_limits(self, low: float, high: float) -> None:
        """Sets the range that follows the data.

        Raises:
            ValueError: the range is empty, not finite, or leaves 0 out.
        """
        if not (math.isfinite(low) and math.isfinite(high) and low <= 0 <= high and low < high):
            raise ValueError(f"a range must be finite and hold 0; {self.name} has {low} to {high}")
        self.range["min_var"].assign(low)
        self.range["max_var"].assign(high)

    def build(self, input_shape: Any) -> None:
        """Makes the variables of the range."""
        self.range = self.quantizer.build(input_shape, "output", self)
        super().build(input_shape)

    def call(self, inputs: tf.Tensor, training: bool | None = None) -> tf.Tensor:
        """Rounds the tensor, or records its range."""
        if self.recorded_ranges is not None:
            if tf.executing_eagerly():
                self.recorded_ranges.append((float(tf.reduce_min(inputs)), float(tf.reduce_max(inputs))))
            return inputs
        if (training and not self.in_training) or not inputs.dtype.is_floating:  # whole numbers need no rounding
            return inputs
        return self.quantizer(inputs, bool(training), weights=self.range)


class QuantizedKernel(tf_keras.layers.Layer):
    """Layer whose kernel is rounded to 8 bits, with the batch norm behind it folded in.

    The statistics of the batch norm do not change: the kernel rounded in training is the kernel of the file.

    Args:
        layer: a built layer with a kernel.
        norm: the built batch norm behind it, or None.
        per_channel: whether each output channel has a range of its own, where the layer allows it.
        keep: the structure of the kernel that training preserves: "zeros", "clusters" (equal values stay equal).
    """

    def __init__(
        self,
        layer: tf_keras.layers.Layer,
        norm: tf_keras.layers.BatchNormalization | None = None,
        per_channel: bool = True,
        keep: Sequence[str] = (),
        **settings: Any,
    ):
        super().__init__(**settings)
        self.supports_masking = layer.supports_masking
        self.layer, self.norm, self.kernel_name = layer, norm, kernel_name(layer)
        self.is_depthwise = isinstance(layer, tf_keras.layers.DepthwiseConv2D)
        # TFLite's converter takes an axis for the kernels of convolutions alone.
        per_axis = per_channel and type(layer) in (tf_keras.layers.Conv2D, tf_keras.layers.DepthwiseConv2D)
        self.quantizer = quantizers.LastValueQuantizer(BITS, per_axis=per_axis, symmetric=True, narrow_range=True)
        self.range = self.quantizer.build(self._channels_last(self.kernel).shape, "kernel", self)
        self.preserved = self._preserved(keep)

    @property
    def kernel(self) -> tf.Variable:
        """The kernel of the layer, not rounded."""
        return getattr(self.layer, self.kernel_name)

    def _preserved(self, keep: Sequence[str]) -> dict[str, tf.Variable]:
        preserved = {}
        if "zeros" in keep:
            preserved["zeros"] = tf.cast(self.kernel != 0, tf.float32)
        if "clusters" in keep:
            preserved["clusters"] = tf.unique(tf.reshape(self.kernel, [-1])).idx
        return {name: tf.Variable(value, trainable=False, name=name) for name, value in preserved.items()}

    def effective_kernel(self) -> tf.Tensor:
        """Returns the kernel before rounding, with its zeros and clusters preserved."""
        kernel = tf.convert_to_tensor(self.kernel)
        if "clusters" in self.preserved:
            members = self.preserved["clusters"]
            count = tf.reduce_max(members) + 1
            means = tf.math.unsorted_segment_mean(tf.reshape(kernel, [-1]), members, count)
            kernel = tf.reshape(tf.gather(means, members), kernel.shape)
        return kernel * self.preserved["zeros"] if "zeros" in self.preserved else kernel

    def set_range(self) -> None:
        """Sets the range to that of the kernel."""
        self._rounded(self._folded()[0], True)
        self.kernel.assign(self.effective_kernel())

    def call(self, inputs: tf.Tensor, training: bool | None = None) -> tf.Tensor:
        """Runs the layer with the rounded kernel."""
        kernel, bias = self._folded()
        own = {self.kernel_name: self._rounded(kernel, bool(training))}
        with _temporary_attributes(self.layer, own if bias is None else own | {"bias": bias, "use_bias": True}):
            return self.layer.call(inputs)

    def compute_mask(self, inputs: Any, mask: Any = None) -> Any:
        """Returns the mask that the layer gives."""
        return self.layer.compute_mask(inputs, mask)

    def _folded(self) -> tuple[tf.Tensor, tf.Tensor | None]:
        kernel, bias = self.effective_kernel(), getattr(self.layer, "bias", None)
        if self.norm is None:
            return kernel, bias
        scale, shift = scale_and_shift(self.norm)
        return kernel * self._along_channels(scale), shift if bias is None else bias * scale + shift

    def _rounded(self, kernel: tf.Tensor, training: bool) -> tf.Tensor:
        return tf.reshape(self.quantizer(self._channels_last(kernel), training, weights=self.range), kernel.shape)

    def _channels_last(self, kernel: Any) -> Any:
        if not self.is_depthwise:
            return kernel
        height, width, channels, multiplier = kernel.shape
        return tf.reshape(kernel, (height, width, 1, channels * multiplier))

    def _along_channels(self, scale: tf.Tensor) -> tf.Tensor:
        if self.is_depthwise:
            return tf.reshape(scale, self.kernel.shape[2:])
        return scale[:, None] if isinstance(self.layer, tf_keras.layers.Conv2DTranspose) else scale


class Scaled(tf_keras.layers.Layer):
    """The product of a tensor and the rounded scale of a batch norm or Rescaling."""

    def __init__(self, source: tf_keras.layers.Layer, **settings: Any):
        super().__init__(**settings)
        self.source, self.supports_masking = source, True

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        """Multiplies."""
        scale, _ = scale_and_shift(self.source)
        return tf.cast(inputs, scale.dtype) * _rounded(scale)  # pixels may come as bytes


class Shifted(Scaled):
    """The sum of a tensor and the rounded shift of a batch norm or Rescaling."""

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        """Adds."""
        _, shift = scale_and_shift(self.source)
        return tf.cast(inputs, shift.dtype) + _rounded(shift)


class FloatBarrier(tf_keras.layers.Layer):
    """Barrier that keeps the converter from computing the following layers in int8.

    The converter takes the int8 form of an operation only where its input is rounded. Without the barrier the mean in a
    layer norm is rounded to the range of its input, which is far too coarse.
    """

    def __init__(self, **settings: Any):
        super().__init__(**settings)
        self.supports_masking = True

    def call(self, inputs: tf.Tensor, training: bool | None = None) -> tf.Tensor:
        """Returns sign times magnitude, outside training: TFLite has no integer kernel for the sign."""
        whole = not inputs.dtype.is_floating
        return inputs if training or whole else tf.sign(inputs) * tf.abs(inputs)


def scale_and_shift(layer: tf_keras.layers.Layer) -> tuple[Any, Any]:
    """Returns the factor and the offset that a batch norm (with its moving statistics) or Rescaling applies."""
    if isinstance(layer, tf_keras.layers.Rescaling):
        return tf.constant(layer.scale, tf.float32), tf.constant(layer.offset, tf.float32)
    scale = tf.math.rsqrt(layer.moving_variance + layer.epsilon)
    if layer.gamma is not None:
        scale = layer.gamma * scale
    shift = -layer.moving_mean * scale
    return scale, shift if layer.beta is None else shift + layer.beta


def _rounded(values: tf.Tensor) -> tf.Tensor:
    limit = tf.stop_gradient(tf.maximum(tf.reduce_max(tf.abs(values)), 1e-8))
    return tf.quantization.fake_quant_with_min_max_vars(values, -limit, limit, BITS, narrow_range=True)


@contextmanager
def _temporary_attributes(layer: tf_keras.layers.Layer, values: dict[str, Any]) -> Iterator[None]:
    """Context manager that gives attributes of a layer other values inside the block.

    It writes to the instance's dict: tf_keras's own `__setattr__` would track tensors and drop the layer's variables.
    """
    before = {name: vars(layer)[name] for name in values}
    vars(layer).update(values)
    try:
        yield
    finally:
        vars(layer).update(before)
