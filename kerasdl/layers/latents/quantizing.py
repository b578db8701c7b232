"""Quantizing layers: a codebook of moving averages (VQ-VAE), and finite scalars without a codebook (FSQ).

Deviations: a codebook is kept as entries and their uses, whose product is the paper's sum; entries begin as draws of a
normal distribution, and those that nobody uses are moved to vectors of the batch.
"""

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
from keras import ops

from kerasdl.core import checks
from kerasdl.ops import finite_scalar_indices, finite_scalars, nearest_codes, straight_through

LEAST_USE = 1e-9
"""Average use of an entry below which it stays where it is."""


@keras.saving.register_keras_serializable("kerasdl")
class VectorQuantizer(keras.layers.Layer):
    """Nearest entry of a codebook for each vector; in training the entries follow the means of their vectors.

    Entries have no gradient: with `training=True` each is an exponential moving average of the vectors that chose it,
    and one whose average use falls below a share of the mean use is moved to a vector of the batch. Gradients pass to
    the vectors unchanged; the trainer adds the loss that keeps vectors near their entries.

    Source: https://arxiv.org/abs/1711.00937, section 3.2 and appendix A.1; restarts of entries that died:
    https://arxiv.org/abs/2005.00341, section 3.1.

    Args:
        codes: K, entries of the codebook.
        decay: of the moving averages, from 0 to below 1.
        restart: share of the mean use below which an entry is moved; 0 leaves dead entries.
        seed: seed of the first entries and of restarts; None draws one.
        **kwargs: arguments of every layer.

    Input:
        (B, ..., D) floats.

    Returns:
        The same shape.

    Raises:
        ArgumentError: an argument breaks its range.

    Example:
        >>> layer = VectorQuantizer(2, decay=0.9, seed=0)
        >>> x = np.array([[5.0], [5.0], [-5.0], [-5.0]], "float32")
        >>> for step in range(50): found = layer(x, training=True)
        >>> sorted(layer.codebook.numpy().round(1).ravel().tolist())
        [-5.0, 5.0]
    """

    def __init__(self, codes: int, decay: float = 0.99, restart: float = 0.1, seed: int | None = None, **kwargs: Any):
        super().__init__(**kwargs)
        self.codes = checks.at_least("codes", codes, 2)
        self.decay = checks.within("decay", decay, 0.0, 0.99999)
        self.restart = checks.within("restart", restart, 0.0, 0.99)
        self.seed = seed
        self.generator = keras.random.SeedGenerator(seed)

    def build(self, shape):
        first = keras.initializers.RandomNormal(stddev=1.0, seed=self.seed)
        settings = {"trainable": False, "dtype": "float32", "autocast": False}
        self.codebook = self.add_weight((self.codes, shape[-1]), first, name="embeddings", **settings)
        self.uses = self.add_weight((self.codes,), "ones", name="uses", **settings)

    def indices(self, vectors: Any) -> Any:
        """Returns the index (B, ...) int32 of the entry nearest to each vector (B, ..., D)."""
        return nearest_codes(ops.cast(vectors, "float32"), self.codebook)

    def entries(self, indices: Any) -> Any:
        """Returns the entries (B, ..., D) of indices (B, ...)."""
        return ops.take(self.codebook, indices, axis=0)

    def call(self, inputs, training=False):
        vectors = ops.cast(inputs, "float32")
        indices = self.indices(vectors)
        quantized = self.entries(indices)
        if training:
            width = vectors.shape[-1]
            self._learn(ops.reshape(vectors, (-1, width)), ops.reshape(indices, (-1,)))
        return ops.cast(straight_through(quantized, vectors) if training else quantized, inputs.dtype)

    def _learn(self, vectors: Any, indices: Any) -> None:
        vectors = ops.stop_gradient(vectors)
        chosen = ops.one_hot(indices, self.codes, dtype="float32")  # (N, K)
        uses = self.decay * self.uses + (1 - self.decay) * ops.sum(chosen, axis=0)
        sums = self.decay * self.uses[:, None] * self.codebook
        sums += (1 - self.decay) * ops.matmul(ops.transpose(chosen), vectors)
        means = ops.where(uses[:, None] > LEAST_USE, sums / ops.maximum(uses, LEAST_USE)[:, None], self.codebook)
        mean_use = ops.sum(uses) / self.codes
        dead = uses < self.restart * mean_use
        drawn = keras.random.randint((self.codes,), 0, ops.shape(vectors)[0], seed=self.generator)
        self.codebook.assign(ops.where(dead[:, None], ops.take(vectors, drawn, axis=0), means))
        self.uses.assign(ops.where(dead, mean_use, uses))

    def compute_output_shape(self, shape):
        return shape

    def get_config(self):
        own = {"codes": self.codes, "decay": self.decay, "restart": self.restart, "seed": self.seed}
        return {**super().get_config(), **own}


@keras.saving.register_keras_serializable("kerasdl")
class FiniteScalarQuantizer(keras.layers.Layer):
    """Rounding of each channel to a few levels: a code without a codebook, of which no entry can die.

    Source: https://arxiv.org/abs/2309.15505, section 3.

    Args:
        levels: levels of each channel, 2 or more; (8, 5, 5, 5) are about 2^10 codes, (8, 8, 8, 5, 5, 5) about 2^16.
        **kwargs: arguments of every layer.

    Input:
        (B, ..., D) floats, D levels.

    Returns:
        The same shape, values from -1 to 1.

    Raises:
        ArgumentError: levels are below 2, or not one a channel.

    Example:
        >>> FiniteScalarQuantizer((3, 3))(np.array([[9.0, 0.0]], "float32")).numpy().tolist()
        [[1.0, 0.0]]
    """

    def __init__(self, levels: Sequence[int], **kwargs: Any):
        super().__init__(**kwargs)
        self.levels = checks.counts("levels", tuple(levels))
        if min(self.levels) < 2:
            checks.refuse("levels must be 2 or more each", self.levels)

    @property
    def codes(self) -> int:
        """Size of the implied codebook, the product of the levels."""
        return int(np.prod(self.levels))

    def indices(self, vectors: Any) -> Any:
        """Returns the number (B, ...) int32 of the code of each vector (B, ..., D)."""
        return finite_scalar_indices(finite_scalars(vectors, self.levels), self.levels)

    def entries(self, indices: Any) -> Any:
        """Returns the codes (B, ..., D) of numbers (B, ...)."""
        parts, rest = [], ops.convert_to_tensor(indices)
        for each in self.levels:
            parts.append((ops.cast(rest % each, "float32") - each // 2) / (each // 2))
            rest = rest // each
        return ops.stack(parts, axis=-1)

    def call(self, inputs):
        return finite_scalars(inputs, self.levels)

    def compute_output_shape(self, shape):
        return shape

    def get_config(self):
        return {**super().get_config(), "levels": self.levels}
