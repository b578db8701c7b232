"""Losses of embeddings by the pairs of a batch: vectors of one class come together, those of others go apart.

Each example is compared with all others of its batch, so that the loss of a part of a batch is another: `fit` refuses
them with accumulation and over several replicas. Order the data so that each batch holds classes several times.
"""

import keras
from keras import ops

from kerasdl.core import checks

FAR = 1e9


class EmbeddingLoss(keras.losses.Loss):
    """Base of losses of embeddings (B, D) and classes (B,) over the pairs of a batch."""

    compares_examples = True
    """True for losses whose value of an example depends on the others of its batch."""

    def pairs(self, y_true, y_pred):
        """Returns embeddings (B, D) in float32, whether two others are of one class (B, B), and the diagonal."""
        if len(y_pred.shape) != 2:
            checks.refuse(f"{self.name} takes embeddings (B, D)", tuple(y_pred.shape))
        classes = ops.reshape(y_true, (-1,))
        alike = ops.equal(classes[:, None], classes[None, :])
        itself = ops.eye(ops.shape(y_pred)[0], dtype="bool")
        return ops.cast(y_pred, "float32"), ops.logical_and(alike, ops.logical_not(itself)), itself


@keras.saving.register_keras_serializable("kerasdl")
class Triplet(EmbeddingLoss):
    """Triplet loss with the hardest pairs of a batch: the farthest of an example's class, and the nearest of another.

    Source: https://arxiv.org/abs/1703.07737, equation 5 (batch hard); triplets: https://arxiv.org/abs/1503.03832,
    equation 3, with squared distances there.

    Args:
        margin: by which the nearest of another class shall be farther than the farthest of the own one, in the units of
            the embeddings; None takes the soft margin, log(1 + exp(difference)).
        reduction: as in Keras.
        name: as in Keras.
        dtype: as in Keras.

    Returns:
        Called on classes (B,) and embeddings (B, D), the float32 loss; 0 for examples without one of both.

    Raises:
        ArgumentError: the predictions are no embeddings, or an argument breaks its range.

    Example:
        >>> vectors = np.array([[0.0], [1.0], [3.0], [5.0]], "float32")
        >>> float(Triplet(0.5)(np.array([0, 0, 1, 1]), vectors))
        0.125
    """

    def __init__(self, margin=0.2, reduction="sum_over_batch_size", name="triplet", dtype=None):
        super().__init__(name=name, reduction=reduction, dtype=dtype)
        self.margin = margin if margin is None else checks.within("margin", margin, 0.0, 1e6)

    def call(self, y_true, y_pred):
        vectors, alike, itself = self.pairs(y_true, y_pred)
        far = _distances(vectors)
        others = ops.logical_not(ops.logical_or(alike, itself))
        farthest = ops.max(ops.where(alike, far, 0.0), axis=1)
        nearest = ops.min(ops.where(others, far, FAR), axis=1)
        gap = farthest - nearest
        loss = ops.softplus(gap) if self.margin is None else ops.relu(gap + self.margin)
        counts = ops.logical_and(ops.any(alike, axis=1), ops.any(others, axis=1))
        return ops.where(counts, loss, 0.0)

    def get_config(self):
        return {**super().get_config(), "margin": self.margin}


@keras.saving.register_keras_serializable("kerasdl")
class Contrastive(EmbeddingLoss):
    """Contrastive loss of all pairs: squared distance within a class, what is short of a margin between classes.

    Source: Hadsell et al. 2006, https://doi.org/10.1109/CVPR.2006.100, equation 4.

    Args:
        margin: distance from which on two classes no longer push.
        reduction: as in Keras.
        name: as in Keras.
        dtype: as in Keras.

    Returns:
        Called on classes (B,) and embeddings (B, D), the float32 loss: of each example the mean over its pairs.

    Raises:
        ArgumentError: the predictions are no embeddings, or an argument breaks its range.

    Example:
        >>> float(Contrastive(2.0)(np.array([0, 1]), np.array([[0.0], [1.0]], "float32")))
        0.5
    """

    def __init__(self, margin=1.0, reduction="sum_over_batch_size", name="contrastive", dtype=None):
        super().__init__(name=name, reduction=reduction, dtype=dtype)
        self.margin = checks.within("margin", margin, 0.0, 1e6)

    def call(self, y_true, y_pred):
        vectors, alike, itself = self.pairs(y_true, y_pred)
        far = _distances(vectors)
        loss = ops.where(alike, far**2, ops.relu(self.margin - far) ** 2) / 2.0
        count = ops.maximum(ops.cast(ops.shape(far)[0] - 1, "float32"), 1.0)
        return ops.sum(ops.where(itself, 0.0, loss), axis=1) / count

    def get_config(self):
        return {**super().get_config(), "margin": self.margin}


