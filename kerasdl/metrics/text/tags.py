"""Share of right tags of a sequence, of a chain or of each token alone."""

import keras
from keras import ops

from kerasdl.core import checks
from kerasdl.ops import viterbi


@keras.saving.register_keras_serializable("kerasdl")
class TagAccuracy(keras.metrics.Metric):
    """Share of tokens with the right tag, those labelled -1 left out.

    Potentials (B, T, K, K) of `kerasdl.layers.CRF` are decoded by Viterbi's algorithm, logits (B, T, K) by the highest.

    Args:
        name: as in Keras.
        dtype: as in Keras.

    Returns:
        `result()` is a scalar from 0 to 1; 0 before any token.

    Raises:
        ArgumentError: predictions are neither (B, T, K) nor (B, T, K, K), or weights are not one a sequence.

    Example:
        >>> metric = TagAccuracy()
        >>> metric.update_state(np.array([[1, 0, -1]]), np.array([[[0.0, 1.0], [0.0, 1.0], [0.0, 0.0]]]))
        >>> float(metric.result())
        0.5
    """

    def __init__(self, name="accuracy", dtype=None):
        super().__init__(name=name, dtype=dtype)
        self.hits = self.add_weight(name="hits", shape=(), initializer="zeros", dtype="float64")
        self.tokens = self.add_weight(name="tokens", shape=(), initializer="zeros", dtype="float64")

    def update_state(self, y_true, y_pred, sample_weight=None):
        """Adds a batch of sequences.

        Args:
            y_true: (B, T) tags, -1 where they do not count.
            y_pred: (B, T, K) logits or (B, T, K, K) potentials.
            sample_weight: (B,) weight of each sequence, or None.

        Raises:
            ArgumentError: the shapes are others.
        """
        labels, y_pred = ops.cast(y_true, "int32"), ops.convert_to_tensor(y_pred)
        if len(y_pred.shape) not in (3, 4):
            checks.refuse("predictions must be (B, T, K) or (B, T, K, K)", tuple(y_pred.shape))
        tags = viterbi(y_pred)[0] if len(y_pred.shape) == 4 else ops.cast(ops.argmax(y_pred, axis=-1), "int32")
        counted = ops.cast(labels >= 0, "float64")
        if sample_weight is not None:
            sample_weight = ops.cast(sample_weight, "float64")
            if len(sample_weight.shape) != 1:
                checks.refuse("sample_weight must be one number a sequence", tuple(sample_weight.shape))
            counted = counted * sample_weight[:, None]
        self.hits.assign_add(ops.sum(counted * ops.cast(labels == tags, "float64")))
        self.tokens.assign_add(ops.sum(counted))

    def result(self):
        return ops.cast(ops.divide_no_nan(self.hits, self.tokens), self.dtype)
