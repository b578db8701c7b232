"""Positions in sequences: vectors that are added, learned or sinusoidal, and rotations of queries and keys."""

from typing import Any

import keras
from keras import ops

from kerasdl.core import checks


class _Positioned(keras.layers.Layer):
    """Base of layers that take a tensor, or a tensor and the positions of its places."""

    def __init__(self, **kwargs: Any):
        super().__init__(autocast=False, **kwargs)  # bfloat16 would round positions from 257 on

    def tensor_and_positions(self, inputs: Any) -> tuple[Any, Any]:
        """Returns the tensor in the compute dtype, and its positions (B or 1, T) in float32."""
        if not isinstance(inputs, (list, tuple)):
            inputs = inputs, ops.arange(ops.shape(inputs)[1], dtype="float32")[None]
        tensor, positions = inputs
        return ops.cast(tensor, self.compute_dtype), ops.cast(positions, "float32")

    def shape_of(self, input_shape: Any) -> tuple:
        """Returns the shape of the tensor."""
        return tuple(input_shape[0] if isinstance(input_shape[0], (list, tuple)) else input_shape)

    def compute_output_shape(self, input_shape):
        return self.shape_of(input_shape)


def _checked_base(base: float) -> float:
    return checks.within("base", base, 1.0, 1e9)


@keras.saving.register_keras_serializable("kerasdl")
class LearnedPositions(_Positioned):
    """Learned positions: adds a vector of its own to each place of a sequence of any length up to `positions`.

    `PositionEmbedding` is the like for sequences of one length, such as the patches of an image.

    Source: https://arxiv.org/abs/1810.04805, section 3.

    Args:
        positions: the longest sequence.
        first: rows of the table before that of position 0, which no position takes; BART and RoBERTa have 2.

    Input:
        (B, T, D) floats; or [that, positions (B, T) or (1, T)] where places do not count from 0, as in a step of
        decoding. Such positions from `positions` on take the last vector. Places that are counted from 0 in a graph for
        sequences of any length, where nothing can be refused, are NaN from `positions` on.

    Returns:
        (B, T, D) of the compute dtype.

    Raises:
        ArgumentError: `positions` is below 1 or `first` below 0, or a sequence is longer.

    Example:
        >>> LearnedPositions(512)(keras.Input((20, 64))).shape
        (None, 20, 64)
    """

    def __init__(self, positions: int, first: int = 0, **kwargs: Any):
        super().__init__(**kwargs)
        self.positions = checks.at_least("positions", positions, 1)
        self.first = checks.at_least("first", first, 0)
        self.supports_masking = True

    def build(self, input_shape):
        shape = self.shape_of(input_shape)
        self._refuse_longer(shape[1])
        initializer = keras.initializers.TruncatedNormal(stddev=0.02)
        rows = self.first + self.positions
        self.table = self.add_weight(shape=(rows, shape[-1]), initializer=initializer, name="table")
        self.built = True

    def call(self, inputs):
        x, positions = self.tensor_and_positions(inputs)
        self._refuse_longer(x.shape[1])
        places = self.first + ops.clip(ops.cast(positions, "int32"), 0, self.positions - 1)
        vectors = ops.cast(ops.take(self.table, places, axis=0), x.dtype)
        if x.shape[1] is None and not isinstance(inputs, (list, tuple)):  # the length is known as the graph runs
            vectors = ops.where(positions[..., None] < self.positions, vectors, ops.cast(float("nan"), x.dtype))
        return x + vectors

    def _refuse_longer(self, length: int | None):
        if length is not None and length > self.positions:
            checks.refuse(f"a sequence must have at most {self.positions} places", length)

    def compute_mask(self, inputs, mask=None):
        return mask[0] if isinstance(mask, (list, tuple)) else mask

    def get_config(self):
        return {**super().get_config(), "positions": self.positions, "first": self.first}