@keras.saving.register_keras_serializable("kerasdl")
class NTXent(EmbeddingLoss):
    """NT-Xent: cross-entropy of an example's other view, or views, among all others of the batch, by cosine.

    Source: SimCLR, https://arxiv.org/abs/2002.05709, equation 1; with several examples of a class the supervised form
    of https://arxiv.org/abs/2004.11362, equation 2, of which two views are the special case.

    Args:
        temperature: by which cosines are divided.
        reduction: as in Keras.
        name: as in Keras.
        dtype: as in Keras.

    Returns:
        Called on numbers (B,), equal for the views of one example or for examples of one class, and embeddings (B, D),
        the float32 loss; 0 for examples that are alone.

    Raises:
        ArgumentError: the predictions are no embeddings, or an argument breaks its range.

    Example:
        >>> vectors = np.array([[1.0, 0.0], [2.0, 0.0], [0.0, 1.0], [0.0, 3.0]], "float32")
        >>> round(float(NTXent(0.5)(np.array([0, 0, 1, 1]), vectors)), 4)
        0.2395
    """

    def __init__(self, temperature=0.5, reduction="sum_over_batch_size", name="nt_xent", dtype=None):
        super().__init__(name=name, reduction=reduction, dtype=dtype)
        self.temperature = checks.within("temperature", temperature, 1e-4, 1e4)

    def call(self, y_true, y_pred):
        vectors, alike, itself = self.pairs(y_true, y_pred)
        cosines = _cosines(vectors, vectors) / self.temperature
        shares = ops.log_softmax(ops.where(itself, -FAR, cosines), axis=1)
        count = ops.sum(ops.cast(alike, "float32"), axis=1)
        return -ops.sum(ops.where(alike, shares, 0.0), axis=1) / ops.maximum(count, 1.0)

    def get_config(self):
        return {**super().get_config(), "temperature": self.temperature}


@keras.saving.register_keras_serializable("kerasdl")
class InfoNCE(EmbeddingLoss):
    """InfoNCE with in-batch negatives: each query shall be nearest, by cosine, to its own document.

    Source: https://arxiv.org/abs/1807.03748, equation 4; over the batch as in https://arxiv.org/abs/1705.00652,
    section 4.4.

    Args:
        temperature: by which cosines are divided.
        symmetric: whether documents look for their queries too, as in CLIP (https://arxiv.org/abs/2103.00020, figure
            3).
        reduction: as in Keras.
        name: as in Keras.
        dtype: as in Keras.

    Returns:
        Called on numbers of documents (B,), equal where two rows have the same one, and pairs (B, 2, D) of a query and
        its document, the float32 loss. Equal documents of other rows are no negatives.

    Raises:
        ArgumentError: the predictions are no pairs, or an argument breaks its range.

    Example:
        >>> pairs = np.array([[[1.0, 0.0], [1.0, 0.0]], [[0.0, 1.0], [0.0, 1.0]]], "float32")
        >>> round(float(InfoNCE(1.0)(np.array([0, 1]), pairs)), 4)
        0.3133
    """

    def __init__(self, temperature=0.05, symmetric=False, reduction="sum_over_batch_size", name="info_nce", dtype=None):
        super().__init__(name=name, reduction=reduction, dtype=dtype)
        self.temperature, self.symmetric = checks.within("temperature", temperature, 1e-4, 1e4), bool(symmetric)

    def call(self, y_true, y_pred):
        if len(y_pred.shape) != 3 or y_pred.shape[1] != 2:
            checks.refuse("info_nce takes pairs of a query and its document (B, 2, D)", tuple(y_pred.shape))
        queries, alike, _ = self.pairs(y_true, y_pred[:, 0])
        cosines = _cosines(queries, ops.cast(y_pred[:, 1], "float32")) / self.temperature
        cosines = ops.where(alike, -FAR, cosines)
        loss = -ops.diagonal(ops.log_softmax(cosines, axis=1))
        if self.symmetric:
            loss = (loss - ops.diagonal(ops.log_softmax(cosines, axis=0))) / 2.0
        return loss

    def get_config(self):
        return {**super().get_config(), "temperature": self.temperature, "symmetric": self.symmetric}


def _distances(vectors):
    """Returns Euclidean distances (B, B), with a gradient of 0 where two vectors are equal."""
    squares = ops.sum((vectors[:, None] - vectors[None, :]) ** 2, axis=-1)
    is_apart = squares > 0
    return ops.where(is_apart, ops.sqrt(ops.where(is_apart, squares, 1.0)), 0.0)


def _cosines(first, second):
    """Returns cosines (B, B) of two sets of vectors; 0 for vectors of zeros."""
    units = []
    for each in (first, second):
        squares = ops.sum(each**2, axis=-1, keepdims=True)
        units.append(each * ops.rsqrt(ops.maximum(squares, 1e-24)))
    return ops.matmul(units[0], ops.transpose(units[1]))
