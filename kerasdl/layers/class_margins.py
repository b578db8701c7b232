"""Layers of class centres on a sphere, with a margin for the true class in training: CosFace and ArcFace."""

import math
from typing import Any

import keras
from keras import ops

from kerasdl.core import checks


class _ClassMargin(keras.layers.Layer):
    """Base of both: cosines of embeddings and class centres, the true one lowered, times a scale."""

    def __init__(self, classes: int, margin: float, scale: float, **kwargs: Any):
        super().__init__(autocast=False, **kwargs)
        self.classes = checks.at_least("classes", classes, 2)
        self.margin = checks.within("margin", margin, 0.0, self.most_margin)
        self.scale = checks.within("scale", scale, 1e-3, 1e4)

    def build(self, input_shape):
        shapes = input_shape if isinstance(input_shape[0], (tuple, list)) else [input_shape]
        if len(shapes[0]) != 2 or shapes[0][-1] is None or len(shapes) > 2:
            checks.refuse("inputs must be embeddings (B, D), or [embeddings, classes (B,)]", input_shape)
        self.centres = self.add_weight(shape=(shapes[0][-1], self.classes), initializer="glorot_normal", name="centres")
        self.built = True

    def call(self, inputs):
        embeddings, labels = inputs if isinstance(inputs, (list, tuple)) else (inputs, None)
        cosines = ops.matmul(_units(embeddings, -1), _units(self.centres, 0))
        cosines = ops.clip(cosines, -1.0, 1.0)
        if labels is not None:
            is_true = ops.one_hot(ops.reshape(ops.cast(labels, "int32"), (-1,)), self.classes, dtype="float32")
            cosines = ops.where(is_true > 0, self.lowered(cosines), cosines)
        return self.scale * cosines

    def lowered(self, cosines: Any) -> Any:
        """Returns the cosines that the true class has in training."""
        raise NotImplementedError

    def compute_output_spec(self, inputs):
        embeddings = inputs[0] if isinstance(inputs, (list, tuple)) else inputs
        return keras.KerasTensor((embeddings.shape[0], self.classes), dtype="float32")

    def get_config(self):
        own = {"classes": self.classes, "margin": self.margin, "scale": self.scale}
        return {**super().get_config(), **own}


@keras.saving.register_keras_serializable("kerasdl")
class CosFace(_ClassMargin):
    """Logits of classes by cosine, with a margin that the true class must gain: scale * (cos - margin).

    Source: https://arxiv.org/abs/1801.09414, equation 4.

    Args:
        classes: K.
        margin: taken from the cosine of the true class, from 0 to 1.
        scale: factor of all cosines; the softmax could not be sure without it.

    Input:
        Embeddings (B, D); or [embeddings, classes (B,)] in training, where the true class has the margin.

    Returns:
        Logits (B, K) in float32, for a cross-entropy from logits.

    Raises:
        ArgumentError: an argument breaks its range, or shapes do not fit.

    Example:
        >>> CosFace(10)([keras.Input((64,)), keras.Input((), dtype="int32")]).shape
        (None, 10)
    """

    most_margin = 1.0

    def __init__(self, classes: int, margin: float = 0.35, scale: float = 64.0, **kwargs: Any):
        super().__init__(classes, margin, scale, **kwargs)

    def lowered(self, cosines):
        return cosines - self.margin


@keras.saving.register_keras_serializable("kerasdl")
class ArcFace(_ClassMargin):
    """Logits of classes by cosine, with a margin on the angle of the true class: scale * cos(angle + margin).

    Where the angle plus the margin passes a half turn, the cosine is lowered by margin * sin(margin) instead, so that
    it falls throughout, as in the authors' code.

    Source: https://arxiv.org/abs/1801.07698, equation 3.

    Args:
        classes: K.
        margin: added to the angle of the true class, in radians, from 0 to 1.5.
        scale: factor of all cosines.

    Input:
        Embeddings (B, D); or [embeddings, classes (B,)] in training, where the true class has the margin.

    Returns:
        Logits (B, K) in float32, for a cross-entropy from logits.

    Raises:
        ArgumentError: an argument breaks its range, or shapes do not fit.

    Example:
        >>> ArcFace(10)(keras.Input((64,))).shape
        (None, 10)
    """

    most_margin = 1.5

    def __init__(self, classes: int, margin: float = 0.5, scale: float = 64.0, **kwargs: Any):
        super().__init__(classes, margin, scale, **kwargs)

    def lowered(self, cosines):
        sines = ops.sqrt(ops.maximum(1.0 - cosines**2, 1e-12))
        turned = cosines * math.cos(self.margin) - sines * math.sin(self.margin)
        within = cosines > -math.cos(self.margin)
        return ops.where(within, turned, cosines - self.margin * math.sin(self.margin))


def _units(x: Any, axis: int) -> Any:
    """Returns vectors along an axis of length 1, in float32; zeros stay zeros."""
    x = ops.cast(x, "float32")
    return x * ops.rsqrt(ops.maximum(ops.sum(x**2, axis=axis, keepdims=True), 1e-24))
