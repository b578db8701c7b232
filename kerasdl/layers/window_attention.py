"""Window self-attention of Swin transformers, with a bias for the offset between two places."""

import math

import keras
import numpy as np
from keras import ops

from kerasdl.core import checks

from .windows import check_windows_of, checked_window, relative_positions, shifted_mask

MOST_PAIRS = 2**26  # limit of memory for a layer in a stranger's file
FAR = -100.0  # added to the scores of masked pairs, as in the authors' code


class _WindowedAttention(keras.layers.Layer):
    """Base of both kinds: query, key and value, the mask of shifted windows, the projection."""

    def __init__(self, heads: int, window: int, image_shape: tuple[int, int], shift: int = 0, **kwargs):
        super().__init__(**kwargs)
        self.heads = checks.at_least("heads", heads, 1)
        checks.at_least("window", window, 2)
        self.window, self.shift = checked_window(window, shift)
        self.image_shape = tuple(checks.at_least("a side", side, 1) for side in image_shape)
        pairs = math.prod(-(-side // window) for side in self.image_shape) * window**4
        if pairs > MOST_PAIRS:
            checks.refuse(f"windows may hold at most {MOST_PAIRS} pairs of places", pairs, "Take smaller windows.")

    def build(self, input_shape):
        check_windows_of(self.image_shape, self.window, input_shape)
        width = input_shape[-1]
        if width % self.heads:
            checks.refuse(f"the width must be a multiple of the {self.heads} heads", width)
        for part in ("query", "key", "value", "output"):
            self._dense(part, width, bias=part in self.BIASED)
        self._build_bias()
        if self.shift:
            mask = np.where(shifted_mask(self.image_shape, self.window, self.shift), 0.0, FAR)
            self.score_mask = mask.astype("float32")[:, None]  # (windows, 1, T, T)
        self.built = True

    def _dense(self, part: str, width: int, bias: bool) -> None:
        setattr(self, f"{part}_kernel", self.add_weight(shape=(width, width), name=f"{part}_kernel"))
        if bias:
            setattr(self, f"{part}_bias", self.add_weight(shape=(width,), initializer="zeros", name=f"{part}_bias"))

    def _apply(self, part: str, x):
        y = ops.matmul(x, ops.cast(getattr(self, f"{part}_kernel"), x.dtype))
        return y + ops.cast(getattr(self, f"{part}_bias"), x.dtype) if part in self.BIASED else y

    def call(self, inputs):
        _, windows, tokens, width = inputs.shape
        x = ops.reshape(inputs, (-1, tokens, width))  # (B * windows, T, D)

        def by_head(part):
            y = ops.reshape(self._apply(part, x), (-1, tokens, self.heads, width // self.heads))
            return ops.transpose(y, (0, 2, 1, 3))  # (B * windows, N, T, D / N)

        scores = self._scores(by_head("query"), by_head("key"))  # (B * windows, N, T, T)
        if self.shift:
            scores = ops.reshape(scores, (-1, windows, self.heads, tokens, tokens))
            scores = ops.reshape(scores + ops.cast(self.score_mask, scores.dtype), (-1, self.heads, tokens, tokens))
        mixed = ops.matmul(ops.cast(ops.softmax(scores, axis=-1), inputs.dtype), by_head("value"))
        mixed = ops.reshape(ops.transpose(mixed, (0, 2, 1, 3)), (-1, windows, tokens, width))
        return self._apply("output", mixed)

    def compute_output_shape(self, input_shape):
        return input_shape

    def get_config(self):
        own = {"heads": self.heads, "window": self.window, "image_shape": self.image_shape, "shift": self.shift}
        return {**super().get_config(), **own}


@keras.saving.register_keras_serializable("kerasdl")
class WindowAttention(_WindowedAttention):
    """Multi-head self-attention within windows, with a learned bias for each offset between two places.

    Source: Swin transformer, https://arxiv.org/abs/2103.14030, section 3.2, equation 4.

    Args:
        heads: attention heads; the width is a multiple of it.
        window: side of a window in pixels.
        image_shape: height and width of the image that the windows come from, for the mask of shifted windows.
        shift: pixels by which the image was rolled, less than the window.

    Input:
        (B, windows, window * window, D) floats, as `WindowPartition` gives them.

    Returns:
        The same shape and dtype.

    Raises:
        ArgumentError: an argument breaks its range, the width is not a multiple of the heads, or the windows of the
            input do not match the image.

    Example:
        >>> WindowAttention(3, 7, (56, 56), 3)(keras.Input((64, 49, 96))).shape
        (None, 64, 49, 96)
    """

    BIASED = ("query", "key", "value", "output")

    def _build_bias(self):
        initializer = keras.initializers.TruncatedNormal(stddev=0.02)
        shape = ((2 * self.window - 1) ** 2, self.heads)
        self.bias_table = self.add_weight(shape=shape, initializer=initializer, name="bias_table")
        self.places = relative_positions(self.window).ravel()

    def _scores(self, query, key):
        tokens, size = query.shape[-2:]
        scores = ops.matmul(query * size**-0.5, ops.transpose(key, (0, 1, 3, 2)))
        bias = ops.reshape(ops.take(self.bias_table, self.places, axis=0), (tokens, tokens, self.heads))
        return scores + ops.cast(ops.transpose(bias, (2, 0, 1)), scores.dtype)


@keras.saving.register_keras_serializable("kerasdl")
class CosineWindowAttention(_WindowedAttention):
    """Multi-head cosine self-attention within windows, with a bias computed by a perceptron from the offset.

    The perceptron has 512 hidden units and reads offsets on a logarithmic scale; the bias it gives lies from 0 to 16.
    Scores reach 116, too large for the precision of 16 bits: they are computed in the dtype of the weights.

    Source: Swin transformer V2, https://arxiv.org/abs/2111.09883, section 3.3, equations 2 to 4.

    Args:
        heads: attention heads; the width is a multiple of it.
        window: side of a window in pixels, 2 or more.
        image_shape: height and width of the image that the windows come from, for the mask of shifted windows.
        shift: pixels by which the image was rolled, less than the window.

    Input:
        (B, windows, window * window, D) floats, as `WindowPartition` gives them.

    Returns:
        The same shape and dtype.

    Raises:
        ArgumentError: an argument breaks its range, the width is not a multiple of the heads, or the windows of the
            input do not match the image.

    Example:
        >>> CosineWindowAttention(3, 8, (64, 64), 4)(keras.Input((64, 64, 96))).shape
        (None, 64, 64, 96)
    """

    BIASED = ("query", "value", "output")  # a bias of the key changes no cosine's order

    def _build_bias(self):
        wide = dict(autocast=False)
        normal = keras.initializers.TruncatedNormal(stddev=0.02)
        start = keras.initializers.Constant(np.log(10.0))
        self.logit_scale = self.add_weight(shape=(self.heads, 1, 1), initializer=start, name="logit_scale", **wide)
        self.bias_hidden = self.add_weight(shape=(2, 512), initializer=normal, name="bias_hidden", **wide)
        self.bias_hidden_bias = self.add_weight(shape=(512,), initializer="zeros", name="bias_hidden_bias", **wide)
        self.bias_out = self.add_weight(shape=(512, self.heads), initializer=normal, name="bias_out", **wide)
        self.places = relative_positions(self.window).ravel()
        steps = np.arange(1 - self.window, self.window) / (self.window - 1) * 8
        steps = np.sign(steps) * np.log2(np.abs(steps) + 1) / 3  # log2(8) = 3
        offsets = np.stack(np.meshgrid(steps, steps, indexing="ij"), -1)
        self.offsets = offsets.reshape(-1, 2).astype("float32")  # ((2 window - 1)^2, 2)

    def _scores(self, query, key):
        tokens = query.shape[-2]
        query, key = (of_length_one(ops.cast(each, self.variable_dtype)) for each in (query, key))
        scale = ops.exp(ops.minimum(self.logit_scale, float(np.log(100.0))))
        scores = ops.matmul(query, ops.transpose(key, (0, 1, 3, 2))) * scale
        hidden = ops.matmul(ops.cast(self.offsets, self.variable_dtype), self.bias_hidden) + self.bias_hidden_bias
        table = ops.matmul(ops.relu(hidden), self.bias_out)
        bias = ops.reshape(ops.take(table, self.places, axis=0), (tokens, tokens, self.heads))
        return scores + 16 * ops.sigmoid(ops.transpose(bias, (2, 0, 1)))


def of_length_one(x):
    """Returns vectors (..., D) scaled to length one; zeros, as in padding, stay zeros with a finite gradient."""
    squares = ops.sum(ops.square(x), axis=-1, keepdims=True)
    return x * ops.rsqrt(ops.where(squares > 1e-12, squares, 1.0))