@keras.saving.register_keras_serializable("kerasdl")
class PositionalEncoding(_Positioned):
    """Sinusoidal positions: adds sines and cosines of the position, of wavelengths from 2 pi to 2 pi times `base`.

    Source: https://arxiv.org/abs/1706.03762, section 3.5; sine and cosine of a wavelength stand side by side.

    Args:
        base: the longest wavelength over 2 pi; the paper's is 10,000.

    Input:
        (B, T, D) floats, D even; or [that, positions (B, T)] where places do not count from 0, as in a step of
        decoding.

    Returns:
        (B, T, D) of the compute dtype.

    Raises:
        ArgumentError: `base` is outside, or D is odd.

    Example:
        >>> PositionalEncoding()(np.zeros((1, 2, 4), "float32")).numpy()[0, 0]
        array([0., 1., 0., 1.], dtype=float32)
    """

    def __init__(self, base: float = 10_000.0, **kwargs: Any):
        super().__init__(**kwargs)
        self.base = _checked_base(base)
        self.supports_masking = True

    def build(self, input_shape):
        width = self.shape_of(input_shape)[-1]
        if width is None or width % 2:
            checks.refuse("the width must be even, for pairs of sine and cosine", width)
        self.built = True

    def call(self, inputs):
        x, positions = self.tensor_and_positions(inputs)
        width = x.shape[-1]
        rates = ops.power(self.base, -ops.arange(0, width, 2, dtype="float32") / width)
        angles = positions[..., None] * rates  # (B, T, D / 2)
        table = ops.stack([ops.sin(angles), ops.cos(angles)], axis=-1)
        table = ops.reshape(table, (-1, ops.shape(x)[1], width))
        return x + ops.cast(table, x.dtype)

    def compute_mask(self, inputs, mask=None):
        return mask[0] if isinstance(mask, (list, tuple)) else mask

    def get_config(self):
        return {**super().get_config(), "base": self.base}


@keras.saving.register_keras_serializable("kerasdl")
class RotaryEmbedding(_Positioned):
    """Rotary positions: turns pairs of entries of queries and keys by an angle that grows with the position.

    The product of a query and a key then depends on the distance of their positions alone.

    Source: https://arxiv.org/abs/2104.09864, section 3.2.2, equations 14 and 15.

    Args:
        base: the longest wavelength over 2 pi; the paper's is 10,000.
        interleaved: whether neighbours are pairs, as in the paper; otherwise entry i and entry i + H / 2 are, as in
            GPT-NeoX, Llama and Qwen.

    Input:
        (B, T, N, H) floats, heads behind places, H even; or [that, positions (B, T)] where places do not count from 0.

    Returns:
        (B, T, N, H) of the compute dtype.

    Raises:
        ArgumentError: `base` is outside, the rank is another, or H is odd.

    Example:
        >>> RotaryEmbedding()(np.ones((1, 1, 1, 4), "float32")).numpy().ravel()
        array([1., 1., 1., 1.], dtype=float32)
    """

    def __init__(self, base: float = 10_000.0, interleaved: bool = False, **kwargs: Any):
        super().__init__(**kwargs)
        self.base, self.interleaved = _checked_base(base), interleaved

    def build(self, input_shape):
        shape = self.shape_of(input_shape)
        if len(shape) != 4 or shape[-1] is None or shape[-1] % 2:
            checks.refuse("inputs must be (B, T, N, H) with an even H", shape)
        self.built = True

    def call(self, inputs):
        x, positions = self.tensor_and_positions(inputs)
        size = x.shape[-1]
        rates = ops.power(self.base, -ops.arange(0, size, 2, dtype="float32") / size)
        angles = positions[..., None, None] * rates  # (B, T, 1, H / 2)
        cosine, sine = ops.cos(angles), ops.sin(angles)
        wide = ops.cast(x, "float32")
        first, second = (wide[..., ::2], wide[..., 1::2]) if self.interleaved else ops.split(wide, 2, axis=-1)
        turned = [first * cosine - second * sine, second * cosine + first * sine]
        if self.interleaved:
            turned = ops.reshape(ops.stack(turned, axis=-1), ops.shape(wide))
        else:
            turned = ops.concatenate(turned, axis=-1)
        return ops.cast(turned, x.dtype)

    def get_config(self):
        return {**super().get_config(), "base": self.base, "interleaved": self.interleaved}


@keras.saving.register_keras_serializable("kerasdl")
class DocumentPositions(keras.layers.Layer):
    """Positions within the documents of a packed row: each document begins with 0.

    Source: https://arxiv.org/abs/2107.02027, section 3.2: positions of packed sequences are those in their own one.

    Input:
        (B, T) integers, the number of the document of each token; no document has the number of another one.

    Returns:
        (B, T) int32, the second input of layers of positions such as `LearnedPositions`.

    Example:
        >>> DocumentPositions()(np.array([[1, 1, 2, 2, 2]])).numpy()
        array([[0, 1, 0, 1, 2]], dtype=int32)
    """

    def __init__(self, **kwargs: Any):
        super().__init__(autocast=False, **kwargs)

    def call(self, inputs):
        same = ops.equal(inputs[:, :, None], inputs[:, None, :])  # (B, T, T)
        places = ops.arange(ops.shape(inputs)[1])
        earlier = places[None, :] < places[:, None]
        return ops.sum(ops.cast(ops.logical_and(same, earlier), "int32"), axis=-1)

    def compute_output_spec(self, inputs):
        return keras.KerasTensor(inputs.shape, dtype="int32")
